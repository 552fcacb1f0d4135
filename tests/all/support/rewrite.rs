//! Files made from other files: keys and tensors taken out, changed or added.

use qwen_edge::gguf::writer::Writer;
use qwen_edge::gguf::{Gguf, TensorType};

/// A tensor of a file to be written.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub ty: TensorType,
    /// Slowest dimension first.
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// A tensor of f32.
    pub fn f32(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
        Tensor {
            name: name.to_owned(),
            ty: TensorType::F32,
            shape: shape.to_owned(),
            bytes: bytemuck::cast_slice(values).to_vec(),
        }
    }

    /// The values of a tensor of f32.
    pub fn values(&self) -> Vec<f32> {
        assert_eq!(self.ty, TensorType::F32, "{}", self.name);
        bytemuck::pod_collect_to_vec(&self.bytes)
    }

    /// Puts the tensor's equal parts, `n` of them in each of `outer`, in another order: part i is that which was at `from(i)`.
    pub fn permute(&mut self, outer: usize, n: usize, from: impl Fn(usize) -> usize) {
        let part = self.bytes.len() / outer / n;
        let old = self.bytes.clone();
        for o in 0..outer {
            for i in 0..n {
                let (to, from) = ((o * n + i) * part, (o * n + from(i)) * part);
                self.bytes[to..to + part].copy_from_slice(&old[from..from + part]);
            }
        }
    }
}

/// A file's keys and tensors.
pub struct Rewrite {
    pub keys: Writer,
    pub tensors: Vec<Tensor>,
}

impl Rewrite {
    /// Those of `gguf`, without the keys that `skip` names.
    pub fn of(gguf: &Gguf, skip: &[&str]) -> Rewrite {
        let mut keys = Writer::new();
        for (key, value) in gguf.keys().filter(|(key, _)| !skip.contains(key)) {
            keys.key(key, value);
        }
        let tensors = gguf.tensors().map(|t| Tensor {
            name: t.name.to_owned(),
            ty: t.ty,
            shape: t.shape.to_vec(),
            bytes: t.bytes.to_vec(),
        });
        Rewrite { keys, tensors: tensors.collect() }
    }

    /// The tensor of a name.
    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut writer = self.keys.clone();
        for Tensor { name, ty, shape, .. } in &self.tensors {
            writer.tensor(name, *ty, shape);
        }
        let mut tensors = self.tensors.iter();
        writer.to_bytes(|_| tensors.next().unwrap().bytes.clone())
    }
}
