//! Arguments and messages of the commands that take pictures and clips, and the eyes they open.

use anyhow::Context;
use clap::{Args, ValueEnum};
use kernels::Kernels;
use qwen_edge::compute::team::Team;
use qwen_edge::engine::plan::Vision;
use qwen_edge::gguf::{Gguf, Note};
use qwen_edge::tokenizer::Tokenizer;
use qwen_edge::vision::cache::Cache;
use qwen_edge::vision::eyes::{self, DEFAULT_IMAGE_TOKENS, Prepared, Report, Seen};
use qwen_edge::vision::positions::VisionIds;
use qwen_edge::vision::preprocess::TEMPORAL;
use qwen_edge::vision::resize::{Area, TOKEN_PIXELS};
use qwen_edge::vision::tower::Hands;
use qwen_edge::vision::{self, Alpha, Source, VisionConfig, VisionModel, tower, video, weights};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// What to look at, and how closely.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Pictures and clips")]
pub struct Sight {
    /// Vision file (mmproj GGUF) [default: the model's own file, when a vision tower lies in it, or the one beside it whose
    /// name begins with mmproj]
    #[arg(long, value_name = "FILE")]
    pub mmproj: Option<PathBuf>,

    /// Use no vision file, not even the one beside the model
    #[arg(long, conflicts_with = "mmproj")]
    pub no_mmproj: bool,

    /// A picture: JPEG, PNG, WebP, GIF or BMP file, - for standard input, or a data URL; may be given several times
    #[arg(long, value_name = "FILE")]
    pub image: Vec<String>,

    /// A clip: a directory of frames, an animated GIF or WebP, an MJPEG or AVI file, or whatever ffmpeg reads
    #[arg(long, alias = "video-frames", value_name = "FILE")]
    pub video: Vec<String>,

    /// Frames a second to read of a clip; the frames of a directory are taken to lie that far apart
    #[arg(long, value_name = "RATE", default_value_t = video::DEFAULT_FPS, value_parser = parse_rate)]
    pub fps: f64,

    /// Most frames to read of a clip
    #[arg(long, value_name = "MAX", default_value_t = video::MAX_FRAMES as u32, value_parser = clap::value_parser!(u32).range(1..=video::MAX_FRAMES as i64))]
    pub frames: u32,

    /// Most tokens (of 1,024 pixels) for a picture, or for two frames of a clip [default: 2048 for a picture]
    #[arg(long, value_name = "MAX", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub image_tokens: Option<u32>,

    /// Read a picture no larger than this machine's vision tower manages in that time
    #[arg(long, value_name = "SECONDS", value_parser = parse_rate, conflicts_with = "image_tokens")]
    pub image_time: Option<f64>,

    /// What becomes of transparent pixels
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub alpha: Transparency,

    /// Remember what pictures and clips look like in this directory
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
}

/// What becomes of transparent pixels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Transparency {
    /// They are laid over white.
    #[default]
    White,
    /// Their colour underneath is seen, as in the model's own processor.
    Drop,
}

impl From<Transparency> for Alpha {
    fn from(how: Transparency) -> Alpha {
        match how {
            Transparency::White => Alpha::White,
            Transparency::Drop => Alpha::Drop,
        }
    }
}

/// A positive number.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1e6 => Ok(value),
        _ => Err("expected a number above 0, up to 1000000".into()),
    }
}

impl Sight {
    /// Whether there is anything to look at.
    pub fn is_empty(&self) -> bool {
        self.image.is_empty() && self.video.is_empty()
    }

    /// Tokens that everything there is to look at takes at most, as far as that is known before it is read.
    pub fn most_tokens(&self) -> usize {
        let each = self.image_tokens.map_or(DEFAULT_IMAGE_TOKENS, |tokens| tokens as usize);
        (self.image.len() + self.video.len() * self.frames as usize / TEMPORAL).saturating_mul(each)
    }

    /// Whether the user asked for a vision tower, rather than having one beside the model.
    pub fn is_wanted(&self) -> bool {
        self.mmproj.is_some() || !self.is_empty()
    }

    /// What the memory plan is told of a vision tower; in a chat something may be looked at later.
    pub fn plan<'a>(&self, config: &'a VisionConfig, gguf: &Gguf) -> Vision<'a> {
        Vision {
            config,
            weights: weights::tensors(gguf).map(|tensor| tensor.bytes.len() as u64).sum(),
            copies: weights::copies(gguf),
            image_tokens: self.image_tokens.map(|n| n as usize),
            n_input: (self.image.len() + self.video.len()).max(1),
            clips: !self.video.is_empty(),
        }
    }
}

