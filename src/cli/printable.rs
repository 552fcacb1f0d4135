//! Text of other people's files, without what could steer a terminal.
//!
//! A model's name, a path, a template's complaint or an answer may hold escape sequences, which move the cursor,
//! change the title or answer in the user's place, and marks that turn the direction of writing, behind which text can
//! hide. What is shown goes through here; what a program reads (an answer in a pipe) does not.

use std::borrow::Cow;
use std::io::IsTerminal;

/// Stands for each character that is left out.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Control characters (C0, DEL and C1), separators of lines, and marks of direction.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with what `bad` holds for replaced.
fn replace(text: &str, bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.contains(&bad) {
        text.chars().map(|c| if bad(c) { REPLACEMENT } else { c }).collect()
    } else {
        Cow::Borrowed(text)
    }
}

/// A part of a line, such as a name.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    replace(text, steers)
}

/// Text of one or more lines: their ends and tabs stay.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    replace(text, |c| steers(c) && c != '\n' && c != '\t')
}

/// A piece of an answer for a terminal. Marks of direction stay, as Arabic and Hebrew use them; a carriage return, with
/// which a line could be written over, goes.
pub(super) fn answer(text: &str) -> Cow<'_, str> {
    let text = match text.contains('\r') {
        true => Cow::Owned(text.replace('\r', "")),
        false => Cow::Borrowed(text),
    };
    let bad = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(bad) { replace(&text, bad).into_owned().into() } else { text }
}

/// What goes to standard output as it is, unless that is a terminal.
pub(super) fn output(text: &str) -> Cow<'_, str> {
    if std::io::stdout().is_terminal() { answer(text) } else { Cow::Borrowed(text) }
}

/// The text of a JSON value, with characters escaped that JSON would let through. It remains the same value.
pub(super) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // JSON itself escapes those below the space, and ends lines between its values with them.
        if steers(c) && c > ' ' {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A title, colours, C1's CSI, a backspace, and an override of direction.
    const HOSTILE: &str = "a\x1b]0;T\x07\x1b[31mb\u{9b}2J\x08\u{202e}c\u{2066}\u{2028}\x7f";

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        for text in [line(HOSTILE), lines(HOSTILE)] {
            assert_eq!(text, "a\u{fffd}]0;T\u{fffd}\u{fffd}[31mb\u{fffd}2J\u{fffd}\u{fffd}c\u{fffd}\u{fffd}\u{fffd}");
        }
        assert!(!answer(HOSTILE).chars().any(char::is_control));
    }

    #[test]
    fn ends_of_lines_stay_where_there_may_be_lines() {
        assert_eq!(line("a\n\tb"), "a\u{fffd}\u{fffd}b");
        assert_eq!(lines("a\n\tb\r"), "a\n\tb\u{fffd}");
        assert_eq!(answer("a\r\n\tb\u{200f}\r"), "a\n\tb\u{200f}");
        for text in ["", "plain", "grüße 世界 🙂 שלום"] {
            assert!(matches!((line(text), lines(text)), (Cow::Borrowed(_), Cow::Borrowed(_))));
            assert!(matches!(answer(text), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({ HOSTILE: [HOSTILE, "世\n"] });
        let text = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.chars().any(|c| steers(c) && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
