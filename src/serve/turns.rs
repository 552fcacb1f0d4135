//! Turns that this server has written, so that what clients send back of them renders to the tokens that were written.
//!
//! A client keeps a conversation and sends all of it again. What it sends back is not what the model wrote: the thinking is
//! left out, arguments went through another program's JSON, and the tokens that a text is cut into need not be those that
//! the model chose. A prompt whose beginning is a prompt that was answered here, and that answer, is given the tokens of
//! both; so that a loop of tool calls reads nothing twice.

use crate::chat::calls::Call;
use crate::chat::{Request, Template};
use crate::engine::generate::{Outcome, Stop};
use crate::tokenizer::{Prompt, TokenType, Tokenizer};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::cell::{LazyCell, OnceCell};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that all turns together take at most.
pub(super) const MOST_BYTES: usize = 4 << 20;

type Hash = [u8; 32];

/// A prompt: its tokens, and what it was made of.
pub(super) struct Asked {
    origin: Option<Origin>,
    /// Its tokens, with one placeholder for each picture.
    ids: Vec<u32>,
}

/// What a prompt was made of, where its answer is a turn that may come back.
struct Origin {
    /// Of the template's variables, the functions offered, and the messages.
    made_of: Hash,
    n_message: usize,
    /// Bytes of its text, and the hash of that.
    text: (usize, Hash),
}

/// A turn that was written.
struct Turn {
    asked: Arc<Asked>,
    /// Its tokens, without the one that ends it.
    ids: Vec<u32>,
    /// Whether the model has not ended it: the template puts something else behind what was written.
    is_cut: bool,
    /// It, as a template takes it.
    message: Value,
    n_byte: usize,
}

/// Turns that this server has written; the ones that came or were asked for last.
#[derive(Default)]
pub(super) struct Turns(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// The oldest first.
    turns: VecDeque<Arc<Turn>>,
    n_byte: usize,
}

impl Turns {
    /// Keeps the answer to a prompt, of which the client was told this text; `ids` are those of its calls.
    pub fn keep(&self, asked: &Arc<Asked>, outcome: &Outcome, text: &str, ids: impl Iterator<Item = String>) {
        if asked.origin.is_none() {
            return;
        }
        let is_cut = outcome.stop != Stop::End || text != outcome.text;
        let mut message = json!({"role": "assistant", "content": text});
        if !outcome.reasoning.is_empty() {
            message["reasoning_content"] = outcome.reasoning.as_str().into();
        }
        let whole = outcome.calls.iter().filter(|call| call.is_whole);
        let calls: Vec<Value> = whole.map(Call::to_json).zip(ids).map(|(call, id)| with_id(call, id)).collect();
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        // Two numbers for each token, the text twice, and what little else there is.
        let n_text = outcome.text.len() + outcome.reasoning.len();
        let n_call: usize = outcome.calls.iter().map(|call| 2 * (call.name.len() + call.arguments.len()) + 512).sum();
        let n_byte = 4 * (asked.ids.len() + outcome.ids.len()) + n_text + n_call + 1024;
        let turn = Turn { asked: Arc::clone(asked), ids: outcome.ids.clone(), is_cut, message, n_byte };
        let mut kept = self.lock();
        kept.n_byte += n_byte;
        kept.turns.push_back(Arc::new(turn));
        while kept.n_byte > MOST_BYTES {
            let Some(oldest) = kept.turns.pop_front() else { break };
            kept.n_byte -= oldest.n_byte;
        }
    }

    /// Gives turns back what their clients left out or wrote in another way: thinking, and the form of numbers.
    pub fn restore(&self, messages: &mut [Value]) {
        let kept = self.lock();
        for message in messages.iter_mut().filter(|message| first_id(message).is_some()) {
            let id = first_id(message);
            let turn = kept.turns.iter().rev().find(|turn| first_id(&turn.message) == id);
            if let Some(turn) = turn.filter(|turn| is_same(&turn.message, message)) {
                message.clone_from(&turn.message);
            }
        }
    }

