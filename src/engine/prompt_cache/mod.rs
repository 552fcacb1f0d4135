//! What was read of prompts, kept in a folder: what a prompt has in common with an earlier one is not read again, in this
//! process or in another.
//!
//! Keys and values are kept page by page, each page under the [key] of all rows up to its end, so that prompts share the
//! pages of what they have in common. The states of a hybrid model cannot be cut back, so they are kept at some rows only:
//! where the next prompt is likely to be the same up to ([`super::forks`]), and every 8,192 rows. The few rows behind the last
//! of them are kept with it, and the tip behind these: the very same prompt reads nothing.
//!
//! Rows that were written have other bits than the same rows read. They are kept of conversations, with how each row was
//! computed, and taken up by a prompt that goes on with the same rows, as if the conversation had never been put away; of one
//! beginning that was both read and written, what was kept first stays. Where no row that was written is taken up, an answer
//! is that of a cold run, to the bit.

mod folder;
mod key;
mod room;
mod state;

pub use folder::{CacheFolder, FolderError, Kept};

use super::byte_size::ByteSize;
use super::runner::Runner;
use super::sequence::{self, Sequence};
use crate::gguf::Fingerprint;
use crate::model::Config;
use crate::model::input::InputRow;
use crate::model::memory::Memory;
use crate::model::pages::PagePool;
use crate::model::state::LOG_ROWS;
use crate::platform::told_writer::ToldWriter;
use folder::{FileError, StateFile, file_bytes};
use kernels::attention::PAGE;
use key::{Chain, Key};
use room::StateRows;
use state::StateHead;
use std::cmp::Reverse;
use std::fmt;
use std::io::{self, Write};

/// Rows from one state to the next at least, and of a prompt that is worth a look: reading fewer is soon done.
pub const WORTH: usize = 128;

/// States that are looked into to say where a prompt begins to differ.
const MOST_COMPARED: usize = 32;

/// What was read of prompts of one model, in a folder.
pub struct PromptCache {
    folder: CacheFolder,
    /// Bytes that the folder may have.
    most: u64,
    model: Fingerprint,
    name: String,
    /// The rows that were looked at last.
    chain: Chain,
    /// Bytes written.
    written: u64,
    /// Whether writing has failed: it is not tried again.
    broken: bool,
    /// What went wrong, until somebody asks.
    notes: Vec<String>,
}

/// Why no more of a prompt was known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reuse {
    /// Nobody kept anything.
    NoCache,
    /// It is too short to be looked up.
    Short,
    /// Nothing is kept of this model with these settings.
    Nothing,
    /// All that is kept differs from this row on.
    Differs {
        /// The first row that differs.
        at: usize,
    },
    /// The same rows were read further, but no state was kept there.
    NoState {
        /// Rows that were the same.
        known: usize,
    },
    /// What was kept there is damaged.
    Damaged,
    /// Only its end was left to be read.
    End,
    /// All of it was known, and what is behind it.
    Whole,
}

impl Reuse {
    /// The row from which on a prompt was found to differ from what is kept.
    pub fn differs_at(&self) -> Option<usize> {
        match *self {
            Reuse::Differs { at } | Reuse::NoState { known: at } => Some(at),
            Reuse::NoCache | Reuse::Short | Reuse::Nothing | Reuse::Damaged | Reuse::End | Reuse::Whole => None,
        }
    }
}

impl fmt::Display for Reuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reuse::NoCache => write!(f, "no cache"),
            Reuse::Short => write!(f, "a prompt of fewer than {WORTH} tokens is not looked up"),
            Reuse::Nothing => write!(f, "nothing is kept of this model with these settings"),
            Reuse::Differs { at } => write!(f, "what is kept differs from token {at} on"),
            Reuse::NoState { known } => write!(f, "{known} tokens are known, with no state kept so far along"),
            Reuse::Damaged => write!(f, "what was kept is damaged, and was thrown away"),
            Reuse::End => write!(f, "only the end of the prompt was new"),
            Reuse::Whole => write!(f, "nothing of the prompt was new"),
        }
    }
}

impl PromptCache {
    /// That of the model with this fingerprint and name. The folder has no more than `most` bytes whenever this has written
    /// something: what saves the fewest rows of reading for a byte goes first, aged by use.
    pub fn new(folder: CacheFolder, most: ByteSize, model: Fingerprint, name: String) -> PromptCache {
        let (chain, notes) = Default::default();
        PromptCache { folder, most: most.0, model, name, chain, written: 0, broken: false, notes }
    }

