//! Filters that make text.

use crate::chat::jinja::args::{Args, flag, integer, integer_or, optional_integer, optional_string, required, string};
use crate::chat::jinja::error::{Quoted, Result, fail};
use crate::chat::jinja::format;
use crate::chat::jinja::host::Host;
use crate::chat::jinja::json;
use crate::chat::jinja::meter::{Buffer, Items};
use crate::chat::jinja::strings;
use crate::chat::jinja::text::{self as case, escape_html, is_space};
use crate::chat::jinja::value::{Dict, Text, Value, View};

/// A filter that changes the text of a value.
pub fn changed(
    host: &mut dyn Host,
    value: &Value,
    args: &Args,
    change: fn(&str, &mut Buffer) -> Result<()>,
) -> Result<Value> {
    args.none("the filter")?;
    let text = host.text_of(value)?;
    host.meter().work(text.len() / strings::CHARACTERS_PER_STEP)?;
    let mut out = Buffer::new(host.meter());
    change(&text, &mut out)?;
    out.finish_as(text.markup).map(Value::Str)
}

/// `title`, whose words begin after white space, hyphens and opening brackets.
pub fn title(text: &str, out: &mut Buffer) -> Result<()> {
    let breaks = |c: char| is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(breaks).unwrap_or(rest.len());
        let mut chars = rest[..word].chars();
        if let Some(first) = chars.next() {
            first.to_uppercase().try_for_each(|c| out.push(c))?;
            case::lower(chars.as_str(), out)?;
        }
        rest = &rest[word..];
        let after = rest.find(|c| !breaks(c)).unwrap_or(rest.len());
        out.push_str(&rest[..after])?;
        rest = &rest[after..];
    }
    Ok(())
}

pub fn center(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [width] = args.bind("center", ["width"])?;
    let width = integer_or(&width, 80, "center")?;
    let text = host.text_of(value)?;
    let mut out = Buffer::new(host.meter());
    strings::put_padded(&text, "center", width, ' ', &mut out)?;
    out.finish_as(text.markup).map(Value::Str)
}

pub fn escape(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("escape")?;
    match value {
        Value::Str(text) if text.markup => Ok(value.clone()),
        value => force(host, value),
    }
}

pub fn force_escape(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("forceescape")?;
    force(host, value)
}

fn force(host: &dyn Host, value: &Value) -> Result<Value> {
    let text = host.text_of(value)?;
    let mut out = Buffer::new(host.meter());
    escape_html(&text, &mut out)?;
    out.finish_as(true).map(Value::Str)
}

pub fn safe(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("safe")?;
    let text = host.text_of(value)?;
    let mut out = Buffer::new(host.meter());
    out.push_str(&text)?;
    out.finish_as(true).map(Value::Str)
}

pub fn stringify(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("string")?;
    host.text_of(value).map(Value::Str)
}

pub fn formatted(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let form = host.text_of(value)?;
    let values = if args.named.is_empty() {
        let mut values = Items::new(host.meter());
        for value in args.positional.iter() {
            values.push(value.clone())?;
        }
        Value::tuple(values)?
    } else if args.positional.is_empty() {
        let mut values = Dict::new(host.meter())?;
        for (name, value) in args.named.iter() {
            values.insert(Value::Str(name.clone()), value.clone())?;
        }
        values.finish()?
    } else {
        fail!("format takes arguments with names or without, not both");
    };
    format::percent(host.meter(), &form, &values)
}

pub fn indent(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [width, first, blank] = args.bind("indent", ["width", "first", "blank"])?;
    host.defined(value)?;
    let text = string(value, "indent")?;
    let mut space = Buffer::new(host.meter());
    match width {
        Some(Value::Str(width)) => space.push_str(&width)?,
        None => space.pad(' ', 4)?,
        Some(width) => space.pad(' ', integer(&width, "indent")?.max(0) as usize)?,
    }
    let (first, blank) = (flag(&first), flag(&blank));
    host.meter().work(text.len() / strings::CHARACTERS_PER_STEP)?;
    let mut out = Buffer::new(host.meter());
    if first {
        out.push_str(space.as_str())?;
    }
    // A line end at the end begins no line, any other does.
    for (at, line) in case::lines(&text, false).enumerate() {
        if at > 0 {
            out.push('\n')?;
            if blank || !line.is_empty() {
                out.push_str(space.as_str())?;
            }
        }
        out.push_str(line)?;
    }
    // To which the reference adds a line end of its own, so that `\r` becomes `\r\n`.
    if text.ends_with(case::LINE_ENDS) && !text.ends_with('\r') {
        out.push('\n')?;
        if blank {
            out.push_str(space.as_str())?;
        }
    }
    out.finish_as(text.markup).map(Value::Str)
}

pub fn replace(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [old, new, count] = args.bind("replace", ["old", "new", "count"])?;
    let text = host.text_of(value)?;
    let old = host.text_of(&required(old, "replace", "old")?)?;
    let new = host.text_of(&required(new, "replace", "new")?)?;
    let count = optional_integer(&count, "replace")?.unwrap_or(-1);
    host.meter().work(text.len() / strings::CHARACTERS_PER_STEP)?;
    let mut out = Buffer::new(host.meter());
    strings::replace(&text, &old, &new, count, &mut out)?;
    out.finish().map(Value::Str)
}

