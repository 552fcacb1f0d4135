//! A model that is loaded, as the threads that parse requests know it.

use super::error::ApiError;
use super::pictures::PictureDesk;
use super::queue::Queue;
use super::slots::Slot;
use super::turns::Turns;
use crate::chat::Template;
use crate::constrain::SharedVocabulary;
use crate::sampler::Settings;
use crate::tokenizer::Tokenizer;
use std::sync::Arc;

/// The model that is served, and how.
pub(super) struct Served {
    /// Requests that wait for a seat.
    pub queue: Arc<Queue>,
    pub tokenizer: Arc<Tokenizer>,
    /// The same for grammars.
    pub vocabulary: SharedVocabulary,
    pub template: Template,
    /// What was written before.
    pub turns: Arc<Turns>,
    pub about: Arc<ModelCard>,
    /// How tokens are chosen without and with thinking, where a request does not say.
    pub sampling: [Settings; 2],
    /// What the template is told of thinking where a request does not say, if anything.
    pub thinking: Option<bool>,
    /// Whether the model thinks where the template is told nothing.
    pub thinks_by_default: bool,
    pub think_budget: Option<usize>,
    /// Whether thinking and answers are ended where they go round in circles.
    pub loop_guard: bool,
    /// How pictures are taken, where there is a tower.
    pub pictures: Option<PictureDesk>,
    /// The user whose requests fail, for tests.
    pub fault: Option<String>,
    /// Positions of a conversation.
    pub n_ctx: usize,
    /// Answers in the making at a time.
    pub n_seat: usize,
    /// What is made on each seat.
    pub slots: Vec<Slot>,
    /// Bytes of a text that may fit in a conversation: of a longer one, the tokens need not be counted.
    pub longest_text: usize,
}

impl Served {
    /// Whether a text of so many bytes, that of the field `param`, may fit in a conversation.
    ///
    /// # Errors
    /// It does not, whatever it says.
    pub fn check_length(&self, param: &str, n_byte: usize) -> Result<(), ApiError> {
        if n_byte <= self.longest_text {
            return Ok(());
        }
        let at_least = n_byte / (self.longest_text / self.n_ctx).max(1);
        Err(ApiError::far_too_long(param, at_least, self.n_ctx))
    }
}

/// A name without the tag that clients of Ollama's API add and others leave out.
pub(super) fn untagged(name: &str) -> &str {
    name.strip_suffix(":latest").unwrap_or(name)
}

/// What clients are told of a model.
#[derive(Clone, Default, Debug)]
pub struct ModelCard {
    /// Its name in the API.
    pub id: String,
    /// The name of its file, without the path.
    pub file_name: String,
    /// Its architecture, as its file calls it.
    pub architecture: String,
    /// Of the program and the model: the same one, seed and request give the same answer.
    pub fingerprint: String,
    /// When the server was told of it, in seconds since 1970.
    pub created: u64,
    /// Rows of the vocabulary.
    pub n_vocab: usize,
    /// Positions it was trained on.
    pub n_ctx_train: usize,
    /// Bytes of its file.
    pub size: u64,
    /// Numbers in it.
    pub n_param: u64,
    /// How it is quantised, as far as its name says it.
    pub quant: Option<String>,
    /// Whether it comes with a vision tower.
    pub sees: bool,
}

impl ModelCard {
    /// Whether a request that names `name` means this model.
    pub fn is_called(&self, name: &str) -> bool {
        untagged(&self.id).eq_ignore_ascii_case(untagged(name))
    }
}
