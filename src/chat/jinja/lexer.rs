//! Source text to tokens: tags among text, and what is inside of tags.
//!
//! White space around tags follows the settings that the model's publishers use: the line break after a block tag goes
//! (`trim_blocks`), so does the white space before one that starts its line (`lstrip_blocks`), a `-` beside a tag takes
//! all white space on its side, and a `+` keeps it. One line break at the end of the source goes. Line ends are `\n`
//! afterwards, whatever they were.

use super::error::{Error, Quoted, Result};
use super::float;
use super::int::Int;
use super::text::is_space;
use std::borrow::Cow;

#[derive(Clone, Debug, PartialEq)]
pub enum Token<'s> {
    /// Text outside of tags.
    Data(&'s str),
    /// `{{`
    PrintBegin,
    /// `}}`
    PrintEnd,
    /// `{%`
    BlockBegin,
    /// `%}`
    BlockEnd,
    Name(&'s str),
    Text(String),
    Int(Int),
    Float(f64),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

impl Token<'_> {
    /// The token as an error message has it.
    pub fn describe(&self) -> String {
        match self {
            Token::Data(_) => "text".to_owned(),
            Token::PrintBegin => "`{{`".to_owned(),
            Token::PrintEnd => "`}}`".to_owned(),
            Token::BlockBegin => "`{%`".to_owned(),
            Token::BlockEnd => "`%}`".to_owned(),
            Token::Name(name) => Quoted(name).to_string(),
            Token::Text(_) => "a string".to_owned(),
            Token::Int(_) | Token::Float(_) => "a number".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end of the template".to_owned(),
        }
    }
}

/// Operators and brackets, the longest first.
const SIGNS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

/// Makes every line end `\n` and drops one at the end.
pub fn normal_lines(source: &str) -> Cow<'_, str> {
    let mut source = match source.contains('\r') {
        true => Cow::Owned(source.replace("\r\n", "\n").replace('\r', "\n")),
        false => Cow::Borrowed(source),
    };
    if source.ends_with('\n') {
        match &mut source {
            Cow::Borrowed(text) => *text = &text[..text.len() - 1],
            Cow::Owned(text) => drop(text.pop()),
        }
    }
    source
}

