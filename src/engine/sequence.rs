//! One conversation as a value: what stands at its positions, and what the model remembers of them. It has no threads and no
//! weights; a [`super::runner::Runner`] moves it on.
//!
//! A sequence goes back in two ways: into its last pass, if that was short, by moving a cursor
//! ([`Sequence::take_back`]); further only to a checkpoint, for the states of a hybrid model hold all of the past. Behind the last
//! row of a prompt it keeps the output, its *tip*: asked for the same again, the head alone is computed.

use crate::model::Config;
use crate::model::input::{Input, InputRow};
use crate::model::memory::{Checkpoint, KeptMemory, Memory, Tip};
use crate::model::mtp::DraftMemory;
use crate::model::pages::PagePool;
use kernels::Way;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// A conversation. What stands for it in the pools of its runner is given back when it is dropped.
pub struct Sequence {
    pub(super) memory: Memory,
    rows: Rows,
    /// Ascending.
    checkpoints: Vec<Checkpoint>,
    /// Checkpoints kept at most.
    n_checkpoint: usize,
    /// What the block for drafting remembers, if it drafts.
    pub(super) drafts: Option<DraftMemory>,
    n_embd: usize,
}

/// What stands in a conversation, row by row.
#[derive(Clone, Default)]
pub(super) struct Rows {
    /// What stands at each: see [`key`].
    pub keys: Vec<u64>,
    /// The position that a text token would get behind each.
    pub next: Vec<u32>,
    /// How each was computed.
    pub ways: Vec<Way>,
}

impl Rows {
    /// Bytes of a row.
    pub const BYTES: usize = size_of::<u64>() + size_of::<u32>() + size_of::<Way>();

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn truncate(&mut self, n: usize) {
        self.keys.truncate(n);
        self.next.truncate(n);
        self.ways.truncate(n);
    }

    /// The rows in `range`.
    pub fn slice(&self, range: Range<usize>) -> Rows {
        Rows {
            keys: self.keys[range.clone()].to_vec(),
            next: self.next[range.clone()].to_vec(),
            ways: self.ways[range].to_vec(),
        }
    }

    /// Goes on with those of another.
    pub fn append(&mut self, other: &Rows) {
        self.keys.extend_from_slice(&other.keys);
        self.next.extend_from_slice(&other.next);
        self.ways.extend_from_slice(&other.ways);
    }

    /// Of the first `n` rows, those that were written.
    pub fn n_written(&self, n: usize) -> usize {
        self.ways[..n].iter().filter(|&&way| way == Way::Written).count()
    }

    /// Rows that begin as `keys` do.
    pub fn common(&self, keys: &[u64]) -> usize {
        self.keys.iter().zip(keys).take_while(|(a, b)| a == b).count()
    }

    /// Whether the rows of another from `at` on begin with these, computed in the same ways.
    pub fn begin(&self, other: &Rows, at: usize) -> bool {
        other.keys[at..].starts_with(&self.keys) && other.ways[at..].starts_with(&self.ways)
    }
}

/// A point of a conversation, put aside.
pub(super) struct Kept {
    pub memory: KeptMemory,
    pub drafts: Option<DraftMemory>,
}

impl Kept {
    /// Bytes of it, but for the pages.
    pub fn bytes(&self) -> usize {
        self.memory.bytes() + self.drafts.as_ref().map_or(0, DraftMemory::bytes_held)
    }
}

impl Sequence {
    /// One without rows, of which `n_checkpoint` checkpoints are kept.
    pub(super) fn new(config: &Config, pool: &PagePool, n_checkpoint: usize) -> Sequence {
        let memory = Memory::new(config, pool);
        let n_embd = config.n_embd;
        Sequence { memory, rows: Rows::default(), checkpoints: Vec::new(), n_checkpoint, drafts: None, n_embd }
    }

    /// Rows it has.
    pub fn n_past(&self) -> usize {
        self.rows.len()
    }

    /// The position a text token would get next. It falls behind [`Sequence::n_past`] after images.
    pub fn next_position(&self) -> u32 {
        self.rows.next.last().copied().unwrap_or(0)
    }

