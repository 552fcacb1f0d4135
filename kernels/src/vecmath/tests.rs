//! Every level against the equations in f64.

use crate::conformance::{Rng, assert_near, vector_levels};
use half::f16;

/// Lengths around the edges of vectors and of unrolled loops, and of real rows.
const LENGTHS: [usize; 19] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 127, 256, 1027];

/// Numbers of ordinary size, then the extremes.
fn inputs(n: usize) -> Vec<Vec<f32>> {
    let mut wild = Rng(12).values(n, 1.0);
    let extremes = [0.0, -0.0, 1e-38, -1e-30, 88.0, -88.0, 90.0, -90.0, 104.0, -104.0, 700.0, -700.0, 1e4, -1e4];
    for (x, e) in wild.iter_mut().zip(extremes.iter().cycle()) {
        *x = *e;
    }
    vec![Rng(10).values(n, 1.0), Rng(11).values(n, 20.0), vec![0.0; n], wild]
}

fn f64s(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn norms_match_f64() {
    for n in LENGTHS {
        let (w, b, z) = (Rng(1).values(n, 2.0), Rng(2).values(n, 1.0), Rng(3).values(n, 6.0));
        for x in inputs(n) {
            let mean_square = f64s(&x).iter().map(|x| x * x).sum::<f64>() / n as f64;
            let rms = 1.0 / (mean_square + 1e-6).sqrt();
            let normed: Vec<f64> = f64s(&x).iter().zip(&w).map(|(x, w)| x * rms * f64::from(*w)).collect();
            let gated: Vec<f64> =
                normed.iter().zip(&z).map(|(x, z)| x * f64::from(*z) * sigmoid(f64::from(*z))).collect();
            let l2 = 0.25 / (mean_square * n as f64 + 1e-6).sqrt();
            let unit: Vec<f64> = f64s(&x).iter().map(|x| x * l2).collect();
            let mean = f64s(&x).iter().sum::<f64>() / n as f64;
            let var = f64s(&x).iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            let centred = f64s(&x).iter().map(|x| (x - mean) / (var + 1e-6).sqrt()).collect::<Vec<_>>();
            let layer: Vec<f64> =
                centred.iter().zip(w.iter().zip(&b)).map(|(x, (w, b))| x * f64::from(*w) + f64::from(*b)).collect();
            for kernels in vector_levels() {
                let what = |name| format!("{} {name} of {n}", kernels.isa());
                let mut out = vec![f32::NAN; n];
                kernels.rms_norm(&x, &w, 1e-6, &mut out);
                assert_near(&what("rms_norm"), &out, &normed, 1e-6);
                out.copy_from_slice(&x);
                kernels.rms_norm_in_place(&mut out, &w, 1e-6);
                assert_near(&what("rms_norm_in_place"), &out, &normed, 1e-6);
                out.copy_from_slice(&x);
                kernels.gated_rms_norm(&mut out, &z, &w, 1e-6);
                assert_near(&what("gated_rms_norm"), &out, &gated, 1e-6);
                out.copy_from_slice(&x);
                kernels.l2_norm(&mut out, 1e-6, 0.25);
                assert_near(&what("l2_norm"), &out, &unit, 1e-6);
                kernels.layer_norm(&x, &w, &b, 1e-6, &mut out);
                assert_near(&what("layer_norm"), &out, &layer, 4e-6);
            }
        }
    }
}

#[test]
fn activations_match_f64() {
    for n in LENGTHS {
        let y = Rng(4).values(n, 2.0);
        for x in inputs(n) {
            let with = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
                x.iter().zip(&y).map(|(x, y)| f(f64::from(*x), f64::from(*y))).collect()
            };
            let gelu_tanh =
                with(&|u, _| u * sigmoid(2.0 * (2.0 / std::f64::consts::PI).sqrt() * (u + 0.044715 * u * u * u)));
            let gelu_erf = with(&|u, _| 0.5 * u * (1.0 + erf_by_integration(u / std::f64::consts::SQRT_2)));
            for kernels in vector_levels() {
                let run = |name: &str, f: &dyn Fn(&mut [f32]), expected: &[f64]| {
                    let mut got = x.clone();
                    f(&mut got);
                    assert_near(&format!("{} {name} of {n}", kernels.isa()), &got, expected, 1e-6);
                };
                run("silu_mul", &|x| kernels.silu_mul(x, &y), &with(&|x, y| x * sigmoid(x) * y));
                run("sigmoid_mul", &|x| kernels.sigmoid_mul(x, &y), &with(&|x, y| x * sigmoid(y)));
                run("add", &|x| kernels.add(x, &y), &with(&|x, y| x + y));
                run("gelu_tanh", &|x| kernels.gelu_tanh(x), &gelu_tanh);
                run("gelu_erf", &|x| kernels.gelu_erf(x), &gelu_erf);
            }
        }
    }
}

