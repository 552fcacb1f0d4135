//! GGUF files: what is read back, and that no file, however broken, does more than fail with a message.

use crate::support::gguf_sample::{bytes_of, sample, visit};
use crate::support::scratch::Scratch;
use qwen_edge::gguf::writer::Writer;
use qwen_edge::gguf::{Error, Gguf, TensorType, Value};
use std::path::PathBuf;

fn open(bytes: Vec<u8>) -> Result<Gguf, Error> {
    Gguf::from_bytes(bytes)
}

/// The message of a file that must be refused.
fn refusal(bytes: Vec<u8>) -> String {
    match open(bytes) {
        Ok(_) => panic!("the file was accepted"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn assert_refused(bytes: Vec<u8>, parts: &[&str]) {
    let message = refusal(bytes);
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn reads_back_every_value_type() {
    let gguf = open(bytes_of(&sample())).unwrap();
    assert_eq!(gguf.version(), 3);
    assert_eq!(gguf.string("general.architecture").unwrap(), Some("qwen35"));
    for (key, value) in [("u8", 200), ("u16", 60000), ("u32", 4_000_000_000), ("u64", 1 << 40)] {
        assert_eq!(gguf.uint(key).unwrap(), Some(value), "{key}");
    }
    for (key, value) in [("i8", -3), ("i16", -30000), ("i32", -7), ("i64", -1i128 << 40)] {
        assert_eq!(gguf.get(key).unwrap().as_int(), Some(value), "{key}");
    }
    assert_eq!(gguf.float("f32").unwrap(), Some(f64::from(1e-6f32)));
    assert_eq!(gguf.float("f64").unwrap(), Some(0.1));
    assert_eq!(gguf.boolean("bool").unwrap(), Some(true));
    let words: Vec<&[u8]> = gguf.strings("words").unwrap().unwrap().collect();
    assert_eq!(words, ["a".as_bytes(), b"", "längeres Wort".as_bytes()]);
    assert_eq!(gguf.i32s("sections").unwrap(), Some(vec![11, 11, 10, 0]));
    assert_eq!(gguf.floats("mean").unwrap(), Some(vec![0.5, 0.25]));
    assert_eq!(gguf.bools("recurrent").unwrap(), Some(vec![true, true, true, false]));
    assert_eq!(gguf.keys().count(), 16);
    assert!(gguf.uint("absent").unwrap().is_none());
}

#[test]
fn shapes_have_the_slowest_dimension_first() {
    let bytes = bytes_of(&sample());
    let gguf = open(bytes.clone()).unwrap();
    let names: Vec<&str> = gguf.tensors().map(|tensor| tensor.name).collect();
    assert_eq!(names, ["norm", "matrix", "conv"]);
    let matrix = gguf.tensor("matrix").unwrap();
    assert_eq!((matrix.ty, matrix.shape), (TensorType::Q4_0, &[3, 64][..]));
    assert_eq!(matrix.bytes.len(), 3 * 2 * 18);
    assert_eq!(gguf.tensor("conv").unwrap().shape, [2, 3, 4]);
    assert_eq!(gguf.tensor_bytes(), 20 + 108 + 48);
    assert_eq!(gguf.file_bytes(), bytes.len() as u64);
    assert_eq!(sample().file_bytes(), bytes.len() as u64);
    let norm: Vec<u8> = (0..20).map(|i| (i * 7 + 3) as u8).collect();
    let values: Vec<f32> = norm.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(gguf.tensor("norm").unwrap().as_f32().unwrap().as_ref(), values);
    assert!(matrix.as_f32().is_none());
}

#[test]
fn version_2_and_other_alignments_are_read() {
    let mut writer = sample();
    writer.version(2);
    assert_eq!(open(bytes_of(&writer)).unwrap().version(), 2);
    for alignment in [1, 8, 64, 4096] {
        let mut writer = sample();
        writer.alignment(alignment);
        let gguf = open(bytes_of(&writer)).unwrap();
        assert_eq!(gguf.tensor("norm").unwrap().as_f32().unwrap().len(), 5, "alignment {alignment}");
        visit(&gguf);
    }
}

#[test]
fn padding_after_the_last_tensor_may_be_absent() {
    let mut bytes = bytes_of(&sample());
    bytes.truncate(bytes.len() - 16);
    assert_eq!(open(bytes).unwrap().tensor("conv").unwrap().bytes.len(), 48);
}

#[test]
fn a_file_without_tensors_may_end_unpadded() {
    let mut writer = Writer::new();
    writer.string("general.architecture", "qwen35");
    let header = 24 + 8 + 20 + 4 + 8 + 6;
    let mut bytes = writer.header();
    bytes.truncate(header);
    assert_eq!(open(bytes).unwrap().n_tensors(), 0);
}

#[test]
fn per_layer_arrays_of_one_value_count_as_that_value() {
    let mut writer = Writer::new();
    writer.i32s("same", &[8, 8, 8]).i32s("mixed", &[8, 4]).i32s("none", &[]).u32("one", 8).i32s("negative", &[-1]);
    let gguf = open(bytes_of(&writer)).unwrap();
    assert_eq!(gguf.uniform_uint("same").unwrap(), Some(8));
    assert_eq!(gguf.uniform_uint("one").unwrap(), Some(8));
    assert_eq!(gguf.uniform_uint("absent").unwrap(), None);
    for key in ["mixed", "none", "negative"] {
        assert!(matches!(gguf.uniform_uint(key), Err(Error::WrongType { .. })), "{key}");
    }
}

#[test]
fn a_wrong_type_names_the_key_and_both_types() {
    let gguf = open(bytes_of(&sample())).unwrap();
    let message = |error: Error| error.to_string();
    assert_eq!(message(gguf.uint("i8").unwrap_err()), "key i8: expected a non-negative integer, found i8 -3");
    assert_eq!(message(gguf.uint("f32").unwrap_err()), "key f32: expected an integer, found f32 0.000001");
    assert_eq!(
        message(gguf.string("words").unwrap_err()),
        "key words: expected a UTF-8 string, found array of 3 string"
    );
    for key in ["u8", "words"] {
        assert!(gguf.i32s(key).is_err() && gguf.floats(key).is_err() && gguf.bools(key).is_err(), "{key}");
    }
    assert!(gguf.strings("sections").is_err() && gguf.boolean("u8").is_err() && gguf.float("bool").is_err());
}

#[test]
fn a_string_of_invalid_utf8_is_refused_when_it_is_asked_for() {
    let mut writer = Writer::new();
    writer.key("name", Value::String(b"\xff\xfe"));
    let gguf = open(bytes_of(&writer)).unwrap();
    assert!(matches!(gguf.string("name"), Err(Error::WrongType { .. })));
}

#[test]
fn split_files_open_from_any_of_them() {
    let scratch = Scratch::new("split");
    let part = |no: u16, tensors: &[&str]| {
        let mut writer = Writer::new();
        writer.key("split.no", Value::U16(no)).key("split.count", Value::U16(3));
        writer.key("split.tensors.count", Value::I32(3));
        if no == 0 {
            writer.string("general.architecture", "qwen35");
        }
        for name in tensors {
            writer.tensor(name, TensorType::F32, &[2]);
        }
        bytes_of(&writer)
    };
    let parts = [part(0, &[]), part(1, &["a", "b"]), part(2, &["c"])];
    let name = |no| format!("model-{no:05}-of-00003.gguf");
    let paths: Vec<PathBuf> = (0..3).map(|i| scratch.write(&name(i + 1), &parts[i])).collect();
    for path in &paths {
        let gguf = Gguf::open(path).unwrap();
        assert_eq!(gguf.string("general.architecture").unwrap(), Some("qwen35"));
        assert_eq!(gguf.tensors().map(|t| t.name).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((gguf.n_files(), gguf.n_tensors(), gguf.tensor_bytes()), (3, 3, 24));
        visit(&gguf);
    }

    let message = |path: &PathBuf| {
        let error = Gguf::open(path).map(|_| ()).unwrap_err();
        format!("{error}: {}", error.kind())
    };
    let renamed = scratch.write("renamed.gguf", &parts[1]);
    assert!(message(&renamed).contains("file 2 of 3"), "{}", message(&renamed));
    assert!(message(&renamed).contains("NAME-00002-of-00003.gguf"));
    scratch.write(&name(3), &parts[1]);
    assert!(message(&paths[0]).contains("split.no: expected 2, found 1"), "{}", message(&paths[0]));
    scratch.write(&name(3), part(2, &["b"]));
    assert!(message(&paths[0]).contains("tensor b occurs twice"), "{}", message(&paths[0]));
    scratch.write(&name(3), part(2, &[]));
    assert!(message(&paths[0]).contains("expected 3 tensors"), "{}", message(&paths[0]));
    std::fs::remove_file(&paths[2]).unwrap();
    assert!(message(&paths[0]).contains(&name(3)), "{}", message(&paths[0]));
    assert!(matches!(Gguf::from_bytes(parts[1].clone()), Err(Error::Split(_))));
}

#[test]
fn a_mapped_file_stays_readable_after_its_pages_are_given_back() {
    let scratch = Scratch::new("evict");
    let path = scratch.write("model.gguf", bytes_of(&sample()));
    let gguf = Gguf::open(&path).unwrap();
    let before = visit(&gguf);
    let matrix = gguf.stored("matrix").unwrap();
    matrix.prefetch();
    assert!(gguf.stored("absent").is_none());
    matrix.evict();
    matrix.uncache();
    gguf.evict_headers();
    assert_eq!(visit(&gguf), before);
}

#[test]
fn rejects_what_is_no_file() {
    let scratch = Scratch::new("nofile");
    let absent = Gguf::open(&scratch.0.join("absent.gguf")).map(|_| ()).unwrap_err();
    assert!(matches!(absent.kind(), Error::Io(_)) && absent.to_string().contains("absent.gguf"));
    assert!(matches!(Gguf::open(&scratch.0).map(|_| ()).unwrap_err().kind(), Error::NotAFile));
    let empty = scratch.write("empty.gguf", b"");
    assert!(matches!(Gguf::open(&empty).map(|_| ()).unwrap_err().kind(), Error::Magic { .. }));
}

#[test]
fn rejects_another_kind_of_file() {
    assert_refused(b"PK\x03\x04 and so on, a zip".to_vec(), &["not a GGUF file", "PK\\x03\\x04"]);
    assert_refused(b"GG".to_vec(), &["not a GGUF file"]);
}

#[test]
fn rejects_other_versions_and_byte_orders() {
    let mut bytes = bytes_of(&sample());
    bytes[4..8].copy_from_slice(&1u32.to_le_bytes());
    assert_refused(bytes.clone(), &["version 1", "expected 2 or 3"]);
    bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
    assert_refused(bytes, &["big-endian"]);
}

#[test]
fn rejects_truncation_at_every_byte() {
    let bytes = bytes_of(&sample());
    // The last 16 bytes are padding.
    for n in 0..bytes.len() - 16 {
        assert!(open(bytes[..n].to_vec()).is_err(), "accepted when cut to {n} of {} bytes", bytes.len());
    }
}

#[test]
fn survives_corruption_of_every_header_byte() {
    let bytes = bytes_of(&sample());
    for at in 0..sample().header().len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1), bytes[at] ^ 0x40] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            if let Ok(gguf) = open(bytes) {
                visit(&gguf);
            }
        }
    }
}

/// A header of `n_tensors` and `n_keys` followed by `rest`.
fn raw(n_tensors: u64, n_keys: u64, rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(n_tensors.to_le_bytes());
    bytes.extend(n_keys.to_le_bytes());
    for part in rest {
        bytes.extend(*part);
    }
    bytes
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

#[test]
fn rejects_absurd_counts_without_allocating_for_them() {
    assert_refused(raw(0, u64::MAX, &[]), &["number of keys", "18446744073709551615"]);
    assert_refused(raw(u64::MAX, 0, &[]), &["number of tensors"]);
    assert_refused(raw(0, 60_000, &[]), &["ends too early"]);
    assert_refused(raw(1_000_000, 0, &[]), &["ends too early"]);
    let key = string("key");
    let header = |element: u32, count: u64| {
        raw(0, 1, &[&key, &9u32.to_le_bytes(), &element.to_le_bytes(), &count.to_le_bytes()])
    };
    for element in [0, 4, 8, 12] {
        assert_refused(header(element, 1 << 30), &["ends too early"]);
        assert_refused(header(element, (1 << 30) + 1), &["length of an array", "1073741824 at most"]);
        assert_refused(header(element, u64::MAX), &["length of an array"]);
    }
    assert_refused(raw(0, 1, &[&u64::MAX.to_le_bytes()]), &["byte 24", "key"]);
    assert_refused(raw(0, 1, &[&key, &8u32.to_le_bytes(), &(1u64 << 29).to_le_bytes()]), &["ends too early"]);
}

#[test]
fn rejects_bad_keys() {
    let value = [&4u32.to_le_bytes()[..], &7u32.to_le_bytes()].concat();
    let key = string("key");
    assert_refused(raw(0, 1, &[&string(""), &value]), &["byte 24", "key is empty"]);
    assert_refused(raw(0, 1, &[&2u64.to_le_bytes(), b"\xff\xff", &value]), &["not valid UTF-8"]);
    assert_refused(raw(0, 1, &[&string(&"k".repeat(70_000)), &value]), &["longer than"]);
    assert_refused(raw(0, 2, &[&key, &value, &key, &value]), &["byte 43", "key key occurs twice"]);
    assert_refused(raw(0, 1, &[&key, &13u32.to_le_bytes(), &[0; 8]]), &["key key", "value type 13"]);
}

#[test]
fn rejects_arrays_of_arrays() {
    let nested = [9u32.to_le_bytes(), 9u32.to_le_bytes()].concat();
    assert_refused(raw(0, 1, &[&string("key"), &nested, &[0; 64]]), &["value type 9", "no arrays of arrays"]);
}

#[test]
fn rejects_bad_alignments() {
    for value in [0, 3, 48, 1 << 17, u32::MAX] {
        let mut writer = Writer::new();
        writer.u32("general.alignment", value);
        assert_refused(bytes_of(&writer), &["general.alignment", "power of two", &value.to_string()]);
    }
    let mut writer = Writer::new();
    writer.string("general.alignment", "32");
    assert_refused(bytes_of(&writer), &["general.alignment: expected an integer"]);
}

/// A file of one tensor entry, with room for its data.
fn one_tensor(name: &str, dims: &[u64], ty: u32, offset: u64) -> Vec<u8> {
    tensors(&[(name, dims, ty, offset)])
}

fn tensors(tensors: &[(&str, &[u64], u32, u64)]) -> Vec<u8> {
    let mut bytes = raw(tensors.len() as u64, 0, &[]);
    for (name, dims, ty, offset) in tensors {
        bytes.extend(string(name));
        bytes.extend((dims.len() as u32).to_le_bytes());
        bytes.extend(dims.iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend(ty.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + 256, 0);
    bytes
}

#[test]
fn accepts_the_tensor_the_other_cases_break() {
    let gguf = open(one_tensor("a", &[8, 2], 0, 32)).unwrap();
    assert_eq!(gguf.tensor("a").unwrap().shape, [2, 8]);
    assert_eq!(open(one_tensor("scalar", &[], 0, 0)).unwrap().tensor("scalar").unwrap().len(), 1);
}

#[test]
fn rejects_bad_tensor_names() {
    assert_refused(one_tensor("", &[8], 0, 0), &["tensor name is empty"]);
    assert!(open(one_tensor(&"n".repeat(63), &[8], 0, 0)).is_ok());
    assert_refused(one_tensor(&"n".repeat(64), &[8], 0, 0), &["tensor name is longer"]);
    assert_refused(tensors(&[("a", &[8], 0, 0), ("a", &[8], 0, 32)]), &["tensor a occurs twice"]);
}

#[test]
fn rejects_bad_shapes() {
    assert_refused(one_tensor("a", &[1; 5], 0, 0), &["tensor a", "4 dimensions at most, found 5"]);
    assert_refused(one_tensor("a", &[8, 0], 0, 0), &["positive dimension, found 0"]);
    assert_refused(one_tensor("a", &[8, u64::MAX], 0, 0), &["positive dimension, found -1"]);
    assert_refused(one_tensor("a", &[1 << 32, 1 << 32], 0, 0), &["overflows"]);
    assert_refused(one_tensor("a", &[1 << 62], 0, 0), &["overflows"]);
    assert_refused(one_tensor("a", &[256, 1 << 55, 2, 2], 41, 0), &["overflows"]);
    assert_refused(one_tensor("a", &[33], 2, 0), &["multiple of 32 values for Q4_0, found 33"]);
    assert_refused(one_tensor("a", &[128, 4], 12, 0), &["multiple of 256 values for Q4_K, found 128"]);
}

#[test]
fn rejects_unknown_and_removed_tensor_types() {
    assert_refused(one_tensor("a", &[256], 77, 0), &["tensor a", "type 77 is unknown"]);
    assert_refused(one_tensor("a", &[256], u32::MAX, 0), &["unknown"]);
    let three = [("a", &[256][..], 77, 0), ("b", &[256], 78, 0), ("c", &[256], 77, 32)];
    assert_refused(tensors(&three), &["tensor a (and c): type 77 is unknown"]);
    let many: Vec<String> = (0..9).map(|i| format!("t{i}")).collect();
    let many: Vec<_> = many.iter().map(|name| (&**name, &[256][..], 77, 0)).collect();
    assert_refused(tensors(&many), &["tensor t0 (and t1, t2, t3, t4, and 4 more): type 77"]);
    assert_refused(one_tensor("a", &[256], 32, 0), &["Q4_0_4_8", "no longer"]);
    for id in [4, 5, 31, 32, 33, 36, 37, 38] {
        assert!(open(one_tensor("a", &[256], id, 0)).is_err(), "type {id}");
    }
}

#[test]
fn rejects_tensor_data_out_of_place() {
    assert_refused(one_tensor("a", &[8], 0, 4), &["tensor a", "multiple of 32, found 4"]);
    assert_refused(one_tensor("a", &[8], 0, 256), &["at least", "is the download complete?"]);
    assert_refused(one_tensor("a", &[1 << 20], 0, 0), &["expected a file of at least"]);
    assert_refused(one_tensor("a", &[8], 0, u64::MAX - 31), &["overflows"]);
    assert_refused(one_tensor("a", &[8], 0, u64::MAX / 2 - 31), &["tensor a"]);
    assert_refused(tensors(&[("a", &[8], 0, 32), ("b", &[16], 0, 0)]), &["tensor a", "overlap those of tensor b"]);
    assert_refused(tensors(&[("a", &[8], 0, 0), ("b", &[8], 0, 0)]), &["overlap"]);
}
