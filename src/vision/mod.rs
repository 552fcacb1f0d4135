//! Eyes: pictures and clips to rows that take the place of placeholder tokens in a prompt.
//!
//! A file's bytes ([`source`]) become a [`Picture`] ([`image_file`]) or the frames of a clip ([`video`]), are resized as
//! the model was trained to see them ([`resize`]), cut into normalised patches ([`preprocess`]) and placed in the prompt
//! ([`positions`]); the [`tower`] of a vision file ([`weights`]) turns them into rows, which the [`cache`] remembers.
//! [`eyes`] is all of it in one call.
//!
//! `VISION.md`, beside this file, is the way of a picture in formulas, from pixels to rows and positions. Doc comments
//! cite its sections.

pub mod alpha;
mod avi;
mod bmp;
pub mod cache;
pub mod config;
pub mod data_url;
mod error;
pub mod eyes;
mod ffmpeg;
mod foreign;
mod gif;
pub mod image_file;
mod jpeg;
mod jpeg_scans;
pub mod memory;
mod names;
pub mod note;
pub mod picture;
pub mod picture_reader;
mod png;
pub mod positions;
pub mod preprocess;
pub mod prompt;
pub mod resize;
mod samples;
pub mod source;
pub mod tower;
pub mod video;
pub mod viewer;
mod webp;
pub mod weights;

pub use alpha::Alpha;
pub use config::VisionConfig;
pub use error::{Error, Result, check_built};
pub use note::Note;
pub use picture::Picture;
pub use preprocess::{GridThw, PixelValues};
pub use source::Source;
pub use viewer::{Look, SizeLimit, Viewer, ViewerOptions};
pub use weights::VisionModel;
