//! GGUF files: bytes in, keys, names, types, shapes and byte ranges out. Knows nothing of what a tensor means.
//!
//! A file is mapped, its header walked once, and every count, length and offset checked against the bytes that are
//! there; no tensor byte is touched. Keys and tensors then borrow from the map. GGUF lists the contiguous dimension of
//! a shape first; here every shape has its slowest dimension first, and nothing outside this module sees a file offset.

mod cursor;
mod error;
mod fingerprint;
mod magic;
mod metadata;
mod note;
mod stored;
mod tensors;
pub mod writer;

pub use error::Error;
pub use fingerprint::Fingerprint;
pub use metadata::{Array, Strings, Value, ValueType};
pub use note::Note;
pub use stored::Stored;
pub use tensors::{Tensor, TensorType};

use crate::platform::file_bytes::FileBytes;
use cursor::Cursor;
use metadata::Metadata;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tensors::Entry;

/// Alignment of tensor data in files that do not state one, in bytes.
pub const DEFAULT_ALIGNMENT: usize = 32;

/// An open model: one file, or all files of a split one.
pub struct Gguf {
    /// The files, in order of their split number; the first one's metadata is the model's.
    shards: Vec<Shard>,
    /// Tensor name → shard and entry.
    index: HashMap<Box<str>, (usize, usize)>,
}

/// One file.
struct Shard {
    bytes: Arc<FileBytes>,
    /// When the file was last changed, as the system had it when the file was opened.
    changed: Option<SystemTime>,
    version: u32,
    metadata: Metadata,
    tensors: Vec<Entry>,
    /// End of the header, that is of the tensor directory.
    header_bytes: usize,
}

impl Shard {
    fn parse(bytes: FileBytes) -> Result<Self, Error> {
        let mut cursor = Cursor::new(&bytes);
        if !bytes.starts_with(b"GGUF") {
            let start = &bytes[..bytes.len().min(64)];
            return Err(Error::Magic { found: start[..start.len().min(4)].to_vec(), is: magic::name(start) });
        }
        cursor.take(4, "the magic")?;
        let version = cursor.u32("the version")?;
        if version & 0xffff == 0 && version != 0 {
            return Err(Error::BigEndian);
        }
        if !(2..=3).contains(&version) {
            return Err(Error::Version { found: version });
        }
        let n_tensors = cursor.u64("number of tensors")?;
        let n_keys = cursor.u64("number of keys")?;
        let metadata = Metadata::read(&mut cursor, n_keys)?;
        let mut tensors = tensors::read(&mut cursor, n_tensors)?;

        let alignment = alignment(&metadata, &bytes)?;
        let header_bytes = cursor.at();
        let data_start = header_bytes.next_multiple_of(alignment);
        tensors::place(&mut tensors, data_start, alignment, bytes.len())?;
        let changed = bytes.changed();
        Ok(Self { version, metadata, tensors, header_bytes, changed, bytes: Arc::new(bytes) })
    }

    fn open(path: &Path) -> Result<Self, Error> {
        let mapped = FileBytes::map(path).map_err(Error::from);
        let bytes = mapped.and_then(|bytes| bytes.ok_or(Error::NotAFile));
        bytes.and_then(Self::parse).map_err(|error| error.in_file(path))
    }

    fn uint(&self, key: &str) -> Result<Option<u64>, Error> {
        uint(key, self.metadata.get(&self.bytes, key))
    }
}

/// `general.alignment`, or its default.
fn alignment(metadata: &Metadata, bytes: &[u8]) -> Result<usize, Error> {
    const KEY: &str = "general.alignment";
    match uint(KEY, metadata.get(bytes, KEY))? {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(found) if found.is_power_of_two() && found <= 1 << 16 => Ok(found as usize),
        Some(found) => Err(Error::Alignment { found }),
    }
}

/// Reads a non-negative integer of any integer type.
fn uint(key: &str, value: Option<Value<'_>>) -> Result<Option<u64>, Error> {
    value.map(|value| to_uint(key, value)).transpose()
}

