//! What is allocated: for opening a GGUF file a small multiple of its header, whatever its numbers claim; for a context
//! what the memory plan says.

use crate::support::allocation;
use crate::support::gguf_sample::{bytes_of, sample};
use kernels::activations::Forms;
use kernels::{Kernels, QuantRows, Way};
use qwen_edge::compute::Compute;
use qwen_edge::engine::context::Context;
use qwen_edge::engine::runner::{RunnerBytes, Settings};
use qwen_edge::gguf::Gguf;
use qwen_edge::model::forward;
use qwen_edge::model::kv_type::KvType;
use qwen_edge::model::memory::Memory;
use qwen_edge::model::mtp::Drafter;
use qwen_edge::model::pages::PagePool;
use qwen_edge::model::pass::{BatchLimits, Scratch};
use qwen_edge::model::{Config, Model};
use qwen_edge::synth::{Dims, Options, Quant, Size, Synth};
use std::sync::Arc;

/// Bytes allocated at the worst moment of opening `bytes`, the bytes themselves apart.
fn peak(bytes: Vec<u8>) -> usize {
    allocation::peak(|| _ = Gguf::from_bytes(bytes))
}

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

/// Models of several sizes, formats and head shapes.
fn models() -> Vec<Arc<Model>> {
    let tiny = || Dims::of(Size::Tiny);
    let wide = Dims { n_embd: 512, n_ff: 1536, n_layer: 8, ..tiny() };
    let options = |dims, quant| Options { dims, quant, mtp: true, newer: false, seed: 1 };
    let all = [options(tiny(), Quant::Q8_0), options(wide, Quant::Q4_K_M), options(tiny(), Quant::F16)];
    let bind = |options| Arc::new(Model::bind(&Gguf::from_bytes(Synth::text(options).to_bytes()).unwrap()).unwrap());
    all.iter().map(bind).collect()
}

/// Bytes that are allocated when `make` makes its value.
fn allocated<T>(make: impl FnOnce() -> T) -> usize {
    let mut made = None;
    allocation::peak(|| made = Some(make()))
}

#[test]
fn what_is_allocated_is_what_the_plan_counts() {
    let kernels = Kernels::select(None).unwrap();
    for model in models() {
        let config: &Config = &model.config;
        // Beside what is counted there are lists of a few words a layer. What is behind the last row comes later.
        let pool = PagePool::new(config, KvType::F16, 1);
        let memory = allocated(|| Memory::new(config, &pool)) + size_of::<f32>() * config.n_embd;
        assert!((memory - Memory::bytes(config)) < 4096, "{memory}");
        // What a batch is refined into comes later.
        let refined = |limits: BatchLimits| {
            let terms = |way, rows| QuantRows::bytes(way, Forms::QUANTS, 2, rows, config.n_embd);
            if config.forms.quants { terms(Way::Prompt, limits.rows) + terms(Way::Written, limits.written) } else { 0 }
        };
        for (n_ctx, n_batch) in [(700, 1), (512, 4), (5_000, 5), (4_096, 64), (70_000, 512)] {
            for kv in [KvType::F16, KvType::Q8_0] {
                let pool = allocated(|| PagePool::new(config, kv, n_ctx / 64));
                assert!(pool - PagePool::bytes(config, kv, n_ctx / 64) < 100, "{pool}");
                let drafter =
                    allocated(|| Drafter::new(config, n_ctx, 2, kv)) + refined(BatchLimits { rows: 64, written: 64 });
                assert!(drafter - Drafter::bytes(config, n_ctx, 2, kv) < 100, "{drafter}");

                let settings = Settings { n_ctx, n_batch, kv, n_checkpoint: 0, n_sequence: 1 };
                let arena = size_of::<f32>() * forward::arena_len(config, settings.limits(), 1);
                let counted = RunnerBytes::of(config, model.n_vocab, &settings).total() + arena;
                let compute = Compute::new(kernels, 1);
                let context = allocated(|| Context::new(model.clone(), compute, settings).unwrap());
                println!("{settings:?}: {context} of {counted} bytes");
                // Beside these there are lists of a few words a layer.
                assert!(context <= counted + 4096, "{settings:?}: {context} allocated, {counted} counted");
            }
            let limits = BatchLimits { rows: n_batch, written: n_batch.min(16) };
            let (scratch, counted) =
                (allocated(|| Scratch::new(config, n_ctx, limits)), Scratch::bytes(config, n_ctx, limits));
            assert_eq!(scratch + refined(limits), counted, "{n_ctx}, {n_batch}");
        }
    }
}
