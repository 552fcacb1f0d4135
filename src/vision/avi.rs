//! The frames of an MJPEG clip: an AVI file's index of video chunks, or JPEG pictures one after another. Finds where
//! they lie and how fast they follow; decodes nothing.

use super::error::{Error, Result};
use super::jpeg;
use std::ops::Range;

/// An MJPEG clip.
#[derive(Debug, PartialEq)]
pub struct Mjpeg {
    /// Where each frame lies in the file.
    pub frames: Vec<Range<usize>>,
    /// Frames a second, when the file says so.
    pub fps: Option<f64>,
}

/// Whether the bytes start as an AVI file does.
pub fn is_avi(bytes: &[u8]) -> bool {
    bytes.len() >= 12 && &bytes[..4] == b"RIFF" && &bytes[8..12] == b"AVI "
}

/// Splits a stream of JPEG pictures. Bytes between pictures are skipped; the clip ends at the first cut or broken one.
pub fn split_stream(bytes: &[u8]) -> Mjpeg {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some(start) = bytes[at..].windows(3).position(jpeg::starts).map(|p| at + p) {
        let Some(len) = jpeg::outline(&bytes[start..]).and_then(|outline| outline.len) else { break };
        at = start + len;
        frames.push(start..at);
    }
    Mjpeg { frames, fps: None }
}

/// One RIFF chunk.
struct Chunk<'a> {
    id: &'a [u8],
    /// Start of the body in the file.
    at: usize,
    body: &'a [u8],
}

/// The chunks of a body that starts at byte `at` of the file. A last chunk that reaches past the end is cut: the frames
/// before it are still good.
fn chunks<'a>(body: &'a [u8], mut at: usize) -> impl Iterator<Item = Chunk<'a>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (head, tail) = rest.split_at_checked(8)?;
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let chunk = Chunk { id: &head[..4], at: at + 8, body: &tail[..len.min(tail.len())] };
        // Bodies are padded to even length.
        let step = len.saturating_add(len & 1).min(tail.len());
        rest = &tail[step..];
        at += 8 + step;
        Some(chunk)
    })
}

/// The list type of a `LIST` chunk and its contents.
fn list<'a>(chunk: &Chunk<'a>) -> Option<(&'a [u8], &'a [u8], usize)> {
    let (kind, body) = chunk.body.split_at_checked(4)?;
    (chunk.id == b"LIST" || chunk.id == b"RIFF").then_some((kind, body, chunk.at + 4))
}

fn le32(body: &[u8], at: usize) -> Option<u32> {
    let bytes = body.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().expect("four bytes")))
}

/// The MJPEG video stream of an AVI file, OpenDML continuation included.
///
/// # Errors
/// [`Error::Avi`] when there is no header or no video stream, [`Error::AviCodec`] for another codec.
pub fn parse(bytes: &[u8]) -> Result<Mjpeg> {
    let wrong = |offset, reason: &str| Error::Avi { offset, reason: reason.into() };
    let mut stream = None;
    let mut frames = Vec::new();
    for riff in chunks(bytes, 0) {
        let Some((_, body, at)) = list(&riff) else { continue };
        for chunk in chunks(body, at) {
            match list(&chunk) {
                Some((b"hdrl", body, at)) if stream.is_none() => {
                    stream = Some(video_stream(body, at)?.ok_or_else(|| wrong(at, "no video stream in its header"))?);
                }
                Some((b"movi", body, at)) => {
                    let (number, _) = stream.ok_or_else(|| wrong(at, "frames before the header"))?;
                    collect_frames(body, at, number, &mut frames);
                }
                _ => {}
            }
        }
    }
    let (_, fps) = stream.ok_or_else(|| wrong(12, "no header list"))?;
    Ok(Mjpeg { frames, fps })
}

