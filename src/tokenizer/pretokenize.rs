//! The pre-tokenizer: cuts text into the pieces inside which byte pairs are merged.
//!
//! It is the `qwen35` regular expression, written out by hand:
//! ```text
//! (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+ | \p{N} | ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*
//! | \s*[\r\n]+ | \s+(?!\S) | \s+
//! ```
//! The leftmost alternative that matches wins, and each is greedy with backtracking. Every character belongs to exactly
//! one class below, and every class begins some alternative, so the pieces cover the text without gaps.

use unicode_general_category::{GeneralCategory, get_general_category};

/// What the expression can tell apart. `\p{M}` and `\p{L}` differ only before a run (`[^\r\n\p{L}\p{N}]?` takes a mark,
/// not a letter), and there the run that follows takes the mark too: one class serves both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    /// `\p{L}`, `\p{M}`
    Letter,
    /// `\p{N}`
    Number,
    /// `[\r\n]`
    Newline,
    /// any other `\s`
    Blank,
    /// none of these
    Other,
}

use Class::{Blank, Letter, Newline, Number, Other};

const ASCII: [Class; 128] = {
    let mut table = [Other; 128];
    let mut c = 0;
    while c < 128 {
        table[c] = match c as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => Letter,
            b'0'..=b'9' => Number,
            b'\r' | b'\n' => Newline,
            b' ' | b'\t' | 0x0b | 0x0c => Blank,
            _ => Other,
        };
        c += 1;
    }
    table
};

fn class(c: char) -> Class {
    if let Some(class) = ASCII.get(c as usize) {
        return *class;
    }
    if c.is_whitespace() {
        return Blank;
    }
    use GeneralCategory::{
        DecimalNumber, EnclosingMark, LetterNumber, LowercaseLetter, ModifierLetter, NonspacingMark, OtherLetter,
        OtherNumber, SpacingMark, TitlecaseLetter, UppercaseLetter,
    };
    match get_general_category(c) {
        UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter => Letter,
        NonspacingMark | SpacingMark | EnclosingMark => Letter,
        DecimalNumber | LetterNumber | OtherNumber => Number,
        _ => Other,
    }
}

/// Text that is read class by class.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// The class of the first character, and what follows it.
    fn split(self) -> Option<(Class, Self)> {
        let &byte = self.0.as_bytes().first()?;
        if byte < 128 {
            return Some((ASCII[byte as usize], Self(&self.0[1..])));
        }
        let mut chars = self.0.chars();
        let c = chars.next()?;
        Some((class(c), Self(chars.as_str())))
    }

    /// Drops the characters of the classes in `of`.
    fn skip(mut self, of: &[Class]) -> Self {
        while let Some((class, rest)) = self.split()
            && of.contains(&class)
        {
            self = rest;
        }
        self
    }

    fn starts_with(self, class: Class) -> bool {
        self.split().is_some_and(|(first, _)| first == class)
    }
}

/// What follows the contraction that `text` starts with, in any case. Simple case folding makes U+017F an s.
fn after_contraction(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('\'')?;
    let mut chars = rest.chars();
    let fold = |c: char| if c == 'ſ' { 's' } else { c.to_ascii_lowercase() };
    let first = fold(chars.next()?);
    let one = chars.as_str();
    match first {
        's' | 't' | 'm' | 'd' => Some(one),
        'r' | 'v' => matches!(fold(chars.next()?), 'e').then(|| chars.as_str()),
        'l' => matches!(fold(chars.next()?), 'l').then(|| chars.as_str()),
        _ => None,
    }
}

/// What follows the first piece of `text`, which is not empty.
fn after_piece(text: &str) -> &str {
    if let Some(rest) = after_contraction(text) {
        return rest;
    }
    let Some((first, rest)) = Rest(text).split() else { return text };
    match first {
        Letter => rest.skip(&[Letter]).0,
        Number => rest.0,
        Other | Blank if rest.starts_with(Letter) => rest.skip(&[Letter]).0,
        Other => rest.skip(&[Other]).skip(&[Newline]).0,
        Blank if text.starts_with(' ') && rest.starts_with(Other) => rest.skip(&[Other]).skip(&[Newline]).0,
        Blank | Newline => after_space(text, rest.skip(&[Blank, Newline]).0),
    }
}

/// What follows the first piece of `text`, which starts with the white space that ends at `end`.
fn after_space<'a>(text: &'a str, end: &'a str) -> &'a str {
    let space = &text[..text.len() - end.len()];
    let len = if let Some(last) = space.rfind(['\r', '\n']) {
        last + 1
    } else if end.is_empty() {
        space.len()
    } else {
        // The last blank before a word is left to the word, unless it is the only one.
        match space.char_indices().next_back() {
            Some((last, _)) if last > 0 => last,
            _ => space.len(),
        }
    };
    &text[len..]
}

/// The pieces of `text`, in order; together they are the whole text.
pub fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let rest = after_piece(text);
        let piece = &text[..text.len() - rest.len()];
        text = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        pieces(text).collect()
    }

    #[test]
    fn a_word_takes_one_character_before_it() {
        assert_eq!(cut("Hello, world!"), ["Hello", ",", " world", "!"]);
        assert_eq!(cut("((a \tb"), ["((", "a", " ", "\tb"]);
        assert_eq!(cut("\u{301}x 1é"), ["\u{301}x", " ", "1", "é"]);
        assert_eq!(cut("\u{a0}x\u{3000}世"), ["\u{a0}x", "\u{3000}世"]);
    }

    #[test]
    fn every_digit_stands_alone() {
        assert_eq!(cut("3.14 ½Ⅷ"), ["3", ".", "1", "4", " ", "½", "Ⅷ"]);
    }

    #[test]
    fn contractions_fold_case() {
        assert_eq!(cut("x's'T'rE'Ve'M'lL'd"), ["x", "'s", "'T", "'rE", "'Ve", "'M", "'lL", "'d"]);
        assert_eq!(cut("x'ſa"), ["x", "'ſ", "a"]);
        assert_eq!(cut("'lo 'r 'K '"), ["'lo", " '", "r", " '", "K", " '"]);
        assert_eq!(cut("'sa"), ["'s", "a"]);
    }

    #[test]
    fn the_last_blank_goes_to_the_word() {
        assert_eq!(cut("a  b"), ["a", " ", " b"]);
        assert_eq!(cut("a  "), ["a", "  "]);
        assert_eq!(cut("a  1"), ["a", " ", " ", "1"]);
        assert_eq!(cut("a \t!"), ["a", " ", "\t", "!"]);
        assert_eq!(cut("a\t !"), ["a", "\t", " !"]);
    }

    #[test]
    fn newlines_end_the_blanks_before_them() {
        assert_eq!(cut(" \n \n x"), [" \n \n", " x"]);
        assert_eq!(cut("\r\n\r\nx"), ["\r\n\r\n", "x"]);
        assert_eq!(cut("x;\n\n y"), ["x", ";\n\n", " y"]);
        assert_eq!(cut("\n \n"), ["\n \n"]);
    }

    #[test]
    fn pieces_cover_any_text_without_gaps() {
        let alphabet = ["a", "'", "s", "1", " ", "\n", "\r", "\t", "!", "é", "\u{301}", "世", "\u{85}", "\u{10ffff}"];
        for i in 0..alphabet.len().pow(4) {
            let text: String = (0..4).map(|j| alphabet[i / alphabet.len().pow(j) % alphabet.len()]).collect();
            assert_eq!(cut(&text).concat(), text);
            assert!(cut(&text).iter().all(|piece| !piece.is_empty()));
        }
    }
}
