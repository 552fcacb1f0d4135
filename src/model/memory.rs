//! What a model remembers of one sequence, layer by layer: pages of keys and values, states, and the log of the last pass.

use super::pages::{PagePool, PageTable, PoolId};
use super::state::{LOG_ROWS, Log, LogRows, State};
use super::{Config, LayerKind};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// What a layer remembers.
pub(super) enum LayerMemory {
    /// Keys and values by position.
    Attention(PageTable),
    /// A state, shared with forks until a pass writes it, and the rows that are not in it yet.
    DeltaNet(Arc<State>, Log),
}

/// What a model remembers of one sequence.
pub struct Memory {
    pub(super) layers: Vec<LayerMemory>,
    /// Where its pages come from.
    pool: PoolId,
    /// Rows remembered.
    n_past: usize,
    /// Of these the last ones, which are in the logs and not in the states.
    n_logged: usize,
    tip: Option<Tip>,
}

/// The output of the trunk behind the last row of a sequence, after the final norm `[n_embd]`: the head alone is left to be
/// computed for what comes next.
pub type Tip = Arc<[f32]>;

/// What the DeltaNet layers remember behind some row, to go back to; keys and values stay with the sequence.
#[derive(Clone)]
pub struct Checkpoint {
    n_past: usize,
    n_logged: usize,
    /// In the order of the layers, with the rows of the log.
    states: Vec<(Arc<State>, LogRows)>,
    tip: Option<Tip>,
}

impl Checkpoint {
    /// Rows before it.
    pub fn n_past(&self) -> usize {
        self.n_past
    }

    /// Of these, rows that are in the states: those behind them can be taken back.
    pub fn n_base(&self) -> usize {
        self.n_past - self.n_logged
    }

    /// What is behind the last of these rows, if that was kept.
    pub fn tip(&self) -> Option<&Tip> {
        self.tip.as_ref()
    }

    /// Takes rows back until there are no more than `n_past`, which its states have.
    ///
    /// # Panics
    /// If they have more.
    pub fn cut(&mut self, n_past: usize) {
        if n_past < self.n_past {
            let n_logged = n_past.checked_sub(self.n_base()).expect("rows behind the states");
            self.states.iter_mut().for_each(|(_, log)| log.truncate(self.n_logged, n_logged));
            (self.n_past, self.n_logged, self.tip) = (n_past, n_logged, None);
        }
    }

    /// Writes it, for [`Checkpoint::read`].
    pub fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        for n in [self.n_past, self.n_logged] {
            out.write_all(&(n as u64).to_le_bytes())?;
        }
        self.states.iter().try_for_each(|(state, log)| write_state(state, log.values(), out))?;
        write_tip(self.tip.as_ref(), out)
    }

    /// Takes from `bytes` what [`Checkpoint::write`] has written of the same model; `None` if it is not that.
    pub fn read(config: &Config, bytes: &mut &[u8]) -> Option<Checkpoint> {
        let mut number = || usize::try_from(take_u64(bytes)?).ok();
        let (n_past, n_logged) = (number()?, number()?);
        if n_logged > n_past.min(LOG_ROWS) {
            return None;
        }
        let mut states = Vec::new();
        for _ in 0..config.n_deltanet() {
            let (mut state, mut log) = (State::new(config), LogRows::new(config, n_logged));
            read_state(&mut state, log.values_mut(), bytes)?;
            states.push((Arc::new(state), log));
        }
        Some(Checkpoint { n_past, n_logged, states, tip: read_tip(config, bytes)? })
    }

    /// Of the states behind `n_past` rows, all of them committed, in the order of the layers.
    pub(super) fn committed(n_past: usize, states: Vec<State>) -> Checkpoint {
        let states = states.into_iter().map(|state| (Arc::new(state), LogRows::default())).collect();
        Checkpoint { n_past, n_logged: 0, states, tip: None }
    }

    /// Bytes of it.
    fn bytes(&self) -> usize {
        let of_layer = |(state, log): &(Arc<State>, LogRows)| {
            state.values().into_iter().chain(log.values()).map(size_of_val).sum::<usize>()
        };
        self.states.iter().map(of_layer).sum::<usize>() + self.tip.as_deref().map_or(0, size_of_val)
    }
}

