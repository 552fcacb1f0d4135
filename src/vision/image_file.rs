//! The bytes of a picture file to its pixels, as the model's own image loader does it.
//!
//! The header is read first; size, shape and the ratio of pixels to bytes are checked before anything is allocated.
//! EXIF orientation is applied, alpha is dropped without compositing, grey is repeated, CMYK is converted by the decoder.
//! 16-bit samples keep their high byte, except those of a grey picture without alpha, which are cut off at 255: Pillow does
//! so, and with it the reference. Of an animation the first frame is read.

use super::error::{Error, Result};
use super::jpeg;
use super::resize::MAX_ASPECT;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;

/// Most pixels a picture may have: 400 MB as RGB, a 108-megapixel photograph included.
pub const MAX_PIXELS: u64 = 1 << 27;

/// From this many decoded bytes on, a file must have at least a [`BOMB_RATIO`]th of them. A photograph compresses
/// 10 to 100 times, an empty PNG 1000 times.
const BOMB_BYTES: u64 = 64 << 20;
const BOMB_RATIO: u64 = 500;

/// Bytes a pixel takes at most while it is decoded: the coefficients of a progressive JPEG, or 16-bit samples, beside the
/// 8-bit picture.
const PIXEL_BYTES: u64 = 12;

/// An 8-bit RGB picture.
#[derive(Clone, PartialEq, Debug)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Samples `[height, width, 3]`.
    pub rgb: Vec<u8>,
}

/// The format of a picture, told from its first bytes.
///
/// # Errors
/// [`Error::Empty`] or [`Error::NotAPicture`].
pub fn format(bytes: &[u8]) -> Result<ImageFormat> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    match image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | WebP | Gif | Bmp)) => Ok(format),
        _ => Err(Error::NotAPicture { start: bytes[..bytes.len().min(8)].escape_ascii().to_string() }),
    }
}

/// The common name of a format [`format()`] returns.
fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        _ => "BMP",
    }
}

/// Wraps what a decoder said.
pub(super) fn broken(format: ImageFormat, error: image::ImageError) -> Error {
    Error::Broken { format: name(format), reason: error.to_string() }
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

impl Picture {
    /// Decodes a picture file.
    ///
    /// # Errors
    /// What is wrong with it; nothing has been allocated when the header's size was at fault.
    pub fn decode(bytes: &[u8]) -> Result<Picture> {
        Picture::decode_within(bytes, u64::MAX)
    }

    /// Decodes a picture file with `room` bytes of memory, those of the file among them.
    ///
    /// # Errors
    /// As [`Picture::decode`], and if it takes more.
    pub fn decode_within(bytes: &[u8], room: u64) -> Result<Picture> {
        let format = format(bytes)?;
        if format == ImageFormat::Jpeg && jpeg::outline(bytes).is_none() {
            return Err(Error::TruncatedJpeg { bytes: bytes.len() });
        }
        let broken = |error| broken(format, error);
        let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(broken)?;
        let (width, height) = decoder.dimensions();
        decoder.set_limits(check_size(width, height, bytes.len(), room)?).map_err(broken)?;
        // A broken EXIF block should not cost the user the picture.
        let orientation = decoder.orientation().ok();
        let mut image = DynamicImage::ImageRgb8(to_rgb(DynamicImage::from_decoder(decoder).map_err(broken)?));
        if let Some(orientation) = orientation {
            image.apply_orientation(orientation);
        }
        Ok(Picture {
            width: image.width() as usize,
            height: image.height() as usize,
            rgb: image.into_rgb8().into_raw(),
        })
    }

    /// An animation's frame, its alpha dropped.
    pub(super) fn from_rgba(frame: image::RgbaImage) -> Picture {
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        Picture { width, height, rgb: keep_first(frame.into_raw(), 4, 3) }
    }
}

/// Whether a file is a PNG of 16-bit grey, whose samples above 255 all become white.
pub fn is_clipped(bytes: &[u8]) -> bool {
    // The header chunk comes first: depth and colour type lie behind width and height.
    matches!(format(bytes), Ok(ImageFormat::Png)) && bytes.get(24..26) == Some(&[16, 0][..])
}

/// Drops alpha, repeats grey, brings 16-bit samples to 8 bits. No second copy of an 8-bit colour picture.
fn to_rgb(image: DynamicImage) -> image::RgbImage {
    let (width, height) = (image.width(), image.height());
    let grey = |samples: Vec<u8>| samples.into_iter().flat_map(|v| [v; 3]).collect();
    let high = |samples: Vec<u16>| samples.into_iter().map(|v| (v >> 8) as u8).collect::<Vec<u8>>();
    let rgb: Vec<u8> = match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageRgba8(image) => keep_first(image.into_raw(), 4, 3),
        DynamicImage::ImageLuma8(image) => grey(image.into_raw()),
        DynamicImage::ImageLumaA8(image) => grey(keep_first(image.into_raw(), 2, 1)),
        DynamicImage::ImageRgb16(image) => high(image.into_raw()),
        DynamicImage::ImageRgba16(image) => keep_first(high(image.into_raw()), 4, 3),
        DynamicImage::ImageLuma16(image) => grey(image.into_raw().into_iter().map(|v| v.min(255) as u8).collect()),
        DynamicImage::ImageLumaA16(image) => grey(keep_first(high(image.into_raw()), 2, 1)),
        other => other.into_rgb8().into_raw(),
    };
    image::RgbImage::from_raw(width, height, rgb).expect("as many samples as the decoder promised")
}

