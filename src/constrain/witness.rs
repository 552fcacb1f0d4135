//! Short texts that regular expressions and formats allow: what a way to the end of an answer is tried with.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Bytes of a text at most.
const LONGEST: usize = 4_096;

/// A short text that a regular expression matches, if it is one and the text is not long.
pub(super) fn of_pattern(pattern: &str) -> Option<String> {
    let mut text = Vec::new();
    write(&regex_syntax::parse(pattern).ok()?, &mut text)?;
    String::from_utf8(text).ok()
}

/// A text of a format.
pub(super) fn of_format(format: &str) -> Option<&'static str> {
    Some(match format {
        "date" => "2000-01-01",
        "date-time" => "2000-01-01T00:00:00Z",
        "duration" => "P0D",
        "email" => "a@a",
        "hostname" => "a",
        "ipv4" => "0.0.0.0",
        "ipv6" => "::",
        "time" => "00:00:00Z",
        "uri" => "a:",
        "uuid" => "00000000-0000-0000-0000-000000000000",
        _ => return None,
    })
}

/// Writes a short text of an expression. What looks around is taken for satisfied.
fn write(hir: &Hir, text: &mut Vec<u8>) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.extend_from_slice(&literal.0),
        HirKind::Class(Class::Unicode(class)) => {
            let first = class.iter().find(|range| range.end() >= ' ').or(class.iter().next())?;
            let first = if first.start() < ' ' && first.end() >= ' ' { ' ' } else { first.start() };
            text.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
        }
        HirKind::Class(Class::Bytes(class)) => text.push(class.iter().next()?.start()),
        HirKind::Repetition(repetition) => {
            for _ in 0..repetition.min {
                let before = text.len();
                write(&repetition.sub, text)?;
                if text.len() == before {
                    break;
                }
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, text)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, text))?,
        HirKind::Alternation(branches) => {
            let shortest = branches.iter().min_by_key(|branch| branch.properties().minimum_len())?;
            write(shortest, text)?;
        }
    }
    (text.len() <= LONGEST).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_pattern_is_short_and_matches() {
        for (pattern, text) in [
            ("^[A-Z]{2}[0-9]{4}$", "AA0000"),
            ("qwen", "qwen"),
            ("^(abc|x)+$", "x"),
            ("^a?b*$", ""),
            (r"^\d{3}-\w$", "000-0"),
        ] {
            assert_eq!(of_pattern(pattern).as_deref(), Some(text), "{pattern}");
        }
        assert_eq!(of_pattern("("), None);
        assert_eq!(of_pattern("(a{1000}){1000}"), None);
    }
}
