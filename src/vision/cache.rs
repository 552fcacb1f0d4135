//! Embeddings of pictures and clips already seen, by content: in memory, and in a directory when one is given.
//!
//! The key is a hash of the tower and of the patches that go into it, so neither a file's name nor its date matters, and
//! another size cap or another tower makes another entry. A file of the directory is written under another name and
//! moved, so that it is whole or absent; one that is broken all the same is ignored and written anew.

use super::preprocess::PixelValues;
use super::weights::VisionModel;
use crate::hex::Hex;
use crate::platform::atomic_file::AtomicFile;
use kernels::dense::Precision;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes of embeddings kept in memory; the oldest leave first.
const MEMORY_BYTES: usize = 64 << 20;

/// Bytes of the header of an entry's file, at most.
const MAX_HEADER: u64 = 4096;

/// Hash of a tower and its input.
pub type Key = [u8; 32];

/// The embeddings seen so far.
pub struct Cache {
    memory: HashMap<Key, Arc<[f32]>>,
    order: VecDeque<Key>,
    bytes: usize,
    /// Of them at most so many.
    most: usize,
    directory: Option<PathBuf>,
}

/// The key of an input.
pub fn key(model: &VisionModel, precision: Precision, pixels: &PixelValues) -> Key {
    let mut hash = Sha256::new();
    hash.update(model.fingerprint);
    hash.update(format!("{precision:?} {:?} {}", pixels.grid, pixels.frames));
    hash.update(bytemuck::cast_slice::<f32, u8>(&pixels.values));
    hash.finalize().into()
}

impl Cache {
    /// A cache in memory, and in `directory` as well if there is one; it is made when the first entry is written.
    pub fn new(directory: Option<&Path>) -> Cache {
        let (memory, order) = Default::default();
        Cache { memory, order, bytes: 0, most: MEMORY_BYTES, directory: directory.map(Path::to_owned) }
    }

    /// Keeps no more than so many bytes in memory, and one entry.
    pub fn remember_at_most(&mut self, bytes: usize) {
        self.most = bytes.min(MEMORY_BYTES);
    }

    fn file(&self, key: &Key) -> Option<PathBuf> {
        let name = Hex(&key[..16]).to_string();
        Some(self.directory.as_ref()?.join(format!("{name}.safetensors")))
    }

    /// The embeddings of `key`, `[tokens, n_out]`, when they are known.
    pub fn get(&mut self, key: &Key, tokens: usize, n_out: usize) -> Option<Arc<[f32]>> {
        if let Some(rows) = self.memory.get(key) {
            return Some(rows.clone());
        }
        let rows: Arc<[f32]> = read(&self.file(key)?, key, tokens, n_out)?.into();
        self.remember(*key, rows.clone());
        Some(rows)
    }

    /// Keeps embeddings.
    ///
    /// # Errors
    /// If the directory cannot be written; they are kept in memory all the same.
    pub fn put(&mut self, key: Key, rows: Arc<[f32]>, n_out: usize) -> io::Result<()> {
        self.remember(key, rows.clone());
        match self.file(&key) {
            Some(file) => write(&file, &key, &rows, n_out)
                .map_err(|error| io::Error::new(error.kind(), format!("cache file {}: {error}", file.display()))),
            None => Ok(()),
        }
    }

    fn remember(&mut self, key: Key, rows: Arc<[f32]>) {
        let bytes = |rows: &Arc<[f32]>| size_of_val::<[f32]>(rows);
        self.bytes += bytes(&rows);
        if let Some(old) = self.memory.insert(key, rows) {
            self.bytes -= bytes(&old);
        } else {
            self.order.push_back(key);
        }
        while self.bytes > self.most && self.order.len() > 1 {
            let oldest = self.order.pop_front().expect("more than one");
            self.bytes -= self.memory.remove(&oldest).map_or(0, |rows| bytes(&rows));
        }
    }
}

fn checksum(key: &Key, bytes: &[u8]) -> String {
    let digest = Sha256::new().chain_update(key).chain_update(bytes).finalize();
    Hex(&digest).to_string()
}

/// Reads an entry; `None` unless it is whole and what it should be.
fn read(path: &Path, key: &Key, tokens: usize, n_out: usize) -> Option<Vec<f32>> {
    let rows = (tokens as u64).checked_mul(n_out as u64)?.checked_mul(size_of::<f32>() as u64)?;
    // What is of use is kept for longer.
    let _ = File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
    // A file of another size is none of these, and may be of any.
    let bytes = super::source::read_file(path, rows.checked_add(MAX_HEADER)?).ok()?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).ok()?;
    let file = SafeTensors::deserialize(&bytes).ok()?;
    let tensor = file.tensor("embeddings").ok()?;
    let sum = metadata.metadata().as_ref()?.get("sha256")?;
    let is_right =
        tensor.dtype() == Dtype::F32 && tensor.shape() == [tokens, n_out] && *sum == checksum(key, tensor.data());
    is_right.then(|| tensor.data().as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect())
}

fn write(path: &Path, key: &Key, rows: &[f32], n_out: usize) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let bytes = bytemuck::cast_slice(rows);
    let tensor = TensorView::new(Dtype::F32, vec![rows.len() / n_out, n_out], bytes).map_err(io::Error::other)?;
    let metadata = HashMap::from([("sha256".to_owned(), checksum(key, bytes))]);
    let mut file = AtomicFile::create_private(path)?;
    let bytes = safetensors::serialize([("embeddings", tensor)], Some(metadata)).map_err(io::Error::other)?;
    file.write_all(&bytes)?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_entry_is_ignored_and_replaced() {
        let dir = std::env::temp_dir().join(format!("qwen-edge-cache-{}", std::process::id()));
        let rows: Arc<[f32]> = (0..12).map(|v| v as f32).collect();
        let key = [7; 32];
        Cache::new(Some(&dir)).put(key, rows.clone(), 4).unwrap();
        let file = Cache::new(Some(&dir)).file(&key).unwrap();
        let again = || Cache::new(Some(&dir)).get(&key, 3, 4);
        assert_eq!(again().as_deref(), Some(&rows[..]));
        assert_eq!(Cache::new(Some(&dir)).get(&key, 4, 3), None, "another shape");
        let whole = std::fs::read(&file).unwrap();
        for cut in [0, 7, 8, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&file, &whole[..cut]).unwrap();
            assert_eq!(again(), None, "cut at {cut}");
        }
        for i in 0..whole.len() {
            let mut bad = whole.clone();
            bad[i] ^= 1;
            std::fs::write(&file, &bad).unwrap();
            let got = again();
            assert!(got.is_none() || got.as_deref() == Some(&rows[..]), "byte {i}");
        }
        Cache::new(Some(&dir)).put(key, rows.clone(), 4).unwrap();
        assert_eq!(again().as_deref(), Some(&rows[..]));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn memory_forgets_the_oldest() {
        let mut cache = Cache::new(None);
        let rows: Arc<[f32]> = vec![0.0; MEMORY_BYTES / 4 / 3].into();
        for i in 0..4 {
            cache.put([i; 32], rows.clone(), 1).unwrap();
        }
        assert!(cache.get(&[0; 32], rows.len(), 1).is_none());
        assert!((1..4).all(|i| cache.get(&[i; 32], rows.len(), 1).is_some()));
    }
}
