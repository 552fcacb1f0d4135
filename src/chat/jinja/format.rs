//! Formatting: the operator `%` of strings, and `str.format` with its little language of widths and signs.

use super::args::Args;
use super::error::{Error, Result, fail};
use super::float::{self, Digits};
use super::host::Host;
use super::int::Int;
use super::meter::{Buffer, Meter};
use super::print;
use super::text::escape_html;
use super::value::{Str, Text, Value};

/// How a value is laid out.
#[derive(Clone, Default)]
struct Spec {
    fill: Option<char>,
    /// `<`, `>`, `^`, or `=` for padding between sign and digits.
    align: Option<char>,
    /// `+`, `-` or space.
    sign: Option<char>,
    /// `#`
    alternate: bool,
    zero: bool,
    width: usize,
    /// `,` or `_` between groups of digits.
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// A number as text, in parts.
struct Number {
    negative: bool,
    prefix: &'static str,
    digits: Digits,
}

/// Writes `text` to a width, as strings are.
fn put_text(text: &str, spec: &Spec, out: &mut Buffer) -> Result<()> {
    let end = spec.precision.and_then(|most| text.char_indices().nth(most)).map_or(text.len(), |(at, _)| at);
    let text = &text[..end];
    let padding = spec.width.saturating_sub(text.chars().count());
    let before = match spec.align {
        Some('>') => padding,
        Some('^') => padding / 2,
        _ => 0,
    };
    let fill = spec.fill.unwrap_or(' ');
    out.pad(fill, before)?;
    out.push_str(text)?;
    out.pad(fill, padding - before)
}

/// Writes a number to a width.
fn put_number(number: Number, spec: &Spec, out: &mut Buffer) -> Result<()> {
    let sign = match spec.sign {
        _ if number.negative => "-",
        Some('+') => "+",
        Some(' ') => " ",
        _ => "",
    };
    let Digits { mut before, zeros, after } = number.digits;
    let around = sign.len() + number.prefix.len();
    let align = spec.align.unwrap_or(if spec.zero { '=' } else { '>' });
    let fill = spec.fill.unwrap_or(if spec.zero { '0' } else { ' ' });
    if let Some(separator) = spec.grouping {
        let least =
            if align == '=' && fill == '0' { spec.width.saturating_sub(around + zeros + after.len()) } else { 0 };
        // What is padded with zeros is as long as the width, which nothing has paid for yet.
        let _paid = out.meter().charge(least.saturating_mul(4))?;
        before =
            grouped(&before, separator, if matches!(spec.kind, Some('b' | 'o' | 'x' | 'X')) { 4 } else { 3 }, least);
    }
    let len = around + before.len() + zeros + after.len();
    let padding = spec.width.saturating_sub(len);
    let left = match align {
        '<' | '=' => 0,
        '^' => padding / 2,
        _ => padding,
    };
    out.pad(fill, left)?;
    out.push_str(sign)?;
    out.push_str(number.prefix)?;
    out.pad(fill, if align == '=' { padding } else { 0 })?;
    out.push_str(&before)?;
    out.pad('0', zeros)?;
    out.push_str(&after)?;
    out.pad(fill, if align == '=' { 0 } else { padding - left })
}

/// Digits with separators, and with zeros before them up to `least` characters.
fn grouped(digits: &str, separator: char, group: usize, least: usize) -> String {
    let whole = digits.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(digits.len());
    let rest = &digits[whole..];
    let least = least.saturating_sub(rest.len());
    let mut reversed = Vec::new();
    let mut source = digits[..whole].bytes().rev();
    for count in 0.. {
        let next = source.next();
        if next.is_none() && reversed.len() >= least {
            break;
        }
        if count > 0 && count % group == 0 {
            reversed.push(separator as u8);
        }
        reversed.push(next.unwrap_or(b'0'));
    }
    reversed.iter().rev().map(|&c| char::from(c)).collect::<String>() + rest
}

/// The parts of a float in the form `kind`: `e`, `f`, `g` or `%`, or the capital of one.
fn float_parts(value: f64, kind: char, precision: usize, alternate: bool) -> Number {
    let magnitude = value.abs();
    let mut digits = match (float::special(magnitude), kind) {
        (Some(name), _) => Digits { before: name.to_owned(), zeros: 0, after: String::new() },
        (None, 'e' | 'E') => float::exponential(magnitude, precision, alternate),
        (None, 'f' | 'F') => float::fixed(magnitude, precision, alternate),
        (None, '%') => float::fixed(magnitude * 100.0, precision, alternate),
        (None, _) => float::general(magnitude, precision, alternate),
    };
    if kind.is_ascii_uppercase() {
        digits.before.make_ascii_uppercase();
        digits.after.make_ascii_uppercase();
    }
    if kind == '%' {
        digits.after.push('%');
    }
    Number { negative: value.is_sign_negative() && !value.is_nan(), prefix: "", digits }
}

/// The parts of an integer in the form `kind`: `b`, `o`, `d`, `x` or `X`.
fn int_parts(meter: &Meter, value: &Int, kind: char, alternate: bool, least: usize) -> Result<Number> {
    let (base, prefix) = match kind {
        'b' => (2, "0b"),
        'o' => (8, "0o"),
        'x' => (16, "0x"),
        'X' => (16, "0X"),
        _ => (10, ""),
    };
    meter.work(value.len() * value.len())?;
    let mut before = if base == 10 {
        let mut digits = Buffer::new(meter);
        print::integer(&value.absolute(), &mut digits)?;
        digits.as_str().to_owned()
    } else {
        value.magnitude(base)
    };
    if kind == 'X' {
        before.make_ascii_uppercase();
    }
    let missing = least.saturating_sub(before.len());
    if missing > 0 {
        let mut digits = Buffer::new(meter);
        digits.pad('0', missing)?;
        digits.push_str(&before)?;
        before = digits.into_parts().0;
    }
    let digits = Digits { before, zeros: 0, after: String::new() };
    Ok(Number { negative: value.is_negative(), prefix: if alternate { prefix } else { "" }, digits })
}

/// The integer part of a number.
fn truncated(value: &Value) -> Result<Int> {
    match value {
        Value::Float(float) if float.is_finite() => Ok(Int::from_f64(*float)),
        Value::Float(_) => fail!("infinity and NaN are no integers"),
        value => value
            .as_int()
            .ok_or_else(|| Error::failed(format_args!("a number is expected, not {}", value.kind().name()))),
    }
}

// The operator

/// `form % values`
pub fn percent(meter: &Meter, form: &Str, values: &Value) -> Result<Value> {
    meter.scan(form.len())?;
    let mut fields = Fields { meter, values, taken: 0 };
    let mut out = Buffer::new(meter);
    let mut rest: &str = form;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at])?;
        rest = &rest[at + 1..];
        meter.work(1)?;
        let mapped = match rest.strip_prefix('(') {
            Some(inside) => {
                let end = closing(inside)?;
                rest = &inside[end + 1..];
                Some(fields.named(&inside[..end])?)
            }
            None => None,
        };
        let mut spec = Spec::default();
        while let Some(flag) = rest.chars().next().filter(|c| "-+ #0".contains(*c)) {
            match flag {
                '-' => spec.align = Some('<'),
                '+' => spec.sign = Some('+'),
                ' ' => spec.sign = spec.sign.or(Some(' ')),
                '#' => spec.alternate = true,
                _ => spec.zero = true,
            }
            rest = &rest[1..];
        }
        if let Some(width) = fields.size(&mut rest)? {
            spec.width = width.unsigned_abs() as usize;
            if width < 0 {
                spec.align = Some('<');
            }
        }
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            spec.precision = Some(fields.size(&mut rest)?.unwrap_or(0).max(0) as usize);
        }
        rest = rest.strip_prefix(['h', 'l', 'L']).unwrap_or(rest);
        let Some(kind) = rest.chars().next() else { fail!("a format ends after `%`") };
        rest = &rest[kind.len_utf8()..];
        if kind == '%' {
            out.push('%')?;
            continue;
        }
        let value = match mapped {
            Some(value) => value,
            None => fields.next()?,
        };
        convert(kind, &value, spec, form.markup, &mut out)?;
    }
    out.push_str(rest)?;
    fields.finish()?;
    out.finish_as(form.markup).map(Value::Str)
}

