//! The sparse feed-forward (`MODEL.md` §8): a router gives each row to a few of many experts, beside the one that all rows
//! share.
//!
//! ```text
//! p  = softmax(W_router h)                          over all experts, in f32
//! T  = the n_used largest of p                      of equal ones the lower number
//! y  = Σ_{e in T} scale · p_e / Σ_T p · ffn_e(h)    in the order of their numbers
//! y += σ(w_shexp · h) · ffn_shared(h)
//! ```
//!
//! The rows of a pass are sorted by expert, so that the weights of each are read once for all of its rows. The experts of
//! few rows go together, the shared one among them: one parallel region computes gate and up of all, one down. Where experts do not
//! stay in memory, the next are read while these compute ([`super::ffn_slots`]).

use super::Config;
use super::config::ExpertConfig;
use super::ffn_slots::{MOST_TOGETHER, Use};
use super::pass::{BatchLimits, LayerPass};
use super::weights::{Experts, FfnMatrices};
use crate::compute::Compute;
use crate::compute::batch::{Batch, Exactness, RowCounts, products, strip};
use crate::compute::team::{Grid, Phase};

/// Experts that are computed together at most.
const MOST_GROUPS: usize = MOST_TOGETHER;

/// Rows of all of them; one alone may have more.
const MOST_ROWS: usize = 64;

/// A row that an expert gets.
#[derive(Clone, Copy, Debug)]
struct Chosen {
    /// The number of the expert; that of the shared one is behind all others.
    expert: u32,
    row: u32,
    /// What its output is multiplied with.
    weight: f32,
}

/// Buffers of the sparse feed-forward.
pub(super) struct ExpertScratch {
    /// What the router says of each row, then the probabilities `[n, n_expert]`.
    router: Vec<f32>,
    /// The experts of each row `[n, n_used + 1]`, then all by expert and row.
    chosen: Vec<Chosen>,
    wave: WaveScratch,
}

/// Buffers of experts that are computed together.
struct WaveScratch {
    groups: Vec<Group>,
    /// Outputs of the groups, one after the other `[rows, n_embd]`.
    out: Vec<f32>,
}

/// Buffers of one expert's rows.
struct Group {
    /// The rows, where they are not all of the batch `[m, n_embd]`.
    input: Batch,
    /// Gate, then its product with up `[m, n_ff]`.
    inner: Batch,
    up: Vec<f32>,
}

/// How wide an expert is at most.
fn widest(config: &Config, experts: &ExpertConfig) -> usize {
    experts.n_ff.max(config.n_ff)
}

/// The limits of the batches of a group: one of many rows is alone.
fn limits_of(group: usize, limits: BatchLimits) -> BatchLimits {
    let most = if group == 0 { usize::MAX } else { MOST_ROWS };
    BatchLimits { rows: limits.rows.min(most), written: limits.written.min(most) }
}

impl ExpertScratch {
    /// Buffers that grow to what batches within `limits` need; `None` of a dense model.
    pub fn new(config: &Config) -> Option<ExpertScratch> {
        config.experts?;
        let none = BatchLimits { rows: 0, written: 0 };
        let group = |_| Group {
            input: Batch::new(none.shape(config, config.n_embd, false)),
            inner: Batch::new(none.shape(config, config.n_ff, false)),
            up: Vec::new(),
        };
        let groups = (0..MOST_GROUPS).map(group).collect();
        let wave = WaveScratch { groups, out: Vec::new() };
        Some(ExpertScratch { router: Vec::new(), chosen: Vec::new(), wave })
    }

    /// Bytes of these for batches within `limits` at most; sizes beyond the address space count as all of it.
    pub fn bytes(config: &Config, limits: BatchLimits) -> usize {
        let Some(experts) = &config.experts else { return 0 };
        let width = widest(config, experts);
        let rows = limits.rows.max(MOST_ROWS);
        let group = |i| {
            let limits = limits_of(i, limits);
            let batches = [config.n_embd, width].map(|cols| limits.shape(config, cols, false).bytes());
            batches.iter().fold(limits.rows.saturating_mul(4 * width), |sum, bytes| sum.saturating_add(*bytes))
        };
        let chosen = (experts.n_used + 1).saturating_mul(size_of::<Chosen>());
        let row = (4 * experts.n_expert).saturating_add(4 * config.n_embd).saturating_add(2 * chosen);
        (0..MOST_GROUPS).map(group).fold(rows.saturating_mul(row), usize::saturating_add)
    }
}

