//! The size a picture is read at, and the resampling to it: antialiased bicubic in fixed point, bit for bit as the model's
//! own processor computes it (torchvision on bytes: weights of 16 bits, rounded to bytes after each axis).
//! `VISION.md` §2 has the formulas.

use super::error::{Error, Result};
use super::picture::Picture;

/// Longest side over shortest side a picture may have.
pub const MAX_ASPECT: usize = 200;

/// Pixels along one side of a token: patch size 16 times merge size 2.
pub const TOKEN_SIDE: usize = 32;

/// Pixels of a token.
pub const TOKEN_PIXELS: usize = TOKEN_SIDE * TOKEN_SIDE;

/// Bounds on the area a picture (or all frames of a clip together) is resized to, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Smaller pictures are enlarged to this.
    pub min: usize,
    /// Larger pictures are reduced to this.
    pub max: usize,
}

impl Area {
    /// The published bounds for a picture: 64 to 16,384 tokens.
    pub const IMAGE: Area = Area { min: 65_536, max: 16_777_216 };
    /// The published bounds for a clip, over all its frames.
    pub const VIDEO: Area = Area { min: 4_096, max: 25_165_824 };

    /// The same bounds with at most `tokens` tokens a picture.
    pub fn with_max_tokens(self, tokens: usize) -> Area {
        let max = self.max.min(tokens.saturating_mul(TOKEN_PIXELS)).max(TOKEN_PIXELS);
        Area { min: self.min.min(max), max }
    }
}

/// Rows and columns of pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// Tokens of a picture of this size.
    pub fn tokens(self) -> usize {
        self.height * self.width / TOKEN_PIXELS
    }
}

fn check_aspect(from: Size) -> Result<()> {
    let Size { height, width } = from;
    if height.max(width) > MAX_ASPECT * height.min(width) {
        return Err(Error::TooThin { width, height, limit: MAX_ASPECT });
    }
    Ok(())
}

/// The size to read `n` frames at whose number counts as `n_even` in the area, after `from` has been checked.
fn fit(from: Size, n: usize, n_even: usize, area: Area) -> Size {
    const F: f64 = TOKEN_SIDE as f64;
    let (h, w, n) = (from.height as f64, from.width as f64, n as f64);
    let nearest = |v: f64| (v / F).round_ties_even() as usize * TOKEN_SIDE;
    let (height, width) = (nearest(h), nearest(w));
    let pixels = n_even * height * width;
    let reduced = || {
        let beta = (n * h * w / area.max as f64).sqrt();
        let down = |v: f64| ((v / beta / F).floor() as usize * TOKEN_SIDE).max(TOKEN_SIDE);
        Size { height: down(h), width: down(w) }
    };
    if pixels > area.max {
        reduced()
    } else if pixels < area.min {
        let beta = (area.min as f64 / (n * h * w)).sqrt();
        let up = |v: f64| (v * beta / F).ceil() as usize * TOKEN_SIDE;
        let enlarged = Size { height: up(h), width: up(w) };
        // Only where a cap of the user lies this close to the minimum.
        if n_even * enlarged.height * enlarged.width > area.max { reduced() } else { enlarged }
    } else {
        Size { height, width }
    }
}

/// The size a picture is read at: multiples of 32 nearest to its own, within `area`.
///
/// # Errors
/// [`Error::TooThin`].
pub fn image_size(from: Size, area: Area) -> Result<Size> {
    check_aspect(from)?;
    Ok(fit(from, 1, 1, area))
}

/// The one size all `n` frames of a clip are read at; `area` bounds all of them together.
///
/// # Errors
/// [`Error::TooThin`].
pub fn video_size(from: Size, n: usize, area: Area) -> Result<Size> {
    let Size { mut height, mut width } = from;
    if height < TOKEN_SIDE || width < TOKEN_SIDE {
        let scale = (TOKEN_SIDE as f64 / height as f64).max(TOKEN_SIDE as f64 / width as f64);
        height = (height as f64 * scale) as usize;
        width = (width as f64 * scale) as usize;
    }
    check_aspect(Size { height, width })?;
    let n_even = (n as f64 / 2.0).round_ties_even() as usize * 2;
    Ok(fit(Size { height, width }, n, n_even, area))
}

