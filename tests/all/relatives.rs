//! The relatives give what the float reference gives, at every instruction-set level of this CPU: sparse models
//! (`qwen35moe`), and dense ones with three value heads to a key head, as the 27B. The golden values, `fixtures/moe-*` and
//! `fixtures/ratio3-*`, are of Hugging Face transformers, over files of the official converter.

use crate::support::program::program;
use crate::support::rewrite::{Rewrite, Tensor};
use crate::support::scratch::Scratch;
use crate::support::{Fixture, argmax, assert_close, context, levels, mean_kl, read, rows, way};
use kernels::{Kernels, Way};
use qwen_edge::compute::Compute;
use qwen_edge::engine::context::{Context, text_rows};
use qwen_edge::engine::draft::Draft;
use qwen_edge::engine::runner::Settings;
use qwen_edge::gguf::Gguf;
use qwen_edge::model::Model;
use qwen_edge::model::kv_type::KvType;
use qwen_edge::model::stream::{ExpertsKept, Streaming};
use std::sync::Arc;

/// The models whose weights are floats.
const FLOAT: [&str; 2] = ["moe-f32", "ratio3-f32"];

/// What logits of float weights may be off by: most of it is the cost of keys and values in f16.
const TOLERANCE: f32 = 2e-3;

/// The quantised models, with the mean KL divergence (in nat) that llama.cpp has on the same files.
const QUANTISED: [(&str, f64); 2] = [("moe-q8_0", 7.4e-4), ("moe-q4_k", 6.3e-3)];

#[test]
fn float_models_give_the_reference_logits_and_states() {
    for name in FLOAT {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        let golden = fixture.golden.floats("logits");
        for kernels in levels() {
            for chunk in [prompt.len(), 40, 3, 1] {
                let logits = read(&mut context(&model, kernels, prompt.len(), chunk), &prompt, chunk);
                let what = format!("{name}, {}, batches of {chunk}", kernels.isa());
                assert_close(&logits, &golden, TOLERANCE, &what);
                let kl = mean_kl(&golden, &logits, model.n_vocab);
                assert!(kl <= 1e-7, "{what}: mean KL {kl:.2e} nat");
            }
            let mut context = context(&model, kernels, prompt.len(), prompt.len());
            let mut seen = Vec::new();
            let observer = &mut |il, x: &[f32]| seen.push((il, x.to_vec()));
            context.run_observed(&text_rows(&prompt, 0), Way::Prompt, observer).unwrap();
            assert_eq!(seen.len(), model.config.n_layer());
            for (il, x) in seen {
                let golden = fixture.golden.floats(&format!("hidden.{il}"));
                assert_close(&x, &golden, TOLERANCE, &format!("{name}, {}, hidden.{il}", kernels.isa()));
            }
        }
    }
}

#[test]
fn float_models_continue_and_draft_as_the_reference_does() {
    for name in FLOAT {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        let greedy = fixture.golden.ints("greedy_ids");
        let golden = fixture.golden.floats("mtp_logits");
        let n_embd = model.config.n_embd;
        for kernels in levels() {
            let mut context = context(&model, kernels, prompt.len() + greedy.len(), prompt.len());
            assert!(context.enable_drafts(Draft::Auto));
            context.forward(&text_rows(&prompt, 0), prompt.len()).unwrap();
            let hidden = context.hidden(0, prompt.len()).to_vec();
            let mut logits = Vec::new();
            for (rows, hidden) in text_rows(&prompt[1..], 1).chunks(7).zip(hidden.chunks(7 * n_embd)) {
                let y = context.draft(&hidden[..rows.len() * n_embd], rows, way(7)).unwrap().to_vec();
                logits.extend_from_slice(context.compute_logits_behind(&y));
            }
            assert_close(&logits, &golden, TOLERANCE, &format!("{name}, {}, drafts", kernels.isa()));
            let mut id = argmax(context.compute_logits(prompt.len() - 1));
            for &expected in &greedy {
                assert_eq!(id as usize, expected, "{name}, {}", kernels.isa());
                id = argmax(context.decode(id).unwrap());
            }
        }
    }
}

#[test]
fn quantised_models_are_as_near_to_the_reference_as_llama_cpp() {
    for (name, allowed) in QUANTISED {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        for kernels in levels() {
            for chunk in [prompt.len(), 1] {
                let logits = read(&mut context(&model, kernels, prompt.len(), chunk), &prompt, chunk);
                let found = rows(&logits, model.n_vocab, &fixture.golden.ints("positions"));
                let kl = mean_kl(&fixture.golden.floats("logits"), &found, model.n_vocab);
                println!(
                    "{name}, {}, batches of {chunk}: mean KL {kl:.2e} nat, llama.cpp {allowed:.2e}",
                    kernels.isa()
                );
                assert!(kl <= allowed, "{name}, {}, batches of {chunk}: mean KL {kl:.2e} nat", kernels.isa());
            }
        }
    }
}

