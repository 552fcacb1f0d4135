//! The bytes of a picture file to its pixels, as the model's own image loader does it.
//!
//! The header is read first; size, shape and the ratio of pixels to bytes are checked before anything is allocated.
//! EXIF orientation is applied, transparent pixels are laid over white unless asked otherwise, grey is repeated, CMYK is
//! converted by the decoder, 16-bit samples keep their high byte. Of an animation the first frame is read. A file that
//! lacks no pixel is read, whatever else it lacks.

use super::alpha::Alpha;
use super::error::{Error, Result};
use super::jpeg_scans::{self, Missing};
use super::note::Note;
use super::picture::Picture;
use super::resize::Size;
use super::samples::{Decoded, Samples, check_size};
use super::{bmp, foreign, gif, jpeg, png, webp};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use std::io::Cursor;

/// The format of a picture, told from its first bytes.
///
/// # Errors
/// [`Error::Empty`], [`Error::Foreign`] or [`Error::NotAPicture`].
pub fn format(bytes: &[u8]) -> Result<ImageFormat> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    match image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | WebP | Gif | Bmp)) => Ok(format),
        _ => Err(match foreign::find(bytes) {
            Some(foreign::Foreign { name, advice }) => Error::Foreign { name, advice },
            None => Error::NotAPicture { what: unknown(bytes) },
        }),
    }
}

/// What can be said of bytes of no known format; nothing of what they say.
pub(super) fn unknown(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]);
    if !start.contains(|c: char| (c.is_control() && !c.is_whitespace()) || c == char::REPLACEMENT_CHARACTER) {
        return "it is text".into();
    }
    let start: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("it starts with the bytes {}", start.join(" "))
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

impl Picture {
    /// Decodes a picture file, its transparent pixels laid over white.
    ///
    /// # Errors
    /// What is wrong with it; nothing has been allocated when the header's size was at fault.
    pub fn decode(bytes: &[u8]) -> Result<Picture> {
        Ok(Picture::decode_within(bytes, Alpha::White, u64::MAX)?.0)
    }

    /// Decodes a picture file with `room` bytes of memory, those of the file among them, and says what is worth knowing
    /// of it.
    ///
    /// # Errors
    /// As [`Picture::decode`], and if it takes more.
    pub fn decode_within(bytes: &[u8], alpha: Alpha, room: u64) -> Result<(Picture, Vec<Note>)> {
        let format = format(bytes)?;
        let Decoded { samples, orientation, mut notes } = match format {
            ImageFormat::Png => png::decode(bytes, room)?,
            ImageFormat::Jpeg => decode_jpeg(bytes, room)?,
            ImageFormat::Bmp => decode_bmp(bytes, room)?,
            ImageFormat::WebP => decode_webp(bytes, room)?,
            format => decode(bytes, format, room)?,
        };
        if format == ImageFormat::Gif && !gif::has_trailer(bytes) {
            notes.push(Note::NoEnd { mark: "its trailer" });
        }
        let (rgb, transparent) = to_rgb(samples, alpha);
        if transparent {
            notes.push(Note::Transparent(alpha));
        }
        let mut image = DynamicImage::ImageRgb8(rgb);
        if let Some(orientation) = orientation {
            image.apply_orientation(orientation);
        }
        let (width, height) = (image.width() as usize, image.height() as usize);
        Ok((Picture { width, height, rgb: image.into_rgb8().into_raw() }, notes))
    }

    /// An animation's frame, and whether a pixel of it is transparent.
    pub(super) fn from_rgba(frame: image::RgbaImage, alpha: Alpha) -> (Picture, bool) {
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let (rgb, transparent) = alpha.flatten(frame.into_raw(), 4);
        (Picture { width, height, rgb }, transparent)
    }
}

/// The size of a picture as its header has it, turned or not; it may be decoded within `room` bytes.
///
/// # Errors
/// What is wrong with the header.
pub fn size(bytes: &[u8], room: u64) -> Result<Size> {
    let format = format(bytes)?;
    let decoder = ImageReader::with_format(Cursor::new(bytes), format);
    let (width, height) = decoder.into_dimensions().map_err(|error| broken(format, error))?;
    check_size(width, height, bytes.len(), room)?;
    Ok(Size { height: height as usize, width: width as usize })
}