/// `2/√π ∫₀ˣ e^(−t²) dt` by Simpson's rule.
fn erf_by_integration(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let steps = 400;
    let h = x / f64::from(steps);
    let sum: f64 = (0..=steps)
        .map(|i| {
            let weight = if i == 0 || i == steps { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
            let t = h * f64::from(i);
            weight * (-t * t).exp()
        })
        .sum();
    2.0 / std::f64::consts::PI.sqrt() * sum * h / 3.0
}

#[test]
fn silu_and_sigmoid_keep_their_relative_precision_in_the_tails() {
    let x: Vec<f32> = (-8600..8600).map(|i| i as f32 * 0.01).collect();
    let ones = vec![1.0; x.len()];
    for kernels in vector_levels() {
        let (mut silu, mut gate) = (x.clone(), ones.clone());
        kernels.silu_mul(&mut silu, &ones);
        kernels.sigmoid_mul(&mut gate, &x);
        for ((&x, silu), gate) in x.iter().zip(silu).zip(gate) {
            let s = sigmoid(f64::from(x));
            let relative = |got: f32, want: f64| (f64::from(got) - want).abs() / want.abs().max(1e-37);
            assert!(relative(gate, s) < 5e-7, "{} sigmoid({x}) = {gate}", kernels.isa());
            assert!(x == 0.0 || relative(silu, f64::from(x) * s) < 5e-7, "{} silu({x}) = {silu}", kernels.isa());
        }
    }
}

#[test]
fn rope_turns_the_first_dimensions_and_no_other() {
    for (n, d) in [(32, 256), (36, 72), (32, 64), (1, 2), (5, 16), (0, 8), (8, 16)] {
        let head = Rng(5).values(d, 3.0);
        let angles = Rng(6).values(n, 3.0);
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
        let mut expected = f64s(&head);
        for j in 0..n {
            let (a, b) = (f64::from(head[j]), f64::from(head[j + n]));
            let (c, s) = (f64::from(cos[j]), f64::from(sin[j]));
            (expected[j], expected[j + n]) = (a * c - b * s, b * c + a * s);
        }
        for kernels in vector_levels() {
            let mut got = head.clone();
            kernels.rope(&mut got, &cos, &sin);
            assert_near(&format!("{} rope {n} of {d}", kernels.isa()), &got, &expected, 1e-6);
            assert_eq!(got[2 * n..], head[2 * n..]);
        }
    }
}

#[test]
fn delta_gates_are_a_log_decay_and_a_strength() {
    let x = [-200.0f32, -30.0, -5.0, -1.0, 0.0, 0.5, 3.0, 19.9, 20.1, 100.0];
    for kernels in vector_levels() {
        let (mut alpha, mut beta) = (x, x);
        kernels.delta_gates(&mut alpha, &mut beta, &[-0.7; 10], &[0.25; 10]);
        let g: Vec<f64> = x.iter().map(|x| -0.7f32 as f64 * (f64::from(*x) + 0.25).exp().ln_1p()).collect();
        let strength: Vec<f64> = x.iter().map(|x| sigmoid(f64::from(*x))).collect();
        assert_near("g", &alpha, &g, 1e-6);
        assert_near("beta", &beta, &strength, 1e-6);
    }
}

#[test]
fn half_precision_rounds_like_the_standard_at_every_level() {
    let edges =
        [0.0, -0.0, 1.0, 65504.0, 65519.9, 65520.0, -1e30, f32::INFINITY, 6e-8, 2.9e-8, 3e-8, 1e-20, 2049.0, 2051.0];
    for n in LENGTHS {
        let mut x = Rng(7).values(n, 100.0);
        x.iter_mut().zip(edges).for_each(|(x, e)| *x = e);
        let expected: Vec<f16> = x.iter().map(|&x| f16::from_f32(x)).collect();
        for kernels in vector_levels() {
            let mut half = vec![f16::ONE; n];
            kernels.f32_to_f16(&x, &mut half);
            assert_eq!(half, expected, "{}", kernels.isa());
            let mut back = vec![0.0; n];
            kernels.f16_to_f32(&half, &mut back);
            assert!(back.iter().zip(&half).all(|(b, h)| b.to_bits() == h.to_f32().to_bits()), "{}", kernels.isa());
        }
    }
}

#[test]
fn argmax_is_the_first_of_the_largest() {
    for kernels in vector_levels() {
        for n in LENGTHS {
            for at in [0, n / 2, n - 1] {
                let mut x = Rng(8).values(n, 1.0);
                x[at] = 5.0;
                x[n - 1] = 5.0;
                assert_eq!(kernels.argmax(&x), Some(at), "{} {at} of {n}", kernels.isa());
            }
        }
        assert_eq!(kernels.argmax(&[f32::NAN, -3.0, f32::NAN]), Some(1), "{}", kernels.isa());
        assert_eq!(kernels.argmax(&[]), None);
        assert_eq!(kernels.argmax(&[f32::NAN; 40]), None, "{}", kernels.isa());
        assert_eq!(kernels.argmax(&[f32::NEG_INFINITY; 3]), Some(0), "{}", kernels.isa());
    }
}
