//! How hard a model is to think, in a word: templates from Qwen3.8 on take one of a few levels, and say the rest in the system
//! message. They refuse words that are none of theirs.

use super::{Request, Template};
use serde_json::{Map, Value, json};

/// The variable of templates.
pub const VARIABLE: &str = "reasoning_effort";

/// The words that clients and templates use, from little to much.
pub const WORDS: [&str; 6] = ["minimal", "low", "medium", "high", "xhigh", "max"];

impl Template {
    /// The levels that the template takes, from little to much; none where it has no variable for them. Found by rendering a
    /// question with each word.
    pub fn efforts(&self) -> &[&'static str] {
        self.efforts.get_or_init(|| {
            let question = json!({"role": "user", "content": "?"});
            let takes = |word: &&str| {
                let mut request = Request::new(vec![question.clone()], true);
                request.kwargs.get_or_insert_default().insert(VARIABLE.to_owned(), (*word).into());
                self.render(&request).is_ok()
            };
            if self.program.reads(VARIABLE) { WORDS.into_iter().filter(takes).collect() } else { Vec::new() }
        })
    }

    /// The level of the template that a word of [`WORDS`] stands for: itself, the next higher one, or the highest. `None` where
    /// there are no levels, or it is no such word.
    pub fn effort_of(&self, word: &str) -> Option<&'static str> {
        let place = |word: &str| WORDS.iter().position(|known| *known == word);
        let wanted = place(word)?;
        let efforts = self.efforts();
        efforts.iter().find(|level| place(level) >= Some(wanted)).or(efforts.last()).copied()
    }

    /// Renders with this level from now on where a request names none.
    pub fn set_effort(&mut self, level: &'static str) {
        self.effort = Some(level);
    }

    /// Whether an earlier answer keeps its thinking behind a new question, where nothing is said about it.
    pub fn keeps_thinking(&self) -> bool {
        const MARK: &str = "(what was thought)";
        let turn = |role: &str, text: &str| json!({"role": role, "content": text});
        let thought = json!({"role": "assistant", "content": "4", "reasoning_content": MARK});
        let request = Request::new(vec![turn("user", "2+2?"), thought, turn("user", "Sure?")], true);
        self.render(&request).is_ok_and(|text| text.contains(MARK))
    }

    /// What the template sees of a request.
    pub(super) fn context(&self, request: &Request) -> Map<String, Value> {
        let mut context = request.context();
        if let Some(level) = self.effort {
            context.entry(VARIABLE).or_insert_with(|| level.into());
        }
        context
    }
}
