//! `qwen-edge logits` as a program: what it writes, and what it says of files and arguments that are not as they should
//! be. A failure is exit code 1 and one sentence on stderr; whatever stood at the output's name is still there.

use crate::support;
use crate::support::program::program;
use crate::support::scratch::Scratch;
use crate::support::{FLOAT, Fixture, Tensors, assert_close, path, rows};
use kernels::Kernels;
use qwen_edge::gguf::writer::{TensorSpec, Writer};
use qwen_edge::gguf::{Gguf, TensorType};
use qwen_edge::model::Model;
use std::fs;
use std::path::Path;
use std::process::Output;

fn logits(model: &Path, tokens: &Path, output: &Path, extra: &[&str]) -> Output {
    let mut command = program();
    command.arg("logits").arg(model).arg("--tokens").arg(tokens).arg("-o").arg(output).args(extra);
    command.output().unwrap()
}

/// The output is a failure with one clear sentence that contains all of `parts`.
#[track_caller]
fn assert_refused(output: &Output, parts: &[&str]) {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty());
    assert!(said.starts_with("error: ") && said.ends_with('\n') && said.lines().count() == 1, "{said:?}");
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said:?}");
    for part in parts {
        assert!(said.contains(part), "{said:?} does not say {part:?}");
    }
}

/// Runs a model file that must be refused; nothing may be left behind.
#[track_caller]
fn assert_model_refused(model: &Path, parts: &[&str]) {
    let scratch = Scratch::new(&format!("refused-{}", std::panic::Location::caller().line()));
    let tokens = scratch.write("ids.json", "[1, 2, 3]");
    let output = logits(model, &tokens, &scratch.0.join("out"), &[]);
    assert_refused(&output, parts);
    assert!(said_path(&output, model), "the file is not named");
    assert_eq!(scratch.files(), ["ids.json"]);
}

fn said_path(output: &Output, path: &Path) -> bool {
    String::from_utf8_lossy(&output.stderr).contains(&path.display().to_string())
}

/// A copy of a model with some of its tensors and keys changed: `change` sees every tensor and may drop it.
fn rewritten(
    gguf: &Gguf,
    architecture: &str,
    skip_key: &str,
    change: impl Fn(TensorSpec) -> Option<TensorSpec>,
) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.string("general.architecture", architecture);
    for (key, value) in gguf.keys() {
        if key.starts_with("qwen35.") && key != skip_key {
            writer.key(key, value);
        }
    }
    for tensor in gguf.tensors() {
        let spec = TensorSpec { name: tensor.name.to_owned(), ty: tensor.ty, shape: tensor.shape.to_vec() };
        if let Some(spec) = change(spec) {
            writer.tensor(&spec.name, spec.ty, &spec.shape);
        }
    }
    writer.to_bytes(|spec| {
        let mut bytes = gguf.tensor(&spec.name).map_or_else(Vec::new, |t| t.bytes.to_vec());
        bytes.resize(spec.bytes(), 0);
        bytes
    })
}

#[test]
fn writes_logits_and_hidden_states_however_the_tokens_are_read() {
    for (name, [exact, words]) in FLOAT {
        let fixture = Fixture::open(name);
        let scratch = Scratch::new(name);
        let tokens = scratch.write("ids.json", format!("{:?}\n", fixture.prompt()));
        let model = path(&format!("{name}.gguf"));
        let n_layer = fixture.model().config.n_layer();
        for (extra, hidden) in [
            (&[][..], false),
            (&["--step"], false),
            (&["--step", "--hidden", "--isa", "scalar"], true),
            (&["--hidden", "--threads", "2"], true),
            (&["--chunk", "7", "--hidden"], true),
            (&["--chunk", "64"], false),
        ] {
            let tolerance = if extra.contains(&"--step") { exact } else { words };
            let out = scratch.0.join("out.safetensors");
            let output = logits(&model, &tokens, &out, extra);
            assert!(output.status.success() && output.stdout.is_empty(), "{extra:?}: {output:?}");
            let found = Tensors::open(&out);
            let mut names = vec!["logits".to_owned()];
            if hidden {
                names.extend((0..=n_layer).map(|il| format!("hidden.{il}")));
            }
            names.sort();
            assert_eq!(found.names(), names, "{extra:?}");
            for tensor in &names {
                assert_eq!(found.shape(tensor), fixture.golden.shape(tensor), "{extra:?} {tensor}");
                let what = format!("{name} {extra:?} {tensor}");
                assert_close(&found.floats(tensor), &fixture.golden.floats(tensor), tolerance, &what);
            }
        }
    }
}

