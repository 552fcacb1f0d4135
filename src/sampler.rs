//! From logits to a token: penalties, temperature, top-k, top-p, min-p, and a seeded draw.
//!
//! The order is that of the published settings' own runtimes: penalties, temperature, top-k, top-p, min-p. Penalties
//! look at the tokens written so far, not at the prompt. The work is one pass over the vocabulary that keeps the k
//! likeliest; everything else is done on those.

use std::cmp::Ordering;

/// How a token is chosen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Divides the logits, ≥ 0; 0 always takes the likeliest token.
    pub temperature: f32,
    /// Tokens to choose among; 0 is all.
    pub top_k: usize,
    /// Choose among the likeliest that together reach this probability, in (0, 1].
    pub top_p: f32,
    /// Drop tokens below this share of the likeliest one's probability, in `0..=1`.
    pub min_p: f32,
    /// Subtracted from the logit of each token written before.
    pub presence_penalty: f32,
    /// Subtracted from the logit of a token for each time it was written before.
    pub frequency_penalty: f32,
    /// Divides positive and multiplies negative logits of tokens written before, > 0; 1 is none.
    pub repetition_penalty: f32,
}

impl Settings {
    /// Always the likeliest token.
    pub const fn greedy() -> Settings {
        Settings::of(0.0, 0, 1.0, 0.0)
    }

    /// The settings published for a model of width `n_embd` (sheet `qwen35-model.md` §12). The cards of the 2B and 9B
    /// are taken to equal those of the 0.8B and 4B.
    pub fn published(n_embd: usize, thinking: bool, vision: bool) -> Settings {
        match (n_embd <= 2048, thinking, vision) {
            (true, false, false) => Settings::of(1.0, 20, 1.0, 2.0),
            (true, false, true) => Settings::of(0.7, 20, 0.8, 1.5),
            (true, true, false) => Settings::of(1.0, 20, 0.95, 1.5),
            (true, true, true) => Settings::of(0.6, 20, 0.95, 0.0),
            (false, true, _) => Settings::of(1.0, 20, 0.95, 1.5),
            (false, false, _) => Settings::of(0.7, 20, 0.8, 1.5),
        }
    }

    const fn of(temperature: f32, top_k: usize, top_p: f32, presence_penalty: f32) -> Settings {
        let (min_p, frequency_penalty, repetition_penalty) = (0.0, 0.0, 1.0);
        Settings { temperature, top_k, top_p, min_p, presence_penalty, frequency_penalty, repetition_penalty }
    }

    /// Whether every value is in its range.
    ///
    /// # Errors
    /// A sentence naming the first that is not.
    pub fn check(&self) -> Result<(), String> {
        let checks = [
            ("temperature", self.temperature, self.temperature >= 0.0, "0 or more"),
            ("top-p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1"),
            ("min-p", self.min_p, (0.0..=1.0).contains(&self.min_p), "0 to 1"),
            ("presence penalty", self.presence_penalty, true, "a number"),
            ("frequency penalty", self.frequency_penalty, true, "a number"),
            ("repetition penalty", self.repetition_penalty, self.repetition_penalty > 0.0, "above 0"),
        ];
        match checks.into_iter().find(|(_, value, good, _)| !good || !value.is_finite()) {
            Some((name, value, _, range)) => Err(format!("the {name} must be {range}, not {value}")),
            None => Ok(()),
        }
    }
}

/// Chooses tokens; owns its random numbers and its memory of what was written.
pub struct Sampler {
    settings: Settings,
    rng: Rng,
    banned: Vec<u32>,
    /// Tokens written so far with their counts, in order of first appearance.
    written: Vec<(u32, u32)>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    logit: f32,
}

impl Sampler {
    /// A sampler; the same seed makes the same choices from the same logits.
    pub fn new(settings: Settings, seed: u64) -> Sampler {
        Sampler { settings, rng: Rng::new(seed), banned: Vec::new(), written: Vec::new(), candidates: Vec::new() }
    }

