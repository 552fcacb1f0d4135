//! Times the vector families on one thread at the shapes of the published models: delta rule, convolution, attention,
//! norms. For each, the median of repeated runs at every level of this CPU (or those named as arguments).
//!
//!     cargo run --release -p qwen-edge-kernels --example seq_speed [LEVEL...]
//!
//! With QUICK=1 the fastest run instead of the median: on a busy machine, what the kernels can do. With UNALIGNED=1 the
//! state of the delta rule begins 16 bytes past a cache line, as a large allocation does.

use bytemuck::Zeroable;
use half::f16;
use qwen_edge_kernels::attention::{CONTEXT_CHUNK, KvBlock, KvPages, KvRows, Mask, PAGE, Queries, Run, partial_len};
use qwen_edge_kernels::deltanet::{CONV_BLOCK, DeltaLog, DeltaTokens, STATE_COLS, Writes, conv_blocks};
use qwen_edge_kernels::{Isa, Kernels, Rows, Tile};
use std::time::Instant;

/// Seconds of a run of `f`, repeated for about 0.3 s: the median, or the fastest if asked for.
fn time(mut f: impl FnMut()) -> f64 {
    f();
    let start = Instant::now();
    let mut times = Vec::new();
    while start.elapsed().as_secs_f64() < 0.3 || times.len() < 5 {
        let run = Instant::now();
        f();
        times.push(run.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let fastest = std::env::var_os("QUICK").is_some();
    times[if fastest { 0 } else { times.len() / 2 }]
}

fn numbers(n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|i| ((i * 2_654_435_761 % 1_000_003) as f32 / 500_001.5 - 1.0) * scale).collect()
}

/// The rows of the 0.8B: 16 heads of 128 x 128, of which `heads` are computed. `late`: the call folds a log of as many
/// tokens in, and logs its own.
fn delta_rule(kernels: &Kernels, t: usize, layers: usize, heads: usize, late: bool) -> f64 {
    const HEADS: usize = 16;
    const D: usize = 128;
    let (q, k) = (numbers(t * HEADS * D, 0.15), numbers(t * HEADS * D + 1, 0.15));
    let v = numbers(t * HEADS * D, 1.0);
    let (g, beta) = (vec![-0.1; t * HEADS], vec![0.5; t * HEADS]);
    let mut state = vec![0.0; layers * HEADS * D * D + 16];
    let aligned = if std::env::var_os("UNALIGNED").is_some() { 4 } else { 0 } + state.as_ptr().align_offset(64);
    let state = &mut state[aligned..][..layers * HEADS * D * D];
    let mut out = vec![0.0; t * HEADS * D];
    let (u, mut next, mut scratch) = (numbers(t * HEADS * D, 0.1), vec![0.0; t * HEADS * D], Vec::new());
    time(|| {
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
                let out = &mut out.columns(b * STATE_COLS..(b + 1) * STATE_COLS);
                if late {
                    // The token before, as a pass that takes one token finds it: its write is still to be made.
                    let log =
                        DeltaLog { k: step.k, u: Rows::new(&u[b * STATE_COLS..], t, STATE_COLS, HEADS * D), g: step.g };
                    let mut next = Tile::new(&mut next, HEADS * D);
                    let mut next = next.columns(b * STATE_COLS..(b + 1) * STATE_COLS);
                    kernels.delta_rule(&log, &step, state, Writes::Log(&mut next), out, &mut scratch);
                } else {
                    let log = DeltaLog::none(D, STATE_COLS);
                    kernels.delta_rule(&log, &step, state, Writes::Commit, out, &mut scratch);
                }
            }
        }
    })
}

fn convolution(kernels: &Kernels, t: usize) -> f64 {
    const C: usize = 6144;
    let w = conv_blocks(&numbers(C * 4, 0.5), 4);
    let mut x = numbers(t * C, 1.0);
    let mut state = vec![0.0; C * 3];
    time(|| {
        let mut x = Tile::new(&mut x, C);
        let blocks = state.chunks_exact_mut(3 * CONV_BLOCK).zip(w.chunks_exact(4 * CONV_BLOCK));
        for (b, (state, w)) in blocks.enumerate() {
            kernels.conv1d_silu(&mut x.columns(b * CONV_BLOCK..(b + 1) * CONV_BLOCK), state, w);
        }
    })
}

