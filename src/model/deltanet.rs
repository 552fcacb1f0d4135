//! A Gated DeltaNet layer's mixer (`MODEL.md` §7; Yang et al., arXiv:2412.06464).

use super::Config;
use super::pass::{LayerPass, Span};
use super::state::{LOG_ROWS, Log, State, conv_unit, state_cols};
use super::weights::DeltaNet;
use crate::compute::Compute;
use crate::compute::arena::Arena;
use crate::compute::batch::{Exactness, precise_arena_len, products};
use crate::compute::team::Phase;
use kernels::deltanet::{CONV_BLOCK, DeltaLog, DeltaTokens, STATE_COLS, Writes, delta_scratch_len};
use kernels::{Kernels, Rows, Tile};
use std::ops::Range;
use std::sync::Arc;

/// What the layer remembers of the sequence of a span.
pub(super) struct Remembered<'a> {
    pub state: &'a mut Arc<State>,
    /// The rows that are not in the state yet.
    pub log: &'a mut Log,
    /// Takes the rows of this pass that are logged, if any are, and then changes places with `log`.
    pub spare: &'a mut Log,
    /// Rows of the span before which the state is kept.
    pub checkpoint_at: &'a [usize],
    /// For each of these the states of the layers before this one, which this one's joins; not for the last if all rows behind it
    /// are logged: the state is left as it was there.
    pub kept: &'a mut Vec<Vec<State>>,
}

/// Computes the mixer of the normalised rows `pass.h` into `pass.out`, advancing what is remembered of each span's sequence.
pub(super) fn forward(w: &DeltaNet, memories: &mut [Remembered<'_>], pass: &mut LayerPass<'_>) {
    let LayerPass { compute, config, counts, spans, h, core, proj, up, alpha_beta, out, .. } = pass;
    let (kernels, config, n) = (compute.kernels, *config, counts.total());
    let (channels, value_dim) = (config.conv_channels(), config.value_dim());
    let qkv = &mut proj[..n * channels];
    let z = &mut up[..n * value_dim];
    let alpha_beta = &mut alpha_beta[..n * 2 * config.n_v_head];
    h.refine(compute);
    // The gated norm amplifies the rounding of z most; queries, keys and values come next.
    let projections = [
        (w.attn_gate.matrix(), Exactness::Precise, &mut *z),
        (w.attn_qkv.matrix(), Exactness::PreciseIfCheap, &mut *qkv),
        (w.ssm_alpha_beta.matrix(), Exactness::PreciseIfCheap, &mut *alpha_beta),
    ];
    products(compute, h, Phase::Products, projections);
    core.reshape(*counts, value_dim);
    compute.team.enter(Phase::DeltaRule);
    Mix { w, config, compute, spans }.advance(memories, qkv, alpha_beta, &mut core.x);
    compute.team.enter(Phase::Other);

    let z = &*z;
    core.fill(compute, |r, o| {
        for (o, z) in o.chunks_mut(config.head_v_dim).zip(z[r * value_dim..].chunks(config.head_v_dim)) {
            kernels.gated_rms_norm(o, z, &w.ssm_norm, config.rms_eps);
        }
    });
    products(compute, core, Phase::Products, [(w.ssm_out.matrix(), Exactness::Plain, &mut **out)]);
}

/// Values of an arena that the mixer of `n` tokens takes at most.
pub(super) fn arena_len(config: &Config, n: usize, threads: usize) -> usize {
    let outputs = config.conv_channels() + config.value_dim() + 2 * config.n_v_head;
    let products = if config.forms.quants { precise_arena_len(n, outputs, threads) } else { 0 };
    products.max(delta_scratch_len(config.head_k_dim, LOG_ROWS, n)).max(conv_unit(config))
}

/// The part of the mixer that touches states.
struct Mix<'a> {
    w: &'a DeltaNet,
    config: &'a Config,
    compute: &'a mut Compute,
    spans: &'a [Span],
}