/// The logits of all tokens, read with so many threads in batches of `chunk`.
fn logits(model: &Arc<Model>, kernels: &'static Kernels, threads: usize, prompt: &[u32], chunk: usize) -> Vec<f32> {
    let settings = Settings { n_ctx: prompt.len(), n_batch: chunk, kv: KvType::F16, n_checkpoint: 2, n_sequence: 1 };
    read(&mut Context::new(model.clone(), Compute::new(kernels, threads), settings).unwrap(), prompt, chunk)
}

#[test]
fn bits_depend_neither_on_threads_nor_on_the_company_of_a_row() {
    for name in ["moe-f32", "moe-q8_0", "moe-q4_k"] {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        for kernels in levels() {
            for chunks in [&[1, 3, 4][..], &[5, 48]] {
                let expected = logits(&model, kernels, 1, &prompt[..48], chunks[0]);
                for &chunk in chunks {
                    for threads in [1, 3] {
                        if (chunk, threads) == (chunks[0], 1) {
                            continue;
                        }
                        let found = logits(&model, kernels, threads, &prompt[..48], chunk);
                        assert!(found == expected, "{name}, {}, {threads} threads, batches of {chunk}", kernels.isa());
                    }
                }
            }
        }
    }
}

/// The model with so many of its experts kept in memory and the others read when they are used.
fn kept(gguf: &Gguf, n: usize, uncached: bool) -> Arc<Model> {
    let mut model = Model::bind(gguf).unwrap();
    let of = model.config.n_layer() * model.config.experts.unwrap().n_expert;
    let experts = Some(ExpertsKept { n: n.min(of), of, bytes: 0, known: false });
    let streaming = Streaming { experts, uncached, ..Streaming::default() };
    model.stream_feed_forwards(gguf, &streaming, None).unwrap();
    Arc::new(model)
}

#[test]
fn bits_do_not_depend_on_which_experts_are_kept() {
    for name in ["moe-f32", "moe-q8_0", "moe-q4_k"] {
        let fixture = Fixture::open(name);
        let (model, prompt) = (fixture.model(), fixture.prompt());
        let kernels = *levels().last().unwrap();
        for chunk in [prompt.len(), 3, 1] {
            let expected = logits(&model, kernels, 2, &prompt, chunk);
            for (n, uncached) in [(0, false), (7, true), (25, false), (usize::MAX, false)] {
                let model = kept(&fixture.gguf, n, uncached);
                let found = logits(&model, kernels, 2, &prompt, chunk);
                assert!(found == expected, "{name}, {n} experts kept, batches of {chunk}");
                let counts = model.slots.as_ref().unwrap().counts();
                assert!(counts.read_bytes > 0 && counts.kept <= counts.uses, "{counts:?}");
            }
        }
        let scratch = Scratch::new("merged-kept");
        let path = scratch.write("merged.gguf", merged(&fixture.gguf).bytes());
        let found = logits(&kept(&Gguf::open(&path).unwrap(), 9, false), kernels, 2, &prompt, 5);
        assert!(found == logits(&model, kernels, 2, &prompt, 5), "{name}, merged");
    }
}

/// A file with gate and up of the experts in one tensor each.
fn merged(gguf: &Gguf) -> Rewrite {
    let mut file = Rewrite::of(gguf, &[]);
    let n_expert = gguf.uint("qwen35moe.expert_count").unwrap().unwrap() as usize;
    let mut tensors = Vec::new();
    for tensor in std::mem::take(&mut file.tensors) {
        let Some(block) = tensor.name.strip_suffix(".ffn_gate_exps.weight") else {
            if !tensor.name.ends_with(".ffn_up_exps.weight") {
                tensors.push(tensor);
            }
            continue;
        };
        let up = gguf.tensor(&format!("{block}.ffn_up_exps.weight")).unwrap();
        let half = tensor.bytes.len() / n_expert;
        let experts = tensor.bytes.chunks(half).zip(up.bytes.chunks(half));
        let [n, rows, cols] = tensor.shape[..] else { panic!("{:?}", tensor.shape) };
        tensors.push(Tensor {
            name: format!("{block}.ffn_gate_up_exps.weight"),
            shape: vec![n, 2 * rows, cols],
            bytes: experts.flat_map(|(gate, up)| [gate, up].concat()).collect(),
            ..tensor
        });
    }
    file.tensors = tensors;
    file
}

