//! Times the products of one pass over a few written rows, logits of every row included, against those of one row: all
//! matrices of a 0.8B model in `Q4_K_M`, which are read from memory.
//!
//! ```text
//! cargo run --release -p qwen-edge-kernels --example rows_speed -- [LEVEL,.. [ROWS,.. [THREADS,.. [ROUNDS]]]]
//! cargo run --release -p qwen-edge-kernels --example rows_speed -- avx2,avx512vnni 1,2,4,8,16 1,2 15
//! ```
//!
//! A round measures each number of rows once; figures are the fastest time of all rounds, operations a second by that, and
//! the median over the rounds of the time relative to that of the first number.

use qwen_edge_kernels::activations::Forms;
use qwen_edge_kernels::dense::DenseScratch;
use qwen_edge_kernels::{Format, Inputs, Isa, Kernels, Matrix, QuantRows, Tile, Way};
use std::time::Instant;

/// Matrices of a kind: how many, their format, rows, columns, and whether activations come in two terms.
const MATRICES: [(usize, Format, usize, usize, bool); 10] = [
    // DeltaNet: queries, keys and values; the output gate; decay and write strength; the output.
    (18, Format::Q5_K, 6144, 1024, true),
    (18, Format::Q4_K, 2048, 1024, true),
    (18, Format::Q4_K, 32, 1024, true),
    (18, Format::Q4_K, 1024, 2048, false),
    // Attention: queries and gates, keys and values; the output.
    (6, Format::Q4_K, 5120, 1024, false),
    (6, Format::Q4_K, 1024, 2048, false),
    // Feed-forward: gate and up; down.
    (24, Format::Q4_K, 7168, 1024, false),
    (12, Format::Q4_K, 1024, 3584, false),
    (12, Format::Q6_K, 1024, 3584, false),
    // The head.
    (1, Format::Q6_K, 248_320, 1024, false),
];

fn main() {
    let mut args = std::env::args().skip(1);
    let mut list = |default: &str| args.next().filter(|list| !list.is_empty()).unwrap_or_else(|| default.to_owned());
    let numbers = |list: String| list.split(',').map(|n| n.parse().expect("a number")).collect::<Vec<usize>>();
    let levels = list("");
    let (rows, threads, rounds) = (numbers(list("1,2,4,8,16")), numbers(list("1,2")), numbers(list("15"))[0]);
    let model = Model::new();
    println!("{:11} {:>7} {:>5} {:>9} {:>8} {:>9}", "level", "threads", "rows", "ms", "Gop/s", "relative");
    for isa in
        Isa::available().into_iter().filter(|isa| levels.is_empty() || levels.split(',').any(|l| l == isa.name()))
    {
        let kernels = Kernels::select(Some(isa)).expect("it is among the available ones");
        let batches: Vec<_> = rows.iter().map(|&m| Batch::new(kernels, m)).collect();
        for &threads in &threads {
            let mut times = vec![Vec::new(); rows.len()];
            for _ in 0..rounds {
                for (batch, times) in batches.iter().zip(&mut times) {
                    times.push(model.pass(kernels, batch, threads));
                }
            }
            for (m, own) in rows.iter().zip(&times) {
                let mut ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(own, one)| own / one).collect();
                ratios.sort_by(f64::total_cmp);
                let fastest = own.iter().copied().fold(f64::INFINITY, f64::min);
                println!(
                    "{:11} {threads:7} {m:5} {:9.2} {:8.1} {:9.2}",
                    isa.name(),
                    fastest * 1e3,
                    2e-9 * (m * model.values) as f64 / fastest,
                    ratios[ratios.len() / 2]
                );
            }
        }
    }
}

/// The weights: noise with tame scales.
struct Model {
    matrices: Vec<(Format, usize, usize, bool, Vec<u8>)>,
    values: usize,
}

impl Model {
    fn new() -> Model {
        let kinds = MATRICES.iter().flat_map(|&(count, ..)| std::iter::repeat_n((), count));
        let mut matrices = Vec::with_capacity(kinds.count());
        for (count, format, rows, cols, int8x2) in MATRICES {
            let bytes: Vec<u8> = noise().take(rows * format.row_bytes(cols).expect("whole blocks")).collect();
            matrices.extend((0..count).map(|_| (format, rows, cols, int8x2, bytes.clone())));
        }
        let values = matrices.iter().map(|(_, rows, cols, ..)| rows * cols).sum();
        Model { matrices, values }
    }

    /// Seconds that the products with all matrices take.
    fn pass(&self, kernels: &Kernels, batch: &Batch, threads: usize) -> f64 {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for t in 0..threads {
                scope.spawn(move || {
                    let (mut y, mut scratch) = (Vec::new(), DenseScratch::default());
                    for (format, rows, cols, int8x2, bytes) in &self.matrices {
                        let w = Matrix::new(*format, *rows, *cols, bytes);
                        // Strips, as a team of threads takes them.
                        for first in (t * 128..*rows).step_by(threads * 128) {
                            let w = w.slice_rows(first..(first + 128).min(*rows));
                            y.resize(batch.rows * w.rows(), 0.0);
                            let mut y = Tile::new(&mut y, w.rows());
                            let (one, two) = batch.of(*cols);
                            if *int8x2 {
                                kernels.matmul_int8x2(w, Inputs { x: &[], q: two }, &mut y);
                            } else {
                                kernels.matmul(w, Inputs { x: &[], q: one }, &mut y, &mut scratch);
                            }
                        }
                    }
                });
            }
        });
        start.elapsed().as_secs_f64()
    }
}

/// Activations of every width, in one term and in two.
struct Batch {
    rows: usize,
    inputs: Vec<(QuantRows, QuantRows)>,
}

impl Batch {
    fn new(kernels: &Kernels, rows: usize) -> Batch {
        let inputs = [1024, 2048, 3584].map(|cols| {
            let mut one = QuantRows::new(Way::Written, Forms::QUANTS, rows, cols);
            let mut two = QuantRows::int8x2(Way::Written, rows, cols);
            let layout = two.layout();
            for r in 0..rows {
                let x: Vec<f32> = (0..cols).map(|i| ((i * 7919 + r) % 2003) as f32 / 1001.0 - 1.0).collect();
                kernels.quantize_row(&x, one.row_mut(r));
                let records = &mut two.records_mut()[2 * r * layout.record_len()..][..2 * layout.record_len()];
                let (first, second) = records.split_at_mut(layout.record_len());
                kernels.quantize_row_int8x2(&x, layout.row_mut(first), layout.row_mut(second));
            }
            (one, two)
        });
        Batch { rows, inputs: inputs.into() }
    }

    fn of(&self, cols: usize) -> (&QuantRows, &QuantRows) {
        let (one, two) = self.inputs.iter().find(|(one, _)| one.cols() == cols).expect("a width of the model");
        (one, two)
    }
}

/// Bytes below 64, which as the high byte of any f16 field keep it finite.
fn noise() -> impl Iterator<Item = u8> {
    let mut state = 1u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 8).to_le_bytes().map(|b| b & 0x3f)
    })
    .flatten()
}