/// The decoder of a file, its size checked.
fn open(bytes: &[u8], format: ImageFormat, room: u64) -> Result<impl ImageDecoder> {
    let broken = |error| broken(format, error);
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    decoder.set_limits(check_size(width, height, bytes.len(), room)?).map_err(broken)?;
    Ok(decoder)
}

/// Decodes a file of a format whose decoder says no more than whether it could.
fn decode(bytes: &[u8], format: ImageFormat, room: u64) -> Result<Decoded> {
    let mut decoder = open(bytes, format, room)?;
    // A broken EXIF block should not cost the user the picture.
    let orientation = decoder.orientation().ok();
    read(decoder, format, orientation)
}

fn read(decoder: impl ImageDecoder, format: ImageFormat, orientation: Option<Orientation>) -> Result<Decoded> {
    let (width, height) = decoder.dimensions();
    let (channels, values) = match DynamicImage::from_decoder(decoder).map_err(|error| broken(format, error))? {
        DynamicImage::ImageLuma8(image) => (1, image.into_raw()),
        DynamicImage::ImageLumaA8(image) => (2, image.into_raw()),
        DynamicImage::ImageRgb8(image) => (3, image.into_raw()),
        other => (4, other.into_rgba8().into_raw()),
    };
    let samples = Samples { width: width as usize, height: height as usize, channels, values };
    Ok(Decoded { samples, orientation, notes: Vec::new() })
}

/// Decodes a JPEG picture: as it is where it has its end marker, with one where only that is missing.
fn decode_jpeg(bytes: &[u8], room: u64) -> Result<Decoded> {
    let cut = |what: String| Error::Truncated { format: "JPEG", what };
    let headless = || cut("its header is not whole".into());
    let outline = jpeg::outline(bytes).ok_or_else(headless)?;
    if outline.len.is_none() {
        // The size is checked first: of a progressive picture, every block takes some memory.
        drop(open(bytes, ImageFormat::Jpeg, room).map_err(|error| match error {
            Error::Broken { .. } => headless(),
            error => error,
        })?);
        let coverage = jpeg_scans::coverage(bytes).ok_or_else(|| cut("its end marker is missing".into()))?;
        match coverage.missing {
            None => {}
            Some(Missing::Rows { rows, of }) => return Err(cut(format!("{rows} of {of} rows of pixels are there"))),
            Some(Missing::Scans) => return Err(cut("some of its scans are missing".into())),
        }
        // There are two copies of the file then.
        let room = room.saturating_sub(bytes.len() as u64);
        let mut decoded = decode(&jpeg::with_end(bytes, coverage.end), ImageFormat::Jpeg, room)?;
        decoded.notes.push(Note::NoEnd { mark: "its end marker" });
        return Ok(decoded);
    }
    let mut decoded = decode(bytes, ImageFormat::Jpeg, room)?;
    if let Some(coverage) = jpeg_scans::coverage(bytes)
        && coverage.broken
    {
        decoded.notes.extend(coverage.missing.map(|missing| match missing {
            Missing::Rows { rows, of } => Note::Incomplete { rows, of },
            Missing::Scans => Note::Scan,
        }));
    }
    Ok(decoded)
}

/// Decodes a BMP picture. An alpha channel of zeros is one that nobody has filled, and stands for none.
fn decode_bmp(bytes: &[u8], room: u64) -> Result<Decoded> {
    let mut decoded = decode(&bmp::padded(bytes), ImageFormat::Bmp, room)?;
    let samples = &mut decoded.samples;
    if samples.channels == 4 && samples.values.iter().skip(3).step_by(4).all(|&alpha| alpha == 0) {
        samples.values.iter_mut().skip(3).step_by(4).for_each(|alpha| *alpha = 255);
    }
    Ok(decoded)
}

