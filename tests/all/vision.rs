//! The vision half against the float32 reference model: pixels, embeddings, placeholders and positions, and what is said
//! of files that are not what they should be. `tests/vision/make_golden.py` tells where the data comes from.

use crate::support::program::{NOWHERE, program};
use crate::support::scratch::Scratch;
#[cfg(target_os = "linux")]
use crate::support::terminal;
use kernels::Kernels;
use qwen_edge::compute::Compute;
use qwen_edge::gguf::Gguf;
use qwen_edge::vision::positions::{Insert, Position, VisionIds, Walk, expand};
use qwen_edge::vision::preprocess::PATCH_VALUES;
use qwen_edge::vision::resize::{Area, Size, image_size, resize};
use qwen_edge::vision::tower;
use qwen_edge::vision::video::{Options, Video};
use qwen_edge::vision::{GridThw, Picture, PixelValues, Source, VisionModel};
use safetensors::SafeTensors;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vision").join(name)
}

/// The tokens of the test vocabulary.
const IDS: VisionIds = VisionIds { vision_start: 1033, vision_end: 1034, image_pad: 1036, video_pad: 1037 };

/// Golden tensors by name.
struct Golden(Vec<u8>);

impl Golden {
    fn open() -> Golden {
        Golden(std::fs::read(data("golden.safetensors")).unwrap())
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).unwrap().data().to_vec()
    }

    fn i32s(&self, name: &str) -> Vec<u32> {
        self.bytes(name).as_chunks::<4>().0.iter().map(|v| i32::from_le_bytes(*v) as u32).collect()
    }

    fn f32s(&self, name: &str) -> Vec<f32> {
        self.bytes(name).as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect()
    }

    fn grid(&self, name: &str) -> GridThw {
        let grid = self.i32s(name);
        GridThw { t: grid[0] as usize, h: grid[1] as usize, w: grid[2] as usize }
    }

    /// The three axes as rows, turned to one position a token.
    fn positions(&self, name: &str) -> Vec<Position> {
        let axes = self.i32s(name);
        let n = axes.len() / 3;
        (0..n).map(|i| [axes[i], axes[n + i], axes[2 * n + i]]).collect()
    }
}

/// Bytes of `[.., frames, 3, 16, 16]` against normalised values: the largest difference in levels.
fn levels_apart(values: &[f32], bytes: impl Iterator<Item = u8>) -> f32 {
    let mut n = 0;
    let apart = values.iter().zip(bytes.inspect(|_| n += 1)).map(|(v, b)| ((v + 1.0) * 127.5 - f32::from(b)).abs());
    let largest = apart.fold(0.0, f32::max);
    assert_eq!(n, values.len());
    largest
}

#[test]
fn pixel_values_of_a_picture_are_those_of_the_processor() {
    let golden = Golden::open();
    let picture = Picture::decode(&std::fs::read(data("image.png")).unwrap()).unwrap();
    let size = image_size(Size { height: picture.height, width: picture.width }, Area::IMAGE).unwrap();
    let pixels = PixelValues::image(&resize(picture, size));
    assert_eq!(pixels.grid, golden.grid("image.grid_thw"));
    let apart = levels_apart(&pixels.values, golden.bytes("image.pixels").into_iter());
    assert!(apart < 1e-3, "{apart} levels");
}

#[test]
fn pixel_values_of_a_clip_are_those_of_the_processor() {
    let golden = Golden::open();
    let options = Options::default();
    let clip = Video::open(&Source::File(data("frames")), &options).unwrap().read(&options).unwrap();
    assert_eq!(clip.pixels.grid, golden.grid("video.grid_thw"));
    assert_eq!(clip.seconds, [0.25, 1.25, 2.25, 3.25, 4.0]);
    let bytes = golden.bytes("video.pixels");
    let rows = clip.pixels.to_processor_layout();
    for (row, bytes) in rows.chunks_exact(2 * PATCH_VALUES).step_by(7).zip(bytes.chunks_exact(2 * PATCH_VALUES)) {
        let apart = levels_apart(row, bytes.iter().copied());
        assert!(apart < 1e-3, "{apart} levels");
    }
}

/// The golden pixels of the picture: one frame a patch.
fn golden_pixels(golden: &Golden) -> PixelValues {
    let values = golden.bytes("image.pixels").iter().map(|&b| f32::from(b) / 127.5 - 1.0).collect();
    PixelValues { grid: golden.grid("image.grid_thw"), frames: 1, values }
}