/// The offset of the bracket that closes a name.
fn closing(inside: &str) -> Result<usize> {
    let mut open = 1;
    for (at, c) in inside.char_indices() {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Ok(at);
        }
    }
    fail!("a name in a format does not end")
}

/// Where the values of a format come from.
struct Fields<'a> {
    meter: &'a Meter,
    values: &'a Value,
    taken: usize,
}

impl Fields<'_> {
    fn next(&mut self) -> Result<Value> {
        let at = self.taken;
        self.taken += 1;
        match self.values {
            Value::Tuple(items) => match items.get(at) {
                Some(value) => Ok(value.clone()),
                None => fail!("there are not enough values for the format"),
            },
            value if at == 0 => Ok(value.clone()),
            _ => fail!("there are not enough values for the format"),
        }
    }

    fn named(&mut self, name: &str) -> Result<Value> {
        let Value::Dict(map) = self.values else { fail!("a format with names needs a dict") };
        let name = Text::new(self.meter, name)?;
        match map.get_str(&name) {
            Some(value) => Ok(value.clone()),
            None => fail!("a format has a name that is not in the dict"),
        }
    }

    /// A width or a precision, if there is one.
    fn size(&mut self, rest: &mut &str) -> Result<Option<i64>> {
        if let Some(after) = rest.strip_prefix('*') {
            *rest = after;
            return match self.next()?.as_clamped() {
                Some(size) => Ok(Some(size)),
                None => fail!("`*` in a format needs an integer"),
            };
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let text = &rest[..digits];
        *rest = &rest[digits..];
        Ok((digits > 0).then(|| text.parse().unwrap_or(i64::MAX)))
    }

    /// Checks that all values are used. Lists and dicts need not be.
    fn finish(self) -> Result<()> {
        let left = match self.values {
            Value::Tuple(items) => self.taken < items.len(),
            Value::Dict(_) | Value::List(_) | Value::Undefined(_) => false,
            _ => self.taken == 0,
        };
        if left {
            fail!("not all values are used by the format");
        }
        Ok(())
    }
}

