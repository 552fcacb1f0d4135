//! Arguments that say how much memory a model may take, and what is done to keep to it.

use super::sight::Sight;
use super::tower_file::TowerFile;
use anyhow::Context;
use clap::Args;
use qwen_edge::engine::load::{feed_forwards, kept, mapped_load, names, own_embedding};
use qwen_edge::engine::plan::{Bytes, Load, Plan, TooLittle, Vision, Wish};
use qwen_edge::gguf::Gguf;
use qwen_edge::model::attention::KvType;
use qwen_edge::model::config::YarnConfig;
use qwen_edge::model::{Config, Model};
use qwen_edge::platform::machine::Machine;
use qwen_edge::vision::{VisionModel, weights};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How much memory to take.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Memory")]
pub struct Fitting {
    /// Room for prompt and answer in tokens, such as 4096 or 32k [default: what a quarter of the free memory holds, 4096
    /// or more, and at most what the model was trained on; more for a prompt that needs it]
    #[arg(short, long, value_name = "N", value_parser = parse_tokens)]
    pub ctx: Option<usize>,

    /// Ceiling on all memory, the mapped weights included, such as 1.6G or 900M; weights that do not fit are read again
    /// for every token [default: what the machine has free]
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<Bytes>,

    /// Storage of keys and values: f16 or q8_0 [default: f16, or q8_0 when memory is short]
    #[arg(long, value_name = "TYPE")]
    pub kv: Option<KvType>,

    /// Tokens of the prompt read at once [default: 512, or fewer when memory is short]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8192))]
    pub batch: Option<u32>,

    /// Read the weights into memory at start instead of mapping the file
    #[arg(long)]
    pub no_mmap: bool,

    /// Keep the mapped weights in memory whatever else wants it (see ulimit -l)
    #[arg(long, conflicts_with = "no_mmap")]
    pub mlock: bool,

    /// Stretch the positions the model was trained on by this factor with YaRN: 4 makes 262,144 tokens 1,048,576. For
    /// contexts that need it only, as it costs some quality in short ones
    #[arg(long, value_name = "FACTOR", value_parser = parse_factor)]
    pub yarn: Option<f32>,

    /// Touch all memory of the context at start, so that the peak that is reported is that of a full context
    #[arg(long, hide = true)]
    pub touch: bool,
}

/// Longest context that is taken.
pub(super) const MOST_TOKENS: usize = 16 << 20;

/// A number of tokens with an optional k or M: 32k is 32768.
fn parse_tokens(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((i, 'k' | 'K')) => (&text[..i], 1 << 10),
        Some((i, 'm' | 'M')) => (&text[..i], 1 << 20),
        _ => (text, 1),
    };
    match digits.parse::<usize>().ok().and_then(|n| n.checked_mul(unit)) {
        Some(n @ 1..=MOST_TOKENS) => Ok(n),
        _ => Err("expected 1 to 16M tokens, such as 4096 or 32k".to_owned()),
    }
}

fn parse_factor(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(factor) if (1.0..=64.0).contains(&factor) => Ok(factor),
        _ => Err("expected a factor from 1 to 64, such as 4".to_owned()),
    }
}

impl Fitting {
    /// The hyper-parameters with what the arguments change of them.
    pub fn adjust(&self, config: &mut Config) {
        match self.yarn {
            None => {}
            Some(1.0) => config.rope.yarn = None,
            Some(factor) => {
                let n_ctx_orig = config.rope.yarn.as_ref().map_or(config.n_ctx_train, |yarn| yarn.n_ctx_orig);
                config.rope.yarn = Some(YarnConfig::with_factor(factor, n_ctx_orig));
            }
        }
    }

