//! The way from where an answer stands to its end: bytes that close what is open and write what is required, and little else.
//!
//! An answer has room for so many tokens. As long as one knows a way to the end that fits, an answer can go on freely; where the
//! next token would leave too little room, the way is taken instead ([`super::constraint`]).

use crate::tokenizer::Tokenizer;
use llguidance::Matcher;

/// Within a JSON string: what parts the pieces of patterns, then what fills them.
const IN_STRING: &[u8] = b"-.:@/_, +0123456789aebcdfghijklmnopqrstuvwxyzTZABCDEFGHIJKLMNOPQRSUVWXY\\n";

/// Elsewhere: the shortest values first.
const ELSEWHERE: &[u8] = b"\",0123456789.-ntfe[{: \n";

/// Whether a text of JSON stands within a string.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Strings {
    inside: bool,
    escaped: bool,
}

impl Strings {
    /// Goes on behind these bytes.
    pub fn follow(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.escaped {
                self.escaped = false;
            } else if byte == b'"' {
                self.inside = !self.inside;
            } else {
                self.escaped = self.inside && byte == b'\\';
            }
        }
    }
}

/// What ways are searched with.
#[derive(Default)]
pub(super) struct Witnesses {
    /// Texts as they stand in strings of JSON that patterns ask for.
    texts: Vec<Vec<u8>>,
}

/// Witnesses at most, and bytes of all of them.
const MOST_WITNESSES: (usize, usize) = (64, 16_384);

impl Witnesses {
    /// Takes one more, if there is room for it.
    pub fn add(&mut self, text: &str) {
        let quoted = serde_json::to_string(text).unwrap_or_default();
        let text = quoted.trim_start_matches('"').as_bytes().to_vec();
        let n_byte = self.texts.iter().map(Vec::len).sum::<usize>() + text.len();
        if text.len() > 1
            && self.texts.len() < MOST_WITNESSES.0
            && n_byte < MOST_WITNESSES.1
            && !self.texts.contains(&text)
        {
            self.texts.push(text);
        }
    }

    /// The shortest end of any of them that `allows`, each with the quote behind it.
    fn end(&self, mut allows: impl FnMut(&[u8]) -> bool) -> Option<Vec<u8>> {
        let longest = self.texts.iter().map(Vec::len).max().unwrap_or(0);
        let ends = (2..=longest).flat_map(|n| {
            let ends = self.texts.iter().filter(move |text| text.len() >= n);
            ends.map(move |text| &text[text.len() - n..])
        });
        let mut ends = ends.filter(|end| std::str::from_utf8(end).is_ok());
        ends.find(|end| allows(end)).map(<[u8]>::to_vec)
    }
}

/// A way of at most `most` bytes from where `matcher` stands, in a text that stands there as `strings` says.
pub(super) fn search(
    matcher: &Matcher,
    strings: Strings,
    most: usize,
    witnesses: &Witnesses,
    tokenizer: &Tokenizer,
) -> Option<Vec<u8>> {
    let mut matcher = matcher.clone();
    let mut strings = strings;
    let mut way = Vec::new();
    // How often a byte was taken since the last end of anything: patterns have cycles that are to be left.
    let mut taken = [0u16; 256];
    while !matcher.is_stopped() && !matcher.is_accepting().ok()? {
        let mut next = matcher.compute_ff_bytes();
        if next.is_empty() {
            next = choose(&mut matcher, strings.inside, &taken, witnesses, tokenizer)?;
            next.iter().for_each(|&byte| taken[usize::from(byte)] += 1);
        }
        if way.len() + next.len() > most {
            return None;
        }
        for &byte in &next {
            matcher.consume_token(tokenizer.byte_token(byte)).ok()?;
        }
        let before = strings;
        strings.follow(&next);
        if before.inside != strings.inside || !strings.inside && next.iter().any(|byte| b",:[]{}".contains(byte)) {
            taken = [0; 256];
        }
        way.extend(next);
    }
    (matcher.is_accepting().ok()? || matcher.stop_reason().is_ok()).then_some(way)
}

/// The bytes that a way takes next, where several may come.
fn choose(
    matcher: &mut Matcher,
    is_inside: bool,
    taken: &[u16; 256],
    witnesses: &Witnesses,
    tokenizer: &Tokenizer,
) -> Option<Vec<u8>> {
    let mut allows = |bytes: &[u8]| {
        let ids: Vec<u32> = bytes.iter().map(|&byte| tokenizer.byte_token(byte)).collect();
        matcher.validate_tokens(&ids).is_ok_and(|n| n == ids.len())
    };
    let closing: &[u8] = if is_inside { b"\"" } else { b"}]" };
    if let Some(&byte) = closing.iter().find(|&&byte| allows(&[byte])) {
        return Some(vec![byte]);
    }
    if is_inside && let Some(end) = witnesses.end(&mut allows) {
        return Some(end);
    }
    let mut filling = if is_inside { IN_STRING } else { ELSEWHERE }.to_vec();
    filling.sort_by_key(|&byte| taken[usize::from(byte)]);
    filling.into_iter().chain(0..=255).find(|&byte| allows(&[byte])).map(|byte| vec![byte])
}
