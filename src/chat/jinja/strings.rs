//! Methods of strings.

use super::args::{Args, flag, integer, integer_or, optional_integer, optional_string, required, string};
use super::error::{Result, fail};
use super::format;
use super::host::Host;
use super::meter::{Buffer, Items};
use super::print::is_printable;
use super::text::{self, escape_html, is_space};
use super::value::{Str, Value};
use std::collections::HashSet;
use std::ops::Range;
use unicode_general_category::{GeneralCategory as Category, get_general_category};

/// The methods, in order.
pub const METHODS: [&str; 45] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];

/// Characters that are as much work to look at as a node is to evaluate.
pub const CHARACTERS_PER_STEP: usize = 8;

/// Calls a method. What it returns is marked as safe where the string is, and then what goes into it is escaped.
pub fn call(host: &mut dyn Host, text: &Str, name: &'static str, args: &Args) -> Result<Value> {
    let given: usize = args.positional.iter().filter_map(Value::as_str).map(|text| text.len()).sum();
    let read = match name {
        // These look at an end.
        "startswith" | "endswith" | "removeprefix" | "removesuffix" | "strip" | "lstrip" | "rstrip" => 0,
        // The others read every character once.
        _ => text.len(),
    };
    host.meter().work((read + given) / CHARACTERS_PER_STEP)?;
    if !text.markup || matches!(name, "format" | "format_map") {
        return method(host, text, name, args);
    }
    // The text that goes into it; what it is compared to stays as it is.
    let inserted = if matches!(name, "replace" | "center" | "ljust" | "rjust") { 1 } else { usize::MAX };
    let mut escaped = Args::new(host.meter());
    for (at, value) in args.positional.iter().enumerate() {
        escaped.positional.push(match value {
            Value::Str(text) if at == inserted && !text.markup => {
                let mut out = Buffer::new(host.meter());
                escape_html(text, &mut out)?;
                Value::Str(out.finish_as(true)?)
            }
            value => value.clone(),
        })?;
    }
    for (name, value) in args.named.iter() {
        escaped.named.push((name.clone(), value.clone()))?;
    }
    let result = method(host, text, name, &escaped)?;
    mark(host, result)
}

/// The same value, its strings marked as safe.
fn mark(host: &dyn Host, value: Value) -> Result<Value> {
    let marked = |items: &[Value]| -> Result<Items<Value>> {
        let mut marked = Items::new(host.meter());
        for item in items {
            marked.push(mark(host, item.clone())?)?;
        }
        Ok(marked)
    };
    match &value {
        Value::Str(text) if !text.markup => {
            let mut out = Buffer::new(host.meter());
            out.push_str(text)?;
            out.finish_as(true).map(Value::Str)
        }
        Value::List(items) => Value::list(marked(items)?),
        Value::Tuple(items) => Value::tuple(marked(items)?),
        _ => Ok(value),
    }
}

