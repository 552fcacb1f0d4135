//! PNG pictures: row by row, so that one that is cut can be told from one that only lacks its end.

use super::error::{Error, Result};
use super::note::Note;
use super::samples::{Decoded, Samples, check_size};
use image::metadata::Orientation;
use png::{BitDepth, DecodingError, Transformations};
use std::io::Cursor;

/// Bytes a decoder may take beside the pixels: for a row, and the chunks it keeps.
const WORK_BYTES: usize = 32 << 20;

/// Decodes a picture with `room` bytes of memory, those of the file among them.
///
/// # Errors
/// What is wrong with it; [`Error::Truncated`] when rows are missing.
pub(super) fn decode(bytes: &[u8], room: u64) -> Result<Decoded> {
    if let (rows, None) = Rows::read(bytes, room, true)? {
        return Ok(rows.finish(bytes));
    }
    // A checksum may be all that is wrong. What is no pixel is cut off: at the end of the bytes all rows are delivered
    // that are there, in front of another chunk not always.
    let data = &bytes[..data_end(bytes)];
    let (mut rows, error) = Rows::read(data, room, false)?;
    let Some(error) = error else {
        rows.checksum = false;
        return Ok(rows.finish(bytes));
    };
    let what = match rows.n {
        Some(n) => format!("{n} of {} rows of pixels are there", rows.samples.height),
        None => "some of its pixels are missing".into(),
    };
    Err(match is_end(&error) {
        true => Error::Truncated { format: "PNG", what },
        false => Error::Broken { format: "PNG", reason: format!("{}; {what}", plain(&error)) },
    })
}

/// The rows that could be read.
struct Rows {
    samples: Samples,
    orientation: Option<Orientation>,
    /// How many there are; `None` when they come interlaced.
    n: Option<usize>,
    /// Whether the checksums over them are right, as far as is known.
    checksum: bool,
}

impl Rows {
    /// Reads all rows, or those in front of an error; with `strict`, a wrong checksum is one.
    fn read(bytes: &[u8], room: u64, strict: bool) -> Result<(Rows, Option<DecodingError>)> {
        let limits = png::Limits { bytes: WORK_BYTES.saturating_add(bytes.len()) };
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        decoder.set_transformations(Transformations::EXPAND);
        let header = decoder.read_header_info().map_err(broken)?;
        let (width, height) = (header.width, header.height);
        check_size(width, height, bytes.len(), room)?;
        decoder.ignore_checksums(!strict);
        let mut reader = decoder.read_info().map_err(broken)?;
        let orientation = reader.info().exif_metadata.as_deref().and_then(Orientation::from_exif_chunk);
        let (colour, depth) = reader.output_color_type();
        let deep = depth == BitDepth::Sixteen;
        let channels = colour.samples();
        let stride = width as usize * channels * if deep { 2 } else { 1 };
        let mut samples = vec![0; stride * height as usize];
        let (mut n, mut error) = (0, None);
        if reader.info().interlaced {
            let bits = (channels * if deep { 16 } else { 8 }) as u8;
            for _ in 0..interlaced_rows(width, height) {
                match reader.next_interlaced_row() {
                    Ok(row) => {
                        let row = row.map(|row| (*row.interlace(), row.data()));
                        if let Some((png::InterlaceInfo::Adam7(place), row)) = row {
                            png::expand_interlaced_row(&mut samples, stride, row, &place, bits);
                        }
                    }
                    Err(failure) => {
                        error = Some(failure);
                        break;
                    }
                }
            }
        } else {
            for row in samples.chunks_exact_mut(stride) {
                match reader.read_row(row) {
                    Ok(_) => n += 1,
                    Err(failure) => {
                        error = Some(failure);
                        break;
                    }
                }
            }
        }
        // What is left of the data behind the last row is a checksum or two.
        let checksum = error.is_some() || reader.next_row().map_or_else(|error| is_end(&error), |_| true);
        if deep {
            // The high byte of each comes first.
            for i in 0..samples.len() / 2 {
                samples[i] = samples[2 * i];
            }
            samples.truncate(samples.len() / 2);
        }
        let n = (!reader.info().interlaced).then_some(n);
        let samples = Samples { width: width as usize, height: height as usize, channels, values: samples };
        Ok((Rows { samples, orientation, n, checksum }, error))
    }

    fn finish(self, bytes: &[u8]) -> Decoded {
        let mut notes = Vec::new();
        if !has_end(bytes) {
            notes.push(Note::NoEnd { mark: "its IEND chunk" });
        }
        if !self.checksum {
            notes.push(Note::Checksum);
        }
        Decoded { samples: self.samples, orientation: self.orientation, notes }
    }
}

/// Rows of all passes of an interlaced picture (Adam7).
fn interlaced_rows(width: u32, height: u32) -> u32 {
    // First column and row, and the step from row to row, of each pass.
    let passes = [(0, 0, 8), (4, 0, 8), (0, 4, 8), (2, 0, 4), (0, 2, 4), (1, 0, 2), (0, 1, 2)];
    let rows = |(column, row, step): (u32, u32, u32)| {
        if width > column { height.saturating_sub(row).div_ceil(step) } else { 0 }
    };
    passes.into_iter().map(rows).sum()
}

/// Whether the data were at their end too early.
fn is_end(error: &DecodingError) -> bool {
    matches!(error, DecodingError::IoError(_))
}

/// What the decoder said, with the name of a chunk in place of all that can be told from it.
fn plain(error: &DecodingError) -> String {
    let said = error.to_string();
    let said = said.trim_end_matches('.');
    let named = || {
        let (before, chunk) = said.split_once("ChunkType { type: ")?;
        let (name, rest) = chunk.split_once(", ")?;
        Some(format!("{before}{name}{}", rest.split_once('}')?.1))
    };
    named().unwrap_or_else(|| said.to_owned())
}

fn broken(error: DecodingError) -> Error {
    match error {
        error if is_end(&error) => Error::Truncated { format: "PNG", what: "its header is not whole".into() },
        error => Error::Broken { format: "PNG", reason: plain(&error) },
    }
}

/// The chunks: name, and end in the file where the next one begins; a last one that is cut ends where the file does.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], usize)> {
    let mut at = 8;
    std::iter::from_fn(move || {
        let [l0, l1, l2, l3, name @ ..] = *bytes.get(at..)?.first_chunk::<8>()?;
        let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        at = (at + 12).saturating_add(len).min(bytes.len());
        Some((name, at))
    })
}

/// Whether the chunks lead to the one that ends the picture.
fn has_end(bytes: &[u8]) -> bool {
    chunks(bytes).any(|(name, _)| &name == b"IEND")
}

/// End of the data of the pixels, their last checksum included.
fn data_end(bytes: &[u8]) -> usize {
    chunks(bytes).filter(|(name, _)| name == b"IDAT").last().map_or(bytes.len(), |(_, end)| end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_named_by_its_name() {
        let error = decode(b"\x89PNG\r\n\x1a\n\0\0\0\0ABCD\0\0\0\0", u64::MAX).err().unwrap().to_string();
        assert_eq!(error, "broken PNG picture: ABCD chunk appeared before IHDR chunk");
    }

    #[test]
    fn the_rows_of_all_passes_are_counted() {
        assert_eq!(interlaced_rows(8, 8), 1 + 1 + 1 + 2 + 2 + 4 + 4);
        assert_eq!(interlaced_rows(1, 1), 1);
        assert_eq!(interlaced_rows(2, 5), 1 + 1 + 1 + 3 + 2);
    }
}
