//! What chat templates expect of Python: `str` and `json.dumps`, methods of strings, and the functions that the
//! libraries of the model's publishers add.

use super::time;
use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;
use std::borrow::Cow;
use std::fmt::Write;

/// The error that a template raises itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Raised(pub String);

/// Deepest nesting of a value that is printed.
const MAX_DEPTH: usize = 200;

/// Adds all of it to an environment.
pub fn install(environment: &mut Environment<'_>) {
    environment.set_unknown_method_callback(method);
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) => out.write_str(text).map_err(Error::from),
        None => out.write_str(&str_of(state, value)?).map_err(Error::from),
    });
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raised").with_source(Raised(message)))
    });
    environment.add_function("strftime_now", |format: &str| time::strftime_now(format));
    environment.add_filter("string", |state: &State<'_, '_>, value: &Value| match value.as_str() {
        Some(_) => Ok(value.clone()),
        None => str_of(state, value).map(Value::from),
    });
    environment.add_filter("trim", |text: String, characters: Option<String>| {
        strip(&text, characters.as_deref(), true, true).to_owned()
    });
    environment.add_filter("tojson", tojson);
}

/// Turns the `{% generation %}` tags, which mark answers for training, into ones that do nothing.
pub fn without_generation_tags(source: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut from = 0;
    for (at, _) in source.match_indices("{%") {
        let inside = &source[at + 2..];
        let start = inside.trim_start_matches(['-', '+']).trim_start();
        let word_len = start.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(start.len());
        let instead = match &start[..word_len] {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        let end = start[word_len..].trim_start().trim_start_matches(['-', '+']);
        if end.starts_with("%}") {
            let word = source.len() - start.len();
            out += &source[from..word];
            out += instead;
            from = word + word_len;
        }
    }
    if from == 0 { Cow::Borrowed(source) } else { Cow::Owned(out + &source[from..]) }
}

/// Methods that Python has and the engine lacks or has with other white space.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, name, args);
    };
    let pair = |at: Option<usize>, len: usize, otherwise: [&str; 3]| {
        let parts = at.map_or(otherwise, |at| [&text[..at], &text[at..at + len], &text[at + len..]]);
        Value::from_iter(parts)
    };
    match name {
        "strip" | "lstrip" | "rstrip" => {
            let (characters,): (Option<&str>,) = from_args(args)?;
            Ok(strip(text, characters, name != "rstrip", name != "lstrip").into())
        }
        "split" if args.is_empty() => Ok(Value::from_iter(text.split(is_space).filter(|word| !word.is_empty()))),
        "rsplit" => {
            let (separator, max): (&str, Option<usize>) = from_args(args)?;
            if separator.is_empty() {
                return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
            }
            let mut parts: Vec<&str> = match max {
                Some(max) => text.rsplitn(max.saturating_add(1), separator).collect(),
                None => text.rsplit(separator).collect(),
            };
            parts.reverse();
            Ok(Value::from_iter(parts))
        }
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            Ok(pair(text.find(separator), separator.len(), [text, "", ""]))
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            Ok(pair(text.rfind(separator), separator.len(), ["", "", text]))
        }
        "replace" => {
            let (old, new, max): (&str, &str, Option<i64>) = from_args(args)?;
            let max = max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
            let found = text.matches(old).take(max).count();
            state.consume_fuel((found.saturating_mul(new.len()) / BYTES_PER_FUEL) as u64)?;
            Ok(text.replacen(old, new, max).into())
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            let mut out = Metered::new(state);
            for (i, item) in items.try_iter()?.checked().enumerate() {
                let item = item?;
                let Some(item) = item.as_str() else {
                    let problem = format!("can only join strings, not {}", item.kind());
                    return Err(Error::new(ErrorKind::InvalidOperation, problem));
                };
                out.text += if i > 0 { text } else { "" };
                out.text += item;
                out.pay()?;
            }
            Ok(out.text.into())
        }
        // Widths are not metered by the engine.
        "format" if text.split(|c: char| !c.is_ascii_digit()).any(|number| number.len() > 4) => {
            Err(Error::new(ErrorKind::InvalidOperation, "the width is too large"))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        _ => pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// `str.isspace` of one character: Unicode white space and four separators of old.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// `str.strip` and its one-sided forms.
fn strip<'a>(mut text: &'a str, characters: Option<&str>, left: bool, right: bool) -> &'a str {
    let goes = |c: char| characters.map_or_else(|| is_space(c), |characters| characters.contains(c));
    if left {
        text = text.trim_start_matches(goes);
    }
    if right {
        text = text.trim_end_matches(goes);
    }
    text
}