/// One conversion of `%`.
fn convert(kind: char, value: &Value, mut spec: Spec, markup: bool, out: &mut Buffer) -> Result<()> {
    let integer = |spec: &Spec, out: &mut Buffer, value: &Int| {
        let number = int_parts(out.meter(), value, kind, spec.alternate, spec.precision.unwrap_or(0))?;
        put_number(number, spec, out)
    };
    if spec.align == Some('<') {
        spec.zero = false;
    }
    match kind {
        's' | 'r' | 'a' => {
            let mut text = Buffer::new(out.meter());
            match kind {
                's' => print::text(value, &mut text)?,
                'r' => print::repr(value, &mut text)?,
                _ => print::ascii(value, &mut text)?,
            }
            if markup && !value.as_str().is_some_and(|text| text.markup) {
                let mut escaped = Buffer::new(out.meter());
                escape_html(text.as_str(), &mut escaped)?;
                text = escaped;
            }
            spec.align = spec.align.or(Some('>'));
            put_text(text.as_str(), &spec, out)
        }
        'c' => {
            let c = match value {
                Value::Str(text) if text.chars == 1 => text.chars().next(),
                value => value.as_clamped().and_then(|code| u32::try_from(code).ok()).and_then(char::from_u32),
            };
            let Some(c) = c else { fail!("%c needs a character or the number of one") };
            spec.align = spec.align.or(Some('>'));
            spec.precision = None;
            put_text(c.encode_utf8(&mut [0; 4]), &spec, out)
        }
        'd' | 'i' | 'u' => integer(&spec, out, &truncated(value)?),
        'o' | 'x' | 'X' => match value.as_int() {
            Some(value) => integer(&spec, out, &value),
            None => fail!("%{kind} needs an integer, not {}", value.kind().name()),
        },
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let number = float_parts(value.to_f64()?, kind, spec.precision.unwrap_or(6), spec.alternate);
            put_number(number, &spec, out)
        }
        _ => fail!("a format has an unknown conversion"),
    }
}

// The method

/// `format(*args, **kwargs)` of a string; the arguments may also be the items of a dict.
pub fn format(host: &mut dyn Host, form: &Str, args: &Args) -> Result<Value> {
    let mut out = Buffer::new(host.meter());
    Formatter { host, args, next: Next::Unknown, markup: form.markup }.write(form, 0, &mut out)?;
    out.finish_as(form.markup).map(Value::Str)
}

/// Whether fields have numbers, or are counted.
#[derive(PartialEq)]
enum Next {
    Unknown,
    Counted(usize),
    Numbered,
}

struct Formatter<'a, 'h> {
    host: &'h mut dyn Host,
    args: &'a Args,
    next: Next,
    markup: bool,
}

