//! Files that are not what they should be: edited headers, damaged weights, and what is taken for a model. Each is refused
//! or used; none ends the program in a panic, or takes time and memory that its size does not justify.

use crate::support::allocation;
use crate::support::header::{ARRAY, Header, STRING, string};
use crate::support::ollama;
use crate::support::program::program;
use crate::support::scratch::Scratch;
use qwen_edge::chat::{Request, Template};
use qwen_edge::compute::Compute;
use qwen_edge::engine::context::Context;
use qwen_edge::engine::load;
use qwen_edge::engine::plan::{Plan, Wish};
use qwen_edge::engine::runner::Settings;
use qwen_edge::gguf::Gguf;
use qwen_edge::model::{Config, Model};
use qwen_edge::platform::machine::Facts;
use qwen_edge::tokenizer::{Special, Tokenizer};
use qwen_edge::vision::VisionModel;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn header_of(file: &str) -> Header {
    Header::read(&std::fs::read(repository(file)).unwrap())
}

/// Random numbers (SplitMix64), the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A number that is likely to hurt.
    fn number(&mut self) -> u64 {
        let edge =
            self.pick(&[0u64, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 33, 63, 64, 100, 127, 128, 255, 256, 1000, 4096]);
        match self.below(6) {
            0 => self.next(),
            1 => 1u64 << self.below(64),
            2 => (1u64 << self.below(64)).wrapping_sub(1),
            3 => edge.wrapping_neg(),
            _ => edge,
        }
    }

    /// The bytes of a value of fixed size.
    fn scalar(&mut self, ty: u32) -> Vec<u8> {
        let floats = [f64::NAN, f64::INFINITY, -f64::INFINITY, 0.0, -0.0, -1.0, 1e-40, 1e30, 1e300, 0.5, 1.5];
        match ty {
            6 => (self.pick(&floats) as f32).to_le_bytes().to_vec(),
            12 => self.pick(&floats).to_le_bytes().to_vec(),
            7 => vec![self.pick(&[0, 1, 1, 2, 255])],
            _ => {
                let size = [1, 1, 2, 2, 4, 4, 0, 0, 0, 0, 8, 8][ty as usize];
                self.number().to_le_bytes()[..size].to_vec()
            }
        }
    }

    /// The bytes of a value of some type.
    fn value(&mut self, ty: u32) -> Vec<u8> {
        match ty {
            STRING => {
                let texts: [&[u8]; 9] = [
                    b"",
                    b" ",
                    b"qwen35",
                    b"clip",
                    b"\xff\xfe",
                    b"\x1b[2J",
                    b"{{ [1] * 1000000 }}",
                    b"{% for i in range(99999) %}x{% endfor %}",
                    "\u{4e16}\u{754c}".as_bytes(),
                ];
                string(self.pick(&texts))
            }
            ARRAY => {
                let element = self.pick(&[0, 4, 5, 6, 7, STRING, 10]);
                let n = self.pick(&[0, 1, 2, 3, 4, 5, 8, 64, 1000]);
                let mut out = element.to_le_bytes().to_vec();
                out.extend((n as u64).to_le_bytes());
                (0..n).for_each(|_| out.extend(self.value(element)));
                out
            }
            _ => self.scalar(ty),
        }
    }

    /// Changes one thing of a header, or two.
    fn edit(&mut self, header: &mut Header) -> String {
        let mut done = String::new();
        for _ in 0..1 + self.below(2) {
            done += &match self.below(10) {
                0 => {
                    let key = header.keys.remove(self.below(header.keys.len()));
                    format!("without {}; ", key.name.escape_ascii())
                }
                1 => {
                    let (from, to) = (self.below(header.keys.len()), self.below(header.keys.len()));
                    (header.keys[to].ty, header.keys[to].value) =
                        (header.keys[from].ty, header.keys[from].value.clone());
                    let [from, to] = [from, to].map(|i| header.keys[i].name.escape_ascii().to_string());
                    format!("{to} as {from}; ")
                }
                2 => {
                    let i = self.below(header.tensors.len());
                    let number = self.number();
                    let tensor = &mut header.tensors[i];
                    match self.below(4) {
                        0 => tensor.ty = number as u32,
                        1 => tensor.offset = number,
                        2 => tensor.dims.truncate(tensor.dims.len() / 2),
                        _ => {
                            let at = self.below(tensor.dims.len().max(1));
                            if let Some(dim) = tensor.dims.get_mut(at) {
                                *dim = number;
                            }
                        }
                    }
                    format!("tensor {} {:?} {}; ", tensor.name.escape_ascii(), tensor.dims, tensor.ty)
                }
                // A bit of a value.
                3 => {
                    let i = self.below(header.keys.len());
                    let value = &mut header.keys[i].value;
                    let at = self.below(value.len());
                    value[at] ^= 1 << self.below(8);
                    format!("{} bit of byte {at}; ", header.keys[i].name.escape_ascii())
                }
                // Another value of the same type.
                4..=6 => {
                    let i = self.below(header.keys.len());
                    let ty = header.keys[i].ty;
                    header.keys[i].value = self.value(ty);
                    let key = &header.keys[i];
                    format!("{} = {:?}; ", key.name.escape_ascii(), &key.value[..key.value.len().min(24)])
                }
                // Any value of any type.
                _ => {
                    let i = self.below(header.keys.len());
                    let ty = self.pick(&[0, 1, 2, 3, 4, 5, 6, 7, STRING, ARRAY, 10, 11, 12]);
                    (header.keys[i].ty, header.keys[i].value) = (ty, self.value(ty));
                    let key = &header.keys[i];
                    format!("{} = {ty} {:?}; ", key.name.escape_ascii(), &key.value[..key.value.len().min(24)])
                }
            };
        }
        done
    }
}

