//! GGUF files at random: what is written is read back, and edits of a valid file do no more than fail.

use crate::support::gguf_sample::{bytes_of, sample, visit};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use qwen_edge::gguf::writer::Writer;
use qwen_edge::gguf::{Gguf, TensorType, Value};

/// A value of a key, as the test owns it.
#[derive(Clone, Debug)]
enum Owned {
    Uint(u64),
    Float(f64),
    Bool(bool),
    String(String),
    Strings(Vec<String>),
    Ints(Vec<i32>),
}

fn value() -> impl Strategy<Value = Owned> {
    prop_oneof![
        any::<u64>().prop_map(Owned::Uint),
        (-1e30..1e30).prop_map(Owned::Float),
        any::<bool>().prop_map(Owned::Bool),
        ".{0,20}".prop_map(Owned::String),
        vec(".{0,8}", 0..6).prop_map(Owned::Strings),
        vec(any::<i32>(), 0..6).prop_map(Owned::Ints),
    ]
}

/// A type and a shape of whole blocks.
fn tensor() -> impl Strategy<Value = (TensorType, Vec<usize>)> {
    (select(TensorType::ALL), vec(1usize..4, 0..3), 1usize..3).prop_map(|(ty, mut shape, blocks)| {
        shape.push(blocks * ty.block_len());
        (ty, shape)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn what_is_written_is_read_back(
        keys in btree_map("[a-z.]{1,12}", value(), 0..8),
        tensors in btree_map("[a-z0-9.]{1,20}", tensor(), 0..6),
        alignment in select(vec![1u32, 16, 32, 256]),
        version in 2u32..=3,
    ) {
        let mut writer = Writer::new();
        writer.version(version).alignment(alignment);
        for (key, value) in &keys {
            match value {
                Owned::Uint(v) => writer.key(key, Value::U64(*v)),
                Owned::Float(v) => writer.key(key, Value::F64(*v)),
                Owned::Bool(v) => writer.boolean(key, *v),
                Owned::String(v) => writer.string(key, v),
                Owned::Strings(v) => writer.strings(key, v.iter()),
                Owned::Ints(v) => writer.i32s(key, v),
            };
        }
        for (name, (ty, shape)) in &tensors {
            writer.tensor(name, *ty, shape);
        }
        let gguf = Gguf::from_bytes(bytes_of(&writer)).unwrap();
        visit(&gguf);
        prop_assert_eq!(gguf.keys().count(), keys.len() + 1);
        for (key, value) in &keys {
            match value {
                Owned::Uint(v) => prop_assert_eq!(gguf.uint(key).unwrap(), Some(*v)),
                Owned::Float(v) => prop_assert_eq!(gguf.float(key).unwrap(), Some(*v)),
                Owned::Bool(v) => prop_assert_eq!(gguf.boolean(key).unwrap(), Some(*v)),
                Owned::String(v) => prop_assert_eq!(gguf.string(key).unwrap(), Some(v.as_str())),
                Owned::Strings(v) => {
                    let read: Vec<&[u8]> = gguf.strings(key).unwrap().unwrap().collect();
                    prop_assert_eq!(read, v.iter().map(String::as_bytes).collect::<Vec<_>>());
                }
                Owned::Ints(v) => prop_assert_eq!(gguf.i32s(key).unwrap(), Some(v.clone())),
            }
        }
        prop_assert_eq!(gguf.n_tensors(), tensors.len());
        for (name, (ty, shape)) in &tensors {
            let tensor = gguf.tensor(name).unwrap();
            prop_assert_eq!((tensor.ty, tensor.shape), (*ty, &shape[..]));
            prop_assert!(tensor.bytes.iter().enumerate().all(|(i, &b)| b == (i * 7 + 3) as u8));
        }
    }

    #[test]
    fn edits_of_a_valid_file_do_no_more_than_fail(
        edits in vec((any::<Index>(), any::<u8>()), 0..8),
        cut in any::<Index>(),
        moved in (any::<Index>(), any::<Index>(), 0usize..24),
    ) {
        let mut bytes = bytes_of(&sample());
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        // Copying one part over another makes plausible fields in the wrong place.
        let (from, to, len) = moved;
        let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
        let len = len.min(bytes.len() - from.max(to));
        bytes.copy_within(from..from + len, to);
        if cut.index(4) == 0 {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(gguf) = Gguf::from_bytes(bytes) {
            visit(&gguf);
        }
    }

    #[test]
    fn arbitrary_bytes_behind_a_good_start_do_no_more_than_fail(
        counts in (0u64..4, 0u64..4),
        rest in vec(any::<u8>(), 0..200),
    ) {
        let start = [&b"GGUF"[..], &3u32.to_le_bytes(), &counts.0.to_le_bytes(), &counts.1.to_le_bytes()].concat();
        if let Ok(gguf) = Gguf::from_bytes([start, rest].concat()) {
            visit(&gguf);
        }
    }
}