impl Formatter<'_, '_> {
    /// Writes `form`; `depth` formats are around it, of which the reference allows two.
    fn write(&mut self, form: &str, depth: usize, out: &mut Buffer) -> Result<()> {
        if depth > 2 {
            fail!("fields of a format are nested too deeply");
        }
        self.host.meter().scan(form.len())?;
        let mut rest = form;
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at])?;
            let brace = rest.as_bytes()[at];
            rest = &rest[at + 1..];
            if rest.as_bytes().first() == Some(&brace) {
                out.push(char::from(brace))?;
                rest = &rest[1..];
                continue;
            }
            if brace == b'}' {
                fail!("a format has a `}}` without `{{`");
            }
            self.host.meter().work(1)?;
            let end = field_end(rest)?;
            let field = &rest[..end];
            rest = &rest[end + 1..];
            self.field(field, depth, out)?;
        }
        out.push_str(rest)
    }

    fn field(&mut self, field: &str, depth: usize, out: &mut Buffer) -> Result<()> {
        // The name may hold anything in square brackets.
        let mut bracket = false;
        let name_end = field.find(|c| {
            match c {
                '[' => bracket = true,
                ']' => bracket = false,
                _ => {}
            }
            !bracket && matches!(c, '!' | ':')
        });
        let (name, after) = field.split_at(name_end.unwrap_or(field.len()));
        let (conversion, spec) = match after.strip_prefix('!') {
            Some(after) => {
                let mut chars = after.chars();
                let conversion = chars.next();
                let rest = chars.as_str();
                match (conversion, rest.strip_prefix(':')) {
                    (Some(_), Some(spec)) => (conversion, spec),
                    (Some(_), None) if rest.is_empty() => (conversion, ""),
                    _ => fail!("a field of a format has an unknown conversion"),
                }
            }
            None => (None, after.strip_prefix(':').unwrap_or("")),
        };
        let value = self.lookup(name)?;
        let mut expanded = Buffer::new(self.host.meter());
        self.write(spec, depth + 1, &mut expanded)?;
        let spec = expanded.as_str();
        let mut text = Buffer::new(self.host.meter());
        match conversion {
            None => {
                let escape = self.markup && !value.as_str().is_some_and(|text| text.markup);
                if !escape {
                    return write_formatted(&value, spec, out);
                }
                write_formatted(&value, spec, &mut text)?;
                return escape_html(text.as_str(), out);
            }
            Some('s') => print::text(&value, &mut text)?,
            Some('r') => print::repr(&value, &mut text)?,
            Some('a') => print::ascii(&value, &mut text)?,
            Some(_) => fail!("a field of a format has an unknown conversion"),
        }
        let text = Value::Str(text.finish()?);
        write_formatted(&text, spec, out)
    }

    /// The value of `name.attribute[item]`.
    fn lookup(&mut self, name: &str) -> Result<Value> {
        let first_end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(first_end);
        let number = match first {
            "" => {
                let at = match self.next {
                    Next::Unknown => 0,
                    Next::Counted(next) => next,
                    Next::Numbered => fail!("a format has fields with and without numbers"),
                };
                self.next = Next::Counted(at + 1);
                Some(at)
            }
            digits if digits.bytes().all(|c| c.is_ascii_digit()) => {
                if let Next::Counted(_) = self.next {
                    fail!("a format has fields with and without numbers");
                }
                self.next = Next::Numbered;
                Some(digits.parse().unwrap_or(usize::MAX))
            }
            _ => None,
        };
        let value = match number {
            Some(at) => self.args.positional.get(at).cloned(),
            None => self.args.named.iter().find(|(name, _)| name.is(first)).map(|(_, value)| value.clone()),
        };
        let Some(mut value) = value else { fail!("a field of a format has no value") };
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let attribute = Text::new(self.host.meter(), &after[..end])?;
                value = self.host.attribute(&value, &attribute)?;
                rest = &after[end..];
            } else {
                let Some(inside) = rest.strip_prefix('[') else {
                    fail!("`.` or `[` is expected after `]` in a format")
                };
                let Some(end) = inside.find(']') else { fail!("a format has a `[` without `]`") };
                let key = match inside[..end].parse::<i64>() {
                    Ok(index) if inside.as_bytes()[0].is_ascii_digit() => Value::Int(index),
                    _ => Value::text(self.host.meter(), &inside[..end])?,
                };
                value = self.host.item(&value, &key)?;
                rest = &inside[end + 1..];
            }
        }
        Ok(value)
    }
}

/// The offset of the `}` that ends a field.
fn field_end(rest: &str) -> Result<usize> {
    let (mut open, mut bracket) = (1, false);
    for (at, c) in rest.char_indices() {
        match c {
            '[' if open == 1 => bracket = true,
            ']' => bracket = false,
            '{' if !bracket => open += 1,
            '}' if !bracket => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Ok(at);
        }
    }
    fail!("a format has a `{{` without `}}`")
}

