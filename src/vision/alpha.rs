//! Samples with an alpha channel to samples without one: laid over white, or the channel dropped.

/// What becomes of transparent pixels.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Alpha {
    /// They are laid over white, as on a page: `c·a + 255·(1 - a)`.
    #[default]
    White,
    /// The alpha channel is dropped, and what colour they have underneath is seen: the way of the model's own processor.
    Drop,
}

impl Alpha {
    /// Takes the last of `channels` samples a pixel, alpha, off in place; and whether a pixel was not fully opaque. Pixels
    /// that are, keep their samples.
    pub(super) fn flatten(self, mut samples: Vec<u8>, channels: usize) -> (Vec<u8>, bool) {
        let colours = channels - 1;
        let n_pixels = samples.len() / channels;
        let mut transparent = false;
        for i in 0..n_pixels {
            let alpha = samples[i * channels + colours];
            transparent |= alpha < 255;
            for c in 0..colours {
                let colour = samples[i * channels + c];
                samples[i * colours + c] = if self == Alpha::White { over_white(colour, alpha) } else { colour };
            }
        }
        samples.truncate(n_pixels * colours);
        (samples, transparent)
    }
}

/// `c·a + 255·(1 - a)` of bytes, rounded to the nearest.
fn over_white(colour: u8, alpha: u8) -> u8 {
    let (colour, alpha) = (u32::from(colour), u32::from(alpha));
    // 127 is half of 255: no sum lies in the middle between two bytes.
    ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparent_pixels_are_laid_over_white_or_stripped() {
        let rgba = vec![10, 20, 30, 255, 10, 20, 30, 0, 10, 20, 30, 128];
        let over = vec![10, 20, 30, 255, 255, 255, 132, 137, 142];
        assert_eq!(Alpha::White.flatten(rgba.clone(), 4), (over, true));
        assert_eq!(Alpha::Drop.flatten(rgba, 4), ([10, 20, 30].repeat(3), true));
        assert_eq!(Alpha::White.flatten(vec![7, 255, 9, 254], 2), (vec![7, 10], true));
    }

    #[test]
    fn opaque_pixels_keep_their_samples() {
        let rgba: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v / 2, 255]).collect();
        let rgb: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v / 2]).collect();
        for alpha in [Alpha::White, Alpha::Drop] {
            assert_eq!(alpha.flatten(rgba.clone(), 4), (rgb.clone(), false));
        }
    }
}
