//! Times the products of every format: bytes of weights read a second with few columns, operations a second with many.
//!
//! ```text
//! cargo run --release -p qwen-edge-kernels --example qmatmul_speed -- [FORMAT,.. [LEVEL,.. [M,.. [THREADS [K]]]]]
//! cargo run --release -p qwen-edge-kernels --example qmatmul_speed -- Q4_K,Q6_K avx2,avx512vnni 1,p512 2
//! ```
//!
//! M is a number of written rows of activations, `2x4` so many in two 8-bit terms, and `p512` a number of prompt rows.
//!
//! The weights are larger than the caches; beside them, "cached" is the rate of few columns with 256 KiB of weights:
//! what the arithmetic alone allows. Every thread works on rows of its own; figures are those of the fastest
//! run, since other load can only add time. The read rate of the memory, by plain sums with the same number of threads,
//! is measured beside each.

use qwen_edge_kernels::activations::Forms;
use qwen_edge_kernels::dense::DenseScratch;
use qwen_edge_kernels::memory::read;
use qwen_edge_kernels::{Format, Inputs, Isa, Kernels, Matrix, QuantRows, Tile, Way};
use std::time::Instant;

/// Weights a case has, at least.
const VALUES: usize = 64 << 20;
const RUNS: usize = 40;

fn main() {
    let mut args = std::env::args().skip(1);
    let mut list = || args.next().unwrap_or_default();
    let picks = |list: String, name: &str| list.is_empty() || list.split(',').any(|v| v.eq_ignore_ascii_case(name));
    let (formats, levels, columns) = (list(), list(), list());
    let threads: usize = list().parse().unwrap_or(1);
    let k = list().parse().unwrap_or(2048);
    let columns = if columns.is_empty() { "1,4,p64".to_owned() } else { columns };
    println!("K = {k}, {threads} threads, fastest of {RUNS}");
    println!(
        "{:8} {:11} {:>4} {:>9} {:>8} {:>9} {:>9} {:>9}",
        "format", "level", "M", "ms", "GB/s", "of read", "cached", "Gop/s"
    );
    for &format in Format::ALL.iter().filter(|f| picks(formats.clone(), f.name())) {
        for isa in Isa::available().into_iter().filter(|i| picks(levels.clone(), i.name())) {
            for columns in columns.split(',') {
                if let Some(columns) = Columns::parse(columns) {
                    run(format, isa, columns, threads, k);
                }
            }
        }
    }
}

/// Activation rows of a product.
#[derive(Clone, Copy)]
struct Columns {
    m: usize,
    way: Way,
    int8x2: bool,
}

impl Columns {
    fn parse(text: &str) -> Option<Columns> {
        let (way, int8x2, m) = match (text.strip_prefix("2x"), text.strip_prefix('p')) {
            (Some(m), _) => (Way::Written, true, m),
            (_, Some(m)) => (Way::Prompt, false, m),
            _ => (Way::Written, false, text),
        };
        Some(Columns { m: m.parse().ok()?, way, int8x2 })
    }

    fn name(self) -> String {
        let prefix = if self.int8x2 {
            "2x"
        } else if self.way == Way::Prompt {
            "p"
        } else {
            ""
        };
        format!("{prefix}{}", self.m)
    }

    fn multiply(self, kernels: &Kernels, w: Matrix<'_>, x: Inputs<'_>, y: &mut Tile<'_>, scratch: &mut DenseScratch) {
        if self.int8x2 { kernels.matmul_int8x2(w, x, y) } else { kernels.matmul(w, x, y, scratch) }
    }
}