/// What a model remembers of one sequence behind some row, put aside. Pages and states are shared with whoever went on from
/// there, or will, until that one writes them.
pub struct KeptMemory {
    point: Checkpoint,
    /// In the order of the attention layers.
    tables: Vec<PageTable>,
    pool: PoolId,
}

impl KeptMemory {
    /// Rows remembered.
    pub fn n_past(&self) -> usize {
        self.point.n_past
    }

    /// Of these the last ones, which [`Memory::take_back`] can take back of what goes on from here.
    pub fn n_logged(&self) -> usize {
        self.point.n_logged
    }

    /// What is behind the last of these rows, if that was kept.
    pub fn tip(&self) -> Option<&Tip> {
        self.point.tip()
    }

    /// Bytes of it, but for the pages.
    pub fn bytes(&self) -> usize {
        self.point.bytes() + self.tables.iter().map(PageTable::bytes).sum::<usize>()
    }

    /// Bytes of one behind `n` rows of which the last `n_logged` are not in the states, but for the pages.
    pub fn bytes_behind(config: &Config, n: usize, n_logged: usize) -> usize {
        let logs = Log::len(config, n_logged).saturating_mul(4).saturating_mul(config.n_deltanet());
        let tables = PageTable::bytes_of(n).saturating_mul(config.n_attention());
        [logs, tables, tip_bytes(config)].into_iter().fold(Memory::state_bytes(config), usize::saturating_add)
    }

    /// Pages that nobody else holds.
    pub fn n_own_page(&self) -> usize {
        self.tables.iter().map(PageTable::n_own).sum()
    }

    /// Holds the pages of another instead of its own as far as they are whole: the states of the two have the same rows at their
    /// beginning, computed in the same ways.
    pub fn share_pages(&mut self, other: &KeptMemory) {
        let n = other.point.n_base().min(self.point.n_base());
        self.tables.iter_mut().zip(&other.tables).for_each(|(own, other)| own.share(other, n));
    }

    /// A memory that goes on from here.
    pub fn resume(&self, config: &Config) -> Memory {
        let (mut tables, mut states) = (self.tables.iter(), self.point.states.iter());
        let layer = |kind: &LayerKind| match kind {
            LayerKind::Attention => {
                LayerMemory::Attention(tables.next().expect("a table for every such layer").clone())
            }
            LayerKind::DeltaNet => {
                let (state, rows) = states.next().expect("a state for every such layer");
                let mut log = Log::new(config);
                log.put(rows, self.point.n_logged);
                LayerMemory::DeltaNet(state.clone(), log)
            }
        };
        let layers = config.layers.iter().map(layer).collect();
        let &Checkpoint { n_past, n_logged, ref tip, .. } = &self.point;
        Memory { layers, pool: self.pool.clone(), n_past, n_logged, tip: tip.clone() }
    }
}

impl Memory {
    /// That of a sequence without rows, which takes its pages from `pool`.
    pub fn new(config: &Config, pool: &PagePool) -> Memory {
        let layer = |kind: &LayerKind| match kind {
            LayerKind::Attention => LayerMemory::Attention(PageTable::default()),
            LayerKind::DeltaNet => LayerMemory::DeltaNet(Arc::new(State::new(config)), Log::new(config)),
        };
        Memory { layers: config.layers.iter().map(layer).collect(), pool: pool.id(), n_past: 0, n_logged: 0, tip: None }
    }

