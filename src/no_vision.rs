//! Pictures in a build without them: the names by which the rest of the program speaks of a vision tower, and nothing
//! behind them. Whatever would open a tower or a picture is [`Error::NotBuilt`], so that no value of the types that
//! compute exists.

use crate::gguf::{Gguf, Note};
use std::convert::Infallible;
use std::path::PathBuf;

/// Why nothing is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The build leaves vision out.
    #[error("this program was built without pictures (feature `vision`)")]
    NotBuilt,
}

/// A result of the vision half.
pub type Result<T> = std::result::Result<T, Error>;

/// Whether pictures can be looked at in this build.
///
/// # Errors
/// [`Error::NotBuilt`].
pub fn check_built() -> Result<()> {
    Err(Error::NotBuilt)
}

/// Hyper-parameters of a vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Blocks.
    pub n_layer: usize,
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Inner width of the feed-forward.
    pub n_ff: usize,
    /// Attention heads.
    pub n_head: usize,
    /// Width of the output rows.
    pub n_out: usize,
    /// There is no tower, and so no such value.
    pub(crate) never: Infallible,
}

impl VisionConfig {
    /// Reads the hyper-parameters.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn from_gguf(_: &Gguf) -> std::result::Result<VisionConfig, weights::Error> {
        Err(Error::NotBuilt.into())
    }
}

/// A vision tower.
pub struct VisionModel {
    /// Keys that were ignored.
    pub notes: Vec<Note>,
    /// Hyper-parameters.
    pub config: VisionConfig,
}

impl VisionModel {
    /// Binds a tower.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn bind(_: &Gguf) -> std::result::Result<VisionModel, weights::Error> {
        Err(Error::NotBuilt.into())
    }

    /// Checks a tower.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn check(_: &Gguf, _: usize) -> std::result::Result<(VisionConfig, Vec<Note>), weights::Error> {
        Err(Error::NotBuilt.into())
    }
}

pub use viewer::{Look, SizeLimit, Viewer, ViewerOptions};

/// What becomes of transparent pixels.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Alpha {
    /// They are laid over white.
    #[default]
    White,
    /// The alpha channel is dropped.
    Drop,
}

/// A place where the bytes of a picture come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// The text of a `data:` URL.
    DataUrl(String),
    /// A file.
    File(PathBuf),
}

impl Source {
    /// What messages call it.
    pub fn label(&self) -> String {
        "picture".to_owned()
    }
}

/// Pictures as text.
pub mod data_url {
    /// Whether `text` is a data URL; in this build none is known.
    pub fn is_one(_: &str) -> bool {
        false
    }

    /// Whether `text` begins as the base64 of a picture does; in this build none is known.
    pub fn is_bare(_: &str) -> bool {
        false
    }

    /// The bytes of a data URL.
    ///
    /// # Errors
    /// [`super::Error::NotBuilt`].
    pub fn decode(_: &str) -> super::Result<Vec<u8>> {
        Err(super::Error::NotBuilt)
    }
}

/// Hyper-parameters of a tower's file.
pub mod config {
    use crate::gguf::Gguf;

    /// The architecture name of a vision file.
    pub const ARCHITECTURE: &str = "clip";

    /// Whether a tower lies in a text model's file; in this build none is seen.
    pub fn is_inside(_: &Gguf) -> bool {
        false
    }
}

/// The files of towers.
pub mod weights {
    use crate::gguf::{Gguf, Tensor};
    use std::path::{Path, PathBuf};

    /// Why there is no tower.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
    #[error(transparent)]
    pub struct Error(#[from] super::Error);

    /// The tensors of a tower: none.
    pub fn tensors(_: &Gguf) -> impl Iterator<Item = Tensor<'_>> {
        std::iter::empty()
    }

    /// Bytes of the weights that are decoded when they are bound.
    pub fn copies(_: &Gguf) -> u64 {
        0
    }

    /// Vision files beside a model: none is looked for.
    pub fn find_beside(_: &Path) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// Memory that looking takes.
pub mod memory {
    use super::VisionConfig;
    use crate::engine::plan::{Looking, VisionMemory};

