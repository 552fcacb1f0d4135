//! An answer as its parts: thinking, text and calls, in the order in which they were written.

use super::event::Event;

/// A call.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Call {
    pub id: String,
    pub name: String,
    /// A JSON object, or as much of one as was written.
    pub arguments: String,
}

/// A part of an answer.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Part {
    Thinking(String),
    /// And how many tokens of it were told with their probabilities.
    Text(String, usize),
    Call(Call),
}

impl Part {
    /// Tokens that were told with their probabilities.
    pub fn n_token(&self) -> usize {
        if let Part::Text(_, n_token) = self { *n_token } else { 0 }
    }
}

/// The parts of an answer as far as it is written. What goes on in the same way is one part.
#[derive(Default, Debug)]
pub(super) struct Parts {
    all: Vec<Part>,
    /// Whether the last one may go on.
    is_open: bool,
    /// Whether it went on until the answer was over.
    goes_to_the_end: bool,
}

impl Parts {
    /// The parts, in order.
    pub fn all(&self) -> &[Part] {
        &self.all
    }

    /// Whether the last part was in the making when the answer ended: it may be cut.
    pub fn go_to_the_end(&self) -> bool {
        self.goes_to_the_end
    }

    /// Whether the last part goes on until this event, and not behind it.
    pub fn are_ended_by(&self, event: &Event) -> bool {
        let goes_on = matches!(
            (self.all.last(), event),
            (_, Event::Started { .. } | Event::Reading { .. } | Event::Scored(_))
                | (Some(Part::Thinking(_)), Event::Thinking(_))
                | (Some(Part::Text(..)), Event::Text(..))
                | (Some(Part::Call(_)), Event::CallArguments(_))
        );
        self.is_open && !goes_on
    }

    /// The answer goes on; whether a part begins.
    pub fn push(&mut self, event: &Event) -> bool {
        if self.are_ended_by(event) {
            self.is_open = false;
            self.goes_to_the_end = matches!(event, Event::Finished(_));
        }
        match (self.all.last_mut().filter(|_| self.is_open), event) {
            (Some(Part::Text(whole, n_token)), Event::Text(text, tokens)) => {
                whole.push_str(text);
                *n_token += tokens.len();
                return false;
            }
            (Some(Part::Thinking(whole)), Event::Thinking(text))
            | (Some(Part::Call(Call { arguments: whole, .. })), Event::CallArguments(text)) => {
                whole.push_str(text);
                return false;
            }
            (_, Event::Thinking(text)) => self.all.push(Part::Thinking(text.clone())),
            (_, Event::Text(text, tokens)) => self.all.push(Part::Text(text.clone(), tokens.len())),
            (_, Event::CallBegun { id, name }) => {
                self.all.push(Part::Call(Call { id: id.clone(), name: name.clone(), arguments: String::new() }));
            }
            _ => return false,
        }
        self.is_open = true;
        true
    }

    /// All of the thinking.
    pub fn reasoning(&self) -> String {
        self.all.iter().filter_map(|part| if let Part::Thinking(text) = part { Some(&**text) } else { None }).collect()
    }

    /// All of the text.
    pub fn text(&self) -> String {
        self.all.iter().filter_map(|part| if let Part::Text(text, _) = part { Some(&**text) } else { None }).collect()
    }

    /// All calls.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.all.iter().filter_map(|part| if let Part::Call(call) = part { Some(call) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_in_the_same_way_is_one_part() {
        let text = |text: &str| Event::Text(text.to_owned(), Vec::new());
        let begun = |id: &str| Event::CallBegun { id: id.to_owned(), name: "f".to_owned() };
        let events = [
            (Event::Started { n_cached: 0 }, false, false),
            (Event::Thinking("a".to_owned()), false, true),
            (Event::Thinking("b".to_owned()), false, false),
            (text("c"), true, true),
            (Event::Reading { done: 1, total: 2 }, false, false),
            (text("d"), false, false),
            (begun("1"), true, true),
            (Event::CallArguments("{".to_owned()), false, false),
            (Event::CallArguments("}".to_owned()), false, false),
            (Event::CallEnded, true, false),
            (begun("2"), false, true),
            (begun("3"), true, true),
            (text("e"), true, true),
        ];
        let mut parts = Parts::default();
        for (event, ends, begins) in events {
            assert_eq!((parts.are_ended_by(&event), parts.push(&event)), (ends, begins), "{event:?}");
        }
        let call = |id: &str, arguments: &str| Call {
            id: id.to_owned(),
            name: "f".to_owned(),
            arguments: arguments.to_owned(),
        };
        assert_eq!((parts.reasoning(), parts.text()), ("ab".to_owned(), "cde".to_owned()));
        assert_eq!(parts.calls().cloned().collect::<Vec<_>>(), [call("1", "{}"), call("2", ""), call("3", "")]);
        assert_eq!(parts.all().len(), 6);
    }
}
