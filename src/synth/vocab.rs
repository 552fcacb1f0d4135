//! The published vocabulary in a small form, from which the arrays of a GGUF header are rebuilt.
//!
//! A byte-pair vocabulary is its merges: token `i` is the `i`-th merge of two earlier tokens. What a merge does not make
//! (single bytes, tokens no merge reaches, added tokens) is stored as text. The form is:
//!
//! ```text
//! "QVOC" ; varint n_stored ; varint n_rows
//! n_stored × { varint left + 1 ; varint right }      token = left ‖ right, and one line of the merges
//!          | { 0 ; varint type ; varint n ; n bytes } token as text
//! ```
//! Rows from `n_stored` on are padding, `[PAD<id>]` of type unused. Varints are LEB128. `models/README.md` says where
//! the data comes from.

use super::Error;
use crate::gguf::Gguf;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The vocabulary of the published models, in the form of this file.
static PUBLISHED: &[u8] = include_bytes!("../../models/qwen35-vocab.bin");

const MAGIC: &[u8] = b"QVOC";
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;

/// Tokens of a byte-level BPE vocabulary, as `tokenizer.ggml.tokens` and `.token_type` have them, and its merges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Vocab {
    /// Token texts in the byte-level alphabet.
    pub tokens: Vec<String>,
    /// GGUF token types.
    pub types: Vec<i32>,
    /// Left and right token of each merge, in order of rank.
    pub merges: Vec<(u32, u32)>,
}

