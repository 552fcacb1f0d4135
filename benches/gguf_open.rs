//! Time to open a GGUF file of the published vocabulary (11 MB of header) and to walk its tokens, from the page cache:
//! `cargo bench --bench gguf_open`

use qwen_edge::gguf::Gguf;
use qwen_edge::synth::{Dims, Options, Quant, Size, Synth};
use std::time::{Duration, Instant};

fn main() {
    let options = Options { dims: Dims::of(Size::B0_8), quant: Quant::Q4_K_M, mtp: true, newer: true, seed: 0 };
    let synth = Synth::text(&options);
    let path = std::env::temp_dir().join(format!("qwen-edge-bench-{}.gguf", std::process::id()));
    std::fs::write(&path, synth.header()).expect("the temporary folder is writable");
    // The weights are a hole: opening reads none of them.
    let file = std::fs::File::options().write(true).open(&path).expect("just written");
    file.set_len(synth.file_bytes()).expect("the file system has sparse files");

    let mut open = Vec::new();
    let mut walk = Vec::new();
    for _ in 0..101 {
        let start = Instant::now();
        let gguf = Gguf::open(&path).expect("a sound file");
        open.push(start.elapsed());
        let start = Instant::now();
        let tokens = gguf.strings("tokenizer.ggml.tokens").expect("strings").expect("a vocabulary");
        std::hint::black_box(tokens.map(<[u8]>::len).sum::<usize>());
        walk.push(start.elapsed());
    }
    let _ = std::fs::remove_file(&path);
    let report = |what: &str, times: &mut Vec<Duration>| {
        times.sort();
        println!("{what}: median {:?}, best {:?}", times[times.len() / 2], times[0]);
    };
    report("open (248,320 tokens, 247,556 merges, 335 tensors)", &mut open);
    report("walk the tokens", &mut walk);
}