    /// Rows of the last pass that [`Sequence::take_back`] can take back.
    pub fn n_logged(&self) -> usize {
        self.memory.n_logged()
    }

    /// The output behind its last row, if that was kept.
    pub fn tip(&self) -> Option<&Tip> {
        self.memory.tip()
    }

    /// Keeps the output behind its last row until it goes on or back; with the checkpoint that its last pass has gone on from, if
    /// there is one, which gets the rows of that pass too.
    pub fn keep_tip(&mut self, tip: Tip) {
        self.memory.keep_tip(tip);
        let n_base = self.n_past() - self.n_logged();
        if let Some(last) = self.checkpoints.last_mut().filter(|last| last.n_past() == n_base) {
            *last = self.memory.checkpoint();
        }
    }

    /// Hidden states that wait to be shown to the block for drafting.
    pub(super) fn n_waiting(&self) -> usize {
        self.drafts.as_ref().map_or(0, |memory| memory.waiting(self.n_embd).1)
    }

    /// Pages of keys and values it holds, those it shares with others included.
    pub fn n_page(&self) -> usize {
        self.memory.n_page()
    }

    /// Pages that `n` rows more take at most: of keys and values, and of what a block for drafting remembers.
    pub fn n_missing(&self, n: usize) -> (usize, usize) {
        (self.memory.n_missing(n), self.drafts.as_ref().map_or(0, |drafts| drafts.n_missing(n)))
    }

    /// Another conversation with the same past, to go on in another way; or to be put aside and to take the place of this one
    /// later. Full pages and states are shared until one of the two writes them.
    pub fn fork(&self) -> Sequence {
        Sequence {
            memory: self.memory.fork(),
            rows: self.rows.clone(),
            checkpoints: self.checkpoints.clone(),
            n_checkpoint: self.n_checkpoint,
            drafts: self.drafts.clone(),
            n_embd: self.n_embd,
        }
    }

    /// A row of it again, if that was a token of a text.
    pub(super) fn token(&self, row: usize) -> Option<InputRow> {
        let key = *self.rows.keys.get(row)?;
        (key & HASHED == 0).then_some(InputRow { input: Input::Token(key as u32), position: [(key >> 32) as u32; 3] })
    }

    /// Takes back the last `n` rows. It costs nothing: the states do not have them yet.
    ///
    /// # Errors
    /// If they are not all of the last pass, or that was a long one; nothing has changed then.
    pub fn take_back(&mut self, n: usize) -> Result<(), NotLogged> {
        if !self.memory.take_back(n) {
            return Err(NotLogged { n, n_logged: self.n_logged() });
        }
        self.cut(self.n_past() - n);
        Ok(())
    }

    /// Forgets what stands behind the first `n_past` rows, which the memory has forgotten.
    fn cut(&mut self, n_past: usize) {
        self.rows.truncate(n_past);
        self.checkpoints.retain(|point| point.n_base() <= n_past);
        self.checkpoints.iter_mut().for_each(|point| point.cut(n_past));
        if let Some(drafts) = &mut self.drafts {
            drafts.cut(n_past, self.n_embd);
        }
    }

    /// Checkpoints the present as a point [`Sequence::rewind_to_common_prefix`] can go back to. The youngest checkpoints are kept.
    pub fn checkpoint(&mut self) {
        if self.n_checkpoint > 0 {
            self.keep(vec![self.memory.checkpoint()]);
        }
    }

    fn keep(&mut self, checkpoints: Vec<Checkpoint>) {
        self.checkpoints.extend(checkpoints);
        let surplus = self.checkpoints.len().saturating_sub(self.n_checkpoint);
        self.checkpoints.drain(..surplus);
    }

    /// Rows that it begins with as `rows` do.
    pub fn common_prefix(&self, rows: &[InputRow]) -> usize {
        self.rows.keys.iter().zip(rows).take_while(|(have, row)| **have == key(row)).count()
    }