    /// The last of these messages that is a turn of ours with all before it as it was asked for then; `made_of` says what every
    /// beginning of them is made of, and is asked once at most.
    fn find<'a>(&self, messages: &[Value], made_of: impl FnOnce() -> &'a [Hash]) -> Option<(usize, Arc<Turn>)> {
        let mut kept = self.lock();
        let made_of = LazyCell::new(made_of);
        let found = (0..messages.len()).rev().filter(|&k| messages[k]["role"] == "assistant").find_map(|k| {
            let is_it = |turn: &Arc<Turn>| {
                let origin = turn.asked.origin.as_ref().filter(|origin| origin.n_message == k);
                origin.is_some_and(|origin| is_same(&turn.message, &messages[k]) && origin.made_of == made_of[k])
            };
            kept.turns.iter().rposition(is_it).map(|at| (k, at))
        });
        let (k, at) = found?;
        let turn = kept.turns.remove(at)?;
        kept.turns.push_back(Arc::clone(&turn));
        Some((k, turn))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_id(mut call: Value, id: String) -> Value {
    call["id"] = id.into();
    call
}

/// The id of the first call of a message.
fn first_id(message: &Value) -> Option<&str> {
    message.get("tool_calls")?.get(0)?.get("id")?.as_str()
}

/// Whether a message that came back is the turn that was written. The thinking may be missing.
fn is_same(written: &Value, back: &Value) -> bool {
    let text =
        |message: &Value, key: &str| message.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let thought = text(back, "reasoning_content");
    text(written, "content") == text(back, "content")
        && (thought.is_empty() || thought == text(written, "reasoning_content"))
        && calls(written).len() == calls(back).len()
        && calls(written).iter().zip(calls(back)).all(|(written, back)| {
            ["name", "arguments"].iter().all(|key| is_equal(&written["function"][key], &back["function"][key]))
        })
}

/// The calls of a message.
fn calls(message: &Value) -> &[Value] {
    message.get("tool_calls").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether two values are the same, numbers by their value.
fn is_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| is_equal(a, b)))
        }
        (a, b) => a == b,
    }
}

/// What every beginning of the messages of a request is made of.
fn beginnings(request: &Request) -> Vec<Hash> {
    let mut hash = Sha256::new();
    let mut add = |value: &Value| {
        let text = value.to_string();
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
        hash.clone().finalize().into()
    };
    let kwargs: Map<String, Value> = request.kwargs.clone().unwrap_or_default();
    let first = add(&json!([request.tools, kwargs]));
    std::iter::once(first).chain(request.messages.iter().map(&mut add)).collect()
}

/// The hash of the first bytes of a prompt's text, and of where control tokens in it are text.
fn text_hash(prompt: &Prompt, n: usize) -> Hash {
    let mut hash = Sha256::new();
    hash.update(&prompt.text.as_bytes()[..n]);
    literals(prompt, n).for_each(|at| hash.update((at as u64).to_le_bytes()));
    hash.finalize().into()
}

fn literals(prompt: &Prompt, n: usize) -> impl Iterator<Item = usize> {
    prompt.literal.iter().copied().take_while(move |&at| at < n)
}

/// Makes tokens of prompts.
pub(super) struct Renderer<'a> {
    pub turns: &'a Turns,
    pub template: &'a Template,
    pub tokenizer: &'a Tokenizer,
}

