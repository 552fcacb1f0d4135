//! Shared by the tests of GGUF files and the fuzz target: a small file with everything in it, and a visitor that reads
//! everything a file offers.

#![allow(dead_code)]

use qwen_edge::gguf::writer::Writer;
use qwen_edge::gguf::{Gguf, TensorType, Value};

/// A small file with every kind of key and three tensors.
pub fn sample() -> Writer {
    let mut writer = Writer::new();
    writer
        .string("general.architecture", "qwen35")
        .key("u8", Value::U8(200))
        .key("i8", Value::I8(-3))
        .key("u16", Value::U16(60000))
        .key("i16", Value::I16(-30000))
        .u32("u32", 4_000_000_000)
        .key("i32", Value::I32(-7))
        .f32("f32", 1e-6)
        .boolean("bool", true)
        .key("u64", Value::U64(1 << 40))
        .key("i64", Value::I64(-1 << 40))
        .key("f64", Value::F64(0.1))
        .strings("words", ["a", "", "längeres Wort"].iter())
        .i32s("sections", &[11, 11, 10, 0])
        .f32s("mean", &[0.5, 0.25])
        .bools("recurrent", &[true, true, true, false])
        .tensor("norm", TensorType::F32, &[5])
        .tensor("matrix", TensorType::Q4_0, &[3, 64])
        .tensor("conv", TensorType::F16, &[2, 3, 4]);
    writer
}

/// The file, with a pattern for tensor data.
pub fn bytes_of(writer: &Writer) -> Vec<u8> {
    writer.to_bytes(|tensor| (0..tensor.bytes()).map(|i| (i * 7 + 3) as u8).collect())
}

/// Reads everything that can be read through the public interface.
///
/// # Panics
/// If the file contradicts itself, which the parser rules out.
pub fn visit(gguf: &Gguf) -> usize {
    let mut sum = 0;
    for (key, value) in gguf.keys() {
        sum += key.len() + value.describe().len();
        if let Value::Array(array) = value {
            sum += array.scalars().count() + array.strings().into_iter().flatten().map(<[u8]>::len).sum::<usize>();
        }
        let _ = (gguf.uint(key), gguf.uniform_uint(key), gguf.float(key), gguf.boolean(key), gguf.string(key));
        let _ = (gguf.strings(key), gguf.i32s(key), gguf.floats(key), gguf.bools(key));
    }
    for tensor in gguf.tensors() {
        sum += tensor.bytes.iter().map(|&b| b as usize).sum::<usize>() + tensor.len();
        assert_eq!(Some(tensor.bytes.len()), tensor.ty.tensor_bytes(tensor.shape));
        assert!(gguf.tensor(tensor.name).is_some());
    }
    sum
}