/// `json.dumps` with `ensure_ascii=False`, as the filter `tojson`.
fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    ensure_ascii: Option<Value>,
    indent: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let argument = |positional: Option<Value>, name: &str| -> Result<Option<Value>, Error> {
        let given = match positional {
            Some(value) => Some(value),
            None => kwargs.get::<Option<Value>>(name)?,
        };
        Ok(given.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let ascii = argument(ensure_ascii, "ensure_ascii")?.is_some_and(|value| value.is_true());
    let indent = match argument(indent, "indent")? {
        Some(indent) => match indent.as_str() {
            Some(text) => Some(text.to_owned()),
            None => Some(" ".repeat(usize::try_from(indent)?.min(64))),
        },
        None => None,
    };
    let (item, key) = match argument(None, "separators")? {
        Some(pair) => {
            let part = |i| pair.get_item_by_index(i).map(|part| part.to_string());
            (part(0)?, part(1)?)
        }
        None => ((if indent.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
    };
    let sort = argument(None, "sort_keys")?.is_some_and(|value| value.is_true());
    kwargs.assert_all_used()?;
    let mut json = Json { out: Metered::new(state), ascii, indent, item, key, sort };
    json.value(value, 0)?;
    Ok(json.out.text.into())
}

/// Text that is paid for while it is written: a small value can hold itself many times over.
struct Metered<'a> {
    state: &'a State<'a, 'a>,
    text: String,
    paid: usize,
}

/// Bytes of text that cost one unit of work, as the engine has it.
const BYTES_PER_FUEL: usize = 64;

impl<'a> Metered<'a> {
    fn new(state: &'a State<'_, '_>) -> Self {
        Self { state, text: String::new(), paid: 0 }
    }

    /// Pays for one value and for what was written since the last time.
    fn pay(&mut self) -> Result<(), Error> {
        let bytes = self.text.len() - self.paid;
        self.paid = self.text.len();
        self.state.consume_fuel((1 + bytes / BYTES_PER_FUEL) as u64)
    }
}

/// Writes JSON as Python does.
struct Json<'a> {
    out: Metered<'a>,
    ascii: bool,
    indent: Option<String>,
    /// Between items, and between key and value.
    item: String,
    key: String,
    sort: bool,
}

impl Json<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        self.out.pay()?;
        match value.kind() {
            ValueKind::None => self.out.text += "null",
            ValueKind::Bool => self.out.text += if value.is_true() { "true" } else { "false" },
            ValueKind::Number => self.out.text += &number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?.checked().map(|item| Ok((None, item?)));
                self.container(['[', ']'], items.collect::<Result<Vec<_>, Error>>()?, depth)?;
            }
            ValueKind::Map => {
                let mut items = Vec::new();
                for key in value.try_iter()?.checked() {
                    let key = key?;
                    let item = value.get_item(&key)?;
                    items.push((Some(key), item));
                }
                if self.sort {
                    items.sort_by(|(a, _), (b, _)| a.cmp(b));
                }
                self.container(['{', '}'], items, depth)?;
            }
            kind => {
                return Err(Error::new(ErrorKind::InvalidOperation, format!("{kind} is not JSON serializable")));
            }
        }
        Ok(())
    }

    fn container(
        &mut self,
        [open, close]: [char; 2],
        items: Vec<(Option<Value>, Value)>,
        depth: usize,
    ) -> Result<(), Error> {
        self.out.text.push(open);
        let empty = items.is_empty();
        for (i, (key, item)) in items.into_iter().enumerate() {
            if i > 0 {
                self.out.text += &self.item;
            }
            self.line(depth + 1);
            if let Some(key) = key {
                match key.as_str() {
                    Some(key) => self.string(key),
                    None => {
                        self.out.text.push('"');
                        self.value(&key, MAX_DEPTH)?;
                        self.out.text.push('"');
                    }
                }
                self.out.text += &self.key;
            }
            self.value(&item, depth + 1)?;
        }
        if !empty {
            self.line(depth);
        }
        self.out.text.push(close);
        Ok(())
    }

    /// Starts a line, if there are lines.
    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.text.push('\n');
            for _ in 0..depth {
                self.out.text += indent;
            }
        }
    }

    fn string(&mut self, text: &str) {
        self.out.text.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.text += "\\\"",
                '\\' => self.out.text += "\\\\",
                '\n' => self.out.text += "\\n",
                '\r' => self.out.text += "\\r",
                '\t' => self.out.text += "\\t",
                '\x08' => self.out.text += "\\b",
                '\x0c' => self.out.text += "\\f",
                '\0'..' ' => self.escape(c as u16),
                c if self.ascii && !c.is_ascii() => {
                    c.encode_utf16(&mut [0; 2]).iter().for_each(|&unit| self.escape(unit));
                }
                c => self.out.text.push(c),
            }
        }
        self.out.text.push('"');
    }

    fn escape(&mut self, unit: u16) {
        // Writing to a string does not fail.
        let _ = write!(self.out.text, "\\u{unit:04x}");
    }
}

