//! Gated DeltaNet: the short causal convolution and the gated delta rule.
//!
//! Both work on a block of columns of a layer, so that threads can share a layer by columns: [`CONV_BLOCK`] channels of
//! the convolution, [`STATE_COLS`] value columns of one head of the delta rule. Columns never look at each other.

mod scalar;
#[cfg(test)]
mod tests;
mod vector;

use crate::{Kernels, Rows, Tile, simd};

/// Channels one call of [`Kernels::conv1d_silu`] handles.
pub const CONV_BLOCK: usize = 64;

/// Value columns of one head that one call of [`Kernels::delta_rule`] handles: the state of 128 keys by 32 columns is
/// 16 KiB and stays in the first-level cache for all tokens of the call.
pub const STATE_COLS: usize = 32;

/// Inputs of the delta rule for `t` tokens in sequence, for the columns of one value head.
#[derive(Clone, Copy, Debug)]
pub struct DeltaTokens<'a> {
    /// Queries `[t, dk]`, L2-normalised and scaled by `1/√dk`.
    pub q: Rows<'a>,
    /// Keys `[t, dk]`, L2-normalised.
    pub k: Rows<'a>,
    /// Values `[t, n]`, the columns of this call: `n ≤` [`STATE_COLS`].
    pub v: Rows<'a>,
    /// Natural log of the decay, `≤ 0`, `[t, 1]`.
    pub g: Rows<'a>,
    /// Strength of the write in `(0, 1)`, `[t, 1]`.
    pub beta: Rows<'a>,
}

/// Tokens that an earlier call has only logged, `r ≥ 0` of them: what is still to be written to the state before
/// anything reads it. A cut after any of them takes the rest back.
#[derive(Clone, Copy, Debug)]
pub struct DeltaLog<'a> {
    /// Keys `[r, dk]`, as in [`DeltaTokens`].
    pub k: Rows<'a>,
    /// Corrected values `[r, n]`, as [`Writes::Log`] has given them out.
    pub u: Rows<'a>,
    /// Natural log of the decay, `[r, 1]`, as in [`DeltaTokens`].
    pub g: Rows<'a>,
}

impl DeltaLog<'_> {
    /// A log of no tokens, of keys of `dk` values and `n` columns.
    pub fn none(dk: usize, n: usize) -> Self {
        let rows = |cols| Rows::new(&[], 0, cols, cols);
        DeltaLog { k: rows(dk), u: rows(n), g: rows(1) }
    }
}

/// What becomes of the writes of a call's tokens.
pub enum Writes<'u, 't> {
    /// The state is brought up to date.
    Commit,
    /// The state stays as it was before the first of them. Their corrected values `[t, n]` go here: with their keys and
    /// decays they are the log for a later call.
    Log(&'u mut Tile<'t>),
}