#[test]
fn an_8_bit_cache_is_for_heads_of_whole_blocks() {
    let scratch = Scratch::new("kv");
    let (tokens, out) = (scratch.write("ids.json", "[1, 2, 3]"), scratch.0.join("out"));
    assert!(logits(&path("q4_k_m.gguf"), &tokens, &out, &["--kv", "q8_0"]).status.success());
    let output = logits(&path("micro-f32.gguf"), &tokens, &out, &["--kv", "q8_0"]);
    assert_refused(&output, &["q8_0", "24"]);
}

#[test]
fn the_output_replaces_a_file_whole() {
    let scratch = Scratch::new("replace");
    let (tokens, out) = (scratch.write("ids.json", "[5]"), scratch.write("out", "before"));
    assert!(logits(&path("q8_0.gguf"), &tokens, &out, &[]).status.success());
    assert_eq!(Tensors::open(&out).shape("logits"), [1, 288]);
    assert_eq!(scratch.files(), ["ids.json", "out"]);
}

#[test]
fn refuses_what_is_no_model() {
    let scratch = Scratch::new("no-model");
    assert_model_refused(&scratch.0.join("absent.gguf"), &["no such file"]);
    assert_model_refused(&scratch.0, &["not a regular file"]);
    assert_model_refused(&scratch.write("empty", ""), &["not a GGUF file"]);
    assert_model_refused(&scratch.write("text", "PK\x03\x04 something else entirely"), &["not a GGUF file", "PK"]);
}

#[test]
fn refuses_a_truncated_file_wherever_it_ends() {
    let scratch = Scratch::new("truncated");
    let whole = fs::read(path("micro-untied.gguf")).unwrap();
    // The container's own tests cut at every byte; here the program must say so in its own words.
    let header = 7000;
    let cuts = [4, 5, 23, 24, 25, 100, 1000, 3000, header, 50_000, 150_000, whole.len() / 2, whole.len() - 100];
    for cut in cuts {
        assert_model_refused(&scratch.write("cut.gguf", &whole[..cut]), &[]);
    }
}

#[test]
fn refuses_another_architecture_and_names_both() {
    let scratch = Scratch::new("architecture");
    let fixture = Fixture::open("micro-f32");
    for architecture in ["llama", "qwen3", "qwen3moe", ""] {
        let file = scratch.write("other.gguf", rewritten(&fixture.gguf, architecture, "", Some));
        assert_model_refused(&file, &[&format!("architecture {architecture:?} is not supported"), "qwen35"]);
    }
}

#[test]
fn refuses_a_missing_key_by_its_name() {
    let scratch = Scratch::new("key");
    let fixture = Fixture::open("micro-f32");
    for key in [
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.layer_norm_rms_epsilon",
        "rope.freq_base",
        "rope.dimension_count",
        "ssm.conv_kernel",
        "ssm.state_size",
        "ssm.group_count",
        "ssm.time_step_rank",
        "ssm.inner_size",
    ] {
        let key = format!("qwen35.{key}");
        let file = scratch.write("key.gguf", rewritten(&fixture.gguf, "qwen35", &key, Some));
        assert_model_refused(&file, &[&format!("the file has no key {key}")]);
    }
}