/// Computes the feed-forward of the normalised rows `pass.h` into `pass.out`.
///
/// # Panics
/// If the pass has no buffers for experts.
pub(super) fn forward(w: &Experts, pass: &mut LayerPass<'_>) {
    let config = pass.config.experts.expect("the model has experts");
    route(w, &config, pass);
    let LayerPass { compute, counts, h, out, experts, .. } = pass;
    let ExpertScratch { chosen, wave: scratch, .. } = experts.as_deref_mut().expect("buffers for experts");
    let mut rows = Rows { counts: *counts, h, out };
    rows.out.fill(0.0);
    let mut visit = w.in_slots.as_ref().map(|in_slots| {
        let uses: Vec<Use> = uses(chosen, config.n_expert).collect();
        let mut visit = in_slots.begin(&uses);
        visit.count(&uses, counts.total(), counts.prompt == 0);
        visit
    });
    let mut rest = &chosen[..];
    while !rest.is_empty() {
        let wave = Wave::next(&mut rest);
        let Some(visit) = &mut visit else {
            let ffns = wave.experts().map(|i| w.expert(i as usize).mapped());
            wave.run(&ffns.collect::<Vec<_>>(), compute, &mut rows, scratch);
            continue;
        };
        let own: Vec<u32> = wave.experts().filter(|&i| (i as usize) < config.n_expert).collect();
        visit.fetch(&own);
        let matrices = |i: u32| if (i as usize) < config.n_expert { visit.matrices(i) } else { w.shared.mapped() };
        wave.run(&wave.experts().map(matrices).collect::<Vec<_>>(), compute, &mut rows, scratch);
        visit.release(&own);
    }
}

/// How often each expert is used, of rows sorted by expert; not the shared one.
fn uses(chosen: &[Chosen], n_expert: usize) -> impl Iterator<Item = Use> {
    let own = &chosen[..chosen.partition_point(|chosen| (chosen.expert as usize) < n_expert)];
    own.chunk_by(|a, b| a.expert == b.expert).map(|rows| Use { ffn: rows[0].expert, rows: rows.len() as u32 })
}

/// Finds the experts of every row, and sorts what is to be done by expert.
fn route(w: &Experts, config: &ExpertConfig, pass: &mut LayerPass<'_>) {
    let LayerPass { compute, counts, h, experts, .. } = pass;
    let ExpertScratch { router, chosen, .. } = experts.as_deref_mut().expect("buffers for experts");
    let (n, n_expert) = (counts.total(), config.n_expert);
    router.resize(n * n_expert, 0.0);
    products(compute, h, Phase::Products, [(w.ffn_gate_inp.matrix(), Exactness::Plain, &mut router[..])]);
    let nobody = Chosen { expert: 0, row: 0, weight: 0.0 };
    chosen.clear();
    chosen.resize(n * (config.n_used + 1), nobody);
    let n_embd = w.ffn_gate_inp_shexp.len();
    compute.team.split2((&mut router[..], n_expert), (&mut chosen[..], config.n_used + 1), |row, logits, chosen| {
        let (shared, picked) = chosen.split_last_mut().expect("room for the shared one");
        choose(logits, config.scale, picked);
        picked.iter_mut().for_each(|chosen| chosen.row = row as u32);
        let gate = dot(&w.ffn_gate_inp_shexp, &h.x[row * n_embd..][..n_embd]);
        *shared = Chosen { expert: n_expert as u32, row: row as u32, weight: 1.0 / (1.0 + (-gate).exp()) };
    });
    chosen.sort_unstable_by_key(|chosen| (chosen.expert, chosen.row));
}