    /// A vision tower, and what is to be looked at.
    #[derive(Clone, Copy, Debug)]
    pub struct VisionLoad<'a> {
        /// Hyper-parameters.
        pub config: &'a VisionConfig,
        /// Bytes of its file.
        pub weights: u64,
        /// Bytes of the weights that are decoded.
        pub copies: u64,
        /// Most tokens of a picture.
        pub image_tokens: Option<usize>,
        /// Pictures and clips whose rows are kept.
        pub n_input: usize,
        /// Whether a clip is among them.
        pub clips: bool,
    }

    impl Looking for VisionLoad<'_> {
        fn memory(&self, _: usize, _: usize) -> VisionMemory {
            match self.config.never {}
        }
    }
}

/// Sizes of patches.
pub mod preprocess {
    /// Frames that are taken together.
    pub const TEMPORAL: usize = 2;
}

/// Sizes of pictures.
pub mod resize {
    /// Rows and columns of pixels.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct Size {
        /// Rows.
        pub height: usize,
        /// Columns.
        pub width: usize,
    }
}

/// Clips.
pub mod video {
    /// Frames a second that are read unless asked otherwise.
    pub const DEFAULT_FPS: f64 = 2.0;
    /// Most frames of a clip.
    pub const MAX_FRAMES: usize = 768;
}

/// Pictures and clips to rows.
pub mod eyes {
    use super::resize::Size;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::time::Duration;

    /// Most tokens of a picture unless asked otherwise.
    pub const DEFAULT_IMAGE_TOKENS: usize = 2048;

    /// A picture or clip ready to stand in a prompt.
    #[derive(Clone)]
    pub struct Seen {
        /// Its rows.
        pub rows: Arc<[f32]>,
        _never: Infallible,
    }

    /// A picture, read.
    pub struct Prepared(Infallible);

    /// A picture that is being looked at.
    pub struct Looking(Infallible);

    /// Where the time of one input went.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Times {
        /// Reading and decoding.
        pub decode: Duration,
        /// Resizing.
        pub resize: Duration,
        /// The tower.
        pub tower: Duration,
    }

    /// What happened to one input.
    #[derive(Clone, Debug)]
    pub struct Report {
        /// Its size as decoded.
        pub from: Size,
        /// The size it was read at.
        pub to: Size,
        /// Tokens it takes.
        pub tokens: usize,
        /// Whether it was made smaller.
        pub capped: bool,
        /// What is worth knowing of its file.
        pub notes: Vec<&'static str>,
        /// Frames read and frames there are.
        pub frames: Option<(usize, usize)>,
        /// Whether its rows were known.
        pub cached: bool,
        /// Where the time went.
        pub times: Times,
    }
}

/// What looks at pictures.
pub mod viewer {
    use super::eyes::{Looking, Prepared, Report, Seen};
    use super::picture_reader::PictureReader;
    use super::{Alpha, Error, Result, Source, weights};
    use crate::compute::Compute;
    use crate::gguf::{Gguf, Note};
    use std::convert::Infallible;
    use std::path::PathBuf;
    use std::time::Duration;

    /// How closely to look.
    #[derive(Clone, Default, Debug)]
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

    /// The size of the largest picture.
    #[derive(Clone, Copy, PartialEq, Debug, Default)]
    pub enum SizeLimit {
        /// What the memory plan makes of it.
        #[default]
        Planned,
        /// So many tokens.
        Tokens(usize),
        /// What the tower manages in that time.
        Time(Duration),
    }

    /// What came of looking at something.
    pub struct Look {
        /// What stands in a prompt.
        pub seen: Seen,
        /// How it was read.
        pub report: Report,
        /// Why the rows could not be kept, if so.
        pub cached: std::io::Result<()>,
    }

    /// A vision tower that looks: none.
    pub struct Viewer(Infallible);

    impl Viewer {
        /// Binds a tower.
        ///
        /// # Errors
        /// [`Error::NotBuilt`].
        pub fn new(
            _: &Gguf,
            _: &ViewerOptions,
            _: &mut Compute,
            _: (usize, u64),
        ) -> std::result::Result<Viewer, weights::Error> {
            Err(Error::NotBuilt.into())
        }

        /// Keys of the file that were ignored.
        pub fn notes(&self) -> &[Note] {
            match self.0 {}
        }

        /// Tokens of the largest picture.
        pub fn max_tokens(&self) -> usize {
            match self.0 {}
        }

