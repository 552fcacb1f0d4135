//! A Gated DeltaNet layer's mixer (`MODEL.md` §7; Yang et al., arXiv:2412.06464) and its state (§11).

use super::Config;
use super::pass::{LayerPass, most};
use super::weights::DeltaNet;
use crate::compute::Compute;
use crate::compute::batch::{Exactness, precise_arena_len, products};
use crate::compute::team::{Grid, Phase};
use kernels::Rows;
use kernels::deltanet::{CONV_BLOCK, DeltaLog, DeltaTokens, STATE_COLS, Writes, delta_scratch_len};

/// What a DeltaNet layer remembers of all tokens so far: of fixed size, and not to be cut back by position.
#[derive(Clone)]
pub struct State {
    /// The last raw inputs of the convolution, in blocks of channels: `[⌈C/64⌉, kernel−1, 64]`, oldest first.
    conv: Vec<f32>,
    /// The associative memory, in blocks of value columns: `[n_v_head, blocks, head_k_dim, 32]`.
    s: Vec<f32>,
}

/// Inputs of a batch that may be taken back: what is needed to advance a saved [`State`] over part of them.
pub struct Log {
    before: State,
    /// Raw projections to queries, keys, values `[n, C]`.
    qkv: Vec<f32>,
    /// Raw decay and write-strength projections `[n, 2·n_v_head]`.
    alpha_beta: Vec<f32>,
}

/// The lengths of a [`State`], in values; those beyond the address space count as all of it.
struct StateShape {
    conv: usize,
    s: usize,
}

impl StateShape {
    fn new(config: &Config) -> StateShape {
        let conv_blocks = config.conv_channels().div_ceil(CONV_BLOCK);
        let columns = config.n_v_head * (config.head_v_dim / state_cols(config)) * STATE_COLS;
        StateShape {
            conv: conv_blocks.saturating_mul(conv_unit(config)).max(1),
            s: columns.saturating_mul(config.head_k_dim),
        }
    }
}

impl State {
    /// The state before the first token.
    pub fn new(config: &Config) -> State {
        let StateShape { conv, s } = StateShape::new(config);
        State { conv: vec![0.0; conv], s: vec![0.0; s] }
    }

    /// Bytes of a layer's state; sizes beyond the address space count as all of it.
    pub fn bytes(config: &Config) -> usize {
        let StateShape { conv, s } = StateShape::new(config);
        conv.saturating_add(s).saturating_mul(4)
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.conv.fill(0.0);
        self.s.fill(0.0);
    }
}

/// Values of one token in a [`Log`]: projections to queries, keys and values, and to decay and write strength.
fn log_widths(config: &Config) -> [usize; 2] {
    [config.conv_channels(), 2 * config.n_v_head]
}

impl Log {
    /// Bytes of the log of a batch of `n` tokens; sizes beyond the address space count as all of it.
    pub fn bytes(config: &Config, n: usize) -> usize {
        let inputs = log_widths(config).iter().sum::<usize>().saturating_mul(n).saturating_mul(4);
        State::bytes(config).saturating_add(inputs)
    }
}

/// Values of convolution state a block of channels has; at least one, so that blocks can be counted.
fn conv_unit(config: &Config) -> usize {
    ((config.conv_kernel - 1) * CONV_BLOCK).max(1)
}

/// Value columns of a head that one work item handles: the widest even share of the head within the kernel's limit.
fn state_cols(config: &Config) -> usize {
    (1..=STATE_COLS).rev().find(|&n| config.head_v_dim.is_multiple_of(n)).expect("1 divides everything")
}

