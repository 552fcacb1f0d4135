//! A sequence as bytes, and back: what a conversation is kept as beside the program that holds it.
//!
//! ```text
//! "qwen-edge sequence 2\n"                     another way to write them has another number
//! fingerprint of the model                     32 bytes
//! storage of keys and values                   8 bytes, its name and zeros
//! rows                                         u64; those at the beginning that are prompt rows u64; for each a key u64,
//!                                              then for each the next position u32
//! memory                                       rows, states and logs, then keys and values, each layer by layer
//! checkpoints                                  u64, 0 or 1; the latest one
//! SHA-256 of all before                        32 bytes
//! ```
//!
//! Numbers are little-endian, and floats are written as they lie in memory. Earlier checkpoints and what a block for drafting
//! remembers are left out: they are made again.

use super::runner::Runner;
use super::sequence::Sequence;
use crate::gguf::Fingerprint;
use crate::model::memory::{Checkpoint, Memory};
use crate::platform::told_writer::ToldWriter;
use sha2::{Digest, Sha256};
use std::io::{self, Write};

/// What the bytes of a sequence begin with.
const MAGIC: &[u8] = b"qwen-edge sequence 2\n";

/// Bytes of a hash.
const HASH: usize = 32;

/// Why bytes are no sequence of a runner.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They are something else, or of another version.
    #[error("no sequence of this version: expected it to begin with \"qwen-edge sequence 2\"")]
    Magic,
    /// Another model wrote it.
    #[error("the sequence is of another model, or of the model's file before it was changed")]
    Model,
    /// Keys and values are stored in another way.
    #[error("the keys and values of the sequence are stored in another way: expected {expected}")]
    KvType {
        /// How the runner stores them.
        expected: &'static str,
    },
    /// They are cut off, damaged, or longer than they should be.
    #[error("the sequence is damaged or cut off")]
    Damaged,
    /// There is no room for so many rows.
    #[error("the sequence has {n_past} rows, and there is no room for so many")]
    NoRoom {
        /// Rows of the sequence.
        n_past: usize,
    },
}

impl Runner {
    /// A sequence as bytes, for [`Runner::restore`]; `model` is the fingerprint of this runner's model.
    pub fn save(&self, sequence: &Sequence, model: &Fingerprint) -> Vec<u8> {
        let mut out = Vec::new();
        self.save_to(sequence, model, &mut out).expect("a list takes all that is written");
        out
    }

    /// As [`Runner::save`], into `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save_to(&self, sequence: &Sequence, model: &Fingerprint, out: &mut impl Write) -> io::Result<()> {
        let mut hash = Sha256::new();
        let mut out = ToldWriter { out, told: |bytes: &[u8]| hash.update(bytes) };
        out.write_all(MAGIC)?;
        out.write_all(model.as_bytes())?;
        out.write_all(&self.kv_name())?;
        let (keys, next) = sequence.rows();
        out.write_all(&(keys.len() as u64).to_le_bytes())?;
        out.write_all(&(sequence.n_prompt() as u64).to_le_bytes())?;
        out.write_all(&keys.iter().flat_map(|key| key.to_le_bytes()).collect::<Vec<u8>>())?;
        out.write_all(&next.iter().flat_map(|next| next.to_le_bytes()).collect::<Vec<u8>>())?;
        sequence.memory.write(self.pool(), &mut out)?;
        let checkpoint = sequence.last_checkpoint();
        out.write_all(&u64::from(checkpoint.is_some()).to_le_bytes())?;
        checkpoint.map_or(Ok(()), |checkpoint| checkpoint.write(&mut out))?;
        let ToldWriter { out, .. } = out;
        out.write_all(&hash.finalize())
    }

    /// The sequence that [`Runner::save`] has written.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn restore(&mut self, bytes: &[u8], model: &Fingerprint) -> Result<Sequence, SnapshotError> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::Magic)?;
        let mut take = |n: usize| rest.split_off(..n).ok_or(SnapshotError::Damaged);
        if take(HASH)? != model.as_bytes() {
            return Err(SnapshotError::Model);
        }
        if take(8)? != self.kv_name() {
            return Err(SnapshotError::KvType { expected: self.settings().kv.name() });
        }
        let body = bytes.len().checked_sub(HASH).ok_or(SnapshotError::Damaged)?;
        let hash: [u8; HASH] = Sha256::digest(&bytes[..body]).into();
        if bytes[body..] != hash {
            return Err(SnapshotError::Damaged);
        }
        let mut number = || Ok(u64::from_le_bytes(take(8)?.try_into().expect("eight bytes")) as usize);
        let (n, n_prompt) = (number()?, number()?);
        let keys = take(n.checked_mul(8).ok_or(SnapshotError::Damaged)?)?.as_chunks().0;
        let next = take(n.checked_mul(4).ok_or(SnapshotError::Damaged)?)?.as_chunks().0;
        let (n_ctx, model) = (self.settings().n_ctx, self.model().clone());
        let mut memory = rest.strip_suffix(&hash[..]).ok_or(SnapshotError::Damaged)?;
        let missing = Memory::new(&model.config, self.pool()).n_missing(n);
        if n > n_ctx || self.pool().check(missing).is_err() {
            return Err(SnapshotError::NoRoom { n_past: n });
        }
        let restored = Memory::from_bytes(&model.config, self.pool_mut(), n_ctx, &mut memory);
        let restored = restored.filter(|restored| restored.n_past() == n && n_prompt <= n);
        let mut sequence = self.sequence();
        sequence.memory = restored.ok_or(SnapshotError::Damaged)?;
        let checkpoint = match memory.split_off(..8).ok_or(SnapshotError::Damaged)? {
            [0, ..] => None,
            _ => Some(Checkpoint::read(&model.config, &mut memory).ok_or(SnapshotError::Damaged)?),
        };
        if !memory.is_empty() || checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.n_past() > n) {
            return Err(SnapshotError::Damaged);
        }
        let keys = keys.iter().map(|&key| u64::from_le_bytes(key)).collect();
        sequence.set_rows(keys, next.iter().map(|&next| u32::from_le_bytes(next)).collect(), n_prompt);
        sequence.set_checkpoint(checkpoint);
        Ok(sequence)
    }

    fn kv_name(&self) -> [u8; 8] {
        let mut name = [0; 8];
        let kv = self.settings().kv.name().as_bytes();
        name[..kv.len()].copy_from_slice(kv);
        name
    }
}
