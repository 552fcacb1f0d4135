//! `POST /v1/messages` and `/v1/messages/count_tokens`: from a body to a job, or to the number of its tokens.

use super::answer::MessageDialect;
use super::input::{Message, conversation};
use super::tools::{ToolChoice, calls};
use crate::serve::ask::Ask;
use crate::serve::ask::answer_form::AnswerForm;
use crate::serve::ask::fields::fields;
use crate::serve::ask::sampling::{Sampling, Stop};
use crate::serve::ask::thinking::{Effort, ThinkingWish};
use crate::serve::ask::tools::ignored_header;
use crate::serve::error::ApiError;
use crate::serve::prepared::{Prepared, Received};
use crate::serve::served::Served;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Fields of a request beside those of [`Sampling`].
#[derive(Deserialize)]
struct Messages {
    system: Option<Value>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<i64>,
    temperature: Option<f32>,
    stop_sequences: Option<Stop>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<ToolChoice>,
    thinking: Option<ThinkingField>,
    output_config: Option<OutputConfig>,
    mcp_servers: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct ThinkingField {
    #[serde(rename = "type")]
    kind: String,
    budget_tokens: Option<usize>,
}

#[derive(Deserialize)]
struct OutputConfig {
    effort: Option<Effort>,
    format: Option<OutputFormat>,
}

/// A schema that the answer keeps to.
#[derive(Deserialize)]
struct OutputFormat {
    #[serde(rename = "type")]
    kind: Option<String>,
    schema: Option<Value>,
}

impl OutputFormat {
    fn form(self) -> Result<AnswerForm, ApiError> {
        match self.kind.as_deref() {
            Some("json_schema") => AnswerForm::of_schema("output_config.format.schema", self.schema, true),
            _ => Err(ApiError::field("output_config.format.type", "expected json_schema")),
        }
    }
}

impl Messages {
    /// What the client says of thinking. In this API, who says nothing wants none.
    fn thinking(&self) -> Result<ThinkingWish, ApiError> {
        let off = ThinkingWish::of(false);
        let Some(ThinkingField { kind, budget_tokens }) = &self.thinking else { return Ok(off) };
        let effort = self.output_config.as_ref().and_then(|config| config.effort);
        match &**kind {
            "enabled" | "adaptive" | "between_tools" => {
                Ok(ThinkingWish { on: Some(true), budget: *budget_tokens, effort })
            }
            "disabled" => Ok(off),
            _ => Err(ApiError::field("thinking.type", "expected enabled, adaptive, between_tools or disabled")),
        }
    }

    /// Refuses what is asked for and not done.
    fn check(&self) -> Result<(), ApiError> {
        if let Some(temperature) = self.temperature.filter(|temperature| !(0.0..=1.0).contains(temperature)) {
            return Err(ApiError::field("temperature", format!("expected 0 to 1, not {temperature}")));
        }
        if self.mcp_servers.as_ref().is_some_and(|servers| !servers.is_empty()) {
            return Err(ApiError::unsupported("mcp_servers", "this server asks no others"));
        }
        Ok(())
    }

    /// What is to be answered, and what is not looked at.
    fn ask(mut self, mut sampling: Sampling, served: &Served) -> Result<(Ask, Vec<String>), ApiError> {
        self.check()?;
        let thinking = self.thinking()?;
        let messages = self.messages.ok_or_else(|| ApiError::field("messages", "expected one or more"))?;
        let (calls, ignored) = calls(self.tools.as_deref().unwrap_or_default(), self.tool_choice)?;
        sampling.limit(self.max_tokens, self.stop_sequences.take());
        let ask = Ask {
            conversation: conversation(self.system.as_ref(), messages)?,
            at: "messages",
            fault: sampling.fault(served.fault.as_deref()),
            sampling,
            n: 1,
            thinking,
            calls,
            form: self.output_config.and_then(|config| config.format).map(OutputFormat::form).transpose()?,
            kwargs: Map::new(),
            logprobs: None,
        };
        Ok((ask, ignored))
    }
}

/// Makes a job of a body.
///
/// # Errors
/// What is wrong with it.
pub(in crate::serve) fn prepare(received: Received<'_>) -> Result<Prepared, ApiError> {
    let Received { body, served, client, since } = received;
    let (sampling, messages): (Sampling, Messages) = fields(body)?;
    if messages.max_tokens.is_none_or(|most| most < 1) {
        return Err(ApiError::field("max_tokens", "expected 1 or more"));
    }
    let stream = sampling.stream == Some(true);
    let (ask, ignored) = messages.ask(sampling, served)?;
    let (job, events) = ask.job(served, client, since)?;
    let dialect = Box::new(MessageDialect::new(&served.about, job.ids.len(), job.stop.clone()));
    Ok(Prepared { jobs: vec![job], events, dialect, headers: ignored_header(&ignored), stream, keep_alive: None })
}

/// Counts the tokens of the prompt that a body asks to be answered.
///
/// # Errors
/// What is wrong with it.
pub(in crate::serve) fn count(body: Vec<u8>, served: &Served) -> Result<Value, ApiError> {
    let (sampling, messages): (Sampling, Messages) = fields(body)?;
    let (ask, _) = messages.ask(sampling, served)?;
    Ok(json!({"input_tokens": ask.count(served)?}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::ask::fields::read;

    #[test]
    fn there_is_thinking_where_it_is_asked_for() {
        for (body, on, budget) in [
            (json!({}), false, None),
            (json!({"thinking": null}), false, None),
            (json!({"output_config": {"effort": "low"}}), false, None),
            (json!({"thinking": {"type": "disabled"}}), false, None),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 4096}}), true, Some(4096)),
            (json!({"thinking": {"type": "adaptive"}}), true, None),
            (
                json!({"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}}),
                true,
                Some(2048),
            ),
        ] {
            let wish = read::<Messages>(&body).unwrap().thinking().unwrap();
            assert_eq!((wish.on, wish.most()), (Some(on), budget), "{body}");
        }
        assert!(read::<Messages>(&json!({"thinking": {"type": "much"}})).unwrap().thinking().is_err());
    }
}