/// Bytes a second of plain reading, in pieces of `chunk` bytes out of 64 MiB: what memory gives one thread right now.
fn read_bandwidth(chunk: usize) -> f64 {
    let data = vec![1u64; (64 << 20) / 8];
    let mut pieces = data.chunks_exact(chunk / 8).cycle();
    let mut total = 0u64;
    let seconds = time(|| {
        let piece = pieces.next().expect("a cycle");
        total = piece.iter().fold(total, |sum, x| sum.wrapping_add(*x));
    });
    assert!(total > 0);
    chunk as f64 / seconds
}

/// Storage of keys or values of `n` positions: `f32`, `f16` or `q8_0` back to back, or the latter two in pages of a
/// pool that holds nothing else, in an order of no pattern.
struct Cache {
    f32: Vec<f32>,
    f16: Vec<f16>,
    q8_0: Vec<KvBlock>,
    pages: Vec<u32>,
}

impl Cache {
    fn new(kernels: &Kernels, n: usize, d: usize, storage: &str) -> Self {
        let n = n.next_multiple_of(PAGE);
        let x = numbers(n * d, 1.0);
        let mut cache = Cache { f32: Vec::new(), f16: Vec::new(), q8_0: Vec::new(), pages: Vec::new() };
        match storage {
            "f32" => cache.f32 = x,
            "f16" | "f16 paged" => {
                cache.f16 = vec![f16::ZERO; n * d];
                kernels.f32_to_f16(&x, &mut cache.f16);
            }
            _ => {
                cache.q8_0 = vec![KvBlock::zeroed(); n * d / 32];
                kernels.quantize_kv(&x, &mut cache.q8_0);
            }
        }
        if storage.ends_with("paged") {
            cache.pages = (0..(n / PAGE) as u32).collect();
            cache.pages.sort_by_key(|page| page.wrapping_mul(2_654_435_761));
        }
        cache
    }

    /// The first `n` rows.
    fn rows(&self, d: usize, n: usize) -> KvRows<'_> {
        let run = |row_len| Run { page_len: PAGE * row_len, offset: 0, row_len };
        match self {
            Cache { f32, .. } if !f32.is_empty() => KvRows::F32(Rows::new(f32, n, d, d)),
            Cache { f16, pages, .. } if pages.is_empty() && !f16.is_empty() => KvRows::F16(&f16[..n * d]),
            Cache { q8_0, pages, .. } if pages.is_empty() => KvRows::Q8_0(&q8_0[..n * d / 32]),
            Cache { f16, pages, .. } if !f16.is_empty() => KvRows::PagedF16(KvPages::new(f16, pages, run(d), n)),
            Cache { q8_0, pages, .. } => KvRows::PagedQ8_0(KvPages::new(q8_0, pages, run(d / 32), n)),
        }
    }
}

/// `tokens` tokens and their heads of one group, over `before` keys that all of them see.
fn attention(kernels: &Kernels, shape: (usize, usize, usize), before: usize, mask: bool, storage: &str) -> f64 {
    let (tokens, group, d) = shape;
    let n = before + tokens;
    let (k, v) = (Cache::new(kernels, n, d, storage), Cache::new(kernels, n, d, storage));
    let data = numbers(tokens * group * d, 1.0);
    let q = Queries::new(&data, tokens, group, d, group * d, d);
    let mask = if mask { Mask::Causal { first: before as isize } } else { Mask::Full };
    let (mut out, mut scratch) = (vec![0.0; data.len()], Vec::new());
    let mut out = Tile::new(&mut out, group * d);
    time(|| kernels.attend(&q, &k.rows(d, n), &v.rows(d, n), mask, 0.0625, &mut out, &mut scratch))
}

