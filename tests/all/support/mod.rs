//! What the tests of whole models share: the files of `tests/fixtures`, and the arithmetic of comparing logits.

pub mod allocation;
pub mod chats;
pub mod dialects;
pub mod gguf_sample;
pub mod header;
pub mod heldout;
pub mod http;
pub mod hub;
pub mod json_schema;
pub mod ollama;
pub mod program;
pub mod requests_to_end;
pub mod rewrite;
pub mod scenes;
pub mod scratch;
#[cfg(target_os = "linux")]
pub mod terminal;

use kernels::{Format, Isa, Kernels, Way};
use qwen_edge::compute::Compute;
use qwen_edge::engine::context::Context;
use qwen_edge::engine::runner::Settings;
use qwen_edge::gguf::Gguf;
use qwen_edge::model::Model;
use qwen_edge::model::kv_type::KvType;
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The models whose weights are floats, with what logits and hidden states may be off by: where products are exact, and where
/// batches meet 16-bit weights as 13-bit integers. Nearly all of the first is the cost of keys and values in f16: rounding
/// them in the reference moves its own logits by up to 8e-4 and 2.8e-3. Of those integers 3.1e-2 was measured, of activations
/// in bf16 2.4e-1.
pub const FLOAT: [(&str, [f32; 2]); 2] = [("micro-f32", [2e-3, 2e-3]), ("micro-untied", [4e-3, 4e-2])];

/// What the mean KL divergence of these models (in nat) may be: 8.2e-8 was measured of exact products, 1.2e-5 of 13-bit
/// integers, and 3.6e-4 of activations in bf16.
pub const FLOAT_KL: [f64; 2] = [1.1e-7, 1.6e-5];

/// The value of [`FLOAT`] or [`FLOAT_KL`] for batches of `chunk` rows.
pub fn allowed<T: Copy>(values: [T; 2], kernels: &Kernels, chunk: usize) -> T {
    values[usize::from(way(chunk) == Way::Prompt && kernels.multiplies_int16(Format::BF16))]
}

/// The models of quantised weights, with the mean KL divergence (in nat) to the float reference that was measured token by
/// token, of a batch on a level with bf16 products for some inputs, on the others, and with AMX, where all are bf16: the
/// cost of rounded activations in random networks, which amplify it far more than trained ones. See [`measured`]. Of the last two
/// nothing was measured with AMX: that value is what is allowed.
pub const QUANTISED: [(&str, [f64; 4]); 11] = [
    ("q8_0", [1.17e-3, 0.95e-3, 1.75e-3, 0.20e-3]),
    ("q4_0", [1.20e-3, 1.02e-3, 1.04e-3, 0.21e-3]),
    ("iq4_nl", [0.79e-3, 0.93e-3, 1.09e-3, 0.24e-3]),
    ("mxfp4", [0.91e-3, 0.91e-3, 1.32e-3, 0.09e-3]),
    ("q4_1-q5_0-q5_1", [0.81e-3, 1.15e-3, 1.58e-3, 0.29e-3]),
    ("q4_k_m", [0.90e-3, 1.29e-3, 1.60e-3, 0.33e-3]),
    ("q5_k_m", [1.37e-3, 1.29e-3, 2.06e-3, 0.30e-3]),
    ("iq4_xs-q3_k-q2_k", [0.83e-3, 1.31e-3, 1.56e-3, 0.26e-3]),
    ("iq2-iq3", [0.87e-3, 0.94e-3, 1.52e-3, 0.22e-3]),
    ("iq1-tq", [0.97e-3, 1.43e-3, 1.37e-3, 0.5e-3]),
    ("nvfp4", [0.90e-3, 0.94e-3, 1.42e-3, 0.5e-3]),
];

/// The value of [`QUANTISED`] for a way of reading.
pub fn measured(values: [f64; 4], kernels: &Kernels, step: bool) -> f64 {
    values[if step {
        0
    } else if kernels.isa() == Isa::Amx {
        3
    } else if kernels.has_bf16() {
        1
    } else {
        2
    }]
}

/// What a model may measure above its value in [`QUANTISED`]: sixteen positions make a noisy mean, and levels round sums
/// in another order.
pub const KL_FACTOR: f64 = 1.3;

/// What the mean over all models may be above that of the values: levels differ by 3 % there.
pub const MEAN_KL_FACTOR: f64 = 1.1;

/// The path of a fixture.
pub fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file)
}