/// Computes the mixer of the normalised rows `pass.h` into `pass.out`, advancing the state; with `log`, keeps what
/// [`rewind`] needs.
pub(super) fn forward(w: &DeltaNet, state: &mut State, log: Option<&mut Option<Log>>, pass: &mut LayerPass<'_>) {
    let LayerPass { compute, config, rows, n, h, core, proj, up, alpha_beta, out, .. } = pass;
    let (kernels, config, n) = (compute.kernels, *config, *n);
    let (channels, value_dim) = (config.conv_channels(), config.value_dim());
    let qkv = &mut proj[..n * channels];
    let z = &mut up[..n * value_dim];
    let alpha_beta = &mut alpha_beta[..n * 2 * config.n_v_head];
    let gates = w.ssm_alpha_beta.matrix();
    h.refine(compute);
    // The gated norm amplifies the rounding of z most; queries, keys and values come next.
    let projections = [
        (w.attn_gate.matrix(), Exactness::Precise, &mut *z),
        (w.attn_qkv.matrix(), Exactness::PreciseIfCheap, &mut *qkv),
        (gates, Exactness::PreciseIfCheap, &mut *alpha_beta),
    ];
    products(compute, h, Phase::Products, projections);
    if let Some(log) = log {
        *log = Some(Log { before: state.clone(), qkv: qkv.to_vec(), alpha_beta: alpha_beta.to_vec() });
    }
    core.reshape(*rows, value_dim);
    compute.team.enter(Phase::DeltaRule);
    Mix { w, config, compute }.advance(state, qkv, alpha_beta, &mut core.x);
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
    let products = if config.forms.quants { precise_arena_len(most(n).prompt, outputs, threads) } else { 0 };
    products.max(delta_scratch_len(config.head_k_dim, 0, n))
}

/// Sets `state` to what it was after the first `keep` tokens of the batch that wrote `log`.
pub(super) fn rewind(
    w: &DeltaNet,
    state: &mut State,
    mut log: Log,
    keep: usize,
    config: &Config,
    compute: &mut Compute,
) {
    *state = log.before;
    if keep > 0 {
        let [qkv, alpha_beta] = log_widths(config).map(|width| keep * width);
        let mut o = vec![0.0; keep * config.value_dim()];
        let mut mix = Mix { w, config, compute };
        mix.advance(state, &mut log.qkv[..qkv], &mut log.alpha_beta[..alpha_beta], &mut o);
    }
}

/// The part of the mixer that touches the state.
struct Mix<'a> {
    w: &'a DeltaNet,
    config: &'a Config,
    compute: &'a mut Compute,
}

impl Mix<'_> {
    /// Convolution, norms, gates and delta rule over raw projections `qkv [n, C]` and `alpha_beta [n, 2·n_v_head]`,
    /// both overwritten, into `o [n, value_dim]`.
    fn advance(&mut self, state: &mut State, qkv: &mut [f32], alpha_beta: &mut [f32], o: &mut [f32]) {
        let Mix { w, config, compute: &mut Compute { kernels, ref mut team } } = *self;
        let (channels, key_dim, n_v_head) = (config.conv_channels(), config.key_dim(), config.n_v_head);
        let (taps, unit) = (config.conv_kernel, conv_unit(config));
        team.strips(Grid::strips(qkv, channels, CONV_BLOCK), (&mut state.conv, unit), |_, i, _, mut x, history| {
            let history = &mut history[..(taps - 1) * CONV_BLOCK];
            kernels.conv1d_silu(&mut x, history, &w.ssm_conv1d[i * taps * CONV_BLOCK..][..taps * CONV_BLOCK]);
        });

        let scale = 1.0 / (config.head_k_dim as f32).sqrt();
        team.split2((qkv, channels), (alpha_beta, 2 * n_v_head), |_, qkv, alpha_beta| {
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

        let (qkv, alpha_beta) = (&*qkv, &*alpha_beta);
        let cols = state_cols(config);
        let unit = config.head_k_dim * STATE_COLS;
        team.strips(Grid::strips(o, config.value_dim(), cols), (&mut state.s, unit), |arena, _, range, mut o, s| {
            let head = range.start / config.head_v_dim;
            let key = config.key_head(head) * config.head_k_dim;
            let qkv = |start: usize, len| Rows::new(&qkv[start..], o.rows(), len, channels);
            let gate = |start: usize| Rows::new(&alpha_beta[start..], o.rows(), 1, 2 * n_v_head);
            let tokens = DeltaTokens {
                q: qkv(key, config.head_k_dim),
                k: qkv(key_dim + key, config.head_k_dim),
                v: qkv(2 * key_dim + range.start, range.len()),
                g: gate(head),
                beta: gate(n_v_head + head),
            };
            let log = DeltaLog::none(config.head_k_dim, range.len());
            kernels.delta_rule(&log, &tokens, s, Writes::Commit, &mut o, &mut arena.values);
        });
    }
}
