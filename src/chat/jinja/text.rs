//! Characters and text as Python sees them.

use super::error::Result;
use super::meter::Buffer;

/// `str.isspace` of one character: Unicode white space and four separators of old.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// `markupsafe.escape`: text as it is written in HTML.
pub fn escape_html(text: &str, out: &mut Buffer) -> Result<()> {
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '\'', '"']) {
        out.push_str(&rest[..at])?;
        out.push_str(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'\'' => "&#39;",
            _ => "&#34;",
        })?;
        rest = &rest[at + 1..];
    }
    out.push_str(rest)
}

/// The lowest hexadecimal digits of a number.
pub fn push_hex(value: u32, digits: u32, out: &mut Buffer) -> Result<()> {
    (0..digits).rev().try_for_each(|at| out.push(char::from_digit(value >> (4 * at) & 15, 16).unwrap_or('0')))
}

/// Whether a character has a case.
pub fn is_cased(c: char) -> bool {
    c.is_uppercase() || c.is_lowercase() || is_title_case(c)
}

/// Characters that are a capital and a small letter in one.
fn is_title_case(c: char) -> bool {
    matches!(
        c,
        'ǅ' | 'ǈ' | 'ǋ' | 'ǲ' | 'ᾼ' | 'ῌ' | 'ῼ'
            | '\u{1f88}'..='\u{1f8f}'
            | '\u{1f98}'..='\u{1f9f}'
            | '\u{1fa8}'..='\u{1faf}'
    )
}

/// A character as the first of a word.
fn push_title(c: char, out: &mut Buffer) -> Result<()> {
    match c {
        'Ǆ' | 'ǅ' | 'ǆ' => out.push('ǅ'),
        'Ǉ' | 'ǈ' | 'ǉ' => out.push('ǈ'),
        'Ǌ' | 'ǋ' | 'ǌ' => out.push('ǋ'),
        'Ǳ' | 'ǲ' | 'ǳ' => out.push('ǲ'),
        // Several characters: the first is a capital.
        c => {
            let mut upper = c.to_uppercase();
            upper.next().map_or(Ok(()), |c| out.push(c))?;
            upper.flat_map(char::to_lowercase).try_for_each(|c| out.push(c))
        }
    }
}

/// `str.lower`
pub fn lower(text: &str, out: &mut Buffer) -> Result<()> {
    // As a whole, since a sigma is another at the end of a word. No character has one that is more than half as long
    // again.
    let _paid = out.meter().charge(text.len() / 2 * 3)?;
    out.push_str(&text.to_lowercase())
}

/// `str.upper`
pub fn upper(text: &str, out: &mut Buffer) -> Result<()> {
    let _paid = out.meter().charge(text.len().saturating_mul(3))?;
    out.push_str(&text.to_uppercase())
}

/// `str.capitalize`
pub fn capitalize(text: &str, out: &mut Buffer) -> Result<()> {
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return Ok(()) };
    push_title(first, out)?;
    let mut all = Buffer::new(out.meter());
    lower(text, &mut all)?;
    let first: usize = first.to_lowercase().map(char::len_utf8).sum();
    out.push_str(&all.as_str()[first..])
}

/// `str.title`: every run of letters begins with a capital.
pub fn title(text: &str, out: &mut Buffer) -> Result<()> {
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => c.to_lowercase().try_for_each(|c| out.push(c))?,
            false => push_title(c, out)?,
        }
        inside = is_cased(c);
    }
    Ok(())
}

/// `str.swapcase`
pub fn swap_case(text: &str, out: &mut Buffer) -> Result<()> {
    text.chars().try_for_each(|c| {
        if c.is_uppercase() {
            c.to_lowercase().try_for_each(|c| out.push(c))
        } else if c.is_lowercase() {
            c.to_uppercase().try_for_each(|c| out.push(c))
        } else {
            out.push(c)
        }
    })
}

/// `str.islower`
pub fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(|c| c.is_uppercase() || is_title_case(c))
}

/// `str.isupper`
pub fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(|c| c.is_lowercase() || is_title_case(c))
}

/// `str.istitle`
pub fn is_title(text: &str) -> bool {
    let (mut inside, mut any) = (false, false);
    for c in text.chars() {
        let capital = c.is_uppercase() || is_title_case(c);
        if (capital && inside) || (c.is_lowercase() && !inside) {
            return false;
        }
        any |= capital;
        inside = is_cased(c);
    }
    any
}

/// Characters that end a line.
pub const LINE_ENDS: [char; 10] =
    ['\n', '\r', '\x0b', '\x0c', '\x1c', '\x1d', '\x1e', '\u{85}', '\u{2028}', '\u{2029}'];

/// The lines of `str.splitlines`, with their ends if those are kept.
pub fn lines(text: &str, keep: bool) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let at = rest.find(LINE_ENDS).unwrap_or(rest.len());
        let after = &rest[at..];
        let end = if after.starts_with("\r\n") { 2 } else { after.chars().next().map_or(0, char::len_utf8) };
        let line = &rest[..at + if keep { end } else { 0 }];
        rest = &rest[at + end..];
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::jinja::meter::{Limits, Meter};

    fn changed(text: &str, change: fn(&str, &mut Buffer) -> Result<()>) -> String {
        let mut out = Buffer::new(&Meter::new(Limits { work: 1000, memory: 1000 }));
        change(text, &mut out).unwrap();
        out.into_parts().0
    }

    #[test]
    fn cases_are_those_of_python() {
        assert_eq!(changed("they're ßa ǆx ΑΣ", title), "They'Re Ssa ǅx Ας".replace('ς', "σ"));
        assert_eq!(changed("éA B", capitalize) + &changed("", capitalize), "Éa b");
        assert_eq!(changed("aBß1", swap_case), "AbSS1");
        assert!(is_title("A Bc1D") && !is_title("AB") && !is_title("1") && is_lower("a1") && !is_lower("1"));
    }

    #[test]
    fn lines_end_where_python_ends_them() {
        let text = "a\r\nb\x0bc\u{2028}\n\rd";
        assert_eq!(lines(text, false).collect::<Vec<_>>(), ["a", "b", "c", "", "", "d"]);
        assert_eq!(lines(text, true).collect::<String>(), text);
        assert_eq!(lines("\n", false).count() + lines("", false).count(), 1);
    }
}
