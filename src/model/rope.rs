//! Rotary position embedding tables (`MODEL.md` §5): partial, NeoX pairs, interleaved three-axis positions, YaRN.
//!
//! `inv_freq[j] = base^(−2j / n_rot)`; pair `j` of a token at `(t, h, w)` turns by `position(axis of j) · inv_freq[j]`.

use super::config::RopeConfig;

/// A token's position on the three axes; text has all three equal.
pub type Position = [u32; 3];

/// Frequencies and axes of the rotated pairs.
pub struct Rope {
    /// Angle per position `[n_rot / 2]`.
    inv_freq: Vec<f32>,
    /// Position axis of each pair `[n_rot / 2]`: 0 = t, 1 = h, 2 = w.
    axis: Vec<usize>,
    /// Factor on cos and sin; 1 without YaRN.
    magnitude: f32,
}

impl Rope {
    /// Builds the tables.
    pub fn new(config: &RopeConfig) -> Rope {
        let n_pair = config.n_rot / 2;
        let base = f64::from(config.freq_base);
        let exponent = |j: usize| -2.0 * j as f64 / config.n_rot as f64;
        let mut inv_freq: Vec<f64> = (0..n_pair).map(|j| base.powf(exponent(j))).collect();
        let mut magnitude = 1.0;
        if let Some(yarn) = &config.yarn {
            let factor = f64::from(yarn.factor);
            // The pair that turns `r` times over the original context.
            let pair = |r: f32| {
                let turns = yarn.n_ctx_orig as f64 / (2.0 * std::f64::consts::PI * f64::from(r));
                config.n_rot as f64 * turns.ln() / (2.0 * base.ln())
            };
            let low = pair(yarn.beta_fast).floor().max(0.0);
            let high = pair(yarn.beta_slow).ceil().min(config.n_rot as f64 - 1.0);
            // The published code keeps the ramp from dividing by zero in this way.
            let high = if low == high { high + 0.001 } else { high };
            for (j, f) in inv_freq.iter_mut().enumerate() {
                let ramp = ((j as f64 - low) / (high - low)).clamp(0.0, 1.0);
                *f *= (1.0 - ramp) + ramp / factor;
            }
            magnitude = (0.1 * factor.ln() + 1.0) * f64::from(yarn.attn_factor);
        }
        Rope {
            inv_freq: inv_freq.iter().map(|&f| f as f32).collect(),
            axis: (0..n_pair).map(|j| axis(j, config.sections)).collect(),
            magnitude: magnitude as f32,
        }
    }

    /// Rotated pairs of a head.
    pub fn n_pair(&self) -> usize {
        self.inv_freq.len()
    }

    /// Writes cos, then sin, of every pair's angle for a token at `position`: `table [2, n_rot / 2]`.
    pub fn fill(&self, position: Position, table: &mut [f32]) {
        let (cos, sin) = table.split_at_mut(self.n_pair());
        for (j, (cos, sin)) in cos.iter_mut().zip(sin).enumerate() {
            // The angle is rounded to f32 as in the reference; its cosine is then exact to f32.
            let angle = position[self.axis[j]] as f32 * self.inv_freq[j];
            let (s, c) = f64::from(angle).sin_cos();
            *cos = (c as f32) * self.magnitude;
            *sin = (s as f32) * self.magnitude;
        }
    }
}

/// The position axis of pair `j`: h and w take every third pair while their sections last, t the rest.
fn axis(j: usize, sections: [usize; 3]) -> usize {
    match j % 3 {
        1 if j < 3 * sections[1] => 1,
        2 if j < 3 * sections[2] => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::YarnConfig;

    fn published(yarn: Option<YarnConfig>) -> RopeConfig {
        RopeConfig { n_rot: 64, freq_base: 1e7, sections: [11, 11, 10], yarn }
    }

    #[test]
    fn axes_interleave_as_published() {
        let rope = Rope::new(&published(None));
        assert!(rope.axis.iter().enumerate().all(|(j, &a)| a == j % 3));
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_stretches_slow_ones() {
        let plain = Rope::new(&published(None));
        let yarn = Rope::new(&published(Some(YarnConfig::with_factor(4.0, 262_144))));
        assert!((yarn.magnitude - 1.138_629_4).abs() < 1e-6);
        for j in 0..32 {
            let ratio = yarn.inv_freq[j] / plain.inv_freq[j];
            let ramp = ((j as f32 - 14.0) / 8.0).clamp(0.0, 1.0);
            assert!((ratio - (1.0 - ramp * 0.75)).abs() < 1e-6, "pair {j}: {ratio}");
        }
    }
}
