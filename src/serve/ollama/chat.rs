//! `POST /api/chat`: from a body to a job.

use super::answer::{Form, LineDialect};
use super::messages::{Message, conversation};
use super::options::{Common, fields};
use crate::chat::calls::CallChoice;
use crate::serve::ask::Ask;
use crate::serve::ask::tools::{asked, offer};
use crate::serve::error::ApiError;
use crate::serve::prepared::{Prepared, Received};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Fields of a chat beside those of [`Common`].
#[derive(Deserialize)]
struct Chat {
    messages: Option<Vec<Message>>,
    tools: Option<Vec<Value>>,
}

/// Makes a job of a body; none of one without messages, which asks for the model to be loaded.
///
/// # Errors
/// What is wrong with it.
pub(in crate::serve) fn prepare(received: Received<'_>) -> Result<Prepared, ApiError> {
    let Received { body, served, client, since } = received;
    let (mut common, chat): (Common, Chat) = fields(body)?;
    let sampling = common.sampling()?;
    let (stream, logprobs, keep_alive) = (common.streams(), common.logprobs()?, common.keep_alive);
    let dialect = Box::new(LineDialect::new(Form::Chat, &served.about, &common, since));
    let messages = chat.messages.unwrap_or_default();
    if messages.is_empty() {
        return Ok(Prepared::without_jobs(dialect, keep_alive));
    }
    let offer = offer(&chat.tools.unwrap_or_default(), "tools")?;
    let ask = Ask {
        conversation: conversation(messages)?,
        at: "messages",
        fault: sampling.fault(served.fault.as_deref()),
        sampling,
        n: 1,
        thinking: common.thinking(),
        calls: asked(offer, CallChoice::Auto, None, "call_"),
        form: common.form(),
        kwargs: Map::new(),
        logprobs,
    };
    let (job, events) = ask.job(served, client, since)?;
    Ok(Prepared { jobs: vec![job], events, dialect, headers: Vec::new(), stream, keep_alive })
}