/// `str(value)`.
fn str_of(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => {
            let mut out = Metered::new(state);
            repr(value, 0, &mut out)?;
            Ok(out.text)
        }
    }
}

/// `repr(value)`, except that what is undefined prints as nothing.
fn repr(value: &Value, depth: usize, out: &mut Metered<'_>) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    out.pay()?;
    match value.kind() {
        ValueKind::Undefined => {}
        ValueKind::None => out.text += "None",
        ValueKind::Bool => out.text += if value.is_true() { "True" } else { "False" },
        ValueKind::Number => out.text += &number(value),
        ValueKind::String => repr_str(value.as_str().unwrap_or_default(), &mut out.text),
        ValueKind::Seq | ValueKind::Iterable => {
            let (open, close) = if value.is_tuple() { ('(', ')') } else { ('[', ']') };
            out.text.push(open);
            for (i, item) in value.try_iter()?.checked().enumerate() {
                out.text += if i > 0 { ", " } else { "" };
                repr(&item?, depth + 1, out)?;
            }
            if value.is_tuple() && value.len() == Some(1) {
                out.text.push(',');
            }
            out.text.push(close);
        }
        ValueKind::Map => {
            out.text.push('{');
            for (i, key) in value.try_iter()?.checked().enumerate() {
                let key = key?;
                out.text += if i > 0 { ", " } else { "" };
                repr(&key, depth + 1, out)?;
                out.text += ": ";
                repr(&value.get_item(&key)?, depth + 1, out)?;
            }
            out.text.push('}');
        }
        _ => out.text += &value.to_string(),
    }
    Ok(())
}

fn repr_str(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => *out += "\\\\",
            '\n' => *out += "\\n",
            '\r' => *out += "\\r",
            '\t' => *out += "\\t",
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || (0x7f..=0xa0).contains(&(c as u32)) || c == '\u{ad}' => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// A number as both `str` and `json.dumps` have it.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    f64::try_from(value.clone()).map_or_else(|_| value.to_string(), float)
}