/// `tokens` tokens in chunks of a context of `n` positions.
fn chunks(kernels: &Kernels, tokens: usize, n: usize, storage: &str) -> f64 {
    const D: usize = 256;
    let (k, v) = (Cache::new(kernels, n, D, storage), Cache::new(kernels, n, D, storage));
    let data = numbers(tokens * 4 * D, 1.0);
    let q = Queries::new(&data, tokens, 4, D, 4 * D, D);
    let len = partial_len(&q);
    let mut partials = vec![0.0; n.div_ceil(CONTEXT_CHUNK) * len];
    let (mut out, mut scratch) = (vec![0.0; data.len()], Vec::new());
    // Chunks are timed one by one: on a busy machine most of them still run undisturbed.
    let mut c = 0;
    let seconds = time(|| {
        let range = c * CONTEXT_CHUNK..n.min((c + 1) * CONTEXT_CHUNK);
        let mask = Mask::Causal { first: (n - tokens) as isize - range.start as isize };
        let (k, v) = (k.rows(D, n).slice(D, range.clone()), v.rows(D, n).slice(D, range));
        kernels.attend_partial(&q, &k, &v, mask, 0.0625, &mut partials[c * len..][..len], &mut scratch);
        c = (c + 1) % (n / CONTEXT_CHUNK);
    });
    let rows = Rows::new(&partials, n / CONTEXT_CHUNK, len, len);
    let merge = time(|| kernels.attend_merge(&rows, D, &mut Tile::new(&mut out, 4 * D)));
    seconds * (n / CONTEXT_CHUNK) as f64 + merge
}

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    for isa in Isa::available() {
        if !names.is_empty() && !names.iter().any(|n| n == isa.name()) {
            continue;
        }
        let kernels = Kernels::select(Some(isa)).expect("an available level");
        println!("{isa}");
        for (t, layers, heads, late) in [
            (1, 18, 16, false),
            (1, 18, 16, true),
            (1, 1, 16, false),
            (1, 1, 16, true),
            (4, 1, 16, false),
            (4, 1, 16, true),
            (16, 1, 16, true),
            (512, 1, 1, false),
        ] {
            let elements = (heads * 128 * 128 * layers) as f64;
            let seconds = delta_rule(kernels, t, layers, heads, late);
            let late = if late { " late" } else { "" };
            println!(
                "  delta rule, {t} tokens x {layers} layers x {heads} heads{late}: {:8.1} us  {:6.1} GFLOP/s  {:5.1} GB/s of state",
                seconds * 1e6,
                8.0 * elements * t as f64 / seconds * 1e-9,
                8.0 * elements / seconds * 1e-9
            );
        }
        for (shape, before, mask, storage) in [
            ((16, 4, 256), 240, true, "f16"),
            ((16, 4, 256), 2032, true, "f16"),
            ((16, 4, 256), 2032, true, "f16 paged"),
            ((64, 4, 256), 448, true, "f16"),
            ((16, 4, 256), 2032, true, "q8_0"),
            ((64, 1, 64), 3008, false, "f32"),
            ((64, 1, 72), 3008, false, "f32"),
        ] {
            let seconds = attention(kernels, shape, before, mask, storage);
            let (tokens, group, d) = shape;
            let flop =
                4.0 * (tokens * group * d) as f64 * (before as f64 + tokens as f64 * if mask { 0.5 } else { 1.0 });
            println!(
                "  attention, {tokens} tokens x {group} heads of {d} after {before} {storage}: {:8.1} us  {:6.1} GFLOP/s",
                seconds * 1e6,
                flop / seconds * 1e-9
            );
        }
        for (tokens, n, storage) in [
            (1, 512, "f16"),
            (1, 512, "f16 paged"),
            (1, 512, "q8_0"),
            (1, 512, "q8_0 paged"),
            (1, 32768, "f16"),
            (1, 32768, "f16 paged"),
            (1, 32768, "q8_0"),
            (1, 32768, "q8_0 paged"),
            (2, 4096, "f16"),
            (4, 4096, "f16"),
            (8, 4096, "f16"),
            (16, 4096, "f16"),
        ] {
            let seconds = chunks(kernels, tokens, n, storage);
            let bytes = (n * 2 * if storage.starts_with("f16") { 512 } else { 272 }) as f64;
            println!(
                "  attention, {tokens} tokens at {n} {storage}: {:8.1} us  {:5.1} GB/s of cache",
                seconds * 1e6,
                bytes / seconds * 1e-9
            );
        }
        println!("  reading memory, 512 KiB at a time: {:5.1} GB/s", read_bandwidth(512 << 10) * 1e-9);
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
