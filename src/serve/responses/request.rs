//! `POST /v1/responses` and `/v1/responses/input_tokens`: from a body to a job, or to the number of its tokens.

use super::answer::{Echo, ResponseDialect};
use super::input::conversation;
use crate::serve::ask::Ask;
use crate::serve::ask::answer_form::AnswerForm;
use crate::serve::ask::fields::fields;
use crate::serve::ask::sampling::Sampling;
use crate::serve::ask::thinking::{Effort, ThinkingWish};
use crate::serve::ask::tools::{asked, choice, ignored_header, unwrapped};
use crate::serve::error::ApiError;
use crate::serve::logprobs::{MOST_LOGPROBS, Wanted};
use crate::serve::prepared::{Prepared, Received};
use crate::serve::served::Served;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

const ENCRYPTED: &str = "reasoning.encrypted_content";
const LOGPROBS: &str = "message.output_text.logprobs";

/// Fields of a request beside those of [`Sampling`].
#[derive(Deserialize)]
struct Request {
    input: Option<Value>,
    instructions: Option<String>,
    max_output_tokens: Option<i64>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    reasoning: Option<Reasoning>,
    text: Option<TextField>,
    include: Option<Vec<String>>,
    top_logprobs: Option<i64>,
    metadata: Option<Map<String, Value>>,
    previous_response_id: Option<Value>,
    conversation: Option<Value>,
    prompt: Option<Value>,
    background: Option<bool>,
}

#[derive(Deserialize)]
struct Reasoning {
    effort: Option<Effort>,
}

#[derive(Deserialize)]
struct TextField {
    format: Option<TextFormat>,
}

#[derive(Clone, Deserialize, Serialize)]
struct TextFormat {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl TextFormat {
    /// What the answer keeps to, if to anything.
    fn form(self) -> Result<Option<AnswerForm>, ApiError> {
        match self.kind.as_deref() {
            Some("text") => Ok(None),
            Some("json_object") => Ok(Some(AnswerForm::of_object("text.format"))),
            Some("json_schema") => {
                AnswerForm::of_schema("text.format.schema", self.schema, self.strict == Some(true)).map(Some)
            }
            _ => Err(ApiError::field("text.format.type", "expected text, json_object or json_schema")),
        }
    }
}

impl Request {
    /// Refuses what is asked for and not done.
    fn check(&self) -> Result<(), ApiError> {
        let kept = "this server keeps nothing: send the whole conversation in input";
        for (is_there, field, why) in [
            (self.previous_response_id.is_some(), "previous_response_id", kept),
            (self.conversation.is_some(), "conversation", kept),
            (self.prompt.is_some(), "prompt", "this server has no prompts of its own"),
            (self.background == Some(true), "background", "an answer is made while its client waits for it"),
        ] {
            if is_there {
                return Err(ApiError::unsupported(field, why));
            }
        }
        Ok(())
    }

    fn includes(&self, what: &str) -> bool {
        self.include.iter().flatten().any(|included| included == what)
    }

    /// The probabilities wanted, if any are: of the tokens of the answer.
    fn logprobs(&self) -> Result<Option<Wanted>, ApiError> {
        match self.top_logprobs {
            Some(n) if !(0..=MOST_LOGPROBS).contains(&n) => {
                Err(ApiError::field("top_logprobs", format!("expected 0 to {MOST_LOGPROBS}, not {n}")))
            }
            n if self.includes(LOGPROBS) || n.is_some_and(|n| n > 0) => {
                Ok(Some(Wanted { n_top: n.unwrap_or(0) as usize, of_prompt: false, of_end: false }))
            }
            _ => Ok(None),
        }
    }

    /// What is to be answered, and what is not looked at.
    fn ask(mut self, mut sampling: Sampling, served: &Served) -> Result<(Ask, Vec<String>), ApiError> {
        self.check()?;
        if let Some(most) = self.max_output_tokens.filter(|&most| most < 1) {
            return Err(ApiError::field("max_output_tokens", format!("expected 1 or more, not {most}")));
        }
        sampling.limit(self.max_output_tokens, None);
        let (offer, ignored) = unwrapped(self.tools.as_deref().unwrap_or_default(), "function", "parameters")?;
        let choice = choice(self.tool_choice.as_ref(), &offer)?;
        let effort = self.reasoning.as_ref().and_then(|reasoning| reasoning.effort);
        let format = self.text.take().and_then(|text| text.format);
        let ask = Ask {
            logprobs: self.logprobs()?,
            conversation: conversation(self.instructions.take(), self.input.take())?,
            at: "input",
            fault: sampling.fault(served.fault.as_deref()),
            sampling,
            n: 1,
            thinking: effort.map_or_else(ThinkingWish::default, Effort::wish),
            calls: asked(offer, choice, self.parallel_tool_calls, "call_"),
            form: format.map(TextFormat::form).transpose()?.flatten(),
            kwargs: Map::new(),
        };
        Ok((ask, ignored))
    }

