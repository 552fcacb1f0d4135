//! `synth`: write a model of random weights, to measure speed and memory with.

use anyhow::{Context, Result, bail, ensure};
use qwen_edge::gguf::Gguf;
use qwen_edge::platform::atomic_file::AtomicFile;
use qwen_edge::platform::page_cache;
use qwen_edge::synth::{Dims, ExpertDims, Options, Quant, Size, Synth};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Write a model of random weights in a published size and type mix (developer tool; its answers are noise)
#[derive(clap::Args)]
#[command(after_help = "Examples:
  qwen-edge synth --size 0.8b --quant q4_k_m
  qwen-edge synth --size 9b --quant q8_0 --mtp -o /data/synth-9b.gguf
  qwen-edge synth --size 35b-a3b --layers 8
  qwen-edge synth --size 35b-a3b --expert-skew 1
  qwen-edge synth --size 4b --quant f16 --mmproj")]
pub struct SynthArgs {
    /// Size of the model
    #[arg(long, value_enum, default_value = "0.8b")]
    size: Size,
    /// Layers, in place of those of the size; a multiple of 4
    #[arg(long, value_name = "N", conflicts_with = "mmproj", value_parser = clap::value_parser!(u16).range(1..))]
    layers: Option<u16>,
    /// Experts of a layer, in place of those of the size
    #[arg(long, value_name = "N", conflicts_with = "mmproj", value_parser = clap::value_parser!(u16).range(1..))]
    experts: Option<u16>,
    /// Have routers prefer some experts, in each layer others, as trained ones do: the share of rows that the expert of rank
    /// R is used by is proportional to 1 / R^S, and at most 0.45; with 0 all are used alike
    #[arg(long, value_name = "S", conflicts_with = "mmproj", value_parser = parse_skew)]
    expert_skew: Option<f32>,
    /// Type mix
    #[arg(long, value_enum, default_value = "q4_k_m")]
    quant: Quant,
    /// Add the block for multi-token prediction
    #[arg(long)]
    mtp: bool,
    /// Use the type mix and keys of mid-2026 tools in place of those of early 2026
    #[arg(long)]
    newer: bool,
    /// Write the vision tower (F32, F16, BF16 or Q8_0 matrices) in place of the text model
    #[arg(long, conflicts_with_all = ["mtp", "newer", "vocab"])]
    mmproj: bool,
    /// Take vocabulary and template from this GGUF file in place of the built-in vocabulary
    #[arg(long, value_name = "FILE")]
    vocab: Option<PathBuf>,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where to write [default: synth-qwen35-SIZE-QUANT.gguf]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

fn parse_skew(text: &str) -> Result<f32, String> {
    text.parse()
        .ok()
        .filter(|skew| (0.0..=4.0).contains(skew))
        .ok_or_else(|| "expected a number from 0 to 4".to_owned())
}

impl SynthArgs {
    fn default_output(&self) -> PathBuf {
        let kind = if self.mmproj { "-mmproj" } else { "" };
        let mtp = if self.mtp { "-mtp" } else { "" };
        let label = Dims::of(self.size).label.to_lowercase();
        let cut = |n: Option<u16>, what: &str| n.map_or_else(String::new, |n| format!("-{n}-{what}"));
        let cut = cut(self.layers, "layers") + &cut(self.experts, "experts");
        let skew = self.expert_skew.map_or_else(String::new, |skew| format!("-skew-{skew}"));
        format!("synth-qwen35-{label}{cut}{skew}-{}{mtp}{kind}.gguf", self.quant.name()).into()
    }

    /// The dimensions of the size, cut as is asked for.
    fn dims(&self) -> Result<Dims> {
        let mut dims = Dims::of(self.size);
        if let Some(n) = self.layers {
            ensure!(
                usize::from(n).is_multiple_of(Dims::INTERVAL),
                "--layers {n}: expected a multiple of {}",
                Dims::INTERVAL
            );
            dims.n_layer = n.into();
        }
        if let Some(n) = self.experts {
            let Some(experts) = &mut dims.experts else {
                bail!("--experts {n}: a model of this size has none; --size 35b-a3b has");
            };
            experts.n_expert = n.into();
            experts.n_used = experts.n_used.min(n.into());
        }
        if let Some(skew) = self.expert_skew {
            let Some(experts) = &mut dims.experts else {
                bail!("--expert-skew {skew}: a model of this size has no experts; --size 35b-a3b has");
            };
            let least = ExpertDims::LEAST_TO_SKEW * experts.n_used;
            ensure!(
                skew == 0.0 || experts.n_expert >= least,
                "--expert-skew {skew}: {} experts of which {} are used; expected {least} or more",
                experts.n_expert,
                experts.n_used
            );
            experts.skew = skew;
        }
        Ok(dims)
    }
}

/// Runs the command.
pub fn synth(args: SynthArgs) -> Result<()> {
    let output = args.output.clone().unwrap_or_else(|| args.default_output());
    if output.exists() && !args.force {
        bail!("{} exists; --force replaces it", output.display());
    }
    let SynthArgs { quant, mtp, newer, seed, .. } = args;
    let options = Options { dims: args.dims()?, quant, mtp, newer, seed };
    let synth = match &args.vocab {
        _ if args.mmproj => Synth::vision(&options),
        Some(path) => {
            let file = Gguf::open(path)?;
            Synth::text_with_vocab(&options, &file).with_context(|| path.display().to_string())?
        }
        None => Synth::text(&options),
    };

    let started = Instant::now();
    let gigabytes = synth.file_bytes() as f64 / 1e9;
    write_file(&synth, &output).with_context(|| format!("{} needs {gigabytes:.2} GB", output.display()))?;
    say!(
        "{}: random weights, {} tensors, {} bytes, {:.1} s",
        output.display(),
        synth.tensors().len(),
        synth.file_bytes(),
        started.elapsed().as_secs_f32()
    );
    Ok(())
}

fn write_file(synth: &Synth, output: &Path) -> Result<()> {
    let total = synth.file_bytes();
    let mut out = AtomicFile::create(output)?;
    let mut done = 0;
    let mut shown = Instant::now();
    let terminal = std::io::stderr().is_terminal();
    let written = synth.write(&mut out, |bytes| {
        done += bytes;
        if terminal && shown.elapsed() > Duration::from_millis(100) {
            shown = Instant::now();
            show!("\rwriting {}: {:3} %", output.display(), 100 * done / total);
        }
    });
    if terminal {
        show!("\r\x1b[K");
    }
    written?;
    out.commit()?;
    page_cache::forget(output);
    Ok(())
}
