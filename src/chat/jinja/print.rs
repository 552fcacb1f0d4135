//! Values as text: `str`, `repr` and `ascii` of Python.

use super::error::{Result, fail};
use super::float;
use super::int::{Int, MAX_DECIMALS};
use super::meter::Buffer;
use super::text::push_hex;
use super::value::{Function, Seq, Value, View};
use unicode_general_category::{GeneralCategory, get_general_category};

/// `str(value)`
pub fn text(value: &Value, out: &mut Buffer) -> Result<()> {
    match value {
        Value::Undefined(_) => Ok(()),
        Value::Str(text) => out.push_str(text),
        value => repr(value, out),
    }
}

/// `repr(value)`
pub fn repr(value: &Value, out: &mut Buffer) -> Result<()> {
    nested(value, 0, out)
}

/// `ascii(value)`: as `repr`, with escapes for what is not ASCII.
pub fn ascii(value: &Value, out: &mut Buffer) -> Result<()> {
    let mut plain = Buffer::new(out.meter());
    repr(value, &mut plain)?;
    plain.as_str().chars().try_for_each(|c| if c.is_ascii() { out.push(c) } else { escape(c, out) })
}

/// Nesting of what prints through a namespace is not bounded by what a value knows of itself.
const MAX_DEPTH: usize = 200;

fn nested(value: &Value, depth: usize, out: &mut Buffer) -> Result<()> {
    if depth > MAX_DEPTH {
        fail!("a value is nested too deeply");
    }
    out.meter().work(1)?;
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(value) => out.push_str(if *value { "True" } else { "False" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Big(value) => integer(value, out),
        Value::Float(value) => out.push_str(&float::repr(*value)),
        Value::Str(text) if text.markup => {
            out.push_str("Markup(")?;
            quoted(text, out)?;
            out.push(')')
        }
        Value::Str(text) => quoted(text, out),
        Value::List(items) => {
            out.push('[')?;
            sequence(items, depth, out)?;
            out.push(']')
        }
        Value::Tuple(items) => {
            out.push('(')?;
            sequence(items, depth, out)?;
            out.push_str(if items.len() == 1 { ",)" } else { ")" })
        }
        Value::Dict(map) => {
            out.push('{')?;
            entries(map.entries(), depth, out)?;
            out.push('}')
        }
        Value::View(view, map) => {
            let (name, parts): (_, [bool; 2]) = match view {
                View::Keys => ("dict_keys([", [true, false]),
                View::Values => ("dict_values([", [false, true]),
                View::Items => ("dict_items([", [true, true]),
            };
            out.push_str(name)?;
            for (i, (key, value)) in map.entries().iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" })?;
                out.push_str(if *view == View::Items { "(" } else { "" })?;
                if parts[0] {
                    nested(key, depth + 1, out)?;
                }
                out.push_str(if *view == View::Items { ", " } else { "" })?;
                if parts[1] {
                    nested(value, depth + 1, out)?;
                }
                out.push_str(if *view == View::Items { ")" } else { "" })?;
            }
            out.push_str("])")
        }
        Value::Range(range) => {
            let step = if range.step == 1 { String::new() } else { format!(", {}", range.step) };
            out.push_str(&format!("range({}, {}{step})", range.start, range.stop))
        }
        Value::Stream(stream) => out.push_str(&format!("<{}>", stream.name)),
        Value::Namespace(namespace) => {
            out.push_str("<Namespace {")?;
            let attributes = namespace.attributes.borrow();
            for (i, (name, value)) in attributes.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" })?;
                quoted(name, out)?;
                out.push_str(": ")?;
                nested(value, depth + 1, out)?;
            }
            out.push_str("}>")
        }
        Value::Macro(macro_) => match &macro_.name {
            Some(name) => {
                out.push_str("<Macro ")?;
                quoted(name, out)?;
                out.push('>')
            }
            None => out.push_str("<Macro anonymous>"),
        },
        Value::Loop(loop_) => {
            let state = loop_.state.borrow();
            match state.length {
                Some(length) => out.push_str(&format!("<LoopContext {}/{length}>", state.begun)),
                None => out.push_str(&format!("<LoopContext {}>", state.begun)),
            }
        }
        Value::Cycler(_) => out.push_str("<Cycler>"),
        Value::Joiner(_) => out.push_str("<Joiner>"),
        Value::Function(function) => out.push_str(match function {
            Function::Range => "<function range>",
            Function::Dict => "<function dict>",
            Function::FromKeys => "<function fromkeys>",
            Function::Namespace => "<function namespace>",
            Function::Cycler => "<function cycler>",
            Function::Joiner => "<function joiner>",
            Function::RaiseException => "<function raise_exception>",
            Function::StrftimeNow => "<function strftime_now>",
        }),
        Value::Method(method) => out.push_str(&format!("<method {} of {}>", method.1, method.0.kind().name())),
        Value::Template => out.push_str("<TemplateReference None>"),
        Value::Block(_) => out.push_str("<BlockReference>"),
    }
}

fn sequence(items: &Seq, depth: usize, out: &mut Buffer) -> Result<()> {
    for (i, item) in items.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" })?;
        nested(item, depth + 1, out)?;
    }
    Ok(())
}

fn entries(entries: &[(Value, Value)], depth: usize, out: &mut Buffer) -> Result<()> {
    for (i, (key, value)) in entries.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" })?;
        nested(key, depth + 1, out)?;
        out.push_str(": ")?;
        nested(value, depth + 1, out)?;
    }
    Ok(())
}

/// `str(value)` of an integer beyond 64 bits.
pub fn integer(value: &Int, out: &mut Buffer) -> Result<()> {
    out.meter().work(value.len() * value.len())?;
    let digits = value.magnitude(10);
    if digits.len() > MAX_DECIMALS {
        fail!("an integer has too many digits to be printed: {}, of at most {MAX_DECIMALS}", digits.len());
    }
    out.push_str(if value.is_negative() { "-" } else { "" })?;
    out.push_str(&digits)
}

/// `repr` of a string.
fn quoted(text: &str, out: &mut Buffer) -> Result<()> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote)?;
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        if c != quote && c != '\\' && is_printable(c) {
            continue;
        }
        out.push_str(&text[plain..at])?;
        plain = at + c.len_utf8();
        match c {
            '\\' => out.push_str("\\\\")?,
            '\n' => out.push_str("\\n")?,
            '\r' => out.push_str("\\r")?,
            '\t' => out.push_str("\\t")?,
            c if c == quote => {
                out.push('\\')?;
                out.push(c)?;
            }
            c => escape(c, out)?,
        }
    }
    out.push_str(&text[plain..])?;
    out.push(quote)
}

fn escape(c: char, out: &mut Buffer) -> Result<()> {
    let (prefix, digits) = match c as u32 {
        0..=0xff => ("\\x", 2),
        0x100..=0xffff => ("\\u", 4),
        _ => ("\\U", 8),
    };
    out.push_str(prefix)?;
    push_hex(c as u32, digits, out)
}

/// `str.isprintable` of one character.
pub fn is_printable(c: char) -> bool {
    use GeneralCategory::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Surrogate, Unassigned,
    };
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    !matches!(
        get_general_category(c),
        Control | Format | Surrogate | PrivateUse | Unassigned | LineSeparator | ParagraphSeparator | SpaceSeparator
    )
}
