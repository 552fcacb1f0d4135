//! A vision tower that looks at pictures and clips: within the memory it may take, and remembering what it has seen.

use super::alpha::Alpha;
use super::cache::Cache;
use super::eyes::{self, Looking, Prepared, Report, Seen};
use super::picture_reader::PictureReader;
use super::preprocess::TEMPORAL;
use super::resize::TOKEN_PIXELS;
use super::tower;
use super::{Error, Result, Source, VisionModel, video, weights};
use crate::compute::Compute;
use crate::gguf::{self, Gguf};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// How closely to look.
#[derive(Clone, Debug)]
pub struct ViewerOptions {
    /// What becomes of transparent pixels.
    pub alpha: Alpha,
    /// Frames a second to read of a clip.
    pub fps: f64,
    /// Most frames to read of a clip.
    pub max_frames: usize,
    /// The size of the largest picture.
    pub limit: SizeLimit,
    /// Where rows are kept from one run to the next.
    pub cache: Option<PathBuf>,
}

/// The size of the largest picture, and of two frames of a clip where it is not left to the plan.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum SizeLimit {
    /// What the memory plan makes of it.
    #[default]
    Planned,
    /// So many tokens, of 1,024 pixels each.
    Tokens(usize),
    /// What the tower manages in that time on this machine.
    Time(Duration),
}

impl Default for ViewerOptions {
    fn default() -> Self {
        ViewerOptions {
            alpha: Alpha::default(),
            fps: video::DEFAULT_FPS,
            max_frames: video::MAX_FRAMES,
            limit: SizeLimit::Planned,
            cache: None,
        }
    }
}

/// A vision tower and what it keeps. It computes with what the text model computes with.
pub struct Viewer {
    model: VisionModel,
    cache: Cache,
    max_tokens: usize,
    alpha: Alpha,
    video: video::Options,
    /// Bytes that looking may take, the rows that are kept among them.
    room: u64,
    /// Bytes of the rows made so far.
    kept: u64,
}

/// What came of looking at something.
pub struct Look {
    /// What stands in a prompt.
    pub seen: Seen,
    /// How it was read.
    pub report: Report,
    /// Why the rows could not be kept for later runs, if so.
    pub cached: io::Result<()>,
}

impl Viewer {
    /// Binds the tower in `gguf`. The largest picture is of `planned` tokens unless the options say otherwise; looking may
    /// take `room` bytes.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn new(
        gguf: &Gguf,
        options: &ViewerOptions,
        compute: &mut Compute,
        (planned, room): (usize, u64),
    ) -> std::result::Result<Viewer, weights::Error> {
        let model = VisionModel::bind(gguf)?;
        let max_tokens = match options.limit {
            SizeLimit::Planned => planned,
            SizeLimit::Tokens(tokens) => tokens,
            SizeLimit::Time(limit) => eyes::tokens_for_time(&model, compute, limit),
        };
        let video = video::Options {
            alpha: options.alpha,
            fps: options.fps,
            max_frames: options.max_frames,
            max_tokens: if options.limit == SizeLimit::Planned { usize::MAX } else { max_tokens },
            ..video::Options::default()
        };
        let cache = Cache::new(options.cache.as_deref());
        Ok(Viewer { model, cache, max_tokens, alpha: options.alpha, video, room, kept: 0 })
    }

    /// Keys of the file that were ignored.
    pub fn notes(&self) -> &[gguf::Note] {
        &self.model.notes
    }

    /// Tokens of the largest picture.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Bytes that the next input may take, and the most tokens, up to `most`, of one with so many frames.
    fn room_for(&self, most: usize, frames: usize, threads: usize) -> Result<(u64, usize)> {
        let room = self.room.saturating_sub(self.kept);
        match tower::tokens_within(&self.model.config, room, most, frames, threads) {
            0 => Err(Error::NoRoomToLook { room }),
            tokens => Ok((room, tokens)),
        }
    }

    /// Looks at a picture. `progress` is told how many of the tower's blocks are done, and how many there are.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn image(
        &mut self,
        source: &Source,
        compute: &mut Compute,
        progress: impl FnMut(usize, usize),
    ) -> Result<Look> {
        let (room, tokens) = self.room_for(self.max_tokens, 1, compute.team.threads())?;
        let prepared = eyes::prepare_image(source, &self.model, self.alpha, tokens, room)?;
        Ok(self.embed(prepared, compute, progress))
    }

    /// Looks at a clip.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn clip(&mut self, source: &Source, compute: &mut Compute, progress: impl FnMut(usize, usize)) -> Result<Look> {
        let mut options = self.video;
        let pair = TEMPORAL * TOKEN_PIXELS;
        let (room, tokens) = self.room_for(options.area.max / pair, TEMPORAL, compute.team.threads())?;
        options.area.max = options.area.max.min(tokens * pair);
        // Beside the file and a frame, there are all frames as resized and as the tower takes them.
        let pixels = options.area.max * 3 * (1 + size_of::<f32>());
        options.room = room.saturating_sub(pixels as u64);
        options.area.min = options.area.min.min(options.area.max);
        let prepared = eyes::prepare_video(source, &options)?;
        Ok(self.embed(prepared, compute, progress))
    }

    /// What reads pictures for [`Viewer::begin`], on any thread, where rows of so many bytes are kept beside.
    ///
    /// # Errors
    /// If there is no room for the smallest picture.
    pub fn reader(&self, kept: u64, threads: usize) -> Result<PictureReader> {
        let room = self.room.saturating_sub(kept);
        match tower::tokens_within(&self.model.config, room, self.max_tokens, 1, threads) {
            0 => Err(Error::NoRoomToLook { room }),
            max_tokens => Ok(PictureReader { area: self.model.config.area, max_tokens, alpha: self.alpha, room }),
        }
    }

    /// Remembers no more than so many bytes of rows.
    pub fn remember_at_most(&mut self, bytes: usize) {
        self.cache.remember_at_most(bytes);
    }

    /// Begins to look at a picture. Its rows are the caller's: they do not count as those that the viewer keeps.
    pub fn begin(&mut self, prepared: Prepared, compute: &mut Compute) -> Looking {
        prepared.begin(&self.model, compute, &mut self.cache)
    }

    /// Goes on looking, for a block of the tower at most; what came of it when that is known.
    ///
    /// # Panics
    /// If it was known before.
    pub fn go_on(&mut self, looking: &mut Looking, compute: &mut Compute) -> Option<Look> {
        let (seen, report, cached) = looking.go_on(&self.model, compute, &mut self.cache)?;
        Some(Look { seen, report, cached })
    }

    fn embed(&mut self, prepared: Prepared, compute: &mut Compute, progress: impl FnMut(usize, usize)) -> Look {
        let (seen, report, cached) = prepared.embed(&self.model, compute, &mut self.cache, progress);
        self.kept += size_of_val::<[f32]>(&seen.rows) as u64;
        Look { seen, report, cached }
    }
}
