//! What people's model files have that llama.cpp's converter does not write: the layout of Ollama's library, advice that
//! makes no sense, and tensors that a program must not pass over.

use crate::support::ollama;
use crate::support::ollama::Layout;
use crate::support::program::program;
use crate::support::rewrite::{Rewrite, Tensor};
use crate::support::scratch::Scratch;
use crate::support::{FLOAT, Fixture, assert_close, context, distance, levels, read};
use kernels::Way;
use qwen_edge::engine::context::{Context, text_rows};
use qwen_edge::engine::draft::Draft;
use qwen_edge::gguf::{Gguf, Value};
use qwen_edge::model::Model;
use qwen_edge::model::config::ValueHeads;
use qwen_edge::vision::VisionModel;
use qwen_edge::vision::resize::Area;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

fn models(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name)
}

fn demo() -> Gguf {
    Gguf::open(&models("demo-q8_0.gguf")).unwrap()
}

fn demo_tower() -> Gguf {
    Gguf::open(&models("mmproj-demo.gguf")).unwrap()
}

fn run(model: &Path, args: &[&str]) -> Output {
    let always = ["--json", "--greedy", "--ctx", "1024", "-n", "24", "--threads", "2"];
    program().arg("run").arg(model).args(always).args(args).output().unwrap()
}

