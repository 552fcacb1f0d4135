//! How often experts were used, remembered from one run to the next: a small file in a cache's folder, so that those that were
//! used most are in memory from the start.
//!
//! ```text
//! experts-MODEL         a line that says what it is, the 32 bytes of the model's fingerprint, the numbers of layers and of experts
//!                       (u32), the uses [n_layer, n_expert] (f32), and the SHA-256 hash of all that
//! ```
//!
//! It appears whole, and is read only if every byte is as it was written. One that is damaged or of another model is as none.

use super::prompt_cache::CacheFolder;
use crate::gguf::Fingerprint;
use crate::model::Config;
use crate::model::ffn_slots::FfnSlots;
use crate::platform::atomic_file::AtomicFile;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// What the file begins with.
const MAGIC: &[u8] = b"qwen-edge expert uses 1\n";

/// Bytes of a hash.
const HASH: usize = 32;

/// Uses that a file may speak of for one expert.
const MOST: f32 = 1e12;

/// How often the experts of a model were used, and the file that remembers it.
pub struct ExpertUses {
    path: PathBuf,
    model: Fingerprint,
    uses: Vec<Vec<f32>>,
}

impl ExpertUses {
    /// What the folder has of a model; nothing where it has no file, or none that is as it was written. None for a dense model.
    pub fn open(folder: &CacheFolder, model: Fingerprint, config: &Config) -> Option<ExpertUses> {
        let (n_layer, n_expert) = (config.n_layer(), config.experts?.n_expert);
        let path = folder.file(&format!("experts-{}", &model.to_string()[..32]));
        let uses = read(&path, &model, n_layer, n_expert).unwrap_or_default();
        Some(ExpertUses { path, model, uses })
    }

    /// `[n_layer][n_expert]`; empty where nothing is known.
    pub fn uses(&self) -> &[Vec<f32>] {
        &self.uses
    }

    fn write(&self, uses: &[Vec<f32>]) -> io::Result<()> {
        let bytes = bytes(&self.model, uses);
        let mut file = AtomicFile::create_private(&self.path)?;
        file.write_all(&bytes)?;
        file.commit_unsynced()
    }
}

/// The content of the file.
fn bytes(model: &Fingerprint, uses: &[Vec<f32>]) -> Vec<u8> {
    let mut bytes = [MAGIC, model.as_bytes()].concat();
    for n in [uses.len(), uses.first().map_or(0, Vec::len)] {
        bytes.extend((n as u32).to_le_bytes());
    }
    bytes.extend(uses.iter().flatten().flat_map(|uses| uses.to_le_bytes()));
    let hash = Sha256::digest(&bytes);
    bytes.extend(hash);
    bytes
}

/// What a file says of a model of these numbers, if all of it is as it was written.
fn read(path: &std::path::Path, model: &Fingerprint, n_layer: usize, n_expert: usize) -> Option<Vec<Vec<f32>>> {
    let most = MAGIC.len() + 2 * HASH + 8 + n_layer.checked_mul(n_expert)?.checked_mul(4)?;
    let mut file = Vec::new();
    File::open(path).ok()?.take(most as u64 + 1).read_to_end(&mut file).ok()?;
    parse(&file, model, n_layer, n_expert)
}

fn parse(file: &[u8], model: &Fingerprint, n_layer: usize, n_expert: usize) -> Option<Vec<Vec<f32>>> {
    let (written, hash) = file.split_last_chunk::<HASH>()?;
    let (its_model, rest) = written.strip_prefix(MAGIC)?.split_first_chunk::<HASH>()?;
    let (numbers, values) = rest.split_first_chunk::<8>()?;
    let number = |i: usize| u32::from_le_bytes([numbers[i], numbers[i + 1], numbers[i + 2], numbers[i + 3]]) as usize;
    let is_whole = its_model == model.as_bytes()
        && (number(0), number(4)) == (n_layer, n_expert)
        && n_layer.checked_mul(n_expert)?.checked_mul(4)? == values.len()
        && Sha256::digest(written)[..] == *hash;
    let values = values.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let uses: Vec<f32> = values.filter(|uses| (0.0..=MOST).contains(uses)).collect();
    let is_sound = is_whole && n_expert > 0 && uses.len() == n_layer * n_expert;
    is_sound.then(|| uses.chunks(n_expert).map(<[f32]>::to_vec).collect())
}

/// Writes how often the experts in slots were used when it is dropped.
pub(super) struct Remembered {
    pub slots: Arc<FfnSlots>,
    pub uses: ExpertUses,
}

impl Drop for Remembered {
    fn drop(&mut self) {
        let uses = self.slots.uses();
        let is_sound = uses.iter().flatten().all(|uses| (0.0..=MOST).contains(uses));
        if is_sound && self.slots.counts().read_bytes > 0 {
            // A folder that cannot be written to costs the next run its good start, and nothing else.
            let _ = self.uses.write(&uses);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_in_no_other_way() {
        let model = crate::gguf::Gguf::from_bytes(crate::gguf::writer::Writer::new().header()).unwrap().fingerprint();
        let uses = vec![vec![0.0, 1.5, 1e6], vec![3.0, 0.25, 7.0]];
        let whole = bytes(&model, &uses);
        assert_eq!(parse(&whole, &model, 2, 3), Some(uses.clone()));
        assert_eq!(parse(&whole, &model, 3, 2), None);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(parse(&changed, &model, 2, 3), None, "byte {at} changed");
            assert_eq!(parse(&whole[..at], &model, 2, 3), None, "cut at {at}");
        }
        for wrong in [f32::NAN, -1.0, f32::INFINITY, 2e12] {
            assert_eq!(parse(&bytes(&model, &[vec![wrong, 1.0, 1.0], uses[1].clone()]), &model, 2, 3), None, "{wrong}");
        }
    }
}