fn method(host: &mut dyn Host, text: &Str, name: &'static str, args: &Args) -> Result<Value> {
    let test = |test: fn(&str) -> bool| args.none(name).map(|()| Value::Bool(test(text)));
    let map = |host: &dyn Host, map: fn(&str, &mut Buffer) -> Result<()>| {
        args.none(name)?;
        let mut out = Buffer::new(host.meter());
        map(text, &mut out)?;
        out.finish().map(Value::Str)
    };
    match name {
        "capitalize" => map(host, text::capitalize),
        "casefold" => map(host, |text, out| {
            text.chars().try_for_each(|c| match c {
                'ß' | 'ẞ' => out.push_str("ss"),
                'ς' => out.push('σ'),
                c => c.to_lowercase().try_for_each(|c| out.push(c)),
            })
        }),
        "lower" => map(host, text::lower),
        "upper" => map(host, text::upper),
        "swapcase" => map(host, text::swap_case),
        "title" => map(host, text::title),
        "isalnum" => test(|text| all(text, is_alphanumeric)),
        "isalpha" => test(|text| all(text, is_alpha)),
        "isascii" => test(str::is_ascii),
        "isdecimal" => test(|text| all(text, |c| get_general_category(c) == Category::DecimalNumber)),
        "isdigit" => test(|text| all(text, is_digit)),
        "isidentifier" => test(|text| {
            let start = |c: char| c == '_' || c.is_alphabetic();
            let mark = |c| matches!(get_general_category(c), Category::NonspacingMark | Category::SpacingMark);
            text.starts_with(start) && text.chars().all(|c| c == '_' || c.is_alphanumeric() || mark(c))
        }),
        "islower" => test(text::is_lower),
        "isupper" => test(text::is_upper),
        "istitle" => test(text::is_title),
        "isnumeric" => test(|text| all(text, is_numeric)),
        "isprintable" => test(|text| text.chars().all(is_printable)),
        "isspace" => test(|text| all(text, is_space)),
        "center" | "ljust" | "rjust" => pad(host, text, name, args),
        "zfill" => {
            let [width] = args.bind(name, ["/width"])?;
            let width = integer(&required(width, name, "width")?, name)?.max(0) as usize;
            let sign = if text.starts_with(['+', '-']) { 1 } else { 0 };
            let mut out = Buffer::new(host.meter());
            out.push_str(&text[..sign])?;
            out.pad('0', width.saturating_sub(text.chars))?;
            out.push_str(&text[sign..])?;
            out.finish().map(Value::Str)
        }
        "expandtabs" => expand_tabs(host, text, args),
        "strip" | "lstrip" | "rstrip" => {
            let [characters] = args.bind(name, ["/characters"])?;
            let characters = optional_string(&characters, name)?;
            let characters = characters.as_ref().map(|characters| characters.as_str());
            let kept = strip(text, characters, name != "rstrip", name != "lstrip");
            host.meter().work((text.len() - kept.len()) / CHARACTERS_PER_STEP)?;
            host.text(kept)
        }
        "count" => {
            let [part, start, stop] = args.bind(name, ["/sub", "/start", "/stop"])?;
            let part = string(&required(part, name, "sub")?, name)?;
            let Some(range) = within(text, start, stop, name)? else { return Ok(Value::Int(0)) };
            Ok(Value::Int(text[range].matches(part.as_str()).count() as i64))
        }
        "find" | "index" | "rfind" | "rindex" => find(text, name, args),
        "startswith" | "endswith" => affix(host, text, name, args),
        "removeprefix" | "removesuffix" => {
            let [affix] = args.bind(name, ["/affix"])?;
            let affix = string(&required(affix, name, "affix")?, name)?;
            let rest = if name == "removeprefix" {
                text.strip_prefix(affix.as_str())
            } else {
                text.strip_suffix(affix.as_str())
            };
            host.text(rest.unwrap_or(text))
        }
        "replace" => {
            let [old, new, count] = args.bind(name, ["/old", "/new", "count"])?;
            let (old, new) = (required(old, name, "old")?, required(new, name, "new")?);
            let count = integer_or(&count, -1, name)?;
            let mut out = Buffer::new(host.meter());
            replace(text, &string(&old, name)?, &string(&new, name)?, count, &mut out)?;
            out.finish().map(Value::Str)
        }
        "split" | "rsplit" => split(host, text, name, args),
        "splitlines" => {
            let [keep] = args.bind(name, ["keepends"])?;
            let mut lines = Items::new(host.meter());
            for line in text::lines(text, flag(&keep)) {
                lines.push(host.text(line)?)?;
            }
            Value::list(lines)
        }
        "partition" | "rpartition" => {
            let [separator] = args.bind(name, ["/sep"])?;
            let separator = string(&required(separator, name, "sep")?, name)?;
            if separator.is_empty() {
                fail!("{name} needs a separator that is not empty");
            }
            let at = if name == "partition" { text.find(separator.as_str()) } else { text.rfind(separator.as_str()) };
            let all: &str = text;
            let parts = match at {
                Some(at) => [&all[..at], &all[at..at + separator.len()], &all[at + separator.len()..]],
                None if name == "partition" => [all, "", ""],
                None => ["", "", all],
            };
            let mut items = Items::new(host.meter());
            for part in parts {
                items.push(host.text(part)?)?;
            }
            Value::tuple(items)
        }
        "join" => {
            let [items] = args.bind(name, ["/items"])?;
            let items = required(items, name, "items")?;
            let mut cursor = host.iterate(&items)?;
            let mut out = Buffer::new(host.meter());
            let mut first = true;
            while let Some(item) = cursor.next(host.meter())? {
                let Value::Str(item) = &item else { fail!("only strings can be joined, not {}", item.kind().name()) };
                out.push_str(if first { "" } else { text })?;
                first = false;
                if text.markup && !item.markup { escape_html(item, &mut out)? } else { out.push_str(item)? }
            }
            out.finish().map(Value::Str)
        }
        "format" => format::format(host, text, args),
        "format_map" => {
            let [map] = args.bind(name, ["/mapping"])?;
            let Some(Value::Dict(map)) = map else { fail!("format_map needs a dict") };
            let mut args = Args::new(host.meter());
            for (name, value) in map.entries() {
                if let Value::Str(name) = name {
                    args.named.push((name.clone(), value.clone()))?;
                }
            }
            format::format(host, text, &args)
        }
        "translate" => {
            let [table] = args.bind(name, ["/table"])?;
            let Some(Value::Dict(table)) = table else { fail!("translate needs a dict") };
            let mut out = Buffer::new(host.meter());
            for c in text.chars() {
                host.meter().work(1)?;
                match table.get(host.meter(), &Value::Int(i64::from(c as u32)))? {
                    None => out.push(c)?,
                    Some(Value::None) => {}
                    Some(Value::Str(text)) => out.push_str(text)?,
                    Some(value) => {
                        match value.as_clamped().and_then(|code| char::from_u32(u32::try_from(code).ok()?)) {
                            Some(c) => out.push(c)?,
                            None => fail!("translate needs characters or their numbers"),
                        }
                    }
                }
            }
            out.finish().map(Value::Str)
        }
        _ => fail!("a string has no method {name}"),
    }
}