/// The tokens of a source whose line ends are `\n`, each with its line from 1. The last is [`Token::End`].
///
/// # Errors
/// What is no token, and comments, strings and raw blocks that do not end.
pub fn tokens(source: &str) -> Result<Vec<(Token<'_>, u32)>> {
    let mut lexer = Lexer { source, at: 0, line: 1, after_line: true, tokens: Vec::new() };
    while lexer.text()? {}
    lexer.push(Token::End);
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    /// The line of `at`.
    line: u32,
    /// Whether what was read last ended with a line.
    after_line: bool,
    tokens: Vec<(Token<'s>, u32)>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn push(&mut self, token: Token<'s>) {
        self.tokens.push((token, self.line));
    }

    fn error<T>(&self, problem: impl std::fmt::Display) -> Result<T> {
        Err(Error::syntax(self.line, problem))
    }

    /// Moves on by `bytes`.
    fn skip(&mut self, bytes: usize) {
        let passed = &self.source[self.at..self.at + bytes];
        if !passed.is_empty() {
            self.line += passed.matches('\n').count() as u32;
            self.after_line = passed.ends_with('\n');
        }
        self.at += bytes;
    }

    /// Reads text and the tag after it, if there is one.
    fn text(&mut self) -> Result<bool> {
        let rest = self.rest();
        let openings = rest.match_indices('{').map(|(at, _)| at);
        let opens = |at: &usize| rest[at + 1..].starts_with(['{', '%', '#']);
        let Some(opening) = openings.into_iter().find(opens) else {
            if !rest.is_empty() {
                self.push(Token::Data(rest));
                self.skip(rest.len());
            }
            return Ok(false);
        };
        let kind = rest.as_bytes()[opening + 1];
        let tag = &rest[opening + 2..];
        let sign = tag.bytes().next().filter(|sign| matches!(sign, b'-' | b'+'));
        self.data(&rest[..opening], sign, kind != b'{');
        self.skip(opening);
        if kind == b'%'
            && let Some(len) = raw_begin(&tag[sign.iter().len()..])
        {
            self.skip(2 + sign.iter().len() + len);
            return self.raw().map(|()| true);
        }
        self.skip(2 + sign.iter().len());
        self.after_line = false;
        match kind {
            b'#' => self.comment()?,
            b'%' => {
                self.push(Token::BlockBegin);
                self.inside(Token::BlockEnd)?;
            }
            _ => {
                self.push(Token::PrintBegin);
                self.inside(Token::PrintEnd)?;
            }
        }
        Ok(true)
    }

    /// Text before a tag; of the tag: its `-` or `+`, and whether it is a block or a comment.
    fn data(&mut self, text: &'s str, sign: Option<u8>, block: bool) {
        let mut kept = text;
        if sign == Some(b'-') {
            kept = text.trim_end_matches(is_space);
        } else if sign.is_none() && block {
            let line = text.rfind('\n').map_or(0, |at| at + 1);
            if (line > 0 || self.after_line) && text[line..].chars().all(is_space) {
                kept = &text[..line];
            }
        }
        if !kept.is_empty() {
            self.push(Token::Data(kept));
        }
    }

    /// The length of the end of a tag, with the white space that goes with it; none if `rest` does not begin with it.
    fn end(rest: &str, mark: &str, block: bool) -> Option<usize> {
        if let Some(after) = rest.strip_prefix('-').and_then(|rest| rest.strip_prefix(mark)) {
            return Some(rest.len() - after.trim_start_matches(is_space).len());
        }
        if block && rest.strip_prefix('+').is_some_and(|rest| rest.starts_with(mark)) {
            return Some(1 + mark.len());
        }
        let after = rest.strip_prefix(mark)?;
        Some(mark.len() + usize::from(block && after.starts_with('\n')))
    }

    fn comment(&mut self) -> Result<()> {
        let Some(mut close) = self.rest().find("#}") else {
            // As in the reference, what begins at the very end need not end.
            if self.rest().is_empty() {
                return Ok(());
            }
            return self.error("a comment does not end: `#}` is missing");
        };
        if close > 0 && matches!(self.rest().as_bytes()[close - 1], b'-' | b'+') {
            close -= 1;
        }
        self.skip(close);
        let end = Self::end(self.rest(), "#}", true).unwrap_or(0);
        self.skip(end);
        Ok(())
    }

    fn raw(&mut self) -> Result<()> {
        let rest = self.rest();
        for (opening, _) in rest.match_indices("{%") {
            let tag = &rest[opening + 2..];
            let sign = tag.bytes().next().filter(|sign| matches!(sign, b'-' | b'+'));
            let word = tag[sign.iter().len()..].trim_start_matches(is_space);
            let Some(after) = word.strip_prefix("endraw") else { continue };
            let after = after.trim_start_matches(is_space);
            let Some(end) = Self::end(after, "%}", true) else { continue };
            self.data(&rest[..opening], sign, true);
            self.skip(rest.len() - after.len() + end);
            return Ok(());
        }
        if rest.is_empty() {
            return Ok(());
        }
        self.error("a raw block does not end: `{% endraw %}` is missing")
    }

    /// The inside of a tag, and its end.
    fn inside(&mut self, end: Token<'s>) -> Result<()> {
        let (mark, block) = if end == Token::BlockEnd { ("%}", true) } else { ("}}", false) };
        let mut brackets = Vec::new();
        loop {
            if brackets.is_empty()
                && let Some(len) = Self::end(self.rest(), mark, block)
            {
                self.push(end);
                self.skip(len);
                return Ok(());
            }
            let rest = self.rest();
            let Some(first) = rest.chars().next() else { return Ok(()) };
            if is_space(first) {
                self.skip(rest.len() - rest.trim_start_matches(is_space).len());
            } else if first.is_ascii_digit() {
                self.number()?;
            } else if first == '_' || first.is_alphabetic() {
                let len = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
                self.push(Token::Name(&rest[..len]));
                self.skip(len);
            } else if matches!(first, '\'' | '"') {
                self.string(first)?;
            } else {
                let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) else {
                    return self.error(format_args!("the character {} means nothing here", Quoted(&first.to_string())));
                };
                match sign {
                    "{" => brackets.push("}"),
                    "(" => brackets.push(")"),
                    "[" => brackets.push("]"),
                    "}" | ")" | "]" => match brackets.pop() {
                        Some(expected) if expected == sign => {}
                        Some(expected) => return self.error(format_args!("`{sign}` where `{expected}` is expected")),
                        None => return self.error(format_args!("`{sign}` closes nothing")),
                    },
                    _ => {}
                }
                self.push(Token::Sign(sign));
                self.skip(sign.len());
            }
        }
    }

    fn number(&mut self) -> Result<()> {
        let rest = self.rest();
        let digits = |text: &str, base: u32| separated(text, |c| c.is_digit(base));
        // A number after a point is the index of an attribute, and has no point of its own.
        let whole = digits(rest, 10);
        let mut len = whole;
        if !self.source[..self.at].ends_with('.') {
            let fraction = rest[len..].strip_prefix('.').map_or(0, |rest| digits(rest, 10));
            if fraction > 0 {
                len += 1 + fraction;
            }
            if let Some(exponent) = rest[len..].strip_prefix(['e', 'E']) {
                let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                let power = digits(unsigned, 10);
                if power > 0 {
                    len += 1 + exponent.len() - unsigned.len() + power;
                }
            }
        }
        if len > whole {
            match float::parse(&rest[..len]) {
                Some(value) => self.push(Token::Float(value)),
                None => return self.error("a number cannot be read"),
            }
            self.skip(len);
            return Ok(());
        }
        let prefix = rest.get(..2).map(str::to_ascii_lowercase);
        let base = match prefix.as_deref() {
            Some("0b") => 2,
            Some("0o") => 8,
            Some("0x") => 16,
            _ => 10,
        };
        let mut start = 0;
        if base != 10 {
            let after = rest[2..].strip_prefix('_').unwrap_or(&rest[2..]);
            let prefixed = digits(after, base);
            if prefixed > 0 {
                start = rest.len() - after.len();
                len = start + prefixed;
            }
        }
        if start == 0 && rest.starts_with('0') {
            len = separated(rest, |c| c == '0');
        }
        let text = rest[start..len].replace('_', "");
        match Int::parse(&text, if start == 0 { 10 } else { base }) {
            Some(value) => self.push(Token::Int(value)),
            None => return self.error("an integer has too many digits"),
        }
        self.skip(len);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<()> {
        let rest = self.rest();
        let mut value = String::new();
        let mut chars = rest.char_indices().skip(1);
        loop {
            let Some((at, c)) = chars.next() else { return self.error("a string does not end") };
            if c == quote {
                self.push(Token::Text(value));
                self.skip(at + 1);
                return Ok(());
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            let Some((at, escape)) = chars.next() else { return self.error("a string does not end") };
            let after = &rest[at + escape.len_utf8()..];
            let mut code = |digits: &str, base| match u32::from_str_radix(digits, base).ok().and_then(char::from_u32) {
                Some(c) => {
                    value.push(c);
                    Ok(digits.len())
                }
                None => self.error("an escape in a string is no character"),
            };
            let hex = |count: usize| {
                let digits = after.get(..count).filter(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()));
                digits.map_or_else(|| self.error("an escape in a string has too few digits"), Ok)
            };
            let skipped = match escape {
                'x' => code(hex(2)?, 16)?,
                'u' => code(hex(4)?, 16)?,
                'U' => code(hex(8)?, 16)?,
                '0'..='7' => {
                    let digits = &rest[at..];
                    let len = digits.find(|c| !matches!(c, '0'..='7')).unwrap_or(digits.len()).min(3);
                    code(&digits[..len], 8)? - 1
                }
                'N' => return self.error("names of characters (`\\N{...}`) are not known here"),
                '\n' => 0,
                _ => {
                    match escape {
                        '\\' | '\'' | '"' => value.push(escape),
                        'a' => value.push('\x07'),
                        'b' => value.push('\x08'),
                        'f' => value.push('\x0c'),
                        'n' => value.push('\n'),
                        'r' => value.push('\r'),
                        't' => value.push('\t'),
                        'v' => value.push('\x0b'),
                        // The reference reads the two as an escaped backslash and the number of the character.
                        c if !c.is_ascii() => {
                            let (letter, width) = match c as u32 {
                                0..=0xff => ('x', 2),
                                0x100..=0xffff => ('u', 4),
                                _ => ('U', 8),
                            };
                            value += &format!("\\{letter}{:0width$x}", c as u32);
                        }
                        c => value.extend(['\\', c]),
                    }
                    0
                }
            };
            // What the escapes take is ASCII.
            if skipped > 0 {
                chars.nth(skipped - 1);
            }
        }
    }
}

