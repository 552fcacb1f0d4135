//! Operations on one vector: norms, activations, gates, rotary positions, half precision.
//!
//! Every function takes one row, or one head of one row. Lengths are checked here, once; the functions of the table
//! rely on it.

mod scalar;
#[cfg(test)]
mod tests;
mod vector;

use crate::{Kernels, simd};
use half::f16;

/// `(x, w, b, eps, out)`, see [`Kernels::layer_norm`].
type LayerNormFn = unsafe fn(&[f32], &[f32], &[f32], f32, &mut [f32]);

/// The functions of this family at one level. They are `unsafe` because each needs the CPU features of its level;
/// shapes are as asserted by the methods of [`Kernels`].
#[derive(Clone, Copy)]
pub(crate) struct Table {
    rms_norm: unsafe fn(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]),
    rms_norm_in_place: unsafe fn(x: &mut [f32], w: &[f32], eps: f32),
    gated_rms_norm: unsafe fn(o: &mut [f32], z: &[f32], w: &[f32], eps: f32),
    l2_norm: unsafe fn(x: &mut [f32], eps: f32, scale: f32),
    layer_norm: LayerNormFn,
    silu_mul: unsafe fn(gate: &mut [f32], up: &[f32]),
    sigmoid_mul: unsafe fn(x: &mut [f32], gate: &[f32]),
    gelu_tanh: unsafe fn(x: &mut [f32]),
    gelu_erf: unsafe fn(x: &mut [f32]),
    add: unsafe fn(x: &mut [f32], y: &[f32]),
    rope: unsafe fn(head: &mut [f32], cos: &[f32], sin: &[f32]),
    f32_to_f16: unsafe fn(x: &[f32], out: &mut [f16]),
    f16_to_f32: unsafe fn(x: &[f16], out: &mut [f32]),
    max: unsafe fn(x: &[f32]) -> f32,
}

simd::levels::tables! {
    rms_norm(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]);
    rms_norm_in_place(x: &mut [f32], w: &[f32], eps: f32);
    gated_rms_norm(o: &mut [f32], z: &[f32], w: &[f32], eps: f32);
    l2_norm(x: &mut [f32], eps: f32, scale: f32);
    layer_norm(x: &[f32], w: &[f32], b: &[f32], eps: f32, out: &mut [f32]);
    silu_mul(gate: &mut [f32], up: &[f32]);
    sigmoid_mul(x: &mut [f32], gate: &[f32]);
    gelu_tanh(x: &mut [f32]);
    gelu_erf(x: &mut [f32]);
    add(x: &mut [f32], y: &[f32]);
    rope(head: &mut [f32], cos: &[f32], sin: &[f32]);
    f32_to_f16(x: &[f32], out: &mut [f16]);
    f16_to_f32(x: &[f16], out: &mut [f32]);
    max(x: &[f32]) -> f32;
}