impl Renderer<'_> {
    /// The tokens of a prompt, those that were written here as they were. What it was made of is looked at where its answer is a
    /// turn that may come back.
    ///
    /// # Errors
    /// The template refuses the messages, or cannot be run.
    pub fn render(&self, mut request: Request, is_turn: bool) -> Result<Arc<Asked>, crate::chat::Error> {
        self.turns.restore(&mut request.messages);
        let made_of = OnceCell::new();
        let known = self.turns.find(&request.messages, || made_of.get_or_init(|| beginnings(&request)));
        let made_of = made_of.into_inner().or_else(|| is_turn.then(|| beginnings(&request)));
        if let Some((k, turn)) = &known {
            request.messages[*k].clone_from(&turn.message);
        }
        let prompt = self.template.prompt(&request, self.tokenizer)?;
        let taken_up = known.and_then(|(k, turn)| self.take_up(&prompt, &request, k, &turn));
        let ids = taken_up.unwrap_or_else(|| self.tokenizer.encode_prompt(&prompt));
        let n_message = request.messages.len();
        let origin = made_of.filter(|_| is_turn).map(|made_of| Origin {
            made_of: made_of[n_message],
            n_message,
            text: (prompt.text.len(), text_hash(&prompt, prompt.text.len())),
        });
        Ok(Arc::new(Asked { origin, ids }))
    }

    /// The tokens of a prompt in which message `k` is this turn, unless the template makes something else of what comes
    /// before the turn's end.
    fn take_up(&self, prompt: &Prompt, request: &Request, k: usize, turn: &Turn) -> Option<Vec<u32>> {
        let (n_before, before) = turn.asked.origin.as_ref()?.text;
        if !prompt.text.is_char_boundary(n_before) || text_hash(prompt, n_before) != before {
            return None;
        }
        let so_far = Request {
            messages: request.messages[..=k].to_vec(),
            tools: request.tools.clone(),
            documents: None,
            add_generation_prompt: false,
            kwargs: request.kwargs.clone(),
        };
        let so_far = self.template.prompt(&so_far, self.tokenizer).ok()?;
        let text = so_far.text.trim_end();
        let end = self.tokenizer.control_texts().find(|end| !end.is_empty() && text.ends_with(end))?;
        let at = text.len() - end.len();
        let is_same = at >= n_before
            && prompt.text.starts_with(&so_far.text[..at])
            && literals(prompt, at).eq(literals(&so_far, at));
        if !is_same {
            return None;
        }
        let (n, at) = match turn.is_cut {
            true => self.common(turn, &part(prompt, n_before, at)).map(|(n, n_byte)| (n, n_before + n_byte))?,
            false => (turn.ids.len(), at),
        };
        let rest = part(prompt, at, prompt.text.len());
        Some([&turn.asked.ids[..], &turn.ids[..n], &self.tokenizer.encode_prompt(&rest)].concat())
    }

    /// How many tokens of a turn that was cut the template makes the same text of, and the bytes of that: its end may be left out,
    /// as a stop string is, and a thought that was not ended is ended. `None` if control tokens and their text were mixed up.
    fn common(&self, turn: &Turn, rendered: &Prompt) -> Option<(usize, usize)> {
        let (mut common, mut at) = ((0, 0), 0);
        for (i, &id) in turn.ids.iter().enumerate() {
            let bytes = self.tokenizer.token_bytes(id);
            if !rendered.text.as_bytes()[at..].starts_with(&bytes) {
                break;
            }
            at += bytes.len();
            if rendered.text.is_char_boundary(at) {
                common = (i + 1, at);
            }
        }
        let (n, n_byte) = common;
        let anew = self.tokenizer.encode_prompt(&part(rendered, 0, n_byte));
        let controls = |ids: &[u32]| -> Vec<u32> {
            let is_text = |id: &u32| matches!(self.tokenizer.token_type(*id), None | Some(TokenType::Normal));
            ids.iter().copied().filter(|id| !is_text(id)).collect()
        };
        (controls(&anew) == controls(&turn.ids[..n])).then_some(common)
    }
}

/// The bytes of a prompt from one to another.
fn part(prompt: &Prompt, start: usize, end: usize) -> Prompt {
    let literal = prompt.literal.iter().filter(|at| (start..end).contains(at)).map(|at| at - start).collect();
    Prompt { text: prompt.text[start..end].to_owned(), literal }
}