/// Keeps the first `keep` of every `of` samples, in place.
fn keep_first(mut samples: Vec<u8>, of: usize, keep: usize) -> Vec<u8> {
    let pixels = samples.len() / of;
    for i in 1..pixels {
        samples.copy_within(i * of..i * of + keep, i * keep);
    }
    samples.truncate(pixels * keep);
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.into().write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn alpha_is_dropped_and_grey_repeated() {
        let rgba = ImageBuffer::from_fn(3, 2, |x, y| Rgba([x as u8, y as u8, 9, 0]));
        let picture = Picture::decode(&encoded(rgba, ImageFormat::Png)).unwrap();
        assert_eq!((picture.width, picture.height), (3, 2));
        assert_eq!(picture.rgb, [0, 0, 9, 1, 0, 9, 2, 0, 9, 0, 1, 9, 1, 1, 9, 2, 1, 9]);
        let grey = ImageBuffer::from_fn(2, 1, |x, _| LumaA([40 + x as u8, 7]));
        assert_eq!(Picture::decode(&encoded(grey, ImageFormat::Png)).unwrap().rgb, [40, 40, 40, 41, 41, 41]);
    }

    #[test]
    fn sixteen_bit_samples_keep_their_high_byte() {
        let rgb = ImageBuffer::from_fn(2, 1, |x, _| Rgb([0x1234u16 + x as u16, 0xFFFF, 0x00FF]));
        assert_eq!(Picture::decode(&encoded(rgb, ImageFormat::Png)).unwrap().rgb, [0x12, 255, 0, 0x12, 255, 0]);
        let grey = encoded(ImageBuffer::from_fn(1, 1, |_, _| LumaA([0x80FFu16, 0])), ImageFormat::Png);
        assert_eq!((Picture::decode(&grey).unwrap().rgb, is_clipped(&grey)), (vec![128; 3], false));
    }

    #[test]
    fn sixteen_bit_grey_is_cut_off_as_the_reference_does() {
        let grey = encoded(ImageBuffer::from_fn(3, 1, |x, _| Luma([254 + x as u16])), ImageFormat::Png);
        assert_eq!(Picture::decode(&grey).unwrap().rgb, [[254; 3], [255; 3], [255; 3]].concat());
        assert!(is_clipped(&grey));
    }

    #[test]
    fn every_format_is_read() {
        let rgb = ImageBuffer::from_fn(33, 20, |x, y| Rgb([x as u8 * 7, y as u8 * 11, 128]));
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP] {
            assert_eq!(Picture::decode(&encoded(rgb.clone(), format)).unwrap().rgb, rgb.as_raw().as_slice());
        }
        for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
            let picture = Picture::decode(&encoded(rgb.clone(), format)).unwrap();
            assert_eq!((picture.width, picture.height), (33, 20));
            let off: u64 = picture.rgb.iter().zip(rgb.as_raw()).map(|(a, b)| a.abs_diff(*b) as u64).sum();
            assert!(off / (33 * 20 * 3) < 12, "{format:?}: {off}");
        }
    }

    #[test]
    fn every_truncation_is_an_error_or_the_same_picture() {
        let rgb = ImageBuffer::from_fn(40, 30, |x, y| Rgb([(x * y) as u8, x as u8, y as u8]));
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp] {
            let bytes = encoded(rgb.clone(), format);
            let whole = Picture::decode(&bytes).unwrap();
            for len in 0..bytes.len() {
                // The last bytes of some formats (a trailer, a checksum) may be missed without loss.
                if let Ok(picture) = Picture::decode(&bytes[..len]) {
                    assert!(picture == whole && len + 32 > bytes.len(), "{format:?} cut at {len} of {}", bytes.len());
                }
            }
        }
    }

    #[test]
    fn headers_that_promise_too_much_are_refused() {
        // A PNG header of 60,000 x 60,000 with a correct checksum and no data.
        let mut png = encoded(ImageBuffer::from_fn(1, 1, |_, _| Luma([0u8])), ImageFormat::Png);
        png[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(Picture::decode(&png), Err(Error::TooManyPixels { width: 60000, .. })));
        assert!(matches!(check_size(9000, 9000, 4000, u64::MAX), Err(Error::Bomb { .. })));
        assert!(matches!(check_size(1, 10000, 4000, u64::MAX), Err(Error::TooThin { .. })));
        assert!(matches!(check_size(0, 5, 4000, u64::MAX), Err(Error::NoPixels { .. })));
        assert!(matches!(check_size(100, 100, 4000, 100_000), Err(Error::NoRoom { need: 124_000, .. })));
        assert!(matches!(Picture::decode(b"GGUF\x03\0\0\0"), Err(Error::NotAPicture { .. })));
        assert!(matches!(Picture::decode(b""), Err(Error::Empty)));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
        })
    }
}
