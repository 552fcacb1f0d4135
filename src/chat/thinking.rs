//! Thinking: where it begins and ends among the tokens of an answer, and how a budget ends it.
//!
//! A chat template may open the thinking part in the prompt, open and close it there, or leave it to the model, which
//! then begins its answer with `<think>`. In an answer, `<think>` is a mark only where nothing has been said before it:
//! later it is what the answer is about.

use crate::tokenizer::{Special, TokenType, Tokenizer};
use std::collections::VecDeque;

/// Where the text of a token belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Channel {
    /// What the model says to itself first.
    Thinking,
    /// What it says.
    Answer,
}

/// What became of the thinking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thought {
    /// There was none.
    None,
    /// The model ended it.
    Finished,
    /// The budget ended it.
    Budget,
    /// It went round in circles, and was ended.
    Loop,
    /// The answer ended first.
    Unfinished,
}

impl Thought {
    /// The word used in machine-readable results; none where there is nothing to report.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Thought::None => None,
            Thought::Finished => Some("finished"),
            Thought::Budget => Some("budget"),
            Thought::Loop => Some("repetition"),
            Thought::Unfinished => Some("unfinished"),
        }
    }
}

/// The tokens around the thinking part.
struct Marks {
    begin: Option<u32>,
    end: u32,
    /// The line end before the closing mark, and the blank line behind it.
    newline: Vec<u32>,
    blank: Vec<u32>,
}

/// Where an answer stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing of the answer is written.
    Start,
    Thinking,
    Answer,
}

/// Follows the tokens of an answer.
pub struct Thinking {
    /// `None` takes everything for the answer.
    marks: Option<Marks>,
    state: State,
    thought: Thought,
    /// Thinking tokens that the model chose.
    n: usize,
    budget: Option<usize>,
    /// Tokens that come next, whatever the model would choose.
    prescribed: VecDeque<u32>,
    /// Whether the thinking stands at the start of a line of its own.
    at_line_start: bool,
    /// Whether the blank line behind the thinking is prescribed where the model has ended it too.
    ends_with_blank: bool,
    /// Why the model is pressed to end it.
    pressed: Option<Thought>,
}

impl Thinking {
    /// Takes everything for the answer: text that is continued without a template.
    pub fn ignored() -> Thinking {
        Thinking {
            marks: None,
            state: State::Answer,
            thought: Thought::None,
            n: 0,
            budget: None,
            prescribed: VecDeque::new(),
            at_line_start: false,
            ends_with_blank: false,
            pressed: None,
        }
    }

    /// Whether everything is taken for the answer.
    pub fn is_ignored(&self) -> bool {
        self.marks.is_none()
    }

    /// The state behind a prompt, which may end within a thinking part. After `budget` tokens the thinking is ended.
    pub fn after(prompt: &[u32], tokenizer: &Tokenizer, budget: Option<usize>) -> Thinking {
        let Some(end) = tokenizer.added_token("</think>") else { return Self::ignored() };
        let encode = |text: &str| tokenizer.encode(text, Special::None);
        let begin = tokenizer.added_token("<think>");
        // The turn's own part of the prompt: messages before it may hold the marks as text.
        let turn = prompt.iter().rev().take_while(|&&id| tokenizer.token_type(id) != Some(TokenType::Control));
        let last = turn.copied().find(|&id| id == end || Some(id) == begin);
        let open = last.is_some() && last == begin;
        Thinking {
            marks: Some(Marks { begin, end, newline: encode("\n"), blank: encode("\n\n") }),
            state: if open { State::Thinking } else { State::Start },
            thought: if open { Thought::Unfinished } else { Thought::None },
            budget,
            ..Self::ignored()
        }
    }

    /// The token that must come next, if it is not the model's to choose: the end of the thinking as the model writes
    /// it.
    pub fn prescribed(&mut self) -> Option<u32> {
        if self.budget.is_some_and(|budget| self.n >= budget) {
            self.end(Thought::Budget);
        }
        self.prescribed.pop_front()
    }

