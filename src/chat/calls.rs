//! Calls in an answer: where they begin and end among its tokens, and their arguments as JSON.
//!
//! A call is written between two tokens of its own, `<tool_call>` and `</tool_call>`:
//!
//! ```text
//! <tool_call>
//! <function=NAME>
//! <parameter=KEY>
//! VALUE
//! </parameter>
//! </function>
//! </tool_call>
//! ```
//!
//! with any number of parameters. A call is told by those tokens alone: the same words as text are text. One line end on
//! either side of a value belongs to the form, all other white space to the value. So does white space around calls, which
//! is held back until it is known what it is. Nothing else of the answer waits.

use super::argument;
use super::offer::{Offer, Types, is_name};
use crate::tokenizer::{Special, Tokenizer};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;

const FUNCTION: &str = "<function=";
const END_OF_FUNCTION: &str = "</function>";
const PARAMETER: &str = "<parameter=";
const END_OF_PARAMETER: &str = "</parameter>";
const END_OF_VALUE: &str = "\n</parameter>";

/// Bytes of `<function=NAME>` or `<parameter=KEY>` at most.
const LONGEST_TAG: usize = 512;

/// Whether an answer is to call.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub enum CallChoice {
    /// As the model likes.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// One function or another.
    Any,
    /// This function.
    Named(String),
}

impl CallChoice {
    /// Whether the answer is a call whatever the model would do.
    pub fn prescribes(&self) -> bool {
        matches!(self, CallChoice::Any | CallChoice::Named(_))
    }
}

/// A call that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// The name of the function.
    pub name: String,
    /// Its arguments, a JSON object, or the beginning of one if the call was cut.
    pub arguments: String,
    /// Whether it came to its end.
    pub is_whole: bool,
}

impl Call {
    /// The call as chat templates take it.
    pub fn to_json(&self) -> Value {
        let arguments: Value = serde_json::from_str(&self.arguments).unwrap_or_default();
        json!({"type": "function", "function": {"name": self.name, "arguments": arguments}})
    }

    /// The call that [`Call::to_json`] has written.
    pub fn from_json(json: &Value) -> Option<Call> {
        let function = json.get("function")?;
        let name = function.get("name")?.as_str()?.to_owned();
        let arguments = function.get("arguments")?;
        arguments.is_object().then(|| Call { name, arguments: arguments.to_string(), is_whole: true })
    }
}

