//! `inspect` says what a file is, whether it runs and why not, and what memory it will take.

use crate::support::program::program;
use crate::support::scratch::Scratch;
use qwen_edge::gguf::writer::Writer;
use qwen_edge::gguf::{Gguf, TensorType};
use qwen_edge::synth::{Dims, Options, Quant, Size, Synth};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

fn inspect(path: &Path, args: &[&str]) -> Output {
    program().arg("inspect").arg(path).args(args).output().unwrap()
}

fn text(path: &Path) -> String {
    let output = inspect(path, &[]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(path: &Path) -> Value {
    let output = inspect(path, &["--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn options(mtp: bool) -> Options {
    Options { dims: Dims::of(Size::Tiny), quant: Quant::Q4_K_M, mtp, newer: mtp, seed: 1 }
}

/// The tiny model with one thing changed: tensors for which `change` returns `None` are left out.
fn changed(change: impl Fn(&str, TensorType) -> Option<TensorType>) -> Vec<u8> {
    changed_from(&Gguf::from_bytes(Synth::text(&options(false)).to_bytes()).unwrap(), change)
}

/// The same of a model.
fn changed_from(gguf: &Gguf, change: impl Fn(&str, TensorType) -> Option<TensorType>) -> Vec<u8> {
    let mut writer = Writer::new();
    for (key, value) in gguf.keys() {
        writer.key(key, value);
    }
    for tensor in gguf.tensors() {
        if let Some(ty) = change(tensor.name, tensor.ty) {
            writer.tensor(tensor.name, ty, tensor.shape);
        }
    }
    writer.to_bytes(|tensor| vec![0; tensor.bytes()])
}

fn problems(report: &Value) -> Vec<&str> {
    report["problems"].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap()).collect()
}

#[test]
fn a_text_model_is_described_with_its_memory() {
    let scratch = Scratch::new("text");
    let path = scratch.write("model.gguf", Synth::text(&options(true)).to_bytes());
    let report = json(&path);
    assert_eq!((&report["kind"], &report["runs"]), (&"text".into(), &true.into()), "{report:#}");
    let model = &report["model"];
    assert_eq!((&model["n_layer"], &model["n_deltanet"], &model["n_attention"]), (&4.into(), &3.into(), &1.into()));
    assert_eq!((&model["n_embd"], &model["mtp"], &model["tied_head"]), (&256.into(), &true.into(), &true.into()));
    assert!(model["mtp_bytes"].as_u64().unwrap() > 0);
    let tokenizer = &report["tokenizer"];
    assert_eq!((&tokenizer["n_tokens"], &tokenizer["n_merges"]), (&2112.into(), &1792.into()));
    assert_eq!((&tokenizer["n_control"], &tokenizer["eos_token_id"]), (&27.into(), &2050.into()));

    assert_eq!(report["chat_template"]["official"], true);

    // One attention layer with one KV head of 256, keys and values, two bytes each.
    let memory = report["memory"].as_array().unwrap();
    for (need, n_ctx) in memory.iter().zip([4096u64, 32_768, 262_144]) {
        assert_eq!(need["n_ctx"], n_ctx);
        assert_eq!(need["kv"], n_ctx * 2 * 256 * 2);
        let part = |name: &str| need[name].as_u64().unwrap();
        let parts = ["weights", "kv", "state", "buffers", "program", "drafts"].map(part);
        assert_eq!(part("total"), parts.iter().sum::<u64>());
        // Three DeltaNet layers: four value heads of 128 x 128, and three inputs of the convolution over 1024 channels.
        assert!(part("state") >= 3 * 4 * (4 * 128 * 128 + 3 * 1024), "{need:#}");
        // The small tensors that are decoded at load count as part of the program.
        let trunk = report["tensor_bytes"].as_u64().unwrap() - model["mtp_bytes"].as_u64().unwrap();
        assert!((trunk - 100_000..=trunk).contains(&part("weights")), "{need:#}");
    }
    assert_eq!(memory.len(), 3);

    let text = text(&path);
    for part in ["text model", "4 = 3 DeltaNet + 1 attention", "Q4_K", "random numbers", "runs          yes", "262144"]
    {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn the_memory_of_the_published_sizes_is_the_known_one() {
    let scratch = Scratch::new("published");
    // A file with holes for weights: nothing is read of them.
    for (size, kv_token, state) in [(Size::B0_8, 12 << 10, 18 << 20), (Size::B4, 32 << 10, 48u64 << 20)] {
        let synth = Synth::text_without_vocab(&Options {
            dims: Dims::of(size),
            quant: Quant::Q4_K_M,
            mtp: false,
            newer: false,
            seed: 0,
        });
        let path = scratch.write("model.gguf", synth.header());
        std::fs::File::options().write(true).open(&path).unwrap().set_len(synth.file_bytes()).unwrap();
        let report = json(&path);
        for need in report["memory"].as_array().unwrap() {
            assert_eq!(need["kv"].as_u64().unwrap(), kv_token * need["n_ctx"].as_u64().unwrap(), "{size:?}");
            let conv = need["state"].as_u64().unwrap() - state;
            assert!((1..4 << 20).contains(&conv), "{size:?}: {conv} bytes beside the recurrent state");
        }
    }
}

#[test]
fn a_vocabulary_alone_is_said_to_be_one() {
    let scratch = Scratch::new("vocabulary");
    let full = Gguf::from_bytes(Synth::text(&options(false)).to_bytes()).unwrap();
    let mut writer = Writer::new();
    for (key, value) in full.keys().filter(|(key, _)| !key.starts_with("qwen35.")) {
        writer.key(key, value);
    }
    let path = scratch.write("vocab.gguf", writer.header());
    let report = json(&path);
    assert_eq!((&report["kind"], &report["runs"]), (&"vocabulary".into(), &false.into()), "{report:#}");
    assert_eq!(report["tokenizer"]["n_tokens"], 2112);
    let text = text(&path);
    assert!(text.contains("vocabulary without weights") && text.contains("does not run"), "{text}");
    assert!(!text.contains("yes"), "{text}");
}

#[test]
fn a_vision_tower_is_said_to_be_one() {
    let scratch = Scratch::new("vision");
    let synth = Synth::vision(&Options { quant: Quant::F16, ..options(false) });
    let path = scratch.write("mmproj.gguf", synth.to_bytes());
    let report = json(&path);
    assert_eq!((&report["kind"], &report["runs"]), (&"vision".into(), &true.into()), "{report:#}");
    assert_eq!(report["vision"]["n_out"], 256);
    assert!(text(&path).contains("text model of width 256"));
}

#[test]
fn another_architecture_is_named_with_what_is_supported() {
    let scratch = Scratch::new("other");
    let mut writer = Writer::new();
    writer.string("general.architecture", "llama").string("general.name", "Some\x1b[31m Llama");
    writer.tensor("token_embd.weight", TensorType::Q8_K, &[4, 256]);
    let path = scratch.write("llama.gguf", writer.to_bytes(|tensor| vec![0; tensor.bytes()]));
    let report = json(&path);
    assert_eq!((&report["kind"], &report["runs"]), (&"other".into(), &false.into()));
    let text = text(&path);
    assert!(text.contains("\"llama\" is not supported") && text.contains("qwen35"), "{text}");
    assert!(text.contains("Q8_K") && text.contains("not supported"), "{text}");
    assert!(!text.contains('\x1b'), "a name of the file reached the terminal with its escape sequence");
}

#[test]
fn templates_are_told_apart() {
    let scratch = Scratch::new("template");
    let full = Gguf::from_bytes(Synth::text(&options(false)).to_bytes()).unwrap();
    let with = |template: Option<&str>| {
        let mut writer = Writer::new();
        for (key, value) in full.keys().filter(|(key, _)| *key != "tokenizer.chat_template") {
            writer.key(key, value);
        }
        if let Some(template) = template {
            writer.string("tokenizer.chat_template", template);
        }
        let report = json(&scratch.write("vocab.gguf", writer.header()));
        let template = &report["chat_template"];
        // That a vocabulary has no weights is one problem; a template that cannot be read is another.
        let sound = problems(&report).len() == 1;
        (template["in_file"].as_bool().unwrap(), template["official"].as_bool().unwrap(), sound)
    };
    let published = full.string("tokenizer.chat_template").unwrap().unwrap();
    // The smaller sizes think only when asked to.
    let smaller = published.replace(
        "enable_thinking is defined and enable_thinking is false",
        "not (enable_thinking is defined and enable_thinking is true)",
    );
    assert_ne!(published, smaller);
    assert_eq!(with(None), (false, true, true));
    assert_eq!(with(Some(published)), (true, true, true));
    assert_eq!(with(Some(&smaller)), (true, true, true));
    assert_eq!(with(Some("{{ messages[0].content }}")), (true, false, true));
    assert_eq!(with(Some("{% if %}")), (true, false, false));
}

#[test]
fn what_is_missing_is_named() {
    let scratch = Scratch::new("missing");
    let bytes = changed(|name, ty| (name != "blk.1.ssm_out.weight").then_some(ty));
    let report = json(&scratch.write("missing.gguf", bytes));
    assert_eq!(report["runs"], false);
    assert!(problems(&report)[0].contains("blk.1.ssm_out.weight"), "{:?}", problems(&report));

    let bytes = changed(|name, ty| Some(if name == "blk.0.ffn_up.weight" { TensorType::Q8_K } else { ty }));
    let report = json(&scratch.write("type.gguf", bytes));
    assert!(
        problems(&report).iter().any(|p| p.contains("without kernels: Q8_K (blk.0.ffn_up.weight)")),
        "{:?}",
        problems(&report)
    );
    assert!(problems(&report).iter().any(|p| p.contains("blk.0.ffn_up.weight")), "{:?}", problems(&report));
}

#[test]
fn a_vocabulary_without_merges_is_named() {
    let scratch = Scratch::new("merges");
    let full = Gguf::from_bytes(Synth::text(&options(false)).to_bytes()).unwrap();
    let mut writer = Writer::new();
    for (key, value) in full.keys().filter(|(key, _)| !key.ends_with(".merges")) {
        writer.key(key, value);
    }
    let report = json(&scratch.write("vocab.gguf", writer.header()));
    assert_eq!(report["runs"], false);
    assert!(problems(&report)[0].contains("merges"), "{:?}", problems(&report));
}

#[test]
fn what_is_no_gguf_is_an_error_with_exit_code_1() {
    let scratch = Scratch::new("nogguf");
    let path = scratch.write("notes.txt", b"just text");
    let output = inspect(&path, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("notes.txt: not a GGUF file"), "{message}");
}

/// The codes of what is unusual about a file.
fn unusual(path: &Path) -> Vec<String> {
    let report = json(path);
    let warnings = report["warnings"].as_array().unwrap();
    warnings.iter().map(|warning| warning["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_is_unusual_about_a_model_is_told_in_words() {
    let scratch = Scratch::new("unusual");
    let made = |options: &Options| {
        let path = scratch.write("model.gguf", Synth::text(options).to_bytes());
        (unusual(&path), json(&path))
    };
    // The published mix has coarse gates; the tiny vocabulary is cut.
    let (codes, report) = made(&options(true));
    assert_eq!(codes, ["coarse_gates", "vocabulary_size"], "{report:#}");
    assert_eq!(report["warnings"][0]["tensor"], "blk.0.ssm_alpha.weight");
    assert!(text(&scratch.0.join("model.gguf")).contains("steer what the recurrent layers forget"));
    let (codes, _) = made(&Options { quant: Quant::Q8_0, ..options(false) });
    assert_eq!(codes, ["draft_block_missing", "vocabulary_size"]);

    // A file with its block cut in half, a head of few bits, and a template that is another or none at all.
    let gguf = Gguf::from_bytes(Synth::text(&Options { quant: Quant::Q8_0, ..options(true) }).to_bytes()).unwrap();
    let with = |template: &str, drop: &str, head: TensorType| {
        let mut writer = Writer::new();
        for (key, value) in gguf.keys().filter(|(key, _)| *key != "tokenizer.chat_template") {
            writer.key(key, value);
        }
        writer.string("tokenizer.chat_template", template);
        for tensor in gguf.tensors().filter(|tensor| tensor.name != drop) {
            writer.tensor(tensor.name, if tensor.name == "token_embd.weight" { head } else { tensor.ty }, tensor.shape);
        }
        scratch.write("model.gguf", writer.to_bytes(|tensor| vec![0; tensor.bytes()]))
    };
    let published = qwen_edge::chat::BUILT_IN;
    let half = with(published, "blk.4.attn_q.weight", TensorType::Q8_0);
    assert_eq!(unusual(&half), ["draft_block_partial", "vocabulary_size"]);
    assert_eq!(unusual(&with(published, "", TensorType::Q4_K)), ["coarse_head", "vocabulary_size"]);
    let coarse = |name: &str, ty| if name.ends_with(".attn_v.weight") { TensorType::Q4_K } else { ty };
    let path = scratch.write("model.gguf", changed_from(&gguf, |name, ty| Some(coarse(name, ty))));
    assert_eq!(unusual(&path), ["coarse_keys_values", "vocabulary_size"]);
    assert!(text(&path).contains("attn_v are Q4_K"), "{}", text(&path));
    let plain = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
    let path = with(plain, "", TensorType::Q8_0);
    assert_eq!(unusual(&path), ["vocabulary_size", "template_differs"]);
    assert!(text(&path).contains("functions on offer"), "{}", text(&path));
    let same = format!("{{% set unused = 1 %}}{published}");
    assert_eq!(unusual(&with(&same, "", TensorType::Q8_0)), ["vocabulary_size", "template_other"]);
    let broken = "{{ messages[0].content.parts.first }}{{ raise_exception('no') }}";
    assert_eq!(unusual(&with(broken, "", TensorType::Q8_0)), ["vocabulary_size", "template_broken"]);
}

#[test]
fn what_fits_is_told_for_every_context_up_to_that_of_the_training() {
    let scratch = Scratch::new("fit");
    let path = scratch.write("model.gguf", Synth::text(&options(true)).to_bytes());
    let output = inspect(&path, &["--fit", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let fit = &report["fit"];
    assert!(fit["read_rate"].as_f64().unwrap() > 1e7 && fit["threads"].as_u64().unwrap() > 0, "{fit:#}");
    let contexts = fit["contexts"].as_array().unwrap();
    let lengths: Vec<u64> = contexts.iter().map(|context| context["n_ctx"].as_u64().unwrap()).collect();
    assert_eq!(lengths.last(), report["model"]["n_ctx_train"].as_u64().as_ref());
    assert!(lengths.is_sorted() && lengths[0] == 4096, "{lengths:?}");
    let small = &contexts[0];
    assert_eq!((&small["kv"], &small["streamed_bytes"]), (&"f16".into(), &0.into()), "{small}");
    let [first, full] = [0, 1].map(|i| small["tokens_per_second"][i].as_f64().unwrap());
    assert!(first >= full && full > 0.0, "{small}");
    // What does not fit says why.
    let whole = |context: &Value| context["tokens_per_second"].is_array() && context["total_bytes"].is_u64();
    assert!(contexts.iter().all(|context| whole(context) || context["obstacle"].is_string()), "{fit:#}");
    let text = String::from_utf8(inspect(&path, &["--fit"]).stdout).unwrap();
    assert!(text.contains("GB/s by") && text.contains("tokens a second"), "{text}");
    assert!(!json(&path).as_object().unwrap().contains_key("fit"));
}

#[test]
fn a_type_that_is_unknown_is_named_with_all_its_tensors() {
    let scratch = Scratch::new("unknown");
    let mut bytes = Synth::text(&options(false)).to_bytes();
    // The number of the type stands behind name, dimensions and shape.
    for name in ["blk.0.ffn_up.weight", "blk.2.ffn_up.weight"] {
        let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap() + name.len();
        bytes[at + 4 + 16..][..4].copy_from_slice(&99u32.to_le_bytes());
    }
    let output = inspect(&scratch.write("unknown.gguf", bytes), &[]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("tensor blk.0.ffn_up.weight (and blk.2.ffn_up.weight): type 99 is unknown"), "{said}");
}