    /// What an answer repeats of its request.
    fn echo(&self, sampling: &Sampling) -> Echo {
        let effort = self.reasoning.as_ref().and_then(|reasoning| reasoning.effort);
        let format = self.text.as_ref().and_then(|text| text.format.as_ref());
        let format = format.and_then(|format| serde_json::to_value(format).ok());
        Echo {
            format: format.unwrap_or_else(|| json!({"type": "text"})),
            instructions: self.instructions.clone(),
            max_output_tokens: self.max_output_tokens,
            tools: self.tools.clone().unwrap_or_default(),
            tool_choice: self.tool_choice.clone().unwrap_or_else(|| "auto".into()),
            parallel_tool_calls: self.parallel_tool_calls.unwrap_or(true),
            effort: effort.map(Effort::word),
            metadata: self.metadata.clone().unwrap_or_default(),
            user: sampling.user().cloned(),
            encrypts: self.includes(ENCRYPTED),
        }
    }
}

/// Makes a job of a body.
///
/// # Errors
/// What is wrong with it.
pub(in crate::serve) fn prepare(received: Received<'_>) -> Result<Prepared, ApiError> {
    let Received { body, served, client, since } = received;
    let (sampling, request): (Sampling, Request) = fields(body)?;
    let (stream, echo) = (sampling.stream == Some(true), request.echo(&sampling));
    let (ask, ignored) = request.ask(sampling, served)?;
    let (job, events) = ask.job(served, client, since)?;
    let dialect = Box::new(ResponseDialect::new(&served.about, echo, &job.sampling));
    Ok(Prepared { jobs: vec![job], events, dialect, headers: ignored_header(&ignored), stream, keep_alive: None })
}

/// Counts the tokens of the prompt that a body asks to be answered.
///
/// # Errors
/// What is wrong with it.
pub(in crate::serve) fn count(body: Vec<u8>, served: &Served) -> Result<Value, ApiError> {
    let (sampling, request): (Sampling, Request) = fields(body)?;
    let (ask, _) = request.ask(sampling, served)?;
    Ok(json!({"object": "response.input_tokens", "input_tokens": ask.count(served)?}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::ask::fields::read;

    #[test]
    fn what_is_not_done_is_refused_and_what_is_not_known_is_not() {
        for (body, param) in [
            (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
            (json!({"conversation": {"id": "conv_1"}}), "conversation"),
            (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
            (json!({"background": true}), "background"),
        ] {
            let error = read::<Request>(&body).unwrap().check().unwrap_err().to_json();
            assert_eq!(error["error"]["param"], param);
        }
        for (format, param) in [
            (json!({"type": "xml"}), "text.format.type"),
            (json!({"type": "json_schema", "name": "a"}), "text.format.schema"),
        ] {
            let error = read::<TextFormat>(&format).unwrap().form().err().unwrap().to_json();
            assert_eq!(error["error"]["param"], param);
        }
        let body = json!({
            "store": false, "include": [ENCRYPTED, "x"], "previous_response_id": null, "prompt_cache_key": "a",
            "text": {"verbosity": "low"}, "reasoning": {"effort": null, "summary": "auto"}, "truncation": "auto",
            "client_metadata": {"a": "b"}, "service_tier": null, "background": false,
        });
        let request = read::<Request>(&body).unwrap();
        assert!(request.check().is_ok() && request.includes(ENCRYPTED) && request.logprobs().unwrap().is_none());
        assert!(read::<Request>(&json!({"top_logprobs": 21})).unwrap().logprobs().is_err());
        for (body, param) in [
            (json!({"reasoning": {"effort": "much"}}), "reasoning.effort"),
            (json!({"max_output_tokens": "many"}), "max_output_tokens"),
            (json!({"tools": {}}), "tools"),
        ] {
            assert_eq!(read::<Request>(&body).err().unwrap().to_json()["error"]["param"], param);
        }
    }
}
