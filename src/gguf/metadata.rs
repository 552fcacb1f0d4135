//! The key-value section: where each value lies, and typed views of it that borrow from the file.

use super::Error;
use super::cursor::Cursor;
use std::collections::HashMap;
use std::fmt;

/// More keys than any file has; a bound on what a hostile file can make the directory of keys cost.
const MAX_KEYS: u64 = 1 << 16;

/// Keys may be this long, by the GGUF specification.
const MAX_KEY_BYTES: usize = (1 << 16) - 1;

/// The type of a metadata value, by its GGUF id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
#[repr(u32)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(id as usize).copied()
    }

    /// Bytes of a value of fixed size; `None` for strings and arrays.
    pub const fn size(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::String | Self::Array => None,
        }
    }

    /// The name used in messages, for example `u32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A metadata value. Strings and arrays borrow from the file.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    /// Usually UTF-8; nothing enforces it.
    String(&'a [u8]),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// The first `N` bytes; the parser has checked that they are there.
fn head<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

impl<'a> Value<'a> {
    /// A value of fixed size from its bytes.
    fn scalar(ty: ValueType, bytes: &'a [u8]) -> Self {
        match ty {
            ValueType::U8 => Self::U8(head::<1>(bytes)[0]),
            ValueType::I8 => Self::I8(i8::from_le_bytes(head(bytes))),
            ValueType::U16 => Self::U16(u16::from_le_bytes(head(bytes))),
            ValueType::I16 => Self::I16(i16::from_le_bytes(head(bytes))),
            ValueType::U32 => Self::U32(u32::from_le_bytes(head(bytes))),
            ValueType::I32 => Self::I32(i32::from_le_bytes(head(bytes))),
            ValueType::F32 => Self::F32(f32::from_le_bytes(head(bytes))),
            ValueType::Bool => Self::Bool(head::<1>(bytes)[0] != 0),
            ValueType::U64 => Self::U64(u64::from_le_bytes(head(bytes))),
            ValueType::I64 => Self::I64(i64::from_le_bytes(head(bytes))),
            ValueType::F64 => Self::F64(f64::from_le_bytes(head(bytes))),
            ValueType::String | ValueType::Array => Self::String(bytes),
        }
    }

    /// The value as an integer, from any integer type.
    pub fn as_int(&self) -> Option<i128> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::U64(v) => v.into(),
            Self::I64(v) => v.into(),
            _ => return None,
        })
    }

    /// The value as a float, from any float or integer type.
    pub fn as_float(&self) -> Option<f64> {
        match *self {
            Self::F32(v) => Some(v.into()),
            Self::F64(v) => Some(v),
            _ => self.as_int().map(|v| v as f64),
        }
    }

    /// The type in words, for example `array of 4 i32`.
    pub fn describe(&self) -> String {
        match self {
            Self::Array(array) => format!("array of {} {}", array.len(), array.element_type()),
            Self::U8(v) => format!("u8 {v}"),
            Self::I8(v) => format!("i8 {v}"),
            Self::U16(v) => format!("u16 {v}"),
            Self::I16(v) => format!("i16 {v}"),
            Self::U32(v) => format!("u32 {v}"),
            Self::I32(v) => format!("i32 {v}"),
            Self::F32(v) => format!("f32 {v}"),
            Self::Bool(v) => format!("bool {v}"),
            Self::String(_) => "a string".to_owned(),
            Self::U64(v) => format!("u64 {v}"),
            Self::I64(v) => format!("i64 {v}"),
            Self::F64(v) => format!("f64 {v}"),
        }
    }
}

/// A metadata array; its elements lie in the file and are read as they are asked for.
#[derive(Clone, Copy)]
pub struct Array<'a> {
    element: ValueType,
    len: usize,
    bytes: &'a [u8],
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}; {}]", self.element, self.len)
    }
}

impl<'a> Array<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Type of every element.
    pub fn element_type(&self) -> ValueType {
        self.element
    }

    /// Appends the array in its file form: element type, count, elements.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend((self.element as u32).to_le_bytes());
        out.extend((self.len as u64).to_le_bytes());
        out.extend(self.bytes);
    }

    /// The strings of an array of strings; `None` for another element type.
    pub fn strings(&self) -> Option<Strings<'a>> {
        (self.element == ValueType::String).then_some(Strings { left: self.len, bytes: self.bytes })
    }

    /// The elements in order; none for an array of strings, see [`Array::strings`].
    pub fn scalars(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let element = self.element;
        let chunks = self.bytes.chunks_exact(element.size().unwrap_or(usize::MAX));
        chunks.map(move |bytes| Value::scalar(element, bytes))
    }
}

