//! Drawing the token behind a row of logits, for one answer or for several at once on all threads.

use crate::constrain::{Allowed, Constraint, Lost};
use crate::model::finite;
use crate::sampler::Sampler;

/// A token that was drawn for an answer.
pub(super) struct Drawn {
    pub id: Result<u32, Lost>,
    /// The logits `[n_vocab]` before biases and penalties, where somebody wants to see them.
    pub raw: Option<Vec<f32>>,
    /// Whether those logits were numbers, as far as that was looked at.
    pub is_finite: bool,
}

/// How the next token of an answer is to be drawn.
pub(super) struct Draw<'a> {
    pub sampler: &'a mut Sampler,
    /// The token that comes whatever the logits are; the sampler is not asked then.
    pub prescribed: Option<u32>,
    /// What the token must keep to, if it is not prescribed, and the tokens that there is room for.
    pub constraint: Option<(&'a mut Constraint, usize)>,
    /// A token that is made likelier, and what is added to its logit.
    pub hint: Option<(u32, f32)>,
    /// A token that must not come.
    pub barred: Option<u32>,
    pub keeps_logits: bool,
    /// Whether to look if the logits are numbers.
    pub checks: bool,
}

impl Draw<'_> {
    /// Draws behind `logits [n_vocab]`, of which biases and penalties overwrite some.
    pub fn from(&mut self, logits: &mut [f32]) -> Drawn {
        let is_finite = !self.checks || finite::is_finite(logits);
        let raw = self.keeps_logits.then(|| logits.to_vec());
        self.steer(logits);
        let id = match (self.prescribed, &mut self.constraint) {
            (Some(id), _) => Ok(id),
            (None, Some((constraint, room))) => constrained(constraint, *room, self.sampler, logits),
            (None, None) => Ok(self.sampler.sample(logits)),
        };
        Drawn { id, raw, is_finite }
    }

    /// Raises and lowers the logits of tokens that are hinted at and barred.
    fn steer(&self, logits: &mut [f32]) {
        let changes = [self.hint, self.barred.map(|id| (id, f32::NEG_INFINITY))];
        for (id, more) in changes.into_iter().flatten() {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += more;
            }
        }
    }
}

/// Draws what a constraint allows. Where it leaves no choice the sampler is not asked.
fn constrained(
    constraint: &mut Constraint,
    room: usize,
    sampler: &mut Sampler,
    logits: &mut [f32],
) -> Result<u32, Lost> {
    let id = match constraint.allowed()? {
        Allowed::One(id) => id,
        Allowed::Any => sampler.sample(logits),
        Allowed::Set(set) => {
            set.keep(logits);
            sampler.sample(logits)
        }
    };
    constraint.take(id, room)
}

/// A draw, and where the token is put. Every sampler has random numbers of its own, so that of several draws at once none
/// depends on the threads.
pub(super) struct Drawing<'a> {
    pub draw: Draw<'a>,
    pub drawn: &'a mut Option<Drawn>,
}

impl Drawing<'_> {
    /// Draws behind `logits [n_vocab]`.
    pub fn run(&mut self, logits: &mut [f32]) {
        *self.drawn = Some(self.draw.from(logits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::Settings;

    #[test]
    fn hints_and_bars_change_what_is_drawn_and_not_the_logits_that_are_kept() {
        let mut sampler = Sampler::new(Settings::greedy(), 1);
        let mut drawn = |hint, barred, prescribed| {
            let mut logits = [1.0, 3.0, 2.0];
            let sampler = &mut sampler;
            let draw = Draw { sampler, prescribed, constraint: None, hint, barred, keeps_logits: true, checks: true };
            let Drawn { id, raw, is_finite } = { draw }.from(&mut logits);
            assert!(is_finite && raw.as_deref() == Some(&[1.0, 3.0, 2.0]));
            id.unwrap()
        };
        assert_eq!(drawn(None, None, None), 1);
        assert_eq!(drawn(Some((2, 0.5)), None, None), 1);
        assert_eq!(drawn(Some((2, 1.5)), None, None), 2);
        assert_eq!(drawn(Some((2, 1.5)), Some(2), None), 1);
        assert_eq!(drawn(None, Some(1), None), 2);
        assert_eq!(drawn(Some((2, 1.5)), Some(0), Some(0)), 0);
        // Tokens that the model has no logits for do nothing.
        assert_eq!(drawn(Some((3, 9.0)), Some(u32::MAX), None), 1);
    }
}