/// `repr` of a float: the shortest digits that read back as the same number, with an exponent below -4 and from 16 on.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return (if value > 0.0 { "inf" } else { "-inf" }).to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..16).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn too_deep() -> Error {
    Error::new(ErrorKind::InvalidOperation, "the value is nested too deeply")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str) -> String {
        let mut environment = Environment::new();
        install(&mut environment);
        let context = json!({
            "tool": {"z": [1, 2.5, null, true], "a": "é\"\n\u{1}\u{7f}<&'>", "e": {}, "l": []},
            "big": 1e20, "small": 1e-5, "one": 1.0, "t": true, "n": null,
        });
        environment
            .render_str(source, super::super::to_jinja(context))
            .unwrap_or_else(|error| panic!("{source}: {error:#}"))
    }

    #[test]
    fn values_print_as_in_python() {
        let cases = [
            (
                "{{ t }} {{ n }} {{ one }} {{ big }} {{ small }} {{ -0.0 }} {{ missing }}|",
                "True None 1.0 1e+20 1e-05 -0.0 |",
            ),
            ("{{ tool }}", "{'z': [1, 2.5, None, True], 'a': 'é\"\\n\\x01\\x7f<&\\'>', 'e': {}, 'l': []}"),
            ("{{ [1, 'a', \"it's\"] }} {{ t|string }} {{ 'x' ~ t ~ n ~ 3 }}", "[1, 'a', \"it's\"] True xTrueNone3"),
            ("{{ 123456789.125 }} {{ 1e15 }} {{ 1e16 }} {{ 0.0001 }}", "123456789.125 1000000000000000.0 1e+16 0.0001"),
        ];
        for (source, expected) in cases {
            assert_eq!(render(source), expected, "{source}");
        }
    }

    #[test]
    fn json_is_that_of_python() {
        let cases = [
            (
                "{{ tool|tojson }}",
                r#"{"z": [1, 2.5, null, true], "a": "é\"\n\u0001"#.to_owned() + "\u{7f}<&'>\", \"e\": {}, \"l\": []}",
            ),
            ("{{ [big, small, one]|tojson }}", "[1e+20, 1e-05, 1.0]".to_owned()),
            (
                "{{ {'b': 1, 'a': '😀é'}|tojson(ensure_ascii=true, sort_keys=true) }}",
                r#"{"a": "\ud83d\ude00\u00e9", "b": 1}"#.to_owned(),
            ),
            (
                "{{ {'a': [1, {}], 'b': []}|tojson(indent=2) }}",
                "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}".to_owned(),
            ),
            ("{{ [1, {'a': 2}]|tojson(separators=(',', ':')) }}", "[1,{\"a\":2}]".to_owned()),
        ];
        for (source, expected) in cases {
            assert_eq!(render(source), expected, "{source}");
        }
    }

    #[test]
    fn strings_have_the_methods_of_python() {
        let cases = [
            ("{{ '\x1c a \t'.strip() }}|{{ ' a '|trim }}|{{ 'xxaxx'|trim('x') }}", "a|a|a"),
            ("{{ 'nna'.lstrip('n') }}|{{ 'a\n\n'.rstrip('\n') }}|{{ ' a '.rstrip() }}", "a|a| a"),
            ("{{ 'a</t>b</t>c'.split('</t>')[-1] }}{{ 'a  b'.split()|length }}", "c2"),
            ("{{ 'a.b.c'.rsplit('.', 1) }}{{ 'a.b'.partition('.')[2] }}{{ 'x'.rpartition('.')[2] }}", "['a.b', 'c']bx"),
            ("{{ 'ab'.removeprefix('a') }}{{ 'ab'.removesuffix('b') }}{{ 'ab'.startswith('a') }}", "baTrue"),
            ("{{ 'abc'[::-1] }}{{ [1, 2, 3][::-1] }}{{ {'a': 1}.get('b', 2) }}", "cba[3, 2, 1]2"),
            ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{{ 'A'.lower().upper().title() }}", "a1A"),
        ];
        for (source, expected) in cases {
            assert_eq!(render(source), expected, "{source}");
        }
    }

    #[test]
    fn generation_tags_do_nothing() {
        let source = "a{%- generation -%} b {% endgeneration %}{{ 'generation' }}{% if generation %}{% endif %}";
        assert_eq!(without_generation_tags(source).matches("generation").count(), 2);
        assert_eq!(render(&without_generation_tags(source)), "ab generation");
        assert!(matches!(without_generation_tags("{% if x %}"), Cow::Borrowed(_)));
    }
}
