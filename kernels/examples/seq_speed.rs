//! Times the vector families on one thread at the shapes of the published models: delta rule, convolution, attention,
//! norms. For each, the median of repeated runs at every level of this CPU (or those named as arguments).
//!
//!     cargo run --release -p qwen-edge-kernels --example seq_speed [LEVEL...]

use qwen_edge_kernels::deltanet::{CONV_BLOCK, DeltaTokens, STATE_COLS, conv_blocks};
use qwen_edge_kernels::{Isa, Kernels, Rows, Tile};
use std::time::Instant;

/// Median seconds of `f`, repeated for about 0.3 s.
fn median(mut f: impl FnMut()) -> f64 {
    f();
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed().as_secs_f64() < 0.3 || times.len() < 5 {
        let run = Instant::now();
        f();
        times.push(run.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[if std::env::var_os("QUICK").is_some() { 0 } else { times.len() / 2 }]
}

fn numbers(n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|i| ((i * 2_654_435_761 % 1_000_003) as f32 / 500_001.5 - 1.0) * scale).collect()
}

/// The rows of the 0.8B: 16 heads of 128 x 128, of which `heads` are computed.
fn delta_rule(kernels: &Kernels, t: usize, layers: usize, heads: usize) -> f64 {
    const HEADS: usize = 16;
    const D: usize = 128;
    let (q, k) = (numbers(t * HEADS * D, 0.15), numbers(t * HEADS * D + 1, 0.15));
    let v = numbers(t * HEADS * D, 1.0);
    let (g, beta) = (vec![-0.1; t * HEADS], vec![0.5; t * HEADS]);
    let mut state = vec![0.0; layers * HEADS * D * D];
    let mut out = vec![0.0; t * HEADS * D];
    median(|| {
        for layer in state.chunks_exact_mut(HEADS * D * D) {
            let mut out = Tile::new(&mut out, HEADS * D);
            for (b, state) in layer[..heads * D * D].chunks_exact_mut(D * STATE_COLS).enumerate() {
                let head = b / (D / STATE_COLS);
                let wide = |x, c| Rows::new(x, t, c, HEADS * D);
                let step = DeltaTokens {
                    q: wide(&q[head * D..], D),
                    k: wide(&k[head * D..], D),
                    v: wide(&v[b * STATE_COLS..], STATE_COLS),
                    g: Rows::new(&g[head..], t, 1, HEADS),
                    beta: Rows::new(&beta[head..], t, 1, HEADS),
                };
                kernels.delta_rule(&step, state, &mut out.columns(b * STATE_COLS..(b + 1) * STATE_COLS));
            }
        }
    })
}

fn convolution(kernels: &Kernels, t: usize) -> f64 {
    const C: usize = 6144;
    let w = conv_blocks(&numbers(C * 4, 0.5), 4);
    let mut x = numbers(t * C, 1.0);
    let mut state = vec![0.0; C * 3];
    median(|| {
        let mut x = Tile::new(&mut x, C);
        let blocks = state.chunks_exact_mut(3 * CONV_BLOCK).zip(w.chunks_exact(4 * CONV_BLOCK));
        for (b, (state, w)) in blocks.enumerate() {
            kernels.conv1d_silu(&mut x.columns(b * CONV_BLOCK..(b + 1) * CONV_BLOCK), state, w);
        }
    })
}

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    for isa in Isa::available() {
        if !names.is_empty() && !names.iter().any(|n| n == isa.name()) {
            continue;
        }
        let kernels = Kernels::select(Some(isa)).expect("an available level");
        println!("{isa}");
        for (t, layers, heads) in [(1, 18, 16), (1, 1, 16), (4, 1, 16), (512, 1, 1)] {
            let elements = (heads * 128 * 128 * layers) as f64;
            let seconds = delta_rule(kernels, t, layers, heads);
            println!(
                "  delta rule, {t} tokens x {layers} layers x {heads} heads: {:8.1} us  {:6.1} GFLOP/s  {:5.1} GB/s of state",
                seconds * 1e6,
                8.0 * elements * t as f64 / seconds * 1e-9,
                8.0 * elements / seconds * 1e-9
            );
        }
        for t in [1, 64] {
            let seconds = convolution(kernels, t);
            println!(
                "  convolution, {t} tokens: {:8.2} us, {:.2} ns a value",
                seconds * 1e6,
                seconds * 1e9 / (t * 6144) as f64
            );
        }
    }
}