/// The length of `raw %}` and the white space around it, if this is it.
fn raw_begin(tag: &str) -> Option<usize> {
    let after = tag.trim_start_matches(is_space).strip_prefix("raw")?.trim_start_matches(is_space);
    let rest = match after.strip_prefix("-%}") {
        Some(rest) => rest.trim_start_matches(is_space),
        None => after.strip_prefix("%}")?,
    };
    Some(tag.len() - rest.len())
}

/// The length of digits at the start of a text, between which there may be single underscores.
fn separated(text: &str, digit: impl Fn(char) -> bool) -> usize {
    let mut len = 0;
    for (at, c) in text.char_indices() {
        if digit(c) {
            len = at + 1;
        } else if c != '_' || len != at {
            break;
        }
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(source: &str) -> Vec<String> {
        let show = |token: &Token<'_>| match token {
            Token::Data(text) => Some((*text).to_owned()),
            _ => None,
        };
        tokens(source).unwrap().iter().filter_map(|(token, _)| show(token)).collect()
    }

    fn inside(source: &str) -> Vec<Token<'static>> {
        let source: &'static str = Box::leak(format!("{{{{{source}}}}}").into_boxed_str());
        let all = tokens(source).unwrap();
        all[1..all.len() - 2].iter().map(|(token, _)| token.clone()).collect()
    }

    #[test]
    fn white_space_goes_as_the_tags_say() {
        assert_eq!(data("a \n  {% x %}\n b {%- y -%} \n c {{ z }}\n"), ["a \n", " b", "c ", "\n"]);
        assert_eq!(data("  {%+ x +%}\n  {# c #}\n  d{#- e -#}  f"), ["  ", "\n", "  d", "f"]);
        assert_eq!(data(" x {% raw %}\n{{ {% endraw %}\ny"), [" x ", "\n{{ ", "y"]);
        assert_eq!(data("{%- raw -%}  a{#  {%- endraw -%}  b"), ["a{#", "b"]);
        assert_eq!(normal_lines("a\r\nb\rc\n\r\n"), "a\nb\nc\n");
    }

    #[test]
    fn numbers_strings_and_signs() {
        let int = |value| Token::Int(Int::from(value));
        assert_eq!(inside("1_0 0x_ff 1.5e3 2e-1"), [int(10), int(255), Token::Float(1500.0), Token::Float(0.2)]);
        assert_eq!(inside("a.1.5"), [Token::Name("a"), Token::Sign("."), int(1), Token::Sign("."), int(5)]);
        assert_eq!(inside("1.x"), [int(1), Token::Sign("."), Token::Name("x")]);
        assert_eq!(inside(r"'a\n\x41\u00e9\101\q\'' "), [Token::Text("a\nAéA\\q'".to_owned())]);
        assert_eq!(inside("'\\é'"), [Token::Text("\\xe9".to_owned())]);
        assert_eq!(
            inside("{'a':{}}"),
            ["{", "", ":", "{", "}", "}"].map(|sign| match sign {
                "" => Token::Text("a".to_owned()),
                sign => Token::Sign(SIGNS.into_iter().find(|s| *s == sign).unwrap()),
            })
        );
        for wrong in
            ["{{ ! }}", "{{ ) }}", "{{ (] }}", "{# ", "{% raw %} ", "{{ 'a", r"{{ '\ud800' }}", r"{{ '\xg0' }}"]
        {
            assert!(tokens(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_are_counted() {
        let lines: Vec<u32> = tokens("a\n{{ 1\n }}\n\n{#\n#}\n{{ 'x\ny' }}{{").unwrap().iter().map(|t| t.1).collect();
        // text, three tokens, text, three tokens, `{{`, the end
        assert_eq!(lines, [1, 2, 2, 3, 3, 7, 7, 8, 8, 8]);
    }
}
