//! `POST /v1/chat/completions`: from a body to a job.

use super::chat_answer::ChatDialect;
use super::messages::{Message, conversation};
use crate::serve::ask::Ask;
use crate::serve::ask::answer_form::AnswerForm;
use crate::serve::ask::fields::fields;
use crate::serve::ask::sampling::Sampling;
use crate::serve::ask::thinking::{Effort, ThinkingWish};
use crate::serve::ask::tools;
use crate::serve::error::ApiError;
use crate::serve::job::CallsAsked;
use crate::serve::logprobs::{MOST_LOGPROBS, Wanted};
use crate::serve::prepared::{Prepared, Received};
use crate::serve::served::Served;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Fields of a chat beside those of [`Sampling`].
#[derive(Deserialize)]
struct Chat {
    messages: Option<Vec<Message>>,
    chat_template_kwargs: Option<Map<String, Value>>,
    enable_thinking: Option<bool>,
    thinking: Option<ThinkingField>,
    reasoning: Option<ReasoningField>,
    reasoning_effort: Option<Effort>,
    return_progress: Option<bool>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    functions: Option<Vec<Value>>,
    function_call: Option<Value>,
    response_format: Option<ResponseFormat>,
    logprobs: Option<bool>,
    top_logprobs: Option<i64>,
    audio: Option<Value>,
    modalities: Option<Vec<String>>,
    web_search_options: Option<Value>,
}

/// As clients of DeepSeek's and GLM's APIs say it.
#[derive(Deserialize)]
struct ThinkingField {
    #[serde(rename = "type")]
    kind: Option<String>,
    budget_tokens: Option<usize>,
}

/// As clients of OpenRouter's API say it.
#[derive(Deserialize)]
struct ReasoningField {
    effort: Option<Effort>,
    enabled: Option<bool>,
    max_tokens: Option<usize>,
}

#[derive(Deserialize)]
struct ResponseFormat {
    #[serde(rename = "type")]
    kind: Option<String>,
    json_schema: Option<NamedSchema>,
    /// As clients of llama.cpp's server give it beside `json_object`.
    schema: Option<Value>,
}

#[derive(Deserialize)]
struct NamedSchema {
    schema: Option<Value>,
    strict: Option<bool>,
}

impl ResponseFormat {
    /// What the answer keeps to, if to anything.
    fn form(self) -> Result<Option<AnswerForm>, ApiError> {
        match self.kind.as_deref() {
            Some("text") => Ok(None),
            Some("json_object") => Ok(Some(match self.schema {
                Some(schema) => AnswerForm { at: "response_format.schema", schema, is_strict: false },
                None => AnswerForm::of_object("response_format"),
            })),
            Some("json_schema") => {
                let named =
                    self.json_schema.ok_or_else(|| ApiError::field("response_format.json_schema", "is missing"))?;
                let is_strict = named.strict == Some(true);
                AnswerForm::of_schema("response_format.json_schema.schema", named.schema, is_strict).map(Some)
            }
            _ => Err(ApiError::field("response_format.type", "expected text, json_object or json_schema")),
        }
    }
}

impl Chat {
    /// What the client says of thinking: of several ways to say it, the most particular counts.
    fn thinking(&self) -> Result<ThinkingWish, ApiError> {
        let mut wish = self.reasoning_effort.map_or(ThinkingWish::default(), Effort::wish);
        if let Some(ReasoningField { effort, enabled, max_tokens }) = &self.reasoning {
            wish = effort.map_or(wish, Effort::wish);
            wish.on = enabled.or(max_tokens.map(|_| true)).or(wish.on);
            wish.budget = max_tokens.or(wish.budget);
        }
        if let Some(ThinkingField { kind, budget_tokens }) = &self.thinking {
            let on = match kind.as_deref() {
                None => wish.on,
                Some("enabled") => Some(true),
                Some("disabled") => Some(false),
                Some(_) => return Err(ApiError::field("thinking.type", "expected enabled or disabled")),
            };
            (wish.on, wish.budget) = (on, budget_tokens.or(wish.budget));
        }
        wish.on = self.enable_thinking.or(wish.on);
        match self.chat_template_kwargs.as_ref().and_then(|kwargs| kwargs.get("enable_thinking")) {
            None | Some(Value::Null) => {}
            Some(Value::Bool(on)) => wish.on = Some(*on),
            Some(_) => {
                return Err(ApiError::field("chat_template_kwargs.enable_thinking", "expected true or false"));
            }
        }
        Ok(wish)
    }

    /// The probabilities wanted, if any are: of the tokens of the answer.
    fn logprobs(&self) -> Result<Option<Wanted>, ApiError> {
        let wanted = |n_top| Wanted { n_top, of_prompt: false, of_end: false };
        match (self.logprobs == Some(true), self.top_logprobs) {
            (true, None) => Ok(Some(wanted(0))),
            (true, Some(n @ 0..=MOST_LOGPROBS)) => Ok(Some(wanted(n as usize))),
            (false, None | Some(0)) => Ok(None),
            (false, Some(_)) => Err(ApiError::field("top_logprobs", "needs logprobs")),
            (true, Some(n)) => Err(ApiError::field("top_logprobs", format!("expected 0 to {MOST_LOGPROBS}, not {n}"))),
        }
    }

