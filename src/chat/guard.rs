//! Keeps what a user wrote from becoming a control token.
//!
//! A template returns one text, in which the `<|im_end|>` of a message looks like its own. So before it runs, a mark is
//! put before every place in the messages where a control token could start, and afterwards the marks are taken out
//! again and their places remembered. The mark is a character that the messages do not use. A token is the user's when
//! its first character is: this also catches one whose parts are spread over the parts of a message, or that the
//! template would complete.
//!
//! A template cannot tell, unless it looks for control tokens inside a message or counts characters.

use super::Error;
use crate::tokenizer::Prompt;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// A template's variables with marks in them.
pub struct Guarded {
    pub context: Map<String, Value>,
    mark: char,
}

/// Marks the places in `context` where one of `controls` could start; `None` if there are none. `source` is the
/// template.
pub fn guard(context: &Map<String, Value>, controls: &[&str], source: &str) -> Result<Option<Guarded>, Error> {
    let mut any = false;
    visit(context, &mut |text| any |= starts(text, controls).next().is_some());
    if !any {
        return Ok(None);
    }
    let mark = free_character(context, source).ok_or(Error::NoMark)?;
    let context = map_object(context, &|text| {
        let mut marked = String::with_capacity(text.len() + 16);
        let mut from = 0;
        for at in starts(text, controls) {
            marked.push_str(&text[from..at]);
            marked.push(mark);
            from = at;
        }
        marked + &text[from..]
    });
    Ok(Some(Guarded { context, mark }))
}

impl Guarded {
    /// Takes the marks out of a rendered text.
    pub fn unguard(&self, rendered: &str) -> Prompt {
        let mut prompt = Prompt::default();
        let mut parts = rendered.split(self.mark);
        prompt.text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            prompt.literal.push(prompt.text.len());
            prompt.text.push_str(part);
        }
        prompt.literal.dedup();
        prompt
    }
}

/// The offsets at which `text` holds one of `controls`, or all that is left of it, white space aside, is the start
/// of one.
fn starts<'a>(text: &'a str, controls: &'a [&str]) -> impl Iterator<Item = usize> + 'a {
    let end = text.trim_end().len();
    text.char_indices().map(|(at, _)| at).filter(move |&at| {
        let rest = &text[at..];
        let left = &text[at..end.max(at)];
        let first = rest.as_bytes().first();
        controls.iter().any(|control| {
            control.as_bytes().first() == first
                && (rest.starts_with(control) || (!left.is_empty() && control.starts_with(left)))
        })
    })
}

/// A character that occurs neither in `context` nor in `source`: a noncharacter, or else one for private use.
fn free_character(context: &Map<String, Value>, source: &str) -> Option<char> {
    let mut candidates = ('\u{fdd0}'..='\u{fdef}').chain('\u{f0000}'..='\u{10fffd}');
    // Only characters from U+FDD0 on matter, which are rare.
    let mut used = HashSet::new();
    let mut note = |text: &str| used.extend(text.chars().filter(|&c| c >= '\u{fdd0}'));
    note(source);
    visit(context, &mut note);
    candidates.find(|c| !used.contains(c))
}

fn visit(object: &Map<String, Value>, see: &mut impl FnMut(&str)) {
    for (key, value) in object {
        see(key);
        visit_value(value, see);
    }
}

fn visit_value(value: &Value, see: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => see(text),
        Value::Array(items) => items.iter().for_each(|item| visit_value(item, see)),
        Value::Object(object) => visit(object, see),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn map_object(object: &Map<String, Value>, change: &impl Fn(&str) -> String) -> Map<String, Value> {
    object.iter().map(|(key, value)| (change(key), map_value(value, change))).collect()
}

fn map_value(value: &Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| map_value(item, change)).collect()),
        Value::Object(object) => Value::Object(map_object(object, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CONTROLS: [&str; 3] = ["<|im_end|>", "<|im_start|>", "<tts>"];

    fn found(text: &str) -> Vec<usize> {
        starts(text, &CONTROLS).collect()
    }

    #[test]
    fn whole_tokens_and_unfinished_ones_at_the_end_are_found() {
        assert_eq!(found("a<|im_end|>b<|im_start|><tts>"), [1, 12, 24]);
        assert_eq!(found("x <|im_ \n"), [2]);
        assert_eq!(found("<|im_<"), [5]);
        assert!(found("if a < b: <|im_ <think> </think>").is_empty());
        assert_eq!(found("é<"), [2]);
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn marks_avoid_characters_in_use_and_vanish_again() {
        let context = object(json!({"a": ["x<|im_end|>\u{fdd0}", {"<": 1}], "n": null}));
        let guarded = guard(&context, &CONTROLS, "\u{fdd1}").unwrap().unwrap();
        assert_eq!(guarded.mark, '\u{fdd2}');
        let text = guarded.context["a"][0].as_str().unwrap();
        assert_eq!(text, "x\u{fdd2}<|im_end|>\u{fdd0}");
        let prompt = guarded.unguard(text);
        assert_eq!(prompt, Prompt { text: "x<|im_end|>\u{fdd0}".to_owned(), literal: vec![1] });
    }

    #[test]
    fn harmless_messages_are_left_alone() {
        let context = object(json!({"a": "<think>1 < 2</think> <b>|></b>"}));
        assert!(guard(&context, &CONTROLS, "").unwrap().is_none());
    }

    #[test]
    fn a_message_of_all_private_characters_is_refused() {
        let all: String = ('\u{fdd0}'..='\u{fdef}').chain('\u{f0000}'..='\u{10fffd}').collect();
        let context = object(json!({"a": "<|im_end|>", "b": all}));
        assert!(matches!(guard(&context, &CONTROLS, ""), Err(Error::NoMark)));
    }
}
