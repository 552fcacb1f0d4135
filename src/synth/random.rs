//! Random numbers, and random blocks of every weight format with a chosen spread.

use half::{bf16, f16};
use kernels::Format;

/// SplitMix64 (Steele, Lea, Flood 2014): one add and three mixing steps for 64 bits.
#[derive(Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An independent generator for part `i` of what this one is for.
    pub(super) fn fork(&self, i: u64) -> Self {
        let mut rng = Self(self.0 ^ i.wrapping_mul(0xd134_2543_de82_ef95));
        Self(rng.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `-1..1`.
    pub(super) fn signed(&mut self) -> f32 {
        ((self.next() >> 40) as f32 + 0.5) / (1u32 << 23) as f32 - 1.0
    }

    /// Uniform in `0..1`.
    pub(super) fn unit(&mut self) -> f32 {
        0.5 + 0.5 * self.signed()
    }

    fn fill(&mut self, out: &mut [u8]) {
        let mut chunks = out.chunks_exact_mut(8);
        for chunk in &mut chunks {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
        let rest = chunks.into_remainder();
        let last = self.next().to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// Makes blocks of one format whose values have mean 0 and one standard deviation.
pub(super) struct Blocks {
    format: Format,
    /// The scale field of a block.
    d: f32,
}

impl Blocks {
    /// Blocks of standard deviation `sigma`.
    pub(super) fn new(format: Format, sigma: f32) -> Self {
        if format.is_float() {
            return Self { format, d: sigma * 3f32.sqrt() };
        }
        // Codes are uniform, so what a scale of 1 gives is a property of the format: measure it.
        const BLOCKS: usize = 256;
        let unit = Self { format, d: 1.0 };
        let mut bytes = vec![0; BLOCKS * format.block_bytes()];
        unit.fill(&mut Rng::new(1), &mut bytes);
        let mut values = vec![0.0; BLOCKS * format.block_len()];
        kernels::decode::decode_row(format, &bytes, &mut values);
        let squares: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        let spread = (squares / values.len() as f64).sqrt() as f32;
        Self { format, d: sigma / spread }
    }

    /// Fills `out`, whole blocks.
    pub(super) fn fill(&self, rng: &mut Rng, out: &mut [u8]) {
        let d = self.d;
        match self.format {
            Format::F32 => {
                out.as_chunks_mut().0.iter_mut().for_each(|b| *b = (d * rng.signed()).to_le_bytes());
                return;
            }
            Format::F16 => {
                out.as_chunks_mut().0.iter_mut().for_each(|b| *b = f16::from_f32(d * rng.signed()).to_le_bytes());
                return;
            }
            Format::BF16 => {
                out.as_chunks_mut().0.iter_mut().for_each(|b| *b = bf16::from_f32(d * rng.signed()).to_le_bytes());
                return;
            }
            _ => rng.fill(out),
        }
        for block in out.chunks_exact_mut(self.format.block_bytes()) {
            // Codes whose range is lopsided (−8..7) average out over blocks of either sign.
            let signed = if rng.next() & 1 == 0 { d } else { -d };
            match self.format {
                Format::F32 | Format::F16 | Format::BF16 => unreachable!("returned above"),
                Format::Q4_0 | Format::Q5_0 | Format::IQ4_NL | Format::Q1_0 | Format::Q2_0 => {
                    put_half(block, 0, signed)
                }
                Format::TQ2_0 => {
                    put_half(block, 64, signed);
                    // Trits: no quantiser emits 3, which becomes the 1 that stands for 0.
                    block[..64].iter_mut().for_each(|q| *q ^= (*q & *q >> 1 & 0x55) << 1);
                }
                Format::TQ1_0 => put_half(block, 52, signed),
                Format::Q8_0 => {
                    put_half(block, 0, signed);
                    // No quantiser emits −128.
                    block[2..].iter_mut().filter(|q| **q == 0x80).for_each(|q| *q = 0x81);
                }
                Format::Q4_1 => put_halves(block, 0, signed, -7.5 * signed),
                Format::Q5_1 => put_halves(block, 0, signed, -15.5 * signed),
                Format::Q2_K => {
                    // Equal scale and minimum: values are d·s·(q − 1.5).
                    block[..16].iter_mut().for_each(|s| *s = (8 | *s & 7) * 0x11);
                    put_halves(block, 80, d, 1.5 * d);
                }
                Format::Q3_K => put_half(block, 108, signed),
                Format::Q4_K => {
                    put_scales(rng, block);
                    put_halves(block, 0, d, 7.5 * d);
                }
                Format::Q5_K => {
                    put_scales(rng, block);
                    put_halves(block, 0, d, 15.5 * d);
                }
                Format::Q6_K => put_half(block, 208, signed),
                Format::IQ4_XS
                | Format::IQ1_S
                | Format::IQ2_XXS
                | Format::IQ2_XS
                | Format::IQ2_S
                | Format::IQ3_XXS
                | Format::IQ3_S => put_half(block, 0, signed),
                Format::IQ1_M => {
                    let d = f16::from_f32(signed).to_bits().to_le_bytes();
                    for (i, nibble) in [d[0] & 15, d[0] >> 4, d[1] & 15, d[1] >> 4].into_iter().enumerate() {
                        block[49 + 2 * i] = block[49 + 2 * i] & 15 | nibble << 4;
                    }
                }
                // Scales have three bits of mantissa: mix the two nearest so that the mean square is right.
                Format::NVFP4 => block[..4].iter_mut().for_each(|scale| *scale = ue4m3(rng, d)),
                // Scales are powers of two: mix the two nearest so that the mean square is right.
                Format::MXFP4 => {
                    let (low, up) = (d.log2().floor(), (d * d / 4f32.powf(d.log2().floor()) - 1.0) / 3.0);
                    block[0] = (low + if rng.unit() < up { 129.0 } else { 128.0 }) as u8;
                }
            }
        }
    }
}

/// A UE4M3 number whose square is d² in the mean; d is at most 448.
fn ue4m3(rng: &mut Rng, d: f32) -> u8 {
    let exponent = d.log2().floor().clamp(-6.0, 8.0);
    // Eighths of 2^exponent; below the smallest normal number fewer than eight.
    let (unit, below) = (exponent.exp2() / 8.0, if d < 2f32.powi(-6) { 0 } else { 8 });
    let (exact, low) = (d / unit, (d / unit).floor());
    let up = (exact * exact - low * low) / (2.0 * low + 1.0);
    let eighths = low as i32 + i32::from(rng.unit() < up);
    (((exponent as i32 + 7 - i32::from(below == 0)) << 3) + eighths - below) as u8
}

fn put_half(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

fn put_halves(block: &mut [u8], at: usize, first: f32, second: f32) {
    put_half(block, at, first);
    put_half(block, at + 2, second);
}

/// Writes the 12 bytes of 6-bit scales and minima of a Q4_K or Q5_K block: eight equal pairs in 32..=63.
fn put_scales(rng: &mut Rng, block: &mut [u8]) {
    let random = rng.next().to_le_bytes();
    let s: [u8; 8] = std::array::from_fn(|i| 32 | random[i] & 31);
    for i in 0..4 {
        let high = (s[i + 4] >> 4) << 6;
        block[4 + i] = s[i] | high;
        block[8 + i] = s[i] | high;
        block[12 + i] = (s[i + 4] & 15) * 0x11;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_every_format_have_the_spread_asked_for() {
        for &format in Format::ALL {
            for sigma in [0.015, 0.1] {
                let n = 256 * 256;
                let mut bytes = vec![0; format.row_bytes(n).unwrap()];
                Blocks::new(format, sigma).fill(&mut Rng::new(7), &mut bytes);
                let mut values = vec![0.0; n];
                kernels::decode::decode_row(format, &bytes, &mut values);
                let mean = values.iter().sum::<f32>() / n as f32;
                let std = (values.iter().map(|v| v * v).sum::<f32>() / n as f32).sqrt();
                assert!((std / sigma - 1.0).abs() < 0.04, "{format}: asked for {sigma}, got {std}");
                assert!(mean.abs() < 0.03 * sigma, "{format}: mean {mean} of {sigma}");
            }
        }
    }

    #[test]
    fn forks_differ_and_repeat() {
        let rng = Rng::new(3);
        assert_eq!(rng.fork(5).next(), rng.fork(5).next());
        assert_ne!(rng.fork(5).next(), rng.fork(6).next());
    }
}
