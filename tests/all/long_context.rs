//! Positions a short prompt never reaches, against values recorded by `tests/reference/long_context.py`.

use crate::support;
use kernels::Kernels;
use qwen_edge::compute::Compute;
use qwen_edge::engine::context::{Context, text_rows};
use qwen_edge::engine::runner::Settings;
use qwen_edge::gguf::Gguf;
use qwen_edge::model::Model;
use qwen_edge::model::config::{RopeConfig, YarnConfig};
use qwen_edge::model::kv_type::KvType;
use qwen_edge::model::rope::Rope;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Positions the model was trained on.
const TRAINED: usize = 262_144;

fn reference(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(file)
}

fn recorded() -> Value {
    serde_json::from_str(&std::fs::read_to_string(reference("long_context.json")).unwrap()).unwrap()
}

/// The sequence of the script: the high bits of a linear congruence.
fn token_ids(n: usize) -> Vec<u32> {
    let next = |x: &u32| Some(x.wrapping_mul(1_103_515_245).wrapping_add(12_345) & 0x7fff_ffff);
    std::iter::successors(next(&1), next).map(|x| (x >> 16) % 64).take(n).collect()
}

/// Reads the sequence up to the last recorded position below `n` and compares the logits there. Returns the largest
/// difference and the number of positions compared.
fn compare(case: &Value, n: usize, kernels: &'static Kernels, kv: KvType, n_batch: usize) -> (f64, usize) {
    let at: Vec<usize> = case["at"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
    let count = at.iter().filter(|&&at| at < n).count();
    let ids = token_ids(at[count - 1] + 1);

    let gguf = Gguf::open(&reference("long_context.gguf")).unwrap();
    let mut model = Model::bind(&gguf).unwrap();
    let factor = case["yarn"].as_f64().unwrap() as f32;
    model.config.rope.yarn = (factor > 1.0).then(|| YarnConfig::with_factor(factor, TRAINED));
    let settings = Settings { n_ctx: ids.len(), n_batch, kv, n_checkpoint: 0, n_sequence: 1 };
    let mut context = Context::new(Arc::new(model), Compute::new(kernels, 2), settings).unwrap();

    let mut worst = 0f64;
    let inputs = text_rows(&ids, case["start"].as_u64().unwrap() as u32);
    let mut rows = at[..count].iter().zip(case["logits"].as_array().unwrap()).peekable();
    for (i, batch) in inputs.chunks(n_batch).enumerate() {
        context.forward(batch, batch.len()).unwrap();
        while let Some((at, row)) = rows.next_if(|(at, _)| **at < i * n_batch + batch.len()) {
            let logits = context.compute_logits(at - i * n_batch);
            for (found, expected) in logits.iter().zip(row.as_array().unwrap()) {
                worst = worst.max((f64::from(*found) - expected.as_f64().unwrap()).abs());
            }
        }
    }
    assert!(rows.next().is_none());
    (worst, count)
}

/// Compares every case up to position `n` of its sequence.
fn compare_all(n: usize, kernels: &'static Kernels, kv: KvType, n_batch: usize, tolerance: f64) {
    for case in recorded()["cases"].as_array().unwrap() {
        let (worst, count) = compare(case, n, kernels, kv, n_batch);
        let what = format!("{}, {} {}, {count} positions", case["name"], kernels.isa(), kv.name());
        println!("{what}: largest difference {worst:.2e}");
        assert!(worst < tolerance, "{what}: largest difference {worst}");
    }
}

#[test]
fn logits_are_those_of_an_independent_implementation_near_and_far_at_every_level() {
    for kernels in support::levels() {
        compare_all(600, kernels, KvType::F16, 512, 2e-3);
    }
    compare_all(2100, Kernels::select(None).unwrap(), KvType::F16, 512, 2e-3);
}

#[test]
fn token_by_token_the_logits_are_the_same() {
    compare_all(100, Kernels::select(None).unwrap(), KvType::F16, 1, 2e-3);
}

/// Takes minutes, as attention over 262,144 tokens is quadratic: `make test-long`.
#[test]
#[ignore = "minutes: make test-long"]
fn logits_are_right_up_to_the_last_position_of_the_context() {
    compare_all(TRAINED, Kernels::select(None).unwrap(), KvType::F16, 512, 2e-3);
}

#[test]
fn yarn_frequencies_are_the_published_ones() {
    for ladder in recorded()["ladders"].as_array().unwrap() {
        let number = |key: &str| ladder[key].as_f64().unwrap();
        let yarn = Some(YarnConfig::with_factor(number("factor") as f32, TRAINED));
        let rope = Rope::new(&RopeConfig { n_rot: 64, freq_base: 1e7, sections: [11, 11, 10], yarn });
        let mut table = vec![0.0; 64];
        // At position 0 the table is the magnitude itself, at 1 the sines and cosines of the frequencies.
        rope.fill([0; 3], &mut table);
        assert!(table[..32].iter().all(|&cos| (f64::from(cos) - number("magnitude")).abs() < 1e-6));
        rope.fill([1; 3], &mut table);
        for (j, expected) in ladder["inv_freq"].as_array().unwrap().iter().enumerate() {
            let found = f64::from(table[32 + j]).atan2(f64::from(table[j]));
            let expected = expected.as_f64().unwrap();
            assert!((found - expected).abs() < 1e-6 * expected.max(1e-2), "pair {j}: {found}, expected {expected}");
        }
    }
}
