//! Arguments and messages of the commands that take pictures and clips.

use clap::{Args, ValueEnum};
use qwen_edge::engine::model_file::{Tower, TowerFile};
use qwen_edge::vision::eyes::{DEFAULT_IMAGE_TOKENS, Report};
use qwen_edge::vision::preprocess::TEMPORAL;
use qwen_edge::vision::{Alpha, Look, SizeLimit, ViewerOptions, video};
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

    /// Remember in this folder what pictures and clips look like, and, where prompts are answered, what was read of them, so
    /// that it is not read again: for long system messages and documents. `qwen-edge cache` shows and empties it
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

    /// How closely to look.
    pub fn viewer_options(&self) -> ViewerOptions {
        ViewerOptions {
            alpha: self.alpha.into(),
            fps: self.fps,
            max_frames: self.frames as usize,
            limit: match (self.image_tokens, self.image_time) {
                (Some(tokens), _) => SizeLimit::Tokens(tokens as usize),
                (None, Some(seconds)) => SizeLimit::Time(Duration::from_secs_f64(seconds)),
                (None, None) => SizeLimit::Planned,
            },
            cache: self.cache.clone(),
        }
    }

    /// The tower in `file` with what there is to look at; in a chat something may be looked at later.
    pub fn tower(&self, file: TowerFile) -> Tower {
        Tower {
            file,
            options: self.viewer_options(),
            n_input: (self.image.len() + self.video.len()).max(1),
            clips: !self.video.is_empty(),
            needed: self.is_wanted(),
        }
    }
}

/// Says what came of looking at something, and returns it for a report.
pub fn tell(label: &str, look: &Look, quiet: bool) -> Value {
    if let Err(error) = &look.cached {
        say!("warning: {error:#}");
    }
    if !quiet {
        say!("{}", describe(label, &look.report));
    }
    report_json(label, &look.report)
}

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
