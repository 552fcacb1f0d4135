//! Rates of the dense products and of full attention at every level, on one thread: the sizes of a vision tower.

use kernels::dense::{DenseHead, DenseRows, DenseScratch, Precision, Store};
use kernels::{Format, Isa, Kernels, Matrix, Rows, Tile};
use qwen_edge_kernels as kernels;
use std::time::Instant;

/// Seconds this thread has spent on a processor, where the system tells; the wall's elsewhere.
fn now(start: Instant) -> f64 {
    let on_cpu = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = on_cpu.as_ref().and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| start.elapsed().as_secs_f64(), |ns| ns * 1e-9)
}

/// Seconds of processor time of one run: the mean over a fifth of a second, since that clock moves in ticks.
fn time(mut run: impl FnMut()) -> f64 {
    let start = Instant::now();
    run();
    let before = now(start);
    let mut runs = 0;
    while now(start) - before < 0.2 {
        run();
        runs += 1;
    }
    (now(start) - before) / f64::from(runs)
}

fn main() {
    for isa in Isa::available() {
        let kernels = Kernels::select(Some(isa)).expect("available");
        for precision in kernels.dense_precisions() {
            let format = if precision == Precision::F32 { Format::F32 } else { Format::F16 };
            // The blocks of the 0.8B's and the 9B's tower, and a narrow part of one.
            let products = [(768, 2304), (768, 3072), (3072, 768), (1152, 4304), (4304, 1152), (768, 64)];
            for (k, n) in products {
                let m = 1024;
                let bytes = vec![0x11; format.row_bytes(k).expect("whole rows") * n];
                let w = Matrix::new(format, n, k, &bytes);
                let mut x = DenseRows::new(precision);
                x.reshape(m, k);
                x.words_mut().fill(0x3F80_3F80);
                let mut y = vec![0.0; m * n];
                let mut scratch = DenseScratch::default();
                let seconds = time(|| {
                    kernels.dense_matmul(w, &[], (&x, 0), Store::Set, &mut Tile::new(&mut y, n), &mut scratch);
                });
                let flop = 2.0 * (m * n * k) as f64;
                println!("{isa} {precision:?} {format} [{m}, {n}, {k}]: {:.0} GFLOP/s", flop / seconds / 1e9);
            }
            for (keys, d) in [(3072, 64), (3072, 72), (256, 64)] {
                let data: Vec<f32> = (0..keys * d).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
                let rows = Rows::new(&data, keys, d, d);
                let mut head = DenseHead::new(precision);
                kernels.dense_pack(rows, rows, (0, keys), &mut head);
                let mut out = vec![0.0; 240 * d];
                let mut scratch = DenseScratch::default();
                let seconds = time(|| {
                    let mut tile = Tile::new(&mut out, d);
                    kernels.dense_attend(rows.slice(0..240), &head, 0.125, &mut tile, &mut scratch);
                });
                let flop = 4.0 * (240 * keys * d) as f64;
                println!("{isa} {precision:?} attention of 240 to {keys} x {d}: {:.0} GFLOP/s", flop / seconds / 1e9);
            }
        }
    }
}