#[test]
fn refuses_any_missing_tensor_by_its_name() {
    let scratch = Scratch::new("missing");
    for (name, _) in FLOAT {
        let fixture = Fixture::open(name);
        for tensor in fixture.gguf.tensors() {
            // These two are there or not: without them the trunk's are shared.
            if ["output.weight", "blk.4.nextn.shared_head_norm.weight"].contains(&tensor.name) {
                continue;
            }
            let keep = |spec: TensorSpec| (spec.name != tensor.name).then_some(spec);
            let bytes = rewritten(&fixture.gguf, "qwen35", "", keep);
            let model = Model::bind(&Gguf::from_bytes(bytes.clone()).unwrap());
            if tensor.name.starts_with("blk.4.") {
                // The trunk does without the block for drafting.
                let model = model.unwrap();
                let note = model.config.notes.last().unwrap().to_string();
                let block = tensor.name.strip_suffix("attn_qkv.weight");
                assert!(model.mtp.is_none() && note.contains(block.unwrap_or(tensor.name)), "{note}");
                continue;
            }
            let error = model.err().map(|e| e.to_string()).unwrap_or_default();
            // A fused projection that is absent is looked for in its parts.
            let fused = name == "micro-untied" && ["blk.1", "blk.2"].iter().any(|b| tensor.name.starts_with(b));
            let expected = match tensor.name.strip_suffix("attn_qkv.weight") {
                Some(block) if fused => format!("{block}attn_q.weight"),
                _ => tensor.name.to_owned(),
            };
            assert!(error.starts_with(&format!("the file has no tensor {expected} (expected shape [")), "{error}");
            if tensor.name == "blk.1.ffn_up.weight" {
                assert_model_refused(&scratch.write("missing.gguf", bytes), &[&expected]);
            }
        }
    }
}

#[test]
fn refuses_a_misshapen_tensor_with_expected_and_found() {
    let scratch = Scratch::new("shape");
    let fixture = Fixture::open("micro-f32");
    for (name, shape, expected) in [
        ("blk.0.ssm_out.weight", vec![68, 47], "[68, 48]"),
        ("blk.3.attn_k.weight", vec![25, 68], "[24, 68]"),
        ("blk.2.ssm_conv1d.weight", vec![4, 96], "[96, 4]"),
        ("output_norm.weight", vec![67], "[68]"),
        ("token_embd.weight", vec![300, 64], "68]"),
        ("blk.4.nextn.eh_proj.weight", vec![68, 68], "[68, 136]"),
        ("blk.1.ffn_down.weight", vec![44, 68], "[68, 44]"),
    ] {
        let change = |mut spec: TensorSpec| {
            if spec.name == name {
                spec.shape = shape.clone();
            }
            Some(spec)
        };
        let file = scratch.write("shape.gguf", rewritten(&fixture.gguf, "qwen35", "", change));
        assert_model_refused(&file, &[name, &format!("found shape {shape:?}"), expected]);
    }
}

#[test]
fn refuses_an_unsupported_tensor_type_by_name() {
    let scratch = Scratch::new("type");
    let fixture = Fixture::open("q4_k_m");
    for ty in [TensorType::Q8_1, TensorType::Q8_K, TensorType::I16, TensorType::I8, TensorType::F64] {
        let change = |mut spec: TensorSpec| {
            if spec.name == "blk.1.ffn_gate.weight" {
                spec.ty = ty;
            }
            Some(spec)
        };
        let file = scratch.write("type.gguf", rewritten(&fixture.gguf, "qwen35", "", change));
        assert_model_refused(&file, &["blk.1.ffn_gate.weight", ty.name(), "not supported", "Q4_K"]);
    }
}

#[test]
fn refuses_a_file_without_tensors() {
    let scratch = Scratch::new("vocabulary");
    let fixture = Fixture::open("micro-f32");
    let file = scratch.write("vocabulary.gguf", rewritten(&fixture.gguf, "qwen35", "", |_| None));
    assert_model_refused(&file, &["no tensors", "expected the weights of a model"]);
}

#[test]
fn refuses_tokens_that_are_none() {
    let scratch = Scratch::new("tokens");
    let (model, out) = (path("micro-untied.gguf"), scratch.0.join("out"));
    for (text, parts) in [
        ("", &["expected a JSON array of token ids"][..]),
        ("[1, 2", &["expected a JSON array of token ids"]),
        ("{\"ids\": [1]}", &["expected a JSON array of token ids"]),
        ("[1, -2]", &["expected a JSON array of token ids", "-2"]),
        ("[1, 2.5]", &["expected a JSON array of token ids", "2.5"]),
        ("[99999999999]", &["expected a JSON array of token ids"]),
        ("[\"a\"]", &["expected a JSON array of token ids"]),
        ("[]", &["no tokens"]),
        ("[0, 186, 187]", &["token 187", "187 rows"]),
        ("[4294967295]", &["token 4294967295"]),
    ] {
        let tokens = scratch.write("ids.json", text);
        assert_refused(&logits(&model, &tokens, &out, &[]), parts);
    }
    let tokens = scratch.write("ids.json", b"[1, \xff]");
    assert_refused(&logits(&model, &tokens, &out, &[]), &["ids.json"]);
    let absent = scratch.0.join("absent.json");
    assert_refused(&logits(&model, &absent, &out, &[]), &["absent.json", "no such file"]);
    assert_eq!(scratch.files(), ["ids.json"]);
}