/// Most fractional bits of a fixed-point weight: the product with a byte, summed, fits 32 bits.
const MAX_BITS: u32 = 22;

/// For each output of one axis: the first input it reads and its weights, all of one length.
struct Taps {
    first: Vec<usize>,
    weights: Vec<i32>,
    count: usize,
    /// Fractional bits of the weights.
    bits: u32,
}

/// The most fractional bits at which `largest` still fits a signed 16-bit number.
fn weight_bits(largest: f64) -> u32 {
    let fits = |bits: u32| ((0.5 + largest * f64::from(1u32 << bits)) as u32) < 1 << 15;
    (1..=MAX_BITS).take_while(|&bits| fits(bits)).last().unwrap_or(0)
}

/// Keys' cubic convolution kernel with a = -1/2.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

impl Taps {
    /// Weights that take `n_in` samples to `n_out`: the kernel is widened when reducing, which is the antialiasing.
    fn new(n_in: usize, n_out: usize) -> Taps {
        let scale = n_in as f64 / n_out as f64;
        let widening = scale.max(1.0);
        let support = 2.0 * widening;
        let count = support.ceil() as usize * 2 + 1;
        let mut first = Vec::with_capacity(n_out);
        let mut exact = vec![0.0; n_out * count];
        for i in 0..n_out {
            let center = (i as f64 + 0.5) * scale;
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(n_in);
            let row = &mut exact[i * count..][..end - start];
            for (k, weight) in (start..end).zip(row.iter_mut()) {
                *weight = cubic((k as f64 - center + 0.5) / widening);
            }
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|weight| *weight /= sum);
            first.push(start);
        }
        let bits = weight_bits(exact.iter().copied().fold(0.0, f64::max));
        let fixed = |weight: &f64| {
            let scaled = weight * f64::from(1u32 << bits);
            (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
        };
        Taps { first, weights: exact.iter().map(fixed).collect(), count, bits }
    }

    /// First input and weights of output `i`, cut to the `n_in` inputs there are.
    fn of(&self, i: usize, n_in: usize) -> (usize, &[i32]) {
        let first = self.first[i];
        let count = self.count.min(n_in - first);
        (first, &self.weights[i * self.count..][..count])
    }
}

impl Taps {
    /// What a sum starts with, so that it is rounded.
    fn half(&self) -> i32 {
        (1 << self.bits) >> 1
    }

    fn to_byte(&self, sum: i32) -> u8 {
        (sum >> self.bits).clamp(0, 255) as u8
    }
}

/// Stretches a picture to exactly `to`.
pub fn resize(picture: Picture, to: Size) -> Picture {
    let picture = if picture.width == to.width { picture } else { resize_rows(&picture, to.width) };
    if picture.height == to.height { picture } else { resize_columns(&picture, to.height) }
}

fn resize_rows(from: &Picture, width: usize) -> Picture {
    let taps = Taps::new(from.width, width);
    let mut rgb = vec![0; from.height * width * 3];
    for (out, row) in rgb.chunks_exact_mut(width * 3).zip(from.rgb.chunks_exact(from.width * 3)) {
        for (i, pixel) in out.chunks_exact_mut(3).enumerate() {
            let (first, weights) = taps.of(i, from.width);
            let mut sum = [taps.half(); 3];
            for (weight, input) in weights.iter().zip(row[first * 3..].chunks_exact(3)) {
                for c in 0..3 {
                    sum[c] += weight * i32::from(input[c]);
                }
            }
            for c in 0..3 {
                pixel[c] = taps.to_byte(sum[c]);
            }
        }
    }
    Picture { width, height: from.height, rgb }
}