    /// Bytes of memory that taking something up needs for a moment, beside those of the plan: the file of a state, and the states
    /// that are replaced.
    pub fn bytes_beside(config: &Config, n_ctx: usize) -> u64 {
        let state = Memory::bytes(config);
        state.saturating_mul(2).saturating_add(StateHead::most_bytes(n_ctx).saturating_mul(2)) as u64
    }

    /// Bytes written since it was opened.
    pub fn written(&self) -> ByteSize {
        ByteSize(self.written)
    }

    /// What went wrong since this was last asked.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Rows that [`PromptCache::recall`] would find at most, if those are more than `n_have`: so many are to be had room for.
    pub fn find(&mut self, runner: &Runner, rows: &[InputRow], n_have: usize) -> Option<usize> {
        let row_keys: Vec<u64> = rows.iter().map(sequence::key).collect();
        self.chain.follow(Key::of(runner, &self.model), &row_keys);
        let states = self.folder.states().ok()?;
        let is_kept = |state: &&StateFile| {
            (n_have + 1..rows.len()).contains(&state.n) && self.chain.key(state.n).to_string() == state.key
        };
        states.iter().filter(is_kept).map(|state| state.n + LOG_ROWS).max()
    }

    /// A sequence of `runner` with as many of `rows` as are kept, if those are more than `n_have`, and why they are no more. The
    /// last row is left to be read, for an answer begins with what is behind it; unless the [tip](Sequence::tip) is known.
    pub fn recall(&mut self, runner: &mut Runner, rows: &[InputRow], n_have: usize) -> (Option<Sequence>, Reuse) {
        if rows.len() == n_have {
            return (None, Reuse::Whole);
        }
        if rows.len() < WORTH {
            return (None, Reuse::Short);
        }
        let base = Key::of(runner, &self.model);
        let row_keys: Vec<u64> = rows.iter().map(sequence::key).collect();
        let mut states = match self.folder.states() {
            Ok(states) => states,
            Err(error) => {
                self.notes.push(format!("the cache cannot be read: {error}"));
                return (None, Reuse::Nothing);
            }
        };
        states.sort_by_key(|state| Reverse(state.n));
        self.chain.follow(base, &row_keys);
        let mut reuse = None;
        for state in states.iter().filter(|state| (n_have + 1..rows.len()).contains(&state.n)) {
            let key = self.chain.key(state.n);
            if key.to_string() != state.key {
                continue;
            }
            match self.restore(runner, base, &row_keys[..state.n], &key) {
                Ok(Some(mut sequence)) => {
                    self.folder.has_state(state.n, &key);
                    let n = sequence.rewind_to_common_prefix(rows);
                    let reuse = match rows.len() - n {
                        0 => Reuse::Whole,
                        1..=WORTH => Reuse::End,
                        _ => self.why(base, &row_keys, n, states),
                    };
                    return (Some(sequence), reuse);
                }
                // There is no room for it.
                Ok(None) => {}
                Err(error) => {
                    self.notes.push(format!("what is kept of {} tokens is not used: {error}", state.n));
                    self.folder.remove_state(state.n, &state.key);
                    reuse = Some(Reuse::Damaged);
                }
            }
        }
        let reuse = reuse.unwrap_or_else(|| if n_have > 0 { Reuse::End } else { self.why(base, &row_keys, 0, states) });
        (None, reuse)
    }

    /// Why nothing was found among `states` that is kept of more than the first `n` rows.
    fn why(&self, base: Key, row_keys: &[u64], n: usize, mut states: Vec<StateFile>) -> Reuse {
        states.sort_by_key(|state| Reverse(state.used));
        let mut most = None;
        for state in states.iter().take(MOST_COMPARED) {
            let Some(head) = self.folder.head(state).filter(|head| head.base == base.0) else { continue };
            let same = head.row_keys.iter().zip(row_keys).take_while(|(a, b)| a == b).count();
            most = most.max(Some(same));
        }
        match most {
            None => Reuse::Nothing,
            Some(same) if same > n => Reuse::NoState { known: same },
            Some(same) => Reuse::Differs { at: same.max(n) },
        }
    }

