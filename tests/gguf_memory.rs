//! What opening a GGUF file may allocate: a small multiple of its header, whatever its numbers claim.

use gguf_sample::{bytes_of, sample};
use qwen_edge::gguf::Gguf;

#[path = "support/allocation.rs"]
mod allocation;
mod gguf_sample;

#[global_allocator]
static ALLOCATOR: allocation::Counting = allocation::Counting;

/// Bytes allocated at the worst moment of opening `bytes`, the bytes themselves apart.
fn peak(bytes: Vec<u8>) -> usize {
    allocation::peak(|| _ = Gguf::from_bytes(bytes))
}

/// One test, as the counter is the process's.
#[test]
fn opening_a_file_allocates_no_more_than_its_size_justifies() {
    let good = bytes_of(&sample());
    let limit = 16 * good.len();
    assert!(peak(good.clone()) < limit);

    for at in 0..sample().header().len() {
        for value in [0x00, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let peak = peak(bytes);
            assert!(peak < limit, "byte {at} set to {value}: {peak} bytes allocated for a file of {}", good.len());
        }
    }

    // Counts of keys and tensors, a string length and an array length, each as large as is accepted.
    let counts = |n_tensors: u64, n_keys: u64, rest: &[u8]| {
        [&b"GGUF"[..], &3u32.to_le_bytes(), &n_tensors.to_le_bytes(), &n_keys.to_le_bytes(), rest].concat()
    };
    let key = |ty: u32| [&1u64.to_le_bytes()[..], b"k", &ty.to_le_bytes()].concat();
    let array = |element: u32| [&key(9)[..], &element.to_le_bytes(), &(1u64 << 30).to_le_bytes()].concat();
    let string = [&key(8)[..], &(1u64 << 30).to_le_bytes()].concat();
    let hostile = [
        counts(1 << 20, 0, b""),
        counts(0, 1 << 16, b""),
        counts(u64::MAX, u64::MAX, b""),
        counts(0, 1, &string),
        counts(0, 1, &array(0)),
        counts(0, 1, &array(8)),
        counts(0, 1, &array(12)),
    ];
    for bytes in hostile {
        let peak = peak(bytes.clone());
        assert!(peak < 4096, "{peak} bytes allocated for {:?}", bytes.escape_ascii().to_string());
    }
}
