//! `POST /api/generate`: a prompt with its system message and pictures, or one that no template is asked for.

use super::answer::{Form, LineDialect};
use super::messages::content;
use super::options::{Common, fields};
use crate::serve::ask::Ask;
use crate::serve::ask::continuation::{Continuation, prompts};
use crate::serve::ask::conversation::{Conversation, turn};
use crate::serve::error::ApiError;
use crate::serve::prepared::{Prepared, Received};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Fields beside those of [`Common`].
#[derive(Deserialize)]
struct Generate {
    prompt: Option<String>,
    suffix: Option<String>,
    system: Option<String>,
    template: Option<String>,
    raw: Option<bool>,
    images: Option<Vec<String>>,
}

impl Generate {
    /// Refuses what is asked for and not done.
    fn check(&self) -> Result<(), ApiError> {
        let is_given = |field: &Option<String>| field.as_ref().is_some_and(|text| !text.is_empty());
        if is_given(&self.suffix) {
            return Err(ApiError::unsupported("suffix", "this server writes behind a prompt, not into it"));
        }
        if is_given(&self.template) {
            let message = "the model's own template is used: raw takes a prompt as it is";
            return Err(ApiError::unsupported("template", message));
        }
        if self.raw == Some(true) && self.images.as_ref().is_some_and(|images| !images.is_empty()) {
            return Err(ApiError::unsupported("images", "a raw prompt has no places for pictures"));
        }
        Ok(())
    }

    /// The prompt as a conversation.
    fn conversation(self) -> Result<Conversation, ApiError> {
        let mut all = Conversation::default();
        if let Some(system) = self.system.filter(|system| !system.is_empty()) {
            all.n_byte += system.len();
            all.push_system(system);
        }
        let content = content(&self.prompt.unwrap_or_default(), self.images, "", &mut all)?;
        all.messages.push(turn("user", content.into_value()));
        Ok(all)
    }
}

/// Makes a job of a body; none of one without a prompt, which asks for the model to be loaded.
///
/// # Errors
/// What is wrong with it.
pub(in crate::serve) fn prepare(received: Received<'_>) -> Result<Prepared, ApiError> {
    let Received { body, served, client, since } = received;
    let (mut common, generate): (Common, Generate) = fields(body)?;
    let sampling = common.sampling()?;
    generate.check()?;
    let (stream, logprobs, keep_alive) = (common.streams(), common.logprobs()?, common.keep_alive);
    let (form, fault) = (common.form(), sampling.fault(served.fault.as_deref()));
    let dialect = Box::new(LineDialect::new(Form::Generate, &served.about, &common, since));
    let shows = generate.images.as_ref().is_some_and(|images| !images.is_empty());
    if generate.prompt.as_ref().is_none_or(String::is_empty) && !shows {
        return Ok(Prepared::without_jobs(dialect, keep_alive));
    }
    let headers = Vec::new();
    if generate.raw == Some(true) {
        let n_max = sampling.most_tokens(1)?.unwrap_or(usize::MAX);
        let prompts = prompts(generate.prompt.map(Value::from).as_ref(), served)?;
        let grammar = form.map(|form| form.grammar(&served.vocabulary)).transpose()?.map(Arc::new);
        let continuation = Continuation { prompts, sampling, n: 1, n_max, grammar, logprobs, fault };
        let (jobs, events) = continuation.jobs(served, client, since)?;
        return Ok(Prepared { jobs, events, dialect, headers, stream, keep_alive });
    }
    let ask = Ask {
        conversation: generate.conversation()?,
        at: "prompt",
        sampling,
        n: 1,
        thinking: common.thinking(),
        calls: None,
        form,
        kwargs: Map::new(),
        logprobs,
        fault,
    };
    let (job, events) = ask.job(served, client, since)?;
    Ok(Prepared { jobs: vec![job], events, dialect, headers, stream, keep_alive })
}