fn to_uint(key: &str, value: Value<'_>) -> Result<u64, Error> {
    let int = value.as_int().ok_or_else(|| wrong(key, "an integer", &value))?;
    u64::try_from(int).map_err(|_| wrong(key, "a non-negative integer", &value))
}

fn wrong(key: &str, expected: &'static str, found: &Value<'_>) -> Error {
    Error::WrongType { key: key.to_owned(), expected, found: found.describe() }
}

impl Gguf {
    /// Opens the model at `path`. Of a split model (`NAME-00001-of-00003.gguf`) any file may be given; its siblings
    /// are opened too.
    ///
    /// # Errors
    /// Anything wrong with the header of a file, or a file of a split model that is missing or does not belong.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let first = Shard::open(path)?;
        match first.uint("split.count").map_err(|error| error.in_file(path))? {
            None | Some(0 | 1) => Self::join(vec![first]).map_err(|error| error.in_file(path)),
            Some(count) => Self::open_split(path, first, count),
        }
    }

    /// Opens a model of one file whose bytes are in memory.
    ///
    /// # Errors
    /// Anything wrong with its header; a file of a split model.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        let shard = Shard::parse(FileBytes::Owned(bytes))?;
        match shard.uint("split.count")? {
            None | Some(0 | 1) => Self::join(vec![shard]),
            Some(count) => Err(Error::Split(format!("one of {count} files was given on its own"))),
        }
    }

    fn open_split(path: &Path, given: Shard, count: u64) -> Result<Self, Error> {
        let given_no = given.uint("split.no").map_err(|error| error.in_file(path))?.unwrap_or(0);
        let Some(name) = SplitName::of(path).filter(|name| name.count == count && name.no == given_no + 1) else {
            return Err(Error::Split(format!(
                "this is file {} of {count}, and its name must say so to find the others: expected \
                 NAME-{:05}-of-{count:05}.gguf",
                given_no + 1,
                given_no + 1,
            ))
            .in_file(path));
        };
        let mut given = Some(given);
        let mut shards = Vec::new();
        for no in 0..count {
            let shard = match given.take_if(|_| no == given_no) {
                Some(shard) => shard,
                None => name.open_sibling(path, no, count)?,
            };
            shards.push(shard);
        }
        let total = shards[0].uint("split.tensors.count").map_err(|error| error.in_file(path))?;
        let found: usize = shards.iter().map(|shard| shard.tensors.len()).sum();
        if total.is_some_and(|total| total != found as u64) {
            let problem = format!("expected {} tensors in all files together, found {found}", total.unwrap_or(0));
            return Err(Error::Split(problem).in_file(path));
        }
        Self::join(shards).map_err(|error| error.in_file(path))
    }

    /// Indexes the tensors of all shards.
    fn join(shards: Vec<Shard>) -> Result<Self, Error> {
        let mut index = HashMap::new();
        for (s, shard) in shards.iter().enumerate() {
            for (t, entry) in shard.tensors.iter().enumerate() {
                match index.entry(entry.name.clone()) {
                    Slot::Vacant(slot) => slot.insert((s, t)),
                    Slot::Occupied(_) => {
                        let at = entry.at;
                        return Err(Error::Duplicate { at, what: "tensor", name: entry.name.to_string() });
                    }
                };
            }
        }
        Ok(Self { shards, index })
    }

    /// The value of a key, of whatever type it is.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.shards[0].metadata.get(&self.shards[0].bytes, key)
    }

    /// All keys and values, in file order.
    pub fn keys(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.shards[0].metadata.iter(&self.shards[0].bytes)
    }

    /// A non-negative integer of any integer type, as tools differ in the width they write.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the value is no integer, or negative.
    pub fn uint(&self, key: &str) -> Result<Option<u64>, Error> {
        self.shards[0].uint(key)
    }

    /// A non-negative integer below `limit` that only advises. Any other value is ignored, and `notes` says so.
    pub fn advice(&self, key: &str, limit: u64, notes: &mut Vec<Note>) -> Option<u64> {
        let note = match self.uint(key) {
            Ok(Some(found)) if found >= limit => Note::key(key, format!("found {found}, expected less than {limit}")),
            Ok(value) => return value,
            Err(error) => Note::unreadable(key, &error),
        };
        notes.push(note);
        None
    }

    /// The integers below `limit` of an array that only advises. Others are ignored, and `notes` says so.
    pub fn advice_list(&self, key: &str, limit: u64, notes: &mut Vec<Note>) -> Vec<u64> {
        let values = match self.uints(key) {
            Ok(values) => values.unwrap_or_default(),
            Err(error) => {
                notes.push(Note::unreadable(key, &error));
                return Vec::new();
            }
        };
        if let Some(found) = values.iter().find(|&&value| value >= limit) {
            notes.push(Note::key(key, format!("one of its values is {found}, expected less than {limit}")));
        }
        values.into_iter().filter(|&value| value < limit).collect()
    }

    /// An array of non-negative integers of any integer type. An empty array may claim any type.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the value is something else, or an element is negative.
    pub fn uints(&self, key: &str) -> Result<Option<Vec<u64>>, Error> {
        match self.get(key) {
            Some(Value::Array(array)) if array.is_empty() => Ok(Some(Vec::new())),
            _ => self.elements(key, "an array of non-negative integers", |value| {
                value.as_int().and_then(|v| u64::try_from(v).ok())
            }),
        }
    }

    /// Like [`Gguf::uint`], but an array (one value a layer) of equal elements is taken for that element.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the value is neither, or an element differs.
    pub fn uniform_uint(&self, key: &str) -> Result<Option<u64>, Error> {
        let Some(value @ Value::Array(array)) = self.get(key) else {
            return self.uint(key);
        };
        let differs = || wrong(key, "an integer, or an array of equal ones", &value);
        let mut elements = array.scalars().map(|element| to_uint(key, element));
        let first = elements.next().ok_or_else(differs)??;
        for element in elements {
            if element? != first {
                return Err(differs());
            }
        }
        Ok(Some(first))
    }

    /// A float of any float or integer type.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the value is no number.
    pub fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        self.typed(key, "a float", |value| value.as_float())
    }

    /// A boolean.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the value is something else.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "a boolean", |value| match value {
            Value::Bool(value) => Some(value),
            _ => None,
        })
    }

    /// A string.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the value is something else, or not UTF-8.
    pub fn string(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a UTF-8 string", |value| match value {
            Value::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        })
    }

    /// An array of strings, as a view that allocates nothing.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the value is something else.
    pub fn strings(&self, key: &str) -> Result<Option<Strings<'_>>, Error> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(array) => array.strings(),
            _ => None,
        })
    }

    /// An array of integers of any integer type.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the value is something else, or an element is outside i32.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>, Error> {
        self.elements(key, "an array of i32", |value| value.as_int().and_then(|v| i32::try_from(v).ok()))
    }

    /// An array of floats of any float or integer type.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the value is something else.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, Error> {
        self.elements(key, "an array of floats", |value| value.as_float().map(|v| v as f32))
    }

    /// An array of booleans.
    ///
    /// # Errors
    /// [`Error::WrongType`] when the value is something else.
    pub fn bools(&self, key: &str) -> Result<Option<Vec<bool>>, Error> {
        self.elements(key, "an array of booleans", |value| match value {
            Value::Bool(value) => Some(value),
            _ => None,
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.get(key).map(|value| convert(value).ok_or_else(|| wrong(key, expected, &value))).transpose()
    }

    fn elements<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        self.typed(key, expected, |value| match value {
            Value::Array(array) if array.element_type() != ValueType::String => array.scalars().map(&convert).collect(),
            _ => None,
        })
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.index.get(name).map(|&(s, t)| self.shards[s].tensor(t))
    }

    /// All tensors, in file order.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.shards.iter().flat_map(|shard| (0..shard.tensors.len()).map(|t| shard.tensor(t)))
    }

    /// Number of tensors.
    pub fn n_tensors(&self) -> usize {
        self.index.len()
    }

    /// Bytes of all tensors together, without the padding between them.
    pub fn tensor_bytes(&self) -> u64 {
        self.shards.iter().flat_map(|shard| &shard.tensors).map(|entry| entry.range.len() as u64).sum()
    }

    /// Bytes of all files together.
    pub fn file_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes.len() as u64).sum()
    }

    /// Bytes of the headers of all files together: keys, vocabulary and tensor directory.
    pub fn header_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.header_bytes as u64).sum()
    }

    /// Number of files.
    pub fn n_files(&self) -> usize {
        self.shards.len()
    }

    /// GGUF version of the (first) file: 2 or 3.
    pub fn version(&self) -> u32 {
        self.shards[0].version
    }

    /// The bytes of a tensor, as a value that keeps the file open.
    pub fn stored(&self, name: &str) -> Option<Stored> {
        let &(s, t) = self.index.get(name)?;
        let shard = &self.shards[s];
        Some(Stored::new(&shard.bytes, shard.tensors[t].range.clone()))
    }

    /// Keeps the mapped files in memory: nothing of them is dropped any more when memory gets short. Reads them all.
    ///
    /// # Errors
    /// When the system refuses, usually for a limit on locked memory (`ulimit -l`).
    pub fn lock(&self) -> std::io::Result<()> {
        self.shards.iter().try_for_each(|shard| shard.bytes.lock())
    }

    /// Replaces the mapping of the files by copies in memory, read from start to end, before anything is bound to them. `progress` is told the number of
    /// bytes read so far.
    ///
    /// # Errors
    /// When there is not enough memory, or a file cannot be read or has become shorter.
    pub fn copy_into_memory(&mut self, mut progress: impl FnMut(u64)) -> Result<(), Error> {
        let mut done = 0;
        for shard in &mut self.shards {
            let copied = shard.bytes.copied(|n| {
                done += n as u64;
                progress(done);
            })?;
            shard.bytes = copied.map_or_else(|| shard.bytes.clone(), Arc::new);
        }
        Ok(())
    }

    /// Takes the header's pages out of this process's resident memory, once vocabulary and merges have been read.
    pub fn evict_headers(&self) {
        for shard in &self.shards {
            shard.bytes.evict(0..shard.header_bytes);
        }
    }
}