/// A vision tower with what it works with, but for the threads: those are the text model's.
pub struct Eyes {
    model: VisionModel,
    kernels: &'static Kernels,
    cache: Cache,
    max_tokens: usize,
    alpha: Alpha,
    video: video::Options,
    /// Bytes that looking may take, the rows that are kept among them.
    room: u64,
    /// Bytes of the rows made so far.
    kept: u64,
    quiet: bool,
    reports: Vec<Value>,
}

impl Eyes {
    /// Binds the tower of a file that [`find`](super::tower_file::find) has found. `image_tokens` is the largest picture unless `sight` says
    /// otherwise, and `room` the bytes that looking may take.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn new(
        gguf: &Gguf,
        sight: &Sight,
        (kernels, team): (&'static Kernels, &mut Team),
        (image_tokens, room): (usize, u64),
        quiet: bool,
    ) -> anyhow::Result<Eyes> {
        let model = VisionModel::bind(gguf).context("vision file")?;
        if !quiet {
            model.notes.iter().for_each(|note| say!("note: {note}"));
        }
        let max_tokens = match (sight.image_tokens, sight.image_time) {
            (Some(tokens), _) => tokens as usize,
            (None, Some(seconds)) => {
                let limit = Duration::from_secs_f64(seconds);
                let tokens = eyes::tokens_for_time(&model, kernels, team, limit);
                if !quiet {
                    say!("{seconds} s of the vision tower are about {tokens} tokens on this machine");
                }
                tokens
            }
            (None, None) => image_tokens,
        };
        let alpha = sight.alpha.into();
        let video = video::Options {
            alpha,
            fps: sight.fps,
            max_frames: sight.frames as usize,
            max_tokens: if sight.image_tokens.or(sight.image_time.map(|_| 0)).is_some() {
                max_tokens
            } else {
                usize::MAX
            },
            ..video::Options::default()
        };
        let cache = Cache::new(sight.cache.as_deref());
        Ok(Eyes { model, kernels, cache, max_tokens, alpha, video, room, kept: 0, quiet, reports: Vec::new() })
    }

    /// Bytes that the next input may take, and the most tokens, up to `most`, of one with so many frames.
    fn room_for(&self, most: usize, frames: usize, threads: usize) -> vision::Result<(u64, usize)> {
        let room = self.room.saturating_sub(self.kept);
        match tower::tokens_within(&self.model.config, room, most, frames, threads) {
            0 => Err(vision::Error::NoRoomToLook { room }),
            tokens => Ok((room, tokens)),
        }
    }

    /// Looks at a picture.
    ///
    /// # Errors
    /// Names it and what is wrong with it.
    pub fn image(&mut self, spec: &str, team: &mut Team) -> anyhow::Result<Seen> {
        let source = Source::parse(spec)?;
        let label = source.label();
        let prepared = self
            .room_for(self.max_tokens, 1, team.threads())
            .and_then(|(room, tokens)| eyes::prepare_image(&source, &self.model, self.alpha, tokens, room))
            .with_context(|| label.clone())?;
        Ok(self.embed(&label, prepared, team))
    }

    /// Looks at a clip.
    ///
    /// # Errors
    /// Names it and what is wrong with it.
    pub fn video(&mut self, spec: &str, team: &mut Team) -> anyhow::Result<Seen> {
        let source = Source::parse(spec)?;
        let label = source.label();
        let mut options = self.video;
        let pair = TEMPORAL * TOKEN_PIXELS;
        let prepared = self
            .room_for(options.area.max / pair, TEMPORAL, team.threads())
            .and_then(|(room, tokens)| {
                options.area.max = options.area.max.min(tokens * pair);
                // Beside the file and a frame, there are all frames as resized and as the tower takes them.
                let pixels = options.area.max * 3 * (1 + size_of::<f32>());
                options.room = room.saturating_sub(pixels as u64);
                options.area.min = options.area.min.min(options.area.max);
                eyes::prepare_video(&source, &options)
            })
            .with_context(|| label.clone())?;
        Ok(self.embed(&label, prepared, team))
    }