fn resize_columns(from: &Picture, height: usize) -> Picture {
    let taps = Taps::new(from.height, height);
    let stride = from.width * 3;
    let mut rgb = vec![0; height * stride];
    let mut sums = vec![0i32; stride];
    for (i, out) in rgb.chunks_exact_mut(stride).enumerate() {
        let (first, weights) = taps.of(i, from.height);
        sums.fill(taps.half());
        for (weight, row) in weights.iter().zip(from.rgb[first * stride..].chunks_exact(stride)) {
            for (sum, &input) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(input);
            }
        }
        for (byte, &sum) in out.iter_mut().zip(&sums) {
            *byte = taps.to_byte(sum);
        }
    }
    Picture { width: from.width, height, rgb }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(height: usize, width: usize) -> Size {
        Size { height, width }
    }

    #[test]
    fn image_sizes_are_the_published_ones() {
        for (from, to, tokens) in [
            ((480, 640), (480, 640), 300),
            ((1080, 1920), (1088, 1920), 2040),
            ((720, 1280), (704, 1280), 880),
            ((1000, 1000), (992, 992), 961),
            ((100, 100), (256, 256), 64),
            ((16, 16), (256, 256), 64),
            ((224, 224), (256, 256), 64),
            ((48, 1000), (64, 1184), 74),
            ((4000, 6000), (3328, 4992), 16224),
        ] {
            let got = image_size(size(from.0, from.1), Area::IMAGE).unwrap();
            assert_eq!((got, got.tokens()), (size(to.0, to.1), tokens), "{from:?}");
        }
        assert!(matches!(image_size(size(1, 10000), Area::IMAGE), Err(Error::TooThin { .. })));
    }

    #[test]
    fn a_token_cap_is_kept() {
        for tokens in [1, 4, 17, 64, 500, 2048] {
            for from in [(3000, 4000), (20, 4000), (31, 33), (1, 200), (4000, 20)] {
                let got = image_size(size(from.0, from.1), Area::IMAGE.with_max_tokens(tokens)).unwrap();
                // A side cannot fall below one token: a thin picture may pass a tiny cap by its length alone.
                let least = from.0.max(from.1).div_ceil(from.0.min(from.1));
                assert!(got.tokens() >= 1 && got.tokens() <= tokens.max(least), "{from:?} at {tokens}: {got:?}");
            }
        }
    }

    #[test]
    fn clips_share_their_area() {
        assert_eq!(video_size(size(144, 176), 9, Area::VIDEO).unwrap(), size(128, 192));
        let got = video_size(size(1080, 1920), 768, Area::VIDEO).unwrap();
        assert!(768 * got.height * got.width <= Area::VIDEO.max);
        assert_eq!(video_size(size(10, 20), 4, Area::VIDEO).unwrap(), size(32, 64));
    }

    #[test]
    fn the_weights_of_an_output_sum_to_one() {
        for (n_in, n_out) in [(10, 10), (1, 32), (3, 32), (100, 7), (31, 64), (64, 31), (4096, 96)] {
            let taps = Taps::new(n_in, n_out);
            for i in 0..n_out {
                let (first, weights) = taps.of(i, n_in);
                assert!(first < n_in);
                let sum: i32 = weights.iter().sum();
                let whole = 1 << taps.bits;
                assert!((sum - whole).abs() <= weights.len() as i32, "{n_in} to {n_out}, {i}: {sum} of {whole}");
                let all: i32 = taps.weights[i * taps.count..][..taps.count].iter().sum();
                assert_eq!(all, sum, "weights beyond the input");
            }
        }
    }

    #[test]
    fn flat_pictures_stay_flat() {
        let flat = Picture { width: 37, height: 11, rgb: [200, 3, 255].repeat(37 * 11) };
        let out = resize(flat, size(64, 32));
        assert_eq!(out.rgb, [200, 3, 255].repeat(64 * 32));
    }
}