    /// Bytes of the states of a sequence, of its logs, and of what is behind its last row; sizes beyond the address space count as
    /// all of it.
    pub fn bytes(config: &Config) -> usize {
        let layer = State::bytes(config).saturating_add(Log::bytes(config));
        layer.saturating_mul(config.n_deltanet()).saturating_add(tip_bytes(config))
    }

    /// Bytes of a checkpoint at most; sizes beyond the address space count as all of it.
    pub fn checkpoint_bytes(config: &Config) -> usize {
        Memory::bytes(config)
    }

    /// Bytes of the states that a token reads, and as many that it writes.
    pub fn state_bytes(config: &Config) -> usize {
        State::bytes(config).saturating_mul(config.n_deltanet())
    }

    /// Whether its pages come from this pool.
    pub fn is_of(&self, pool: &PagePool) -> bool {
        self.pool == pool.id()
    }

    /// Rows remembered.
    pub fn n_past(&self) -> usize {
        self.n_past
    }

    /// Rows that [`Memory::take_back`] can take back.
    pub fn n_logged(&self) -> usize {
        self.n_logged
    }

    /// Another sequence with the same rows. Full pages and the states are shared until one of the two goes on.
    pub fn fork(&self) -> Memory {
        let layer = |layer: &LayerMemory| match layer {
            LayerMemory::Attention(table) => LayerMemory::Attention(table.clone()),
            LayerMemory::DeltaNet(state, log) => LayerMemory::DeltaNet(state.clone(), log.fork(self.n_logged)),
        };
        let layers = self.layers.iter().map(layer).collect();
        let &Memory { n_past, n_logged, .. } = self;
        Memory { layers, pool: self.pool.clone(), n_past, n_logged, tip: self.tip.clone() }
    }

    /// What is behind its last row, if that was kept.
    pub fn tip(&self) -> Option<&Tip> {
        self.tip.as_ref()
    }

    /// Keeps what is behind its last row, until it goes on or back.
    pub fn keep_tip(&mut self, tip: Tip) {
        self.tip = Some(tip);
    }

    /// Takes back the last `n` rows, all of them of the last pass; false, and nothing happens, if they are not.
    pub fn take_back(&mut self, n: usize) -> bool {
        let logged = n <= self.n_logged;
        if logged && n > 0 {
            self.n_past -= n;
            self.n_logged -= n;
            self.tip = None;
        }
        logged
    }

    /// Checkpoints the present, to go back to.
    pub fn checkpoint(&self) -> Checkpoint {
        let states = self.states().map(|(state, log)| (state.clone(), log.copy(self.n_logged))).collect();
        Checkpoint { n_past: self.n_past, n_logged: self.n_logged, states, tip: self.tip.clone() }
    }

    /// Checkpoints what the states have: the present without the rows of the logs.
    pub(super) fn checkpoint_base(&self) -> Checkpoint {
        let states = self.states().map(|(state, _)| (state.clone(), LogRows::default())).collect();
        Checkpoint { n_past: self.n_past - self.n_logged, n_logged: 0, states, tip: None }
    }

    /// Puts aside what it remembered at a checkpoint, which was made of these rows.
    ///
    /// # Panics
    /// If it lies ahead.
    pub fn keep(&self, point: Checkpoint) -> KeptMemory {
        assert!(point.n_past <= self.n_past, "a checkpoint behind row {} of {}", point.n_past, self.n_past);
        let tables = self.layers.iter().filter_map(|layer| match layer {
            LayerMemory::Attention(table) => Some(table.first(point.n_past)),
            LayerMemory::DeltaNet(..) => None,
        });
        KeptMemory { tables: tables.collect(), pool: self.pool.clone(), point }
    }

    fn states(&self) -> impl Iterator<Item = (&Arc<State>, &Log)> {
        self.layers.iter().filter_map(|layer| match layer {
            LayerMemory::DeltaNet(state, log) => Some((state, log)),
            LayerMemory::Attention(_) => None,
        })
    }

