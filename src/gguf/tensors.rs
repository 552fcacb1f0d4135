//! The tensor directory: names, types, shapes and byte ranges, checked against each other and the file's length.

use super::Error;
use super::cursor::Cursor;
use kernels::Format;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// More tensors than any file has; a bound on what a hostile file can make the directory cost.
const MAX_TENSORS: u64 = 1 << 20;

/// Tensor names end before this many bytes.
const MAX_NAME_BYTES: usize = 63;

macro_rules! tensor_types {
    ($($id:literal $variant:ident $len:literal $bytes:literal $format:expr,)*) => {
        /// The type of a tensor, by its GGUF id. Every id in use is known by name and size; [`TensorType::format`]
        /// tells which ones can be computed with.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[allow(non_camel_case_types, missing_docs)]
        pub enum TensorType { $($variant = $id,)* }

        impl TensorType {
            /// Every type, in the order of their ids.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The type of an id, if it exists.
            pub const fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$variant),)* _ => None }
            }

            /// The name, for example `Q4_K`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// Values in a block.
            pub const fn block_len(self) -> usize {
                match self { $(Self::$variant => $len,)* }
            }

            /// Bytes of a block.
            pub const fn block_bytes(self) -> usize {
                match self { $(Self::$variant => $bytes,)* }
            }

            /// The format the kernels know it by; `None` when tensors of this type cannot be computed with.
            pub const fn format(self) -> Option<Format> {
                match self { $(Self::$variant => $format,)* }
            }
        }
    };
}

tensor_types! {
    0 F32 1 4 Some(Format::F32),
    1 F16 1 2 Some(Format::F16),
    2 Q4_0 32 18 Some(Format::Q4_0),
    3 Q4_1 32 20 Some(Format::Q4_1),
    6 Q5_0 32 22 Some(Format::Q5_0),
    7 Q5_1 32 24 Some(Format::Q5_1),
    8 Q8_0 32 34 Some(Format::Q8_0),
    9 Q8_1 32 36 None,
    10 Q2_K 256 84 Some(Format::Q2_K),
    11 Q3_K 256 110 Some(Format::Q3_K),
    12 Q4_K 256 144 Some(Format::Q4_K),
    13 Q5_K 256 176 Some(Format::Q5_K),
    14 Q6_K 256 210 Some(Format::Q6_K),
    15 Q8_K 256 292 None,
    16 IQ2_XXS 256 66 Some(Format::IQ2_XXS),
    17 IQ2_XS 256 74 Some(Format::IQ2_XS),
    18 IQ3_XXS 256 98 Some(Format::IQ3_XXS),
    19 IQ1_S 256 50 Some(Format::IQ1_S),
    20 IQ4_NL 32 18 Some(Format::IQ4_NL),
    21 IQ3_S 256 110 Some(Format::IQ3_S),
    22 IQ2_S 256 82 Some(Format::IQ2_S),
    23 IQ4_XS 256 136 Some(Format::IQ4_XS),
    24 I8 1 1 None,
    25 I16 1 2 None,
    26 I32 1 4 None,
    27 I64 1 8 None,
    28 F64 1 8 None,
    29 IQ1_M 256 56 Some(Format::IQ1_M),
    30 BF16 1 2 Some(Format::BF16),
    34 TQ1_0 256 54 Some(Format::TQ1_0),
    35 TQ2_0 256 66 Some(Format::TQ2_0),
    39 MXFP4 32 17 Some(Format::MXFP4),
    40 NVFP4 64 36 Some(Format::NVFP4),
    41 Q1_0 128 18 Some(Format::Q1_0),
    42 Q2_0 64 18 Some(Format::Q2_0),
}

impl TensorType {
    /// The GGUF id.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The type that stores values of `format`.
    pub fn of(format: Format) -> Self {
        let ty = Self::ALL.iter().find(|ty| ty.format() == Some(format));
        *ty.expect("every format of the kernels is the format of a GGUF type")
    }