/// Number and frame rate of the first video stream of a header list.
fn video_stream(header: &[u8], at: usize) -> Result<Option<(usize, Option<f64>)>> {
    let mut number = 0;
    for chunk in chunks(header, at) {
        let Some((b"strl", body, at)) = list(&chunk) else { continue };
        let (mut is_video, mut fps, mut codec) = (false, None, None);
        for chunk in chunks(body, at) {
            match chunk.id {
                b"strh" => {
                    is_video = chunk.body.starts_with(b"vids");
                    codec = codec.or(chunk.body.get(4..8));
                    if let (Some(scale), Some(rate)) = (le32(chunk.body, 20), le32(chunk.body, 24)) {
                        let value = f64::from(rate) / f64::from(scale);
                        fps = (value.is_finite() && (0.001..1000.0).contains(&value)).then_some(value);
                    }
                }
                // The compression field of the bitmap header says what the frames really are.
                b"strf" => codec = chunk.body.get(16..20).or(codec),
                _ => {}
            }
        }
        if is_video {
            let codec = codec.unwrap_or(b"none");
            if !codec.eq_ignore_ascii_case(b"MJPG") && !codec.eq_ignore_ascii_case(b"jpeg") {
                return Err(Error::AviCodec { codec: codec.escape_ascii().to_string() });
            }
            return Ok(Some((number, fps)));
        }
        number += 1;
    }
    Ok(None)
}

/// Appends the chunks of stream `number` (`00dc` or `00db` for the first) of a movie list, `rec ` lists included.
fn collect_frames(body: &[u8], at: usize, number: usize, frames: &mut Vec<Range<usize>>) {
    let name = format!("{number:02}");
    for chunk in chunks(body, at) {
        if let Some((b"rec ", body, at)) = list(&chunk) {
            // One level: records hold no records.
            frames.extend(chunks(body, at).filter(|c| is_frame(c, &name)).map(|c| c.at..c.at + c.body.len()));
        } else if is_frame(&chunk, &name) {
            frames.push(chunk.at..chunk.at + chunk.body.len());
        }
    }
}

fn is_frame(chunk: &Chunk<'_>, number: &str) -> bool {
    &chunk.id[..2] == number.as_bytes() && matches!(&chunk.id[2..], b"dc" | b"db") && !chunk.body.is_empty()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn chunk(id: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out = [id, &(body.len() as u32).to_le_bytes(), body].concat();
        out.resize(out.len().next_multiple_of(2), 0);
        out
    }

    /// An AVI file of the given frames, sound in between, at 15 frames a second.
    pub fn write(codec: &[u8; 4], frames: &[Vec<u8>]) -> Vec<u8> {
        let mut strh = [b"vids".as_slice(), codec].concat();
        strh.resize(20, 0);
        strh.extend_from_slice(&2u32.to_le_bytes());
        strh.extend_from_slice(&30u32.to_le_bytes());
        let mut strf = vec![0; 16];
        strf.extend_from_slice(codec);
        let sound = [b"strl".to_vec(), chunk(b"strh", b"auds")].concat();
        let video = [b"strl".to_vec(), chunk(b"strh", &strh), chunk(b"strf", &strf)].concat();
        let header = [b"hdrl".to_vec(), chunk(b"LIST", &sound), chunk(b"LIST", &video)].concat();
        let mut movie = b"movi".to_vec();
        for frame in frames {
            movie.extend(chunk(b"00wb", &[1, 2, 3]));
            movie.extend(chunk(b"01dc", frame));
        }
        let body = [b"AVI ".to_vec(), chunk(b"LIST", &header), chunk(b"LIST", &movie)].concat();
        chunk(b"RIFF", &body)
    }

    #[test]
    fn the_video_stream_is_found_among_others() {
        let bytes = write(b"MJPG", &[vec![7; 5], vec![8; 4], vec![]]);
        assert!(is_avi(&bytes));
        let clip = parse(&bytes).unwrap();
        assert_eq!(clip.fps, Some(15.0));
        let found: Vec<_> = clip.frames.iter().map(|r| &bytes[r.clone()]).collect();
        assert_eq!(found, [&[7u8; 5][..], &[8; 4]]);
    }

    #[test]
    fn another_codec_is_named() {
        let error = parse(&write(b"H264", &[vec![0; 4]])).unwrap_err();
        assert!(error.to_string().contains("H264"), "{error}");
    }

    #[test]
    fn no_truncation_or_corruption_panics() {
        let bytes = write(b"MJPG", &[vec![7; 5], vec![8; 4]]);
        for len in 0..bytes.len() {
            let _ = parse(&bytes[..len]);
        }
        for i in 0..bytes.len() {
            for value in [0, 0x7F, 0xFF] {
                let mut bad = bytes.clone();
                bad[i] = value;
                if let Ok(clip) = parse(&bad) {
                    assert!(clip.frames.iter().all(|r| r.end <= bad.len()));
                }
            }
        }
    }
}