/// A piece of an answer that may hold calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece<'a> {
    /// The answer's text goes on.
    Text(&'a str),
    /// A call of this function begins.
    Begun(&'a str),
    /// Its arguments go on with this piece of JSON, which is not empty.
    Arguments(&'a str),
    /// It has come to its end.
    Ended,
}

/// Follows the tokens of an answer, thinking excluded.
pub struct Calls {
    offer: Arc<Offer>,
    choice: CallChoice,
    /// Whether the answer may go on behind a call.
    several: bool,
    /// `<tool_call>` and `</tool_call>`; without them there are no calls.
    marks: Option<[u32; 2]>,
    /// Tokens that come next, whatever the model would choose.
    prescribed: VecDeque<u32>,
    state: State,
    /// White space that is told if text follows.
    held: String,
    calls: Vec<Call>,
}

enum State {
    Text,
    Call(Writing),
}

/// A call that is being written.
#[derive(Default)]
struct Writing {
    place: Place,
    /// What was read and not understood yet.
    pending: String,
    /// The place of the function in the offer, if it is there.
    function: Option<usize>,
    has_arguments: bool,
}

#[derive(Default)]
enum Place {
    /// Before the name of the function.
    #[default]
    Head,
    /// Between parameters.
    Between,
    /// In the value of a parameter.
    Value(Argument),
    /// Behind the function.
    Tail,
}

/// A value that is being written.
struct Argument {
    /// The types that its schema allows, if it has one.
    types: Option<Types>,
    /// What ends it, once its first character is known.
    end: Option<&'static str>,
    /// Whether some of it was told.
    is_begun: bool,
}

impl Calls {
    /// Behind a prompt that offers these functions. Unless `several` are wanted, an answer is over with its first call.
    pub fn new(offer: Arc<Offer>, choice: CallChoice, several: bool, tokenizer: &Tokenizer) -> Calls {
        let mark = |text| tokenizer.added_token(text);
        let marks = mark("<tool_call>").zip(mark("</tool_call>")).map(|(begin, end)| [begin, end]);
        let mut prescribed = VecDeque::new();
        if let Some([begin, _]) = marks
            && let Some(name) = match &choice {
                CallChoice::Auto | CallChoice::None => None,
                CallChoice::Any => Some(String::new()),
                CallChoice::Named(name) => Some(format!("{name}>\n")),
            }
        {
            prescribed.push_back(begin);
            prescribed.extend(tokenizer.encode(&format!("\n{FUNCTION}{name}"), Special::None));
        }
        Calls { offer, choice, several, marks, prescribed, state: State::Text, held: String::new(), calls: Vec::new() }
    }

    /// The functions on offer.
    pub fn offer(&self) -> &Arc<Offer> {
        &self.offer
    }

    /// The token that must come next in the answer, if it is not the model's to choose.
    pub fn prescribed(&mut self) -> Option<u32> {
        self.prescribed.pop_front()
    }

    /// The token that may not come next: no call begins in the thinking, nor where none is wanted.
    pub fn barred(&self, thinks: bool) -> Option<u32> {
        let is_barred = thinks || self.choice == CallChoice::None || self.is_over();
        self.marks.filter(|_| is_barred).map(|[begin, _]| begin)
    }

    /// The token that begins a call, where the model may write it.
    pub fn begin_mark(&self) -> Option<u32> {
        self.marks.filter(|_| self.barred(false).is_none()).map(|[begin, _]| begin)
    }

    /// Whether a call is being written.
    pub fn is_in_call(&self) -> bool {
        matches!(self.state, State::Call(_))
    }

    /// Whether the answer is to end here: it has its one call.
    pub fn is_over(&self) -> bool {
        !self.several && !self.is_in_call() && !self.calls.is_empty()
    }

    /// The calls so far.
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// Takes the next token of the answer, with the text that became whole by it.
    pub fn take(&mut self, id: u32, text: &str, told: &mut dyn FnMut(Piece<'_>)) {
        let [begin, end] = self.marks.map_or([false; 2], |marks| marks.map(|mark| mark == id));
        let n_before = self.calls.len();
        match &mut self.state {
            State::Text if begin => self.state = State::Call(Writing::default()),
            State::Text => self.text(text, told),
            State::Call(writing) if end => {
                if matches!(writing.place, Place::Head) {
                    return self.give_up(text, told);
                }
                go_on(&mut self.calls, told, |told| writing.close(told));
                self.calls.last_mut().into_iter().for_each(|call| call.is_whole = true);
                self.state = State::Text;
                told(Piece::Ended);
            }
            State::Call(writing) => {
                if !go_on(&mut self.calls, told, |told| writing.push(text, &self.offer, told)) {
                    self.give_up("", told);
                } else if self.calls.len() > n_before {
                    // What stood before the call belongs to its form.
                    self.held.clear();
                }
            }
        }
    }

    /// The answer is over, maybe in the middle of a call.
    pub fn finish(&mut self, told: &mut dyn FnMut(Piece<'_>)) {
        if matches!(self.state, State::Call(Writing { place: Place::Head, .. })) {
            self.give_up("", told);
        }
        if self.calls.is_empty() && !self.held.is_empty() {
            told(Piece::Text(&std::mem::take(&mut self.held)));
        }
    }

    /// Text of the answer goes on.
    fn text(&mut self, text: &str, told: &mut dyn FnMut(Piece<'_>)) {
        self.held.push_str(text);
        let rest = self.held.split_off(self.held.trim_end().len());
        let spoken = std::mem::replace(&mut self.held, rest);
        if !spoken.is_empty() {
            told(Piece::Text(&spoken));
        }
    }

    /// What stands behind `<tool_call>` is no call: it was text.
    fn give_up(&mut self, end: &str, told: &mut dyn FnMut(Piece<'_>)) {
        let State::Call(writing) = std::mem::replace(&mut self.state, State::Text) else { return };
        self.text(&["<tool_call>", &writing.pending, end].concat(), told);
    }
}

/// Has a call go on, tells of it, and takes note of it. What comes of one token is one piece of arguments at most.
fn go_on<T>(
    calls: &mut Vec<Call>,
    told: &mut dyn FnMut(Piece<'_>),
    write: impl FnOnce(&mut dyn FnMut(Piece<'_>)) -> T,
) -> T {
    let mut arguments = String::new();
    let made = write(&mut |piece| match piece {
        Piece::Begun(name) => {
            calls.push(Call { name: name.to_owned(), arguments: String::new(), is_whole: false });
            told(piece);
        }
        Piece::Arguments(json) => arguments.push_str(json),
        Piece::Text(_) | Piece::Ended => told(piece),
    });
    if let Some(call) = calls.last_mut().filter(|_| !arguments.is_empty()) {
        call.arguments.push_str(&arguments);
        told(Piece::Arguments(&arguments));
    }
    made
}

impl Writing {
    /// Takes more of what is written; whether it may still be a call.
    fn push(&mut self, text: &str, offer: &Offer, told: &mut dyn FnMut(Piece<'_>)) -> bool {
        self.pending.push_str(text);
        loop {
            let is_understood = match &self.place {
                Place::Head => match tag(&self.pending, FUNCTION) {
                    Tag::Whole { name, n_byte } if is_name(name) => {
                        told(Piece::Begun(name));
                        self.function = offer.position(name);
                        self.pending.drain(..n_byte);
                        self.place = Place::Between;
                        true
                    }
                    Tag::Begun => false,
                    Tag::Whole { .. } | Tag::None => return false,
                },
                Place::Between => self.between(offer, told),
                Place::Value { .. } => self.value(told),
                Place::Tail => {
                    self.pending.clear();
                    false
                }
            };
            if !is_understood {
                return true;
            }
        }
    }

    /// Takes what may stand between parameters; whether anything was understood.
    fn between(&mut self, offer: &Offer, told: &mut dyn FnMut(Piece<'_>)) -> bool {
        match tag(&self.pending, PARAMETER) {
            Tag::Whole { name, n_byte } => {
                let types = self.function.and_then(|function| offer.functions()[function].types(name));
                let comma = if self.has_arguments { "," } else { "{" };
                told(Piece::Arguments(&format!("{comma}{}:", quoted(name))));
                self.has_arguments = true;
                self.pending.drain(..n_byte);
                self.place = Place::Value(Argument { types, end: None, is_begun: false });
                return true;
            }
            Tag::Begun => return false,
            Tag::None => {}
        }
        let rest = self.pending.trim_start();
        if rest.starts_with(END_OF_FUNCTION) {
            self.place = Place::Tail;
            self.end_arguments(told);
            return true;
        }
        if END_OF_FUNCTION.starts_with(rest) {
            return false;
        }
        // What is neither a parameter nor the end has no meaning.
        let next = rest.char_indices().skip(1).find(|(_, c)| *c == '<').map(|(at, _)| at);
        let n_before = self.pending.len() - rest.len();
        self.pending.drain(..next.map_or(self.pending.len(), |at| n_before + at));
        true
    }

    /// Takes what is there of a value; whether it has come to its end.
    fn value(&mut self, told: &mut dyn FnMut(Piece<'_>)) -> bool {
        let Place::Value(argument) = &mut self.place else { return false };
        let end = match argument.end {
            Some(end) => end,
            None => {
                let Some(first) = self.pending.chars().next() else { return false };
                // One that begins on the line of its name ends there.
                let of_line = first != '\n';
                if !of_line {
                    self.pending.remove(0);
                }
                *argument.end.insert(if of_line { END_OF_PARAMETER } else { END_OF_VALUE })
            }
        };
        // Nothing, and one line end for both sides.
        let is_empty = !argument.is_begun && self.pending.starts_with(END_OF_PARAMETER);
        match self.pending.find(end).map(|at| (at, at + end.len())) {
            _ if is_empty => {
                argument.say("", true, told);
                self.pending.drain(..END_OF_PARAMETER.len());
            }
            Some((at, behind)) => {
                argument.say(&self.pending[..at], true, told);
                self.pending.drain(..behind);
            }
            None => {
                let is_value = argument.is_begun || !END_OF_PARAMETER.starts_with(&*self.pending);
                if argument.is_string() && is_value {
                    let may_end = |at: &usize| end.starts_with(&self.pending[*at..]);
                    let safe = self.pending.char_indices().map(|(at, _)| at).find(may_end);
                    let n_safe = safe.unwrap_or(self.pending.len());
                    if n_safe > 0 {
                        argument.say(&self.pending[..n_safe], false, told);
                        self.pending.drain(..n_safe);
                    }
                }
                return false;
            }
        }
        self.place = Place::Between;
        true
    }

    /// The call has come to its end, whatever is still open in it.
    fn close(&mut self, told: &mut dyn FnMut(Piece<'_>)) {
        if let Place::Value(argument) = &mut self.place {
            let rest = self.pending.strip_suffix('\n').unwrap_or(&self.pending);
            argument.say(if argument.end.is_none() { rest.trim_start_matches('\n') } else { rest }, true, told);
            self.place = Place::Between;
        }
        if !matches!(self.place, Place::Tail) {
            self.end_arguments(told);
        }
    }

    fn end_arguments(&self, told: &mut dyn FnMut(Piece<'_>)) {
        told(Piece::Arguments(if self.has_arguments { "}" } else { "{}" }));
    }
}

impl Argument {
    /// Whether it is told while it is written.
    fn is_string(&self) -> bool {
        self.types == Some(Types::STRING)
    }

    /// The value goes on with `raw`, or is that if it cannot be told before it is whole.
    fn say(&mut self, raw: &str, is_whole: bool, told: &mut dyn FnMut(Piece<'_>)) {
        if !self.is_string() {
            return told(Piece::Arguments(&argument::value(raw, self.types).to_string()));
        }
        let quoted = quoted(raw);
        let inner = &quoted[1..quoted.len() - 1];
        let (before, behind) = (if self.is_begun { "" } else { "\"" }, if is_whole { "\"" } else { "" });
        self.is_begun = true;
        told(Piece::Arguments(&[before, inner, behind].concat()));
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// What a text begins with, white space aside.
enum Tag<'a> {
    /// The tag, which names something; it ends behind so many bytes of the text.
    Whole { name: &'a str, n_byte: usize },
    /// What may become the tag.
    Begun,
    /// Something else.
    None,
}

/// Looks for a tag such as `<function=NAME>` at the beginning of a text.
fn tag<'a>(text: &'a str, begin: &str) -> Tag<'a> {
    let rest = text.trim_start();
    let Some(behind) = rest.strip_prefix(begin) else {
        return if begin.starts_with(rest) { Tag::Begun } else { Tag::None };
    };
    match behind.find(['>', '\n']) {
        Some(at) if behind[at..].starts_with('>') => {
            Tag::Whole { name: &behind[..at], n_byte: text.len() - behind.len() + at + 1 }
        }
        None if behind.len() < LONGEST_TAG => Tag::Begun,
        _ => Tag::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;
    use crate::synth::{Dims, Options, Quant, Size, Synth};

    fn tokenizer() -> Tokenizer {
        let options = Options { dims: Dims::of(Size::Tiny), quant: Quant::Q8_0, mtp: false, newer: false, seed: 1 };
        Tokenizer::from_gguf(&Gguf::from_bytes(Synth::text(&options).to_bytes()).unwrap()).unwrap()
    }

    fn offer() -> Arc<Offer> {
        let properties = json!({
            "s": {"type": "string"}, "n": {"type": "integer"}, "l": {"type": "array"}, "b": {"type": "boolean"},
        });
        let list = json!([
            {"name": "f", "parameters": {"type": "object", "properties": properties}},
            {"name": "get.it", "parameters": {}},
        ]);
        Arc::new(Offer::of(&list).unwrap())
    }

    /// The text, the calls, and the calls as they were told.
    fn follow(calls: &mut Calls, tokens: impl IntoIterator<Item = (u32, String)>) -> (String, Vec<Call>) {
        let (mut all, mut told) = (String::new(), Vec::<Call>::new());
        let mut tell = |piece: Piece<'_>| match piece {
            Piece::Text(text) => all.push_str(text),
            Piece::Begun(name) => {
                told.push(Call { name: name.to_owned(), arguments: String::new(), is_whole: false });
            }
            Piece::Arguments(json) => told.last_mut().unwrap().arguments.push_str(json),
            Piece::Ended => told.last_mut().unwrap().is_whole = true,
        };
        tokens.into_iter().for_each(|(id, text)| calls.take(id, &text, &mut tell));
        calls.finish(&mut tell);
        assert_eq!(calls.calls(), told);
        (all, told)
    }

    /// The tokens of a text, of which those that are no marks are cut into pieces of `n` characters.
    fn tokens(tokenizer: &Tokenizer, text: &str, n: usize) -> Vec<(u32, String)> {
        let ids = tokenizer.encode(text, Special::None);
        let is_mark = |id: u32| ["<tool_call>", "</tool_call>"].contains(&tokenizer.token_text(id).unwrap_or_default());
        let mut tokens: Vec<(u32, String)> = Vec::new();
        for part in ids.chunk_by(|&a, &b| !is_mark(a) && !is_mark(b)) {
            let text = tokenizer.decode(part);
            if is_mark(part[0]) {
                tokens.push((part[0], text));
                continue;
            }
            let chars: Vec<char> = text.chars().collect();
            tokens.extend(chars.chunks(n).map(|piece| (part[0], piece.iter().collect())));
        }
        tokens
    }

    fn said(text: &str, n: usize) -> (String, Vec<(String, String, bool)>) {
        let tokenizer = tokenizer();
        let mut calls = Calls::new(offer(), CallChoice::Auto, true, &tokenizer);
        let (text, calls) = follow(&mut calls, tokens(&tokenizer, text, n));
        (text, calls.into_iter().map(|call| (call.name, call.arguments, call.is_whole)).collect())
    }

    fn call(name: &str, arguments: &str, is_whole: bool) -> (String, String, bool) {
        (name.to_owned(), arguments.to_owned(), is_whole)
    }

    #[test]
    fn calls_are_told_from_text_however_they_come() {
        let whole = "I look.\n\n<tool_call>\n<function=f>\n<parameter=s>\n a \"b\"\n\n</parameter>\n<parameter=n>\n7\n\
            </parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=get.it>\n</function>\n</tool_call>";
        let calls = [call("f", r#"{"s":" a \"b\"\n","n":7}"#, true), call("get.it", "{}", true)];
        for n in [1, 2, 3, 5, 1000] {
            assert_eq!(said(whole, n), ("I look.".to_owned(), calls.to_vec()), "by {n}");
        }
    }

    #[test]
    fn values_are_kept_to_the_last_character() {
        for (value, json) in [
            ("if a < b:\n    return \"</p>\"", r#""if a < b:\n    return \"</p>\"""#),
            ("", r#""""#),
            ("\n", r#""\n""#),
            ("ä 😀 \u{1}\\", r#""ä 😀 \u0001\\""#),
            ("</function>\n<parameter=n>", r#""</function>\n<parameter=n>""#),
        ] {
            let text =
                format!("<tool_call>\n<function=f>\n<parameter=s>\n{value}\n</parameter>\n</function>\n</tool_call>");
            for n in [1, 2, 1000] {
                assert_eq!(said(&text, n).1, [call("f", &format!("{{\"s\":{json}}}"), true)], "{value:?} by {n}");
            }
        }
    }

    #[test]
    fn loose_forms_are_calls_too() {
        for (text, calls) in [
            // On one line, and without the line ends of the form.
            (
                "<tool_call><function=f><parameter=s>x</parameter><parameter=n>1</parameter></function></tool_call>",
                call("f", r#"{"s":"x","n":1}"#, true),
            ),
            // The end is missing.
            ("<tool_call>\n<function=f>\n<parameter=s>\nx\n</tool_call>", call("f", r#"{"s":"x"}"#, true)),
            (
                "<tool_call>\n<function=f>\n<parameter=l>\n[1, 2]\n</parameter>\n</tool_call>",
                call("f", r#"{"l":[1,2]}"#, true),
            ),
            ("<tool_call>\n<function=f>\n</tool_call>", call("f", "{}", true)),
            // Words between parameters, nothing between the line ends, a function that nobody offers.
            (
                "<tool_call>\n<function=f>\nwith <b> <parameter=n>\n1\n</parameter>\n</function>\n</tool_call>",
                call("f", r#"{"n":1}"#, true),
            ),
            (
                "<tool_call>\n<function=f>\n<parameter=s>\n</parameter>\n</function>\n</tool_call>",
                call("f", r#"{"s":""}"#, true),
            ),
            (
                "<tool_call>\n<function=other>\n<parameter=x>\n5\n</parameter>\n</function>\n</tool_call>",
                call("other", r#"{"x":5}"#, true),
            ),
            // Cut.
            ("<tool_call>\n<function=f>\n<parameter=s>\nab", call("f", r#"{"s":"ab"#, false)),
            ("<tool_call>\n<function=f>\n<parameter=n>\n12", call("f", r#"{"n":"#, false)),
        ] {
            for n in [1, 3, 1000] {
                assert_eq!(said(text, n), (String::new(), vec![calls.clone()]), "{text:?} by {n}");
            }
        }
    }

    #[test]
    fn what_is_no_call_is_text() {
        for text in [
            "a <tool_call>\nhello</tool_call> b",
            "<tool_call>{\"name\": \"f\"}</tool_call>",
            "<tool_call>\n<function=a b>\n</tool_call>",
            "<tool_call>\n<func",
            "<function=f>\n<parameter=s>\nx\n</parameter>\n</function>",
            "white space \n\n",
        ] {
            for n in [1, 1000] {
                assert_eq!(said(text, n), (text.to_owned(), Vec::new()), "by {n}");
            }
        }
        // The words alone are no mark.
        let tokenizer = tokenizer();
        let mut calls = Calls::new(offer(), CallChoice::Auto, true, &tokenizer);
        let text = "<tool_call>\n<function=f>\n</function>\n</tool_call>";
        let a = tokenizer.encode("a", Special::None)[0];
        assert_eq!(follow(&mut calls, [(a, text.to_owned())]), (text.to_owned(), Vec::new()));
    }

    #[test]
    fn a_choice_is_kept_to() {
        let tokenizer = tokenizer();
        let begin = tokenizer.added_token("<tool_call>");
        let with = |choice, several| Calls::new(offer(), choice, several, &tokenizer);
        let mut named = with(CallChoice::Named("f".to_owned()), true);
        let forced: Vec<u32> = std::iter::from_fn(|| named.prescribed()).collect();
        assert_eq!(tokenizer.decode(&forced), "<tool_call>\n<function=f>\n");
        let mut any = with(CallChoice::Any, true);
        let forced: Vec<u32> = std::iter::from_fn(|| any.prescribed()).collect();
        assert_eq!(tokenizer.decode(&forced), "<tool_call>\n<function=");
        let mut auto = with(CallChoice::Auto, true);
        assert_eq!((auto.prescribed(), auto.barred(true), auto.barred(false)), (None, begin, None));
        assert_eq!(with(CallChoice::None, true).barred(false), begin);
        // One call, and the answer is over.
        let mut one = with(CallChoice::Auto, false);
        follow(&mut one, tokens(&tokenizer, "a<tool_call>\n<function=f>\n</function>\n", 1000));
        assert!(!one.is_over());
        let end = tokenizer.encode("</tool_call>", Special::None)[0];
        one.take(end, "</tool_call>", &mut |_| ());
        assert!(one.is_over());
    }
}
