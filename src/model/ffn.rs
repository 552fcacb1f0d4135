//! The gated feed-forward (`MODEL.md` §8): `W_down( silu(W_gate x) ⊙ W_up x )`.

use super::experts;
use super::ffn_slots::Use;
use super::pass::LayerPass;
use super::weights::{FeedForward, FfnMatrices};
use crate::compute::batch::{Exactness, products, strip};
use crate::compute::team::{Grid, Phase};

/// Computes the feed-forward of the normalised rows `pass.h` into `pass.out`.
pub(super) fn forward(w: &FeedForward, pass: &mut LayerPass<'_>) {
    match w {
        FeedForward::Dense(w) => dense(w.mapped(), pass),
        FeedForward::Read(w) => {
            let mut visit = w.begin(&[Use { ffn: 0, rows: pass.counts.total() as u32 }]);
            visit.fetch(&[0]);
            // The next is read while this one computes.
            visit.ask_ahead();
            dense(visit.matrices(0), pass);
            visit.release(&[0]);
        }
        FeedForward::Experts(w) => experts::forward(w, pass),
    }
}

fn dense(w: FfnMatrices<'_>, pass: &mut LayerPass<'_>) {
    let kernels = pass.compute.kernels;
    let FfnMatrices { ffn_gate, ffn_up, ffn_down } = w;
    let n_ff = ffn_gate.rows();
    let width = strip(n_ff, pass.compute.team.threads());
    let x = &*pass.h;
    let n = pass.counts.total();
    let (gate, up) = (&mut pass.wide.x[..n * n_ff], &mut pass.up[..n * n_ff]);
    // Gate and up of the same rows go together: their product is taken while both are in cache.
    pass.compute.team.enter(Phase::Products);
    let twins = [(Grid::strips(gate, n_ff, width), Grid::strips(up, n_ff, width))];
    pass.compute.team.twins_with(&twins, |arena, _, cols, mut gate, mut up| {
        x.multiply(kernels, arena, ffn_gate.slice_rows(cols.clone()), Exactness::Plain, &mut gate);
        x.multiply(kernels, arena, ffn_up.slice_rows(cols), Exactness::Plain, &mut up);
        for r in 0..gate.rows() {
            kernels.silu_mul(gate.row_mut(r), up.row(r));
        }
    });
    pass.compute.team.enter(Phase::Other);
    pass.wide.fill(pass.compute, |_, _| {});
    let down = (ffn_down, Exactness::Plain, &mut *pass.out);
    products(pass.compute, pass.wide, Phase::Products, [down]);
}
