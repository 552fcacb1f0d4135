//! Where prompts are likely to begin to differ: behind these rows a state is worth keeping.

use crate::model::state::LOG_ROWS;
use crate::tokenizer::{Special, Tokenizer};

/// Rows from one state to the next at most.
const FAR: usize = 8192;

/// Where nothing else tells, so many rows before the end of a prompt a state is kept: another may end otherwise.
const BEFORE_END: usize = 8;

/// Where a prompt is likely to be left by others.
#[derive(Clone, Debug, Default)]
pub struct Forks {
    /// Rows of the prompt.
    n_prompt: usize,
    /// Rows at which turns begin, ascending.
    turns: Vec<usize>,
    /// The first of them that is a user's.
    first_user: Option<usize>,
    /// The row from which on it was found to differ from what is kept, where there was no state.
    found: Option<usize>,
}

impl Forks {
    /// Those of a prompt; of each row that is no token of a text, `ids` has a placeholder.
    pub fn of(ids: &[u32], tokenizer: &Tokenizer, found: Option<usize>) -> Forks {
        let turn = tokenizer.added_token("<|im_start|>");
        let user = tokenizer.encode("user", Special::None);
        let turns: Vec<usize> = (0..ids.len()).filter(|&at| turn == Some(ids[at])).collect();
        let first_user = turns.iter().copied().find(|at| ids[at + 1..].starts_with(&user));
        Forks { n_prompt: ids.len(), turns, first_user, found }
    }

    /// The start of the answer, if the rows of the prompt behind it can be taken back: they are kept with the state there.
    pub fn tail(&self) -> Option<usize> {
        self.turns.last().copied().or(Some(self.near_end())).filter(|at| self.n_prompt - at <= LOG_ROWS)
    }

    fn near_end(&self) -> usize {
        self.n_prompt.saturating_sub(BEFORE_END)
    }

    /// Rows behind which a state is worth keeping, ascending, `apart` rows or more from each other: what all conversations begin
    /// with, where this one has left an earlier one, where its last answer and its last question begin.
    pub fn points(&self, apart: usize) -> Vec<usize> {
        let near_end = self.near_end();
        let mut last_turns = self.turns.iter().rev().copied();
        let likely = [self.first_user, self.found, last_turns.next().or(Some(near_end)), last_turns.next()];
        let mut points: Vec<usize> = Vec::new();
        for at in likely.into_iter().flatten().chain((FAR..near_end).step_by(FAR)) {
            if (apart..self.n_prompt).contains(&at) && points.iter().all(|point| point.abs_diff(at) >= apart) {
                points.push(at);
            }
        }
        points.sort_unstable();
        points
    }
}

#[cfg(test)]
mod tests {
    use super::Forks;

    #[test]
    fn states_are_kept_where_the_next_prompt_may_begin_to_differ_and_not_too_close() {
        let points = |n_prompt, turns: &[usize], first_user, found| {
            Forks { n_prompt, turns: turns.to_vec(), first_user, found }.points(128)
        };
        // A system message of 700 rows, a question of 300 and the start of an answer.
        assert_eq!(points(1_010, &[0, 700, 1_000], Some(700), None), [700, 1_000]);
        // No system message.
        assert_eq!(points(305, &[0, 300], Some(0), None), [300]);
        // Short ones: what all conversations begin with, then the start of the answer.
        assert_eq!(points(120, &[0, 30, 115], Some(30), None), [0; 0]);
        assert_eq!(points(760, &[0, 700, 750], Some(700), None), [700]);
        assert_eq!(points(905, &[0, 700, 780, 850, 900], Some(700), None), [700, 900]);
        // A plain text, and a long one.
        assert_eq!(points(1_000, &[], None, None), [992]);
        assert_eq!(points(20_000, &[], None, None), [8_192, 16_384, 19_992]);
        // Where this one left another.
        assert_eq!(points(1_000, &[0, 400, 990], Some(400), Some(900)), [400, 900]);
    }

    #[test]
    fn the_start_of_an_answer_is_its_own_point_only_where_little_stands_behind_it() {
        let tail =
            |n_prompt, turns: &[usize]| Forks { n_prompt, turns: turns.to_vec(), first_user: None, found: None }.tail();
        assert_eq!(tail(1_010, &[0, 700, 1_000]), Some(1_000));
        assert_eq!(tail(1_010, &[0, 700]), None);
        assert_eq!((tail(1_000, &[]), tail(5, &[])), (Some(992), Some(0)));
    }
}