/// Uses a file in all the ways of the program. What is refused on the way is as good as what is not.
fn put_to_use(bytes: Vec<u8>) {
    let Ok(gguf) = Gguf::from_bytes(bytes) else { return };
    if let Ok(tower) = VisionModel::bind(&gguf) {
        std::hint::black_box(tower.config.n_out);
    }
    if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
        std::hint::black_box(tokenizer.encode("Hello, <|im_end|> 1 2 3", Special::Parse));
    }
    if let Ok(template) = Template::from_gguf(&gguf) {
        let message = json!({"role": "user", "content": "Hi"});
        let _ = template.render(&Request::new(vec![message], true));
    }
    let Ok(config) = Config::from_gguf(&gguf) else { return };
    if Model::check(&gguf).is_err() {
        return;
    }
    let load = load::mapped_load(&gguf, &config, 1);
    let wish = Wish { n_ctx: Some(64), n_batch: Some(8), ..Wish::default() };
    let Ok(plan) = Plan::choose(&load, &wish, &Facts::now()) else { return };
    let Ok(model) = Model::bind(&gguf).map(Arc::new) else { return };
    let settings = Settings { n_checkpoint: 0, ..plan.settings };
    let mut context =
        Context::new(model.clone(), Compute::new(kernels::Kernels::select(None).unwrap(), 1), settings).unwrap();
    let rows = context.text(&[0, 0, 0]);
    context.prefill(&rows, None, |_| true).unwrap();
    std::hint::black_box(context.compute_logits(0));
}