/// Decodes a WebP picture.
fn decode_webp(bytes: &[u8], room: u64) -> Result<Decoded> {
    let mut decoder = open(bytes, ImageFormat::WebP, room)?;
    let cut = webp::cut(bytes);
    // The decoder makes room for an EXIF block of any length that it is said to have.
    let orientation = if cut.is_none() { decoder.orientation().ok() } else { None };
    let mut decoded = read(decoder, ImageFormat::WebP, orientation)?;
    if cut.is_some_and(|cut| cut.belongs) {
        decoded.notes.push(Note::NoEnd { mark: "its end" });
    }
    Ok(decoded)
}

/// Takes alpha off, repeats grey; and whether a pixel was transparent. No second copy of a colour picture.
fn to_rgb(samples: Samples, alpha: Alpha) -> (image::RgbImage, bool) {
    let Samples { width, height, channels, values } = samples;
    let (values, transparent) = if channels % 2 == 0 { alpha.flatten(values, channels) } else { (values, false) };
    let rgb = if channels < 3 { values.into_iter().flat_map(|v| [v; 3]).collect() } else { values };
    let image = image::RgbImage::from_raw(width as u32, height as u32, rgb);
    (image.expect("as many samples as the decoder promised"), transparent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::png::{BitDepth, ColorType};
    use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.into().write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    /// Pixels and notes.
    fn read(bytes: &[u8], alpha: Alpha) -> (Vec<u8>, Vec<Note>) {
        let (picture, notes) = Picture::decode_within(bytes, alpha, u64::MAX).unwrap();
        (picture.rgb, notes)
    }

    #[test]
    fn transparent_pixels_are_laid_over_white_with_a_note_or_seen_as_they_are() {
        let rgba = ImageBuffer::from_fn(3, 2, |x, y| Rgba([x as u8, y as u8, 9, if x == 0 { 255 } else { 0 }]));
        let [white, drop] = [Alpha::White, Alpha::Drop].map(|alpha| (alpha, vec![Note::Transparent(alpha)]));
        for format in [ImageFormat::Png, ImageFormat::WebP] {
            let file = encoded(rgba.clone(), format);
            let over = [[0, 0, 9], [255; 3], [255; 3], [0, 1, 9], [255; 3], [255; 3]].concat();
            assert_eq!(read(&file, white.0), (over, white.1.clone()), "{format:?}");
            let under = vec![0, 0, 9, 1, 0, 9, 2, 0, 9, 0, 1, 9, 1, 1, 9, 2, 1, 9];
            assert_eq!(read(&file, drop.0), (under, drop.1.clone()), "{format:?}");
        }
        let grey = encoded(ImageBuffer::from_fn(2, 1, |x, _| LumaA([40 + x as u8, 51])), ImageFormat::Png);
        assert_eq!(read(&grey, white.0).0, [212; 6]);
        assert_eq!(read(&grey, drop.0).0, [40, 40, 40, 41, 41, 41]);
        let gif = encoded(ImageBuffer::from_fn(2, 1, |x, _| Rgba([200, 0, 0, 255 * x as u8])), ImageFormat::Gif);
        assert_eq!(read(&gif, white.0), (vec![255, 255, 255, 200, 0, 0], white.1));
    }

    /// A PNG picture of one row: its header's depth and colour type, other chunks, the filtered row.
    fn row(width: u32, depth: BitDepth, colour: ColorType, trns: &[u8], row: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut out, width, 1);
        encoder.set_depth(depth);
        encoder.set_color(colour);
        if colour == ColorType::Indexed {
            encoder.set_palette(vec![10, 20, 30, 40, 50, 60]);
        }
        encoder.set_trns(trns.to_vec());
        encoder.write_header().unwrap().write_image_data(row).unwrap();
        out
    }

    #[test]
    fn a_transparent_colour_of_a_palette_of_rgb_or_of_grey_is_alpha_too() {
        let notes = vec![Note::Transparent(Alpha::White)];
        let palette = row(2, BitDepth::Eight, ColorType::Indexed, &[255, 0], &[0, 1]);
        assert_eq!(read(&palette, Alpha::White), (vec![10, 20, 30, 255, 255, 255], notes.clone()));
        assert_eq!(read(&palette, Alpha::Drop).0, [10, 20, 30, 40, 50, 60]);
        let unused = row(1, BitDepth::Eight, ColorType::Indexed, &[255, 0], &[0]);
        assert_eq!(read(&unused, Alpha::White), (vec![10, 20, 30], vec![]));
        let rgb = row(2, BitDepth::Eight, ColorType::Rgb, &[0, 1, 0, 2, 0, 3], &[1, 2, 3, 1, 2, 4]);
        assert_eq!(read(&rgb, Alpha::White), (vec![255, 255, 255, 1, 2, 4], notes.clone()));
        let deep = row(2, BitDepth::Sixteen, ColorType::Grayscale, &[1, 2], &[1, 2, 1, 3]);
        assert_eq!(read(&deep, Alpha::White), (vec![255, 255, 255, 1, 1, 1], notes));
    }

    #[test]
    fn an_alpha_channel_of_a_bmp_that_nobody_filled_is_none() {
        let bmp =
            |alpha| encoded(ImageBuffer::from_fn(2, 1, |x, _| Rgba([9, 8, 7, alpha * x as u8])), ImageFormat::Bmp);
        assert_eq!(read(&bmp(0), Alpha::White), (vec![9, 8, 7, 9, 8, 7], vec![]));
        let notes = vec![Note::Transparent(Alpha::White)];
        assert_eq!(read(&bmp(255), Alpha::White), (vec![255, 255, 255, 9, 8, 7], notes));
    }

    #[test]
    fn sixteen_bit_samples_keep_their_high_byte() {
        let rgb = ImageBuffer::from_fn(2, 1, |x, _| Rgb([0x1234u16 + x as u16, 0xFFFF, 0x00FF]));
        assert_eq!(Picture::decode(&encoded(rgb, ImageFormat::Png)).unwrap().rgb, [0x12, 255, 0, 0x12, 255, 0]);
        let grey =
            encoded(ImageBuffer::from_fn(3, 1, |x, _| Luma([[0xFE, 0x80FE, 0xFFFFu16][x as usize]])), ImageFormat::Png);
        assert_eq!(read(&grey, Alpha::White), ([[0; 3], [0x80; 3], [255; 3]].concat(), vec![]));
        let alpha = encoded(ImageBuffer::from_fn(2, 1, |x, _| LumaA([0x80FFu16, 0xFFFF * x as u16])), ImageFormat::Png);
        assert_eq!(read(&alpha, Alpha::White).0, [[255; 3], [128; 3]].concat());
        assert_eq!(read(&alpha, Alpha::Drop).0, [128; 6]);
        let rgba = encoded(ImageBuffer::from_pixel(1, 1, Rgba([0x1234u16, 0, 0xFF00, 0xFFFF])), ImageFormat::Png);
        assert_eq!(read(&rgba, Alpha::White), (vec![0x12, 0, 255], vec![]));
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

    /// Pictures of `tests/vision/pictures`, which `make.py` there has made, with the number of bytes behind their pixels.
    const WHOLE: [(&str, &[u8], usize); 9] = [
        ("baseline", include_bytes!("../../tests/vision/pictures/baseline.jpg"), 2),
        ("grey", include_bytes!("../../tests/vision/pictures/grey.jpg"), 2),
        ("restarts", include_bytes!("../../tests/vision/pictures/restarts.jpg"), 2),
        ("cmyk", include_bytes!("../../tests/vision/pictures/cmyk.jpg"), 2),
        ("scans", include_bytes!("../../tests/vision/pictures/scans.jpg"), 2),
        ("progressive", include_bytes!("../../tests/vision/pictures/progressive.jpg"), 2),
        ("progressive with restarts", include_bytes!("../../tests/vision/pictures/progressive-restarts.jpg"), 2),
        ("rows", include_bytes!("../../tests/vision/pictures/rows.png"), 20),
        ("interlaced", include_bytes!("../../tests/vision/pictures/interlaced.png"), 20),
    ];

    #[test]
    fn a_file_is_read_exactly_as_long_as_all_its_pixels_are_there() {
        for (name, bytes, behind) in WHOLE {
            let (whole, notes) = Picture::decode_within(bytes, Alpha::White, u64::MAX).unwrap();
            assert_eq!(notes, [], "{name}");
            let last = bytes.len() - behind;
            for len in 0..bytes.len() {
                match Picture::decode_within(&bytes[..len], Alpha::White, u64::MAX) {
                    Ok((picture, notes)) => {
                        // What ends the codes of a PNG picture takes a byte, too.
                        assert!(len + behind / 10 >= last && picture == whole, "{name} cut at {len}: {notes:?}");
                        assert!(matches!(notes[..], [Note::NoEnd { .. }] | []), "{name} cut at {len}: {notes:?}");
                        // The chunk that ends a PNG picture has a checksum, which nobody misses.
                        assert_eq!(notes.is_empty(), behind > 2 && len + 4 >= bytes.len(), "{name} cut at {len}");
                    }
                    Err(error) => {
                        assert!(len < last, "{name} cut at {len}: {error}");
                        let said = error.to_string();
                        let is_told = len < 12 || said.starts_with("truncated");
                        assert!(is_told, "{name} cut at {len}: {said}");
                    }
                }
            }
            let trailing = [bytes, &[0, 0xFF, 0x11, 0xFF, 0xD8, 7, 7, 7, 7, 7]].concat();
            assert_eq!(Picture::decode_within(&trailing, Alpha::White, u64::MAX).unwrap(), (whole.clone(), vec![]));
            let other = [&bytes[..last], &[0; 40]].concat();
            let (picture, notes) = Picture::decode_within(&other, Alpha::White, u64::MAX).unwrap();
            assert!(picture == whole && !notes.is_empty(), "{name} with zeros for its end: {notes:?}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let said = |bytes: &[u8]| Picture::decode(bytes).unwrap_err().to_string();
        let file = |name: &str| WHOLE.iter().find(|(other, ..)| *other == name).unwrap().1;
        let half = |name: &str| file(name)[..file(name).len() * 2 / 3].to_vec();
        assert!(said(&half("baseline")).contains(" of 45 rows of pixels are there"), "{}", said(&half("baseline")));
        assert!(said(&half("rows")).contains(" of 45 rows of pixels are there"), "{}", said(&half("rows")));
        assert!(said(&half("progressive")).contains("scans are missing"));
        // With an end marker a decoder fills what is missing with grey.
        for (name, expected) in [("baseline", "rows are certain"), ("progressive", "a scan breaks off")] {
            let ended = [&file(name)[..file(name).len() - 20], &[0xFF, 0xD9]].concat();
            let (_, notes) = Picture::decode_within(&ended, Alpha::White, u64::MAX).unwrap();
            assert!(notes[0].to_string().contains(expected), "{notes:?}");
        }
    }

    #[test]
    fn wrong_checksums_cost_no_pixel() {
        let (_, png, _) = WHOLE[7];
        let (whole, _) = Picture::decode_within(png, Alpha::White, u64::MAX).unwrap();
        let n = png.len();
        // The checksum of the chunk of pixels, and that of the pixels themselves.
        for at in [n - 13, n - 17] {
            let mut bytes = png.to_vec();
            bytes[at] ^= 1;
            let (picture, notes) = Picture::decode_within(&bytes, Alpha::White, u64::MAX).unwrap();
            assert!(picture == whole && notes == [Note::Checksum], "byte {at}: {notes:?}");
        }
        // Text with a wrong checksum, in front of the pixels and behind them.
        let text = b"\0\0\0\x03tEXta\0b\0\0\0\0";
        for at in [33, n - 12] {
            let bytes = [&png[..at], text, &png[at..]].concat();
            assert_eq!(Picture::decode_within(&bytes, Alpha::White, u64::MAX).unwrap(), (whole.clone(), vec![]));
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
        assert!(matches!(Picture::decode(b"GGUF\x03\0\0\0"), Err(Error::Foreign { .. })));
        assert!(matches!(Picture::decode(b"\x01\x02\x03"), Err(Error::NotAPicture { .. })));
        assert!(matches!(Picture::decode(b""), Err(Error::Empty)));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
        })
    }
}
