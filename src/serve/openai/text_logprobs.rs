//! Probabilities as `/v1/completions` gives them: lists beside each other, an entry for each token.

use crate::serve::logprobs::{Likely, TokenLogprob};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// The lists.
pub(super) struct TextLogprobs {
    tokens: Vec<Value>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<usize>,
    /// Characters before the next token.
    offset: usize,
    /// Bytes of a character that is not whole yet.
    open: Vec<u8>,
}

impl TextLogprobs {
    /// Empty ones, with so many characters before them.
    pub fn new(offset: usize) -> TextLogprobs {
        let (tokens, token_logprobs, top_logprobs) = (Vec::new(), Vec::new(), Vec::new());
        TextLogprobs { tokens, token_logprobs, top_logprobs, text_offset: Vec::new(), offset, open: Vec::new() }
    }

    /// A whole prompt: its first token, before which there is nothing, and the others.
    pub fn push_prompt(&mut self, first: &[u8], others: &[TokenLogprob]) {
        self.push_one(first, Value::Null, Value::Null);
        self.push(others);
    }

    /// More tokens.
    pub fn push(&mut self, tokens: &[TokenLogprob]) {
        for TokenLogprob { bytes, logprob, top, .. } in tokens {
            let mut likeliest: Map<String, Value> = Map::new();
            for Likely { bytes, logprob, .. } in top {
                // Of several tokens of one text the likeliest, which comes first.
                likeliest.entry(name(bytes)).or_insert_with(|| (*logprob).into());
            }
            self.push_one(bytes, (*logprob).into(), likeliest.into());
        }
    }

    fn push_one(&mut self, bytes: &[u8], logprob: Value, top: Value) {
        self.tokens.push(name(bytes).into());
        self.token_logprobs.push(logprob);
        self.top_logprobs.push(top);
        self.text_offset.push(self.offset);
        self.open.extend_from_slice(bytes);
        let whole = self.open.utf8_chunks().map(|chunk| (chunk.valid().chars().count(), chunk.invalid()));
        let (mut n, mut open) = (0, &[][..]);
        for (n_valid, invalid) in whole {
            n += n_valid + usize::from(!open.is_empty());
            open = invalid;
        }
        self.offset += n;
        self.open = open.to_vec();
    }

    /// As JSON, if they are wanted.
    pub fn json(self, wanted: bool) -> Value {
        let TextLogprobs { tokens, token_logprobs, top_logprobs, text_offset, .. } = self;
        if !wanted {
            return Value::Null;
        }
        json!({
            "tokens": tokens,
            "token_logprobs": token_logprobs,
            "top_logprobs": top_logprobs,
            "text_offset": text_offset,
        })
    }
}

/// The text of a token. What is not UTF-8 by itself is given byte by byte, so that different tokens have different names.
fn name(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |mut name, byte| {
            let _ = write!(name, "\\x{byte:02x}");
            name
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_has_an_entry_in_every_list() {
        let token = |bytes: &[u8]| {
            let (id, bytes, logprob) = (0, bytes.to_vec(), -0.5);
            TokenLogprob { id, bytes: bytes.clone(), logprob, top: vec![Likely { id, bytes, logprob }] }
        };
        let mut lists = TextLogprobs::new(10);
        lists.push_prompt(b"a\xc3", &[token(b"\xb6b"), token(b"c"), token(b"")]);
        let json = lists.json(true);
        assert_eq!(json["tokens"], json!(["bytes:\\x61\\xc3", "bytes:\\xb6\\x62", "c", ""]));
        assert_eq!(json["text_offset"], json!([10, 11, 13, 14]));
        assert_eq!(json["token_logprobs"], json!([null, -0.5, -0.5, -0.5]));
        assert_eq!(json["top_logprobs"][2], json!({"c": -0.5}));
        assert_eq!(TextLogprobs::new(0).json(false), Value::Null);
    }
}