    /// The calls that the answer may make, if functions are offered.
    fn calls(&self) -> Result<Option<CallsAsked>, ApiError> {
        let (list, at) = match (&self.tools, &self.functions) {
            (Some(tools), _) if !tools.is_empty() => (tools, "tools"),
            (_, Some(functions)) => (functions, "functions"),
            (Some(tools), None) => (tools, "tools"),
            (None, None) => (&Vec::new(), "tools"),
        };
        let offer = tools::offer(list, at)?;
        let choice = tools::choice(self.tool_choice.as_ref().or(self.function_call.as_ref()), &offer)?;
        Ok(tools::asked(offer, choice, self.parallel_tool_calls, "call_"))
    }

    /// What is asked for.
    fn ask(mut self, sampling: Sampling, served: &Served) -> Result<Ask, ApiError> {
        self.check()?;
        let messages = self.messages.take().ok_or_else(|| ApiError::field("messages", "expected one or more"))?;
        Ok(Ask {
            n: sampling.choices(served.n_seat)?,
            logprobs: self.logprobs()?,
            thinking: self.thinking()?,
            conversation: conversation(messages)?,
            calls: self.calls()?,
            form: self.response_format.take().map(ResponseFormat::form).transpose()?.flatten(),
            at: "messages",
            fault: sampling.fault(served.fault.as_deref()),
            sampling,
            kwargs: self.chat_template_kwargs.take().unwrap_or_default(),
        })
    }

    /// Refuses what is asked for and not done.
    fn check(&self) -> Result<(), ApiError> {
        if self.audio.is_some() || self.modalities.as_ref().is_some_and(|all| all.iter().any(|kind| kind != "text")) {
            return Err(ApiError::unsupported("modalities", "this model answers in text"));
        }
        if self.web_search_options.is_some() {
            return Err(ApiError::unsupported("web_search_options", "this server fetches nothing"));
        }
        let kwargs = self.chat_template_kwargs.as_ref();
        for name in ["messages", "tools", "add_generation_prompt"] {
            if kwargs.is_some_and(|kwargs| kwargs.contains_key(name)) {
                return Err(ApiError::field(format!("chat_template_kwargs.{name}"), "is not the client's to set"));
            }
        }
        Ok(())
    }
}

/// Makes a job of a body.
///
/// # Errors
/// The body makes no sense, or does not fit.
pub(in crate::serve) fn prepare(received: Received<'_>) -> Result<Prepared, ApiError> {
    let Received { body, served, client, since } = received;
    let (sampling, chat): (Sampling, Chat) = fields(body)?;
    let (stream, include_usage) = (sampling.stream == Some(true), sampling.include_usage());
    let progress = chat.return_progress == Some(true);
    let ask = chat.ask(sampling, served)?;
    let logprobs = ask.logprobs.is_some();
    let (job, events) = ask.job(served, client, since)?;
    let dialect = ChatDialect::new(&served.about, include_usage, progress, logprobs, since);
    Ok(Prepared { jobs: vec![job], events, dialect: Box::new(dialect), headers: Vec::new(), stream, keep_alive: None })
}

/// The tokens that a body asks to be answered.
///
/// # Errors
/// The body makes no sense.
pub(in crate::serve) fn prompt(body: Vec<u8>, served: &Served) -> Result<Vec<u32>, ApiError> {
    let (sampling, chat): (Sampling, Chat) = fields(body)?;
    chat.ask(sampling, served)?.prompt(served)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::ask::fields::read;
    use serde_json::json;

    fn wish(body: Value) -> (Option<bool>, Option<usize>) {
        let wish = read::<Chat>(&body).unwrap().thinking().unwrap();
        (wish.on, wish.most())
    }

    #[test]
    fn of_several_words_on_thinking_the_most_particular_counts() {
        assert_eq!(wish(json!({})), (None, None));
        assert_eq!(wish(json!({"reasoning_effort": null})), (None, None));
        assert_eq!(wish(json!({"reasoning_effort": "none"})), (Some(false), None));
        assert_eq!(wish(json!({"reasoning_effort": "low"})), (Some(true), Some(2048)));
        assert_eq!(wish(json!({"reasoning_effort": "high", "enable_thinking": false})), (Some(false), None));
        assert_eq!(wish(json!({"reasoning": {"max_tokens": 7}})), (Some(true), Some(7)));
        assert_eq!(
            wish(json!({"thinking": {"type": "disabled"}, "reasoning": {"enabled": true}})),
            (Some(false), None)
        );
        let both = json!({"enable_thinking": false, "chat_template_kwargs": {"enable_thinking": true}});
        assert_eq!(wish(both), (Some(true), None));
    }

    #[test]
    fn a_field_of_another_type_is_named() {
        for (body, param) in [
            (json!({"reasoning_effort": "much"}), "reasoning_effort"),
            (json!({"messages": [{"role": 1}]}), "messages[0].role"),
            (json!({"chat_template_kwargs": []}), "chat_template_kwargs"),
        ] {
            let error = read::<Chat>(&body).err().unwrap().to_json();
            assert_eq!(error["error"]["param"], param, "{error}");
        }
        assert!(read::<Chat>(&json!({"store": true, "metadata": {"a": 1}, "tools": null})).unwrap().check().is_ok());
        for field in ["tools", "functions"] {
            let chat = read::<Chat>(&json!({field: [{}]})).unwrap();
            let error = chat.calls().err().unwrap().to_json();
            assert_eq!(error["error"]["param"], format!("{field}[0].name"));
        }
    }
}