fn run(format: Format, isa: Isa, columns: Columns, threads: usize, k: usize) {
    let kernels = Kernels::select(Some(isa)).expect("it is among the available ones");
    let Columns { m, way, int8x2 } = columns;
    // Many columns: fewer rows, or a run takes minutes.
    let rows = if m > 16 { 256 * threads } else { (VALUES / k).next_multiple_of(threads * 32) };
    let bytes = weights(format, rows, k);
    let w = Matrix::new(format, rows, k, &bytes);
    let x: Vec<f32> = (0..m * k).map(|i| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0).collect();
    let forms = Forms { quants: true, ..Forms::of([format]) };
    let mut q = if int8x2 { QuantRows::int8x2(way, m, k) } else { QuantRows::new(way, forms, m, k) };
    let layout = q.layout();
    for r in 0..m {
        let x = &x[r * k..][..k];
        if int8x2 {
            let len = layout.record_len();
            let (first, second) = q.records_mut()[2 * r * len..][..2 * len].split_at_mut(len);
            kernels.quantize_row_int8x2(x, layout.row_mut(first), layout.row_mut(second));
        } else {
            kernels.quantize_row(x, q.row_mut(r));
        }
    }
    let inputs = Inputs { x: &x, q: &q };
    let mut y = vec![0.0; m * rows];
    let share = rows / threads;
    let cached = cached(kernels, w, columns, inputs, &mut y);
    let mut scratches: Vec<_> = (0..threads).map(|_| DenseScratch::default()).collect();
    let mut products = Vec::new();
    let mut reads = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        let mut parts: Vec<_> = y.chunks_mut(m * share).collect();
        std::thread::scope(|scope| {
            for (t, (part, scratch)) in parts.iter_mut().zip(&mut scratches).enumerate() {
                scope.spawn(move || {
                    let w = w.slice_rows(t * share..(t + 1) * share);
                    columns.multiply(kernels, w, inputs, &mut Tile::new(part, share), scratch);
                });
            }
        });
        products.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let sums: Vec<u64> = std::thread::scope(|scope| {
            let parts = bytes.chunks(bytes.len().div_ceil(threads));
            let parts: Vec<_> = parts.map(|part| scope.spawn(move || read(part))).collect();
            parts.into_iter().map(|part| part.join().expect("a sum")).collect()
        });
        assert_ne!(sums, [1]);
        reads.push(start.elapsed().as_secs_f64());
    }
    let (time, read) = (fastest(products), fastest(reads));
    println!(
        "{:8} {:11} {:>4} {:9.3} {:8.2} {:8.0}% {cached:9.2} {:9.1}",
        format.name(),
        isa.name(),
        columns.name(),
        time * 1e3,
        bytes.len() as f64 / time * 1e-9,
        100.0 * read / time,
        2.0 * (m * rows * k) as f64 / time * 1e-9,
    );
}

/// GB/s of weights that stay in the cache, one thread.
fn cached(kernels: &Kernels, w: Matrix<'_>, columns: Columns, x: Inputs<'_>, y: &mut [f32]) -> f64 {
    let rows = ((256 << 10) / w.row_bytes()).min(w.rows());
    let w = w.slice_rows(0..rows);
    let mut tile = Tile::new(&mut y[..columns.m * rows], rows);
    let mut scratch = DenseScratch::default();
    let times = (0..if columns.m > 16 { 3 } else { 2000 }).map(|_| {
        let start = Instant::now();
        columns.multiply(kernels, w, x, &mut tile, &mut scratch);
        start.elapsed().as_secs_f64()
    });
    w.bytes().len() as f64 / fastest(times.collect()) * 1e-9
}

/// Blocks of noise with tame scales, or floats of tame exponents.
fn weights(format: Format, rows: usize, k: usize) -> Vec<u8> {
    let mut state = 1u64;
    let exponents = if matches!(format, Format::F16 | Format::BF16) { 0x3000_3000_3000_3000 } else { 0 };
    let mut bytes = Vec::with_capacity(rows * format.row_bytes(k).expect("whole blocks"));
    while bytes.len() < bytes.capacity() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        // 0x2e and 0x3c as the high byte of any f16 field keep it finite.
        let noise = u64::from_le_bytes((state >> 8).to_le_bytes().map(|b| b & 0x3f));
        bytes.extend((noise | exponents).to_le_bytes());
    }
    bytes.truncate(rows * format.row_bytes(k).expect("whole blocks"));
    bytes
}

fn fastest(times: Vec<f64>) -> f64 {
    times.into_iter().fold(f64::INFINITY, f64::min)
}
