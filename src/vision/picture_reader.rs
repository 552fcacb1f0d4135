//! Reads pictures to patches: no tower is needed for that, and it can be done on another thread than the tower's.

use super::Result;
use super::alpha::Alpha;
use super::eyes::{Prepared, Report, Times};
use super::image_file;
use super::picture::Picture;
use super::positions::Insert;
use super::preprocess::{GridThw, PATCH, PixelValues};
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
    /// What stands in a prompt for the picture of a file, from the size in its header: one that lies on its side may be
    /// turned yet.
    ///
    /// # Errors
    /// What is wrong with the header.
    pub fn insert(&self, bytes: &[u8]) -> Result<Insert> {
        let from = image_file::size(bytes, self.room)?;
        let Size { height, width } = image_size(from, self.area.with_max_tokens(self.max_tokens))?;
        Ok(Insert { grid: GridThw { t: 1, h: height / PATCH, w: width / PATCH }, seconds: None })
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
