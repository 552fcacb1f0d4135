//! From logits to the next token: penalties, temperature, cuts, and one seeded draw.
//!
//! The order is that of the libraries whose settings the model cards give: biases, penalties, temperature, top-k, top-p,
//! min-p.
//! The same seed, settings and logits give the same tokens on every machine: everything is done in IEEE additions,
//! multiplications and comparisons in a fixed order, the exponential included.
//!
//! A row whose logit is NaN or −∞ is never drawn.

pub mod loops;
mod random;
mod select;

use random::Random;
pub(crate) use select::highest;
use std::collections::HashMap;

/// How to choose among tokens. The default settings draw from the model's own distribution.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Settings {
    /// Logits are divided by it; 0 takes the token with the highest logit, whatever else is set but the penalties.
    pub temperature: f32,
    /// Keep the so many highest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest of the highest tokens that together have this probability, of those that top-k kept; 1 keeps
    /// all. At least one is kept.
    pub top_p: f32,
    /// Keep the tokens that have at least this share of the probability of the highest; 0 keeps all.
    pub min_p: f32,
    /// Subtracted once from the logit of every token in the answer.
    pub presence_penalty: f32,
    /// Subtracted from the logit of a token for every time it is in the answer.
    pub frequency_penalty: f32,
    /// Divides a positive logit, and multiplies a negative one, of every token in the prompt or the answer, as the
    /// libraries do for which such values are published; 1 is none.
    pub repetition_penalty: f32,
}

/// A setting that makes no sense.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("the {name} must be {expected}, not {found}")]
#[non_exhaustive]
pub struct OutOfRange {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub found: f32,
    /// What would do.
    pub expected: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
        }
    }
}

