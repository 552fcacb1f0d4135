//! Rates of the dense products and of full attention at every level, on one thread: the sizes of a vision tower.

use kernels::dense::{DenseHead, DenseRows, DenseScratch, Precision, Store};
use kernels::{Format, Isa, Kernels, Matrix, Rows, Tile};
use qwen_edge_kernels as kernels;
use std::time::Instant;

/// The fastest of ten runs: other load on the machine only ever adds.
fn fastest(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..10)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[0]
}

fn main() {
    for isa in Isa::available() {
        let kernels = Kernels::select(Some(isa)).expect("available");
        for format in [Format::F32, Format::F16] {
            let precision = kernels.dense_precision(format);
            if format == Format::F16 && precision == Precision::F32 && isa != Isa::Avx2 {
                continue;
            }
            for (m, n, k) in [(1024, 768, 768), (1024, 768, 3072), (256, 64, 768)] {
                let bytes = vec![0x11; format.row_bytes(k).expect("whole rows") * n];
                let w = Matrix::new(format, n, k, &bytes);
                let mut x = DenseRows::new(precision);
                x.reshape(m, k);
                x.words_mut().fill(0x3F80_3F80);
                let mut y = vec![0.0; m * n];
                let mut scratch = DenseScratch::default();
                let time = fastest(|| {
                    kernels.dense_matmul(w, &[], (&x, 0), Store::Set, &mut Tile::new(&mut y, n), &mut scratch);
                });
                let flop = 2.0 * (m * n * k) as f64;
                println!("{isa} {precision:?} {format} [{m}, {n}, {k}]: {:.0} GFLOP/s", flop / time / 1e9);
            }
            for (keys, d) in [(3072, 64), (3072, 72), (256, 64)] {
                let data: Vec<f32> = (0..keys * d).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
                let rows = Rows::new(&data, keys, d, d);
                let mut head = DenseHead::new(precision);
                kernels.dense_pack(rows, rows, (0, keys), &mut head);
                let mut out = vec![0.0; 240 * d];
                let mut scratch = DenseScratch::default();
                let time = fastest(|| {
                    let mut tile = Tile::new(&mut out, d);
                    kernels.dense_attend(rows.slice(0..240), &head, 0.125, &mut tile, &mut scratch);
                });
                let flop = 4.0 * (240 * keys * d) as f64;
                println!("{isa} {precision:?} attention of 240 to {keys} x {d}: {:.0} GFLOP/s", flop / time / 1e9);
            }
        }
    }
}
