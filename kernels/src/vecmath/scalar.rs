//! The reference: the equations, sums in f64.

use super::Table;
use half::f16;

pub(super) const TABLE: Table = Table {
    rms_norm,
    rms_norm_in_place,
    gated_rms_norm,
    l2_norm,
    layer_norm,
    silu_mul,
    sigmoid_mul,
    gelu_tanh,
    gelu_erf,
    add,
    rope,
    f32_to_f16,
    f16_to_f32,
    max,
};

fn sum_of_squares(x: &[f32]) -> f64 {
    x.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
}

/// `1 / sqrt(mean(x²) + eps)`.
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    (1.0 / (sum_of_squares(x) / x.len() as f64 + f64::from(eps)).sqrt()) as f32
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

fn rms_norm(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
    let r = inverse_rms(x, eps);
    for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
        *out = x * r * w;
    }
}

fn rms_norm_in_place(x: &mut [f32], w: &[f32], eps: f32) {
    let r = inverse_rms(x, eps);
    for (x, w) in x.iter_mut().zip(w) {
        *x *= r * w;
    }
}

fn gated_rms_norm(o: &mut [f32], z: &[f32], w: &[f32], eps: f32) {
    let r = inverse_rms(o, eps);
    for ((o, z), w) in o.iter_mut().zip(z).zip(w) {
        *o *= r * w * silu(*z);
    }
}

fn l2_norm(x: &mut [f32], eps: f32, scale: f32) {
    let r = (f64::from(scale) / (sum_of_squares(x) + f64::from(eps)).sqrt()) as f32;
    x.iter_mut().for_each(|x| *x *= r);
}

fn layer_norm(x: &[f32], w: &[f32], b: &[f32], eps: f32, out: &mut [f32]) {
    let n = x.len() as f64;
    let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let var = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    let r = 1.0 / (var + f64::from(eps)).sqrt();
    for (((out, x), w), b) in out.iter_mut().zip(x).zip(w).zip(b) {
        *out = ((f64::from(*x) - mean) * r) as f32 * w + b;
    }
}

fn silu_mul(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = silu(*gate) * up;
    }
}

fn sigmoid_mul(x: &mut [f32], gate: &[f32]) {
    for (x, gate) in x.iter_mut().zip(gate) {
        *x *= sigmoid(*gate);
    }
}

fn gelu_tanh(x: &mut [f32]) {
    for x in x {
        let u = f64::from(*x);
        let z = (2.0 / std::f64::consts::PI).sqrt() * (u + 0.044715 * u * u * u);
        *x = (0.5 * u * (1.0 + z.tanh())) as f32;
    }
}

fn gelu_erf(x: &mut [f32]) {
    for x in x {
        let u = f64::from(*x);
        *x = (0.5 * u * erfc(-u / std::f64::consts::SQRT_2)) as f32;
    }
}

/// `1 − erf(x)`: the power series `erf x = 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1·3·…·(2n+1))` near zero, the continued
/// fraction `erfc x = e^(−x²)/√π · 1/(x + (1/2)/(x + (2/2)/(x + …)))` beyond.
fn erfc(x: f64) -> f64 {
    let bell = (-x * x).exp() / std::f64::consts::PI.sqrt();
    if x.abs() < 2.5 {
        let mut term = x;
        let mut sum = x;
        for n in 1..60 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        1.0 - 2.0 * bell * sum
    } else {
        let a = x.abs();
        let fraction = (1..60).rev().fold(a, |tail, n| a + f64::from(n) / 2.0 / tail);
        let upper = bell / fraction;
        if x > 0.0 { upper } else { 2.0 - upper }
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn rope(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

fn f32_to_f16(x: &[f32], out: &mut [f16]) {
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = f16::from_f32_const(x));
}

fn f16_to_f32(x: &[f16], out: &mut [f32]) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out = x.to_f32_const());
}

fn max(x: &[f32]) -> f32 {
    x.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}
