//! The rows of a large vocabulary that matter, and a draw among them.
//!
//! One pass over the logits finds the highest of every [`BLOCK`] rows. The `k`-th highest of these is a bound that at
//! least `k` rows reach, so only blocks that reach it are looked at again, and of them only rows that do. With 248,320
//! rows that leaves a handful. NaN loses every comparison and −∞ is excluded, so neither is ever chosen.

use super::random::Random;
use std::cmp::Ordering;

/// Rows whose maximum is taken together.
const BLOCK: usize = 256;

/// Which tokens may be drawn; see [`super::Settings`].
#[derive(Clone, Copy)]
pub struct Cut {
    pub top_k: usize,
    pub top_p: f32,
    pub min_p: f32,
}

/// Memory kept from one token to the next.
#[derive(Default)]
pub struct Scratch {
    maxima: Vec<f32>,
    sorted: Vec<f32>,
    rows: Vec<Row>,
    weights: Vec<f32>,
}

/// A row that may be drawn. Its weight is `exp((logit − highest) / temperature)`.
#[derive(Clone, Copy)]
struct Row {
    logit: f32,
    id: u32,
}

/// The highest first, and of equals the first; logits that are numbers only.
fn by_rank(a: &Row, b: &Row) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Maximum of the numbers in a block; −∞ if there are none.
fn maximum(block: &[f32]) -> f32 {
    // Written so that it compiles to one vector instruction a vector, which also lets NaN lose.
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (vectors, tail) = block.as_chunks::<16>();
    for vector in vectors {
        for (lane, &x) in lanes.iter_mut().zip(vector) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(tail).fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max })
}

/// The first row with the highest logit.
pub fn highest(logits: &[f32]) -> Option<u32> {
    let mut best = (f32::NEG_INFINITY, 0);
    for (i, block) in logits.chunks(BLOCK).enumerate() {
        let max = maximum(block);
        if max > best.0 {
            best = (max, i);
        }
    }
    let (max, block) = best;
    let start = block * BLOCK;
    let at = logits[start..].iter().position(|&x| x == max)?;
    (max > f32::NEG_INFINITY).then_some((start + at) as u32)
}

/// Draws a row from the softmax of `logits / temperature` as far as `cut` keeps it.
pub fn draw(logits: &[f32], temperature: f32, cut: Cut, random: &mut Random, scratch: &mut Scratch) -> Option<u32> {
    scratch.maxima.clear();
    scratch.maxima.extend(logits.chunks(BLOCK).map(maximum));
    let highest = maximum(&scratch.maxima);
    if highest == f32::NEG_INFINITY {
        return None;
    }
    if highest == f32::INFINITY {
        return logits.iter().position(|&x| x == highest).map(|id| id as u32);
    }
    // Very small temperatures would overflow; by then nothing but the highest has any weight.
    let scale = (1.0 / temperature).min(f32::MAX);
    let weight = |logit: f32| exp((logit - highest) * scale);
    let u = random.next_f64();

    if cut.top_k == 0 && cut.top_p >= 1.0 && cut.min_p <= 0.0 {
        return draw_of_all(logits, weight, u, scratch);
    }
    let n = logits.len();
    let top_k = if cut.top_k == 0 { n } else { cut.top_k.min(n) };
    // Without top-k the probabilities are those among all rows, and the nucleus is searched in ever more of them.
    let (mut k, all) = if cut.top_k == 0 { (512.min(n), Some(total(logits, weight, scratch))) } else { (top_k, None) };
    loop {
        scratch.take_top(logits, k);
        let rows = &mut scratch.rows;
        rows.sort_unstable_by(by_rank);
        let weights = &mut scratch.weights;
        weights.clear();
        weights.extend(rows.iter().map(|row| weight(row.logit)));
        let total = all.unwrap_or_else(|| sum(weights));
        let nucleus = nucleus(weights, f64::from(cut.top_p) * total);
        // Weights descend, and the first is 1.
        let kept = weights.partition_point(|&w| w >= cut.min_p && w > 0.0).max(1);
        let is_whole = rows.len() < k || k == top_k || nucleus.is_some() || kept < weights.len();
        if !is_whole {
            k = k.saturating_mul(8).min(top_k);
            continue;
        }
        let kept = &weights[..kept.min(nucleus.unwrap_or(weights.len()))];
        return pick(kept, u * sum(kept)).map(|at| rows[at].id);
    }
}

/// How many of the descending `weights` it takes to reach `goal`, at least one; `None` if they do not.
fn nucleus(weights: &[f32], goal: f64) -> Option<usize> {
    let mut sum = 0.0;
    let last = weights.iter().position(|&w| {
        sum += f64::from(w);
        sum >= goal
    });
    last.map(|last| last + 1)
}