/// The experts with the largest probabilities, and their weights, for a row of the router's outputs. What is no number
/// counts as the largest, so that it is not passed over.
fn choose(logits: &mut [f32], scale: f32, picked: &mut [Chosen]) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter_mut().for_each(|logit| *logit = (*logit - most).exp());
    let sum: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|p| *p /= sum);
    let n = picked.len();
    let mut found = 0;
    for (expert, &p) in logits.iter().enumerate() {
        // Behind all that are as large: of equal ones the lower number stays.
        let place = picked[..found].partition_point(|other| other.weight.total_cmp(&p).is_ge());
        if place < n {
            found = (found + 1).min(n);
            picked[place..found].rotate_right(1);
            picked[place] = Chosen { expert: expert as u32, row: 0, weight: p };
        }
    }
    let sum: f32 = picked.iter().map(|chosen| chosen.weight).sum();
    picked.iter_mut().for_each(|chosen| chosen.weight = scale * (chosen.weight / sum));
}

/// The product of two vectors, in eight sums.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// The rows of a pass: what experts read, and where they add what they make of it.
struct Rows<'a> {
    counts: RowCounts,
    /// `[n, n_embd]`.
    h: &'a Batch,
    /// `[n, n_embd]`.
    out: &'a mut [f32],
}

/// Experts that are computed together, with their rows.
struct Wave<'c> {
    groups: Vec<&'c [Chosen]>,
}

