//! What has been told of an answer: its text as far as no stop string may begin in it, and the tokens of that text.

use super::event::Event;
use super::logprobs::TokenLogprob;
use super::stop_strings::StopStrings;
use std::collections::VecDeque;

/// The text of an answer on its way.
pub(super) struct Told {
    stops: StopStrings,
    /// Tokens whose text is not told, or not all of it.
    tokens: VecDeque<TokenLogprob>,
    /// Bytes of text that were told, and not of tokens that were.
    n_ahead: usize,
    /// Bytes of text that were told.
    n_told: usize,
    /// The token that ended it, if that is to be told.
    end: Option<TokenLogprob>,
    is_begun: bool,
}

impl Told {
    /// Nothing of an answer that ends at one of these.
    pub fn new(stops: Vec<String>) -> Told {
        let (stops, tokens) = (StopStrings::new(stops), VecDeque::new());
        Told { stops, tokens, n_ahead: 0, n_told: 0, end: None, is_begun: false }
    }

    /// The answer goes on with this token, whose text comes next.
    pub fn chosen(&mut self, token: TokenLogprob) {
        self.tokens.push_back(token);
    }

    /// The model has ended the answer with this token.
    pub fn ended(&mut self, token: TokenLogprob) {
        self.end = Some(token);
    }

    /// The answer goes on with this text; what is to be told, if anything.
    pub fn push(&mut self, text: &str) -> Option<Event> {
        if !self.is_begun && text.is_empty() {
            // Blank lines before an answer are no part of it.
            self.tokens.retain(|token| token.bytes.iter().any(|&byte| byte != b'\n'));
        }
        self.is_begun |= !text.is_empty();
        let text = self.stops.push(text);
        self.tell(text)
    }

    /// Something else than text comes: what was held back is told, and its tokens are not those of the text behind.
    pub fn pause(&mut self) -> Option<Event> {
        if self.is_stopped() {
            return None;
        }
        let (text, _) = self.stops.finish();
        let told = self.tell(text);
        (self.n_ahead, self.tokens) = (0, VecDeque::new());
        told
    }

    /// The answer is over: what is still to be told, and which stop has come, if any.
    pub fn finish(&mut self) -> (Option<Event>, Option<usize>) {
        let (text, found) = self.stops.finish();
        let mut told = self.tell(text);
        if let Some(end) = self.end.take() {
            match &mut told {
                Some(Event::Text(_, tokens)) => tokens.push(end),
                _ => told = Some(Event::Text(String::new(), vec![end])),
            }
        }
        (told, found)
    }

    /// Bytes of the text that were told.
    pub fn n_told(&self) -> usize {
        self.n_told
    }

    /// Whether a stop may have begun.
    pub fn is_holding(&self) -> bool {
        self.stops.is_holding()
    }

    /// Whether a stop has come.
    pub fn is_stopped(&self) -> bool {
        self.stops.found().is_some()
    }

    fn tell(&mut self, text: String) -> Option<Event> {
        if text.is_empty() {
            return None;
        }
        self.n_ahead += text.len();
        self.n_told += text.len();
        let mut tokens = Vec::new();
        while let Some(token) = self.tokens.pop_front_if(|token| token.bytes.len() <= self.n_ahead) {
            self.n_ahead -= token.bytes.len();
            tokens.push(token);
        }
        Some(Event::Text(text, tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(pieces: &[&str], stops: &[&str]) -> (String, String, Option<usize>) {
        let mut told = Told::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut events = Vec::new();
        for piece in pieces {
            told.chosen(TokenLogprob { id: 0, bytes: piece.as_bytes().to_vec(), logprob: -1.0, top: Vec::new() });
            events.extend(told.push(if events.is_empty() { piece.trim_start_matches('\n') } else { piece }));
        }
        let (last, found) = told.finish();
        events.extend(last);
        let (mut text, mut tokens) = (String::new(), Vec::new());
        for event in events {
            let Event::Text(more, chosen) = event else { panic!("{event:?}") };
            text.push_str(&more);
            tokens.extend(chosen.into_iter().flat_map(|token| token.bytes));
        }
        (text, String::from_utf8(tokens).unwrap(), found)
    }

    #[test]
    fn the_tokens_joined_are_the_text() {
        for (pieces, stops, text, found) in [
            (&["a", "bc", " d"][..], &[][..], "abc d", None),
            (&["\n\n", "a", "b"], &[], "ab", None),
            (&["a", " E", "N", "x"], &["END"], "a ENx", None),
            (&["a", " E", "ND", "x"], &[" END"], "a", Some(0)),
        ] {
            assert_eq!(follow(pieces, stops), (text.to_owned(), text.to_owned(), found));
        }
    }
}
