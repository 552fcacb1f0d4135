//! The reference: the equations token by token, in the order of the paper.

use super::{CONV_BLOCK, DeltaLog, DeltaTokens, STATE_COLS, Table, Writes};
use crate::Tile;

pub(super) const TABLE: Table = Table { conv1d_silu, delta_rule };

pub(super) fn conv1d_silu(x: &mut Tile<'_>, state: &mut [[f32; CONV_BLOCK]], w: &[[f32; CONV_BLOCK]]) {
    let (newest, older) = w.split_last().expect("at least one tap");
    for t in 0..x.rows() {
        for (c, x) in x.row_mut(t).iter_mut().enumerate() {
            let raw = *x;
            let history: f32 = state.iter().zip(older).map(|(m, w)| m[c] * w[c]).sum();
            let sum = history + raw * newest[c];
            *x = sum / (1.0 + (-sum).exp());
            for row in 1..state.len() {
                state[row - 1][c] = state[row][c];
            }
            if let Some(last) = state.last_mut() {
                last[c] = raw;
            }
        }
    }
}

fn delta_rule(
    log: &DeltaLog<'_>,
    step: &DeltaTokens<'_>,
    state: &mut [[f32; STATE_COLS]],
    writes: Writes<'_, '_>,
    o: &mut Tile<'_>,
    _scratch: &mut Vec<f32>,
) {
    for t in 0..log.k.rows() {
        let (k, decay) = (log.k.row(t), log.g.row(t)[0].exp());
        for (c, u) in log.u.row(t).iter().enumerate() {
            state.iter_mut().zip(k).for_each(|(s, k)| s[c] = s[c] * decay + k * u);
        }
    }
    match writes {
        Writes::Commit => advance(step, state, o, |_, _, _| {}),
        Writes::Log(u) => advance(step, &mut state.to_vec(), o, |t, c, x| u.row_mut(t)[c] = x),
    }
}

/// Tells `log` each corrected value: token, column, value.
fn advance(
    step: &DeltaTokens<'_>,
    state: &mut [[f32; STATE_COLS]],
    o: &mut Tile<'_>,
    mut log: impl FnMut(usize, usize, f32),
) {
    for t in 0..o.rows() {
        let (q, k, v) = (step.q.row(t), step.k.row(t), step.v.row(t));
        let (decay, beta) = (step.g.row(t)[0].exp(), step.beta.row(t)[0]);
        for (c, (o, v)) in o.row_mut(t).iter_mut().zip(v).enumerate() {
            state.iter_mut().for_each(|s| s[c] *= decay);
            let read: f32 = state.iter().zip(k).map(|(s, k)| s[c] * k).sum();
            let u = beta * (v - read);
            state.iter_mut().zip(k).for_each(|(s, k)| s[c] += k * u);
            *o = state.iter().zip(q).map(|(s, q)| s[c] * q).sum();
            log(t, c, u);
        }
    }
}