    /// Goes back to a checkpoint, which was made of these rows.
    ///
    /// # Panics
    /// If it lies ahead.
    pub fn go_back(&mut self, point: &Checkpoint) {
        assert!(point.n_past <= self.n_past, "a checkpoint behind row {} of {}", point.n_past, self.n_past);
        let mut states = point.states.iter();
        for layer in &mut self.layers {
            match layer {
                LayerMemory::Attention(table) => table.truncate(point.n_past),
                LayerMemory::DeltaNet(state, log) => {
                    let (then, then_log) = states.next().expect("a state for every such layer");
                    *state = then.clone();
                    log.put(then_log, point.n_logged);
                }
            }
        }
        (self.n_past, self.n_logged, self.tip) = (point.n_past, point.n_logged, point.tip.clone());
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for layer in &mut self.layers {
            match layer {
                LayerMemory::Attention(table) => table.truncate(0),
                LayerMemory::DeltaNet(state, _) => State::clear(state),
            }
        }
        (self.n_past, self.n_logged, self.tip) = (0, 0, None);
    }

    /// Pages that [`Memory::reserve`] of `n` rows takes at most.
    pub fn n_missing(&self, n: usize) -> usize {
        let pages = |layer: &LayerMemory| match layer {
            LayerMemory::Attention(table) => table.n_missing(self.n_past, n),
            LayerMemory::DeltaNet(..) => 0,
        };
        self.layers.iter().map(pages).sum()
    }

    /// Makes room for `n` rows more.
    ///
    /// # Panics
    /// If the pool has fewer pages than [`Memory::n_missing`] says.
    pub fn reserve(&mut self, pool: &mut PagePool, n: usize) {
        for layer in &mut self.layers {
            if let LayerMemory::Attention(table) = layer {
                table.reserve(pool, self.n_past, n);
            }
        }
    }

    /// Writes the keys and values of positions that begin at a page, layer by layer, for [`Memory::fill`].
    pub fn write_keys(&self, pool: &PagePool, positions: Range<usize>, out: &mut impl io::Write) -> io::Result<()> {
        self.layers.iter().try_for_each(|layer| match layer {
            LayerMemory::Attention(table) => pool.write_rows(table, positions.clone(), out),
            LayerMemory::DeltaNet(..) => Ok(()),
        })
    }

    /// Writes what is remembered beside keys and values, for [`Memory::resume`].
    pub fn write_states(&self, out: &mut impl io::Write) -> io::Result<()> {
        out.write_all(&(self.n_logged as u64).to_le_bytes())?;
        self.states().try_for_each(|(state, log)| write_state(state, log.rows(self.n_logged), out))?;
        write_tip(self.tip.as_ref(), out)
    }

    /// A memory of `n_past` rows with the states that [`Memory::write_states`] of the same model has written, which are
    /// taken from `bytes`. Its keys and values are still to be [filled](Memory::fill). `None` if it is not that, or the pool
    /// has too few pages.
    pub fn resume(config: &Config, pool: &mut PagePool, n_past: usize, bytes: &mut &[u8]) -> Option<Memory> {
        let n_logged = usize::try_from(take_u64(bytes)?).ok()?;
        let mut memory = Memory::new(config, pool);
        if n_logged > n_past.min(LOG_ROWS) || pool.check(memory.n_missing(n_past)).is_err() {
            return None;
        }
        for layer in &mut memory.layers {
            if let LayerMemory::DeltaNet(state, log) = layer {
                read_state(Arc::get_mut(state).expect("just made"), log.rows_mut(n_logged), bytes)?;
            }
        }
        memory.tip = read_tip(config, bytes)?;
        memory.reserve(pool, n_past);
        (memory.n_past, memory.n_logged) = (n_past, n_logged);
        Some(memory)
    }

