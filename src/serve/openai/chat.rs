//! `POST /v1/chat/completions`: from a body to a job.

use super::chat_answer::ChatDialect;
use super::fields::{Sampling, fields};
use super::messages::{Conversation, Message, Prefill, conversation};
use super::prepared::Prepared;
use crate::chat::Request;
use crate::chat::thinking::Thought;
use crate::serve::error::ApiError;
use crate::serve::event;
use crate::serve::job::{Job, Thinks};
use crate::serve::logprobs::Wanted;
use crate::serve::pictures::Pictures;
use crate::serve::shared::Served;
use crate::tokenizer::Special;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::time::Instant;

/// Likeliest tokens at most.
const MOST_LOGPROBS: i64 = 20;

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
    functions: Option<Vec<Value>>,
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

/// How much thinking is wanted.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

#[derive(Deserialize)]
struct ResponseFormat {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// What a client says of thinking.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Wish {
    on: Option<bool>,
    budget: Option<usize>,
}

impl Effort {
    fn wish(self) -> Wish {
        let (on, budget) = match self {
            Effort::None => (false, None),
            Effort::Minimal => (true, Some(512)),
            Effort::Low => (true, Some(2048)),
            Effort::Medium => (true, Some(8192)),
            Effort::High | Effort::Xhigh | Effort::Max => (true, None),
        };
        Wish { on: Some(on), budget }
    }
}

impl Chat {
    /// What the client says of thinking: of several ways to say it, the most particular counts.
    fn thinking(&self) -> Result<Wish, ApiError> {
        let mut wish = self.reasoning_effort.map_or(Wish::default(), Effort::wish);
        if let Some(ReasoningField { effort, enabled, max_tokens }) = &self.reasoning {
            wish = effort.map_or(wish, Effort::wish);
            wish = Wish { on: enabled.or(max_tokens.map(|_| true)).or(wish.on), budget: max_tokens.or(wish.budget) };
        }
        if let Some(ThinkingField { kind, budget_tokens }) = &self.thinking {
            let on = match kind.as_deref() {
                None => wish.on,
                Some("enabled") => Some(true),
                Some("disabled") => Some(false),
                Some(_) => return Err(ApiError::field("thinking.type", "expected enabled or disabled")),
            };
            wish = Wish { on, budget: budget_tokens.or(wish.budget) };
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

    /// Refuses what is asked for and not done.
    fn check(&self) -> Result<(), ApiError> {
        let choice = self.tool_choice.as_ref();
        // Without calls, the tools may as well not be there.
        if choice.is_none_or(|choice| choice != "none") && self.tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
            return Err(ApiError::unsupported("tools", "this server makes no calls yet"));
        }
        if choice.is_some_and(|choice| choice != "none" && choice != "auto") {
            return Err(ApiError::unsupported("tool_choice", "this server makes no calls yet"));
        }
        if self.functions.as_ref().is_some_and(|functions| !functions.is_empty()) {
            return Err(ApiError::unsupported("functions", "this server makes no calls yet"));
        }
        match self.response_format.as_ref().map(|format| format.kind.as_deref()) {
            None | Some(Some("text")) => {}
            Some(Some("json_object" | "json_schema")) => {
                return Err(ApiError::unsupported(
                    "response_format",
                    "this server does not hold answers to a schema yet",
                ));
            }
            Some(_) => return Err(ApiError::field("response_format.type", "expected text")),
        }
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
pub(in crate::serve) fn prepare(
    body: Vec<u8>,
    served: &Served,
    client: IpAddr,
    since: Instant,
) -> Result<Prepared, ApiError> {
    let (mut sampling, mut chat): (Sampling, Chat) = fields(body)?;
    let fault = sampling.fault(served.fault.as_deref());
    chat.check()?;
    let n = sampling.choices(served.n_seat)?;
    let logprobs = chat.logprobs()?;
    let n_max = sampling.most_tokens(1)?.unwrap_or(usize::MAX);
    let mut wish = chat.thinking()?;
    let messages = chat.messages.take().ok_or_else(|| ApiError::field("messages", "expected one or more"))?;
    let Conversation { messages, prefill, pictures, n_byte } = conversation(messages)?;
    served.check_length("messages", n_byte)?;
    if prefill.is_some() {
        if wish.on == Some(true) {
            let message = "an answer that is begun cannot be thought about first";
            return Err(ApiError::field("messages", message));
        }
        wish.on = Some(false);
    }

    let mut kwargs = chat.chat_template_kwargs.take().unwrap_or_default();
    match wish.on.or(served.thinking) {
        Some(on) => _ = kwargs.insert("enable_thinking".to_owned(), on.into()),
        None => _ = kwargs.remove("enable_thinking"),
    }
    let request = Request { messages, tools: None, documents: None, add_generation_prompt: true, kwargs: Some(kwargs) };
    let tokenizer = &served.tokenizer;
    let prompt = served.template.prompt(&request, tokenizer);
    let prompt = prompt.map_err(|error| ApiError::field("messages", error.to_string()))?;
    let ids = tokenizer.encode_prompt(&prompt);
    let (mut ids, pictures) = Pictures::place(served.pictures.as_ref(), ids, pictures)?;
    let budget = match wish.on.or(served.thinking) {
        // Where the template opens the thinking all the same.
        Some(false) => Some(0),
        _ => wish.budget.or(served.think_budget),
    };
    let thinks = match prefill {
        Some(Prefill(text)) => {
            ids.extend(tokenizer.encode(&text, Special::None));
            Thinks::Never
        }
        None => Thinks::Marked(budget),
    };
    if ids.is_empty() {
        return Err(ApiError::field("messages", "the prompt has no tokens"));
    }
    if ids.len() >= served.n_ctx {
        return Err(ApiError::too_long("messages", ids.len(), served.n_ctx));
    }
    let is_open = thinks.after(&ids, tokenizer).thought() == Thought::Unfinished;
    let thinking = budget != Some(0) && (is_open || wish.on.or(served.thinking) == Some(true));
    let settings = sampling.settings(served.sampling[usize::from(thinking)])?;

    let (sender, events) = event::channel(n);
    let job = Job {
        client,
        ids,
        rows: Vec::new(),
        pictures,
        thinks,
        sampling: settings,
        biases: sampling.biases(tokenizer.n_vocab())?,
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
    };
    let progress = chat.return_progress == Some(true);
    let dialect = ChatDialect::new(&served.about, sampling.include_usage(), progress, logprobs.is_some(), since);
    Ok(Prepared { jobs: vec![job], events, dialect: Box::new(dialect), stream: sampling.stream == Some(true) })
}

#[cfg(test)]
mod tests {
    use super::super::fields::read;
    use super::*;
    use serde_json::json;

    fn wish(body: Value) -> (Option<bool>, Option<usize>) {
        let Wish { on, budget } = read::<Chat>(&body).unwrap().thinking().unwrap();
        (on, budget)
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
            assert_eq!(chat.check().unwrap_err().to_json()["error"]["param"], field);
        }
    }
}