impl Asked {
    /// The tokens, with one placeholder for each picture.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::thinking::Thought;
    use crate::engine::draft::Drafts;
    use crate::gguf::Gguf;
    use crate::tokenizer::Special;
    use std::path::Path;
    use std::time::Duration;

    /// An answer of these tokens.
    fn outcome(stop: Stop, ids: Vec<u32>, reasoning: &str, text: &str) -> Outcome {
        Outcome {
            stop,
            n_prompt: 0,
            n_reused: 0,
            n_read: 0,
            prefill: Duration::ZERO,
            ids,
            text: text.to_owned(),
            calls: Vec::new(),
            reasoning: reasoning.to_owned(),
            thought: Thought::None,
            n_thinking: 0,
            decode: Duration::ZERO,
            drafts: Drafts::default(),
            keeping: Vec::new(),
        }
    }

    /// A question, and what was said since.
    fn request(said: &[(&str, &str)], thinking: bool) -> Request {
        let question = json!({"role": "user", "content": "Count from 1 to 9."});
        let more = said.iter().map(|(role, text)| json!({"role": role, "content": text}));
        Request::new(std::iter::once(question).chain(more).collect(), thinking)
    }

    #[test]
    fn what_was_cut_keeps_its_tokens_as_far_as_the_template_has_the_same_text() {
        let gguf = Gguf::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-q8_0.gguf")).unwrap();
        let (tokenizer, template) = (Tokenizer::from_gguf(&gguf).unwrap(), Template::from_gguf(&gguf).unwrap());
        // Each character a token of its own: the tokenizer would cut the text in another way.
        let letters = |text: &str| -> Vec<u32> {
            text.chars().flat_map(|letter| tokenizer.encode(&letter.to_string(), Special::None)).collect()
        };
        let length = Stop::Length;
        let cases = [
            // Cut by length, by a stop string, in a character, in the thinking; with words that are a control token's.
            (length, letters("1, 2, 3, 4"), "", "1, 2, 3, 4", "1, 2, 3, 4", letters("1, 2, 3, 4"), false),
            (Stop::Interrupted, letters("1, 2, 3END"), "", "1, 2, 3END", "1, 2, 3", letters("1, 2, 3"), false),
            (length, letters("one \u{2713}")[..5].to_vec(), "", "one \u{fffd}", "one \u{fffd}", letters("one "), false),
            (length, letters("hm, so"), "hm, so", "", "", letters("hm, so"), true),
            (length, letters("a<|im_end|>b"), "", "a<|im_end|>b", "a<|im_end|>b", letters("a<|im_end|>b"), false),
        ];
        for (stop, ids, reasoning, text, told, kept, thinking) in cases {
            let turns = Turns::default();
            let renderer = Renderer { turns: &turns, template: &template, tokenizer: &tokenizer };
            let asked = renderer.render(request(&[], thinking), true).unwrap();
            turns.keep(&asked, &outcome(stop, ids, reasoning, text), told, std::iter::empty());
            let goes_on = [("assistant", told), ("user", "<tool_response>\nGo on.\n</tool_response>")];
            let next = renderer.render(request(&goes_on, thinking), false).unwrap();
            let expected = [asked.ids(), &kept].concat();
            assert!(next.ids().starts_with(&expected), "{told:?}: {:?} behind {expected:?}", next.ids());
            // What an endless thought was is not sent back; with it the text is what the template makes.
            let mut whole = request(&goes_on, thinking);
            whole.messages[1]["reasoning_content"] = reasoning.into();
            let prompt = template.prompt(&whole, &tokenizer).unwrap();
            assert_eq!(tokenizer.decode(next.ids()), prompt.text, "{told:?}");
            let controls =
                |ids: &[u32]| ids.iter().filter(|&&id| tokenizer.token_type(id) == Some(TokenType::Control)).count();
            assert_eq!(controls(next.ids()), controls(&tokenizer.encode_prompt(&prompt)), "{told:?}");
        }
    }
}