impl Vocab {
    /// The vocabulary of the published models: 248,320 rows, unpacked once.
    pub fn published() -> &'static Self {
        static UNPACKED: OnceLock<Vocab> = OnceLock::new();
        UNPACKED
            .get_or_init(|| Self::unpack(PUBLISHED).expect("the file in the repository is valid; a test unpacks it"))
    }

    /// The published vocabulary cut to `n_rows`: fewer byte-pair tokens, then the added tokens, then padding.
    ///
    /// # Panics
    /// If `n_rows` leaves no room for the single bytes and the added tokens.
    pub fn published_cut(n_rows: usize) -> Self {
        let full = Self::published();
        if n_rows >= full.tokens.len() {
            return full.clone();
        }
        const SPARE: usize = 64;
        assert!(n_rows >= 256 + SPARE, "no room for bytes and added tokens in {n_rows} rows");
        let n_base = n_rows - SPARE;
        let added = full.types.iter().position(|&ty| ty == CONTROL).expect("there are control tokens");
        let mut cut = Self::default();
        cut.tokens.extend_from_slice(&full.tokens[..n_base]);
        cut.types.extend_from_slice(&full.types[..n_base]);
        for i in (added..full.tokens.len()).take_while(|&i| full.types[i] != UNUSED) {
            cut.tokens.push(full.tokens[i].clone());
            cut.types.push(full.types[i]);
        }
        cut.pad(n_rows);
        let texts: HashMap<&str, usize> = cut.tokens[..n_base].iter().map(String::as_str).zip(0..).collect();
        let product = |&&(l, r): &&(u32, u32)| {
            let text = format!("{}{}", full.tokens[l as usize], full.tokens[r as usize]);
            texts.contains_key(&*text)
        };
        cut.merges = full.merges.iter().take_while(product).copied().collect();
        cut
    }

    fn pad(&mut self, n_rows: usize) {
        for id in self.tokens.len()..n_rows {
            self.tokens.push(format!("[PAD{id}]"));
            self.types.push(UNUSED);
        }
    }

    /// The id of a token's text.
    pub fn id(&self, text: &str) -> Option<u32> {
        self.tokens.iter().position(|token| token == text).map(|id| id as u32)
    }

    /// The lines of `tokenizer.ggml.merges`.
    pub fn merge_lines(&self) -> impl ExactSizeIterator<Item = String> {
        self.merges.iter().map(|&(l, r)| format!("{} {}", self.tokens[l as usize], self.tokens[r as usize]))
    }

    /// The vocabulary of a GGUF file.
    ///
    /// # Errors
    /// Missing or malformed arrays, or merges that do not make tokens.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, Error> {
        let wrong = Error::Vocabulary;
        let key = "tokenizer.ggml.tokens";
        let tokens = gguf.strings(key)?.ok_or(Error::MissingKey { key })?;
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).map_err(|error| wrong(format!("a text is not UTF-8: {error}")));
            text.map(str::to_owned)
        };
        let tokens: Vec<String> = tokens.map(text).collect::<Result<_, _>>()?;
        let types = gguf.i32s("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![NORMAL; tokens.len()]);
        if types.len() != tokens.len() {
            return Err(wrong(format!("{} tokens, but {} token types", tokens.len(), types.len())));
        }
        let ids: HashMap<&str, u32> = tokens.iter().map(String::as_str).zip(0..).collect();
        let key = "tokenizer.ggml.merges";
        let mut merges = Vec::new();
        for line in gguf.strings(key)?.ok_or(Error::MissingKey { key })? {
            let line = text(line)?;
            let pair = line.split_once(' ').and_then(|(l, r)| Some((*ids.get(l)?, *ids.get(r)?)));
            merges.push(pair.ok_or_else(|| wrong(format!("merge {line:?} is not of two tokens")))?);
        }
        Ok(Self { tokens, types, merges })
    }

    /// The vocabulary in the form of this file.
    ///
    /// # Errors
    /// Merges that do not make normal tokens in ascending order, or none.
    pub fn pack(&self) -> Result<Vec<u8>, Error> {
        let n_stored = self.types.iter().rposition(|&ty| ty != UNUSED).map_or(0, |last| last + 1);
        let mut out = MAGIC.to_vec();
        put_varint(&mut out, n_stored as u32);
        put_varint(&mut out, self.tokens.len() as u32);
        let mut merges = self.merges.iter().peekable();
        for (id, token) in self.tokens[..n_stored].iter().enumerate() {
            let merge = merges.next_if(|&&(l, r)| {
                let (l, r) = (&self.tokens[l as usize], &self.tokens[r as usize]);
                l.len() + r.len() == token.len() && token.starts_with(&**l) && token.ends_with(&**r)
            });
            match merge {
                Some(&(l, r)) if (l.max(r) as usize) < id && self.types[id] == NORMAL => {
                    put_varint(&mut out, l + 1);
                    put_varint(&mut out, r);
                }
                Some(_) => {
                    let problem = format!("token {id}: a merge makes it, but it is not a normal token after its parts");
                    return Err(Error::Vocabulary(problem));
                }
                None => {
                    put_varint(&mut out, 0);
                    let ty = u32::try_from(self.types[id]);
                    put_varint(&mut out, ty.map_err(|_| Error::Vocabulary(format!("token {id}: type below 0")))?);
                    put_varint(&mut out, token.len() as u32);
                    out.extend(token.as_bytes());
                }
            }
        }
        if let Some(&(l, r)) = merges.next() {
            return Err(Error::Vocabulary(format!("the merge of {l} and {r} makes no token in its order")));
        }
        Ok(out)
    }

    /// Undoes [`Vocab::pack`].
    ///
    /// # Errors
    /// Anything that `pack` does not write.
    pub fn unpack(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |problem: &str| Error::Packed(problem.to_owned());
        let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| wrong("another magic"))?;
        let n_stored = varint(&mut rest)? as usize;
        let n_rows = varint(&mut rest)? as usize;
        if n_stored > rest.len() || n_rows.saturating_sub(n_stored) > 1 << 16 {
            return Err(wrong("too many rows"));
        }
        let mut vocab = Self::default();
        for id in 0..n_stored {
            match varint(&mut rest)? {
                0 => {
                    let ty = varint(&mut rest)? as i32;
                    let n = varint(&mut rest)? as usize;
                    let (text, after) = rest.split_at_checked(n).ok_or_else(|| wrong("it ends early"))?;
                    rest = after;
                    let text = std::str::from_utf8(text).map_err(|_| wrong("a text is not UTF-8"))?;
                    vocab.tokens.push(text.to_owned());
                    vocab.types.push(ty);
                }
                left => {
                    let (l, r) = (left - 1, varint(&mut rest)?);
                    if l.max(r) as usize >= id {
                        return Err(wrong(&format!("token {id} is made of later tokens")));
                    }
                    vocab.tokens.push(format!("{}{}", vocab.tokens[l as usize], vocab.tokens[r as usize]));
                    vocab.types.push(NORMAL);
                    vocab.merges.push((l, r));
                }
            }
        }
        if !rest.is_empty() {
            return Err(wrong("bytes behind it"));
        }
        vocab.pad(n_rows);
        Ok(vocab)
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint(rest: &mut &[u8]) -> Result<u32, Error> {
    let mut value = 0u32;
    for shift in [0, 7, 14, 21] {
        let (&byte, after) = rest.split_first().ok_or_else(|| Error::Packed("it ends early".to_owned()))?;
        *rest = after;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Error::Packed("a number is too long".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vocabulary_unpacks_to_its_known_shape() {
        let vocab = Vocab::published();
        assert_eq!((vocab.tokens.len(), vocab.merges.len()), (248_320, 247_556));
        assert_eq!(&vocab.tokens[..3], ["!", "\"", "#"]);
        assert_eq!(vocab.tokens[9419], "Hello");
        assert_eq!((&*vocab.tokens[248_046], vocab.types[248_046]), ("<|im_end|>", CONTROL));
        assert_eq!((&*vocab.tokens[248_319], vocab.types[248_319]), ("[PAD248319]", UNUSED));
        assert_eq!(vocab.merge_lines().nth(2).unwrap(), "i n");
        assert!(vocab.pack().unwrap() == PUBLISHED);
    }

    #[test]
    fn a_cut_keeps_bytes_added_tokens_and_the_merges_between_kept_tokens() {
        let vocab = Vocab::published_cut(2112);
        assert_eq!((vocab.tokens.len(), vocab.merges.len()), (2112, 1792));
        assert_eq!(vocab.id("<|endoftext|>"), Some(2048));
        assert_eq!(vocab.id("<|im_end|>"), Some(2050));
        assert!(vocab.merges.iter().all(|&(l, r)| l.max(r) < 2048));
        assert_eq!(Vocab::unpack(&vocab.pack().unwrap()).unwrap(), vocab);
    }

    #[test]
    fn broken_bytes_are_refused() {
        for bytes in [&b""[..], b"QVOC", b"QVOC\x01\x01", b"QVOC\x01\x01\x05\x06", b"QVOC\xff\xff\xff\xff\xff"] {
            assert!(Vocab::unpack(bytes).is_err(), "{bytes:?}");
        }
    }
}