    /// Bytes of a tensor of `shape`, slowest dimension first. `None` when a row is no whole number of blocks or the
    /// size overflows.
    pub fn tensor_bytes(self, shape: &[usize]) -> Option<usize> {
        let (&row, outer) = shape.split_last().unwrap_or((&1, &[]));
        if !row.is_multiple_of(self.block_len()) {
            return None;
        }
        let row_bytes = (row / self.block_len()).checked_mul(self.block_bytes())?;
        outer.iter().try_fold(row_bytes, |bytes, &n| bytes.checked_mul(n))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Types that were taken out of the format; files that have them are old.
fn removed(id: u32) -> Option<&'static str> {
    Some(match id {
        4 => "Q4_2",
        5 => "Q4_3",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        _ => return None,
    })
}

/// A tensor of an open file.
#[derive(Clone, Copy)]
pub struct Tensor<'a> {
    /// Its name, for example `blk.0.attn_norm.weight`.
    pub name: &'a str,
    /// Its type.
    pub ty: TensorType,
    /// Its shape, slowest dimension first: a matrix is `[rows, columns]`. No dimension is 0.
    pub shape: &'a [usize],
    /// Its bytes in the file: rows of blocks, exactly `ty.tensor_bytes(shape)` of them.
    pub bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Never true of a tensor of a file.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values of an F32 tensor; borrowed unless the file aligns its data to less than four bytes. `None` for
    /// another type.
    pub fn as_f32(&self) -> Option<Cow<'a, [f32]>> {
        if self.ty != TensorType::F32 {
            return None;
        }
        #[cfg(target_endian = "little")]
        if let Ok(values) = bytemuck::try_cast_slice(self.bytes) {
            return Some(Cow::Borrowed(values));
        }
        let (chunks, _) = self.bytes.as_chunks::<4>();
        Some(Cow::Owned(chunks.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()))
    }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.name, self.ty, self.shape)
    }
}

/// A tensor as the directory records it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Offset of this entry in the header.
    pub(super) at: usize,
    pub(super) name: Box<str>,
    pub(super) ty: TensorType,
    pub(super) shape: Box<[usize]>,
    /// Relative to the data section until [`place`] has run, then from the start of the file.
    pub(super) range: Range<usize>,
}

/// Reads `count` directory entries.
pub(super) fn read(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<Entry>, Error> {
    if count > MAX_TENSORS {
        let (found, limit) = (count, MAX_TENSORS);
        return Err(Error::TooLarge { at: 8, what: "number of tensors", found, limit });
    }
    let mut entries = Vec::new();
    // All tensors of the first type that is unknown are to be named; what is wrong behind the first is another matter.
    let mut unknown: Option<Error> = None;
    for _ in 0..count {
        match (Entry::read(cursor), &mut unknown) {
            (Ok(entry), _) => entries.push(entry),
            (Err(Error::TensorType { tensor, id, .. }), Some(Error::TensorType { id: first, more, .. })) => {
                if id == *first {
                    more.push(tensor);
                }
            }
            (Err(error @ Error::TensorType { .. }), _) => unknown = Some(error),
            (Err(error), None) => return Err(error),
            (Err(_), Some(_)) => break,
        }
    }
    unknown.map_or(Ok(entries), Err)
}

impl Entry {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        let at = cursor.at();
        let name = cursor.name(MAX_NAME_BYTES, "tensor name")?;
        let wrong = |problem| Error::TensorShape { at, tensor: name.to_owned(), problem };

        let n_dims = cursor.u32("number of dimensions")?;
        if n_dims > 4 {
            return Err(wrong(format!("expected 4 dimensions at most, found {n_dims}")));
        }
        let mut shape = Vec::with_capacity(n_dims as usize);
        for _ in 0..n_dims {
            let n = cursor.u64("a dimension")?;
            match usize::try_from(n) {
                Ok(n @ 1..) if n <= isize::MAX as usize => shape.push(n),
                _ => return Err(wrong(format!("expected a positive dimension, found {}", n as i64))),
            }
        }
        shape.reverse();

        let id = cursor.u32("tensor type")?;
        let Some(ty) = TensorType::from_id(id) else {
            let problem = match removed(id) {
                Some(old) => format!("{old}, which GGUF no longer has; quantise the model again, or take a newer file"),
                None => "unknown".to_owned(),
            };
            // The entry is read to its end, so that the next one can be.
            let tensor = name.to_owned();
            cursor.u64("tensor offset")?;
            return Err(Error::TensorType { tensor, id, problem, more: Vec::new() });
        };
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(ty.block_len()) {
            return Err(wrong(format!(
                "expected rows of a multiple of {} values for {ty}, found {row}",
                ty.block_len()
            )));
        }
        let bytes = ty.tensor_bytes(&shape).filter(|&bytes| bytes <= isize::MAX as usize);
        // The number of values must be countable too: block types pack several into a byte.
        let len = shape.iter().try_fold(1usize, |len, &n| len.checked_mul(n));
        let (Some(bytes), Some(_)) = (bytes, len) else {
            return Err(wrong(format!("the size of shape {shape:?} overflows")));
        };

        let offset = cursor.u64("tensor offset")?;
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(bytes)?));
        let Some(range) = range else {
            let problem = format!("offset {offset} overflows");
            return Err(Error::TensorData { tensor: name.to_owned(), problem });
        };
        Ok(Self { at, name: name.into(), ty, shape: shape.into(), range })
    }
}

