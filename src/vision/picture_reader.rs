//! Reads pictures to patches: no tower is needed for that, and it can be done on another thread than the tower's.

use super::Result;
use super::alpha::Alpha;
use super::eyes::{Prepared, Report, Times};
use super::image_file;
use super::picture::Picture;
use super::preprocess::PixelValues;
use super::resize::{Area, Size, image_size, resize};
use std::time::Instant;

/// How pictures are read.
#[derive(Clone, Copy, Debug)]
pub struct PictureReader {
    /// The sizes that the tower was trained on.
    pub area: Area,
    /// Tokens of the largest picture.
    pub max_tokens: usize,
    /// What becomes of transparent pixels.
    pub alpha: Alpha,
    /// Bytes that a picture's file and its pixels as decoded may take.
    pub room: u64,
}

impl PictureReader {
    /// Tokens that the picture of a file takes, from the size in its header.
    ///
    /// # Errors
    /// What is wrong with the header.
    pub fn tokens(&self, bytes: &[u8]) -> Result<usize> {
        let from = image_file::size(bytes, self.room)?;
        Ok(image_size(from, self.area.with_max_tokens(self.max_tokens))?.tokens())
    }

    /// Reads the picture of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&self, bytes: Vec<u8>) -> Result<Prepared> {
        let start = Instant::now();
        let (picture, notes) = Picture::decode_within(&bytes, self.alpha, self.room)?;
        drop(bytes);
        let decode = start.elapsed();
        let from = Size { height: picture.height, width: picture.width };
        let to = image_size(from, self.area.with_max_tokens(self.max_tokens))?;
        let capped = to != image_size(from, self.area)?;
        let pixels = PixelValues::image(&resize(picture, to));
        let times = Times { decode, resize: start.elapsed() - decode, ..Times::default() };
        let report =
            Report { from, to, tokens: pixels.grid.tokens(), capped, notes, frames: None, cached: false, times };
        Ok(Prepared { pixels, seconds: None, report })
    }
}
