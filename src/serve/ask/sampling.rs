//! How tokens are chosen and when an answer ends: the fields that the dialects have in common.

use crate::sampler::Settings;
use crate::serve::error::ApiError;
use crate::serve::job::Fault;
use crate::serve::random;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Bytes of a stop string at most.
const LONGEST_STOP: usize = 256;

/// Stop strings at most.
const MOST_STOPS: usize = 16;

/// The largest bias; as much below zero bans a token.
const MOST_BIAS: f64 = 100.0;

/// Choices at most.
const MOST_CHOICES: i64 = 8;

/// How tokens are chosen, and when an answer ends.
#[derive(Deserialize)]
pub(in crate::serve) struct Sampling {
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    repetition_penalty: Option<f32>,
    repeat_penalty: Option<f32>,
    seed: Option<i64>,
    stop: Option<Stop>,
    max_completion_tokens: Option<i64>,
    max_tokens: Option<i64>,
    n: Option<i64>,
    logit_bias: Option<Map<String, Value>>,
    ignore_eos: Option<bool>,
    grammar: Option<String>,
    user: Option<Value>,
    pub stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// One text or several.
#[derive(Deserialize)]
#[serde(try_from = "Value")]
pub(in crate::serve) struct Stop(pub Vec<String>);

impl TryFrom<Value> for Stop {
    type Error = String;

    fn try_from(value: Value) -> Result<Stop, String> {
        let all = match value {
            Value::String(stop) => vec![Value::String(stop)],
            Value::Array(stops) if stops.len() <= MOST_STOPS => stops,
            _ => return Err(format!("expected a string, or at most {MOST_STOPS}")),
        };
        let text = |stop: Value| match stop {
            Value::String(stop) if (1..=LONGEST_STOP).contains(&stop.len()) => Ok(stop),
            _ => Err(format!("expected strings of 1 to {LONGEST_STOP} bytes")),
        };
        all.into_iter().map(text).collect::<Result<_, _>>().map(Stop)
    }
}

impl Sampling {
    /// The settings, those that are not given as in `default`.
    ///
    /// # Errors
    /// One is out of its range.
    pub fn settings(&self, default: Settings) -> Result<Settings, ApiError> {
        let given = |value: Option<f32>, name: &str, default: f32, least: f32, most: f32| match value {
            None => Ok(default),
            Some(value) if (least..=most).contains(&value) => Ok(value),
            Some(value) => Err(ApiError::field(name, format!("expected {least} to {most}, not {value}"))),
        };
        let above_0 = f32::MIN_POSITIVE;
        let (repetition, name) = match self.repetition_penalty {
            Some(penalty) => (Some(penalty), "repetition_penalty"),
            None => (self.repeat_penalty, "repeat_penalty"),
        };
        Ok(Settings {
            temperature: given(self.temperature, "temperature", default.temperature, 0.0, 2.0)?,
            top_p: given(self.top_p, "top_p", default.top_p, above_0, 1.0)?,
            top_k: match self.top_k {
                None => default.top_k,
                // As in other programs.
                Some(-1) => 0,
                Some(k) => {
                    usize::try_from(k).map_err(|_| ApiError::field("top_k", format!("expected 0 or more, not {k}")))?
                }
            },
            min_p: given(self.min_p, "min_p", default.min_p, 0.0, 1.0)?,
            presence_penalty: given(self.presence_penalty, "presence_penalty", default.presence_penalty, -2.0, 2.0)?,
            frequency_penalty: given(
                self.frequency_penalty,
                "frequency_penalty",
                default.frequency_penalty,
                -2.0,
                2.0,
            )?,
            repetition_penalty: given(repetition, name, default.repetition_penalty, above_0, f32::MAX)?,
        })
    }

    /// The seed: a random one where none is given.
    pub fn seed(&self) -> u64 {
        match self.seed {
            None | Some(-1) => random::seed(),
            Some(seed) => seed as u64,
        }
    }

