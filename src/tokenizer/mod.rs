//! Text to tokens and back, exactly as the model was trained, from the vocabulary and the merges of a GGUF file.
//!
//! A text goes through five steps: [`added`] tokens are cut out of it as it is; what lies between is composed (Unicode
//! NFC, [`compose`]), cut into [`pretokenize`] pieces, spelled in bytes, and joined pair by pair ([`bpe`]). Nothing is added to
//! the front or the end.

mod added;
mod alphabet;
mod bpe;
mod compose;
mod decode;
mod error;
mod hash;
mod merges;
mod pretokenize;
mod vocab;

pub use added::Special;
pub use decode::StreamDecoder;
pub use error::Error;
pub use vocab::TokenType;

use crate::gguf::{Gguf, Note};
use added::{Added, Segment};
use merges::Merges;
use vocab::{Index, Vocab};

/// The one kind of vocabulary that Qwen3.5 files have, and its pre-tokenizer.
const MODEL: &str = "gpt2";
const PRE: &str = "qwen35";

/// Texts of tokens at which an answer ends, whatever the file names as its end token.
const END_TEXTS: [&str; 5] = ["<|im_end|>", "<|endoftext|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"];

/// The tokenizer of a model.
pub struct Tokenizer {
    vocab: Vocab,
    merges: Merges,
    added: Added,
    /// Token of every byte.
    bytes: [u32; 256],
    eos: Option<u32>,
    /// Ascending.
    ends: Vec<u32>,
    notes: Vec<Note>,
}

/// A text, and where in it control tokens are not to be recognised.
///
/// It is what a chat template makes of messages: one text, in which `<|im_end|>` is a token where the template wrote
/// it and plain text where a user did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Prompt {
    /// The text.
    pub text: String,
    /// Byte offsets at which no control token may start, ascending.
    pub literal: Vec<usize>,
}

impl Tokenizer {
    /// Reads the tokenizer of a file, which may hold nothing but a vocabulary.
    ///
    /// # Errors
    /// A key is missing or of the wrong type; another kind of vocabulary; one that contradicts itself.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, Error> {
        for (key, supported) in [("tokenizer.ggml.model", MODEL), ("tokenizer.ggml.pre", PRE)] {
            match gguf.string(key)? {
                None => return Err(Error::Missing { key }),
                Some(found) if found != supported => {
                    return Err(Error::Unsupported { key, found: found.to_owned(), supported });
                }
                Some(_) => {}
            }
        }
        let tokens = "tokenizer.ggml.tokens";
        let tokens = gguf.strings(tokens)?.ok_or(Error::Missing { key: tokens })?;
        let types = "tokenizer.ggml.token_type";
        let types = gguf.i32s(types)?.ok_or(Error::Missing { key: types })?;
        if tokens.len() == 0 {
            return Err(Error::NoTokens);
        }
        let vocab = Vocab::new(tokens, &types)?;

        let index = Index::new(&vocab);
        let mut bytes = [0; 256];
        for (byte, token) in (0..=255).zip(&mut bytes) {
            let text = alphabet::char_of(byte);
            *token = index.get(text.encode_utf8(&mut [0; 4]).as_bytes()).ok_or(Error::NoByte { byte })?;
        }
        let mut notes = Vec::new();
        let merges = gguf.strings("tokenizer.ggml.merges")?.ok_or(Error::NoMerges)?;
        let merges = Merges::new(merges, &vocab, &index, &mut notes)?;

