//! Every level against the equations in f64.

use super::{CONV_BLOCK, DeltaLog, DeltaTokens, STATE_COLS, Writes, conv_blocks, delta_scratch_len};
use crate::conformance::{Rng, assert_near, vector_levels};
use crate::{Kernels, Rows, Tile};
use std::ops::Range;

/// The delta rule in f64, for `n` columns: outputs and final state, both row-major.
fn oracle(step: &DeltaTokens<'_>, state: &[f32], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut s: Vec<f64> = state.iter().map(|&s| f64::from(s)).collect();
    let mut out = Vec::new();
    for t in 0..step.q.rows() {
        let (decay, beta) = (f64::from(step.g.row(t)[0]).exp(), f64::from(step.beta.row(t)[0]));
        for c in 0..n {
            let column = |s: &[f64], x: &[f32]| -> f64 {
                x.iter().enumerate().map(|(i, x)| s[i * STATE_COLS + c] * f64::from(*x)).sum()
            };
            for row in s.chunks_exact_mut(STATE_COLS) {
                row[c] *= decay;
            }
            let u = beta * (f64::from(step.v.row(t)[c]) - column(&s, step.k.row(t)));
            for (row, k) in s.chunks_exact_mut(STATE_COLS).zip(step.k.row(t)) {
                row[c] += f64::from(*k) * u;
            }
            out.push(column(&s, step.q.row(t)));
        }
    }
    (out, s)
}

/// Queries and keys of unit length, decays and strengths of the ranges that occur, all in buffers with gaps.
struct Inputs {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    g: Vec<f32>,
    beta: Vec<f32>,
    t: usize,
    dk: usize,
    n: usize,
}

impl Inputs {
    fn new(t: usize, dk: usize, n: usize, decay: f32) -> Self {
        let unit = |seed| {
            let mut x = Rng(seed).values(t * (dk + 3), 1.0);
            for row in x.chunks_exact_mut(dk + 3) {
                let norm = row[..dk].iter().map(|x| x * x).sum::<f32>().sqrt();
                row.iter_mut().for_each(|x| *x /= norm);
            }
            x
        };
        let g = Rng(4).values(t * 5, 1.0).iter().map(|x| decay * x.abs()).collect();
        let beta = Rng(5).values(t * 5, 0.5).iter().map(|x| x + 0.5).collect();
        Inputs { q: unit(1), k: unit(2), v: Rng(3).values(t * (n + 7), 2.0), g, beta, t, dk, n }
    }

    fn tokens(&self, range: Range<usize>) -> DeltaTokens<'_> {
        let wide = |x| Rows::new(x, self.t, self.dk, self.dk + 3).slice(range.clone());
        let gate = |x| Rows::new(x, self.t, 1, 5).slice(range.clone());
        let v = Rows::new(&self.v, self.t, self.n, self.n + 7).slice(range.clone());
        DeltaTokens { q: wide(&self.q), k: wide(&self.k), v, g: gate(&self.g), beta: gate(&self.beta) }
    }

    /// The log of the tokens in `range`, whose corrected values are in the rows of `u`.
    fn log<'a>(&'a self, range: Range<usize>, u: &'a [f32]) -> DeltaLog<'a> {
        let DeltaTokens { k, g, .. } = self.tokens(range.clone());
        DeltaLog { k, u: Rows::new(u, range.len(), self.n, self.n), g }
    }
}

/// All tokens in one call that commits them at once.
fn commit(kernels: &Kernels, inputs: &Inputs, state: &mut [f32], o: &mut Tile<'_>) {
    let (log, tokens) = (DeltaLog::none(inputs.dk, inputs.n), inputs.tokens(0..inputs.t));
    kernels.delta_rule(&log, &tokens, state, Writes::Commit, o, &mut Vec::new());
}

#[test]
fn delta_rule_matches_f64_at_any_size() {
    for (dk, n) in [(128, 32), (1, 1), (4, 3), (16, 16), (33, 31), (64, 17), (127, 32), (256, 32)] {
        for t in [1, 2, 3, 4, 5, 8, 9, 31] {
            // Every token count and every decay at every size, but not each with each.
            for decay in [[0.0, -0.05], [-3.0, -200.0]][(t + dk) % 2] {
                let inputs = Inputs::new(t, dk, n, decay);
                let start = Rng(6).values(dk * STATE_COLS, 0.5);
                let (out, end) = oracle(&inputs.tokens(0..inputs.t), &start, n);
                for kernels in vector_levels() {
                    let what = format!("{} t={t} dk={dk} n={n} decay={decay}", kernels.isa());
                    let mut state = start.clone();
                    let mut buffer = vec![f32::NAN; t * (n + 2)];
                    commit(kernels, &inputs, &mut state, &mut Tile::new(&mut buffer, n + 2).columns(1..n + 1));
                    let mut got = Vec::new();
                    for row in buffer.chunks_exact(n + 2) {
                        assert!(row[0].is_nan() && row[n + 1].is_nan(), "{what}: wrote outside its columns");
                        got.extend_from_slice(&row[1..=n]);
                    }
                    assert_near(&what, &got, &out, 4e-6);
                    let columns =
                        |s: &[f64]| s.chunks_exact(STATE_COLS).flat_map(|r| r[..n].to_vec()).collect::<Vec<_>>();
                    let state: Vec<f32> = state.chunks_exact(STATE_COLS).flat_map(|r| r[..n].to_vec()).collect();
                    assert_near(&what, &state, &columns(&end), 4e-6);
                }
            }
        }
    }
}