/// `format(value, spec)`
fn write_formatted(value: &Value, spec: &str, out: &mut Buffer) -> Result<()> {
    if spec.is_empty() {
        return print::text(value, out);
    }
    let spec = parse(spec)?;
    match value {
        Value::Str(text) => {
            if !matches!(spec.kind, None | Some('s'))
                || spec.sign.is_some()
                || spec.align == Some('=')
                || spec.alternate
                || spec.grouping.is_some()
            {
                fail!("a string cannot be formatted like that");
            }
            let fill = spec.fill.or(spec.zero.then_some('0'));
            put_text(text, &Spec { fill, ..spec }, out)
        }
        Value::Float(float) => put_float(*float, &spec, out),
        value => match (value.as_int(), spec.kind) {
            (Some(_), Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%')) => put_float(value.to_f64()?, &spec, out),
            (Some(_), _) if spec.precision.is_some() => fail!("an integer cannot have a precision"),
            (Some(int), Some('c')) => {
                let Some(c) = int.to_i64().and_then(|code| char::from_u32(u32::try_from(code).ok()?)) else {
                    fail!("there is no character of that number");
                };
                put_text(c.encode_utf8(&mut [0; 4]), &spec, out)
            }
            (Some(int), None | Some('b' | 'o' | 'd' | 'x' | 'X' | 'n')) => {
                let number = int_parts(out.meter(), &int, spec.kind.unwrap_or('d'), spec.alternate, 0)?;
                put_number(number, &spec, out)
            }
            _ => fail!("a value of type {} cannot be formatted like that", value.kind().name()),
        },
    }
}

fn put_float(value: f64, spec: &Spec, out: &mut Buffer) -> Result<()> {
    let number = match (spec.kind, spec.precision) {
        (None, None) => {
            let before = float::special(value.abs()).map_or_else(|| float::repr(value.abs()), str::to_owned);
            let digits = Digits { before, zeros: 0, after: String::new() };
            Number { negative: value.is_sign_negative() && !value.is_nan(), prefix: "", digits }
        }
        (None, Some(precision)) => {
            // As `g`, one digit earlier with an exponent, and with a digit after the point.
            let mut number = float_parts(value, 'g', precision, spec.alternate);
            let digits = &mut number.digits;
            let whole = digits.before.find('.').unwrap_or(digits.before.len());
            if digits.after.is_empty() && float::special(value).is_none() {
                if value != 0.0 && whole >= precision.max(1) && value.abs() >= 1.0 {
                    *digits = float::exponential(value.abs(), precision.max(1) - 1, false);
                    if digits.before.contains('.') {
                        let kept = digits.before.trim_end_matches('0').trim_end_matches('.').len();
                        digits.before.truncate(kept);
                    }
                } else if !digits.before.contains('.') {
                    digits.before += ".0";
                }
            }
            number
        }
        (Some(kind @ ('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%')), precision) => {
            float_parts(value, kind, precision.unwrap_or(6), spec.alternate)
        }
        (Some('n'), precision) => float_parts(value, 'g', precision.unwrap_or(6), spec.alternate),
        _ => fail!("a float cannot be formatted like that"),
    };
    put_number(number, spec, out)
}

fn parse(text: &str) -> Result<Spec> {
    let mut spec = Spec::default();
    let is_align = |c: char| matches!(c, '<' | '>' | '^' | '=');
    let mut chars = text.chars();
    let first = chars.next().unwrap_or(' ');
    let mut rest = text;
    if let Some(align) = chars.next().filter(|c| is_align(*c)) {
        (spec.fill, spec.align) = (Some(first), Some(align));
        rest = chars.as_str();
    } else if is_align(first) {
        spec.align = Some(first);
        rest = &text[1..];
    }
    if let Some(sign) = rest.chars().next().filter(|c| matches!(c, '+' | '-' | ' ')) {
        spec.sign = Some(sign);
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('#') {
        spec.alternate = true;
        rest = after;
    }
    if let Some(after) = rest.strip_prefix('0') {
        spec.zero = true;
        rest = after;
    }
    let number = |rest: &mut &str| -> Result<Option<usize>> {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (text, after) = rest.split_at(digits);
        *rest = after;
        match text.parse() {
            _ if digits == 0 => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(_) => fail!("a format has too many digits"),
        }
    };
    spec.width = number(&mut rest)?.unwrap_or(0);
    if let Some(grouping) = rest.chars().next().filter(|c| matches!(c, ',' | '_')) {
        spec.grouping = Some(grouping);
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        match number(&mut rest)? {
            Some(precision) => spec.precision = Some(precision),
            None => fail!("a format has a point without a precision"),
        }
    }
    spec.kind = rest.chars().next();
    if rest.chars().count() > 1 {
        fail!("a format cannot be read");
    }
    Ok(spec)
}
