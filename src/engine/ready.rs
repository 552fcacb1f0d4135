//! A model that is ready to answer: what conversations with it have in common.

use super::plan::Plan;
use super::runner::Runner;
use super::session::AnswerOptions;
use crate::chat::Template;
use crate::sampler::{Sampler, Settings};
use crate::tokenizer::Tokenizer;
use crate::vision::Viewer;
use crate::vision::positions::VisionIds;
use std::sync::Arc;

/// A model that is ready to answer. [`super::model_file::ModelFile::make_ready`] makes one; a
/// [`Session`](super::session::Session) is one conversation with it, and who wants several runs its [`Runner`].
pub struct Ready {
    /// What runs the model.
    pub runner: Runner,
    /// Its vocabulary.
    pub tokenizer: Arc<Tokenizer>,
    /// Its chat template.
    pub template: Template,
    /// What looks at pictures, and where they stand in a prompt, if there is a vision tower.
    pub viewer: Option<(Viewer, VisionIds)>,
    /// How answers are made.
    pub answers: AnswerOptions,
    /// The memory plan that all keeps to.
    pub plan: Plan,
    /// What was ignored in the model's files.
    pub notes: Vec<String>,
    /// Rows of the vocabulary that are never drawn: padding, and rows without a token.
    pub banned: Vec<u32>,
}

impl Ready {
    /// A sampler for an answer of this model.
    pub fn sampler(&self, settings: Settings, seed: u64) -> Sampler {
        let mut sampler = Sampler::new(settings, seed);
        sampler.ban(self.banned.iter().copied());
        sampler
    }
}