/// Ten thousand edits of the headers of a text model, of one in Ollama's layout with a tower inside, and of a vision tower.
#[test]
fn edited_headers_take_little_time_and_memory_and_never_a_panic() {
    let names = ["tests/fixtures/q8_0.gguf", "tests/vision/mmproj.gguf"];
    let [text, tower] = names.map(|name| Gguf::open(&repository(name)).unwrap());
    let inside = Header::read(&ollama::file(&text, Some(&tower), ollama::Layout::LIBRARY));
    let [text, tower] = names.map(header_of);
    let files = [text.clone(), text, inside, tower];
    for seed in 0..10_000 {
        let mut random = Random(seed);
        let mut header = files[seed as usize % 4].clone();
        let edit = random.edit(&mut header);
        let bytes = header.write();
        let limit = (64 << 20) + 10 * bytes.len();
        let start = Instant::now();
        let peak = allocation::peak(|| {
            let used = std::panic::catch_unwind(|| put_to_use(bytes));
            assert!(used.is_ok(), "edit {seed}: {edit}");
        });
        assert!(start.elapsed() < Duration::from_secs(2), "edit {seed}: {:?}: {edit}", start.elapsed());
        assert!(peak < limit, "edit {seed}: {peak} bytes: {edit}");
    }
}

fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Three hundred of them through the program, which is killed where it takes too long.
#[test]
fn edited_headers_give_an_answer_or_a_sentence_from_the_program() {
    let scratch = Scratch::new("edited");
    let files = ["models/demo-q4_k_m.gguf", "models/mmproj-demo.gguf"].map(header_of);
    for seed in 0..300 {
        let mut random = Random(1 << 32 | seed);
        let tower = seed % 4 == 3;
        let mut header = files[usize::from(tower)].clone();
        let edit = random.edit(&mut header);
        let file = scratch.write("edited.gguf", header.write());
        let mut command = program();
        match (tower, seed % 3) {
            (_, 0) => command.arg("inspect").arg(&file),
            (false, _) => command.args(["run", "-p", "Hi", "-n", "2", "--greedy"]).arg(&file),
            (true, _) => {
                let model = repository("models/demo-q4_k_m.gguf");
                let image = repository("models/demo/images/00.png");
                command.args(["run", "-p", "Hi", "-n", "2", "--greedy", "--image-tokens", "64"]).arg(model);
                command.arg("--image").arg(image).arg("--mmproj").arg(&file)
            }
        };
        let start = Instant::now();
        let output = command.stdin(Stdio::null()).output().unwrap();
        // A debug build on a busy machine: the promise is two seconds on one at rest.
        assert!(start.elapsed() < Duration::from_secs(10), "edit {seed}: {:?}: {edit}", start.elapsed());
        assert!(matches!(output.status.code(), Some(0 | 1)), "edit {seed}: {edit}\n{}", text_of(&output));
        assert!(!output.stderr.contains(&0x1b), "edit {seed}: {edit}\n{}", text_of(&output));
    }
}

fn run(file: &Path) -> Output {
    let mut command = program();
    command.args(["run", "-p", "Hi", "-n", "4", "--greedy"]).arg(file).stdin(Stdio::null());
    command.output().unwrap()
}

/// Asserts that `run` refuses a file with a message that has all these words.
fn refused(file: &Path, words: &[&str]) {
    let output = run(file);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{}: {text}", file.display());
    for word in words {
        assert!(text.contains(word), "{}: no {word:?} in: {text}", file.display());
    }
    assert!(output.stdout.is_empty(), "{}: {text}", file.display());
}

