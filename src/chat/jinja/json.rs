//! JSON: values from it, and `json.dumps` as the filter `tojson`.

use super::error::{Result, fail};
use super::float;
use super::int::Int;
use super::meter::{Buffer, Items, Meter};
use super::ops;
use super::print;
use super::text::push_hex;
use super::value::{Dict, Value};

/// The value of a JSON text. Numbers keep all their digits.
pub fn value(meter: &Meter, json: &serde_json::Value) -> Result<Value> {
    Ok(match json {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(value) => number(meter, &value.to_string())?,
        serde_json::Value::String(text) => Value::text(meter, text)?,
        serde_json::Value::Array(array) => {
            let mut items = Items::new(meter);
            items.reserve(array.len())?;
            for item in array {
                items.push(value(meter, item)?)?;
            }
            Value::list(items)?
        }
        serde_json::Value::Object(object) => {
            let mut map = Dict::new(meter)?;
            for (key, item) in object {
                map.insert(Value::text(meter, key)?, value(meter, item)?)?;
            }
            map.finish()?
        }
    })
}

/// A number by its digits: with a point or an exponent it is a float.
fn number(meter: &Meter, digits: &str) -> Result<Value> {
    if digits.contains(['.', 'e', 'E']) {
        return Ok(Value::Float(float::parse(digits).unwrap_or(f64::NAN)));
    }
    let (negative, magnitude) = digits.strip_prefix('-').map_or((false, digits), |magnitude| (true, magnitude));
    match Int::parse(magnitude, 10) {
        Some(value) => Value::integer(meter, if negative { value.negated() } else { value }),
        None => fail!("an integer of the messages has too many digits"),
    }
}

/// How JSON is written.
pub struct Form<'a> {
    /// Whether what is not ASCII is escaped.
    pub ascii: bool,
    /// What lines begin with, as often as they are deep; without it there are no lines.
    pub indent: Option<&'a str>,
    /// Between items, and between key and value.
    pub item: &'a str,
    pub key: &'a str,
    /// Whether the keys of a dict are put in order.
    pub sort: bool,
}

/// `json.dumps(value)`
///
/// # Errors
/// What has no JSON.
pub fn write(value: &Value, form: &Form<'_>, out: &mut Buffer) -> Result<()> {
    Writer { form, out }.value(value, 0)
}

struct Writer<'a, 'b> {
    form: &'a Form<'b>,
    out: &'a mut Buffer,
}

impl Writer<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<()> {
        self.out.meter().work(1)?;
        match value {
            Value::None => self.out.push_str("null"),
            Value::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Int(_) | Value::Big(_) => print::repr(value, self.out),
            Value::Float(value) => self.float(*value),
            Value::Str(text) => self.string(text),
            Value::List(items) | Value::Tuple(items) => {
                self.out.push('[')?;
                for (i, item) in items.iter().enumerate() {
                    self.begin(i, depth + 1)?;
                    self.value(item, depth + 1)?;
                }
                self.end(items.len(), depth)?;
                self.out.push(']')
            }
            Value::Dict(map) => {
                self.out.push('{')?;
                if self.form.sort {
                    let mut items = Items::new(self.out.meter());
                    for entry in map.entries() {
                        items.push(entry.clone())?;
                    }
                    let sorted = ops::sorted(self.out.meter(), items, false)?;
                    self.entries(&sorted, depth)?;
                } else {
                    self.entries(map.entries(), depth)?;
                }
                self.end(map.len(), depth)?;
                self.out.push('}')
            }
            other => fail!("an object of type {} is not JSON serializable", other.kind().name()),
        }
    }

    fn entries(&mut self, entries: &[(Value, Value)], depth: usize) -> Result<()> {
        for (i, (key, value)) in entries.iter().enumerate() {
            self.begin(i, depth + 1)?;
            match key {
                Value::Str(key) => self.string(key)?,
                Value::None | Value::Bool(_) | Value::Int(_) | Value::Big(_) | Value::Float(_) => {
                    self.out.push('"')?;
                    self.value(key, depth + 1)?;
                    self.out.push('"')?;
                }
                other => fail!("the keys of JSON are strings and numbers, not {}", other.kind().name()),
            }
            self.out.push_str(self.form.key)?;
            self.value(value, depth + 1)?;
        }
        Ok(())
    }

    /// What goes before the item `i`.
    fn begin(&mut self, i: usize, depth: usize) -> Result<()> {
        self.out.push_str(if i > 0 { self.form.item } else { "" })?;
        self.line(depth)
    }

    /// What goes after the last of `count` items.
    fn end(&mut self, count: usize, depth: usize) -> Result<()> {
        if count > 0 { self.line(depth) } else { Ok(()) }
    }

    fn line(&mut self, depth: usize) -> Result<()> {
        match self.form.indent {
            Some(indent) => {
                self.out.push('\n')?;
                self.out.repeat(indent, depth)
            }
            None => Ok(()),
        }
    }

    fn float(&mut self, value: f64) -> Result<()> {
        match float::special(value) {
            Some("nan") => self.out.push_str("NaN"),
            Some("inf") => self.out.push_str("Infinity"),
            Some(_) => self.out.push_str("-Infinity"),
            None => self.out.push_str(&float::repr(value)),
        }
    }

    fn string(&mut self, text: &str) -> Result<()> {
        self.out.push('"')?;
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            if !matches!(c, '"' | '\\' | '\0'..' ') && (c.is_ascii() || !self.form.ascii) {
                continue;
            }
            self.out.push_str(&text[plain..at])?;
            plain = at + c.len_utf8();
            match c {
                '"' => self.out.push_str("\\\"")?,
                '\\' => self.out.push_str("\\\\")?,
                '\n' => self.out.push_str("\\n")?,
                '\r' => self.out.push_str("\\r")?,
                '\t' => self.out.push_str("\\t")?,
                '\x08' => self.out.push_str("\\b")?,
                '\x0c' => self.out.push_str("\\f")?,
                c => {
                    for &unit in c.encode_utf16(&mut [0; 2]).iter() {
                        self.out.push_str("\\u")?;
                        push_hex(u32::from(unit), 4, self.out)?;
                    }
                }
            }
        }
        self.out.push_str(&text[plain..])?;
        self.out.push('"')
    }
}