    /// Whether it has all of `rows` at its beginning.
    pub(super) fn begins_with(&self, rows: &[InputRow]) -> bool {
        self.common_prefix(rows) == rows.len()
    }

    /// Goes back to the latest known point that `rows` also begin with, and returns how many of them are therefore read
    /// already. At most all but one, so that there is something to read; or all of them, where the [tip](Sequence::tip) is known.
    pub fn rewind_to_common_prefix(&mut self, rows: &[InputRow]) -> usize {
        let n = self.common_prefix(rows);
        let is_known = n == rows.len() && self.rewind_to_tip(n);
        if is_known { n } else { self.rewind(n.min(rows.len().saturating_sub(1))) }
    }

    /// Goes back to its first `n` rows, if what is behind them is known.
    fn rewind_to_tip(&mut self, n: usize) -> bool {
        if n < self.n_past() {
            let is_it = |point: &&Checkpoint| point.n_past() == n && point.tip().is_some();
            let Some(point) = self.checkpoints.iter().find(is_it) else { return false };
            self.memory.go_back(point);
            self.cut(n);
        }
        self.tip().is_some()
    }

    /// So many rows a prompt with these [`keys`](super::shelf::keys) can begin with if it goes on from here: all of its own, but
    /// for rows of the last pass; or none. Its last row is left to be read, unless the tip is known.
    pub fn reach(&self, keys: &[u64]) -> usize {
        let common = self.common_keys(keys);
        let is_known = common == self.n_past() && self.tip().is_some();
        let at = if is_known { common } else { common.min(keys.len().saturating_sub(1)) };
        if self.n_past() <= at + self.n_logged() { at } else { 0 }
    }

    /// Rows that a prompt with these keys begins with as it does.
    pub fn common_keys(&self, keys: &[u64]) -> usize {
        self.rows.common(keys)
    }

    /// The latest point that it can go back to, of so many rows at most.
    fn point_before(&self, n: usize) -> usize {
        let n_past = self.n_past();
        if n_past <= n + self.n_logged() {
            return n.min(n_past);
        }
        let points = self.checkpoints.iter().filter(|point| point.n_base() <= n);
        points.map(|point| point.n_past().min(n)).max().unwrap_or(0)
    }

    /// Goes back to the latest point of so many rows at most, and returns how many they are.
    pub(super) fn rewind(&mut self, n: usize) -> usize {
        let n_past = self.point_before(n);
        if n_past < self.n_past() && self.take_back(self.n_past() - n_past).is_err() {
            let has_it = |point: &&Checkpoint| (point.n_base()..=point.n_past()).contains(&n_past);
            match self.checkpoints.iter().rev().find(has_it) {
                Some(point) => {
                    self.memory.go_back(point);
                    self.memory.take_back(point.n_past() - n_past);
                }
                None => self.memory.clear(),
            }
            self.cut(n_past);
        }
        n_past
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.memory.clear();
        self.cut(0);
    }

    /// What stands at each position, and the position behind it.
    pub(super) fn rows(&self) -> (&[u64], &[u32]) {
        (&self.rows.keys, &self.rows.next)
    }

    /// How each row was computed.
    pub fn ways(&self) -> &[Way] {
        &self.rows.ways
    }

    /// Says what stands at the positions of a memory that comes from elsewhere, and how it was computed.
    pub(super) fn set_rows(&mut self, keys: Vec<u64>, next: Vec<u32>, ways: Vec<Way>) {
        self.rows = Rows { keys, next, ways };
    }

