//! Synthetic models: sizes and type mixes are those of published files, and what is written can be read.

use kernels::Kernels;
use qwen_edge::compute::Compute;
use qwen_edge::engine::context::{Context, text_rows};
use qwen_edge::engine::runner::Settings;
use qwen_edge::gguf::{Gguf, TensorType};
use qwen_edge::model::Model;
use qwen_edge::model::kv_type::KvType;
use qwen_edge::synth::{Dims, Options, Quant, Size, Synth};
use std::collections::BTreeMap;
use std::sync::Arc;

fn options(size: Size, quant: Quant) -> Options {
    Options { dims: Dims::of(size), quant, mtp: false, newer: false, seed: 1 }
}

fn tensor_bytes(synth: &Synth) -> u64 {
    synth.tensors().iter().map(|tensor| tensor.bytes() as u64).sum()
}

/// Matrices by type.
fn counts(synth: &Synth) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for tensor in synth.tensors() {
        *counts.entry(tensor.ty.name()).or_default() += 1;
    }
    counts
}

/// Tensor bytes of files made from the published models with llama.cpp's quantiser.
#[test]
fn tensor_bytes_are_those_of_published_files() {
    let sizes = [Size::B0_8, Size::B2, Size::B4, Size::B9];
    let published = [
        (Quant::Bf16, [1_505_783_040, 3_764_747_520, 8_413_425_664, 17_909_729_280]),
        (Quant::F16, [1_505_783_040, 3_764_747_520, 8_413_425_664, 17_909_729_280]),
        (Quant::Q8_0, [800_881_920, 2_001_050_880, 4_471_435_264, 9_516_533_760]),
        (Quant::Q4_K_M, [516_541_696, 1_259_846_912, 2_696_546_304, 5_616_076_800]),
        (Quant::Q4_0, [490_491_136, 1_191_525_632, 2_532_931_584, 5_302_388_736]),
    ];
    for (quant, bytes) in published {
        for (size, bytes) in sizes.into_iter().zip(bytes) {
            assert_eq!(tensor_bytes(&Synth::text_without_vocab(&options(size, quant))), bytes, "{size:?} {quant:?}");
        }
    }
    let newer = [518_335_744, 1_263_435_008, 2_697_836_544, 5_618_141_184u64];
    let newer_mtp = [530_941_184, 1_301_202_176, 2_772_477_952, 5_769_121_792u64];
    for ((size, plain), mtp) in sizes.into_iter().zip(newer).zip(newer_mtp) {
        let options = Options { newer: true, ..options(size, Quant::Q4_K_M) };
        assert_eq!(tensor_bytes(&Synth::text_without_vocab(&options)), plain, "{size:?}");
        assert_eq!(
            tensor_bytes(&Synth::text_without_vocab(&Options { mtp: true, ..options })),
            mtp,
            "{size:?} with MTP"
        );
    }
}

#[test]
fn type_counts_are_those_of_published_files() {
    let of = |size, quant| counts(&Synth::text_without_vocab(&options(size, quant)));
    assert_eq!(of(Size::B2, Quant::Q4_K_M), [("F32", 133), ("Q4_K", 152), ("Q5_K", 18), ("Q6_K", 17)].into());
    assert_eq!(of(Size::B9, Quant::Q4_K_M), [("F32", 177), ("Q4_K", 204), ("Q5_K", 24), ("Q6_K", 22)].into());
    assert_eq!(of(Size::B4, Quant::Q8_0), [("F32", 177), ("Q8_0", 249)].into());
    let mtp = Synth::text_without_vocab(&Options { mtp: true, ..options(Size::B0_8, Quant::F16) });
    assert_eq!(mtp.tensors().len(), 335);
}

#[test]
fn vision_towers_have_the_published_sizes() {
    let published = [
        (Size::B0_8, 154, 204_977_152),
        (Size::B2, 298, 668_209_152),
        (Size::B4, 298, 672_405_504),
        (Size::B9, 334, 918_145_984),
    ];
    for (size, tensors, bytes) in published {
        let synth = Synth::vision(&options(size, Quant::F16));
        assert_eq!((synth.tensors().len(), tensor_bytes(&synth)), (tensors, bytes), "{size:?}");
    }
    let q8 = Synth::vision(&options(Size::B9, Quant::Q8_0));
    let down = q8.tensors().iter().find(|tensor| tensor.name == "v.blk.0.ffn_down.weight").unwrap();
    assert_eq!(down.ty, TensorType::F16, "rows of 4304 are no whole number of Q8_0 blocks");
}