// In every method below:
// SAFETY: a `Kernels` is only made for a level this CPU has (`Kernels::select`), which is all its functions ask for.
impl Kernels {
    /// `out = x / sqrt(mean(x²) + eps) · w`. All of one length.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn rms_norm(&self, x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
        assert_eq!((x.len(), x.len()), (w.len(), out.len()));
        // SAFETY: see above.
        unsafe { (self.vecmath.rms_norm)(x, w, eps, out) }
    }

    /// [`Kernels::rms_norm`] over `x` itself.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn rms_norm_in_place(&self, x: &mut [f32], w: &[f32], eps: f32) {
        assert_eq!(x.len(), w.len());
        // SAFETY: see above.
        unsafe { (self.vecmath.rms_norm_in_place)(x, w, eps) }
    }

    /// The output norm of one DeltaNet head: `o ← o / sqrt(mean(o²) + eps) · w · silu(z)`, norm before gate.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn gated_rms_norm(&self, o: &mut [f32], z: &[f32], w: &[f32], eps: f32) {
        assert_eq!((o.len(), o.len()), (z.len(), w.len()));
        // SAFETY: see above.
        unsafe { (self.vecmath.gated_rms_norm)(o, z, w, eps) }
    }

    /// `x ← x · scale / sqrt(Σx² + eps)`: the sum, not the mean.
    pub fn l2_norm(&self, x: &mut [f32], eps: f32, scale: f32) {
        // SAFETY: see above.
        unsafe { (self.vecmath.l2_norm)(x, eps, scale) }
    }

    /// `out = (x − mean(x)) / sqrt(var(x) + eps) · w + b`, with the variance of the population.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn layer_norm(&self, x: &[f32], w: &[f32], b: &[f32], eps: f32, out: &mut [f32]) {
        assert_eq!((x.len(), x.len(), x.len()), (w.len(), b.len(), out.len()));
        // SAFETY: see above.
        unsafe { (self.vecmath.layer_norm)(x, w, b, eps, out) }
    }

    /// `gate ← silu(gate) · up`, with `silu(x) = x / (1 + e^−x)`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        assert_eq!(gate.len(), up.len());
        // SAFETY: see above.
        unsafe { (self.vecmath.silu_mul)(gate, up) }
    }

    /// `x ← x · sigmoid(gate)`: the output gate of full attention.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn sigmoid_mul(&self, x: &mut [f32], gate: &[f32]) {
        assert_eq!(x.len(), gate.len());
        // SAFETY: see above.
        unsafe { (self.vecmath.sigmoid_mul)(x, gate) }
    }

    /// `x ← x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    pub fn gelu_tanh(&self, x: &mut [f32]) {
        // SAFETY: see above.
        unsafe { (self.vecmath.gelu_tanh)(x) }
    }

    /// `x ← x/2 · (1 + erf(x/√2))`.
    pub fn gelu_erf(&self, x: &mut [f32]) {
        // SAFETY: see above.
        unsafe { (self.vecmath.gelu_erf)(x) }
    }

    /// `x ← x + y`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len());
        // SAFETY: see above.
        unsafe { (self.vecmath.add)(x, y) }
    }

    /// Rotates the first `2n` values of a head, pairs `(j, j + n)` by the angle whose cosine and sine are `cos[j]` and
    /// `sin[j]`, `n = cos.len()`: `a' = a·cos − b·sin`, `b' = b·cos + a·sin`. The rest of the head stays as it is.
    ///
    /// # Panics
    /// If `cos` and `sin` differ in length or the head is shorter than `2n`.
    pub fn rope(&self, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert!(cos.len() == sin.len() && head.len() >= 2 * cos.len());
        // SAFETY: see above.
        unsafe { (self.vecmath.rope)(&mut head[..2 * cos.len()], cos, sin) }
    }

    /// The gates of the delta rule for the value heads of one token, all `[n_v_head]`:
    /// `alpha ← g = ssm_a · softplus(alpha + ssm_dt)`, the natural log of the decay (`ssm_a ≤ 0` in the file, so
    /// `g ≤ 0`), and `beta ← sigmoid(beta)`. `softplus(x) = ln(1 + e^x)`, and x itself above 20.
    ///
    /// A few dozen values a token: one plain function serves every level.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn delta_gates(&self, alpha: &mut [f32], beta: &mut [f32], ssm_a: &[f32], ssm_dt: &[f32]) {
        assert_eq!((alpha.len(), alpha.len(), alpha.len()), (beta.len(), ssm_a.len(), ssm_dt.len()));
        for (((alpha, beta), a), dt) in alpha.iter_mut().zip(beta).zip(ssm_a).zip(ssm_dt) {
            let x = *alpha + dt;
            *alpha = a * if x > 20.0 { x } else { x.exp().ln_1p() };
            *beta = 1.0 / (1.0 + (-*beta).exp());
        }
    }

    /// Rounds to half precision, ties to even; magnitudes above 65504 become infinite.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn f32_to_f16(&self, x: &[f32], out: &mut [f16]) {
        assert_eq!(x.len(), out.len());
        // SAFETY: see above.
        unsafe { (self.vecmath.f32_to_f16)(x, out) }
    }

    /// Widens half precision, exactly.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn f16_to_f32(&self, x: &[f16], out: &mut [f32]) {
        assert_eq!(x.len(), out.len());
        // SAFETY: see above.
        unsafe { (self.vecmath.f16_to_f32)(x, out) }
    }

    /// Index of the largest value, the first one of equals; `None` when there is no value that is not NaN.
    pub fn argmax(&self, x: &[f32]) -> Option<usize> {
        // SAFETY: see above.
        let max = unsafe { (self.vecmath.max)(x) };
        x.iter().position(|&v| v == max)
    }
}