    /// Never chooses these tokens: the padding rows of a vocabulary.
    pub fn ban(&mut self, ids: impl Iterator<Item = u32>) {
        self.banned.extend(ids);
    }

    /// Notes a token as written.
    pub fn accept(&mut self, id: u32) {
        match self.written.iter_mut().find(|(written, _)| *written == id) {
            Some((_, count)) => *count += 1,
            None => self.written.push((id, 1)),
        }
    }

    /// Forgets what was written: a new answer begins.
    pub fn forget(&mut self) {
        self.written.clear();
    }

    /// Chooses a token from `logits [n_vocab]`, which it changes. Logits that are not numbers count as impossible; if
    /// all are, the first token that is not banned is chosen.
    ///
    /// # Panics
    /// If there are no logits.
    pub fn sample(&mut self, logits: &mut [f32]) -> u32 {
        self.penalize(logits);
        if self.settings.temperature == 0.0 {
            return argmax(logits);
        }
        let k = if self.settings.top_k == 0 { logits.len() } else { self.settings.top_k };
        self.collect(logits, k);
        let Some(&Candidate { logit: max, id: first }) = self.candidates.first() else { return argmax(logits) };
        if max == f32::INFINITY {
            return first;
        }
        let temperature = f64::from(self.settings.temperature);
        let weight = |c: &Candidate| (f64::from(c.logit - max) / temperature).exp();
        let total: f64 = self.candidates.iter().map(weight).sum();

        // The candidates are sorted, so what top-p and min-p keep is a prefix.
        let (mut kept, mut mass) = (0, 0.0);
        for candidate in &self.candidates {
            let w = weight(candidate);
            let enough = mass >= f64::from(self.settings.top_p) * total;
            if kept > 0 && (enough || w < f64::from(self.settings.min_p)) {
                break;
            }
            mass += w;
            kept += 1;
        }
        let mut point = self.rng.unit() * mass;
        for candidate in &self.candidates[..kept] {
            point -= weight(candidate);
            if point < 0.0 {
                return candidate.id;
            }
        }
        self.candidates[kept - 1].id
    }

    fn penalize(&self, logits: &mut [f32]) {
        let s = &self.settings;
        for &(id, count) in &self.written {
            let Some(logit) = logits.get_mut(id as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / s.repetition_penalty } else { *logit * s.repetition_penalty };
            *logit -= s.presence_penalty + s.frequency_penalty * count as f32;
        }
        for &id in &self.banned {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }

    /// Collects the `k` largest logits, sorted from the largest; equal ones by id.
    fn collect(&mut self, logits: &[f32], k: usize) {
        /// Logits looked at together: their maximum is one short vector loop.
        const BLOCK: usize = 64;
        /// Candidates are thinned out to k when there are this many more.
        const SLACK: usize = 256;
        let candidates = &mut self.candidates;
        candidates.clear();
        let by_rank = |a: &Candidate, b: &Candidate| b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id));
        // Everything up to this cannot be among the k largest.
        let mut threshold = f32::NEG_INFINITY;
        for (i, block) in logits.chunks(BLOCK).enumerate() {
            // Comparisons with NaN are false, which is how such logits drop out.
            if !block.iter().fold(false, |any, &logit| any | (logit > threshold)) {
                continue;
            }
            let ids = (i * BLOCK) as u32..;
            let better = ids.zip(block).filter(|(_, logit)| **logit > threshold);
            candidates.extend(better.map(|(id, &logit)| Candidate { id, logit }));
            if candidates.len() >= k.saturating_add(SLACK) {
                candidates.select_nth_unstable_by(k - 1, by_rank);
                candidates.truncate(k);
                threshold = candidates[k - 1].logit;
            }
        }
        candidates.sort_unstable_by(by_rank);
        candidates.truncate(k);
    }
}