/// Iterates the strings of an array in order, borrowing each from the file. The bytes are usually UTF-8; nothing
/// enforces it.
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    left: usize,
    bytes: &'a [u8],
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let (len, rest) = self.bytes.split_first_chunk::<8>()?;
        // The parser walked the whole array, so these splits succeed.
        let (string, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
        self.bytes = rest;
        Some(string)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}

/// Where one value lies.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A scalar or a string: type and byte range.
    Single(ValueType, usize, usize),
    /// An array: element type, count and byte range of the elements.
    Array(ValueType, usize, usize, usize),
}

/// The directory of keys. Values stay in the file's bytes, which every method is given.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    keys: Vec<(Box<str>, Place)>,
    index: HashMap<Box<str>, usize>,
}

impl Metadata {
    /// Reads `count` entries and checks that every byte of every value is there.
    pub(super) fn read(cursor: &mut Cursor<'_>, count: u64) -> Result<Self, Error> {
        if count > MAX_KEYS {
            return Err(Error::TooLarge {
                at: cursor.at().saturating_sub(8),
                what: "number of keys",
                found: count,
                limit: MAX_KEYS,
            });
        }
        let mut metadata = Self::default();
        for i in 0..count as usize {
            let at = cursor.at();
            let key: Box<str> = cursor.name(MAX_KEY_BYTES, "key")?.into();
            let place = Place::read(cursor, &key)?;
            if metadata.index.insert(key.clone(), i).is_some() {
                return Err(Error::Duplicate { at, what: "key", name: key.into() });
            }
            metadata.keys.push((key, place));
        }
        Ok(metadata)
    }

    pub(super) fn get<'a>(&self, bytes: &'a [u8], key: &str) -> Option<Value<'a>> {
        self.index.get(key).map(|&i| self.keys[i].1.value(bytes))
    }

    pub(super) fn iter<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        self.keys.iter().map(move |(key, place)| (&**key, place.value(bytes)))
    }
}

impl Place {
    fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Self, Error> {
        const ANY: &str = "0 to 12";
        const ELEMENT: &str = "0 to 8 or 10 to 12 (no arrays of arrays)";
        let ty = value_type(cursor, key, ANY)?;
        Ok(match (ty, ty.size()) {
            (_, Some(size)) => {
                let at = cursor.at();
                cursor.take(size as u64, "a value")?;
                Self::Single(ty, at, cursor.at())
            }
            (ValueType::String, _) => {
                let len = cursor.string("a string value")?.len();
                Self::Single(ty, cursor.at() - len, cursor.at())
            }
            _ => {
                let element_at = cursor.at();
                let element = value_type(cursor, key, ELEMENT)?;
                let count = cursor.count("length of an array")?;
                let at = cursor.at();
                match element.size() {
                    // Both factors are below 2^31.
                    Some(size) => {
                        cursor.take(count * size as u64, "the elements of an array")?;
                    }
                    None if element == ValueType::String => {
                        for _ in 0..count {
                            cursor.string("a string of an array")?;
                        }
                    }
                    None => {
                        let (found, key) = (element as u32, key.to_owned());
                        return Err(Error::ValueType { at: element_at, key, found, expected: ELEMENT });
                    }
                }
                Self::Array(element, count as usize, at, cursor.at())
            }
        })
    }

    fn value<'a>(&self, bytes: &'a [u8]) -> Value<'a> {
        match *self {
            Self::Single(ty, start, end) => Value::scalar(ty, &bytes[start..end]),
            Self::Array(element, len, start, end) => Value::Array(Array { element, len, bytes: &bytes[start..end] }),
        }
    }
}

fn value_type(cursor: &mut Cursor<'_>, key: &str, expected: &'static str) -> Result<ValueType, Error> {
    let at = cursor.at();
    let found = cursor.u32("a value type")?;
    ValueType::from_id(found).ok_or_else(|| Error::ValueType { at, key: key.to_owned(), found, expected })
}
