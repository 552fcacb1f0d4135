//! What the requests of this API have in common: how tokens are chosen, thinking, the form of the answer, and how long the model
//! stays.

use crate::serve::ask::answer_form::AnswerForm;
use crate::serve::ask::fields::{object, read};
use crate::serve::ask::sampling::{Sampling, Stop};
use crate::serve::ask::thinking::{Effort, ThinkingWish};
use crate::serve::error::ApiError;
use crate::serve::keep_alive::KeepAlive;
use crate::serve::logprobs::{MOST_LOGPROBS, Wanted};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::time::Duration;

/// Fields that the requests have in common.
#[derive(Deserialize)]
pub(super) struct Common {
    options: Option<Map<String, Value>>,
    stream: Option<bool>,
    think: Option<Think>,
    format: Option<Format>,
    pub keep_alive: Option<KeepAlive>,
    logprobs: Option<bool>,
    top_logprobs: Option<i64>,
}

/// What is said of thinking.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Value")]
struct Think(ThinkingWish);

impl TryFrom<Value> for Think {
    type Error = String;

    fn try_from(value: Value) -> Result<Think, String> {
        if let Value::Bool(on) = value {
            return Ok(Think(ThinkingWish::of(on)));
        }
        let effort: Result<Effort, _> = serde_json::from_value(value);
        let wrong = |_| "expected true, false, low, medium, high or max".to_owned();
        effort.map(|effort| Think(effort.wish())).map_err(wrong)
    }
}

/// What the answer keeps to: any object, or a schema; nothing, where it is empty.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
enum Format {
    Free,
    Object,
    Schema(Value),
}

impl TryFrom<Value> for Format {
    type Error = String;

    fn try_from(value: Value) -> Result<Format, String> {
        match value {
            Value::String(word) if word.is_empty() => Ok(Format::Free),
            Value::String(word) if word == "json" => Ok(Format::Object),
            Value::Object(_) => Ok(Format::Schema(value)),
            _ => Err("expected json, or a schema".to_owned()),
        }
    }
}

/// Options that [`Sampling`] has by other names, or that mean something else here.
#[derive(Deserialize)]
struct Limits {
    num_predict: Option<i64>,
    stop: Option<Stop>,
}

/// What a body says in the fields that requests have in common, and those of its own.
///
/// # Errors
/// It is no object, or a field has another type than it may have.
pub(super) fn fields<T: DeserializeOwned>(body: Vec<u8>) -> Result<(Common, T), ApiError> {
    let body = object(body)?;
    let common: Common = read(&body)?;
    Ok((common, read(body)?))
}

impl Common {
    /// How tokens are chosen, and when the answer ends.
    ///
    /// # Errors
    /// An option has another type or value than it may have.
    pub fn sampling(&mut self) -> Result<Sampling, ApiError> {
        let options = Value::from(self.options.take().unwrap_or_default());
        let mut sampling: Sampling = read(&options)?;
        sampling.check()?;
        let Limits { num_predict, stop } = read(options)?;
        // Endless, and until the context is full.
        let most = num_predict.filter(|most| ![-1, -2].contains(most));
        if let Some(most) = most.filter(|most| *most < 1) {
            return Err(ApiError::field("options.num_predict", format!("expected 1 or more, or -1, not {most}")));
        }
        sampling.limit(most, stop);
        Ok(sampling)
    }

    /// Whether the answer is a stream: in this API it is where nothing is said.
    pub fn streams(&self) -> bool {
        self.stream != Some(false)
    }

    /// What is said of thinking.
    pub fn thinking(&self) -> ThinkingWish {
        self.think.map_or(ThinkingWish::default(), |Think(wish)| wish)
    }

    /// What the answer keeps to, if to anything.
    pub fn form(&mut self) -> Option<AnswerForm> {
        match self.format.take()? {
            Format::Free => None,
            Format::Object => Some(AnswerForm::of_object("format")),
            Format::Schema(schema) => Some(AnswerForm { at: "format", schema, is_strict: false }),
        }
    }

    /// The probabilities wanted, if any are.
    ///
    /// # Errors
    /// They are too many.
    pub fn logprobs(&self) -> Result<Option<Wanted>, ApiError> {
        match (self.logprobs, self.top_logprobs.unwrap_or(0)) {
            (Some(true), n @ 0..=MOST_LOGPROBS) => {
                Ok(Some(Wanted { n_top: n as usize, of_prompt: false, of_end: false }))
            }
            (Some(true), n) => Err(ApiError::field("top_logprobs", format!("expected 0 to {MOST_LOGPROBS}, not {n}"))),
            _ => Ok(None),
        }
    }

    /// Whether the model is to leave at once.
    pub fn unloads(&self) -> bool {
        self.keep_alive == Some(KeepAlive::For(Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn common(body: Value) -> Result<Common, Value> {
        fields::<Value>(body.to_string().into_bytes())
            .map(|(common, _)| common)
            .map_err(|error| error.to_json()["error"]["param"].clone())
    }

    #[test]
    fn thinking_is_said_in_a_truth_or_a_word() {
        for (think, on, budget) in [
            (Value::Null, None, None),
            (json!(true), Some(true), None),
            (json!(false), Some(false), None),
            (json!("low"), Some(true), Some(2048)),
            (json!("max"), Some(true), None),
        ] {
            let wish = common(json!({"think": think})).ok().unwrap().thinking();
            assert_eq!((wish.on, wish.most()), (on, budget), "{think}");
        }
        for think in [json!("much"), json!(1), json!({})] {
            assert_eq!(common(json!({"think": think})).err().unwrap(), "think");
        }
    }

    #[test]
    fn an_answer_is_a_stream_and_free_where_nothing_is_said() {
        let mut nothing = common(json!({})).ok().unwrap();
        assert!(nothing.streams() && nothing.form().is_none() && !nothing.unloads());
        let mut empty = common(json!({"stream": false, "format": "", "keep_alive": "0s"})).ok().unwrap();
        assert!(!empty.streams() && empty.form().is_none() && empty.unloads());
        let schema = json!({"type": "object"});
        for format in [json!("json"), schema.clone()] {
            let form = common(json!({"format": format})).ok().unwrap().form().unwrap();
            assert_eq!((form.at, &form.schema), ("format", &schema));
        }
        assert_eq!(common(json!({"format": "xml"})).err().unwrap(), "format");
    }

    #[test]
    fn limits_have_names_of_their_own() {
        let most = |options: Value| {
            let sampling = common(json!({ "options": options })).ok().unwrap().sampling();
            sampling.map(|sampling| sampling.most_tokens(1).unwrap())
        };
        for (n, expected) in [(json!(7), Some(7)), (json!(-1), None), (json!(-2), None), (Value::Null, None)] {
            assert_eq!(most(json!({"num_predict": n, "num_ctx": 4096, "max_tokens": 3})).ok().unwrap(), expected);
        }
        assert!(most(json!({"num_predict": 0})).is_err() && most(json!({"temperature": "hot"})).is_err());
        assert_eq!(common(json!({"options": 7})).err().unwrap(), "options");
    }
}