/// The largest logit's index, the first of equal ones; NaN counts as impossible.
fn argmax(logits: &[f32]) -> u32 {
    assert!(!logits.is_empty(), "no logits");
    let rank = |logit: f32| if logit.is_nan() { f32::NEG_INFINITY } else { logit };
    let better = |best: (u32, f32), (id, logit): (u32, f32)| match logit.partial_cmp(&best.1) {
        Some(Ordering::Greater) => (id, logit),
        _ => best,
    };
    (0..).zip(logits.iter().map(|&l| rank(l))).fold((0, f32::NEG_INFINITY), better).0
}

/// xoshiro256++ (Blackman and Vigna, 2019), seeded by splitmix64.
struct Rng([u64; 4]);

impl Rng {
    fn new(mut seed: u64) -> Rng {
        Rng(std::array::from_fn(|_| {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Settings {
        Settings { temperature: 1.0, ..Settings::greedy() }
    }

    /// Shares of 20,000 draws.
    fn shares(settings: Settings, logits: &[f32]) -> Vec<f64> {
        let mut sampler = Sampler::new(settings, 7);
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..20_000 {
            counts[sampler.sample(&mut logits.to_vec()) as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.5f32, -1.0, 2.0, 0.0];
        let total: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        for (share, &logit) in shares(plain(), &logits).iter().zip(&logits) {
            assert!((share - f64::from(logit).exp() / total).abs() < 0.015);
        }
    }

    #[test]
    fn filters_keep_what_they_should() {
        // Probabilities 0.5, 0.3, 0.2.
        let logits = [0.3f32.ln(), 0.5f32.ln(), 0.2f32.ln()];
        let kept = |s| shares(s, &logits).iter().map(|&p| p > 0.0).collect::<Vec<_>>();
        assert_eq!(kept(Settings { top_k: 2, ..plain() }), [true, true, false]);
        assert_eq!(kept(Settings { top_p: 0.75, ..plain() }), [true, true, false]);
        assert_eq!(kept(Settings { top_p: 0.45, ..plain() }), [false, true, false]);
        assert_eq!(kept(Settings { min_p: 0.5, ..plain() }), [true, true, false]);
        assert_eq!(kept(Settings { temperature: 0.0, ..plain() }), [false, true, false]);
    }

    #[test]
    fn the_k_largest_of_a_large_vocabulary_are_found() {
        let logits: Vec<f32> = (0..248_320u64).map(|i| (i * 2_654_435_761 % 1_000_003) as f32).collect();
        let mut sorted: Vec<u32> = (0..logits.len() as u32).collect();
        sorted.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        for k in [1, 20, 1000] {
            let mut sampler = Sampler::new(plain(), 1);
            sampler.collect(&logits, k);
            assert!(sampler.candidates.iter().map(|c| c.id).eq(sorted[..k].iter().copied()));
        }
    }

    #[test]
    fn banned_and_impossible_tokens_are_never_chosen() {
        let mut sampler = Sampler::new(plain(), 3);
        sampler.ban([0, 3].into_iter());
        for _ in 0..200 {
            assert_eq!(sampler.sample(&mut [9.0, 1.0, f32::NAN, 9.0, f32::NEG_INFINITY]), 1);
        }
        let mut greedy = Sampler::new(Settings::greedy(), 3);
        greedy.ban([0].into_iter());
        assert_eq!(greedy.sample(&mut [9.0, f32::NAN, 1.0]), 2);
    }

    #[test]
    fn penalties_push_down_what_was_written() {
        let mut sampler = Sampler::new(Settings { presence_penalty: 2.0, ..Settings::greedy() }, 0);
        assert_eq!(sampler.sample(&mut [3.0, 2.0]), 0);
        sampler.accept(0);
        assert_eq!(sampler.sample(&mut [3.0, 2.0]), 1);
        sampler.forget();
        assert_eq!(sampler.sample(&mut [3.0, 2.0]), 0);
    }

    #[test]
    fn a_seed_repeats_itself() {
        let draw = |seed| {
            let mut sampler = Sampler::new(plain(), seed);
            (0..50).map(|_| sampler.sample(&mut [0.0; 100])).collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
