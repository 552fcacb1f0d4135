//! Routers that prefer some experts, as trained ones do.
//!
//! A router has no bias, and the rows it sees have no direction in common. But an expert whose row of the router is longer
//! gets larger numbers, of either sign, and is more often among the highest: where a number has standard deviation `a`, it is
//! above a threshold `t` in the share `Q(t / a)` of all rows, with `Q` the upper tail of the normal distribution. So the share
//! of rows that an expert is to be used by gives the length of its row. The threshold is not the same for every row, so the
//! share comes out about right, and that of the rarest experts somewhat too high.

use super::random::Rng;

/// The share of rows that the most used expert has at most: with a half the length of its row would have no end.
const MOST: f64 = 0.45;

/// A router `[n_expert, n_embd]` that gives the expert of rank r, from 1, a share of rows in proportion to r^-skew. Which
/// expert has which rank is left to chance.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Router {
    pub n_expert: usize,
    pub n_used: usize,
    pub n_embd: usize,
    pub skew: f32,
}

impl Router {
    /// The share of rows that the experts are used by, by rank; their sum is `n_used`.
    fn shares(&self) -> Vec<f64> {
        let shares = |scale: f64| {
            (1..=self.n_expert).map(move |rank| (scale * (rank as f64).powf(-f64::from(self.skew))).min(MOST))
        };
        let (mut low, mut high) = (0.0, self.n_expert as f64 * (self.n_expert as f64).powf(f64::from(self.skew)));
        for _ in 0..200 {
            let middle = f64::midpoint(low, high);
            if shares(middle).sum::<f64>() < self.n_used as f64 { low = middle } else { high = middle }
        }
        shares(high).collect()
    }

    /// The standard deviations of the experts' numbers by rank; 1 of one that is used by its equal share.
    fn spreads(&self) -> Vec<f32> {
        let threshold = tail_begins(self.n_used as f64 / self.n_expert as f64);
        self.shares().into_iter().map(|share| (threshold / tail_begins(share)) as f32).collect()
    }

    /// The ranks of the experts, from 0.
    fn ranks(&self, rng: &Rng) -> Vec<usize> {
        let mut rng = rng.fork(u64::MAX);
        let mut ranks: Vec<usize> = (0..self.n_expert).collect();
        for i in (1..self.n_expert).rev() {
            ranks.swap(i, (rng.next() % (i as u64 + 1)) as usize);
        }
        ranks
    }

    /// Fills the values from byte `at` of the tensor on.
    pub fn fill(&self, rng: &Rng, at: usize, out: &mut [u8]) {
        let (ranks, spreads) = (self.ranks(rng), self.spreads());
        let unit = (3.0 / self.n_embd as f32).sqrt();
        let (values, _) = out.as_chunks_mut();
        let (mut row, mut of_row) = (usize::MAX, rng.clone());
        for (i, value) in values.iter_mut().enumerate() {
            let (expert, col) = ((at / 4 + i) / self.n_embd, (at / 4 + i) % self.n_embd);
            if expert != row {
                (row, of_row) = (expert, rng.fork(expert as u64));
                (0..col).for_each(|_| _ = of_row.next());
            }
            *value = (spreads[ranks[expert]] * unit * of_row.signed()).to_le_bytes();
        }
    }
}

/// Where the upper tail of the normal distribution begins that holds `share` of it, below a half.
fn tail_begins(share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if tail(middle) > share { low = middle } else { high = middle }
    }
    high
}

/// The share of the normal distribution above `x`, which is not negative: the integral of the density by Simpson's rule.
fn tail(x: f64) -> f64 {
    const STEPS: usize = 200;
    let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let step = 10.0 / STEPS as f64;
    let weight = |i: usize| if i == 0 || i == STEPS { 1.0 } else { 2.0 + 2.0 * (i % 2) as f64 };
    (0..=STEPS).map(|i| weight(i) * density(x + i as f64 * step)).sum::<f64>() * step / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares of rows that the experts of a router are used by, by expert, where rows are random.
    fn measured(router: &Router, rng: &Rng, n_row: usize) -> Vec<f64> {
        let mut bytes = vec![0; 4 * router.n_expert * router.n_embd];
        // In two parts, as large ones are made.
        let (first, second) = bytes.split_at_mut(4 * (5 * router.n_embd / 2));
        router.fill(rng, 0, first);
        router.fill(rng, first.len(), second);
        let weights: Vec<f32> = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let (mut uses, mut noise) = (vec![0usize; router.n_expert], Rng::new(99));
        for _ in 0..n_row {
            let x: Vec<f32> = (0..router.n_embd).map(|_| noise.signed()).collect();
            let dot = |w: &[f32]| w.iter().zip(&x).map(|(w, x)| w * x).sum::<f32>();
            let logits: Vec<f32> = weights.chunks(router.n_embd).map(dot).collect();
            let mut order: Vec<usize> = (0..router.n_expert).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
            order[..router.n_used].iter().for_each(|e| uses[*e] += 1);
        }
        uses.into_iter().map(|n| n as f64 / n_row as f64).collect()
    }

    #[test]
    fn experts_are_used_by_rank_as_the_skew_says() {
        for skew in [0.5, 1.0] {
            let router = Router { n_expert: 64, n_used: 4, n_embd: 64, skew };
            let rng = Rng::new(5);
            let (found, ranks, expected) = (measured(&router, &rng, 4000), router.ranks(&rng), router.shares());
            let mut by_rank = vec![0.0; router.n_expert];
            ranks.iter().zip(&found).for_each(|(rank, share)| by_rank[*rank] = *share);
            // By groups of ranks, so that chance averages out.
            for ranks in [0..1, 1..2, 2..4, 4..8, 8..16, 16..32, 32..64] {
                let sum = |shares: &[f64]| shares[ranks.clone()].iter().sum::<f64>();
                let (found, expected) = (sum(&by_rank), sum(&expected));
                println!("skew {skew}, ranks {ranks:?}: {found:.3}, expected {expected:.3}");
                assert!((found / expected - 1.0).abs() < 0.25, "skew {skew}, {ranks:?}: {found} of {expected}");
            }
        }
    }

    #[test]
    fn shares_add_up_and_fall_as_a_power_of_the_rank() {
        let router = Router { n_expert: 256, n_used: 8, n_embd: 16, skew: 1.0 };
        let shares = router.shares();
        assert!((shares.iter().sum::<f64>() - 8.0).abs() < 1e-9);
        assert!(shares[0] <= MOST && (shares[9] / shares[99] - 10.0).abs() < 1e-9, "{shares:?}");
        let even = Router { skew: 0.0, ..router };
        assert!(even.spreads().iter().all(|spread| (spread - 1.0).abs() < 1e-5));
    }

    #[test]
    fn other_layers_prefer_other_experts() {
        let router = Router { n_expert: 64, n_used: 4, n_embd: 16, skew: 1.0 };
        assert_ne!(router.ranks(&Rng::new(1)), router.ranks(&Rng::new(2)));
    }

    #[test]
    fn the_tail_of_the_normal_distribution_is_where_tables_have_it() {
        for (share, begins) in [(0.5, 0.0), (0.158_655_25, 1.0), (0.022_750_13, 2.0), (0.001_349_9, 3.0)] {
            assert!((tail_begins(share) - begins).abs() < 1e-5, "{share}: {}", tail_begins(share));
        }
    }
}