    /// Looks at everything there is: pictures, clips.
    ///
    /// # Errors
    /// As [`Eyes::image`] and [`Eyes::video`].
    pub fn all(&mut self, sight: &Sight, team: &mut Team) -> anyhow::Result<(Vec<Seen>, Vec<Seen>)> {
        let images = sight.image.iter().map(|spec| self.image(spec, team)).collect::<anyhow::Result<_>>()?;
        let clips = sight.video.iter().map(|spec| self.video(spec, team)).collect::<anyhow::Result<_>>()?;
        Ok((images, clips))
    }

    fn embed(&mut self, label: &str, prepared: Prepared, team: &mut Team) -> Seen {
        let mut hands = Hands { kernels: self.kernels, team };
        let (seen, report, kept) =
            prepared.embed(&self.model, &mut hands, &mut self.cache, progress(label, self.quiet));
        if let Err(error) = kept {
            say!("warning: {error:#}");
        }
        self.kept += size_of_val::<[f32]>(&seen.rows) as u64;
        if !self.quiet {
            say!("{}", describe(label, &report));
        }
        self.reports.push(report_json(label, &report));
        seen
    }

    /// What was looked at so far, as [`report_json`] writes it.
    pub fn reports(&self) -> &[Value] {
        &self.reports
    }
}

/// The vision tokens of a model's vocabulary: those of the well-known texts, or else of the ids that the file gives. `notes`
/// says which of its ids are ignored.
///
/// # Errors
/// If it lacks one.
pub fn vision_ids(tokenizer: &Tokenizer, gguf: &Gguf, notes: &mut Vec<Note>) -> anyhow::Result<VisionIds> {
    let id_of = |token: &str| {
        let key = match token {
            "<|vision_start|>" => "qwen35.vision_start_token_id",
            "<|vision_end|>" => "qwen35.vision_end_token_id",
            "<|image_pad|>" => "qwen35.image_token_id",
            _ => "qwen35.video_token_id",
        };
        let by_key = gguf.advice(key, tokenizer.n_vocab() as u64, notes).map(|id| id as u32);
        let by_text = tokenizer.added_token(token);
        if let (Some(found), Some(id)) = (by_key, by_text)
            && found != id
        {
            notes.push(Note::key(key, format!("found {found}, and {token} is {id}")));
        }
        by_text.or(by_key)
    };
    Ok(VisionIds::find(id_of)?)
}

/// The published cap on a picture, in tokens.
pub const PUBLISHED_IMAGE_TOKENS: usize = Area::IMAGE.max / TOKEN_PIXELS;

/// Shows how far the tower is, where standard error is a terminal.
pub fn progress(label: &str, quiet: bool) -> impl FnMut(usize, usize) {
    let shown = !quiet && std::io::stderr().is_terminal();
    move |done, blocks| {
        if shown && done < blocks {
            show!("\r\x1b[Klooking at {label}: block {done} of {blocks}");
        } else if shown {
            show!("\r\x1b[K");
        }
    }
}

/// One line on what was read: sizes, tokens, and where the time went.
pub fn describe(label: &str, report: &Report) -> String {
    let Report { from, to, tokens, capped, notes, frames, cached, times } = report;
    let mut line = format!("{label}: {} x {}", from.width, from.height);
    if let Some((read, all)) = frames {
        line += &format!(", {read} of {all} frames");
    }
    if from != to {
        line += &format!(", read at {} x {}", to.width, to.height);
    }
    line += &format!(", {tokens} tokens");
    if *capped {
        line += if frames.is_some() { " (capped: --frames)" } else { " (reduced: see --image-tokens)" };
    }
    for note in notes {
        line += &format!(" ({note})");
    }
    let ms = |time: &Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
    line += &match frames {
        Some(_) => format!("; decode and resize {}, ", ms(&times.decode)),
        None => format!("; decode {}, resize {}, ", ms(&times.decode), ms(&times.resize)),
    };
    line + &if *cached { "tower: from the cache".to_owned() } else { format!("tower {}", ms(&times.tower)) }
}

/// The same for programs.
pub fn report_json(label: &str, report: &Report) -> Value {
    let Report { from, to, tokens, capped, notes, frames, cached, times } = report;
    json!({
        "source": label,
        "size": [from.width, from.height],
        "read_at": [to.width, to.height],
        "frames": frames.map(|(read, all)| json!({ "read": read, "of": all })),
        "tokens": tokens,
        "capped": capped,
        "notes": notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "cached": cached,
        "decode_seconds": times.decode.as_secs_f64(),
        "resize_seconds": times.resize.as_secs_f64(),
        "tower_seconds": times.tower.as_secs_f64(),
    })
}