impl<'c> Wave<'c> {
    /// The next ones of what is left to do.
    fn next(rest: &mut &'c [Chosen]) -> Wave<'c> {
        let (mut groups, mut n_row) = (Vec::with_capacity(MOST_GROUPS), 0);
        while let Some(first) = rest.first() {
            let n = rest.partition_point(|chosen| chosen.expert == first.expert);
            if groups.len() == MOST_GROUPS || (!groups.is_empty() && n_row + n > MOST_ROWS) {
                break;
            }
            let (group, others) = rest.split_at(n);
            groups.push(group);
            (*rest, n_row) = (others, n_row + n);
        }
        Wave { groups }
    }

    /// The numbers of the experts, ascending.
    fn experts(&self) -> impl Iterator<Item = u32> {
        self.groups.iter().map(|group| group[0].expert)
    }

    /// Adds to the rows what these experts make of them; `ffns` are their matrices.
    fn run(&self, ffns: &[FfnMatrices<'_>], compute: &mut Compute, rows: &mut Rows<'_>, scratch: &mut WaveScratch) {
        let Rows { counts, h, out } = rows;
        let WaveScratch { groups: buffers, out: partial } = scratch;
        let (kernels, n_embd) = (compute.kernels, ffns[0].ffn_down.rows());
        let has_all = |group: &[Chosen]| group.len() == counts.total();
        for ((group, ffn), Group { input, inner, up }) in self.groups.iter().zip(ffns).zip(&mut *buffers) {
            let prompt = group.partition_point(|chosen| (chosen.row as usize) < counts.prompt);
            let own = RowCounts { prompt, written: group.len() - prompt };
            if !has_all(group) {
                input.reshape(own, n_embd);
                input.fill(compute, |i, x| x.copy_from_slice(&h.x[group[i].row as usize * n_embd..][..n_embd]));
            }
            inner.reshape(own, ffn.ffn_gate.rows());
            up.resize(inner.x.len(), 0.0);
        }

        let n_wide = ffns.iter().map(|ffn| ffn.ffn_gate.rows()).sum();
        let width = strip(n_wide, compute.team.threads());
        let (mut inputs, mut twins) = (Vec::with_capacity(ffns.len()), Vec::with_capacity(ffns.len()));
        for ((group, ffn), Group { input, inner, up }) in self.groups.iter().zip(ffns).zip(&mut *buffers) {
            let n_ff = ffn.ffn_gate.rows();
            inputs.push(if has_all(group) { *h } else { &*input });
            twins.push((Grid::strips(&mut inner.x, n_ff, width), Grid::strips(up, n_ff, width)));
        }
        compute.team.enter(Phase::Products);
        compute.team.twins_with(&twins, |arena, i, cols, mut gate, mut up| {
            let (x, FfnMatrices { ffn_gate, ffn_up, .. }) = (inputs[i], ffns[i]);
            x.multiply(kernels, arena, ffn_gate.slice_rows(cols.clone()), Exactness::Plain, &mut gate);
            x.multiply(kernels, arena, ffn_up.slice_rows(cols), Exactness::Plain, &mut up);
            for r in 0..gate.rows() {
                kernels.silu_mul(gate.row_mut(r), up.row(r));
            }
        });
        drop(twins);
        compute.team.enter(Phase::Other);

        let inner = &mut buffers[..ffns.len()];
        inner.iter_mut().for_each(|Group { inner, .. }| inner.fill(compute, |_, _| {}));
        let n_row: usize = self.groups.iter().map(|group| group.len()).sum();
        partial.resize(n_row * n_embd, 0.0);
        let width = strip(n_embd * ffns.len(), compute.team.threads());
        let (mut grids, mut left) = (Vec::with_capacity(ffns.len()), &mut partial[..]);
        for group in &self.groups {
            let (own, others) = left.split_at_mut(group.len() * n_embd);
            grids.push(Grid::strips(own, n_embd, width));
            left = others;
        }
        compute.team.enter(Phase::Products);
        compute.team.grids_with(&mut grids, |arena, i, _, cols, mut y| {
            let down = ffns[i].ffn_down.slice_rows(cols);
            inner[i].inner.multiply(kernels, arena, down, Exactness::Plain, &mut y);
        });
        drop(grids);
        compute.team.enter(Phase::Other);

        let partial = &partial[..];
        compute.team.split(out, n_embd, |row, y| {
            let mut first = 0;
            for group in &self.groups {
                if let Ok(i) = group.binary_search_by_key(&(row as u32), |chosen| chosen.row) {
                    let made = &partial[(first + i) * n_embd..][..n_embd];
                    y.iter_mut().zip(made).for_each(|(y, made)| *y += group[i].weight * made);
                }
                first += group.len();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(logits: &[f32], scale: f32, n: usize) -> Vec<(u32, f32)> {
        let mut picked = vec![Chosen { expert: 0, row: 0, weight: 0.0 }; n];
        choose(&mut logits.to_vec(), scale, &mut picked);
        picked.iter().map(|chosen| (chosen.expert, chosen.weight)).collect()
    }

    #[test]
    fn the_largest_are_chosen_and_their_weights_add_up_to_the_scale() {
        let picked = chosen(&[0.0, 2.0, -1.0, 1.0, 0.5], 2.0, 2);
        assert_eq!(picked.iter().map(|(expert, _)| *expert).collect::<Vec<_>>(), [1, 3]);
        let ratio = picked[0].1 / picked[1].1;
        assert!((ratio - 1f32.exp()).abs() < 1e-5 && (picked[0].1 + picked[1].1 - 2.0).abs() < 1e-6, "{picked:?}");
    }

    #[test]
    fn of_equal_ones_the_lower_number_is_chosen() {
        let experts =
            |n| chosen(&[1.0, 3.0, 3.0, 1.0, 3.0, 1.0], 1.0, n).into_iter().map(|(e, _)| e).collect::<Vec<_>>();
        assert_eq!((experts(2), experts(3), experts(5)), (vec![1, 2], vec![1, 2, 4], vec![1, 2, 4, 0, 3]));
        assert_eq!(experts(6), [1, 2, 4, 0, 3, 5]);
    }

    #[test]
    fn what_is_no_number_is_not_passed_over() {
        assert!(chosen(&[1.0, f32::NAN, 2.0], 1.0, 2).iter().any(|(_, weight)| weight.is_nan()));
        assert!(chosen(&[f32::NAN; 3], 1.0, 2).iter().all(|(_, weight)| weight.is_nan()));
    }

    #[test]
    fn waves_have_every_row_once_and_few_rows_or_one_expert() {
        let sizes = [3usize, 70, 1, 60, 3, 2, 64, 1].into_iter().chain(std::iter::repeat_n(1, 40));
        let all: Vec<Chosen> = sizes
            .enumerate()
            .flat_map(|(e, n)| (0..n).map(move |r| Chosen { expert: e as u32, row: r as u32, weight: 1.0 }))
            .collect();
        let (mut rest, mut n_seen) = (&all[..], 0);
        while !rest.is_empty() {
            let wave = Wave::next(&mut rest);
            let n: usize = wave.groups.iter().map(|group| group.len()).sum();
            assert!(wave.groups.len() <= MOST_GROUPS && (n <= MOST_ROWS || wave.groups.len() == 1));
            n_seen += n;
        }
        assert_eq!(n_seen, all.len());
    }
}
