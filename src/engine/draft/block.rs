//! Guesses of the multi-token-prediction block: one after the other, each from the block's own output.

use super::shortlist::Shortlist;
use crate::engine::run_error::RunError;
use crate::engine::runner::Runner;
use crate::engine::sequence::Sequence;
use crate::model::input::{Input, InputRow};
use crate::model::mtp::Outputs;
use crate::sampler::{Sampler, highest};
use kernels::Way;

/// Up to `n` tokens that may follow `newest`, which comes next in the sequence; none where the block has not seen the row before
/// it. The likeliest of the shortlist after the sampler's penalties, for a guess is only right if it is what is drawn.
///
/// # Errors
/// Those of [`Runner::show`].
pub(super) fn guess(
    runner: &mut Runner,
    sequence: &mut Sequence,
    newest: InputRow,
    n: usize,
    shortlist: &Shortlist,
    sampler: Option<&Sampler>,
) -> Result<Vec<u32>, RunError> {
    let (mut ids, mut position) = (Vec::with_capacity(n), newest.position[0]);
    let n_past = sequence.n_past();
    let Some(mut y) = runner.show(sequence, newest, Outputs::All)? else { return Ok(ids) };
    loop {
        let logits = runner.shortlist_logits(&y, shortlist);
        if let Some(sampler) = sampler {
            sampler.penalise(logits, |id| shortlist.place(id));
        }
        let Some(place) = highest(logits) else { break };
        ids.push(shortlist.id(place as usize));
        if ids.len() == n {
            break;
        }
        position = position.saturating_add(1);
        let row = InputRow { input: Input::Token(ids[ids.len() - 1]), position: [position; 3] };
        y = runner.draft(sequence, &y, &[row], Way::Written)?.to_vec();
    }
    // What rests on guesses is forgotten; the trunk's own states come in its place.
    if let Some(memory) = &mut sequence.drafts {
        memory.truncate(n_past);
    }
    Ok(ids)
}
