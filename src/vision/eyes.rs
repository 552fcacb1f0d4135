//! Everything between a file name and the rows that stand in a prompt: decode, cap, resize, embed, remember.

use super::alpha::Alpha;
use super::cache::{self, Cache};
use super::note::Note;
use super::picture_reader::PictureReader;
use super::positions::Insert;
use super::preprocess::PixelValues;
use super::resize::Size;
use super::tower::{self, Passage};
use super::video::{self, Video};
use super::weights::VisionModel;
use super::{Result, Source};
use crate::compute::Compute;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most tokens of a picture unless asked otherwise: a 1080 x 1920 picture at its own size, some ten seconds of a laptop
/// for anything larger.
pub const DEFAULT_IMAGE_TOKENS: usize = 2048;

/// Sizes tried for a time limit, in tokens.
const FEWEST_TOKENS: usize = 16;

/// A picture or clip ready to stand in a prompt.
#[derive(Clone)]
pub struct Seen {
    /// Its size and times.
    pub insert: Insert,
    /// Its rows `[tokens, n_out]`.
    pub rows: Arc<[f32]>,
}

/// Where the time of one input went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Reading and decoding.
    pub decode: Duration,
    /// Resizing and cutting into patches.
    pub resize: Duration,
    /// The tower.
    pub tower: Duration,
}

/// What happened to one input, for the user to see.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its size as decoded.
    pub from: Size,
    /// The size it was read at.
    pub to: Size,
    /// Tokens it takes.
    pub tokens: usize,
    /// Whether a cap of this program made it smaller than the model's own processor would.
    pub capped: bool,
    /// What else is worth knowing of its file.
    pub notes: Vec<Note>,
    /// Frames read and frames there are, of a clip.
    pub frames: Option<(usize, usize)>,
    /// Whether its rows were known already.
    pub cached: bool,
    /// Where the time went.
    pub times: Times,
}

/// A picture, decoded and cut into patches.
pub struct Prepared {
    /// Its patches.
    pub pixels: PixelValues,
    /// Times of its groups, of a clip.
    pub seconds: Option<Vec<f64>>,
    /// How it was read.
    pub(super) report: Report,
}

/// Reads a picture. Its file and its pixels as decoded may take `room` bytes.
///
/// # Errors
/// What is wrong with it.
pub fn prepare_image(
    source: &Source,
    model: &VisionModel,
    alpha: Alpha,
    max_tokens: usize,
    room: u64,
) -> Result<Prepared> {
    let start = Instant::now();
    let bytes = source.read(room)?;
    let reading = start.elapsed();
    let mut prepared = PictureReader { area: model.config.area, max_tokens, alpha, room }.read(bytes)?;
    prepared.report.times.decode += reading;
    Ok(prepared)
}

/// Reads a clip: a directory of frames, a file or a data URL.
///
/// # Errors
/// What is wrong with it.
pub fn prepare_video(source: &Source, options: &video::Options) -> Result<Prepared> {
    let start = Instant::now();
    let clip = Video::open(source, options)?.read(options)?;
    let video::Summary { frames, read, from, to } = clip.summary;
    let tokens = clip.pixels.grid.tokens();
    let capped = read == options.max_frames && read < frames;
    let times = Times { decode: start.elapsed(), ..Times::default() };
    let (notes, frames) = (clip.notes, Some((read, frames)));
    let report = Report { from, to, tokens, capped, notes, frames, cached: false, times };
    Ok(Prepared { pixels: clip.pixels, seconds: Some(clip.seconds), report })
}

impl Prepared {
    /// Runs the tower over the patches, unless the cache knows them.
    ///
    /// # Errors
    /// The second part of the result: why the cache directory could not be written.
    pub fn embed(
        self,
        model: &VisionModel,
        compute: &mut Compute,
        cache: &mut Cache,
        mut progress: impl FnMut(usize, usize),
    ) -> (Seen, Report, std::io::Result<()>) {
        let mut looking = self.begin(model, compute, cache);
        let mut told = 0;
        loop {
            if let Some(found) = looking.go_on(model, compute, cache) {
                return found;
            }
            if looking.blocks() > told {
                told = looking.blocks();
                progress(told, model.blocks.len());
            }
        }
    }

    /// Begins to look: [`Looking::go_on`] does the rest.
    pub fn begin(self, model: &VisionModel, compute: &mut Compute, cache: &mut Cache) -> Looking {
        let Prepared { pixels, seconds, mut report } = self;
        let start = Instant::now();
        let key = cache::key(model, tower::precision(model, compute.kernels), &pixels);
        let insert = Insert { grid: pixels.grid, seconds };
        let known = cache.get(&key, pixels.grid.tokens(), model.config.n_out);
        report.cached = known.is_some();
        let way = match known {
            Some(rows) => Way::Known(rows),
            None => Way::Tower(Box::new(Passage::new(model, compute, &pixels))),
        };
        Looking { insert, report, key, start, way: Some(way) }
    }
}

/// A picture or clip that is being looked at, a piece at a time.
pub struct Looking {
    insert: Insert,
    report: Report,
    key: cache::Key,
    start: Instant,
    /// `None` once its rows are found.
    way: Option<Way>,
}

/// How the rows of an input are found.
enum Way {
    /// They are known.
    Known(Arc<[f32]>),
    /// By the tower.
    Tower(Box<Passage>),
}

impl Looking {
    /// The tower's blocks that it is through.
    fn blocks(&self) -> usize {
        match &self.way {
            Some(Way::Tower(passage)) => passage.blocks(),
            Some(Way::Known(_)) | None => 0,
        }
    }

    /// Does a piece of the work, of no more than a block; what came of it all when that is done, as of
    /// [`Prepared::embed`].
    ///
    /// # Panics
    /// If it was done before.
    pub fn go_on(
        &mut self,
        model: &VisionModel,
        compute: &mut Compute,
        cache: &mut Cache,
    ) -> Option<(Seen, Report, std::io::Result<()>)> {
        if let Some(Way::Tower(passage)) = &mut self.way
            && !passage.is_through(model)
        {
            passage.step(model, compute);
            return None;
        }
        let (rows, kept) = match self.way.take().expect("rows that are not found yet") {
            Way::Known(rows) => (rows, Ok(())),
            Way::Tower(passage) => {
                let rows: Arc<[f32]> = passage.finish(model, compute).into();
                self.report.times.tower = self.start.elapsed();
                let kept = cache.put(self.key, rows.clone(), model.config.n_out);
                (rows, kept)
            }
        };
        Some((Seen { insert: self.insert.clone(), rows }, self.report.clone(), kept))
    }
}

/// Most tokens a picture may have for the tower to take at most `limit`, from the time one block takes for a small
/// picture on this machine, now.
pub fn tokens_for_time(model: &VisionModel, compute: &mut Compute, limit: Duration) -> usize {
    let rate = tower::measure(model, compute);
    let seconds = |tokens: usize| tower::flop(&model.config, tokens * 4) / rate;
    let most = model.config.area.max / super::resize::TOKEN_PIXELS;
    let (mut low, mut high) = (FEWEST_TOKENS, most.max(FEWEST_TOKENS));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if seconds(middle) <= limit.as_secs_f64() {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}