        let added = Added::new(vocab.iter().filter_map(|(id, text, ty)| match ty {
            TokenType::Control => Some((text, id, true)),
            TokenType::UserDefined => Some((text, id, false)),
            _ => None,
        }));
        // These advise: ends are known by their texts too.
        let n = vocab.len() as u64;
        let mut id_at = |key| gguf.advice(key, n, &mut notes).map(|id| id as u32);
        let eos = id_at("tokenizer.ggml.eos_token_id");
        let named = [id_at("tokenizer.ggml.eot_token_id"), id_at("tokenizer.ggml.eom_token_id"), eos];
        id_at("tokenizer.ggml.padding_token_id");
        // Ollama's converter writes all of a model's ends.
        let listed = gguf.advice_list("tokenizer.ggml.eos_token_ids", n, &mut notes);
        let by_text = END_TEXTS.iter().filter_map(|text| added.get(text));
        let listed = listed.into_iter().map(|id| id as u32);
        let mut ends: Vec<u32> = named.into_iter().flatten().chain(listed).chain(by_text).collect();
        ends.sort_unstable();
        ends.dedup();
        Ok(Self { merges, added, bytes, eos, ends, notes, vocab })
    }

    /// Number of tokens, the padding at the end included: the rows of the model's output.
    pub fn n_vocab(&self) -> usize {
        self.vocab.len()
    }

    /// What of the file was ignored.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// The end token that the file names.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The tokens at which an answer ends, ascending: those that the file names and those that are known by their text
    /// (`<|im_end|>`, `<|endoftext|>`, `<|fim_pad|>`, `<|repo_name|>`, `<|file_sep|>`).
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Whether an answer ends at this token.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Whether this is an unused row of the table, or outside of it. Such a token must never be sampled.
    pub fn is_padding(&self, id: u32) -> bool {
        matches!(self.token_type(id), None | Some(TokenType::Unused))
    }

    /// The ids that [`Tokenizer::is_padding`] holds for, ascending, up to the end of the vocabulary.
    pub fn padding(&self) -> impl Iterator<Item = u32> {
        self.vocab.iter().filter(|(_, _, ty)| *ty == TokenType::Unused).map(|(id, ..)| id)
    }

    /// What a token is for; `None` outside the vocabulary.
    pub fn token_type(&self, id: u32) -> Option<TokenType> {
        self.vocab.token_type(id)
    }

    /// The text of a token as the vocabulary has it: normal tokens in the byte alphabet (`Ġworld`).
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.vocab.text(id)
    }

    /// The control or user-defined token with this text.
    pub fn added_token(&self, text: &str) -> Option<u32> {
        self.added.get(text)
    }

    /// The texts of all control tokens, in order of their ids.
    pub fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.vocab.iter().filter(|(_, _, ty)| *ty == TokenType::Control).map(|(_, text, _)| text)
    }

    /// The bytes of a token: part of a character, perhaps. None for padding.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.push_bytes(id, &mut bytes);
        bytes
    }

    /// Appends the bytes of a token; control tokens have those of their text.
    pub fn push_bytes(&self, id: u32, out: &mut Vec<u8>) {
        self.vocab.push_bytes(id, out);
    }

    /// The text of tokens, control tokens included; what is not UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &id in ids {
            self.push_bytes(id, &mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The tokens of a text.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        self.encode_segments(self.added.split(text, special, &[]))
    }

    /// Tokens whose bytes together are these, none of them an added token: as a text is written of which the model is to see every
    /// byte. Where that is not what composition and merges give, it is a token for each byte.
    pub fn encode_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        let mut ids = Vec::new();
        for chunk in bytes.utf8_chunks() {
            let start = ids.len();
            ids.extend(self.encode_segments(std::iter::once(Segment::Text(chunk.valid()))));
            let mut found = Vec::with_capacity(chunk.valid().len());
            ids[start..].iter().for_each(|&id| self.push_bytes(id, &mut found));
            if found != chunk.valid().as_bytes() {
                ids.truncate(start);
                ids.extend(chunk.valid().bytes().map(|byte| self.byte_token(byte)));
            }
            ids.extend(chunk.invalid().iter().map(|&byte| self.byte_token(byte)));
        }
        ids
    }

    /// The token of a byte.
    pub fn byte_token(&self, byte: u8) -> u32 {
        self.bytes[usize::from(byte)]
    }

    /// The tokens of a text that a template made: control tokens are recognised except where the text says otherwise.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Vec<u32> {
        self.encode_segments(self.added.split(&prompt.text, Special::Parse, &prompt.literal))
    }

    fn encode_segments<'a>(&self, segments: impl Iterator<Item = Segment<'a>>) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut encoder = bpe::Encoder::default();
        for segment in segments {
            match segment {
                Segment::Token(id) => ids.push(id),
                Segment::Text(text) => {
                    for piece in pretokenize::pieces(&compose::compose(text)) {
                        let bytes = piece.as_bytes().iter().map(|&byte| self.bytes[usize::from(byte)]);
                        encoder.encode(&self.merges, bytes, &mut ids);
                    }
                }
            }
        }
        ids
    }
}