/// The place where the running sum of `weights` exceeds `goal`, or the last one with any weight.
fn pick(weights: &[f32], goal: f64) -> Option<usize> {
    let mut sum = 0.0;
    let at = weights.iter().position(|&w| {
        sum += f64::from(w);
        sum > goal
    });
    at.or_else(|| weights.iter().rposition(|&w| w > 0.0))
}

fn sum(weights: &[f32]) -> f64 {
    weights.iter().map(|&w| f64::from(w)).sum()
}

/// Sum of the weights of all rows; leaves that of every block in `scratch.weights`.
fn total(logits: &[f32], weight: impl Fn(f32) -> f32, scratch: &mut Scratch) -> f64 {
    scratch.weights.clear();
    scratch.weights.extend(logits.chunks(BLOCK).map(|block| {
        // Sixteen sums side by side, in an order that does not depend on the machine.
        let mut lanes = [0.0; 16];
        let (vectors, tail) = block.as_chunks::<16>();
        for vector in vectors {
            for (lane, &x) in lanes.iter_mut().zip(vector) {
                *lane += weight(x);
            }
        }
        lanes.iter().sum::<f32>() + tail.iter().map(|&x| weight(x)).sum::<f32>()
    }));
    sum(&scratch.weights)
}

/// A draw among all rows: first the block, then the row in it.
fn draw_of_all(logits: &[f32], weight: impl Fn(f32) -> f32, u: f64, scratch: &mut Scratch) -> Option<u32> {
    let goal = u * total(logits, &weight, scratch);
    let block = pick(&scratch.weights, goal)?;
    let before = sum(&scratch.weights[..block]);
    let start = block * BLOCK;
    let rows = &logits[start..logits.len().min(start + BLOCK)];
    scratch.weights.clear();
    scratch.weights.extend(rows.iter().map(|&x| weight(x)));
    pick(&scratch.weights, goal - before).map(|at| (start + at) as u32)
}

impl Scratch {
    /// Leaves the `k` highest rows in `rows`, in no order; fewer if fewer are above −∞.
    fn take_top(&mut self, logits: &[f32], k: usize) {
        let Self { maxima, sorted, rows, .. } = self;
        // The k-th highest maximum: k blocks, so at least k rows, reach it.
        let bound = if k < maxima.len() {
            sorted.clear();
            sorted.extend_from_slice(maxima);
            *sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
        } else {
            f32::NEG_INFINITY
        };
        rows.clear();
        for (i, (block, _)) in logits.chunks(BLOCK).zip(&*maxima).enumerate().filter(|(_, (_, max))| **max >= bound) {
            let reaching = |&(_, x): &(u32, f32)| x >= bound && x > f32::NEG_INFINITY;
            let ids = (i * BLOCK) as u32..;
            rows.extend(ids.zip(block.iter().copied()).filter(reaching).map(|(id, logit)| Row { logit, id }));
        }
        if rows.len() > k {
            rows.select_nth_unstable_by(k - 1, by_rank);
            rows.truncate(k);
        }
    }
}

/// eˣ for x ≤ 0, within 2 ulp; 0 below −87 and for NaN. The same bits on every machine, unlike that of the system's
/// library.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2; eʳ is a polynomial (Cephes, `expf`), and 2ⁿ goes into the exponent.
#[inline]
fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5·2²³ rounds to the nearest integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let inside = x > -87.0;
    let clamped = if inside { x } else { 0.0 };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    if inside { e * power } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_within_two_ulp() {
        let mut x = 0.0f32;
        while x > -87.0 {
            let exact = f64::from(x).exp();
            let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1) - exact as f32);
            let error = (f64::from(exp(x)) - exact).abs() / ulp;
            assert!(error <= 2.0, "exp({x}) is off by {error} ulp");
            x = x * 1.0003 - 1e-4;
        }
        assert_eq!([exp(0.0), exp(-87.5), exp(f32::NEG_INFINITY), exp(f32::NAN)], [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn the_highest_rows_are_found_whatever_their_places() {
        let mut scratch = Scratch::default();
        let mut random = Random::new(3);
        for n in [1, 255, 256, 257, 1000, 10_000] {
            for k in [1, 2, 20, 300, n] {
                let k = k.min(n);
                let logits: Vec<f32> = (0..n).map(|_| (random.next_f64() * 50.0).floor() as f32).collect();
                scratch.maxima.clear();
                scratch.maxima.extend(logits.chunks(BLOCK).map(maximum));
                scratch.take_top(&logits, k);
                let mut found: Vec<u32> = scratch.rows.iter().map(|row| row.id).collect();
                let mut order: Vec<u32> = (0..n as u32).collect();
                order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
                order.truncate(k);
                order.sort_unstable();
                found.sort_unstable();
                assert_eq!(found, order, "n {n} k {k}");
            }
        }
    }
}