pub fn trim(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [characters] = args.bind("trim", ["chars"])?;
    let characters = optional_string(&characters, "trim")?;
    let text = host.text_of(value)?;
    host.meter().scan(characters.as_ref().map_or(0, |characters| characters.len()))?;
    let kept = strings::strip(&text, characters.as_ref().map(|characters| characters.as_str()), true, true);
    host.meter().work((text.len() - kept.len()) / strings::CHARACTERS_PER_STEP)?;
    let mut out = Buffer::new(host.meter());
    out.push_str(kept)?;
    out.finish_as(text.markup).map(Value::Str)
}

pub fn truncate(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [length, kill, end, leeway] = args.bind("truncate", ["length", "killwords", "end", "leeway"])?;
    let length = integer_or(&length, 255, "truncate")?;
    let end = match end {
        Some(end) => string(&end, "truncate")?,
        None => Text::new(host.meter(), "...")?,
    };
    let leeway = optional_integer(&leeway, "truncate")?.unwrap_or(5);
    if length < end.chars as i64 || leeway < 0 {
        fail!("truncate needs a length of at least {}, and a leeway that is not negative", end.chars);
    }
    // What is short enough may be anything.
    if value.len().is_some_and(|len| len as i64 <= length.saturating_add(leeway)) {
        return Ok(value.clone());
    }
    let text = string(value, "truncate")?;
    host.meter().scan(text.len())?;
    let kept = &text[..text.offset((length - end.chars as i64) as usize)];
    let kept = if flag(&kill) { kept } else { kept.rsplit_once(' ').map_or(kept, |(before, _)| before) };
    let mut out = Buffer::new(host.meter());
    out.push_str(kept)?;
    out.push_str(&end)?;
    out.finish_as(text.markup).map(Value::Str)
}

pub fn wordcount(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("wordcount")?;
    let text = host.text_of(value)?;
    host.meter().work(text.len() / strings::CHARACTERS_PER_STEP)?;
    let words = text.split(|c: char| c != '_' && !strings::is_alphanumeric(c)).filter(|word| !word.is_empty());
    Ok(Value::Int(words.count() as i64))
}

pub fn urlencode(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    args.none("urlencode")?;
    let mut out = Buffer::new(host.meter());
    let pairs = match value {
        Value::Dict(map) => Value::View(View::Items, map.clone()),
        Value::List(_) | Value::Tuple(_) | Value::Stream(_) | Value::View(..) | Value::Range(_) => value.clone(),
        value => {
            quote_url(&host.text_of(value)?, false, &mut out)?;
            return out.finish().map(Value::Str);
        }
    };
    let mut cursor = host.iterate(&pairs)?;
    let mut first = true;
    while let Some(pair) = cursor.next(host.meter())? {
        let pair = host.collect(&pair)?;
        let [key, value] = &pair[..] else { fail!("urlencode needs pairs") };
        out.push_str(if first { "" } else { "&" })?;
        first = false;
        quote_url(&host.text_of(key)?, true, &mut out)?;
        out.push('=')?;
        quote_url(&host.text_of(value)?, true, &mut out)?;
    }
    out.finish().map(Value::Str)
}

/// `urllib.parse.quote`; in a query a space is a plus, and a slash is quoted too.
fn quote_url(text: &str, query: bool, out: &mut Buffer) -> Result<()> {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte))?,
            b'/' if !query => out.push('/')?,
            b' ' if query => out.push('+')?,
            byte => {
                out.push('%')?;
                for half in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(u32::from(half), 16).unwrap_or('0');
                    out.push(digit.to_ascii_uppercase())?;
                }
            }
        }
    }
    Ok(())
}

pub fn xmlattr(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [space] = args.bind("xmlattr", ["autospace"])?;
    let Value::Dict(map) = value else { fail!("xmlattr needs a dict") };
    let mut out = Buffer::new(host.meter());
    for (key, value) in map.entries() {
        if matches!(value, Value::None | Value::Undefined(_)) {
            continue;
        }
        let key = string(key, "xmlattr")?;
        if key.contains(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>' | '=' | '\x0b')) {
            fail!("{} cannot be the name of an attribute", Quoted(&key));
        }
        if !out.as_str().is_empty() || space.is_none() || flag(&space) {
            out.push(' ')?;
        }
        escape_html(&key, &mut out)?;
        out.push_str("=\"")?;
        let text = host.text_of(value)?;
        if text.markup {
            out.push_str(&text)?
        } else {
            escape_html(&text, &mut out)?
        }
        out.push('"')?;
    }
    out.finish().map(Value::Str)
}

pub fn tojson(host: &mut dyn Host, value: &Value, args: &Args) -> Result<Value> {
    let [ascii, indent, separators, sort] =
        args.bind("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(indent)) => Some(indent),
        Some(width) => {
            let mut space = Buffer::new(host.meter());
            space.pad(' ', integer(&width, "tojson")?.max(0) as usize)?;
            Some(space.finish()?)
        }
    };
    let separators = match separators {
        None | Some(Value::None) => None,
        Some(pair) => {
            let pair = host.collect(&pair)?;
            let [item, key] = &pair[..] else { fail!("tojson needs two separators") };
            Some((string(item, "tojson")?, string(key, "tojson")?))
        }
    };
    let (item, key) = match &separators {
        Some((item, key)) => (item.as_str(), key.as_str()),
        None => (if indent.is_some() { "," } else { ", " }, ": "),
    };
    let indent = indent.as_ref().map(|indent| indent.as_str());
    let form = json::Form { ascii: flag(&ascii), indent, item, key, sort: flag(&sort) };
    let mut out = Buffer::new(host.meter());
    json::write(value, &form, &mut out)?;
    out.finish().map(Value::Str)
}