#[test]
fn what_is_no_model_says_what_it_is() {
    let scratch = Scratch::new("kinds");
    let demo = header_of("models/demo-q8_0.gguf");
    let only = |names: &[&str]| {
        let mut header = demo.clone();
        header.tensors.retain(|tensor| names.iter().any(|name| tensor.name.starts_with(name.as_bytes())));
        header
    };

    let mut imatrix = only(&["output_norm.weight"]);
    imatrix.keys.clear();
    imatrix.set_string("general.type", "imatrix");
    imatrix.tensors[0].name = b"blk.0.attn_qkv.weight.in_sum2".to_vec();
    refused(&scratch.write("imatrix.gguf", imatrix.write()), &["importance matrix"]);
    let report = program().arg("inspect").arg(scratch.0.join("imatrix.gguf")).output().unwrap();
    assert!(text_of(&report).contains("an importance matrix (imatrix)"), "{}", text_of(&report));

    let mut lora = only(&["output_norm.weight"]);
    lora.set_string("general.type", "adapter");
    lora.set_string("adapter.type", "lora");
    lora.tensors[0].name = b"blk.0.ffn_up.weight.lora_a".to_vec();
    refused(&scratch.write("lora.gguf", lora.write()), &["LoRA adapter", "merge"]);

    let block = only(&["blk.4.", "token_embd.", "output_norm."]);
    refused(&scratch.write("block.gguf", block.write()), &["multi-token-prediction block alone"]);
    let report = program().arg("inspect").arg(scratch.0.join("block.gguf")).output().unwrap();
    assert!(text_of(&report).contains("a multi-token-prediction block alone"), "{}", text_of(&report));

    let vocabulary = only(&[]);
    refused(&scratch.write("vocabulary.gguf", vocabulary.write()), &["vocabulary without weights"]);

    refused(&repository("models/mmproj-demo.gguf"), &["vision tower", "--mmproj"]);

    let mut other = demo.clone();
    other.set_string("general.architecture", "llama");
    refused(&scratch.write("other.gguf", other.write()), &["architecture \"llama\"", "qwen35"]);

    let safetensors = [&64u64.to_le_bytes()[..], b"{\"__metadata__\":{\"format\":\"pt\"}}"].concat();
    for (name, bytes, word) in [
        ("pointer", &b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5\n"[..], "Git LFS pointer"),
        ("page", b"<!DOCTYPE html>\n<html><head><title>Log in</title>", "web page"),
        ("weights", &safetensors, "safetensors"),
        ("archive", b"PK\x03\x04\x14\0\0\0\x08\0", "ZIP"),
        ("empty", b"", "empty"),
        ("text", b"Hello", "not a GGUF file"),
    ] {
        refused(&scratch.write(name, bytes), &[word]);
    }
    refused(&scratch.0, &["not a regular file"]);

    let demo = std::fs::read(repository("models/demo-q8_0.gguf")).unwrap();
    refused(&scratch.write("half.gguf", &demo[..demo.len() / 2]), &["download"]);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let scratch = Scratch::new("pipe");
    let pipe = scratch.0.join("pipe.gguf");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo works");
    refused(&pipe, &["not a regular file"]);
}

#[test]
fn weights_that_give_no_numbers_are_named() {
    let scratch = Scratch::new("damaged");
    let nan = 0x7e00u16.to_le_bytes();
    for (name, place, row) in [
        ("blk.2.ffn_down.weight", "behind layer 2 (DeltaNet)", 3),
        ("blk.3.attn_v.weight", "behind layer 3 (attention)", 1),
        ("output_norm.weight", "behind the head", 0),
    ] {
        let mut header = header_of("models/demo-q8_0.gguf");
        let tensor = header.tensor(name).clone();
        // Blocks of Q8_0 begin with a scale in f16; the norm is f32.
        let row_bytes = if tensor.ty == 8 { tensor.dims[0] as usize / 32 * 34 } else { 0 };
        let at = tensor.offset as usize + row * row_bytes;
        match tensor.ty {
            8 => header.data[at..at + 2].copy_from_slice(&nan),
            _ => header.data[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes()),
        }
        let file = scratch.write("damaged.gguf", header.write());
        refused(&file, &["NaN or infinity", place, &format!("tensor {name}"), &format!("in row {row}")]);
    }
}

#[test]
fn layers_that_are_not_there_are_refused_at_once() {
    let scratch = Scratch::new("layers");
    for bits in [15, 24, 31] {
        let mut header = header_of("models/demo-q8_0.gguf");
        header.set_u32("qwen35.block_count", 1 << bits);
        let start = Instant::now();
        refused(&scratch.write("layers.gguf", header.write()), &["qwen35.block_count"]);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}