impl Settings {
    /// Always the token with the highest logit.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// The settings that the cards recommend for a model, the `large` ones (from 4B on) or the others. What they say of 0.8B
    /// is taken to hold for 2B, and of 4B for all above; that of 4B names none for pictures. The files themselves carry no
    /// settings.
    pub fn published(large: bool, thinking: bool, vision: bool) -> Self {
        let (temperature, top_p, presence_penalty) = match (!large, thinking, vision) {
            (true, false, false) => (1.0, 1.0, 2.0),
            (true, true, true) => (0.6, 0.95, 0.0),
            (_, true, _) => (1.0, 0.95, 1.5),
            (_, false, _) => (0.7, 0.8, 1.5),
        };
        Self { temperature, top_p, top_k: 20, presence_penalty, ..Self::default() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first one outside its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let checks = [
            ("temperature", self.temperature, self.temperature >= 0.0, "0 or more"),
            ("top-p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1"),
            ("min-p", self.min_p, (0.0..=1.0).contains(&self.min_p), "0 to 1"),
            ("presence penalty", self.presence_penalty, true, "a number"),
            ("frequency penalty", self.frequency_penalty, true, "a number"),
            ("repetition penalty", self.repetition_penalty, self.repetition_penalty > 0.0, "above 0"),
        ];
        match checks.into_iter().find(|(_, value, holds, _)| !holds || !value.is_finite()) {
            Some((name, found, _, expected)) => Err(OutOfRange { name, found, expected }),
            None => Ok(()),
        }
    }

    /// Whether chance has a part in the choice, rather than the highest logit alone.
    pub fn is_random(&self) -> bool {
        self.temperature != 0.0 && self.top_k != 1
    }

    fn has_penalties(&self) -> bool {
        self.presence_penalty != 0.0 || self.frequency_penalty != 0.0 || self.repetition_penalty != 1.0
    }
}

/// Chooses tokens; knows what it has seen of the text.
pub struct Sampler {
    settings: Settings,
    random: Random,
    /// Rows that are never drawn.
    banned: Vec<u32>,
    /// What is added to the logits of rows.
    biases: Vec<(u32, f32)>,
    /// Every token of prompt and answer, and how often it is in the answer.
    seen: HashMap<u32, u32>,
    scratch: select::Scratch,
}

impl Sampler {
    /// A sampler at the start of a text.
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            random: Random::new(seed),
            banned: Vec::new(),
            biases: Vec::new(),
            seen: HashMap::new(),
            scratch: select::Scratch::default(),
        }
    }

    /// How tokens are chosen.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Chooses otherwise from now on; the random numbers go on.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Never draws these rows, such as padding.
    pub fn ban(&mut self, ids: impl IntoIterator<Item = u32>) {
        self.banned.extend(ids);
    }

    /// Adds to the logits of these rows from now on; what is not in the vocabulary is ignored.
    pub fn bias(&mut self, biases: impl IntoIterator<Item = (u32, f32)>) {
        self.biases.extend(biases);
    }

    /// Tells the sampler of tokens of the prompt, which the repetition penalty alone is about.
    pub fn see_prompt(&mut self, ids: impl IntoIterator<Item = u32>) {
        if self.settings.repetition_penalty != 1.0 {
            for id in ids {
                self.seen.entry(id).or_insert(0);
            }
        }
    }

    /// Tells the sampler that a token is now part of the answer.
    pub fn accept(&mut self, id: u32) {
        if self.settings.has_penalties() {
            *self.seen.entry(id).or_insert(0) += 1;
        }
    }

    /// Forgets prompt and answer; the random numbers go on.
    pub fn forget(&mut self) {
        self.seen.clear();
    }

    /// Chooses the next token from `logits [n_vocab]`. Those of banned, biased and penalised tokens are overwritten.
    ///
    /// It is not taken for part of the answer until [`Sampler::accept`]. If no row can be drawn, because all are banned,
    /// NaN or −∞, the answer is the first row that is not banned, or row 0, also where there are no rows.
    pub fn sample(&mut self, logits: &mut [f32]) -> u32 {
        for &(id, bias) in &self.biases {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += bias;
            }
        }
        self.penalise(logits, |id| Some(id as usize));
        for &id in &self.banned {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let Settings { temperature, top_k, top_p, min_p, .. } = self.settings;
        let drawn = if self.settings.is_random() {
            let cut = select::Cut { top_k, top_p, min_p };
            select::draw(logits, temperature, cut, &mut self.random, &mut self.scratch)
        } else {
            select::highest(logits)
        };
        drawn.unwrap_or_else(|| {
            let first = (0..logits.len() as u32).find(|id| !self.banned.contains(id));
            first.unwrap_or(0)
        })
    }

    /// Penalises what was seen of the text in `logits`, where `place` says at which place a token's is, if there is one.
    pub(crate) fn penalise(&self, logits: &mut [f32], place: impl Fn(u32) -> Option<usize>) {
        let Settings { presence_penalty, frequency_penalty, repetition_penalty, .. } = self.settings;
        for (&id, &count) in &self.seen {
            if let Some(logit) = place(id).and_then(|place| logits.get_mut(place)) {
                *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
                if count > 0 {
                    *logit -= presence_penalty + frequency_penalty * count as f32;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(settings: Settings) -> Sampler {
        Sampler::new(settings, 42)
    }

    /// How often each row is drawn from these logits, which stay as they are.
    fn counts(settings: Settings, logits: &[f32], n: usize) -> Vec<u32> {
        let mut sampler = sampler(settings);
        let mut counts = vec![0; logits.len()];
        for _ in 0..n {
            counts[sampler.sample(&mut logits.to_vec()) as usize] += 1;
        }
        counts
    }

    /// Σ (observed − expected)² / expected.
    fn chi_square(counts: &[u32], weights: &[f64]) -> f64 {
        let n: f64 = counts.iter().map(|&c| f64::from(c)).sum();
        let total: f64 = weights.iter().sum();
        let expected = weights.iter().map(|w| w / total * n);
        counts.iter().zip(expected).filter(|(_, e)| *e > 0.0).map(|(&c, e)| (f64::from(c) - e).powi(2) / e).sum()
    }

    const LOGITS: [f32; 8] = [0.5, -1.0, 2.0, 1.5, 0.0, -3.0, 1.9, 1.0];

    fn softmax_weights(temperature: f64) -> Vec<f64> {
        LOGITS.iter().map(|&x| (f64::from(x) / temperature).exp()).collect()
    }

    /// 24.3 is the 99.9 % point of χ² with 7 degrees of freedom, 32 that of one in 25,000.
    #[test]
    fn draws_follow_the_softmax_of_the_temperature() {
        for temperature in [0.5, 1.0, 2.0] {
            let settings = Settings { temperature, ..Settings::default() };
            let counts = counts(settings, &LOGITS, 40_000);
            let chi = chi_square(&counts, &softmax_weights(temperature.into()));
            assert!(chi < 32.0, "temperature {temperature}: χ² = {chi}, {counts:?}");
        }
    }

    #[test]
    fn cuts_keep_the_right_tokens_and_their_proportions() {
        let weights = softmax_weights(1.0);
        let total: f64 = weights.iter().sum();
        let keep =
            |kept: &[usize]| -> Vec<f64> { (0..8).map(|i| if kept.contains(&i) { weights[i] } else { 0.0 }).collect() };
        // In order of probability: 2, 6, 3, 7, 0, 4, 1, 5.
        let top2 = (weights[2] + weights[6]) / total;
        let cases = [
            (Settings { top_k: 3, ..Settings::default() }, &[2, 6, 3][..]),
            (Settings { top_p: top2 as f32 - 0.01, ..Settings::default() }, &[2, 6]),
            (Settings { top_p: top2 as f32 + 0.01, ..Settings::default() }, &[2, 6, 3]),
            (Settings { top_p: 1e-9, ..Settings::default() }, &[2]),
            // Of the three of top-k the first two have 0.75.
            (Settings { top_k: 3, top_p: 0.74, ..Settings::default() }, &[2, 6]),
            (Settings { top_k: 3, top_p: 0.76, ..Settings::default() }, &[2, 6, 3]),
            (Settings { min_p: 0.37, ..Settings::default() }, &[2, 6, 3]),
            (Settings { min_p: 0.36, ..Settings::default() }, &[2, 6, 3, 7]),
            (Settings { min_p: 1.0, ..Settings::default() }, &[2]),
            (Settings { top_k: 100, top_p: 0.99, min_p: 0.2, ..Settings::default() }, &[2, 6, 3, 7, 0]),
        ];
        for (settings, kept) in cases {
            let counts = counts(settings, &LOGITS, 20_000);
            let drawn: Vec<usize> = (0..8).filter(|&i| counts[i] > 0).collect();
            let mut expected = kept.to_vec();
            expected.sort_unstable();
            assert_eq!(drawn, expected, "{settings:?}");
            let chi = chi_square(&counts, &keep(kept));
            assert!(chi < 32.0, "{settings:?}: χ² = {chi}");
        }
    }

    #[test]
    fn greedy_takes_the_first_of_the_highest() {
        let mut logits = vec![1.0; 1000];
        assert_eq!(sampler(Settings::greedy()).sample(&mut logits), 0);
        logits[700] = 2.0;
        logits[900] = 2.0;
        assert_eq!(sampler(Settings::greedy()).sample(&mut logits), 700);
        let one = Settings { top_k: 1, ..Settings::default() };
        assert_eq!(sampler(one).sample(&mut logits), 700);
        logits[3] = f32::INFINITY;
        for settings in [Settings::greedy(), Settings::default(), Settings { top_k: 20, ..Settings::default() }] {
            assert_eq!(sampler(settings).sample(&mut logits.clone()), 3, "{settings:?}");
        }
    }

    #[test]
    fn penalties_are_those_of_their_definitions() {
        let settings =
            Settings { presence_penalty: 0.5, frequency_penalty: 0.25, repetition_penalty: 2.0, ..Settings::greedy() };
        let mut sampler = sampler(settings);
        sampler.see_prompt([1, 2]);
        for id in [2, 3, 3] {
            sampler.accept(id);
        }
        let mut logits = [4.0, 4.0, 4.0, -4.0, -4.0];
        sampler.sample(&mut logits);
        assert_eq!(logits, [4.0, 2.0, 1.25, -9.0, -4.0]);
        sampler.forget();
        let mut logits = [4.0, 4.0];
        sampler.sample(&mut logits);
        assert_eq!(logits, [4.0, 4.0]);
    }

    #[test]
    fn biases_come_before_penalties_and_hold_for_every_token() {
        let settings = Settings { presence_penalty: 0.5, repetition_penalty: 2.0, ..Settings::greedy() };
        let mut sampler = sampler(settings);
        sampler.bias([(1, -3.0), (2, 100.0), (9_999_999, 1.0)]);
        sampler.accept(1);
        sampler.forget();
        sampler.accept(1);
        for _ in 0..2 {
            let mut logits = [4.0, 2.0, -90.0];
            assert_eq!(sampler.sample(&mut logits), 2);
            assert_eq!(logits, [4.0, -2.5, 10.0]);
        }
    }

    #[test]
    fn banned_rows_and_bad_numbers_are_never_drawn() {
        let settings = [
            Settings::greedy(),
            Settings::default(),
            Settings { top_k: 20, ..Settings::default() },
            Settings { top_p: 0.9, ..Settings::default() },
            Settings { min_p: 0.01, temperature: 3.0, ..Settings::default() },
        ];
        for settings in settings {
            let mut sampler = Sampler::new(settings, 1);
            sampler.ban([1, 2, 9_999_999]);
            for _ in 0..500 {
                let mut logits = [f32::NAN, 50.0, 60.0, 1.0, f32::NEG_INFINITY, 0.0, -f32::NAN];
                let id = sampler.sample(&mut logits);
                assert!(matches!(id, 3 | 5), "{settings:?}: {id}");
            }
            assert_eq!(sampler.sample(&mut [f32::NAN; 4]), 0);
            assert_eq!(sampler.sample(&mut [f32::NEG_INFINITY; 4]), 0);
            let mut sampler = Sampler::new(settings, 1);
            sampler.ban([0, 1]);
            assert_eq!(sampler.sample(&mut [1.0, 1.0, f32::NAN]), 2);
            assert_eq!(sampler.sample(&mut [1.0]), 0);
        }
    }

    /// Thousands of rows: what is drawn is among the highest, found by sorting.
    #[test]
    fn cuts_of_many_rows_agree_with_sorting() {
        let mut random = Random::new(7);
        for n in [1, 2, 127, 128, 129, 5000, 20_000] {
            for spread in [0.0, 1.0, 40.0] {
                let logits: Vec<f32> =
                    (0..n).map(|_| (random.next_f64() as f32 * spread * 4.0).round() / 4.0).collect();
                let mut order: Vec<u32> = (0..n as u32).collect();
                order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
                for (top_k, top_p) in [(1, 1.0), (20, 1.0), (20, 0.8), (0, 0.5), (0, 0.999), (300, 1.0)] {
                    let kept = nucleus(&logits, &order, top_k, top_p);
                    let mut sampler = sampler(Settings { top_k, top_p, ..Settings::default() });
                    for _ in 0..20 {
                        let id = sampler.sample(&mut logits.clone());
                        assert!(kept.contains(&id), "n {n} spread {spread} top-k {top_k} top-p {top_p}: {id}");
                    }
                }
            }
        }
    }

    /// The tokens that top-k and then top-p keep, with a hair's breadth more for rounding.
    fn nucleus(logits: &[f32], order: &[u32], top_k: usize, top_p: f32) -> Vec<u32> {
        let kept = &order[..if top_k == 0 { order.len() } else { top_k.min(order.len()) }];
        let weights: Vec<f64> =
            kept.iter().map(|&id| f64::from(logits[id as usize] - logits[order[0] as usize]).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let last = weights.iter().position(|w| {
            sum += w;
            sum >= (f64::from(top_p) + 1e-6) * total
        });
        kept[..last.map_or(kept.len(), |last| last + 1)].to_vec()
    }

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        let draws = |seed| {
            let mut sampler = Sampler::new(Settings { top_k: 40, ..Settings::default() }, seed);
            let mut logits = Random::new(1);
            (0..50)
                .map(|_| {
                    let mut logits: Vec<f32> = (0..3000).map(|_| logits.next_f64() as f32 * 3.0).collect();
                    sampler.sample(&mut logits)
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(draws(5), draws(5));
        assert_ne!(draws(5), draws(6));
        // The same on every machine.
        assert_eq!(draws(5)[..4], EXPECTED);
    }

    const EXPECTED: [u32; 4] = [2141, 2897, 2562, 2530];

    #[test]
    fn settings_outside_their_range_are_refused() {
        let bad = [
            Settings { temperature: -1.0, ..Settings::default() },
            Settings { temperature: f32::NAN, ..Settings::default() },
            Settings { top_p: 1.1, ..Settings::default() },
            Settings { min_p: -0.1, ..Settings::default() },
            Settings { repetition_penalty: 0.0, ..Settings::default() },
            Settings { presence_penalty: f32::INFINITY, ..Settings::default() },
        ];
        for settings in bad {
            assert!(settings.check().is_err(), "{settings:?}");
        }
        assert_eq!(bad[2].check().unwrap_err().to_string(), "the top-p must be above 0 and at most 1, not 1.1");
        assert_eq!(Settings::greedy().check(), Ok(()));
    }

    #[test]
    fn published_settings_are_those_of_the_cards() {
        let of = |large, thinking, vision| {
            let s = Settings::published(large, thinking, vision);
            assert_eq!((s.top_k, s.min_p, s.frequency_penalty, s.repetition_penalty), (20, 0.0, 0.0, 1.0));
            (s.temperature, s.top_p, s.presence_penalty)
        };
        assert_eq!(of(false, false, false), (1.0, 1.0, 2.0));
        assert_eq!(of(false, false, true), (0.7, 0.8, 1.5));
        assert_eq!(of(false, true, false), (1.0, 0.95, 1.5));
        assert_eq!(of(false, true, true), (0.6, 0.95, 0.0));
        assert_eq!(of(true, true, false), (1.0, 0.95, 1.5));
        assert_eq!(of(true, false, false), (0.7, 0.8, 1.5));
    }
}
