//! What a DeltaNet layer remembers of one sequence (`MODEL.md` §7): a state of fixed size, and the log of the rows that
//! are not in it yet.
//!
//! States are committed late. The rows of a short pass ([`LOG_ROWS`] at most) are kept in the layer's [`Log`]; the next
//! pass folds into the state those of them that were accepted, while it reads the state anyway. So rows of the last pass
//! are taken back by moving a cursor, and a token costs one read and one write of the state.

use super::Config;
use kernels::deltanet::{CONV_BLOCK, STATE_COLS};
use std::sync::Arc;

/// Rows of a sequence in one pass up to which they are logged; those of longer passes are committed at once.
pub const LOG_ROWS: usize = 16;

/// The state of one layer: of fixed size, and not to be cut back by position.
#[derive(Clone)]
pub(super) struct State {
    /// The last raw inputs of the convolution, in blocks of channels: `[⌈C/64⌉, kernel−1, 64]`, oldest first.
    pub conv: Vec<f32>,
    /// The associative memory, in blocks of value columns: `[n_v_head, blocks, head_k_dim, 32]`.
    pub s: Vec<f32>,
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

    /// Forgets everything; who shares the state keeps it.
    pub fn clear(state: &mut Arc<State>) {
        match Arc::get_mut(state) {
            Some(State { conv, s }) => [conv, s].into_iter().for_each(|values| values.fill(0.0)),
            None => *state = Arc::new(State { conv: vec![0.0; state.conv.len()], s: vec![0.0; state.s.len()] }),
        }
    }

    /// All of it.
    pub fn values(&self) -> [&[f32]; 2] {
        [&self.conv, &self.s]
    }

    /// All of it, to be written.
    pub fn values_mut(&mut self) -> [&mut [f32]; 2] {
        [&mut self.conv, &mut self.s]
    }

    /// Bytes of a layer's state; sizes beyond the address space count as all of it.
    pub fn bytes(config: &Config) -> usize {
        let StateShape { conv, s } = StateShape::new(config);
        conv.saturating_add(s).saturating_mul(4)
    }
}

/// Values of convolution state a block of channels has; at least one, so that blocks can be counted.
pub(super) fn conv_unit(config: &Config) -> usize {
    ((config.conv_kernel - 1) * CONV_BLOCK).max(1)
}

/// Value columns of a head that one work item handles: the widest even share of the head within the kernel's limit.
pub(super) fn state_cols(config: &Config) -> usize {
    (1..=STATE_COLS).rev().find(|&n| config.head_v_dim.is_multiple_of(n)).expect("1 divides everything")
}

/// The rows of a layer's last pass, as far as they are not in its state: [`LOG_ROWS`] at most.
pub struct Log {
    /// Raw inputs of the convolution `[rows, C]`.
    pub(super) qkv: Vec<f32>,
    /// Keys, L2-normalised `[rows, n_k_head·head_k_dim]`.
    pub(super) k: Vec<f32>,
    /// Corrected values `u = β·(v − e^g·Sᵀk)`, `[rows, n_v_head·head_v_dim]`.
    pub(super) u: Vec<f32>,
    /// Natural logs of the decays, `[rows, n_v_head]`.
    pub(super) g: Vec<f32>,
}

impl Log {
    /// Values of a row: of `qkv`, `k`, `u` and `g`.
    fn widths(config: &Config) -> [usize; 4] {
        [config.conv_channels(), config.key_dim(), config.value_dim(), config.n_v_head]
    }

    /// Room for [`LOG_ROWS`] rows; memory that is not written is not taken.
    pub fn new(config: &Config) -> Log {
        let [qkv, k, u, g] = Log::widths(config).map(|width| vec![0.0; LOG_ROWS * width]);
        Log { qkv, k, u, g }
    }

    /// Bytes of the log of one layer when it is full; sizes beyond the address space count as all of it.
    pub fn bytes(config: &Config) -> usize {
        Log::len(config, LOG_ROWS).saturating_mul(4)
    }

    /// All of the first `n` rows.
    pub(super) fn rows(&self, n: usize) -> [&[f32]; 4] {
        let Log { qkv, k, u, g } = self;
        [qkv, k, u, g].map(|values| &values[..values.len() / LOG_ROWS * n])
    }

    /// All of the first `n` rows, to be written.
    pub(super) fn rows_mut(&mut self, n: usize) -> [&mut [f32]; 4] {
        let Log { qkv, k, u, g } = self;
        [qkv, k, u, g].map(|values| {
            let n = values.len() / LOG_ROWS * n;
            &mut values[..n]
        })
    }

    /// Values of `n` rows; those beyond the address space count as all of it.
    pub(super) fn len(config: &Config, n: usize) -> usize {
        Log::widths(config).into_iter().fold(0, usize::saturating_add).saturating_mul(n)
    }

    /// Copies of all of the first `n` rows.
    pub(super) fn copy(&self, n: usize) -> LogRows {
        LogRows(self.rows(n).map(<[f32]>::to_vec))
    }

    /// Takes the rows of a copy, of which there are `n`.
    pub(super) fn put(&mut self, rows: &LogRows, n: usize) {
        self.rows_mut(n).into_iter().zip(&rows.0).for_each(|(to, from)| to.copy_from_slice(from));
    }

    /// A log of its own of the first `rows` rows.
    pub(super) fn fork(&self, rows: usize) -> Log {
        let empty = |values: &Vec<f32>| vec![0.0; values.len()];
        let Log { qkv, k, u, g } = self;
        let mut fork = Log { qkv: empty(qkv), k: empty(k), u: empty(u), g: empty(g) };
        for (to, from) in fork.rows_mut(rows).into_iter().zip(self.rows(rows)) {
            to.copy_from_slice(from);
        }
        fork
    }
}

/// Rows of a [`Log`], and no room for more: of `qkv`, `k`, `u` and `g`.
#[derive(Clone, Default)]
pub(super) struct LogRows([Vec<f32>; 4]);

impl LogRows {
    /// Room for `n` rows, to be [filled](LogRows::values_mut).
    pub fn new(config: &Config, n: usize) -> LogRows {
        LogRows(Log::widths(config).map(|width| vec![0.0; width * n]))
    }

    /// Leaves out all but the first `n` of `n_have` rows.
    pub fn truncate(&mut self, n_have: usize, n: usize) {
        self.0.iter_mut().filter(|_| n < n_have).for_each(|values| values.truncate(values.len() / n_have * n));
    }

    /// All of them.
    pub fn values(&self) -> [&[f32]; 4] {
        self.0.each_ref().map(Vec::as_slice)
    }

    /// All of them, to be written.
    pub fn values_mut(&mut self) -> [&mut [f32]; 4] {
        self.0.each_mut().map(Vec::as_mut_slice)
    }
}
