//! From tokens back to text, also while they arrive one by one.

use super::{TokenType, Tokenizer};

/// Turns a stream of tokens into text that only ever holds whole characters.
///
/// A character may be spread over several tokens; its bytes wait until it is complete. Bytes that can never become a
/// character turn into U+FFFD, as `String::from_utf8_lossy` would have it for the whole stream at once.
#[derive(Default, Debug)]
pub struct StreamDecoder {
    /// Bytes read and not yet given out: less than a character, between calls.
    pending: Vec<u8>,
    text: String,
}

impl StreamDecoder {
    /// A decoder at the start of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next token and returns the text that is now complete. Control tokens have none; see
    /// [`Tokenizer::push_bytes`] for their bytes.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> &str {
        if tokenizer.token_type(id) != Some(TokenType::Control) {
            tokenizer.push_bytes(id, &mut self.pending);
        }
        self.take_complete()
    }

    /// Takes the next bytes and returns the text that is now complete.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> &str {
        self.pending.extend_from_slice(bytes);
        self.take_complete()
    }

    /// What is left at the end of the stream: U+FFFD if a character remained incomplete, else nothing.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        self.text.push_str(&String::from_utf8_lossy(&self.pending));
        self.pending.clear();
        &self.text
    }

    fn take_complete(&mut self) -> &str {
        self.text.clear();
        let mut rest = &self.pending[..];
        while let Some(chunk) = rest.utf8_chunks().next() {
            self.text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            let after = &rest[chunk.valid().len()..];
            if invalid.is_empty() {
                rest = after;
                break;
            }
            // The chunk ends with the longest start of a character; at the end of what is here, more may come.
            if invalid.len() == after.len() && is_incomplete(invalid) {
                rest = after;
                break;
            }
            self.text.push('\u{fffd}');
            rest = &after[invalid.len()..];
        }
        let done = self.pending.len() - rest.len();
        self.pending.drain(..done);
        &self.text
    }
}

/// Whether further bytes could make a character of these.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way to cut the text in two or three gives what the whole gives.
    #[test]
    fn any_cut_gives_the_text_of_the_whole() {
        let texts: [&[u8]; 6] = [
            "aé世🙂z".as_bytes(),
            b"\xff\xe4\xb8a\xf0\x9f\x99",
            b"\xf0\x9f\xf0\x9f\x99\x82\x80",
            b"\xed\xa0\x80\xc0\xaf",
            b"\xe4\xb8\x96\xe7",
            b"",
        ];
        for text in texts {
            for i in 0..=text.len() {
                for j in i..=text.len() {
                    let mut decoder = StreamDecoder::new();
                    let mut out = String::new();
                    for part in [&text[..i], &text[i..j], &text[j..]] {
                        out += decoder.push_bytes(part);
                    }
                    out += decoder.finish();
                    assert_eq!(out, String::from_utf8_lossy(text), "{text:x?} cut at {i} and {j}");
                    assert_eq!(decoder.finish(), "");
                }
            }
        }
    }

    #[test]
    fn a_character_waits_for_its_last_byte() {
        let mut decoder = StreamDecoder::new();
        assert_eq!(decoder.push_bytes(b"x\xf0"), "x");
        assert_eq!(decoder.push_bytes(b"\x9f"), "");
        assert_eq!(decoder.push_bytes(b"\x99"), "");
        assert_eq!(decoder.push_bytes(b"\x82y"), "🙂y");
        assert_eq!(decoder.push_bytes(b"\xe4\xb8"), "");
        assert_eq!(decoder.push_bytes(b"!"), "\u{fffd}!");
    }
}