    /// Takes the keys and values of positions from `bytes`, which [`Memory::write_keys`] has written; `None` if there is
    /// too little.
    pub fn fill(&mut self, pool: &mut PagePool, positions: Range<usize>, bytes: &mut &[u8]) -> Option<()> {
        for layer in &self.layers {
            if let LayerMemory::Attention(table) = layer {
                pool.fill(table, positions.clone(), bytes)?;
            }
        }
        Some(())
    }

    /// Writes all that is remembered, for [`Memory::from_bytes`].
    pub fn write(&self, pool: &PagePool, out: &mut impl io::Write) -> io::Result<()> {
        out.write_all(&(self.n_past as u64).to_le_bytes())?;
        self.write_states(out)?;
        self.write_keys(pool, 0..self.n_past, out)
    }

    /// Takes from `bytes` what [`Memory::write`] of the same model and storage has written, at most `n_ctx` rows; `None`
    /// if it is not that, or the pool has too few pages.
    pub fn from_bytes(config: &Config, pool: &mut PagePool, n_ctx: usize, bytes: &mut &[u8]) -> Option<Memory> {
        let n_past = usize::try_from(take_u64(bytes)?).ok().filter(|&n| n <= n_ctx)?;
        let mut memory = Memory::resume(config, pool, n_past, bytes)?;
        memory.fill(pool, 0..n_past, bytes)?;
        Some(memory)
    }

    /// Counts `n` rows that a pass has added, the last `n_logged` of them to the logs and the others to the states.
    pub(super) fn went_on(&mut self, n: usize, n_logged: usize) {
        self.n_past += n;
        (self.n_logged, self.tip) = (n_logged, None);
    }

    /// Pages held, shared ones included.
    pub fn n_page(&self) -> usize {
        let pages = |layer: &LayerMemory| match layer {
            LayerMemory::Attention(table) => table.len(),
            LayerMemory::DeltaNet(..) => 0,
        };
        self.layers.iter().map(pages).sum()
    }
}

/// The number that `bytes` begin with.
fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let n = bytes.split_off(..8)?;
    Some(u64::from_le_bytes(n.try_into().expect("eight bytes")))
}

/// Bytes of what is behind a row; sizes beyond the address space count as all of it.
fn tip_bytes(config: &Config) -> usize {
    config.n_embd.saturating_mul(size_of::<f32>())
}

/// Writes the number of its values, and these.
fn write_tip(tip: Option<&Tip>, out: &mut impl io::Write) -> io::Result<()> {
    let tip = tip.map_or(&[][..], |tip| tip);
    out.write_all(&(tip.len() as u64).to_le_bytes())?;
    out.write_all(bytemuck::cast_slice(tip))
}

/// Takes from `bytes` what [`write_tip`] has written; `None` if it is not that.
fn read_tip(config: &Config, bytes: &mut &[u8]) -> Option<Option<Tip>> {
    let n = usize::try_from(take_u64(bytes)?).ok()?;
    if n == 0 {
        return Some(None);
    }
    let mut tip = vec![0.0f32; config.n_embd];
    let values: &mut [u8] = bytemuck::cast_slice_mut(&mut tip);
    values.copy_from_slice(bytes.split_off(..values.len()).filter(|_| n == config.n_embd)?);
    Some(Some(tip.into()))
}

/// Writes a layer's state and the rows of its log.
fn write_state<'a>(
    state: &'a State,
    log: impl IntoIterator<Item = &'a [f32]>,
    out: &mut impl io::Write,
) -> io::Result<()> {
    state.values().into_iter().chain(log).try_for_each(|values| out.write_all(bytemuck::cast_slice(values)))
}

/// Takes from `bytes` what [`write_state`] has written; `None` if there is too little.
fn read_state<'a>(state: &'a mut State, log: impl IntoIterator<Item = &'a mut [f32]>, bytes: &mut &[u8]) -> Option<()> {
    for values in state.values_mut().into_iter().chain(log) {
        let to: &mut [u8] = bytemuck::cast_slice_mut(values);
        to.copy_from_slice(bytes.split_off(..to.len())?);
    }
    Some(())
}
