//! Writes GGUF files: keys and tensor directory first, then tensor data as a stream, so that a file larger than memory
//! can be made.

use super::metadata::{Value, ValueType};
use super::{DEFAULT_ALIGNMENT, TensorType};
use crate::platform::told_writer::ToldWriter;
use std::io::{self, Write};

/// A GGUF version 3 file to be written. Declare keys and tensors, then [`Writer::write`].
#[derive(Clone)]
pub struct Writer {
    version: u32,
    alignment: usize,
    n_keys: u64,
    keys: Vec<u8>,
    tensors: Vec<TensorSpec>,
}

/// A declared tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorSpec {
    /// Name.
    pub name: String,
    /// Type.
    pub ty: TensorType,
    /// Shape, slowest dimension first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Bytes of its data.
    ///
    /// # Panics
    /// If a row is no whole number of blocks.
    pub fn bytes(&self) -> usize {
        self.ty.tensor_bytes(&self.shape).unwrap_or_else(|| panic!("{}: bad shape {:?}", self.name, self.shape))
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self { version: 3, alignment: DEFAULT_ALIGNMENT, n_keys: 0, keys: Vec::new(), tensors: Vec::new() }
    }
}

impl Writer {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes another version number; versions 2 and 3 have one layout.
    pub fn version(&mut self, version: u32) -> &mut Self {
        self.version = version;
        self
    }

    /// Aligns tensor data to `alignment` bytes, a power of two, and says so in `general.alignment`.
    pub fn alignment(&mut self, alignment: u32) -> &mut Self {
        self.alignment = alignment as usize;
        self.key("general.alignment", Value::U32(alignment))
    }

    fn start(&mut self, key: &str, ty: ValueType) {
        self.n_keys += 1;
        put_string(&mut self.keys, key.as_bytes());
        self.keys.extend((ty as u32).to_le_bytes());
    }

    /// Adds a key of any type.
    pub fn key(&mut self, key: &str, value: Value<'_>) -> &mut Self {
        let ty = match value {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        };
        self.start(key, ty);
        put_value(&mut self.keys, value);
        self
    }

    /// Adds a u32.
    pub fn u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.key(key, Value::U32(value))
    }

    /// Adds an f32.
    pub fn f32(&mut self, key: &str, value: f32) -> &mut Self {
        self.key(key, Value::F32(value))
    }

    /// Adds a boolean.
    pub fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key, Value::Bool(value))
    }

    /// Adds a string.
    pub fn string(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key, Value::String(value.as_bytes()))
    }

    /// Adds an array of strings.
    pub fn strings<S: AsRef<[u8]>>(&mut self, key: &str, values: impl ExactSizeIterator<Item = S>) -> &mut Self {
        self.start_array(key, ValueType::String, values.len());
        for value in values {
            put_string(&mut self.keys, value.as_ref());
        }
        self
    }

    /// Adds an array of u32.
    pub fn u32s(&mut self, key: &str, values: &[u32]) -> &mut Self {
        self.scalars(key, ValueType::U32, values.iter().map(|&value| Value::U32(value)))
    }

    /// Adds an array of i32.
    pub fn i32s(&mut self, key: &str, values: &[i32]) -> &mut Self {
        self.scalars(key, ValueType::I32, values.iter().map(|&value| Value::I32(value)))
    }

    /// Adds an array of f32.
    pub fn f32s(&mut self, key: &str, values: &[f32]) -> &mut Self {
        self.scalars(key, ValueType::F32, values.iter().map(|&value| Value::F32(value)))
    }

    /// Adds an array of booleans.
    pub fn bools(&mut self, key: &str, values: &[bool]) -> &mut Self {
        self.scalars(key, ValueType::Bool, values.iter().map(|&value| Value::Bool(value)))
    }

    fn scalars<'a>(&mut self, key: &str, ty: ValueType, values: impl ExactSizeIterator<Item = Value<'a>>) -> &mut Self {
        self.start_array(key, ty, values.len());
        for value in values {
            put_value(&mut self.keys, value);
        }
        self
    }

    fn start_array(&mut self, key: &str, element: ValueType, len: usize) {
        self.start(key, ValueType::Array);
        self.keys.extend((element as u32).to_le_bytes());
        self.keys.extend((len as u64).to_le_bytes());
    }

    /// Declares a tensor; its data follows in [`Writer::write`] in the order of declaration.
    pub fn tensor(&mut self, name: &str, ty: TensorType, shape: &[usize]) -> &mut Self {
        self.tensors.push(TensorSpec { name: name.to_owned(), ty, shape: shape.to_owned() });
        self
    }

    /// The declared tensors.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Everything before the data section, padding included.
    pub fn header(&self) -> Vec<u8> {
        let mut header = b"GGUF".to_vec();
        header.extend(self.version.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend(self.n_keys.to_le_bytes());
        header.extend(&self.keys);
        let mut offset = 0u64;
        for tensor in &self.tensors {
            put_string(&mut header, tensor.name.as_bytes());
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            for &n in tensor.shape.iter().rev() {
                header.extend((n as u64).to_le_bytes());
            }
            header.extend(tensor.ty.id().to_le_bytes());
            header.extend(offset.to_le_bytes());
            offset += tensor.bytes().next_multiple_of(self.alignment) as u64;
        }
        header.resize(header.len().next_multiple_of(self.alignment), 0);
        header
    }

    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        let data = self.tensors.iter().map(|tensor| tensor.bytes().next_multiple_of(self.alignment) as u64);
        self.header().len() as u64 + data.sum::<u64>()
    }

    /// Writes the file to `out`; `fill` is called for each tensor in order and writes exactly its bytes.
    ///
    /// # Errors
    /// Those of `out` and `fill`.
    ///
    /// # Panics
    /// If `fill` writes another number of bytes than the tensor has.
    pub fn write<W: Write>(
        &self,
        out: &mut W,
        mut fill: impl FnMut(&TensorSpec, &mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        out.write_all(&self.header())?;
        for tensor in &self.tensors {
            let mut bytes = 0;
            fill(tensor, &mut ToldWriter { out: &mut *out, told: |written: &[u8]| bytes += written.len() })?;
            assert_eq!(bytes, tensor.bytes(), "bytes written for tensor {}", tensor.name);
            out.write_all(&vec![0; bytes.next_multiple_of(self.alignment) - bytes])?;
        }
        out.flush()
    }

    /// The file as bytes in memory, for small ones. Panics like [`Writer::write`].
    pub fn to_bytes(&self, mut fill: impl FnMut(&TensorSpec) -> Vec<u8>) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes, |tensor, out| out.write_all(&fill(tensor))).expect("writing to memory does not fail");
        bytes
    }
}

fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    out.extend((string.len() as u64).to_le_bytes());
    out.extend(string);
}

/// Appends a value in its file form.
fn put_value(out: &mut Vec<u8>, value: Value<'_>) {
    match value {
        Value::U8(v) => out.push(v),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(v.into()),
        Value::String(v) => put_string(out, v),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Array(array) => array.encode(out),
    }
}