fn run_tower(isa: Option<kernels::Isa>, threads: usize, pixels: &PixelValues) -> Vec<f32> {
    let gguf = Gguf::open(&data("mmproj.gguf")).unwrap();
    let model = VisionModel::bind(&gguf).unwrap();
    let mut compute = Compute::new(Kernels::select(isa).unwrap(), threads);
    tower::embed(&model, &mut compute, pixels, |_, _| {})
}

/// Root of the mean square difference over that of `b`.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |v: f32| f64::from(v) * f64::from(v);
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (apart / b.iter().map(|b| square(*b)).sum::<f64>()).sqrt()
}

#[test]
fn embeddings_are_those_of_the_reference_at_every_level() {
    let golden = Golden::open();
    let expected = golden.f32s("image.embeddings");
    let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for isa in kernels::Isa::available() {
        let rows = run_tower(Some(isa), 2, &golden_pixels(&golden));
        let apart = relative(&rows, &expected);
        let worst = rows.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4 && worst < 1e-3 * largest, "{isa}: {apart:.2e} in all, {worst:.2e} at most");
    }
}

#[test]
fn sixteen_bit_weights_give_the_embeddings_of_float_products_at_every_level() {
    let directory = Scratch::new("sixteen-bit");
    let path = directory.0.join("mmproj.gguf");
    let path = path.to_str().unwrap();
    let args = ["synth", "--size", "tiny", "--quant", "f16", "--mmproj", "-o", path];
    assert!(program().args(args).output().unwrap().status.success());
    let gguf = Gguf::open(Path::new(path)).unwrap();
    let model = VisionModel::bind(&gguf).unwrap();
    let pixels = golden_pixels(&Golden::open());
    let rows = |isa| {
        let mut compute = Compute::new(Kernels::select(Some(isa)).unwrap(), 2);
        tower::embed(&model, &mut compute, &pixels, |_, _| {})
    };
    let expected = rows(kernels::Isa::Scalar);
    for isa in kernels::Isa::available() {
        let apart = relative(&rows(isa), &expected);
        println!("{isa}: {apart:.2e} from float products");
        assert!(apart < 2e-3, "{isa}: {apart:.2e}");
    }
}

#[test]
fn both_frames_of_a_still_row_count() {
    let golden = Golden::open();
    let still = golden_pixels(&golden);
    let pair = PixelValues::from_processor_layout(still.grid, &still.to_processor_layout());
    assert!(relative(&run_tower(None, 1, &pair), &run_tower(None, 1, &still)) < 1e-5);
}

#[test]
fn threads_do_not_change_a_bit() {
    let pixels = golden_pixels(&Golden::open());
    let one = run_tower(None, 1, &pixels);
    for threads in [2, 3, 5] {
        assert!(run_tower(None, threads, &pixels) == one, "{threads} threads");
    }
}

#[test]
fn groups_of_a_clip_do_not_see_each_other() {
    let options = Options::default();
    let clip = Video::open(&Source::File(data("frames")), &options).unwrap().read(&options).unwrap();
    let rows = run_tower(None, 2, &clip.pixels);
    let grid = clip.pixels.grid;
    let group = grid.group_patches() * 2 * PATCH_VALUES;
    let alone = PixelValues {
        grid: GridThw { t: 1, ..grid },
        frames: 2,
        values: clip.pixels.values[group..2 * group].to_vec(),
    };
    let n_out = rows.len() / grid.tokens();
    let tokens = grid.group_tokens() * n_out;
    assert_eq!(run_tower(None, 2, &alone), rows[tokens..2 * tokens]);
}

#[test]
fn placeholders_and_positions_of_a_picture_are_those_of_the_processor() {
    let golden = Golden::open();
    let grid = golden.grid("image.grid_thw");
    let expected = golden.i32s("image.prompt_ids");
    let mut short = expected.clone();
    short.dedup_by(|id, before| *id == IDS.image_pad && *before == IDS.image_pad);
    let ids = expand(&short, IDS, &[Insert { grid, seconds: None }], |_| unreachable!()).unwrap();
    assert_eq!(ids, expected);
    assert_eq!(Walk::default().prompt(&ids, IDS, &[grid]).unwrap(), golden.positions("image.positions"));
}