#[test]
fn an_output_that_cannot_be_written_is_an_error_and_nothing_is_lost() {
    let scratch = Scratch::new("output");
    let (model, tokens) = (path("micro-untied.gguf"), scratch.write("ids.json", "[1, 2, 3]"));
    let absent = scratch.0.join("no such folder").join("out");
    assert_refused(&logits(&model, &tokens, &absent, &[]), &["cannot write", "no such folder"]);
    assert_refused(&logits(&model, &tokens, &scratch.0, &[]), &["cannot write"]);
    if Path::new("/dev/full").exists() {
        let many = scratch.write("many.json", format!("{:?}", vec![1; 2000]));
        for tokens in [&tokens, &many] {
            let output = logits(&model, tokens, Path::new("/dev/full"), &[]);
            assert_refused(&output, &["cannot write /dev/full", "No space left"]);
        }
        fs::remove_file(many).unwrap();
    }
    // A failure after the name was taken: the old file stays.
    let old = scratch.write("out", "before");
    let bad = scratch.write("ids.json", "[1, 100000]");
    assert_refused(&logits(&model, &bad, &old, &[]), &["100000"]);
    assert_eq!(fs::read(&old).unwrap(), b"before");
    assert_eq!(scratch.files(), ["ids.json", "out"]);
}

#[test]
fn refuses_a_level_this_cpu_lacks() {
    let scratch = Scratch::new("isa");
    let (model, tokens) = (path("micro-untied.gguf"), scratch.write("ids.json", "[1]"));
    let lacking = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    let output = logits(&model, &tokens, &scratch.0.join("out"), &["--isa", lacking]);
    assert_refused(&output, &[lacking, "it has: scalar"]);
    let output = logits(&model, &tokens, &scratch.0.join("out"), &["--isa", "mmx"]);
    assert_eq!(output.status.code(), Some(2), "wrong usage");
}

#[test]
fn every_quantised_fixture_runs_from_its_file_alone() {
    let kernels = Kernels::select(None).unwrap();
    for (name, values) in support::QUANTISED {
        let scratch = Scratch::new(name);
        let fixture = Fixture::open(name);
        let tokens = scratch.write("ids.json", format!("{:?}", fixture.prompt()));
        let out = scratch.0.join("out");
        assert!(logits(&path(&format!("{name}.gguf")), &tokens, &out, &[]).status.success(), "{name}");
        let n_vocab = fixture.golden.shape("logits")[1];
        let found = rows(&Tensors::open(&out).floats("logits"), n_vocab, &fixture.golden.ints("positions"));
        let kl = support::mean_kl(&fixture.golden.floats("logits"), &found, n_vocab);
        assert!(kl <= support::KL_FACTOR * support::measured(values, kernels, false), "{name}: {kl}");
    }
}

#[test]
fn the_blocks_logits_are_written_beside_the_trunks() {
    for (name, [tolerance, _]) in FLOAT {
        let (fixture, scratch) = (Fixture::open(name), Scratch::new(&format!("mtp-{name}")));
        let tokens = scratch.write("ids.json", format!("{:?}", fixture.prompt()));
        let out = scratch.0.join("out.safetensors");
        // Token by token products are exact.
        let output = logits(&path(&format!("{name}.gguf")), &tokens, &out, &["--mtp", "--step"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found = Tensors::open(&out);
        assert_eq!(found.names(), ["logits", "mtp_logits"]);
        assert_eq!(found.shape("mtp_logits"), fixture.golden.shape("mtp_logits"));
        assert_close(&found.floats("mtp_logits"), &fixture.golden.floats("mtp_logits"), tolerance, name);
    }
    let scratch = Scratch::new("no-mtp");
    let tokens = scratch.write("ids.json", "[1, 2]");
    let output = logits(&path("q8_0.gguf"), &tokens, &scratch.0.join("out"), &["--mtp"]);
    assert_refused(&output, &["q8_0.gguf", "no block"]);
}