impl Mix<'_> {
    /// Convolution, norms, gates and delta rule over raw projections `qkv [n, C]` and `alpha_beta [n, 2·n_v_head]`,
    /// both overwritten, into `o [n, value_dim]`.
    fn advance(&mut self, memories: &mut [Remembered<'_>], qkv: &mut [f32], alpha_beta: &mut [f32], o: &mut [f32]) {
        for memory in &mut *memories {
            // What is shared with a fork stays as it is: from here on the state is this sequence's own.
            Arc::make_mut(memory.state);
        }
        // Checkpoints cut the rows of a span into stretches, which take turns.
        let turns = memories.iter().map(|memory| memory.checkpoint_at.len() + 1).max().unwrap_or(0);
        let mut kept: Vec<Vec<State>> = memories.iter().map(|_| Vec::new()).collect();
        for turn in 0..turns {
            self.convolve(memories, turn, qkv);
            for ((span, memory), kept) in self.spans.iter().zip(&*memories).zip(&mut kept) {
                if turn < memory.checkpoint_at.len().saturating_sub(usize::from(span.to_log > 0)) {
                    kept.push(State { conv: memory.state.conv.clone(), s: Vec::new() });
                }
            }
        }
        self.normalize(memories, qkv, alpha_beta);
        for turn in 0..turns {
            self.apply(memories, turn, qkv, alpha_beta, o);
            for (memory, kept) in memories.iter_mut().zip(&mut kept) {
                if let Some(kept) = kept.get_mut(turn) {
                    memory.kept[turn].push(State { s: memory.state.s.clone(), conv: std::mem::take(&mut kept.conv) });
                }
            }
        }
        for (span, memory) in self.spans.iter().zip(memories) {
            if span.to_log > 0 {
                std::mem::swap(memory.log, memory.spare);
            }
        }
    }

    /// The stretch of a span's rows whose turn it is, and whether they are logged; empty where all are through.
    fn stretch(span: &Span, memory: &Remembered<'_>, turn: usize) -> (Range<usize>, bool) {
        let cut = |i: usize| memory.checkpoint_at.get(i).copied().unwrap_or(span.n);
        let stretch = if turn == 0 { 0 } else { cut(turn - 1) }..cut(turn);
        let is_logged = span.to_log > 0 && stretch.end == span.n && !stretch.is_empty();
        (stretch, is_logged)
    }

    /// Convolution and SiLU of a stretch of each span, in place.
    fn convolve(&mut self, memories: &mut [Remembered<'_>], turn: usize, qkv: &mut [f32]) {
        let Mix { w, config, compute: &mut Compute { kernels, ref mut team }, spans } = *self;
        let (channels, taps, unit) = (config.conv_channels(), config.conv_kernel, conv_unit(config));
        let mut items = Vec::new();
        let mut rest = &mut qkv[..];
        for (span, memory) in spans.iter().zip(memories) {
            let own = rest.split_off_mut(..span.n * channels).expect("rows of every span");
            let (stretch, is_logged) = Self::stretch(span, memory, turn);
            let x = Tile::new(&mut own[stretch.start * channels..stretch.end * channels], channels);
            let folded = if turn == 0 { span.n_logged } else { 0 };
            let logged = Rows::new(&memory.log.qkv, folded, channels, channels);
            let mut spare = is_logged.then(|| {
                let rows = &mut memory.spare.qkv[..span.to_log * channels];
                Tile::new(rows, channels).into_blocks(usize::MAX, CONV_BLOCK)
            });
            let State { conv, .. } = Arc::get_mut(memory.state).expect("made its own");
            for ((_, cols, x), history) in x.into_blocks(usize::MAX, CONV_BLOCK).zip(conv.chunks_mut(unit)) {
                let spare = spare.as_mut().and_then(Iterator::next).map(|(_, _, spare)| spare);
                items.push(Convolution { x, history: &mut history[..(taps - 1) * CONV_BLOCK], logged, spare, cols });
            }
        }
        team.split_with(&mut items, 1, |arena, _, item| {
            let block = item[0].cols.start / CONV_BLOCK;
            item[0].compute(kernels, arena, &w.ssm_conv1d[block * taps * CONV_BLOCK..][..taps * CONV_BLOCK]);
        });
    }

    /// Norms of queries and keys, decays and write strengths.
    fn normalize(&mut self, memories: &mut [Remembered<'_>], qkv: &mut [f32], alpha_beta: &mut [f32]) {
        let Mix { w, config, compute: &mut Compute { kernels, ref mut team }, spans } = *self;
        let (channels, key_dim, n_v_head) = (config.conv_channels(), config.key_dim(), config.n_v_head);
        let scale = 1.0 / (config.head_k_dim as f32).sqrt();
        team.split2((&mut *qkv, channels), (&mut *alpha_beta, 2 * n_v_head), |_, qkv, alpha_beta| {
            let (q, rest) = qkv.split_at_mut(key_dim);
            for q in q.chunks_mut(config.head_k_dim) {
                kernels.l2_norm(q, config.rms_eps, scale);
            }
            for k in rest[..key_dim].chunks_mut(config.head_k_dim) {
                kernels.l2_norm(k, config.rms_eps, 1.0);
            }
            let (alpha, beta) = alpha_beta.split_at_mut(n_v_head);
            kernels.delta_gates(alpha, beta, &w.ssm_a, &w.ssm_dt);
        });
        for (span, memory) in spans.iter().zip(memories).filter(|(span, _)| span.to_log > 0) {
            let first = span.n - span.to_log;
            let rows = qkv[span.values(channels)].chunks(channels).skip(first);
            for (k, row) in memory.spare.k.chunks_mut(key_dim).zip(rows) {
                k.copy_from_slice(&row[key_dim..2 * key_dim]);
            }
            let rows = alpha_beta[span.values(2 * n_v_head)].chunks(2 * n_v_head).skip(first);
            for (g, row) in memory.spare.g.chunks_mut(n_v_head).zip(rows) {
                g.copy_from_slice(&row[..n_v_head]);
            }
        }
    }

    /// The delta rule over a stretch of each span: `o [n, value_dim]`.
    fn apply(&mut self, memories: &mut [Remembered<'_>], turn: usize, qkv: &[f32], gates: &[f32], o: &mut [f32]) {
        let Mix { config, compute: &mut Compute { kernels, ref mut team }, spans, .. } = *self;
        let (value_dim, cols, unit) = (config.value_dim(), state_cols(config), config.head_k_dim * STATE_COLS);
        let mut items = Vec::new();
        let mut rest = o;
        for (span, memory) in spans.iter().zip(memories) {
            let own = rest.split_off_mut(..span.n * value_dim).expect("rows of every span");
            let (stretch, is_logged) = Self::stretch(span, memory, turn);
            let o = Tile::new(&mut own[stretch.start * value_dim..stretch.end * value_dim], value_dim);
            let folded = if turn == 0 { span.n_logged } else { 0 };
            let (first, Remembered { state, log, spare, .. }) = (span.start + stretch.start, memory);
            let mut spare = is_logged
                .then(|| Tile::new(&mut spare.u[..span.to_log * value_dim], value_dim).into_blocks(usize::MAX, cols));
            let State { s, .. } = Arc::get_mut(state).expect("made its own");
            for ((_, cols, o), s) in o.into_blocks(usize::MAX, cols).zip(s.chunks_mut(unit)) {
                let u = spare.as_mut().and_then(Iterator::next).map(|(_, _, u)| u);
                items.push(Strip { first, cols, log, folded, s, u, o });
            }
        }
        let pass = Inputs { kernels, config, qkv, gates };
        team.split_with(&mut items, 1, |arena, _, item| item[0].compute(&pass, arena));
    }
}

/// What the delta rule reads of all rows.
struct Inputs<'a> {
    kernels: &'a Kernels,
    config: &'a Config,
    /// Queries, keys, values `[n, C]`.
    qkv: &'a [f32],
    /// Logs of the decays, and write strengths `[n, 2·n_v_head]`.
    gates: &'a [f32],
}

/// A block of value columns of one head of one sequence.
struct Strip<'a> {
    /// The first of its rows in the batch.
    first: usize,
    /// The columns, among those of all heads.
    cols: Range<usize>,
    /// Rows before, of which the first `folded` are not in the state yet.
    log: &'a Log,
    folded: usize,
    /// The state `[head_k_dim, 32]`.
    s: &'a mut [f32],
    /// Takes the corrected values of rows that are logged: the state is then left as it was before them.
    u: Option<Tile<'a>>,
    o: Tile<'a>,
}

impl Strip<'_> {
    fn compute(&mut self, pass: &Inputs<'_>, arena: &mut Arena) {
        let Strip { first, cols, log, folded, s, u, o } = self;
        let Inputs { kernels, config, qkv, gates } = pass;
        let (channels, key_dim, n_v_head) = (config.conv_channels(), config.key_dim(), config.n_v_head);
        let head = cols.start / config.head_v_dim;
        let key = config.key_head(head) * config.head_k_dim;
        let rows = o.rows();
        let qkv = |start: usize, len| Rows::new(&qkv[*first * channels + start..], rows, len, channels);
        let gate = |start: usize| Rows::new(&gates[*first * 2 * n_v_head + start..], rows, 1, 2 * n_v_head);
        let tokens = DeltaTokens {
            q: qkv(key, config.head_k_dim),
            k: qkv(key_dim + key, config.head_k_dim),
            v: qkv(2 * key_dim + cols.start, cols.len()),
            g: gate(head),
            beta: gate(n_v_head + head),
        };
        let log = DeltaLog {
            k: Rows::new(&log.k[key..], *folded, config.head_k_dim, key_dim),
            u: Rows::new(&log.u[cols.start..], *folded, cols.len(), config.value_dim()),
            g: Rows::new(&log.g[head..], *folded, 1, n_v_head),
        };
        let writes = u.as_mut().map_or(Writes::Commit, Writes::Log);
        kernels.delta_rule(&log, &tokens, s, writes, o, &mut arena.values);
    }
}

