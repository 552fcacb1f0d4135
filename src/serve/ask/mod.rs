//! What a client asks for, whatever dialect it came in: from messages to a job.
//!
//! A dialect reads its body into an [`Ask`]; what becomes of that is the same for all of them.

pub(super) mod answer_form;
pub(super) mod content;
pub(super) mod continuation;
pub(super) mod conversation;
pub(super) mod fields;
pub(super) mod sampling;
pub(super) mod thinking;
pub(super) mod tools;

use super::error::ApiError;
use super::event::{self, EventsOf};
use super::job::{CallsAsked, Fault, Job, Thinks};
use super::logprobs::Wanted;
use super::pictures::Pictures;
use super::served::Served;
use super::turns::{Asked, Renderer};
use crate::chat::thinking::Thought;
use crate::chat::{Request, effort};
use crate::tokenizer::Special;
use answer_form::AnswerForm;
use conversation::{Conversation, Prefill};
use sampling::Sampling;
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use thinking::ThinkingWish;

/// A conversation to be answered.
pub(super) struct Ask {
    pub conversation: Conversation,
    /// The field that the messages came in.
    pub at: &'static str,
    pub sampling: Sampling,
    /// Answers wanted.
    pub n: usize,
    pub thinking: ThinkingWish,
    /// The calls that the answer may make, if functions are offered.
    pub calls: Option<CallsAsked>,
    /// What the answer keeps to, if it is no call.
    pub form: Option<AnswerForm>,
    /// Further variables of the template.
    pub kwargs: Map<String, Value>,
    /// Which probabilities are wanted, if any are.
    pub logprobs: Option<Wanted>,
    /// A fault of the engine that a test asks for.
    pub fault: Option<Fault>,
}

/// A prompt, and how its answer begins.
struct Begun {
    ids: Vec<u32>,
    pictures: Pictures,
    /// What it was made of, if the answer is a turn of its own.
    turn: Option<Arc<Asked>>,
    thinks: Thinks,
    /// Whether the answer begins with thinking.
    thinking: bool,
}

impl Ask {
    /// Makes a job of it, and where the job's events come from.
    ///
    /// # Errors
    /// It makes no sense, or does not fit.
    pub fn job(mut self, served: &Served, client: IpAddr, since: Instant) -> Result<(Job, EventsOf), ApiError> {
        let mut n_max = self.sampling.most_tokens(1)?.unwrap_or(usize::MAX);
        let Begun { ids, pictures, turn, mut thinks, thinking } = self.begin(served, true)?;
        if ids.len() >= served.n_ctx {
            return Err(ApiError::too_long(self.at, ids.len(), served.n_ctx));
        }
        let Ask { mut sampling, n, calls, form, logprobs, fault, .. } = self;
        let must_call = calls.as_ref().is_some_and(|calls| calls.choice.prescribes());
        let form = form.filter(|_| !must_call);
        let grammar = form.map(|form| form.grammar(&served.vocabulary)).transpose()?;
        let call_grammar = match &calls {
            Some(calls) => tools::grammar(calls, &served.vocabulary)?,
            None => None,
        };
        if let Some(grammar) = &grammar {
            n_max = n_max.min(served.n_ctx - ids.len());
            thinks = thinks.leaving_an_answer(n_max, grammar);
        }
        let (sender, events) = event::channel(n);
        let job = Job {
            client,
            ids,
            rows: Vec::new(),
            pictures,
            turn,
            thinks,
            calls,
            grammar: grammar.map(Arc::new),
            call_grammar,
            sampling: sampling.settings(served.sampling[usize::from(thinking)])?,
            biases: sampling.biases(served.tokenizer.n_vocab())?,
            seed: sampling.seed(),
            first_choice: 0,
            n,
            n_shared: n,
            n_max,
            stop: sampling.stops(),
            logprobs,
            since,
            fault,
            events: sender,
            held: None,
        };
        Ok((job, events))
    }

    /// The tokens of its prompt, which may be more than fit.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn prompt(mut self, served: &Served) -> Result<Vec<u32>, ApiError> {
        Ok(self.begin(served, false)?.ids)
    }

    /// How many these are.
    ///
    /// # Errors
    /// It makes no sense.
    pub fn count(self, served: &Served) -> Result<usize, ApiError> {
        Ok(self.prompt(served)?.len())
    }

    /// Renders the prompt, which is to be answered or not.
    fn begin(&mut self, served: &Served, is_answered: bool) -> Result<Begun, ApiError> {
        let at = self.at;
        let Conversation { messages, prefill, pictures, n_byte, .. } = std::mem::take(&mut self.conversation).finish();
        served.check_length(at, n_byte)?;
        let mut wish = self.thinking;
        if prefill.is_some() {
            if wish.on == Some(true) {
                return Err(ApiError::field(at, "an answer that is begun cannot be thought about first"));
            }
            wish.on = Some(false);
        }
        let mut kwargs = std::mem::take(&mut self.kwargs);
        match wish.on.or(served.thinking) {
            Some(on) => _ = kwargs.insert("enable_thinking".to_owned(), on.into()),
            None => _ = kwargs.remove("enable_thinking"),
        }
        // A template that has levels is told the one that was asked for, or the nearest; others have the thinking end in time.
        let level = wish.effort.and_then(|effort| served.template.effort_of(effort.word()));
        if let Some(level) = level {
            kwargs.entry(effort::VARIABLE).or_insert_with(|| level.into());
        }
        let budget = if level.is_some() { wish.budget } else { wish.most() };
        let tools = self.calls.as_ref().map(|calls| calls.offer.list().to_vec().into());
        let request = Request { messages, tools, documents: None, add_generation_prompt: true, kwargs: Some(kwargs) };
        let tokenizer = &served.tokenizer;
        let renderer = Renderer { turns: &served.turns, template: &served.template, tokenizer };
        let asked = renderer.render(request, is_answered && prefill.is_none());
        let asked = asked.map_err(|error| ApiError::field(at, error.to_string()))?;
        let (mut ids, pictures) = Pictures::place(served.pictures.as_ref(), asked.ids().to_vec(), pictures)?;
        let budget = match wish.on.or(served.thinking) {
            // Where the template opens the thinking all the same.
            Some(false) => Some(0),
            _ => budget.or(served.think_budget),
        };
        let (thinks, turn) = match prefill {
            Some(Prefill(text)) => {
                ids.extend(tokenizer.encode(&text, Special::None));
                (Thinks::Never, None)
            }
            None => (Thinks::Marked(budget), Some(asked)),
        };
        if ids.is_empty() {
            return Err(ApiError::field(at, "the prompt has no tokens"));
        }
        let is_open = thinks.after(&ids, tokenizer).thought() == Thought::Unfinished;
        let thinking = budget != Some(0) && (is_open || wish.on.or(served.thinking) == Some(true));
        Ok(Begun { ids, pictures, turn, thinks, thinking })
    }
}