/// `(x, state, w)`, see [`Kernels::conv1d_silu`].
type ConvFn = unsafe fn(&mut Tile<'_>, &mut [[f32; CONV_BLOCK]], &[[f32; CONV_BLOCK]]);

/// `(log, step, state, writes, o, scratch)`, see [`Kernels::delta_rule`].
type DeltaFn =
    unsafe fn(&DeltaLog<'_>, &DeltaTokens<'_>, &mut [[f32; STATE_COLS]], Writes<'_, '_>, &mut Tile<'_>, &mut Vec<f32>);

/// The functions of this family at one level, `unsafe` for the CPU features they need; shapes as asserted below.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    conv1d_silu: ConvFn,
    delta_rule: DeltaFn,
}

simd::levels::tables! {
    conv1d_silu(x: &mut Tile<'_>, state: &mut [[f32; CONV_BLOCK]], w: &[[f32; CONV_BLOCK]]);
    delta_rule(
        log: &DeltaLog<'_>,
        step: &DeltaTokens<'_>,
        state: &mut [[f32; STATE_COLS]],
        writes: Writes<'_, '_>,
        o: &mut Tile<'_>,
        scratch: &mut Vec<f32>,
    );
}

/// Re-orders convolution weights from the file's `[n_channel, kernel]` (taps oldest first) to
/// `[⌈n_channel / CONV_BLOCK⌉, kernel, CONV_BLOCK]`, missing channels zero: one block is the `w` of
/// [`Kernels::conv1d_silu`].
///
/// # Panics
/// If `kernel` is zero or does not divide the number of weights.
pub fn conv_blocks(w: &[f32], kernel: usize) -> Vec<f32> {
    assert!(kernel > 0 && w.len().is_multiple_of(kernel), "{} weights in kernels of {kernel}", w.len());
    let blocks = (w.len() / kernel).div_ceil(CONV_BLOCK);
    let mut out = vec![0.0; blocks * kernel * CONV_BLOCK];
    for (channel, taps) in w.chunks_exact(kernel).enumerate() {
        for (tap, &w) in taps.iter().enumerate() {
            out[(channel / CONV_BLOCK * kernel + tap) * CONV_BLOCK + channel % CONV_BLOCK] = w;
        }
    }
    out
}

impl Kernels {
    /// Depthwise causal convolution over time, then SiLU, for one block of channels:
    /// `x'_t = silu(Σ_j w[j] · x_{t−(kernel−1)+j})`.
    ///
    /// `x [t, n]`, `n ≤` [`CONV_BLOCK`], raw projections in, activated values out, in place. `state [kernel−1,
    /// CONV_BLOCK]` holds the raw inputs of the tokens before, oldest first (zero at the start of a sequence), and is
    /// brought up to date; its columns past `n` are left as they are. `w [kernel, CONV_BLOCK]` is a block of
    /// [`conv_blocks`].
    ///
    /// Outputs and state are the same, to the bit, however a sequence is cut into calls. To advance a state by inputs
    /// whose outputs are known, append them to it and keep the last `kernel−1` rows.
    ///
    /// # Panics
    /// If a shape disagrees.
    pub fn conv1d_silu(&self, x: &mut Tile<'_>, state: &mut [f32], w: &[f32]) {
        let (w, ragged) = w.as_chunks();
        let (state, ragged_state) = state.as_chunks_mut();
        assert!(!w.is_empty() && ragged.is_empty() && ragged_state.is_empty(), "whole rows of {CONV_BLOCK} channels");
        assert_eq!(state.len(), w.len() - 1, "rows of state for {} taps", w.len());
        assert!(x.cols() <= CONV_BLOCK, "{} channels", x.cols());
        // SAFETY: this table was made for a level this CPU has (`Kernels::select`).
        unsafe { (self.deltanet.conv1d_silu)(x, state, w) }
    }

    /// Gated delta rule over `t ≥ 0` tokens in sequence, for one block of value columns of one head. A token:
    ///
    /// `S ← e^g·S;  u = β·(v − Sᵀk);  S ← S + k·uᵀ;  o = Sᵀq`.
    ///
    /// First the tokens of `log` are written, in their order. `state [dk, STATE_COLS]` is read and brought up to date
    /// with them, and with the new tokens as `writes` says; columns past `n` are of no meaning (zero them once). It is
    /// read and written fastest when it begins at a multiple of 64 bytes. `o [t, n]`. Any `dk`; ranges of the inputs as
    /// in [`DeltaTokens`]. `scratch` grows to [`delta_scratch_len`]: keep one per thread.
    ///
    /// Outputs, corrected values and state are the same, to the bit, however a sequence is cut into calls and whichever
    /// of its tokens are committed at once or logged and written later.
    ///
    /// Source: Yang et al., Gated Delta Networks, arXiv:2412.06464.
    ///
    /// # Panics
    /// If a shape disagrees.
    pub fn delta_rule(
        &self,
        log: &DeltaLog<'_>,
        step: &DeltaTokens<'_>,
        state: &mut [f32],
        writes: Writes<'_, '_>,
        o: &mut Tile<'_>,
        scratch: &mut Vec<f32>,
    ) {
        let DeltaTokens { q, k, v, g, beta } = step;
        let (t, n) = (q.rows(), o.cols());
        assert_eq!((k.rows(), v.rows(), g.rows(), beta.rows(), o.rows()), (t, t, t, t, t), "tokens");
        assert_eq!((k.cols(), g.cols(), beta.cols()), (q.cols(), 1, 1), "widths of k, g, beta");
        assert!(v.cols() == n && n <= STATE_COLS, "{} values, {n} outputs", v.cols());
        assert_eq!((log.k.rows(), log.u.rows()), (log.g.rows(), log.g.rows()), "tokens of the log");
        assert_eq!((log.k.cols(), log.u.cols(), log.g.cols()), (k.cols(), n, 1), "widths of the log's k, u, g");
        if let Writes::Log(u) = &writes {
            assert_eq!((u.rows(), u.cols()), (t, n), "corrected values");
        }
        assert_eq!(state.len(), q.cols() * STATE_COLS, "state of {} keys", q.cols());
        let state = state.as_chunks_mut().0;
        // SAFETY: this table was made for a level this CPU has (`Kernels::select`).
        unsafe { (self.deltanet.delta_rule)(log, step, state, writes, o, scratch) }
    }
}

/// Values that [`Kernels::delta_rule`] takes of its scratch at most, for keys of `dk` values, a log of `logged` tokens
/// and `tokens` new ones.
pub const fn delta_scratch_len(dk: usize, logged: usize, tokens: usize) -> usize {
    // The state after some of the tokens, and the decays; each piece begins at a cache line.
    const LINES: usize = 4 * 16;
    dk.saturating_mul(STATE_COLS).saturating_add(logged).saturating_add(tokens).saturating_add(LINES)
}
