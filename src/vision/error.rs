//! What can be wrong with a picture, a clip or a vision file, as sentences that say what to do.

use std::{io, path::PathBuf};
use thiserror::Error;

/// An error of the vision half.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Error {
    #[error("not a JPEG, PNG, WebP, GIF or BMP picture ({what})")]
    NotAPicture { what: String },
    #[error("{name}, and pictures are read as JPEG, PNG, WebP, GIF or BMP: {advice}")]
    Foreign { name: &'static str, advice: &'static str },
    #[error("an empty file")]
    Empty,
    #[error("broken {format} picture: {reason}")]
    Broken { format: &'static str, reason: String },
    #[error("truncated {format} picture: {what}; get the whole file")]
    Truncated { format: &'static str, what: String },
    #[error("a picture of {width} x {height} pixels is too large: at most {limit} pixels are decoded")]
    TooManyPixels { width: u32, height: u32, limit: u64 },
    #[error(
        "a picture of {width} x {height} pixels takes up to {need} bytes to decode, and the memory plan leaves {room}: \
         allow more memory, or give a smaller one"
    )]
    NoRoom { width: u32, height: u32, need: u64, room: u64 },
    #[error(
        "the memory plan leaves {room} bytes, and the vision tower needs more for the smallest picture: allow more \
         memory, or look at fewer"
    )]
    NoRoomToLook { room: u64 },
    #[error("{bytes} bytes that claim {width} x {height} pixels: refused as a decompression bomb")]
    Bomb { bytes: usize, width: u32, height: u32 },
    #[error("a picture of {width} x {height} pixels is too thin: one side may be at most {limit} times the other")]
    TooThin { width: usize, height: usize, limit: usize },
    #[error("a picture without pixels ({width} x {height})")]
    NoPixels { width: u32, height: u32 },
    #[error("a data URL must read data:image/TYPE;base64,DATA, and {reason}")]
    DataUrl { reason: String },
    #[error("more than {limit} bytes: too large for a picture or a clip")]
    TooManyBytes { limit: u64 },
    #[error("no frames found: {what}")]
    NoFrames { what: &'static str },
    #[error("broken AVI file at byte {offset}: {reason}")]
    Avi { offset: usize, reason: String },
    #[error("an AVI file of {codec} video, and only MJPEG is read without ffmpeg")]
    AviCodec { codec: String },
    #[error("frame {index} of {total}: {reason}")]
    Frame { index: usize, total: usize, reason: Box<Error> },
    #[error("frame {path:?}: {reason}")]
    FrameFile { path: PathBuf, reason: Box<Error> },
    #[error("a directory, not a picture")]
    Directory,
    #[error("a still picture, not a clip")]
    Still,
    #[error(
        "not an animated GIF or WebP, an AVI or an MJPEG clip ({what}); give other clips as a file, for ffmpeg to read"
    )]
    NotAClip { what: String },
    #[error("the clip holds more than {limit} pixels in all its frames: use a shorter or smaller one")]
    ClipTooLong { limit: u64 },
    #[error(
        "not a directory of frames, an animated GIF or WebP, or an MJPEG file ({what}); other clips need the program \
         ffmpeg, which was not found: install it, or write the frames into a directory"
    )]
    NoFfmpeg { what: String },
    #[error("ffmpeg could not read it: {reason}")]
    Ffmpeg { reason: String },
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Placeholders(String),
}

/// Whether pictures can be looked at in this build.
///
/// # Errors
/// None: they can.
pub fn check_built() -> Result<()> {
    Ok(())
}

/// A result of the vision half.
pub type Result<T> = std::result::Result<T, Error>;