    /// Has the thinking end with the next tokens, if it is open; `why` is what becomes of it.
    pub fn end(&mut self, why: Thought) {
        if let Some(marks) = &self.marks
            && self.state == State::Thinking
            && !self.is_ended()
            && self.prescribed.is_empty()
        {
            self.thought = why;
            if !self.at_line_start {
                self.prescribed.extend(&marks.newline);
            }
            self.prescribed.push_back(marks.end);
            self.prescribed.extend(&marks.blank);
        }
    }

    /// Has the thinking count as ended for this reason, if the model now ends it: it was pressed to.
    pub fn press(&mut self, why: Thought) {
        self.pressed = Some(why);
    }

    /// Whether it was ended, and not by the model.
    fn is_ended(&self) -> bool {
        matches!(self.thought, Thought::Budget | Thought::Loop)
    }

    /// The mark that would end the thinking, while it is open and the model's own.
    pub fn end_mark(&self) -> Option<u32> {
        let is_open = self.state == State::Thinking && !self.is_ended();
        self.marks.as_ref().filter(|_| is_open).map(|marks| marks.end)
    }

    /// Prescribes the blank line behind the thinking where the model has ended it too: what comes then is the answer.
    pub fn end_with_blank(&mut self) {
        self.ends_with_blank = true;
    }

    /// Whether the next token is one of the answer, and the model's to choose.
    pub fn is_over(&self) -> bool {
        self.state != State::Thinking && self.prescribed.is_empty()
    }

    /// Takes the next token and its text, and says where the text belongs; `None` for marks.
    pub fn take(&mut self, id: u32, text: &str) -> Option<Channel> {
        let Some(marks) = &self.marks else { return Some(Channel::Answer) };
        match self.state {
            State::Thinking if id == marks.end => {
                self.state = State::Start;
                if self.thought == Thought::Unfinished {
                    self.thought = self.pressed.unwrap_or(Thought::Finished);
                    if self.ends_with_blank {
                        self.prescribed.extend(&marks.blank);
                    }
                }
                None
            }
            State::Thinking => {
                self.pressed = None;
                if !self.is_ended() {
                    self.n += 1;
                }
                if !text.is_empty() {
                    self.at_line_start = text.ends_with('\n');
                }
                Some(Channel::Thinking)
            }
            // One that was ended does not begin again.
            State::Start if Some(id) == marks.begin && !self.is_ended() => {
                self.state = State::Thinking;
                self.thought = Thought::Unfinished;
                self.at_line_start = false;
                None
            }
            State::Start if id == marks.end => None,
            State::Start => {
                if !text.trim().is_empty() {
                    self.state = State::Answer;
                }
                Some(Channel::Answer)
            }
            State::Answer => Some(Channel::Answer),
        }
    }

    /// Whether what comes next belongs to the thinking.
    pub fn is_open(&self) -> bool {
        self.state == State::Thinking
    }

    /// What became of the thinking so far.
    pub fn thought(&self) -> Thought {
        self.thought
    }