    /// Plans the memory before the weights are read, and brings them to where the arguments and the plan want them:
    /// those of the model, and of the vision tower that `sight` may need.
    /// The vocabulary has been read by then, and nothing is borrowed from the files any more. `n_prompt` is the length of
    /// the prompt that will be read, 0 when it is not known.
    ///
    /// # Errors
    /// If a file is not what it should be, what was asked for does not fit, or the system refuses.
    pub fn fit(
        &self,
        gguf: &mut Gguf,
        eyes: Option<(&Sight, &mut TowerFile)>,
        threads: usize,
        n_prompt: usize,
    ) -> anyhow::Result<Plan> {
        gguf.evict_headers();
        // Before the plan: what is planned is there.
        Model::check(gguf)?;
        let mut config = Config::from_gguf(gguf)?;
        self.adjust(&mut config);
        self.kv.unwrap_or_default().check(config.head_dim)?;
        let Some((sight, tower)) = eyes else {
            let plan = self.plan(gguf, &config, None, threads, n_prompt)?;
            self.load(gguf, &plan, &kept(gguf, &config, &plan))?;
            return Ok(plan);
        };
        let tower_file = tower.gguf(gguf);
        tower_file.evict_headers();
        let (vision_config, _) = VisionModel::check(tower_file, config.n_embd).context("vision file")?;
        let mut vision = sight.plan(&vision_config, tower_file);
        if self.no_mmap || self.mlock {
            vision.weights = match tower {
                // With those of the model.
                TowerFile::Inside => 0,
                TowerFile::Beside(file) => file.file_bytes(),
            };
        }
        let plan = match self.plan(gguf, &config, Some(vision), threads, n_prompt) {
            // A tower that only happens to be there is left out when it does not fit.
            Err(_) if !sight.is_wanted() => self.plan(gguf, &config, None, threads, n_prompt)?,
            plan => plan?,
        };
        let mut kept = kept(gguf, &config, &plan);
        let of_tower = if plan.vision.total() > 0 { names(weights::tensors(tower.gguf(gguf))) } else { Vec::new() };
        match tower {
            TowerFile::Inside => {
                kept.extend(of_tower);
                self.load(gguf, &plan, &kept)?;
            }
            TowerFile::Beside(file) => {
                self.load(gguf, &plan, &kept)?;
                if plan.vision.total() > 0 {
                    self.load(file, &plan, &of_tower).context("vision file")?;
                }
            }
        }
        Ok(plan)
    }

    fn plan(
        &self,
        gguf: &Gguf,
        config: &Config,
        vision: Option<Vision<'_>>,
        threads: usize,
        n_prompt: usize,
    ) -> Result<Plan, TooLittle> {
        let wish =
            Wish { ceiling: self.mem, n_ctx: self.ctx, kv: self.kv, n_batch: self.batch.map(|n| n as usize), n_prompt };
        let feed_forwards = feed_forwards(gguf, config);
        let load = Load { vision, feed_forwards: &feed_forwards, ..mapped_load(gguf, config, threads) };
        // All of the file is held then, and nothing of it can be dropped.
        let held = self.no_mmap || self.mlock;
        let load = if held {
            Load { weights: gguf.file_bytes(), embedding: 0, feed_forwards: &[], mapped: false, ..load }
        } else {
            load
        };
        Plan::choose(&load, &wish, &Machine::default())
    }

    /// Brings one file's weights to where they are wanted; of a mapped file, those of the names `kept`.
    fn load(&self, gguf: &mut Gguf, plan: &Plan, kept: &[String]) -> anyhow::Result<()> {
        let mut progress = Progress { start: Instant::now(), shown: false };
        if self.no_mmap {
            let total = gguf.file_bytes();
            gguf.copy_into_memory(|done| progress.show(done, total))?;
        } else {
            // An embedding that is not also the head is read a row a token: reading ahead there would only fill memory.
            if own_embedding(gguf).is_some()
                && let Some(embedding) = gguf.stored("token_embd.weight")
            {
                embedding.advise_random();
            }
            if plan.weights_fit {
                for (i, weight) in kept.iter().filter_map(|name| gguf.stored(name)).enumerate() {
                    // What is streamed comes into memory when it is used.
                    if plan.streaming.layers == 0 {
                        weight.load()
                    } else {
                        weight.prefetch()
                    }
                    progress.show(i as u64 + 1, kept.len() as u64);
                }
            }
        }
        progress.end();
        if self.mlock {
            gguf.lock().context("cannot lock the weights in memory; see ulimit -l")?;
        }
        Ok(())
    }
}

/// How much of the weights has been read, on a terminal, when it takes long.
struct Progress {
    start: Instant,
    shown: bool,
}

impl Progress {
    fn show(&mut self, done: u64, total: u64) {
        if self.start.elapsed() > Duration::from_millis(500) && std::io::stderr().is_terminal() {
            show!("\rreading weights {:3} %", done * 100 / total.max(1));
            let _ = std::io::stderr().flush();
            self.shown = true;
        }
    }

    fn end(&self) {
        if self.shown {
            show!("\r                    \r");
        }
    }
}

/// The plan and what came of it so far, for `--json`.
pub fn report(plan: &Plan) -> Value {
    let usage = Machine::default().usage();
    json!({
        "ctx": plan.settings.n_ctx,
        "kv": plan.settings.kv.name(),
        "batch": plan.settings.n_batch,
        "weights_bytes": plan.weights,
        "streamed_bytes": plan.streaming.bytes,
        "vision_bytes": plan.vision.total(),
        "planned_bytes": plan.total(),
        "peak_bytes": usage.peak,
    })
}