    /// The latest checkpoint.
    pub(super) fn last_checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoints.last()
    }

    /// Gives it a checkpoint that comes from elsewhere with its memory, if it may have any.
    pub(super) fn set_checkpoint(&mut self, checkpoint: Option<Checkpoint>) {
        self.checkpoints.clear();
        self.keep(checkpoint.into_iter().collect());
    }

    /// Lets it have so many checkpoints at a time.
    pub fn allow_checkpoints(&mut self, n: usize) {
        self.n_checkpoint = n;
    }

    /// Takes its checkpoints away, but for one of the present without a tip: what comes next may join that.
    pub(super) fn take_checkpoints(&mut self) -> Vec<Checkpoint> {
        let n_past = self.n_past();
        let is_open = |point: &Checkpoint| point.n_past() == n_past && point.tip().is_none();
        let (open, taken) = std::mem::take(&mut self.checkpoints).into_iter().partition(is_open);
        self.checkpoints = open;
        taken
    }

    /// All of its rows.
    pub(super) fn all_rows(&self) -> &Rows {
        &self.rows
    }

    /// Puts aside what it was at a checkpoint of it.
    pub(super) fn keep_at(&self, point: Checkpoint) -> Kept {
        let n_past = point.n_past();
        let mut drafts = self.drafts.clone();
        if let Some(drafts) = &mut drafts {
            drafts.cut(n_past, self.n_embd);
        }
        Kept { memory: self.memory.keep(point), drafts }
    }

    /// Puts aside what it is.
    pub(super) fn keep_present(&self) -> Kept {
        Kept { memory: self.memory.keep(self.memory.checkpoint()), drafts: self.drafts.clone() }
    }

    /// Goes on from what was put aside behind these rows: it has none yet.
    pub(super) fn resume(&mut self, config: &Config, rows: Rows, kept: &Kept) {
        self.memory = kept.memory.resume(config);
        self.rows = rows;
        if self.drafts.is_some() {
            self.drafts = Some(kept.drafts.clone().unwrap_or_default());
        }
    }

    /// Notes rows that a pass has added to the memory, and the checkpoints it has made inside.
    pub(super) fn went_on(&mut self, rows: &[InputRow], way: Way, checkpoints: Vec<Checkpoint>) {
        self.rows.ways.extend(std::iter::repeat_n(way, rows.len()));
        for row in rows {
            let behind = row.position.into_iter().max().unwrap_or(0).saturating_add(1);
            self.rows.next.push(self.next_position().max(behind));
            self.rows.keys.push(key(row));
        }
        if self.n_checkpoint > 0 {
            self.keep(checkpoints);
        }
    }
}

/// Rows that a sequence cannot take back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{n} rows cannot be taken back: the last pass has left {n_logged} that can")]
#[non_exhaustive]
pub struct NotLogged {
    /// Rows that were to be taken back.
    pub n: usize,
    /// Rows that can be.
    pub n_logged: usize,
}

/// Ways as bytes: 0 for a prompt row, 1 for a written one.
pub(super) fn ways_to_bytes(ways: &[Way]) -> Vec<u8> {
    ways.iter().map(|way| u8::from(*way == Way::Written)).collect()
}

/// The ways that [`ways_to_bytes`] has made into bytes; `None` if these are others.
pub(super) fn ways_from_bytes(bytes: &[u8]) -> Option<Vec<Way>> {
    let way = |byte: &u8| match byte {
        0 => Some(Way::Prompt),
        1 => Some(Way::Written),
        _ => None,
    };
    bytes.iter().map(way).collect()
}

/// The mark of a key that is a hash.
const HASHED: u64 = 1 << 63;

/// What tells a row from others: its token or embedding, and its position. A token of a text has both in its key, any other
/// row the start of a SHA-256 hash of them.
pub(super) fn key(row: &InputRow) -> u64 {
    let [t, h, w] = row.position;
    let hash = |kind: &[u8], values: &[u8]| {
        let mut hash = Sha256::new();
        hash.update(kind);
        row.position.iter().for_each(|p| hash.update(p.to_le_bytes()));
        hash.update(values);
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.finalize().into();
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) | HASHED
    };
    match &row.input {
        &Input::Token(id) if t == h && t == w && t < 1 << 31 => u64::from(t) << 32 | u64::from(id),
        Input::Token(id) => hash(b"token", &id.to_le_bytes()),
        // Sequences are kept in files, which go to no machine of another byte order.
        Input::Embedding(values) => hash(b"embedding", bytemuck::cast_slice(values)),
    }
}