    /// Thinking tokens that the model chose so far.
    pub fn n_tokens(&self) -> usize {
        self.n
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

    /// Feeds what a model chooses, as far as it may choose, and returns the text of both channels and all tokens.
    fn follow(thinking: &mut Thinking, tokenizer: &Tokenizer, chosen: &str) -> (String, String, String) {
        let (mut thought, mut answer, mut all) = (String::new(), String::new(), String::new());
        let mut chosen = tokenizer.encode(chosen, Special::None).into_iter();
        while let Some(id) = thinking.prescribed().or_else(|| chosen.next()) {
            let text = tokenizer.decode(&[id]);
            match thinking.take(id, &text) {
                Some(Channel::Thinking) => thought.push_str(&text),
                Some(Channel::Answer) => answer.push_str(&text),
                None => {}
            }
            all.push_str(&text);
        }
        (thought, answer, all)
    }

    fn after(prompt: &str, tokenizer: &Tokenizer, budget: Option<usize>) -> Thinking {
        Thinking::after(&tokenizer.encode(prompt, Special::Parse), tokenizer, budget)
    }

    const OPEN: &str = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n";
    const CLOSED: &str = "<|im_start|>assistant\n<think>\n\n</think>\n\n";
    const BARE: &str = "<|im_start|>user\nwhat does <think> mean?<|im_end|>\n<|im_start|>assistant\n";

    #[test]
    fn thinking_is_told_from_the_answer_however_the_template_begins_it() {
        let tokenizer = tokenizer();
        for (prompt, chosen, expected) in [
            (OPEN, "a b\n</think>\n\nyes", ("a b\n", "\n\nyes", Thought::Finished)),
            (OPEN, "a b", ("a b", "", Thought::Unfinished)),
            (BARE, "<think>\na</think>yes", ("\na", "yes", Thought::Finished)),
            (BARE, "\n<think>a", ("a", "\n", Thought::Unfinished)),
            (BARE, "yes", ("", "yes", Thought::None)),
            (CLOSED, "yes", ("", "yes", Thought::None)),
            // A stray end is dropped; marks within an answer are its text.
            (CLOSED, "</think>yes", ("", "yes", Thought::None)),
            (CLOSED, "The <think> tag, </think>.", ("", "The <think> tag, </think>.", Thought::None)),
            (OPEN, "a</think>\n<think>b</think>yes", ("ab", "\nyes", Thought::Finished)),
        ] {
            let mut thinking = after(prompt, &tokenizer, None);
            let (thought, answer, _) = follow(&mut thinking, &tokenizer, chosen);
            assert_eq!((&*thought, &*answer, thinking.thought()), expected, "{prompt:?} {chosen:?}");
        }
        let mut ignored = Thinking::ignored();
        assert_eq!(follow(&mut ignored, &tokenizer, "<think>a</think>").1, "<think>a</think>");
    }

    #[test]
    fn a_budget_ends_the_thinking_as_the_model_does() {
        let tokenizer = tokenizer();
        let word = tokenizer.encode(" a", Special::None).len();
        for (prompt, budget, chosen, all) in [
            (OPEN, 2 * word, " a a a a", " a a\n</think>\n\n a a"),
            (OPEN, 2 * word + 1, " a a\n a a", " a a\n</think>\n\n a a"),
            (BARE, word, "<think> a a", "<think> a\n</think>\n\n a"),
            (OPEN, 0, "yes", "\n</think>\n\nyes"),
            (BARE, 0, "<think>yes", "<think>\n</think>\n\nyes"),
            // What is left of the thinking is not begun again.
            (OPEN, word, " a<think>yes</think>", " a\n</think>\n\n<think>yes</think>"),
        ] {
            let mut thinking = after(prompt, &tokenizer, Some(budget));
            let (thought, answer, found) = follow(&mut thinking, &tokenizer, chosen);
            assert_eq!(found, all, "{prompt:?} {budget} {chosen:?}");
            assert_eq!((thinking.thought(), thinking.n_tokens()), (Thought::Budget, budget), "{prompt:?} {chosen:?}");
            assert!(!answer.trim().is_empty() && !thought.contains("yes"));
        }
        // Whatever ends it, it ends so.
        let mut thinking = after(OPEN, &tokenizer, None);
        assert_eq!(thinking.end_mark(), tokenizer.added_token("</think>"));
        assert_eq!(follow(&mut thinking, &tokenizer, " a").2, " a");
        (0..2).for_each(|_| thinking.end(Thought::Loop));
        assert_eq!(thinking.end_mark(), None);
        assert_eq!(follow(&mut thinking, &tokenizer, "yes").2, "\n</think>\n\nyes");
        thinking.end(Thought::Loop);
        assert_eq!((thinking.prescribed(), thinking.thought(), thinking.n_tokens()), (None, Thought::Loop, word));
        // It may end it for itself when it is pressed, and for the token after that alone.
        for (between, expected) in [("", Thought::Loop), ("b", Thought::Finished)] {
            let mut thinking = after(OPEN, &tokenizer, None);
            thinking.press(Thought::Loop);
            follow(&mut thinking, &tokenizer, &format!("{between}</think>yes"));
            assert_eq!(thinking.thought(), expected, "{between:?}");
        }
        // Thinking that ends by itself is left alone.
        let mut thinking = after(OPEN, &tokenizer, Some(100));
        assert_eq!(follow(&mut thinking, &tokenizer, "a</think>yes").2, "a</think>yes");
        assert_eq!(thinking.thought(), Thought::Finished);
        let mut none = after(CLOSED, &tokenizer, Some(0));
        assert_eq!(follow(&mut none, &tokenizer, "yes").2, "yes");
    }
}