/// Whether all characters pass, and there are some.
fn all(text: &str, test: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(test)
}

/// `str.isalnum` of one character.
pub fn is_alphanumeric(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() } else { is_alpha(c) || is_numeric(c) }
}

fn is_alpha(c: char) -> bool {
    use Category::{LowercaseLetter, ModifierLetter, OtherLetter, TitlecaseLetter, UppercaseLetter};
    matches!(
        get_general_category(c),
        UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter
    )
}

/// Decimal digits, and those of other forms: superscripts, in circles.
fn is_digit(c: char) -> bool {
    get_general_category(c) == Category::DecimalNumber
        || matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨' | '⑴'..='⑼' | '⒈'..='⒐' | '⓪')
}

fn is_numeric(c: char) -> bool {
    use Category::{DecimalNumber, LetterNumber, OtherNumber};
    matches!(get_general_category(c), DecimalNumber | LetterNumber | OtherNumber)
        || "〇一二三四五六七八九十百千万亿零壹贰叁肆伍陆柒捌玖拾佰仟兆億萬".contains(c)
}

/// `str.strip` and its one-sided forms.
pub fn strip<'a>(mut text: &'a str, characters: Option<&str>, left: bool, right: bool) -> &'a str {
    // A set, so that many characters are no more work than few.
    let set: Option<HashSet<char>> = characters.map(|characters| characters.chars().collect());
    let goes = |c: char| set.as_ref().map_or_else(|| is_space(c), |set| set.contains(&c));
    if left {
        text = text.trim_start_matches(goes);
    }
    if right {
        text = text.trim_end_matches(goes);
    }
    text
}

/// `text.replace(old, new, count)`; all of them if the count is negative.
pub fn replace(text: &str, old: &str, new: &str, count: i64, out: &mut Buffer) -> Result<()> {
    let most = usize::try_from(count).unwrap_or(usize::MAX);
    let mut from = 0;
    for (at, _) in text.match_indices(old).take(most) {
        out.meter().work(1)?;
        out.push_str(&text[from..at])?;
        out.push_str(new)?;
        from = at + old.len();
    }
    out.push_str(&text[from..])
}

/// The part of a text between two places, which count from the end if they are negative; none if they are out of order.
fn within(text: &Str, start: Option<Value>, stop: Option<Value>, name: &str) -> Result<Option<Range<usize>>> {
    let len = text.chars as i64;
    let place = |bound: &Option<Value>, otherwise: i64| -> Result<i64> {
        let bound = optional_integer(bound, name)?.unwrap_or(otherwise);
        Ok(if bound < 0 { bound.saturating_add(len).max(0) } else { bound })
    };
    let (start, stop) = (place(&start, 0)?, place(&stop, len)?.min(len));
    Ok((start <= stop).then(|| text.offset(start as usize)..text.offset(stop as usize)))
}

fn find(text: &Str, name: &str, args: &Args) -> Result<Value> {
    let [part, start, stop] = args.bind(name, ["/sub", "/start", "/stop"])?;
    let part = string(&required(part, name, "sub")?, name)?;
    let found = within(text, start, stop, name)?.and_then(|range| {
        let inside = &text[range.clone()];
        let at = if name.starts_with('r') { inside.rfind(part.as_str()) } else { inside.find(part.as_str()) };
        at.map(|at| text.position(range.start + at))
    });
    match found {
        Some(at) => Ok(Value::Int(at as i64)),
        None if name.ends_with("find") => Ok(Value::Int(-1)),
        None => fail!("the part is not in the string"),
    }
}