#[test]
fn gate_and_up_may_lie_in_one_tensor() {
    let scratch = Scratch::new("merged");
    for name in ["moe-f32", "moe-q4_k"] {
        let fixture = Fixture::open(name);
        let path = scratch.write("merged.gguf", merged(&fixture.gguf).bytes());
        let (model, prompt) = (Arc::new(Model::bind(&Gguf::open(&path).unwrap()).unwrap()), fixture.prompt());
        let kernels = *levels().last().unwrap();
        assert_eq!(
            logits(&model, kernels, 1, &prompt, 96),
            logits(&fixture.model(), kernels, 1, &prompt, 96),
            "{name}"
        );
    }
}

#[test]
fn what_cannot_be_right_is_refused_by_its_name() {
    let fixture = Fixture::open("moe-f32");
    let scratch = Scratch::new("experts");
    let refusal = |skip: &[&str], change: &dyn Fn(&mut Rewrite)| {
        let mut file = Rewrite::of(&fixture.gguf, skip);
        change(&mut file);
        let path = scratch.write("changed.gguf", file.bytes());
        Model::bind(&Gguf::open(&path).unwrap()).map(drop).unwrap_err().to_string()
    };
    let key = |name: &'static str, value: u32| {
        let key = format!("qwen35moe.{name}");
        refusal(&[&key], &|file| _ = file.keys.u32(&key, value))
    };
    for (said, expected) in [
        (key("expert_used_count", 17), "qwen35moe.expert_used_count"),
        (key("expert_used_count", 0), "qwen35moe.expert_used_count"),
        (key("expert_count", 1 << 23), "blk.0.ffn_gate_exps.weight"),
        (key("expert_gating_func", 2), "qwen35moe.expert_gating_func"),
        (key("expert_feed_forward_length", 33), "blk.0.ffn_gate_exps.weight"),
        (key("expert_shared_feed_forward_length", 31), "blk.0.ffn_gate_shexp.weight"),
        (
            refusal(&[], &|file| file.tensor("blk.2.ffn_down_exps.weight").shape.swap(0, 1)),
            "blk.2.ffn_down_exps.weight",
        ),
        (
            refusal(&[], &|file| file.tensors.retain(|t| t.name != "blk.1.ffn_gate_inp.weight")),
            "blk.1.ffn_gate_inp.weight",
        ),
        (refusal(&["qwen35moe.expert_count"], &|_| {}), "qwen35moe.expert_count"),
    ] {
        assert!(said.contains(expected), "{said}");
    }
    for other in ["qwen3moe", "qwen4exp"] {
        let said = refusal(&["general.architecture"], &|file| _ = file.keys.string("general.architecture", other));
        assert!(said.contains(&format!("architecture {other:?} is not supported")), "{said}");
    }
}

#[test]
fn a_router_that_is_no_number_is_found() {
    let fixture = Fixture::open("moe-f32");
    let scratch = Scratch::new("router");
    let mut file = Rewrite::of(&fixture.gguf, &[]);
    let router = file.tensor("blk.1.ffn_gate_inp.weight");
    let mut values = router.values();
    values[3 * 64 + 5] = f32::NAN;
    *router = Tensor::f32("blk.1.ffn_gate_inp.weight", &[16, 64], &values);
    let path = scratch.write("nan.gguf", file.bytes());
    let output = program().arg("run").arg(path).args(["--raw", "-p", "a b c", "-n", "1"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for expected in ["NaN or infinity", "layer 1", "tensor blk.1.ffn_gate_inp.weight", "in row 3"] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_synthetic_sparse_model_is_whole_and_told_in_full() {
    let scratch = Scratch::new("sparse");
    let path = scratch.0.join("sparse.gguf");
    let made = program()
        .args(["synth", "--size", "35b-a3b", "--quant", "q4_k_m", "--layers", "4", "--experts", "12", "--mtp", "-o"])
        .arg(&path)
        .args(["--vocab"])
        .arg(crate::support::chats::demo())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let told = program().arg("inspect").arg(&path).arg("--json").output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let model = &told["model"];
    assert_eq!(
        (&model["experts"], &model["experts_used"], &model["mtp"]),
        (&12.into(), &8.into(), &true.into()),
        "{told}"
    );
    let answered =
        program().arg("run").arg(&path).args(["-p", "a", "-n", "4", "--ctx", "64", "--json"]).output().unwrap();
    let answered: serde_json::Value = serde_json::from_slice(&answered.stdout).unwrap();
    assert_eq!(answered["tokens"], 4, "{answered}");
}
