//! Drawing the token behind a row of logits, for one answer or for several at once on all threads.

use crate::model::finite;
use crate::sampler::Sampler;

/// A token that was drawn for an answer.
pub(super) struct Drawn {
    pub id: u32,
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
        let id = self.prescribed.unwrap_or_else(|| {
            self.steer(logits);
            self.sampler.sample(logits)
        });
        Drawn { id, raw, is_finite }
    }

    /// Lowers the logit of a token that is barred.
    fn steer(&self, logits: &mut [f32]) {
        if let Some(logit) = self.barred.and_then(|id| logits.get_mut(id as usize)) {
            *logit = f32::NEG_INFINITY;
        }
    }
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