fn affix(host: &dyn Host, text: &Str, name: &str, args: &Args) -> Result<Value> {
    let [affix, start, stop] = args.bind(name, ["/affix", "/start", "/stop"])?;
    let affix = required(affix, name, "affix")?;
    let Some(range) = within(text, start, stop, name)? else { return Ok(Value::Bool(false)) };
    let inside = &text[range];
    let has = |affix: &Value| -> Result<bool> {
        let affix = string(affix, name)?;
        host.meter().scan(affix.len())?;
        Ok(if name == "startswith" { inside.starts_with(affix.as_str()) } else { inside.ends_with(affix.as_str()) })
    };
    match &affix {
        Value::Tuple(affixes) => {
            for affix in affixes.iter() {
                host.meter().work(1)?;
                if has(affix)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        affix => has(affix).map(Value::Bool),
    }
}

fn pad(host: &dyn Host, text: &Str, name: &str, args: &Args) -> Result<Value> {
    let [width, fill] = args.bind(name, ["/width", "/fillchar"])?;
    let width = integer(&required(width, name, "width")?, name)?;
    let fill = match fill {
        Some(fill) => {
            let fill = string(&fill, name)?;
            match (fill.chars().next(), fill.chars) {
                (Some(fill), 1) => fill,
                _ => fail!("{name} fills with exactly one character"),
            }
        }
        None => ' ',
    };
    let mut out = Buffer::new(host.meter());
    put_padded(text, name, width, fill, &mut out)?;
    out.finish().map(Value::Str)
}

/// `center`, `ljust` or `rjust`
pub fn put_padded(text: &Str, name: &str, width: i64, fill: char, out: &mut Buffer) -> Result<()> {
    let padding = usize::try_from(width).unwrap_or(0).saturating_sub(text.chars);
    let left = match name {
        "ljust" => 0,
        "rjust" => padding,
        // As Python rounds: to the left where both are odd.
        _ => padding / 2 + (padding & width as usize & 1),
    };
    out.pad(fill, left)?;
    out.push_str(text)?;
    out.pad(fill, padding - left)
}

fn expand_tabs(host: &dyn Host, text: &Str, args: &Args) -> Result<Value> {
    let [size] = args.bind("expandtabs", ["tabsize"])?;
    let size = usize::try_from(integer_or(&size, 8, "expandtabs")?).unwrap_or(0);
    let mut out = Buffer::new(host.meter());
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' if size > 0 => {
                let spaces = size - column % size;
                out.pad(' ', spaces)?;
                column += spaces;
            }
            '\t' => {}
            c => {
                out.push(c)?;
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    out.finish().map(Value::Str)
}

fn split(host: &dyn Host, text: &Str, name: &str, args: &Args) -> Result<Value> {
    let [separator, most] = args.bind(name, ["sep", "maxsplit"])?;
    let separator = optional_string(&separator, name)?;
    let most = usize::try_from(integer_or(&most, -1, name)?).unwrap_or(usize::MAX);
    let right = name == "rsplit";
    let mut parts = Items::new(host.meter());
    let mut rest: &str = text;
    match &separator {
        Some(separator) if separator.is_empty() => fail!("{name} needs a separator that is not empty"),
        Some(separator) => {
            while parts.len() < most {
                let parted =
                    if right { rest.rsplit_once(separator.as_str()) } else { rest.split_once(separator.as_str()) };
                let Some((before, after)) = parted else { break };
                parts.push(host.text(if right { after } else { before })?)?;
                rest = if right { before } else { after };
            }
            parts.push(host.text(rest)?)?;
        }
        None => {
            let trim = |text: &str| -> usize {
                if right { text.trim_end_matches(is_space).len() } else { text.trim_start_matches(is_space).len() }
            };
            loop {
                let len = trim(rest);
                rest = if right { &rest[..len] } else { &rest[rest.len() - len..] };
                if rest.is_empty() {
                    break;
                }
                if parts.len() == most {
                    parts.push(host.text(rest)?)?;
                    break;
                }
                let parted = if right { rest.rsplit_once(is_space) } else { rest.split_once(is_space) };
                let (part, left) = match parted {
                    Some((before, after)) if right => (after, before),
                    Some((before, after)) => (before, after),
                    None => (rest, ""),
                };
                parts.push(host.text(part)?)?;
                rest = left;
            }
        }
    }
    if right {
        parts.reverse();
    }
    Value::list(parts)
}
