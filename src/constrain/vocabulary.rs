//! A tokenizer's vocabulary as a trie of bytes: what the tokens that a grammar allows next are looked up in.
//!
//! It is the same for every grammar and takes a second or more to make, so that it is made once for a model
//! ([`SharedVocabulary`]), beside other work if that is wanted.

use crate::tokenizer::{TokenType, Tokenizer};
use llguidance::ParserFactory;
use llguidance::api::ParserLimits;
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};
use std::sync::{Arc, OnceLock};

/// Texts of which every token that is one is allowed at once, within strings that are bounded and others. More of them take more
/// memory, each about 15 MB for the published vocabulary.
const SLICES: [&str; 2] = [r#"[^"\\\x00-\x1F\x7F]{1,10}"#, r#"[^"\\\x00-\x1F\x7F]+"#];

/// Bytes of a token from which on it is never allowed: the trie is no deeper than 1,023.
const LONGEST_TOKEN: usize = 256;

/// Bytes of all tokens at most: the trie has no more nodes than 2²².
const MOST_BYTES: usize = (1 << 22) - 2;

/// Tokens at most: the trie has 24 bits for an id.
const MOST_TOKENS: usize = (1 << 24) - 1;

/// Bytes that a token takes in the trie and those of its slices, and while they are made. Of the published vocabulary it was 330.
const TOKEN: u64 = 352;

/// Why no answer of a model can be constrained.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VocabularyError {
    /// It is larger than the trie can be.
    #[error(
        "the vocabulary of {n_token} tokens and {n_byte} bytes is too large for answers that keep to a schema: \
         {MOST_TOKENS} tokens and {MOST_BYTES} bytes are the most"
    )]
    TooLarge {
        /// Its tokens.
        n_token: usize,
        /// The bytes of all of them.
        n_byte: usize,
    },
    /// No token ends an answer.
    #[error("the vocabulary has no token that ends an answer, so that none can keep to a schema")]
    NoEnd,
    /// The trie could not be made.
    #[error("the vocabulary cannot be made into a trie: {0}")]
    Trie(String),
}

/// A vocabulary, ready for grammars.
pub struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    factory: ParserFactory,
}

impl Vocabulary {
    /// The vocabulary of a tokenizer.
    ///
    /// # Errors
    /// [`VocabularyError`].
    pub fn new(tokenizer: Arc<Tokenizer>) -> Result<Vocabulary, VocabularyError> {
        let n_token = tokenizer.n_vocab();
        let words: Vec<Vec<u8>> = (0..n_token as u32).map(|id| word(&tokenizer, id)).collect();
        let n_byte = words.iter().map(Vec::len).sum();
        if n_token > MOST_TOKENS || n_byte > MOST_BYTES {
            return Err(VocabularyError::TooLarge { n_token, n_byte });
        }
        let [end, ..] = *tokenizer.ends() else { return Err(VocabularyError::NoEnd) };
        let trie = TokTrie::from(&TokRxInfo::new(n_token as u32, end), &words).with_eos_tokens(tokenizer.ends());
        drop(words);
        let environment: TokEnv = Arc::new(Environment { tokenizer: Arc::clone(&tokenizer), trie });
        let slices = SLICES.map(str::to_owned);
        let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
            .map_err(|error| VocabularyError::Trie(error.to_string()))?;
        factory.quiet();
        *factory.limits_mut() = limits();
        Ok(Vocabulary { tokenizer, factory })
    }

    /// Bytes that one of `n_token` tokens takes at most, while it is made included.
    pub fn bytes(n_token: usize) -> u64 {
        n_token as u64 * TOKEN
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub(super) fn factory(&self) -> &ParserFactory {
        &self.factory
    }
}

/// What a grammar may take: a few milliseconds a token at the most, and some tens of megabytes.
fn limits() -> ParserLimits {
    ParserLimits {
        max_items_in_row: 2_000,
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_lexer_states: 30_000,
        max_grammar_size: 200_000,
        precompute_large_lexemes: false,
        verbose_errors: false,
    }
}

/// The bytes that a token writes. Those that write none, or steer the model, or stand around its thinking and its calls, are no
/// text of any grammar: they have the mark of special tokens before their names.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    let mut bytes = match tokenizer.token_type(id) {
        Some(TokenType::Normal) => Vec::new(),
        None | Some(TokenType::Unused) => return Vec::new(),
        Some(_) => vec![TokTrie::SPECIAL_TOKEN_MARKER],
    };
    tokenizer.push_bytes(id, &mut bytes);
    if bytes.len() > LONGEST_TOKEN { Vec::new() } else { bytes }
}

/// The tokenizer as grammars ask for it.
struct Environment {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.tokenizer.encode_bytes(bytes)
    }
}

/// The vocabulary of a model, made by whoever needs it first.
#[derive(Clone)]
pub struct SharedVocabulary {
    tokenizer: Arc<Tokenizer>,
    made: Arc<OnceLock<Result<Arc<Vocabulary>, VocabularyError>>>,
}

impl SharedVocabulary {
    /// The vocabulary of this tokenizer, which is not made yet.
    pub fn new(tokenizer: Arc<Tokenizer>) -> SharedVocabulary {
        SharedVocabulary { tokenizer, made: Arc::default() }
    }

    /// Makes it on a thread of its own; without one, it is made when it is asked for.
    pub fn make_ahead(&self) {
        let vocabulary = self.clone();
        let _ = std::thread::Builder::new().name("vocabulary".to_owned()).spawn(move || vocabulary.get());
    }

    /// The vocabulary, once it is made.
    ///
    /// # Errors
    /// [`VocabularyError`].
    pub fn get(&self) -> Result<Arc<Vocabulary>, VocabularyError> {
        self.made.get_or_init(|| Vocabulary::new(Arc::clone(&self.tokenizer)).map(Arc::new)).clone()
    }
}