#[test]
fn every_mix_is_written_and_read_back_finite() {
    for &quant in <Quant as clap::ValueEnum>::value_variants() {
        for newer in [false, true] {
            let synth = Synth::text(&Options { mtp: newer, newer, ..options(Size::Tiny, quant) });
            let bytes = synth.to_bytes();
            assert_eq!(bytes.len() as u64, synth.file_bytes());
            let gguf = Gguf::from_bytes(bytes).unwrap();
            assert_eq!(gguf.uint("qwen35.block_count").unwrap(), Some(4 + u64::from(newer)));
            for tensor in gguf.tensors() {
                let mut values = vec![0.0; tensor.len()];
                kernels::decode::decode_row(tensor.ty.format().unwrap(), tensor.bytes, &mut values);
                assert!(values.iter().all(|v| v.is_finite()), "{quant:?}: {tensor:?}");
                assert!(values.iter().any(|&v| v != values[0]), "{quant:?}: {tensor:?}");
            }
        }
    }
}

#[test]
fn activations_stay_finite_and_logits_spread() {
    for quant in [Quant::F32, Quant::Q4_K_M, Quant::Iq2M, Quant::Mxfp4] {
        let gguf = Gguf::from_bytes(Synth::text(&options(Size::Tiny, quant)).to_bytes()).unwrap();
        let model = Arc::new(Model::bind(&gguf).unwrap());
        let settings = Settings { n_ctx: 64, n_batch: 64, kv: KvType::F16, n_checkpoint: 0, n_sequence: 1 };
        let mut context =
            Context::new(model.clone(), Compute::new(Kernels::select(None).unwrap(), 1), settings).unwrap();
        let ids: Vec<u32> = (0..64).map(|i| i * 31 % 2048).collect();
        context.forward(&text_rows(&ids, 0), 64).unwrap();
        for row in [0, 31, 63] {
            let logits = context.compute_logits(row);
            let std = (logits.iter().map(|v| v * v).sum::<f32>() / logits.len() as f32).sqrt();
            assert!((2.0..4.5).contains(&std), "{quant:?}, row {row}: logits of standard deviation {std}");
        }
    }
}

#[test]
fn the_seed_alone_decides_the_bytes() {
    let bytes = |seed, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = Options { seed, ..options(Size::Tiny, Quant::Q4_K_M) };
        pool.install(|| Synth::text(&options).to_bytes())
    };
    assert!(bytes(1, 1) == bytes(1, 3));
    assert!(bytes(1, 1) != bytes(2, 1));
}

#[test]
fn names_say_that_the_weights_are_random() {
    let gguf = Gguf::from_bytes(Synth::text(&options(Size::Tiny, Quant::Q8_0)).to_bytes()).unwrap();
    let name = gguf.string("general.name").unwrap().unwrap();
    assert!(name.contains("Synthetic") && name.contains("random weights"), "{name}");
    assert_eq!(gguf.boolean("synthetic.random_weights").unwrap(), Some(true));
}

#[test]
fn a_given_vocabulary_is_taken_over_whole() {
    let vocab = Gguf::from_bytes(Synth::text(&options(Size::Tiny, Quant::F32)).to_bytes()).unwrap();
    let mut options = options(Size::Tiny, Quant::Q8_0);
    options.dims.n_vocab = 1_000_000;
    let gguf = Gguf::from_bytes(Synth::text_with_vocab(&options, &vocab).unwrap().to_bytes()).unwrap();
    assert_eq!(gguf.tensor("token_embd.weight").unwrap().shape, [2112, 256]);
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"] {
        let strings = |gguf: &Gguf| gguf.strings(key).unwrap().unwrap().map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert!(strings(&gguf) == strings(&vocab), "{key}");
    }
    let without = Gguf::from_bytes(Synth::vision(&options).to_bytes()).unwrap();
    assert!(Synth::text_with_vocab(&options, &without).is_err());
}