#[test]
fn placeholders_and_positions_of_a_clip_are_those_of_the_processor() {
    let golden = Golden::open();
    let grid = golden.grid("video.grid_thw");
    let expected = golden.i32s("video.prompt_ids");
    let start = expected.iter().position(|&id| id == 27).unwrap();
    let end = expected.iter().rposition(|&id| id == IDS.vision_end).unwrap();
    let wrapped = [IDS.vision_start, IDS.video_pad, IDS.vision_end];
    let short = [&expected[..start], &wrapped, &expected[end + 1..]].concat();
    let insert = Insert { grid, seconds: Some(vec![0.25, 1.25, 2.25, 3.25, 4.0]) };
    // The test vocabulary: digits and punctuation are bytes, the word takes four tokens.
    let text = |stamp: &str| -> Vec<u32> {
        let (number, word) = stamp.split_once(' ').unwrap();
        assert_eq!(word, "seconds>");
        let byte = |c: char| u32::from(c) - 33;
        number.chars().map(byte).chain([500, 435, 67, 82, 29]).collect()
    };
    let ids = expand(&short, IDS, &[insert], text).unwrap();
    assert_eq!(ids, expected);
    assert_eq!(Walk::default().prompt(&ids, IDS, &[grid]).unwrap(), golden.positions("video.positions"));
}