/// What the program answers, and what it says beside it.
#[track_caller]
fn answer(model: &Path, args: &[&str]) -> (serde_json::Value, String) {
    let output = run(model, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {said}");
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

/// The sentence with which a file is refused.
#[track_caller]
fn refusal(model: &Path, args: &[&str]) -> String {
    let output = run(model, args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: ") && said.lines().count() == 1, "{said:?}");
    said
}

fn inspect(model: &Path) -> serde_json::Value {
    let output = program().arg("inspect").arg(model).arg("--json").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn texts(list: &serde_json::Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

const COUNT: [&str; 2] = ["-p", "Count from 1 to 5."];

/// Arguments for a picture and a question about it.
fn look(image: &str) -> Vec<String> {
    let image = models("demo/images").join(image).to_str().unwrap().to_owned();
    vec!["--image".to_owned(), image, "-p".to_owned(), "What is in the picture?".to_owned()]
}

#[test]
fn a_file_in_ollamas_layout_answers_as_the_plain_one_does() {
    let scratch = Scratch::new("answers");
    let (text, tower) = (demo(), demo_tower());
    let (plain, mmproj) = (models("demo-q8_0.gguf"), models("mmproj-demo.gguf"));
    let (expected, _) = answer(&plain, &COUNT);
    assert_eq!(expected["text"], "1, 2, 3, 4, 5");
    let looks = ["03.png", "17.png"].map(look);
    let seen: Vec<serde_json::Value> = looks
        .iter()
        .map(|look| {
            let with_file = ["--mmproj", mmproj.to_str().unwrap()];
            answer(&plain, &[&with_file[..], &look.iter().map(String::as_str).collect::<Vec<_>>()].concat()).0
        })
        .collect();
    assert_ne!(seen[0]["ids"], seen[1]["ids"], "pictures must matter");

    for template in [false, true] {
        for drafting in [false, true] {
            for inside in [false, true] {
                let layout = Layout { template, drafting, grouped: false };
                let what = format!("{layout:?}, tower {inside}");
                let name = format!("sha256-{template}-{drafting}-{inside}");
                let file = scratch.write(&name, ollama::file(&text, inside.then_some(&tower), layout));
                let (found, said) = answer(&file, &COUNT);
                assert_eq!(found["ids"], expected["ids"], "{what}");
                assert!(!said.contains("note:"), "{what}: {said}");
                // What lies beside the trunk is no part of what a token reads.
                let memory = |result: &serde_json::Value, part: &str| result["memory"][part].as_u64().unwrap();
                assert_eq!(memory(&found, "weights_bytes"), memory(&expected, "weights_bytes"), "{what}");
                if inside {
                    for (look, seen) in looks.iter().zip(&seen) {
                        let look: Vec<&str> = look.iter().map(String::as_str).collect();
                        let (found, _) = answer(&file, &look);
                        assert_eq!(found["ids"], seen["ids"], "{what}: {look:?}");
                        for part in ["weights_bytes", "vision_bytes"] {
                            assert_eq!(memory(&found, part), memory(seen, part), "{what}: {part}");
                        }
                    }
                }
            }
        }
    }
    let blind = scratch.0.join("sha256-false-true-false");
    let look: Vec<&str> = looks[0].iter().map(String::as_str).collect();
    assert!(refusal(&blind, &look).contains("pictures need a vision file"));
    // A tower that is named comes before the one inside.
    let file = scratch.0.join("sha256-false-true-true");
    let (found, _) = answer(&file, &[&["--mmproj", mmproj.to_str().unwrap()][..], &look].concat());
    assert_eq!(found["ids"], seen[0]["ids"]);
    let other = scratch.write("no-tower.gguf", b"GGUF");
    assert!(refusal(&file, &[&["--mmproj", other.to_str().unwrap()][..], &look].concat()).contains("no-tower.gguf"));
    // With everything in memory nothing is counted twice.
    let held = |model: &Path, args: &[&str]| answer(model, &[&["--no-mmap"][..], args, &look].concat()).0;
    assert_eq!(held(&file, &[])["ids"], seen[0]["ids"]);
}

#[test]
fn a_tower_inside_gives_the_rows_of_the_one_beside() {
    let (text, tower) = (demo(), demo_tower());
    let file = Gguf::from_bytes(ollama::file(&text, Some(&tower), Layout::LIBRARY)).unwrap();
    let (inside, beside) = (VisionModel::bind(&file).unwrap(), VisionModel::bind(&tower).unwrap());
    assert_eq!(inside.config, beside.config);
    for frames in [1, 2] {
        assert!(inside.patch_embd(frames).bytes() == beside.patch_embd(frames).bytes(), "{frames} frames");
    }
    assert!(inside.position_embd == beside.position_embd && inside.mm_2.bias == beside.mm_2.bias);
    for (a, b) in inside.blocks.iter().zip(&beside.blocks) {
        for (a, b) in [(&a.attn_q, &b.attn_q), (&a.attn_k, &b.attn_k), (&a.attn_v, &b.attn_v), (&a.ffn_up, &b.ffn_up)] {
            assert!(**a.weight.stored() == **b.weight.stored() && a.bias == b.bias);
        }
    }
    assert_eq!(qwen_edge::vision::weights::copies(&file), qwen_edge::vision::weights::copies(&tower));
}

#[test]
fn a_file_in_ollamas_layout_is_described() {
    let scratch = Scratch::new("described");
    let file = scratch.write("blob", ollama::file(&demo(), Some(&demo_tower()), Layout::LIBRARY));
    let (report, plain) = (inspect(&file), inspect(&models("demo-q8_0.gguf")));
    assert_eq!((&report["kind"], &report["runs"]), (&"text".into(), &true.into()), "{report:#}");
    assert_eq!(report["model"], plain["model"]);
    for (need, plain) in report["memory"].as_array().unwrap().iter().zip(plain["memory"].as_array().unwrap()) {
        for part in ["n_ctx", "weights", "kv", "state", "buffers"] {
            assert_eq!(need[part], plain[part], "{part}");
        }
    }
    assert_eq!((&report["vision"]["n_layer"], &report["vision"]["inside"]), (&3.into(), &true.into()));
    assert_eq!(report["chat_template"]["in_file"], false);
    assert_eq!(texts(&report["notes"]), [""; 0]);
    let text = program().arg("inspect").arg(&file).output().unwrap().stdout;
    let text = String::from_utf8(text).unwrap();
    for part in ["text model with a vision tower", "vision        3 layers, width 128", "runs          yes"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

/// Draft logits of all pairs of a prompt, and the trunk's logits.
fn logits(model: &Arc<Model>, prompt: &[u32]) -> [Vec<f32>; 2] {
    let mut context: Context = context(model, levels()[0], prompt.len(), prompt.len());
    assert!(context.enable_drafts(Draft::Auto));
    let trunk = read(&mut context, prompt, prompt.len());
    let hidden = context.hidden(0, prompt.len()).to_vec();
    let n = prompt.len() - 1;
    let y =
        context.draft(&hidden[..n * model.config.n_embd], &text_rows(&prompt[1..], 1), Way::Prompt).unwrap().to_vec();
    [trunk, context.compute_logits_behind(&y).to_vec()]
}

#[test]
fn either_order_of_value_heads_and_either_name_of_the_drafting_block_give_the_reference_logits() {
    for (name, [tolerance, _]) in FLOAT {
        let fixture = Fixture::open(name);
        let prompt = fixture.prompt();
        let [trunk, drafts] = logits(&fixture.model(), &prompt);
        for grouped in [false, true] {
            let layout = Layout { grouped, ..Layout::LIBRARY };
            let bytes = ollama::file(&fixture.gguf, None, layout);
            let gguf = Gguf::from_bytes(bytes).unwrap();
            let model = Arc::new(Model::bind(&gguf).unwrap());
            let order = if grouped { ValueHeads::Grouped } else { ValueHeads::Tiled };
            assert_eq!((model.config.value_heads, &model.config.layers), (order, &fixture.model().config.layers));
            let [found, found_drafts] = logits(&model, &prompt);
            assert_close(&found, &trunk, tolerance / 10.0, &format!("{name}, {order:?}"));
            assert_close(&found_drafts, &drafts, tolerance / 10.0, &format!("drafts of {name}, {order:?}"));
        }
        // The wrong order shows.
        let mut file = ollama::text_model(&fixture.gguf, Layout { grouped: true, ..Layout::LIBRARY });
        file.keys.boolean("qwen35.ssm.v_head_reordered", true);
        let gguf = Gguf::from_bytes(file.bytes()).unwrap();
        let [found, _] = logits(&Arc::new(Model::bind(&gguf).unwrap()), &prompt);
        assert!(distance(&found, &trunk) > 10.0 * tolerance, "{name}");
    }
}

#[test]
fn each_of_ollamas_differences_is_read_on_its_own() {
    let scratch = Scratch::new("differences");
    let plain = demo();
    let (expected, _) = answer(&models("demo-q8_0.gguf"), &COUNT);
    let check = |name: &str, file: Rewrite| {
        let path = scratch.write(name, file.bytes());
        assert_eq!(answer(&path, &COUNT).0["ids"], expected["ids"], "{name}");
    };
    let mut file = Rewrite::of(&plain, &["qwen35.attention.head_count_kv"]);
    file.keys.u32s("qwen35.attention.head_count_kv", &[0, 0, 0, 1]);
    check("heads", file);
    let mut file = Rewrite::of(&plain, &["qwen35.attention.head_count_kv", "qwen35.full_attention_interval"]);
    file.keys.key("qwen35.attention.head_count_kv", Value::U64(1));
    check("default-interval", file);
    let mut file = Rewrite::of(&plain, &[]);
    file.tensors.iter_mut().for_each(|t| t.name = t.name.replace("ssm_dt.bias", "ssm_dt"));
    check("decay", file);
    for key in ["rope.dimension_sections", "rope.mrope_section", "mrope_sections"] {
        let mut file = Rewrite::of(&plain, &["qwen35.rope.dimension_sections"]);
        file.keys.i32s(&format!("qwen35.{key}"), &[11, 11, 10]);
        let gguf = Gguf::from_bytes(file.bytes()).unwrap();
        assert_eq!(Model::bind(&gguf).unwrap().config.rope.sections, [11, 11, 10], "{key}");
    }
    let mut file = Rewrite::of(&plain, &[]);
    file.keys.boolean("qwen35.rope.mrope_interleaved", false);
    let path = scratch.write("sections-apart", file.bytes());
    assert!(refusal(&path, &COUNT).contains("qwen35.rope.mrope_interleaved: found false"));
}

#[test]
fn heads_that_contradict_each_other_are_refused() {
    let scratch = Scratch::new("heads");
    for (heads, says) in [
        (&[0, 0, 0, 0][..], "some of them positive"),
        (&[], "some of them positive"),
        (&[0, 2, 0, 1], "found 2 and 1"),
        (&[0, 0, 1], "found 3 values, expected 4 values or more"),
        // Layers that are of the other kind.
        (&[0, 0, 1, 0], "tensor blk.2.attn_qkv.weight: found shape [512, 256]"),
    ] {
        let mut file = Rewrite::of(&demo(), &["qwen35.attention.head_count_kv"]);
        file.keys.u32s("qwen35.attention.head_count_kv", heads);
        let said = refusal(&scratch.write("heads.gguf", file.bytes()), &COUNT);
        assert!(said.contains(says), "{heads:?}: {said}");
    }
}

#[test]
fn a_tower_inside_that_cannot_be_used_leaves_the_text_model() {
    let scratch = Scratch::new("broken-tower");
    let look = look("03.png");
    let look: Vec<&str> = look.iter().map(String::as_str).collect();
    let (expected, _) = answer(&models("demo-q8_0.gguf"), &COUNT);
    type Change = fn(&mut Rewrite);
    let deepstack = "qwen35.vision.deepstack_visual_indexes";
    let cases: [(&str, &[&str], Change, &str); 5] = [
        ("missing", &[], |f| f.tensors.retain(|t| t.name != "v.blk.1.norm2.bias"), "no tensor v.blk.1.ln2.bias"),
        (
            "deepstack",
            &[deepstack],
            |f| _ = f.keys.i32s("qwen35.vision.deepstack_visual_indexes", &[5]),
            "no deep-stack layers",
        ),
        (
            "frames",
            &["qwen35.vision.temporal_patch_size"],
            |f| _ = f.keys.u32("qwen35.vision.temporal_patch_size", 1),
            "temporal_patch_size: found 1, expected 2",
        ),
        (
            "unknown",
            &[],
            |f| f.tensors.push(Tensor::f32("v.pre_ln.weight", &[128], &[1.0; 128])),
            "tensor v.pre_ln.weight is not known here",
        ),
        (
            "width",
            &[],
            |f| {
                for (name, shape) in [("linear_fc2.weight", vec![128, 512]), ("linear_fc2.bias", vec![128])] {
                    let tensor = f.tensor(&format!("v.merger.{name}"));
                    tensor.bytes.truncate(tensor.bytes.len() / 2);
                    tensor.shape = shape;
                }
            },
            "rows of 128 values",
        ),
    ];
    let whole = Gguf::from_bytes(ollama::file(&demo(), Some(&demo_tower()), Layout::LIBRARY)).unwrap();
    for (name, skip, change, says) in cases {
        let path = scratch.write(name, with_keys(&whole, skip, change));
        assert_eq!(answer(&path, &COUNT).0["ids"], expected["ids"], "{name}");
        let said = refusal(&path, &look);
        assert!(said.contains(says), "{name}: {said}");
        let report = inspect(&path);
        assert_eq!(report["runs"], true, "{report:#}");
        assert!(texts(&report["notes"])[0].contains(says), "{report:#}");
    }
}

#[test]
fn tokens_of_pictures_are_found_by_their_ids_too() {
    let scratch = Scratch::new("vision-ids");
    let look = look("03.png");
    let look: Vec<&str> = look.iter().map(String::as_str).collect();
    let whole = Gguf::from_bytes(ollama::file(&demo(), Some(&demo_tower()), Layout::LIBRARY)).unwrap();
    let (expected, said) = answer(&scratch.write("whole", with_keys(&whole, &[], |_| ())), &look);
    assert!(!said.contains("is ignored"), "{said}");

    // Another text for the token, in vocabulary and template.
    let (tokens, template) = ("tokenizer.ggml.tokens", "tokenizer.chat_template");
    let renamed: Vec<Vec<u8>> = whole
        .strings(tokens)
        .unwrap()
        .unwrap()
        .map(|token| if token == b"<|image_pad|>" { b"<|picture|>".to_vec() } else { token.to_vec() })
        .collect();
    let text = demo().string(template).unwrap().unwrap().replace("<|image_pad|>", "<|picture|>");
    let other = with_keys(&whole, &[tokens], |f| {
        f.keys.strings(tokens, renamed.iter()).string(template, &text);
    });
    assert_eq!(answer(&scratch.write("renamed", other), &look).0["ids"], expected["ids"]);

    // Ids that cannot be, or are those of other tokens.
    let key = "qwen35.image_token_id";
    for (id, note) in [(4096, "found 4096, expected less than 4096"), (7, "found 7, and <|image_pad|> is ")] {
        let other = with_keys(&whole, &[key], |f| _ = f.keys.u32(key, id));
        let (found, said) = answer(&scratch.write("wrong", other), &look);
        assert_eq!(found["ids"], expected["ids"]);
        assert!(said.contains(&format!("note: key {key} is ignored: {note}")), "{said}");
    }
}

#[test]
fn limits_of_pictures_are_read_as_areas_and_never_stand_in_the_way() {
    let whole = Gguf::from_bytes(ollama::file(&demo(), Some(&demo_tower()), Layout::LIBRARY)).unwrap();
    let keys = ["qwen35.vision.shortest_edge", "qwen35.vision.longest_edge"];
    let limits = |min: Value<'_>, max: Value<'_>| {
        let bytes = with_keys(&whole, &keys, |f| _ = f.keys.key(keys[0], min).key(keys[1], max));
        let gguf = Gguf::from_bytes(bytes).unwrap();
        let tower = VisionModel::bind(&gguf).unwrap();
        (tower.config.area, tower.notes.len())
    };
    let area = |min, max| Area { min, max };
    assert_eq!(limits(Value::U32(2048), Value::U64(1 << 20)), (area(2048, 1 << 20), 0));
    assert_eq!(limits(Value::U32(0), Value::U32(0)), (Area::IMAGE, 0));
    assert_eq!(limits(Value::I32(-1), Value::U32(768)), (Area::IMAGE, 2));
    assert_eq!(limits(Value::F32(f32::NAN), Value::U64(u64::MAX)), (Area::IMAGE, 2));
    assert_eq!(limits(Value::U32(1 << 20), Value::U32(1 << 18)), (area(1 << 18, 1 << 18), 0));
}

/// A file with other keys, or tensors.
fn with_keys(gguf: &Gguf, skip: &[&str], change: impl Fn(&mut Rewrite)) -> Vec<u8> {
    let mut file = Rewrite::of(gguf, skip);
    change(&mut file);
    file.bytes()
}

/// Runs the demo with other keys: the answer must be the demo's, and notes must say what was ignored.
#[track_caller]
fn assert_advice(name: &str, skip: &[&str], change: impl Fn(&mut Rewrite), notes: &[&str]) {
    let scratch = Scratch::new(&format!("advice-{name}"));
    let path = scratch.write("model.gguf", with_keys(&demo(), skip, change));
    let (found, said) = answer(&path, &COUNT);
    assert_eq!(found["text"], "1, 2, 3, 4, 5", "{name}: {said}");
    let lines: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("note: ")).collect();
    assert_eq!(lines.len(), notes.len(), "{name}: {said}");
    for (line, note) in lines.iter().zip(notes) {
        assert!(line.contains(note), "{name}: {line}");
    }
    let report = inspect(&path);
    assert_eq!((&report["runs"], texts(&report["notes"])), (&true.into(), lines), "{name}");
    let quiet = program().arg("run").arg(&path).args(["-q", "--greedy", "-n", "1"]).args(COUNT).output().unwrap();
    assert!(quiet.status.success() && quiet.stderr.is_empty(), "{name}");
}

const NEXTN: &str = "qwen35.nextn_predict_layers";

#[test]
fn keys_of_a_drafting_block_never_stand_in_the_way() {
    let blocks = |n| move |file: &mut Rewrite| _ = file.keys.u32("qwen35.block_count", n);
    let gone = |file: &mut Rewrite| file.tensors.retain(|t| !t.name.starts_with("blk.4."));
    let ignored = "nextn_predict_layers is ignored: ";
    assert_advice("gone", &[], gone, &[ignored]);
    assert_advice("joint-gone", &[], |f| f.tensors.retain(|t| !t.name.contains(".nextn.")), &[ignored]);
    // Half a block is none.
    let lacking = &["the block for drafting is ignored: it has no tensor blk.4.nextn.enorm.weight"];
    assert_advice("half", &[], |f| f.tensors.retain(|t| t.name != "blk.4.nextn.enorm.weight"), lacking);
    // The count was mended, the other key was not.
    let trunk_alone = |f: &mut Rewrite| {
        gone(f);
        blocks(4)(f);
    };
    assert_advice("trunk-alone", &["qwen35.block_count"], trunk_alone, &[ignored]);
    let three = |f: &mut Rewrite| {
        gone(f);
        f.keys.u32(NEXTN, 3);
    };
    assert_advice("three-gone", &[NEXTN], three, &[ignored]);
    // The block is there, and the keys are of another mind.
    assert_advice("uncounted", &["qwen35.block_count", NEXTN], blocks(4), &[]);
    assert_advice("no-key", &[NEXTN], |_| (), &[]);
    assert_advice("two", &[NEXTN], |f| _ = f.keys.u32(NEXTN, 2), &[]);
    assert_advice("too-many", &[NEXTN], |f| _ = f.keys.u32(NEXTN, 5), &["found 5, expected less than 5"]);
    assert_advice("below-zero", &[NEXTN], |f| _ = f.keys.key(NEXTN, Value::I32(-1)), &["found i32 -1"]);
    assert_advice("text", &[NEXTN], |f| _ = f.keys.string(NEXTN, "one"), &["found a string"]);
}

#[test]
fn ids_of_tokens_that_cannot_be_are_ignored() {
    let id = |name: &str| format!("tokenizer.ggml.{name}_token_id");
    for name in ["padding", "eos", "eot", "eom"] {
        let key = &*id(name);
        let says = [&*format!("key {key} is ignored: ")];
        assert_advice(name, &[key], |f| _ = f.keys.u32(key, 4096), &says);
        assert_advice(&format!("{name}-none"), &[key], |f| _ = f.keys.key(key, Value::I32(-1)), &says);
        assert_advice(&format!("{name}-text"), &[key], |f| _ = f.keys.string(key, "\u{1b}[2J"), &says);
    }
    let key = "tokenizer.ggml.eos_token_ids";
    assert_advice("ends", &[], |f| _ = f.keys.i32s(key, &[4065, 99_999]), &["one of its values is 99999"]);
    assert_advice("ends-text", &[], |f| _ = f.keys.string(key, "4065"), &[key]);
    assert_advice("ends-right", &[&id("eos")], |f| _ = f.keys.i32s(key, &[4065, 4063]), &[]);
}

#[test]
fn merges_of_unknown_tokens_are_ignored() {
    let plain = demo();
    let merges = || plain.strings("tokenizer.ggml.merges").unwrap().unwrap();
    let with = |extra: &[&[u8]]| {
        let all: Vec<Vec<u8>> = merges().chain(extra.iter().copied()).map(<[u8]>::to_vec).collect();
        move |file: &mut Rewrite| _ = file.keys.strings("tokenizer.ggml.merges", all.iter())
    };
    let key = ["tokenizer.ggml.merges"];
    let n = merges().len();
    let first = format!("merge {n} of tokenizer.ggml.merges is ignored: \"zzz qqq\" makes a token that is not");
    assert_advice("one", &key, with(&[b"zzz qqq"]), &[&first]);
    let many = format!("merge {n} of tokenizer.ggml.merges (and 2 more) is ignored");
    assert_advice("three", &key, with(&[b"noblank", b"\x1b[2J \xff", b"a zzz"]), &[&many]);
}

/// Adds a tensor to a model and says how it is refused.
#[track_caller]
fn refusal_with(gguf: &Gguf, name: &str, args: &[&str], mmproj: bool) -> String {
    let scratch = Scratch::new(&format!("extra-{}", name.escape_default().to_string().replace('\\', "_")));
    let mut file = Rewrite::of(gguf, &[]);
    file.tensors.push(Tensor::f32(name, &[1], &[2.0]));
    let path = scratch.write("extra.gguf", file.bytes());
    if mmproj {
        return refusal(&models("demo-q8_0.gguf"), &[&["-q", "--mmproj", path.to_str().unwrap()], args].concat());
    }
    refusal(&path, args)
}

#[test]
fn a_tensor_that_would_be_left_out_is_refused_by_its_name() {
    let plain = demo();
    for (name, says) in [
        ("blk.3.attn_qkv.scale", "take another quantisation"),
        ("blk.0.attn_q.input_scale", "take another quantisation"),
        ("output.scale", "take another quantisation"),
        ("rope_freqs.weight", "rotary frequencies"),
        ("rope_factors_long.weight", "rotary frequencies"),
        ("blk.0.rope_factors_short.weight", "rotary frequencies"),
        ("blk.3.attn_q.bias", "a bias"),
        ("output.bias", "a bias"),
        ("blk.2.ffn_up.weight.lora_a", "LoRA"),
        ("blk.1.ffn_gate_exps.weight", "mixture of experts"),
        ("blk.1.xyz.weight", "not known here"),
        ("blk.0.ssm_dt", "not known here"),
        ("something.weight", "not known here"),
        ("blk.6.attn_norm.weight", "block_count: found 5, expected more"),
    ] {
        let said = refusal_with(&plain, name, &COUNT, false);
        assert!(said.contains(name) && said.contains(says), "{name}: {said}");
    }
    let said = refusal_with(&plain, "blk.1.\u{1b}[2J", &COUNT, false);
    assert!(said.contains("\\u{1b}[2J") && !said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn a_tensor_of_a_tower_that_would_be_left_out_is_refused_by_its_name() {
    let look = look("03.png");
    let look: Vec<&str> = look.iter().map(String::as_str).collect();
    for (name, says) in [
        ("v.blk.0.attn_qkv.scale", "take another quantisation"),
        ("v.deepstack.5.fc1.weight", "deep-stack"),
        ("v.blk.2.attn_q_norm.weight", "not known here"),
        ("mm.4.weight", "not known here"),
        ("model.image_newline", "not known here"),
    ] {
        let said = refusal_with(&demo_tower(), name, &look, true);
        assert!(said.contains(name) && said.contains(says), "{name}: {said}");
    }
}

#[test]
fn what_no_answer_depends_on_may_lie_in_the_file() {
    let scratch = Scratch::new("harmless");
    for name in
        ["blk.4.nextn.embed_tokens.weight", "blk.4.attn_q.bias", "mtp.embed_tokens.weight", "v.blk.0.ln1.weight"]
    {
        let mut file = Rewrite::of(&demo(), &[]);
        file.tensors.push(Tensor::f32(name, &[1], &[1.0]));
        let (found, said) = answer(&scratch.write("extra.gguf", file.bytes()), &COUNT);
        assert_eq!(found["text"], "1, 2, 3, 4, 5", "{name}: {said}");
    }
    let look = look("03.png");
    let look: Vec<&str> = look.iter().map(String::as_str).collect();
    let mut file = Rewrite::of(&demo_tower(), &[]);
    for name in ["a.conv1d.1.weight", "mm.a.mlp.1.weight"] {
        file.tensors.push(Tensor::f32(name, &[1], &[1.0]));
    }
    let path = scratch.write("tower", file.bytes());
    answer(&models("demo-q8_0.gguf"), &[&["--mmproj", path.to_str().unwrap()], &look[..]].concat());
}
