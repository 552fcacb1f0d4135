//! `vision`: a picture's patches and the rows the vision tower makes of them, for comparison with other implementations.

use super::runtime::Runtime;
use super::sight::{Transparency, describe, progress, report_json};
use super::{pasted, printable};
use anyhow::Context;
use clap::Args as ClapArgs;
use qwen_edge::gguf::Gguf;
use qwen_edge::platform::atomic_file::AtomicFile;
use qwen_edge::vision::VisionModel;
use qwen_edge::vision::cache::Cache;
use qwen_edge::vision::eyes;
use qwen_edge::vision::resize::{Area, TOKEN_PIXELS};
use safetensors::tensor::{Dtype, TensorView};
use std::io::Write;
use std::path::PathBuf;

/// The published cap on a picture, in tokens.
const PUBLISHED_IMAGE_TOKENS: usize = Area::IMAGE.max / TOKEN_PIXELS;

/// Write a picture's pixel values and its embeddings.
///
/// The output is a safetensors file with `pixel_values [patches, 1536]` and `embeddings [tokens, n_embd]` in f32 and
/// `grid_thw [1, 3]` in i32, laid out as the model's own processor does.
#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  qwen-edge vision mmproj-F16.gguf photo.jpg -o photo.safetensors\n  \
                        curl -s https://example.org/a.png | qwen-edge vision mmproj-F16.gguf - -o a.safetensors")]
pub struct Args {
    /// Vision file (mmproj GGUF)
    mmproj: PathBuf,

    /// Picture: a JPEG, PNG, WebP, GIF or BMP file, - for standard input, or a data URL
    image: String,

    /// Where to write
    #[arg(short, long, value_name = "FILE.safetensors")]
    output: PathBuf,

    /// Read a picture with at most MAX tokens (1,024 pixels each) [default: 16384, as published]
    #[arg(long, value_name = "MAX", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    image_tokens: Option<u32>,

    /// What becomes of transparent pixels
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    alpha: Transparency,

    /// Remember embeddings in this directory
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,

    /// Print sizes and times as a JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    runtime: Runtime,
}

/// Runs the command.
///
/// # Errors
/// If the vision file or the picture cannot be read, or the output not be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    let gguf = Gguf::open(&args.mmproj)?;
    let model = VisionModel::bind(&gguf).with_context(|| args.mmproj.display().to_string())?;
    let mut compute = args.runtime.compute()?;
    let max_tokens = args.image_tokens.map_or(PUBLISHED_IMAGE_TOKENS, |tokens| tokens as usize);
    let source = pasted::source(&args.image)?;
    let label = source.label();
    let prepared = eyes::prepare_image(&source, &model, args.alpha.into(), max_tokens, u64::MAX);
    let prepared = prepared.with_context(|| label.clone())?;
    let grid = prepared.pixels.grid;
    let pixel_values = prepared.pixels.to_processor_layout();
    let mut cache = Cache::new(args.cache.as_deref());
    let (seen, report, kept) = prepared.embed(&model, &mut compute, &mut cache, progress(&label, false));
    if let Err(error) = kept {
        say!("warning: {error:#}");
    }
    say!("{}", describe(&label, &report));
    if args.json {
        writeln!(std::io::stdout(), "{}", printable::json(&report_json(&label, &report).to_string()))?;
    }

    let grid_thw = [grid.t as i32, grid.h as i32, grid.w as i32];
    let view = |dtype, shape, bytes| TensorView::new(dtype, shape, bytes);
    let tensors = [
        ("pixel_values", view(Dtype::F32, vec![grid.patches(), 1536], bytemuck::cast_slice(&pixel_values))?),
        ("grid_thw", view(Dtype::I32, vec![1, 3], bytemuck::cast_slice(&grid_thw))?),
        ("embeddings", view(Dtype::F32, vec![grid.tokens(), model.config.n_out], bytemuck::cast_slice(&seen.rows))?),
    ];
    let mut file = AtomicFile::create(&args.output)?;
    file.write_all(&safetensors::serialize(tensors, None)?)?;
    Ok(file.commit()?)
}