/// Runs the binary; what it says when it fails.
fn complaint(args: &[&str]) -> String {
    let output = program().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_command_writes_what_the_reference_computes() {
    let golden = Golden::open();
    let directory = Scratch::new("vision-command");
    let out = directory.0.join("out.safetensors");
    let mmproj = data("mmproj.gguf");
    let image = data("image.png");
    let (mmproj, image, out) = (mmproj.to_str().unwrap(), image.to_str().unwrap(), out.to_str().unwrap());
    let cache = directory.0.join("cache");
    let mut first = None;
    for run in 0..2 {
        let args = ["vision", mmproj, image, "-o", out, "--cache", cache.to_str().unwrap(), "--threads", "2"];
        let output = program().args(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert_eq!(said.contains("from the cache"), run == 1, "{said}");
        let bytes = std::fs::read(out).unwrap();
        assert_eq!(*first.get_or_insert(bytes.clone()), bytes);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("pixel_values").unwrap().shape(), [280, 1536]);
        assert_eq!(file.tensor("grid_thw").unwrap().data(), golden.bytes("image.grid_thw"));
        let rows = file.tensor("embeddings").unwrap();
        let rows: Vec<f32> = rows.data().as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect();
        assert!(relative(&rows, &golden.f32s("image.embeddings")) < 1e-4);
    }
}

#[test]
fn pictures_that_are_none_get_a_clear_error() {
    let directory = Scratch::new("bad-pictures");
    let mmproj = data("mmproj.gguf");
    let png = std::fs::read(data("image.png")).unwrap();
    let mut wide = Vec::new();
    image::RgbImage::new(10_000, 1).write_to(&mut std::io::Cursor::new(&mut wide), image::ImageFormat::Png).unwrap();
    let mut bmp = Vec::new();
    image::RgbImage::new(2, 2).write_to(&mut std::io::Cursor::new(&mut bmp), image::ImageFormat::Bmp).unwrap();
    bmp[18..26].copy_from_slice(&[0x60, 0xEA, 0, 0, 0x60, 0xEA, 0, 0]);
    for (name, bytes, says) in [
        ("text.png", b"hello".to_vec(), "not a JPEG, PNG, WebP, GIF or BMP picture"),
        ("zero.gif", b"GIF89a\x0A\0\x0A\0\0\0\0;".to_vec(), "broken GIF"),
        ("empty.png", vec![], "empty file"),
        ("cut.png", png[..png.len() / 2].to_vec(), "rows of pixels are there"),
        ("photo.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec(), "a HEIC picture, and pictures are read as JPEG"),
        ("photo.heic", b"\0\0\0\x1Cftypavif\0\0\0\0avifmif1".to_vec(), "avifdec"),
        ("scan.tif", b"II*\0\x08\0\0\0".to_vec(), "a TIFF picture"),
        ("logo.svg", b"<?xml version=\"1.0\"?>\n<svg width=\"1\"/>".to_vec(), "an SVG drawing"),
        ("page.pdf", b"%PDF-1.7\n".to_vec(), "pdftoppm"),
        ("cut.jpg", [&[0xFF, 0xD8, 0xFF, 0xE0][..], &[0; 20]].concat(), "truncated JPEG"),
        ("wide.png", wide, "10000 x 1 pixels is too thin"),
        ("huge.bmp", bmp, "60000 x 60000 pixels is too large"),
    ] {
        let path = directory.write(name, &bytes).to_str().unwrap().to_owned();
        let out = directory.0.join("out.safetensors");
        let said = complaint(&["vision", mmproj.to_str().unwrap(), &path, "-o", out.to_str().unwrap()]);
        assert!(said.contains(says) && said.contains(name), "{name}: {said}");
        assert!(!out.exists());
    }
    for (name, says) in [("/no/such.png", "no such file"), (env!("CARGO_MANIFEST_DIR"), "a directory, not a picture")] {
        let said = complaint(&["vision", mmproj.to_str().unwrap(), name, "-o", NOWHERE]);
        assert!(said.contains(says), "{said}");
        assert_eq!(said.matches(says).count(), 1, "said twice: {said}");
    }
}

#[test]
fn vision_files_that_are_none_get_a_clear_error() {
    let directory = Scratch::new("bad-mmproj");
    let bytes = std::fs::read(data("mmproj.gguf")).unwrap();
    let image = data("image.png");
    let swapped = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let mut bytes = bytes.clone();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    // The value of a u32 key follows its name and its four-byte type.
    let with_number = |key: &str, value: u32| {
        let mut bytes = bytes.clone();
        let at = bytes.windows(key.len()).position(|w| w == key.as_bytes()).unwrap() + key.len() + 4;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    for (name, bytes, says) in [
        ("projector.gguf", swapped("qwen3vl_merger", "qwen2vl_merger"), "projector \"qwen2vl_merger\""),
        ("missing.gguf", swapped("v.blk.1.ffn_up.bias", "v.blk.1.ffn_uq.bias"), "no tensor v.blk.1.ffn_up.bias"),
        (
            "shape.gguf",
            with_number("clip.vision.projection_dim", 192),
            "tensor mm.2.weight: found shape [256, 256], expected [192, 256]",
        ),
        ("heads.gguf", with_number("clip.vision.attention.head_count", 5), "clip.vision.attention.head_count"),
        ("patch.gguf", with_number("clip.vision.patch_size", 14), "clip.vision.patch_size: found 14, expected 16"),
        ("layers.gguf", with_number("clip.vision.block_count", 3), "no tensor v.blk.2.ln1.weight"),
        ("cut.gguf", bytes[..bytes.len() - 9].to_vec(), "cut.gguf"),
    ] {
        let path = directory.write(name, &bytes).to_str().unwrap().to_owned();
        let said = complaint(&["vision", &path, image.to_str().unwrap(), "-o", NOWHERE]);
        assert!(said.contains(says), "{name}: {said}");
    }
    let gguf = Gguf::open(&data("mmproj.gguf")).unwrap();
    let error = VisionModel::bind(&gguf).unwrap().check_text_model(1024).unwrap_err().to_string();
    assert!(error.contains("256") && error.contains("1024"), "{error}");
}

/// A text model and a vision tower of random weights that belong together.
fn synthetic(directory: &Scratch) -> (String, String) {
    let path = |name: &str| directory.0.join(name).to_str().unwrap().to_owned();
    let (model, mmproj) = (path("model.gguf"), path("mmproj-f32.gguf"));
    for (out, more) in [(&model, &[][..]), (&mmproj, &["--mmproj"])] {
        let args = [&["synth", "--size", "tiny", "--quant", "f32", "-o", out][..], more].concat();
        let output = program().args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    (model, mmproj)
}

#[test]
fn an_answer_is_about_the_pictures_given() {
    let directory = Scratch::new("run-image");
    let (model, _) = synthetic(&directory);
    let image = data("image.png").to_str().unwrap().to_owned();
    let frames = data("frames").to_str().unwrap().to_owned();
    let frame = data("frames/000.png").to_str().unwrap().to_owned();
    let answer = |args: &[&str]| {
        let base =
            ["run", &model, "--json", "--greedy", "-n", "8", "--ctx", "1024", "--think", "off", "--threads", "2"];
        let output = program().args(base).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (result["prompt_tokens"].as_u64().unwrap(), result["ids"].clone())
    };
    let (plain, _) = answer(&["-p", "What is it?"]);
    // 70 tokens and the two around them.
    let (with_image, about_image) = answer(&["-p", "What is it?", "--image", &image]);
    assert_eq!(with_image, plain + 72);
    let (_, again) = answer(&["-p", "<image>What is it?", "--image", &image]);
    assert_eq!(about_image, again);
    let (both, _) = answer(&["-p", "What is it?", "--image", &image, "--image", &frame]);
    assert!(both > with_image + 2);
    let (capped, _) = answer(&["-p", "What is it?", "--image", &image, "--image-tokens", "16"]);
    assert!(capped <= plain + 18 && capped > plain + 2);
    // Five groups of 24 tokens, each wrapped and behind its time.
    let (with_clip, _) = answer(&["-p", "What is it?", "--video", &frames, "--fps", "2"]);
    assert!(with_clip > plain + 5 * 26, "{with_clip}, {plain}");
}

#[test]
fn pictures_without_their_tower_or_place_get_a_clear_error() {
    let directory = Scratch::new("run-bad-image");
    let (model, mmproj) = synthetic(&directory);
    let image = data("image.png").to_str().unwrap().to_owned();
    let run = |more: &[&str]| complaint(&[&["run", &model, "-p", "x <image>", "-n", "1", "-q"][..], more].concat());
    let said = run(&["--image", &image, "--image", &image]);
    assert!(said.contains("1 pictures"), "{said}");
    std::fs::remove_file(&mmproj).unwrap();
    let said = run(&["--image", &image]);
    assert!(said.contains("--mmproj"), "{said}");
    let said = complaint(&["run", &model, "-p", "x", "--image", &image, "--mmproj", &model]);
    assert!(said.contains("is no vision tower"), "{said}");
}

/// Runs the binary with `input` on its standard input; standard output and standard error.
fn fed(args: &[&str], input: &[u8]) -> (Vec<u8>, String) {
    let mut child =
        program().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A run that does not read it may close it first.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {said}");
    (output.stdout, said)
}

#[test]
fn a_picture_comes_from_a_file_a_pipe_or_a_url_and_its_times_are_told() {
    use base64::Engine;
    let directory = Scratch::new("image-sources");
    let (model, _) = synthetic(&directory);
    let bytes = std::fs::read(data("frames/000.png")).unwrap();
    // Broken into lines, as tools write base64.
    let base64 = base64::engine::general_purpose::STANDARD.encode(&bytes);
    let lines: Vec<&str> = base64.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let url = format!("data:image/png;base64,{}", lines.join("\n"));
    let file = data("frames/000.png").to_str().unwrap().to_owned();
    let mut answers = Vec::new();
    for spec in [file.as_str(), "-", url.as_str()] {
        let base = ["run", &model, "--json", "--greedy", "-n", "4", "--ctx", "512", "--threads", "1", "-p", "What?"];
        // Beside a picture from elsewhere, what is piped belongs to the prompt.
        let input = if spec == "-" { &bytes[..] } else { b"" };
        let (out, _) = fed(&[&base[..], &["--image", spec]].concat(), input);
        let result: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let seen = &result["vision"][0];
        assert!(seen["tower_seconds"].as_f64().unwrap() > 0.0 && seen["tokens"].as_u64().unwrap() > 0, "{seen}");
        answers.push((result["ids"].clone(), seen["tokens"].clone()));
    }
    assert!(answers[0] == answers[1] && answers[0] == answers[2], "{answers:?}");
}

#[test]
fn caps_on_time_and_memory_are_kept_and_said() {
    let directory = Scratch::new("image-caps");
    let (model, _) = synthetic(&directory);
    let image = data("image.png").to_str().unwrap().to_owned();
    let base = ["run", &model, "--json", "--greedy", "-n", "1", "--ctx", "512", "--threads", "1", "-p", "What?"];
    let tokens = |more: &[&str]| {
        let (out, said) = fed(&[&base[..], &["--image", &image], more].concat(), b"");
        let result: serde_json::Value = serde_json::from_slice(&out).unwrap();
        (result["vision"][0]["tokens"].as_u64().unwrap(), said)
    };
    let (all, _) = tokens(&[]);
    let (few, said) = tokens(&["--image-time", "0.000001"]);
    assert!(few < all && said.contains("of the vision tower are about") && said.contains("reduced"), "{said}");
    let (plenty, _) = tokens(&["--image-time", "1000"]);
    assert_eq!(plenty, all);
    let (within, _) = tokens(&["--mem", "4G"]);
    assert_eq!(within, all);
}

#[test]
fn logits_with_a_picture_do_not_depend_on_how_the_prompt_writes_its_place() {
    let directory = Scratch::new("logits-image");
    let (model, _) = synthetic(&directory);
    let gguf = Gguf::open(Path::new(&model)).unwrap();
    let vocabulary = qwen_edge::tokenizer::Tokenizer::from_gguf(&gguf).unwrap();
    let ids = VisionIds::find(|token| vocabulary.added_token(token)).unwrap();
    let image = data("image.png").to_str().unwrap().to_owned();
    let out = directory.0.join("logits.safetensors");
    let logits = |name: &str, tokens: &[u32], image: &str, more: &[&str]| {
        let tokens = directory.write(name, serde_json::to_string(tokens).unwrap()).to_str().unwrap().to_owned();
        let args = ["logits", &model, "--tokens", &tokens, "-o", out.to_str().unwrap(), "--image", image];
        fed(&[&args[..], more].concat(), b"");
        std::fs::read(&out).unwrap()
    };
    let around = |pads: usize| {
        let pads = vec![ids.image_pad; pads];
        [&[5, 6, ids.vision_start][..], &pads, &[ids.vision_end, 7, 8]].concat()
    };
    let short = logits("short.json", &around(1), &image, &[]);
    let long = logits("long.json", &around(70), &image, &[]);
    assert!(short == long, "one placeholder, or one for each of the 70 tokens");
    let other = logits("other.json", &around(1), data("frames/000.png").to_str().unwrap(), &[]);
    assert!(short != other, "another picture");
    let fewer = logits("fewer.json", &around(1), &image, &["--image-tokens", "16"]);
    assert!(fewer.len() < short.len());
}

#[test]
fn clips_that_are_none_get_a_clear_error() {
    let directory = Scratch::new("bad-clips");
    let (model, _) = synthetic(&directory);
    let empty = directory.0.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mixed = directory.0.join("mixed");
    std::fs::create_dir(&mixed).unwrap();
    std::fs::copy(data("frames/000.png"), mixed.join("0.png")).unwrap();
    std::fs::write(mixed.join("1.png"), b"not one").unwrap();
    let image = data("image.png").to_str().unwrap().to_owned();
    let mp4 = directory.write("clip.mp4", b"\0\0\0\x20ftypisom and no more").to_str().unwrap().to_owned();
    for (clip, says) in [
        (empty.to_str().unwrap(), "no frames found"),
        (mixed.to_str().unwrap(), "1.png\": not a JPEG"),
        (&image, "a still picture, not a clip"),
        (&mp4, "ffmpeg"),
        ("/no/such.avi", "no such file"),
    ] {
        let said = complaint(&["run", &model, "-p", "x", "-n", "1", "-q", "--video", clip]);
        assert!(said.contains(says), "{clip}: {said}");
    }
}

/// A picture of `tests/vision/pictures`.
fn picture(name: &str) -> String {
    data("pictures").join(name).to_str().unwrap().to_owned()
}

/// What `vision` says of a picture: the line of its report, and the report for programs.
fn look(image: &str, more: &[&str]) -> (String, serde_json::Value) {
    let mmproj = data("mmproj.gguf").to_str().unwrap().to_owned();
    let (out, said) = fed(&[&["vision", &mmproj, image, "-o", NOWHERE, "--json"][..], more].concat(), b"");
    (said, serde_json::from_slice(&out).unwrap())
}

#[test]
fn pictures_without_their_end_are_read_with_a_note() {
    for (name, mark) in [("no-end.jpg", "its end marker is missing"), ("no-iend.png", "its IEND chunk is missing")] {
        let (said, report) = look(&picture(name), &[]);
        assert!(said.contains(": 160 x 96") && said.contains(mark), "{said}");
        assert!(report["notes"][0].as_str().unwrap().starts_with(mark), "{report}");
    }
    let (said, report) = look(&picture("baseline.jpg"), &[]);
    assert!(!said.contains("missing") && report["notes"] == serde_json::json!([]), "{said}");
}

#[test]
fn transparent_pictures_are_read_as_asked() {
    let directory = Scratch::new("transparent");
    let path = directory.0.join("clear.png");
    let shown = |x| if x < 32 { image::Rgba([0, 0, 0, 255]) } else { image::Rgba([0, 0, 0, 0]) };
    image::RgbaImage::from_fn(64, 64, |x, _| shown(x)).save(&path).unwrap();
    let path = path.to_str().unwrap();
    for (more, says) in [
        (&[][..], "transparent pixels laid over white"),
        (&["--alpha", "white"], "transparent pixels laid over white"),
        (&["--alpha", "drop"], "transparency dropped"),
    ] {
        let (said, report) = look(path, more);
        assert!(said.contains(says) && report["notes"][0] == says, "{said}");
    }
    // What is looked at is another picture.
    let (model, _) = synthetic(&directory);
    let answer = |more: &[&str]| {
        let base = ["run", &model, "--json", "--greedy", "-n", "8", "--ctx", "512", "-p", "What?", "--image", path];
        let (out, _) = fed(&[&base[..], more].concat(), b"");
        serde_json::from_slice::<serde_json::Value>(&out).unwrap()["vision"][0]["notes"].clone()
    };
    assert_ne!(answer(&[]), answer(&["--alpha", "drop"]));
}

#[test]
fn a_picture_is_found_however_its_name_was_pasted() {
    let directory = Scratch::new("pasted");
    let path = directory.0.join("my picture's.png");
    std::fs::copy(picture("rows.png"), &path).unwrap();
    let path = path.to_str().unwrap();
    // A drive comes behind a slash.
    let url = path.replace('\\', "/").replace(' ', "%20");
    let url = format!("file://{}{url}", if url.starts_with('/') { "" } else { "/" });
    let mut pasted = vec![path.to_owned(), format!("\"{path}\""), url.replace("//", "//localhost"), url];
    if cfg!(unix) {
        // As its terminals write it.
        pasted.push(path.replace(' ', "\\ ").replace('\'', "\\'"));
        pasted.push(format!("'{}' ", path.replace('\'', "'\\''")));
    }
    for spec in pasted {
        let (said, report) = look(&spec, &[]);
        assert!(said.contains("61 x 45"), "{spec}: {said}");
        let source = report["source"].as_str().unwrap().replace('/', std::path::MAIN_SEPARATOR_STR);
        assert_eq!(source, path, "{spec}");
    }
}

#[test]
fn no_error_repeats_a_picture_that_came_as_text() {
    let mmproj = data("mmproj.gguf").to_str().unwrap().to_owned();
    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD.encode(std::fs::read(picture("rows.png")).unwrap());
    let (said, _) = look(&format!("DATA:image/png;name=\"a.png\";base64,{}", base64.trim_end_matches('=')), &[]);
    assert!(said.starts_with("data URL: 61 x 45"), "{said}");
    for spec in [
        format!("data:image/png;base64,{}", &base64[..base64.len() / 2]),
        format!("data:image/png;base64,{}?", &base64[..80]),
        format!("data:image/png,{base64}"),
        format!("data:image/png;base64;{}", base64.replace(',', "")),
        format!("dta:image/png;base64,{base64}"),
        base64[..200].to_owned(),
        base64.clone(),
    ] {
        let said = complaint(&["vision", &mmproj, &spec, "-o", NOWHERE]);
        assert!(said.len() < 300 && !said.contains("VBORw0KGgo"), "{said}");
    }
}

/// A text model that answers at once, with what lies beside it.
fn chat_with(directory: &Scratch, beside: &[(&str, &[u8])]) -> String {
    let (model, mmproj) = synthetic(directory);
    std::fs::remove_file(mmproj).unwrap();
    for (name, bytes) in beside {
        directory.write(name, bytes);
    }
    model
}

#[test]
#[cfg(target_os = "linux")]
fn a_vision_file_beside_the_model_that_does_not_fit_is_a_note_and_the_chat_goes_on() {
    if std::env::var_os("QWEN_EDGE_RUNNER").is_some() {
        return println!("skipped: starts the program on a terminal");
    }
    let whole = std::fs::read(data("mmproj.gguf")).unwrap();
    // Rows of 256 values, as the tiny model takes them; with one more block of 32 they are another model's.
    let mut other = whole.clone();
    let key = b"clip.vision.projection_dim";
    let at = other.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 4;
    other[at..at + 4].copy_from_slice(&288u32.to_le_bytes());
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(&str, Files<'_>, &str); 4] = [
        ("other", &[("mmproj-F16.gguf", &other)], "mm.2.weight"),
        ("half", &[("mmproj-F16.gguf", &whole[..100_000])], "mmproj-F16.gguf"),
        ("garbage", &[("mmproj.gguf", b"<html>not found</html>")], "mmproj.gguf"),
        ("two", &[("mmproj-F16.gguf", b""), ("mmproj-BF16.gguf", &whole[..9])], "nor can another one be used"),
    ];
    for (name, beside, says) in cases {
        let directory = Scratch::new(&format!("misfit-{name}"));
        let model = chat_with(&directory, beside);
        let image = picture("rows.png");
        let mut command = program();
        command.args(["run", &model, "--ctx", "512", "-n", "2", "--greedy"]);
        let (status, shown) = terminal::chat(&mut command, &["hello", &format!("/image {image}")]);
        assert_eq!(status, Some(0), "{name}: {shown}");
        let note = "no pictures: the vision file beside the model does not fit it: ";
        assert!(shown.contains(&format!("note: {note}")) && shown.contains(says), "{name}: {shown}");
        assert!(shown.contains("[read ") && shown.contains(&format!("error: {note}")), "{name}: {shown}");
        // With something to look at it is an error, one that was named is so always, and one that is not wanted never.
        let named = directory.0.join(beside[0].0).to_str().unwrap().to_owned();
        let run = ["run", &model, "-p", "x", "-n", "1", "-q"];
        let said = complaint(&[&run[..], &["--image", &image]].concat());
        assert!(said.contains("does not fit it") && said.contains(says), "{name}: {said}");
        let said = complaint(&[&run[..], &["--mmproj", &named]].concat());
        assert!(said.contains(beside[0].0), "{name}: {said}");
        fed(&run, b"");
        command = program();
        command.args(["run", &model, "--ctx", "512", "--no-mmproj"]);
        let (status, shown) = terminal::chat(&mut command, &[&format!("/image {image}")]);
        assert!(status == Some(0) && !shown.contains("does not fit"), "{name}: {shown}");
        assert!(shown.contains("--no-mmproj leaves the vision file out"), "{name}: {shown}");
    }
}

#[test]
fn the_vision_file_that_fits_is_chosen_and_none_when_none_is_wanted() {
    let directory = Scratch::new("several");
    let (model, mmproj) = synthetic(&directory);
    let fitting = std::fs::read(&mmproj).unwrap();
    std::fs::remove_file(mmproj).unwrap();
    directory.write("mmproj-F16.gguf", b"half a download");
    directory.write("mmproj-model-BF16.gguf", b"");
    directory.write("mmproj-Other-4B-F32.gguf", &fitting);
    let image = picture("rows.png");
    let base = ["run", &model, "--json", "--greedy", "-n", "1", "--ctx", "512", "-p", "What?", "--image", &image];
    let (out, _) = fed(&base, b"");
    let result: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(result["vision"][0]["size"], serde_json::json!([61, 45]));
    let said = complaint(&[&base[..], &["--no-mmproj"]].concat());
    assert!(said.contains("--no-mmproj leaves it out"), "{said}");
}

#[test]
fn a_position_table_of_no_dimensions_is_an_error() {
    let directory = Scratch::new("position");
    let mut bytes = std::fs::read(data("mmproj.gguf")).unwrap();
    // In the directory a name is followed by the number of dimensions and the dimensions.
    let name = b"v.position_embd.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    let n = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(n, 2);
    bytes[at..at + 4].fill(0);
    bytes.drain(at + 4..at + 4 + 8 * n);
    let path = directory.write("mmproj.gguf", &bytes).to_str().unwrap().to_owned();
    let image = picture("rows.png");
    let (model, _) = synthetic(&directory);
    for args in [
        &["vision", &path, &image, "-o", NOWHERE][..],
        &["run", &model, "-p", "x", "--mmproj", &path],
        &["run", &model, "-p", "x", "--mmproj", &path, "--image", &image],
    ] {
        let said = complaint(args);
        assert!(said.contains("v.position_embd.weight: found shape []"), "{said}");
    }
    let (out, _) = fed(&["inspect", &path], b"");
    assert!(String::from_utf8(out).unwrap().contains("found shape []"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_model_without_tokens_for_pictures_chats_with_text_alone() {
    if std::env::var_os("QWEN_EDGE_RUNNER").is_some() {
        return println!("skipped: starts the program on a terminal");
    }
    let directory = Scratch::new("no-tokens");
    let (model, _) = synthetic(&directory);
    let mut bytes = std::fs::read(&model).unwrap();
    let (token, other) = (b"<|vision_start|>", b"<|vision_stort|>");
    while let Some(at) = bytes.windows(token.len()).position(|window| window == token) {
        bytes[at..at + token.len()].copy_from_slice(other);
    }
    std::fs::write(&model, bytes).unwrap();
    let mut command = program();
    command.args(["run", &model, "--ctx", "512", "-n", "2", "--greedy"]);
    let (status, shown) = terminal::chat(&mut command, &["hello"]);
    assert!(status == Some(0) && shown.contains("[read "), "{shown}");
    assert!(shown.contains("note: no pictures: the model's vocabulary has no token <|vision_start|>"), "{shown}");
    let said = complaint(&["run", &model, "-p", "x", "-q", "--image", &picture("rows.png")]);
    assert!(said.contains("no token <|vision_start|>"), "{said}");
}

#[test]
#[cfg(target_os = "linux")]
fn pictures_are_looked_at_by_the_threads_that_read_the_prompt() {
    if std::env::var_os("QWEN_EDGE_RUNNER").is_some() {
        return println!("skipped: counts the program's threads");
    }
    let directory = Scratch::new("one-team");
    let (model, _) = synthetic(&directory);
    let image = picture("rows.png");
    let args = ["run", &model, "-q", "-p", "a", "--greedy", "--ctx", "32k", "--threads", "4", "--image", &image];
    let mut child = program().args(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default());
    let workers = names.filter(|name| name.starts_with("worker-")).count();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(workers, 3, "beside the thread that leads them");
}
