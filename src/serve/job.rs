//! A request as the engine takes it, whatever dialect it came in.

use super::event::Events;
use super::logprobs::Wanted;
use super::models::Held;
use super::pictures::Pictures;
use super::random::Names;
use super::turns::Asked;
use crate::chat::calls::{CallChoice, Calls};
use crate::chat::offer::Offer;
use crate::chat::thinking::Thinking;
use crate::constrain::Grammar;
use crate::engine::generate::think_budget;
use crate::model::input::InputRow;
use crate::sampler::Settings;
use crate::tokenizer::Tokenizer;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// What is to be answered.
pub(super) struct Job {
    /// Who asks.
    pub client: IpAddr,
    /// The prompt; where it has pictures, a placeholder for each of their tokens.
    pub ids: Vec<u32>,
    /// Its rows, once the engine has made them.
    pub rows: Vec<InputRow>,
    /// Its pictures.
    pub pictures: Pictures,
    /// What the prompt was made of, if the answer is a turn of its own.
    pub turn: Option<Arc<Asked>>,
    /// Where the thinking is told from the answer.
    pub thinks: Thinks,
    /// The calls that it may make, if functions are offered.
    pub calls: Option<CallsAsked>,
    /// What it keeps to, behind its thinking.
    pub grammar: Option<Arc<Grammar>>,
    /// What its calls keep to.
    pub call_grammar: Option<Arc<Grammar>>,
    /// How tokens are chosen.
    pub sampling: Settings,
    /// What is added to the logits of tokens.
    pub biases: Arc<[(u32, f32)]>,
    /// The seed of the first choice; that of each further one is the next.
    pub seed: u64,
    /// The number of its first choice among those of the request.
    pub first_choice: usize,
    /// Answers wanted, each on a seat.
    pub n: usize,
    /// Answers of the whole request, whose events share the channel.
    pub n_shared: usize,
    /// Most tokens of each.
    pub n_max: usize,
    /// Texts that end an answer, none of them empty.
    pub stop: Vec<String>,
    /// Which probabilities are wanted, if any are.
    pub logprobs: Option<Wanted>,
    /// When it came.
    pub since: Instant,
    /// A fault of the engine that a test asks for.
    pub fault: Option<Fault>,
    /// Where the answers go.
    pub events: Events,
    /// Keeps the model loaded.
    pub held: Option<Arc<Held>>,
}

/// Which calls an answer may make.
#[derive(Clone)]
pub(super) struct CallsAsked {
    pub offer: Arc<Offer>,
    pub choice: CallChoice,
    /// Whether there may be more than one.
    pub several: bool,
    /// The ids of calls.
    pub names: Names,
}

impl CallsAsked {
    /// What tells them from text.
    pub fn follow(&self, tokenizer: &Tokenizer) -> Calls {
        Calls::new(Arc::clone(&self.offer), self.choice.clone(), self.several, tokenizer)
    }
}

impl Job {
    /// Whether the probabilities of the prompt's tokens are asked for: then all of it is read.
    pub fn scores(&self) -> bool {
        self.logprobs.is_some_and(|wanted| wanted.of_prompt)
    }
}

/// How the thinking part of an answer is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Thinks {
    /// All is answer.
    Never,
    /// By the marks, with at most so many tokens of thinking.
    Marked(Option<usize>),
}

impl Thinks {
    /// With a budget that leaves some of `n_max` tokens to an answer that keeps to this.
    pub fn leaving_an_answer(self, n_max: usize, grammar: &Grammar) -> Thinks {
        match self {
            Thinks::Never => Thinks::Never,
            Thinks::Marked(budget) => Thinks::Marked(Some(think_budget(budget, n_max, grammar))),
        }
    }

    /// Behind this prompt.
    pub fn after(self, prompt: &[u32], tokenizer: &Tokenizer) -> Thinking {
        match self {
            Thinks::Never => Thinking::ignored(),
            Thinks::Marked(budget) => Thinking::after(prompt, tokenizer, budget),
        }
    }
}

/// Where the engine is to fail, if a test asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Where the vision tower is at a picture.
    AtPicture,
    /// In a pass.
    InPass,
}