/// Moves the ranges of `entries` to absolute offsets; checks alignment, file length and that none overlap.
pub(super) fn place(
    entries: &mut [Entry],
    data_start: usize,
    alignment: usize,
    file_bytes: usize,
) -> Result<(), Error> {
    for entry in &mut *entries {
        let wrong = |problem| Err(Error::TensorData { tensor: entry.name.to_string(), problem });
        let Range { start, end } = entry.range;
        if !start.is_multiple_of(alignment) {
            return wrong(format!("expected an offset that is a multiple of {alignment}, found {start}"));
        }
        match (data_start.checked_add(start), data_start.checked_add(end)) {
            (Some(start), Some(end)) if end <= file_bytes => entry.range = start..end,
            (_, Some(end)) => {
                return wrong(format!(
                    "expected a file of at least {end} bytes, found {file_bytes}; is the download complete?"
                ));
            }
            _ => return wrong(format!("offset {start} overflows")),
        }
    }
    let mut order: Vec<&Entry> = entries.iter().collect();
    order.sort_unstable_by_key(|entry| entry.range.start);
    for pair in order.windows(2) {
        if pair[1].range.start < pair[0].range.end {
            let problem = format!("bytes {:?} overlap those of tensor {}", pair[1].range, pair[0].name);
            return Err(Error::TensorData { tensor: pair[1].name.to_string(), problem });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_agree_with_the_kernels() {
        for &ty in TensorType::ALL {
            assert_eq!(TensorType::from_id(ty.id()), Some(ty));
            if let Some(format) = ty.format() {
                assert_eq!((format.name(), format.block_len()), (ty.name(), ty.block_len()));
                assert_eq!(format.block_bytes(), ty.block_bytes());
            }
        }
    }

    #[test]
    fn every_format_of_the_kernels_has_a_type() {
        for &format in Format::ALL {
            assert_eq!(TensorType::of(format).format(), Some(format));
        }
    }

    #[test]
    fn tensor_bytes_counts_rows_of_whole_blocks() {
        assert_eq!(TensorType::Q4_K.tensor_bytes(&[3, 512]), Some(3 * 288));
        assert_eq!(TensorType::Q4_K.tensor_bytes(&[3, 300]), None);
        assert_eq!(TensorType::F32.tensor_bytes(&[]), Some(4));
        assert_eq!(TensorType::F32.tensor_bytes(&[usize::MAX, 8]), None);
    }
}
