//! The header of a GGUF file in pieces that a test can change, also into what no writer would write.

/// A file in pieces.
#[derive(Clone)]
pub struct Header {
    pub keys: Vec<Key>,
    pub tensors: Vec<Tensor>,
    /// All behind the header, from its first aligned byte.
    pub data: Vec<u8>,
}

/// A key, the id of its type, and the bytes of its value.
#[derive(Clone)]
pub struct Key {
    pub name: Vec<u8>,
    pub ty: u32,
    pub value: Vec<u8>,
}

/// An entry of the directory; dimensions in the order of the file, fastest first.
#[derive(Clone)]
pub struct Tensor {
    pub name: Vec<u8>,
    pub dims: Vec<u64>,
    pub ty: u32,
    pub offset: u64,
}

/// Bytes of a value of fixed size, by type id.
const SIZES: [usize; 13] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
/// The ids of the types that have no fixed size.
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        head
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn string(&mut self) -> &'a [u8] {
        let n = self.u64() as usize;
        self.take(n)
    }

    fn skip(&mut self, ty: u32) {
        match ty {
            STRING => _ = self.string(),
            ARRAY => {
                let (element, n) = (self.u32(), self.u64());
                (0..n).for_each(|_| self.skip(element));
            }
            _ => _ = self.take(SIZES[ty as usize]),
        }
    }
}

/// A string as the file has it.
pub fn string(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text].concat()
}

impl Header {
    /// The pieces of a sound file whose data begins at a multiple of 32.
    pub fn read(file: &[u8]) -> Header {
        let mut r = Reader(&file[8..]);
        let (n_tensors, n_keys) = (r.u64(), r.u64());
        let keys = (0..n_keys).map(|_| {
            let (name, ty) = (r.string().to_vec(), r.u32());
            let before = r.0;
            r.skip(ty);
            Key { name, ty, value: before[..before.len() - r.0.len()].to_vec() }
        });
        let keys = keys.collect();
        let tensors = (0..n_tensors).map(|_| {
            let name = r.string().to_vec();
            let dims = (0..r.u32()).map(|_| r.u64()).collect();
            Tensor { name, dims, ty: r.u32(), offset: r.u64() }
        });
        let tensors = tensors.collect();
        let at = file.len() - r.0.len();
        Header { keys, tensors, data: file[at.next_multiple_of(32)..].to_vec() }
    }

    /// The file of these pieces.
    pub fn write(&self) -> Vec<u8> {
        let mut out = [b"GGUF\x03\0\0\0", &(self.tensors.len() as u64).to_le_bytes()[..]].concat();
        out.extend((self.keys.len() as u64).to_le_bytes());
        for Key { name, ty, value } in &self.keys {
            out.extend(string(name));
            out.extend(ty.to_le_bytes());
            out.extend(value);
        }
        for Tensor { name, dims, ty, offset } in &self.tensors {
            out.extend(string(name));
            out.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(ty.to_le_bytes());
            out.extend(offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }

    /// The key of a name; made if it is not there.
    pub fn key(&mut self, name: &str) -> &mut Key {
        let at = self.keys.iter().position(|key| key.name == name.as_bytes()).unwrap_or_else(|| {
            self.keys.push(Key { name: name.into(), ty: 0, value: vec![0] });
            self.keys.len() - 1
        });
        &mut self.keys[at]
    }

    /// Sets a key to an unsigned number.
    pub fn set_u32(&mut self, name: &str, value: u32) {
        (self.key(name).ty, self.key(name).value) = (4, value.to_le_bytes().to_vec());
    }

    /// Sets a key to a text.
    pub fn set_string(&mut self, name: &str, text: &str) {
        (self.key(name).ty, self.key(name).value) = (STRING, string(text.as_bytes()));
    }

    /// The tensor of a name.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name.as_bytes()).expect("the file has the tensor")
    }
}