    /// The sequence whose states have these rows; `None` if there is no room for it.
    fn restore(
        &self,
        runner: &mut Runner,
        base: Key,
        row_keys: &[u64],
        key: &Key,
    ) -> Result<Option<Sequence>, FileError> {
        let n_base = row_keys.len();
        let (model, page_bytes) = (runner.model().clone(), page_bytes(runner));
        let most = StateHead::most_bytes(n_base) + 16 + page_bytes + Memory::bytes(&model.config);
        let bytes = self.folder.read_state(n_base, key, most)?;
        let mut rest = &bytes[..];
        let head = StateHead::take(&mut rest, n_base).ok_or(FileError::Damaged)?;
        if head.base != base.0 || head.row_keys[..n_base] != *row_keys {
            return Err(FileError::Damaged);
        }
        let n = head.row_keys.len();
        if n > runner.settings().n_ctx || runner.pool().check(runner.sequence().memory.n_missing(n)).is_err() {
            return Ok(None);
        }
        let memory = Memory::resume(&model.config, runner.pool_mut(), n, &mut rest);
        let memory = memory.filter(|memory| memory.n_logged() == head.n_logged);
        let mut memory = memory.ok_or(FileError::Damaged)?;
        for (i, key) in head.pages.iter().enumerate() {
            let page = self.folder.read_page(&Key(*key), page_bytes)?;
            let filled = memory.fill(runner.pool_mut(), i * PAGE..(i + 1) * PAGE, &mut &page[..]);
            filled.ok_or(FileError::Damaged)?;
        }
        memory.fill(runner.pool_mut(), n / PAGE * PAGE..n, &mut rest).ok_or(FileError::Damaged)?;
        if !rest.is_empty() {
            return Err(FileError::Damaged);
        }
        let mut sequence = runner.sequence();
        sequence.memory = memory;
        sequence.set_rows(head.row_keys, head.next, head.ways);
        Ok(Some(sequence))
    }

    /// Keeps what a sequence has, if that is worth it: all of its rows, and the state behind them.
    pub fn keep(&mut self, runner: &Runner, sequence: &Sequence) {
        if self.broken || sequence.n_past() - sequence.n_logged() < WORTH {
            return;
        }
        if let Err(error) = self.write(runner, sequence) {
            self.notes.push(format!("what is read cannot be kept: {error}"));
            self.broken = true;
        }
    }

    fn write(&mut self, runner: &Runner, sequence: &Sequence) -> io::Result<()> {
        let (row_keys, next) = sequence.rows();
        let (n, n_logged) = (row_keys.len(), sequence.n_logged());
        let n_base = n - n_logged;
        let base = Key::of(runner, &self.model);
        self.chain.follow(base, row_keys);
        let key = self.chain.key(n_base);
        if self.folder.has_state(n_base, &key) {
            return Ok(());
        }
        let pages = self.chain.keys_in(sequence.ways(), PAGE);
        let mut head_bytes = Vec::new();
        let head = StateHead {
            base: base.0,
            model: self.name.clone(),
            n_logged,
            pages: pages.iter().map(|key| key.0).collect(),
            row_keys: row_keys.to_vec(),
            next: next.to_vec(),
            ways: sequence.ways().to_vec(),
        };
        head.to_bytes(&mut head_bytes);
        let state = |mut out: &mut dyn Write| {
            out.write_all(&head_bytes)?;
            sequence.memory.write_states(&mut out)?;
            sequence.memory.write_keys(runner.pool(), n / PAGE * PAGE..n, &mut out)
        };
        let mut len = 0;
        state(&mut ToldWriter { out: io::sink(), told: |bytes: &[u8]| len += bytes.len() })?;
        let (state_bytes, page_bytes) = (file_bytes(len), file_bytes(page_bytes(runner)));
        if page_bytes.saturating_mul(pages.len() as u64).saturating_add(state_bytes) > self.most {
            return Ok(());
        }
        let _alone = self.folder.lock();
        let rows = StateRows { base: base.0, keys: row_keys.to_vec(), n_base };
        self.folder.make_room(self.most, state_bytes, &rows, &pages, page_bytes)?;
        for (i, key) in pages.iter().enumerate() {
            if !self.folder.has_page(key) {
                let rows = i * PAGE..(i + 1) * PAGE;
                let page = |mut out: &mut dyn Write| sequence.memory.write_keys(runner.pool(), rows.clone(), &mut out);
                self.written += self.folder.write_page(key, &page)?;
            }
        }
        self.written += self.folder.write_state(n_base, &key, &state)?;
        Ok(())
    }
}

/// Bytes of the keys and values of 64 rows.
fn page_bytes(runner: &Runner) -> usize {
    let config = &runner.model().config;
    PagePool::bytes(config, runner.settings().kv, config.n_attention())
}
