//! What fits this machine: context lengths, what they take, and how fast a model may be expected to write in them.

use qwen_edge::compute::team::Team;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::draft::Draft;
use qwen_edge::engine::load::{draft_load, feed_forwards, mapped_load};
use qwen_edge::engine::plan::{Load, Plan, Wish};
use qwen_edge::gguf::Gguf;
use qwen_edge::model::Model;
use qwen_edge::platform::machine::{Facts, commit_memory, performance_cores};
use serde::Serialize;
use std::fmt::{self, Display};
use std::time::{Duration, Instant};

/// Context lengths that are looked at, as far as the model was trained on them, and that of the training.
const CONTEXTS: [usize; 5] = [4096, 8192, 32_768, 131_072, 262_144];

/// How long memory is read, and how much of it: far beyond most caches.
const READING: Duration = Duration::from_millis(330);
const READ: usize = 256 << 20;

/// The share of the read rate that a written token reaches, and what each layer takes beside reading, in seconds. On two cores
/// of a Zen 4 that others used too, what is expected of 0.8B Q4_K_M was 0.94 to 1.16 of what `bench` measured in turn with it,
/// in nine turns; a model that fits a cache is expected to be slower or faster than it is by half.
const SHARE: f64 = 0.94;
const LAYER: f64 = 12e-6;

/// What fits.
#[derive(Debug, Serialize)]
pub(super) struct Fit {
    threads: usize,
    /// Bytes a second that all threads together read of memory.
    read_rate: f64,
    free_bytes: Option<u64>,
    contexts: Vec<Context>,
}

/// One context length.
#[derive(Debug, Serialize)]
struct Context {
    n_ctx: usize,
    /// How keys and values are stored; of a context that fits, as all below.
    #[serde(skip_serializing_if = "Option::is_none")]
    kv: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    /// Bytes of weights that come from the disk again for every token.
    #[serde(skip_serializing_if = "Option::is_none")]
    streamed_bytes: Option<u64>,
    /// Tokens a second at the beginning of a conversation and at its end; none where the disk is what counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_second: Option<[f64; 2]>,
    /// Why it does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    obstacle: Option<String>,
}

impl Fit {
    /// Measures the memory, and plans each context. Small weights are read, no others.
    pub fn of(gguf: &Gguf, model: &Model) -> Fit {
        let facts = Facts::now();
        let threads = performance_cores();
        let read_rate = read_rate(threads);
        let feed_forwards = feed_forwards(gguf, &model.config);
        let load = Load {
            feed_forwards: &feed_forwards,
            drafts: draft_load(gguf, &model.config, Draft::Auto),
            ..mapped_load(gguf, &model.config, threads)
        };
        let n_train = model.config.n_ctx_train;
        let mut lengths: Vec<usize> = CONTEXTS.into_iter().filter(|&n| n < n_train).collect();
        lengths.push(n_train);
        let contexts = lengths.into_iter().map(|n_ctx| {
            let wish = Wish { n_ctx: Some(n_ctx), ..Wish::default() };
            match Plan::choose(&load, &wish, &facts) {
                Ok(plan) => Context::of(&plan, model, read_rate),
                Err(error) => Context {
                    n_ctx,
                    kv: None,
                    total_bytes: None,
                    streamed_bytes: None,
                    tokens_per_second: None,
                    obstacle: Some(format!("takes {}, more than is free", ByteSize(error.needed))),
                },
            }
        });
        let contexts = contexts.collect();
        Fit { threads, read_rate, free_bytes: facts.free.map(|(free, _)| free), contexts }
    }
}

impl Context {
    fn of(plan: &Plan, model: &Model, read_rate: f64) -> Context {
        // Weights that the system cannot keep come from the disk too.
        let streamed = if plan.weights_fit { plan.streaming.bytes } else { plan.weights };
        Context {
            n_ctx: plan.settings.n_ctx,
            kv: Some(plan.settings.kv.name()),
            total_bytes: Some(plan.total()),
            streamed_bytes: Some(streamed),
            tokens_per_second: (streamed == 0).then(|| {
                [0, plan.context.kv].map(|kv| {
                    // States are read and written.
                    let bytes = model.bytes_per_token() + kv + 2 * plan.context.state;
                    expected(bytes as f64, model.config.n_layer(), read_rate)
                })
            }),
            obstacle: None,
        }
    }
}

/// Tokens a second of a model that reads so many bytes for each. What a machine reads limits writing by all but small models,
/// where the layers' own time counts.
fn expected(bytes: f64, n_layer: usize, read_rate: f64) -> f64 {
    1.0 / (bytes / (SHARE * read_rate) + LAYER * n_layer as f64)
}

/// Bytes a second that so many threads read: of the fastest pass, since what else the machine does can only take away.
fn read_rate(threads: usize) -> f64 {
    const PIECE: usize = 1 << 20;
    let mut memory = vec![0u8; READ];
    commit_memory(&mut memory);
    let mut team = Team::new(threads);
    let pieces: Vec<&[u8]> = memory.chunks(PIECE).collect();
    let mut fastest = Duration::MAX;
    let start = Instant::now();
    while start.elapsed() < READING {
        let pass = Instant::now();
        team.for_each(pieces.len(), |i| {
            std::hint::black_box(kernels::memory::read(pieces[i]));
        });
        fastest = fastest.min(pass.elapsed());
    }
    READ as f64 / fastest.as_secs_f64()
}

impl Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fit { threads, read_rate, free_bytes, contexts } = self;
        let free = free_bytes.map_or(String::new(), |free| format!(", {} free", ByteSize(free)));
        writeln!(f, "memory is read at {:.1} GB/s by {threads} threads{free}", read_rate / 1e9)?;
        write!(f, "{:>10}{:>8}{:>10}   tokens a second, at first and when full", "context", "KV", "total")?;
        for Context { n_ctx, kv, total_bytes, streamed_bytes, tokens_per_second, obstacle } in contexts {
            write!(f, "\n{n_ctx:>10}")?;
            if let Some(obstacle) = obstacle {
                write!(f, "   {obstacle}")?;
                continue;
            }
            write!(f, "{:>8}{:>10}   ", kv.unwrap_or("?"), ByteSize(total_bytes.unwrap_or(0)).to_string())?;
            match (tokens_per_second, streamed_bytes) {
                (Some([first, full]), _) => write!(f, "{first:.0} to {full:.0}")?,
                (None, streamed) => {
                    let streamed = ByteSize(streamed.unwrap_or(0));
                    write!(f, "as the disk gives {streamed} of weights for each")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_is_expected_to_take_the_time_of_reading_and_that_of_the_layers() {
        // 20 a second if reading were all there is.
        let fast = expected(1e9, 24, 20e9);
        assert!((16.0..20.0).contains(&fast), "{fast}");
        assert!(expected(2e9, 24, 20e9) < 0.6 * fast);
        // A model of next to no weights is no faster than its layers.
        assert!(expected(1.0, 24, 20e9) < 1.0 / (24.0 * LAYER) + 1.0);
    }
}