#[test]
fn delta_rule_error_does_not_grow_over_a_long_sequence() {
    let inputs = Inputs::new(1000, 64, 8, -0.01);
    let start = vec![0.0; 64 * STATE_COLS];
    let (out, _) = oracle(&inputs.tokens(0..inputs.t), &start, 8);
    for kernels in vector_levels() {
        let (mut state, mut got) = (start.clone(), vec![0.0; 1000 * 8]);
        commit(kernels, &inputs, &mut state, &mut Tile::new(&mut got, 8));
        assert_near(kernels.isa().name(), &got, &out, 1e-5);
    }
}

#[test]
fn delta_rule_leaves_the_state_alone_when_nothing_happens() {
    let mut inputs = Inputs::new(6, 16, 8, 0.0);
    inputs.beta.fill(0.0);
    let start = Rng(9).values(16 * STATE_COLS, 3.0);
    for kernels in vector_levels() {
        let (mut state, mut out) = (start.clone(), vec![0.0; 6 * 8]);
        commit(kernels, &inputs, &mut state, &mut Tile::new(&mut out, 8));
        assert_eq!(state, start, "{}", kernels.isa());
    }
}

#[test]
fn bits_do_not_depend_on_calls_nor_on_when_tokens_are_committed() {
    for (dk, n) in [(128, 32), (33, 31), (16, 16), (1, 1)] {
        let inputs = Inputs::new(60, dk, n, -0.3);
        let mut start = Rng(6).values(dk * STATE_COLS, 0.5);
        start.chunks_exact_mut(STATE_COLS).for_each(|row| row[n..].fill(0.0));
        for kernels in vector_levels() {
            let (mut state, mut expected) = (start.clone(), vec![f32::NAN; 60 * n]);
            commit(kernels, &inputs, &mut state, &mut Tile::new(&mut expected, n));
            for seed in 0..20 {
                let (mut rng, mut scratch) = (Rng(seed), Vec::new());
                let mut below = |n: usize| (rng.next() % n as u64) as usize;
                let (mut got, mut now) = (vec![f32::NAN; 60 * n], start.clone());
                // The tokens `first..done` are in the log, and `u` has their corrected values.
                let (mut first, mut done, mut u) = (0, 0, Vec::new());
                let mut calls = Vec::new();
                while done < 60 || first < done {
                    // Some of the last tokens are taken back.
                    done = first + below(done - first + 1).max(if done == 60 { done - first } else { 0 });
                    u.truncate((done - first) * n);
                    let t = if done == 60 { 0 } else { below(17.min(60 - done) + 1) };
                    let (log, tokens) = (inputs.log(first..done, &u), inputs.tokens(done..done + t));
                    let mut next = vec![f32::NAN; t * n];
                    let (mut o, mut corrected) =
                        (Tile::new(&mut got[done * n..(done + t) * n], n), Tile::new(&mut next, n));
                    let late = below(4) > 0;
                    let writes = if late { Writes::Log(&mut corrected) } else { Writes::Commit };
                    kernels.delta_rule(&log, &tokens, &mut now, writes, &mut o, &mut scratch);
                    assert!(scratch.len() <= delta_scratch_len(dk, done - first, t), "{}", scratch.len());
                    calls.push((done - first, t, late));
                    (first, done) = (if late { done } else { done + t }, done + t);
                    u = if late { next } else { Vec::new() };
                }
                let what = format!("{} dk={dk} n={n}, (logged, new, late): {calls:?}", kernels.isa());
                assert!(got == expected, "outputs of {what}");
                assert!(now == state, "state of {what}");
            }
        }
    }
}

/// The convolution in f64, whole sequence at once, from the file's weights `[n, kernel]`.
fn conv_oracle(x: &[f32], w: &[f32], n: usize, kernel: usize) -> Vec<f64> {
    let at = |t: isize, c: usize| if t < 0 { 0.0 } else { f64::from(x[t as usize * n + c]) };
    (0..x.len())
        .map(|i| {
            let (t, c) = ((i / n) as isize, i % n);
            let taps = (0..kernel).map(|j| f64::from(w[c * kernel + j]) * at(t + 1 + j as isize - kernel as isize, c));
            let sum: f64 = taps.sum();
            sum / (1.0 + (-sum).exp())
        })
        .collect()
}

#[test]
fn convolution_matches_f64_however_the_sequence_is_cut() {
    for kernel in [1, 2, 3, 4, 5, 8] {
        for n in [1, 5, 16, 40, 63, 64, 100, 192] {
            let (tokens, w) = (11, Rng(7).values(n * kernel, 1.0));
            let x = Rng(8).values(tokens * n, 4.0);
            let expected = conv_oracle(&x, &w, n, kernel);
            let blocks = conv_blocks(&w, kernel);
            for kernels in vector_levels() {
                let run = |chunk: usize| {
                    let mut got = x.clone();
                    for (b, w) in blocks.chunks_exact(kernel * CONV_BLOCK).enumerate() {
                        let mut state = vec![0.0; (kernel - 1) * CONV_BLOCK];
                        let columns = b * CONV_BLOCK..n.min((b + 1) * CONV_BLOCK);
                        for rows in got.chunks_mut(chunk * n) {
                            kernels.conv1d_silu(&mut Tile::new(rows, n).columns(columns.clone()), &mut state, w);
                        }
                    }
                    got
                };
                let got = run(11);
                assert_near(&format!("{} kernel={kernel} n={n}", kernels.isa()), &got, &expected, 2e-6);
                for chunk in [1, 2, 5] {
                    assert!(run(chunk) == got, "{} kernel={kernel} n={n} by {chunk}", kernels.isa());
                }
            }
        }
    }
}
