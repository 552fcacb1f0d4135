//! Tells the files of one model from those of others, in little time: for what is kept of a model beside its files.

use super::Gguf;
use crate::hex::Hex;
use sha2::{Digest, Sha256};
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the hash begins with. Another way to make fingerprints must have another one, so that none of the two is taken for
/// one of the other.
const VERSION: &[u8] = b"qwen-edge model fingerprint 1\n";

/// What the hash of content alone begins with.
const CONTENT_VERSION: &[u8] = b"qwen-edge model content fingerprint 1\n";

/// Pieces of a tensor that are hashed: one at its start, one at its end, the others evenly between.
const PIECES: usize = 4;

/// Bytes of a piece.
const PIECE: usize = 256;

/// A hash of what a model's files are. See [`Gguf::fingerprint`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The hash itself, to be written into what is kept.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

/// Where the pieces of `len` bytes begin, and how long they are; all bytes are one piece where they are few.
fn pieces(len: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let (n, size) = if len <= PIECES * PIECE { (1, len) } else { (PIECES, PIECE) };
    (0..n).map(move |i| {
        // The lengths of tensors are those of files, far from where this would overflow.
        let start = if n == 1 { 0 } else { (len - size) / (n - 1) * i };
        let start = if i + 1 == n { len - size } else { start };
        start..start + size
    })
}

/// Nanoseconds since 1970 at which a file was changed; one before that, or that is not known, is 0.
fn nanoseconds(changed: Option<SystemTime>) -> u128 {
    changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |time| time.as_nanos())
}

impl Gguf {
    /// The fingerprint of the model: the SHA-256 hash of, for each of its files in order, its length, the time of its last
    /// change when it was opened, its whole header (keys, vocabulary, names, types and places of tensors), and of each
    /// tensor four pieces of 256 bytes, or all of it where that is less.
    ///
    /// It notices another file, a file that was written again, another key and another quantisation. It does not notice a
    /// change between the pieces by a program that sets the time of change back, nor one after the file was opened. Names
    /// and directories are no part of it. A copy has the fingerprint of the original if the copying kept the time of change
    /// (`cp -p`, `rsync -t`), and else another: what was kept for the one is then made again for the other.
    ///
    /// It reads the header and a few pages of each tensor, which takes some milliseconds once those are in the page cache.
    pub fn fingerprint(&self) -> Fingerprint {
        self.hash(VERSION, true)
    }

    /// As [`Gguf::fingerprint`] without the times of change, so that all copies have the same: for what is made on one machine
    /// and used on others. A change between the pieces is not noticed.
    pub fn content_fingerprint(&self) -> Fingerprint {
        self.hash(CONTENT_VERSION, false)
    }

    fn hash(&self, version: &[u8], times: bool) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(version);
        hash.update((self.shards.len() as u64).to_le_bytes());
        for shard in &self.shards {
            hash.update((shard.bytes.len() as u64).to_le_bytes());
            if times {
                hash.update(nanoseconds(shard.changed).to_le_bytes());
            }
            hash.update((shard.header_bytes as u64).to_le_bytes());
            hash.update(&shard.bytes[..shard.header_bytes]);
            for entry in &shard.tensors {
                for piece in pieces(entry.range.len()) {
                    // Read, not mapped: a page here and there brings large ones along, which would count as this program's.
                    // What cannot be read is no longer what it was, and zeros are something else too.
                    let mut bytes = [0; PIECES * PIECE];
                    let bytes = &mut bytes[..piece.len()];
                    let _ = shard.bytes.read(entry.range.start + piece.start, bytes);
                    hash.update(bytes);
                }
            }
        }
        Fingerprint(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::TensorType;
    use crate::gguf::writer::Writer;
    use std::fs::File;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    #[test]
    fn pieces_are_in_order_inside_and_hold_start_and_end() {
        for len in (0..5000).chain([1 << 20, (1 << 40) + 7]) {
            let pieces: Vec<_> = pieces(len).collect();
            assert_eq!((pieces[0].start, pieces[pieces.len() - 1].end), (0, len));
            assert!(pieces.windows(2).all(|w| w[0].end <= w[1].start), "{len}: {pieces:?}");
        }
    }

    /// A file of two tensors, the second of 100,000 bytes.
    fn file(context: u32, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.string("general.architecture", "qwen35").u32("qwen35.context_length", context);
        writer.tensor("a", TensorType::F32, &[3]).tensor("b", TensorType::F32, &[100, 250]);
        let mut bytes = writer.to_bytes(|tensor| vec![7; tensor.bytes()]);
        change(&mut bytes);
        bytes
    }

    fn of(bytes: Vec<u8>) -> Fingerprint {
        Gguf::from_bytes(bytes).unwrap().fingerprint()
    }

    #[test]
    fn another_key_or_a_changed_tensor_has_another_fingerprint() {
        let plain = of(file(4096, |_| ()));
        assert_eq!(of(file(4096, |_| ())), plain);
        assert_eq!(plain.to_string().len(), 64);
        assert_ne!(of(file(4097, |_| ())), plain);
        let len = file(4096, |_| ()).len();
        // A small tensor, the start, the middle and the end of a large one.
        for at in [len - 100_000 - 32, len - 100_000, len - 66_700, len - 33_300, len - 1] {
            assert_ne!(of(file(4096, |bytes| bytes[at] ^= 1)), plain, "{at}");
        }
        // As its documentation says: this is not noticed.
        assert_eq!(of(file(4096, |bytes| bytes[len - 50_000] ^= 1)), plain);
    }

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_copy_has_the_same_fingerprint_if_it_keeps_the_time_of_change() {
        let dir = Scratch(std::env::temp_dir().join(format!("qwen-edge-fingerprint-{}", std::process::id())));
        std::fs::create_dir_all(&dir.0).unwrap();
        let write = |name: &str, time: SystemTime| {
            let path = dir.0.join(name);
            std::fs::write(&path, file(4096, |_| ())).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            path
        };
        let of = |path: &Path| Gguf::open(path).unwrap().fingerprint();
        let content = |path: &Path| Gguf::open(path).unwrap().content_fingerprint();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let original = of(&write("a.gguf", time));
        assert_eq!(of(&write("b.gguf", time)), original);
        let late = write("c.gguf", time + Duration::from_secs(1));
        assert_ne!(of(&late), original);
        assert_eq!(content(&late), content(&dir.0.join("a.gguf")));
        assert_ne!(content(&late), original);
        // It is that of the file as it was opened, wherever the weights are held then.
        let mut gguf = Gguf::open(&dir.0.join("a.gguf")).unwrap();
        gguf.copy_into_memory(|_| ()).unwrap();
        assert_eq!(gguf.fingerprint(), original);
    }
}