/// A model of `tests/fixtures` and the golden values that go with it.
pub struct Fixture {
    pub gguf: Gguf,
    pub golden: Tensors,
}

impl Fixture {
    pub fn open(name: &str) -> Fixture {
        let gguf = Gguf::open(&path(&format!("{name}.gguf"))).unwrap();
        Fixture { gguf, golden: Tensors::open(&path(&format!("{name}.safetensors"))) }
    }

    pub fn model(&self) -> Arc<Model> {
        Arc::new(Model::bind(&self.gguf).unwrap())
    }

    pub fn prompt(&self) -> Vec<u32> {
        self.golden.ints("prompt_ids").into_iter().map(|id| id as u32).collect()
    }
}

/// The tensors of a safetensors file.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn open(path: &Path) -> Tensors {
        Tensors(std::fs::read(path).unwrap())
    }

    fn parse(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.parse().names().into_iter().map(String::from).collect();
        names.sort();
        names
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.parse().tensor(name).unwrap().shape().to_vec()
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = self.parse();
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        bytemuck::pod_collect_to_vec(tensor.data())
    }

    pub fn ints(&self, name: &str) -> Vec<usize> {
        let tensors = self.parse();
        let tensor = tensors.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::I32, "{name}");
        bytemuck::pod_collect_to_vec::<u8, i32>(tensor.data()).into_iter().map(|v| v as usize).collect()
    }
}

/// The kernels of every level this CPU has, or of the one that `QWEN_EDGE_TEST_ISA` names (for emulators, which are slow).
pub fn levels() -> Vec<&'static Kernels> {
    let named = std::env::var("QWEN_EDGE_TEST_ISA").ok().map(|name| name.parse().unwrap());
    let levels = named.map_or_else(Isa::available, |isa: Isa| vec![isa]);
    levels.into_iter().map(|isa| Kernels::select(Some(isa)).unwrap()).collect()
}

/// A context of `n_ctx` positions with batches of up to `n_batch`.
pub fn context(model: &Arc<Model>, kernels: &'static Kernels, n_ctx: usize, n_batch: usize) -> Context {
    Context::new(
        model.clone(),
        Compute::new(kernels, 1),
        Settings { n_ctx, n_batch, kv: KvType::F16, n_checkpoint: 2, n_sequence: 1 },
    )
    .unwrap()
}

/// How the tests compute batches of `chunk` rows: short ones as an answer is written, longer ones as a prompt is read.
pub fn way(chunk: usize) -> Way {
    if chunk <= 4 { Way::Written } else { Way::Prompt }
}

/// Reads `ids` in batches of `chunk` behind what is in the context: all their logits, `[ids.len(), n_vocab]`.
pub fn read(context: &mut Context, ids: &[u32], chunk: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for batch in ids.chunks(chunk) {
        let rows = context.text(batch);
        context.run(&rows, way(chunk), batch.len()).unwrap();
        out.extend_from_slice(context.compute_logits_of(0, batch.len()));
    }
    out
}

/// The given rows of a matrix of `cols` columns.
pub fn rows(x: &[f32], cols: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|&r| &x[r * cols..][..cols]).copied().collect()
}

/// The largest difference of two arrays.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    // `max` would pass over a NaN.
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m })
}

#[track_caller]
pub fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    let distance = distance(found, expected);
    assert!(distance <= tolerance, "{what}: off by {distance}, allowed {tolerance}");
}

/// The position of the largest value.
pub fn argmax(x: &[f32]) -> u32 {
    (0..x.len()).max_by(|&a, &b| x[a].total_cmp(&x[b])).unwrap() as u32
}

/// The mean over rows of KL(softmax(golden) ‖ softmax(found)) in nat, of rows of `cols` logits.
pub fn mean_kl(golden: &[f32], found: &[f32], cols: usize) -> f64 {
    assert_eq!(golden.len(), found.len());
    let log_softmax = |row: &[f32]| -> Vec<f64> {
        let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = row.iter().map(|&x| (f64::from(x) - max).exp()).sum();
        row.iter().map(|&x| f64::from(x) - max - sum.ln()).collect()
    };
    let kl = |(golden, found): (&[f32], &[f32])| -> f64 {
        log_softmax(golden).iter().zip(log_softmax(found)).map(|(g, f)| g.exp() * (g - f)).sum()
    };
    golden.chunks(cols).zip(found.chunks(cols)).map(kl).sum::<f64>() / (golden.len() / cols) as f64
}
