//! What the threads of a server have in common.

use super::access::Access;
use super::account::RequestLine;
use super::bounds::Bounds;
use super::error::ApiError;
use super::metrics::Metrics;
use super::pictures::PictureDesk;
use super::queue::Queue;
use super::shutdown::Shutdown;
use super::turns::Turns;
use crate::chat::Template;
use crate::constrain::SharedVocabulary;
use crate::sampler::Settings;
use crate::tokenizer::Tokenizer;
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;

/// What the threads of a server have in common.
pub(super) struct Shared {
    pub access: Access,
    pub bounds: Bounds,
    pub queue: Arc<Queue>,
    pub shutdown: Shutdown,
    pub metrics: Arc<Metrics>,
    /// The model, once it is loaded.
    pub served: OnceLock<Arc<Served>>,
    /// Memory for bodies, in units.
    pub body_memory: Arc<Semaphore>,
    /// Had by the one body that is being parsed of those that are dear.
    pub dear: Arc<Semaphore>,
    pub log: Box<dyn Fn(&RequestLine) + Send + Sync>,
}

/// The model that is served, and how.
pub(super) struct Served {
    pub tokenizer: Arc<Tokenizer>,
    /// The same for grammars.
    pub vocabulary: SharedVocabulary,
    pub template: Template,
    /// What was written before.
    pub turns: Arc<Turns>,
    pub about: ModelCard,
    /// How tokens are chosen without and with thinking, where a request does not say.
    pub sampling: [Settings; 2],
    /// What the template is told of thinking where a request does not say, if anything.
    pub thinking: Option<bool>,
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

/// What clients are told of the model.
#[derive(Clone, Default, Debug)]
pub struct ModelCard {
    /// Its name in the API.
    pub id: String,
    /// Of the program and the model: the same one, seed and request give the same answer.
    pub fingerprint: String,
    /// When it was loaded, in seconds since 1970.
    pub created: u64,
    /// Rows of the vocabulary.
    pub n_vocab: usize,
    /// Positions it was trained on.
    pub n_ctx_train: usize,
    /// Bytes of its weights.
    pub size: u64,
}
