//! A sequence as bytes, and back: what a conversation is kept as beside the program that holds it.
//!
//! ```text
//! "qwen-edge sequence 4\n"                     another way to write them has another number
//! model and settings                           as in `numerics`
//! rows                                         u64; for each a key u64, then for each the next position u32, then for each
//!                                              a byte, 0 for a prompt row and 1 for a written one
//! memory                                       rows; states and logs, layer by layer; the tip: u64, 0 or its values, and so many
//!                                              f32; then keys and values, layer by layer
//! the latest checkpoint                        u64: 0 for none, 1 for the one that follows, 2 for one of the present
//! SHA-256 of all before                        32 bytes
//! ```
//!
//! Numbers are little-endian, and floats are written as they lie in memory. Earlier checkpoints and what a block for drafting
//! remembers are left out: they are made again.

use super::numerics::{Mismatch, Numerics, OtherSetting};
use super::runner::Runner;
use super::sequence::{Sequence, ways_from_bytes, ways_to_bytes};
use crate::gguf::Fingerprint;
use crate::model::memory::{Checkpoint, Memory};
use crate::platform::told_writer::ToldWriter;
use sha2::{Digest, Sha256};
use std::io::{self, Write};

/// What the bytes of a sequence begin with.
const MAGIC: &[u8] = b"qwen-edge sequence 4\n";

/// Bytes of a hash.
const HASH: usize = 32;

/// What stands before a checkpoint, or in its place.
const NO_CHECKPOINT: [u8; 8] = 0u64.to_le_bytes();
const CHECKPOINT: [u8; 8] = 1u64.to_le_bytes();
const PRESENT: [u8; 8] = 2u64.to_le_bytes();

/// Why bytes are no sequence of a runner.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// They are something else, or of another version.
    #[error("no sequence of this version: expected it to begin with \"qwen-edge sequence 4\"")]
    Magic,
    /// Another model wrote it.
    #[error("the sequence is of another model, or of the model's file before it was changed")]
    Model,
    /// It was computed with another setting.
    #[error("the sequence was computed with another {}: expected {}", .0.what, .0.expected)]
    Setting(OtherSetting),
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

impl From<Mismatch> for SnapshotError {
    fn from(mismatch: Mismatch) -> SnapshotError {
        match mismatch {
            Mismatch::Model => SnapshotError::Model,
            Mismatch::Setting(setting) => SnapshotError::Setting(setting),
            Mismatch::Damaged => SnapshotError::Damaged,
        }
    }
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
        Numerics::of(self, model).write(&mut out)?;
        let (keys, next) = sequence.rows();
        out.write_all(&(keys.len() as u64).to_le_bytes())?;
        out.write_all(&keys.iter().flat_map(|key| key.to_le_bytes()).collect::<Vec<u8>>())?;
        out.write_all(&next.iter().flat_map(|next| next.to_le_bytes()).collect::<Vec<u8>>())?;
        out.write_all(&ways_to_bytes(sequence.ways()))?;
        sequence.memory.write(self.pool(), &mut out)?;
        match sequence.last_checkpoint() {
            None => out.write_all(&NO_CHECKPOINT)?,
            Some(checkpoint) if checkpoint.n_past() == sequence.n_past() => out.write_all(&PRESENT)?,
            Some(checkpoint) => {
                out.write_all(&CHECKPOINT)?;
                checkpoint.write(&mut out)?;
            }
        }
        let ToldWriter { out, .. } = out;
        out.write_all(&hash.finalize())
    }

    /// The sequence that [`Runner::save`] has written.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn restore(&mut self, bytes: &[u8], model: &Fingerprint) -> Result<Sequence, SnapshotError> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::Magic)?;
        Numerics::of(self, model).take(&mut rest)?;
        let body = bytes.len().checked_sub(HASH).ok_or(SnapshotError::Damaged)?;
        let hash: [u8; HASH] = Sha256::digest(&bytes[..body]).into();
        if bytes[body..] != hash {
            return Err(SnapshotError::Damaged);
        }
        let mut take = |n: Option<usize>| n.and_then(|n| rest.split_off(..n)).ok_or(SnapshotError::Damaged);
        let n = u64::from_le_bytes(take(Some(8))?.try_into().expect("eight bytes")) as usize;
        let keys = take(n.checked_mul(8))?.as_chunks().0;
        let next = take(n.checked_mul(4))?.as_chunks().0;
        let ways = ways_from_bytes(take(Some(n))?).ok_or(SnapshotError::Damaged)?;
        let (n_ctx, model) = (self.settings().n_ctx, self.model().clone());
        let mut memory = rest.strip_suffix(&hash[..]).ok_or(SnapshotError::Damaged)?;
        let missing = Memory::new(&model.config, self.pool()).n_missing(n);
        if n > n_ctx || self.pool().check(missing).is_err() {
            return Err(SnapshotError::NoRoom { n_past: n });
        }
        let restored = Memory::from_bytes(&model.config, self.pool_mut(), n_ctx, &mut memory);
        let restored = restored.filter(|restored| restored.n_past() == n);
        let mut sequence = self.sequence();
        sequence.memory = restored.ok_or(SnapshotError::Damaged)?;
        let checkpoint = match *memory.split_off(..8).ok_or(SnapshotError::Damaged)?.as_array().expect("eight bytes") {
            NO_CHECKPOINT => None,
            PRESENT => Some(sequence.memory.checkpoint()),
            CHECKPOINT => Some(Checkpoint::read(&model.config, &mut memory).ok_or(SnapshotError::Damaged)?),
            _ => return Err(SnapshotError::Damaged),
        };
        if !memory.is_empty() || checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.n_past() > n) {
            return Err(SnapshotError::Damaged);
        }
        let keys = keys.iter().map(|&key| u64::from_le_bytes(key)).collect();
        sequence.set_rows(keys, next.iter().map(|&next| u32::from_le_bytes(next)).collect(), ways);
        sequence.set_checkpoint(checkpoint);
        Ok(sequence)
    }
}
