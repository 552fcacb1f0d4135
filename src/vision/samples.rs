//! Samples as decoders deliver them, and the sizes that are decoded at all.

use super::error::{Error, Result};
use super::note::Note;
use super::resize::MAX_ASPECT;
use image::Limits;
use image::metadata::Orientation;

/// Most pixels a picture may have: 400 MB as RGB, a 108-megapixel photograph included.
pub const MAX_PIXELS: u64 = 1 << 27;

/// From this many decoded bytes on, a file must have at least a [`BOMB_RATIO`]th of them. A photograph compresses
/// 10 to 100 times, an empty PNG 1000 times.
const BOMB_BYTES: u64 = 64 << 20;
const BOMB_RATIO: u64 = 500;

/// Bytes a pixel takes at most while it is decoded: the coefficients of a progressive JPEG, or 16-bit samples, beside the
/// 8-bit picture.
const PIXEL_BYTES: u64 = 12;

/// 8-bit samples as a file has them.
pub(super) struct Samples {
    pub width: usize,
    pub height: usize,
    /// Samples a pixel: grey, grey and alpha, RGB, or RGB and alpha.
    pub channels: usize,
    /// `[height, width, channels]`.
    pub values: Vec<u8>,
}

/// What a decoder makes of a file.
pub(super) struct Decoded {
    pub samples: Samples,
    /// How the picture lies.
    pub orientation: Option<Orientation>,
    pub notes: Vec<Note>,
}

/// Checks the size a header claims for a file of `bytes` bytes, and returns the limits its decoder gets, with `room` bytes
/// for both.
///
/// # Errors
/// No pixels, too many, too thin, a decompression bomb, or more than there is room for.
pub(super) fn check_size(width: u32, height: u32, bytes: usize, room: u64) -> Result<Limits> {
    if width == 0 || height == 0 {
        return Err(Error::NoPixels { width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return Err(Error::TooManyPixels { width, height, limit: MAX_PIXELS });
    }
    if width.max(height) as usize > MAX_ASPECT * width.min(height) as usize {
        return Err(Error::TooThin { width: width as usize, height: height as usize, limit: MAX_ASPECT });
    }
    if 3 * pixels > BOMB_BYTES && 3 * pixels / BOMB_RATIO > bytes as u64 {
        return Err(Error::Bomb { bytes, width, height });
    }
    let need = bytes as u64 + PIXEL_BYTES * pixels;
    if need > room {
        return Err(Error::NoRoom { width, height, need, room });
    }
    let mut limits = Limits::no_limits();
    // 16-bit RGBA takes 8 bytes a pixel; the rest is the decoder's own.
    limits.max_alloc = Some(2 * 8 * pixels + (64 << 20));
    Ok(limits)
}