/// A block of channels of one sequence.
struct Convolution<'a> {
    /// Raw inputs, overwritten with the results `[n, 64]`.
    x: Tile<'a>,
    /// Raw inputs before them `[kernel−1, 64]`, without the logged ones.
    history: &'a mut [f32],
    /// Logged rows `[n, C]`, which come between the two.
    logged: Rows<'a>,
    /// Takes the raw inputs of rows that are logged: the history is then left as it was before them.
    spare: Option<Tile<'a>>,
    /// The channels.
    cols: Range<usize>,
}

impl Convolution<'_> {
    /// `w [kernel, 64]` are the block's taps.
    fn compute(&mut self, kernels: &Kernels, arena: &mut Arena, w: &[f32]) {
        let Convolution { x, history, logged, spare, cols } = self;
        for r in 0..logged.rows() {
            history.copy_within(CONV_BLOCK.min(history.len()).., 0);
            if let Some(last) = history.len().checked_sub(CONV_BLOCK) {
                history[last..][..cols.len()].copy_from_slice(&logged.row(r)[cols.clone()]);
            }
        }
        match spare {
            None => kernels.conv1d_silu(x, history, w),
            Some(spare) => {
                for r in 0..x.rows() {
                    spare.row_mut(r).copy_from_slice(x.row(r));
                }
                let passing = arena.values(history.len());
                passing.copy_from_slice(history);
                kernels.conv1d_silu(x, passing, w);
            }
        }
    }
}