        /// What reads pictures.
        ///
        /// # Errors
        /// None: there is nothing to read them for.
        pub fn reader(&self, _: u64, _: usize) -> Result<PictureReader> {
            match self.0 {}
        }

        /// Remembers no more than so many bytes.
        pub fn remember_at_most(&mut self, _: usize) {
            match self.0 {}
        }

        /// Begins to look at a picture.
        pub fn begin(&mut self, _: Prepared, _: &mut Compute) -> Looking {
            match self.0 {}
        }

        /// Goes on looking.
        pub fn go_on(&mut self, _: &mut Looking, _: &mut Compute) -> Option<Look> {
            match self.0 {}
        }

        /// Looks at a picture.
        ///
        /// # Errors
        /// None: there is nothing to look with.
        pub fn image(&mut self, _: &Source, _: &mut Compute, _: impl FnMut(usize, usize)) -> Result<Look> {
            match self.0 {}
        }

        /// Looks at a clip.
        ///
        /// # Errors
        /// None: there is nothing to look with.
        pub fn clip(&mut self, _: &Source, _: &mut Compute, _: impl FnMut(usize, usize)) -> Result<Look> {
            match self.0 {}
        }
    }
}

/// What reads pictures.
pub mod picture_reader {
    use super::Result;
    use super::eyes::Prepared;
    use super::positions::Insert;
    use std::convert::Infallible;

    /// How pictures are read: not at all.
    #[derive(Clone, Copy, Debug)]
    pub struct PictureReader(Infallible);

    impl PictureReader {
        /// What stands in a prompt for a picture.
        ///
        /// # Errors
        /// None: there is nothing to read.
        pub fn insert(&self, _: &[u8]) -> Result<Insert> {
            match self.0 {}
        }

        /// Reads a picture.
        ///
        /// # Errors
        /// None: there is nothing to read.
        pub fn read(&self, _: Vec<u8>) -> Result<Prepared> {
            match self.0 {}
        }
    }
}

/// Places of rows in a prompt.
pub mod positions {
    use super::{Error, Result};

    /// Ids of the tokens that stand for vision.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct VisionIds(pub(crate) std::convert::Infallible);

    impl VisionIds {
        /// Looks the tokens up in a vocabulary.
        ///
        /// # Errors
        /// [`Error::NotBuilt`].
        pub fn find(_: impl FnMut(&str) -> Option<u32>) -> Result<VisionIds> {
            Err(Error::NotBuilt)
        }
    }

    /// A picture as the prompt sees it.
    pub struct Insert {
        /// Its size in patches.
        pub grid: Grid,
    }

    /// The size of a picture in patches: there is none.
    #[derive(Clone, Copy)]
    pub struct Grid(std::convert::Infallible);

    impl Grid {
        /// Tokens of it.
        pub fn tokens(self) -> usize {
            match self.0 {}
        }
    }

    /// Repeats each placeholder.
    ///
    /// # Errors
    /// None: there are no placeholders.
    pub fn expand(_: &[u32], ids: VisionIds, _: &[Insert], _: impl Fn(&str) -> Vec<u32>) -> Result<Vec<u32>> {
        match ids.0 {}
    }

    /// Hands out positions.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Walk {
        /// Position of the next text token.
        pub next: u32,
    }
}

/// Prompts with rows in them.
pub mod prompt {
    use super::Result;
    use super::eyes::Seen;
    use super::positions::{VisionIds, Walk};
    use crate::model::input::InputRow;

    /// A prompt.
    pub struct Prompt {
        /// Token ids.
        pub ids: Vec<u32>,
        /// The pictures in it: none.
        pub seen: Vec<Seen>,
    }

    impl Prompt {
        /// What the text model reads.
        ///
        /// # Errors
        /// None: there is nothing to place.
        pub fn rows(&self, ids: VisionIds, _: usize, _: &mut Walk) -> Result<Vec<InputRow>> {
            match ids.0 {}
        }
    }

    /// Puts pictures where a prompt has their placeholders.
    ///
    /// # Errors
    /// None: there is nothing to put.
    pub fn arrange(_: &[u32], ids: VisionIds, _: &[Seen], _: &[Seen], _: impl Fn(&str) -> Vec<u32>) -> Result<Prompt> {
        match ids.0 {}
    }
}