impl Shard {
    fn tensor(&self, t: usize) -> Tensor<'_> {
        let Entry { name, ty, shape, range, .. } = &self.tensors[t];
        Tensor { name, ty: *ty, shape, bytes: &self.bytes[range.clone()] }
    }
}

/// The parts of `PREFIX-00001-of-00003.gguf`.
struct SplitName {
    prefix: String,
    /// From 1.
    no: u64,
    count: u64,
}

impl SplitName {
    fn of(path: &Path) -> Option<Self> {
        let digits = |text: &str| {
            let digits = text.len() >= 5 && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let stem = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, no) = rest.rsplit_once('-')?;
        Some(Self { prefix: prefix.to_owned(), no: digits(no)?, count: digits(count)? })
    }

    /// Opens file `no`, from 0, of the set that the file at `path` belongs to.
    fn open_sibling(&self, path: &Path, no: u64, count: u64) -> Result<Shard, Error> {
        let sibling: PathBuf = path.with_file_name(format!("{}-{:05}-of-{count:05}.gguf", self.prefix, no + 1));
        let shard = Shard::open(&sibling)?;
        for (key, expected) in [("split.no", no), ("split.count", count)] {
            let found = shard.uint(key).map_err(|error| error.in_file(&sibling))?;
            if found != Some(expected) {
                let found = found.map_or("no such key".to_owned(), |found| found.to_string());
                return Err(Error::Split(format!("key {key}: expected {expected}, found {found}")).in_file(&sibling));
            }
        }
        Ok(shard)
    }
}