    /// What is added to the logits of tokens of the vocabulary; the least of it bans a token.
    ///
    /// # Errors
    /// One is out of its range, or for no token.
    pub fn biases(&self, n_vocab: usize) -> Result<Arc<[(u32, f32)]>, ApiError> {
        let one = |(id, value): (&String, &Value)| {
            let wrong = |message: String| ApiError::field(format!("logit_bias.{id}"), message);
            let row = id.parse().ok().filter(|&row: &u32| (row as usize) < n_vocab);
            let row = row.ok_or_else(|| wrong(format!("expected the number of a token, 0 to {}", n_vocab - 1)))?;
            match value.as_f64() {
                Some(bias) if bias == -MOST_BIAS => Ok((row, f32::NEG_INFINITY)),
                Some(bias) if bias.abs() <= MOST_BIAS => Ok((row, bias as f32)),
                _ => Err(wrong(format!("expected -{MOST_BIAS} to {MOST_BIAS}, not {value}"))),
            }
        };
        self.logit_bias.iter().flatten().map(one).collect()
    }

    /// The texts that end an answer.
    pub fn stops(&mut self) -> Vec<String> {
        self.stop.take().map_or_else(Vec::new, |stop| stop.0)
    }

    /// Whether the client says anything of the most tokens of an answer.
    pub fn gives_most_tokens(&self) -> bool {
        self.max_completion_tokens.or(self.max_tokens).is_some()
    }

    /// Most tokens of an answer, if there is a limit.
    ///
    /// # Errors
    /// It is none.
    pub fn most_tokens(&self, least: i64) -> Result<Option<usize>, ApiError> {
        let (name, most) = match self.max_completion_tokens {
            Some(most) => ("max_completion_tokens", Some(most)),
            None => ("max_tokens", self.max_tokens),
        };
        match most {
            None | Some(-1) => Ok(None),
            Some(most) if most >= least => Ok(usize::try_from(most).ok()),
            Some(most) => {
                Err(ApiError::field(name, format!("expected {least} or more, or -1 for no limit, not {most}")))
            }
        }
    }

    /// Takes these limits, as their dialect has them, whatever else the body says of them.
    pub fn limit(&mut self, most_tokens: Option<i64>, stop: Option<Stop>) {
        (self.max_completion_tokens, self.max_tokens, self.stop) = (None, most_tokens, stop);
    }

    /// Takes this limit, whatever else the body says of it.
    pub fn limit_tokens(&mut self, most_tokens: i64) {
        (self.max_completion_tokens, self.max_tokens) = (None, Some(most_tokens));
    }

    /// Answers wanted.
    ///
    /// # Errors
    /// More than are made at a time.
    pub fn choices(&self, n_seat: usize) -> Result<usize, ApiError> {
        match self.n {
            None => Ok(1),
            Some(n) if !(1..=MOST_CHOICES).contains(&n) => {
                Err(ApiError::field("n", format!("expected 1 to {MOST_CHOICES}, not {n}")))
            }
            Some(n) if n as usize > n_seat => Err(ApiError::field(
                "n",
                format!("this server makes {n_seat} answers at a time, and {n} were asked for"),
            )),
            Some(n) => Ok(n as usize),
        }
    }

    /// Whether a stream ends with its usage.
    pub fn include_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// Who asks, as the client has it.
    pub fn user(&self) -> Option<&Value> {
        self.user.as_ref()
    }

    /// Fails where a test of the server asks for it; where the engine is to fail, if it is.
    ///
    /// # Panics
    /// If the user is `word`.
    pub fn fault(&self, word: Option<&str>) -> Option<Fault> {
        let place = self.user.as_ref()?.as_str()?.strip_prefix(word?)?;
        assert!(!place.is_empty(), "a test asked for a fault");
        match place {
            " at a picture" => Some(Fault::AtPicture),
            " in a pass" => Some(Fault::InPass),
            _ => None,
        }
    }

    /// Refuses what is asked for and not done.
    ///
    /// # Errors
    /// The first such field.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.ignore_eos == Some(true) {
            return Err(ApiError::unsupported("ignore_eos", "an answer ends where the model ends it"));
        }
        if self.grammar.as_ref().is_some_and(|grammar| !grammar.is_empty()) {
            return Err(ApiError::unsupported("grammar", "this server has no grammars"));
        }
        Ok(())
    }
}
