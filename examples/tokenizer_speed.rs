//! How long a tokenizer takes to load, to encode and to sample: `cargo run --release --example tokenizer_speed MODEL.gguf`.

use qwen_edge::gguf::Gguf;
use qwen_edge::sampler::{Sampler, Settings};
use qwen_edge::tokenizer::{Special, Tokenizer};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

/// Time that this thread has spent on a core, in milliseconds, so that other programs do not count; elsewhere than on
/// Linux the time of day.
fn now_ms(start: Instant) -> f64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ns = spent.and_then(|line| line.split(' ').next()?.parse::<f64>().ok());
    ns.map_or_else(|| start.elapsed().as_secs_f64() * 1e3, |ns| ns / 1e6)
}

/// Median time of `n` calls in milliseconds.
fn median_ms<T>(n: usize, mut call: impl FnMut() -> T) -> f64 {
    let origin = Instant::now();
    let mut times: Vec<f64> = (0..n)
        .map(|_| {
            let start = now_ms(origin);
            black_box(call());
            now_ms(origin) - start
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[n / 2]
}

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("usage: tokenizer_speed MODEL.gguf"))?;
    let gguf = Gguf::open(Path::new(&path))?;
    println!("open the file        {:8.2} ms", median_ms(11, || Gguf::open(Path::new(&path))));
    println!("load the tokenizer   {:8.2} ms", median_ms(21, || Tokenizer::from_gguf(&gguf)));

    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let prose = "The quick brown fox jumps over the lazy dog; it isn't lazy, he said in 1999.\n".repeat(13_000);
    let code = "    for (i, x) in items.iter().enumerate() {\n        sum += x * weights[i];\n    }\n".repeat(13_000);
    let chinese = "你好，世界！今天天气不错，我们去公园散步吧。".repeat(16_000);
    let letter = "a".repeat(1 << 20);
    for (name, text) in [("prose", prose), ("code", code), ("Chinese", chinese), ("one letter", letter)] {
        let mut tokens = 0;
        let ms = median_ms(7, || tokens = tokenizer.encode(&text, Special::None).len());
        println!("encode {name:12} {:8.2} ms a MB, {tokens} tokens", ms / text.len() as f64 * 1e6);
    }

    let logits: Vec<f32> = (0..tokenizer.n_vocab() as u64)
        .map(|i| ((i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 20.0)
        .collect();
    let all = Settings::default();
    let settings = [
        ("greedy", Settings::greedy()),
        ("top-k 20, top-p", Settings { top_k: 20, top_p: 0.95, ..all }),
        ("all rows", all),
        ("top-p 0.9 of all", Settings { top_p: 0.9, ..all }),
        ("min-p 0.05 of all", Settings { min_p: 0.05, ..all }),
    ];
    for (name, settings) in settings {
        let mut sampler = Sampler::new(settings, 1);
        sampler.ban(tokenizer.padding());
        let mut logits = logits.clone();
        println!("sample {name:18} {:8.3} ms", median_ms(101, || sampler.sample(&mut logits)));
    }
    Ok(())
}
