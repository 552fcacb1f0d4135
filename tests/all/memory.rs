//! What `--mem`, a limit on the address space and the plan promise of memory, as seen from outside the process.

#[cfg(target_os = "linux")]
use crate::support::http::Server;
use crate::support::program::{emulated, json, told};
#[cfg(target_os = "linux")]
use crate::support::rewrite::Rewrite;
use crate::support::scratch::Scratch;
#[cfg(target_os = "linux")]
use qwen_edge::gguf::Gguf;
use qwen_edge::synth::{Dims, ExpertDims, Options, Quant, Size, Synth, VisionDims};
use serde_json::Value;
#[cfg(target_os = "linux")]
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file removed at the end, with its directory.
struct Model(PathBuf, #[expect(dead_code, reason = "it is there to be dropped")] Scratch);

impl Model {
    fn path(name: &str) -> Model {
        let scratch = Scratch::new("memory");
        Model(scratch.0.join(name), scratch)
    }

    fn options() -> Options {
        let vision = VisionDims { depth: 2, n_embd: 256, n_head: 4, n_ff: 1024, n_pos: 2304 };
        let dims = Dims { n_embd: 512, n_layer: 8, n_ff: 1024, n_vocab: 4096, vision, ..Dims::of(Size::B0_8) };
        Options { dims, quant: Quant::Q8_0, mtp: true, newer: false, seed: 1 }
    }

    /// A model of random weights, some 65 MB.
    fn new(name: &str) -> Model {
        let model = Model::path(&format!("{name}.gguf"));
        std::fs::write(&model.0, Synth::text(&Model::options()).to_bytes()).unwrap();
        model
    }

    /// As [`Model::new`], with most of its some 200 MB in feed-forwards.
    fn wide(name: &str) -> Model {
        let options = Model::options();
        let dims = Dims { n_ff: 12_288, ..options.dims };
        let model = Model::path(&format!("{name}.gguf"));
        std::fs::write(&model.0, Synth::text(&Options { dims, ..options }).to_bytes()).unwrap();
        model
    }

    /// As [`Model::new`], with most of its some 250 MB in experts, `n` in each of 8 layers, of which some are used more.
    fn sparse(name: &str, n: usize) -> Model {
        let options = Model::options();
        let experts = ExpertDims { n_expert: n, n_used: 4, n_ff: 16_384 / n, skew: 1.0 };
        let dims = Dims { n_ff: 256, experts: Some(experts), ..options.dims };
        let model = Model::path(&format!("{name}.gguf"));
        std::fs::write(&model.0, Synth::text(&Options { dims, mtp: false, ..options }).to_bytes()).unwrap();
        // So that it can be taken out of the page cache.
        std::fs::File::open(&model.0).unwrap().sync_all().unwrap();
        model
    }

    /// A vision tower of random weights for it.
    fn tower() -> Model {
        let model = Model::path("mmproj.gguf");
        std::fs::write(&model.0, Synth::vision(&Options { quant: Quant::F16, ..Model::options() }).to_bytes()).unwrap();
        model
    }

    /// A picture.
    fn picture(side: u32) -> Model {
        let model = Model::path(&format!("{side}.png"));
        let pixel = |x: u32, y: u32| image::Rgb([(x ^ y) as u8, (x / 3) as u8, (y / 5) as u8]);
        image::RgbImage::from_fn(side, side, pixel).save(&model.0).unwrap();
        model
    }
}

/// Runs the program on `model`; with `kib`, under that limit on its address space.
fn run(model: &Path, args: &str, kib: Option<u64>) -> Output {
    if let Some(kib) = kib {
        return run_below(&format!("ulimit -v {kib}; "), model, args);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_qwen-edge"));
    command.arg("run").arg(model).args(["--raw", "--greedy", "-p", "one two three", "-n", "3", "--json"]);
    command.args(args.split_whitespace()).output().unwrap()
}

/// Runs the program on `model` in a shell that did something before.
fn run_below(limit: &str, model: &Path, args: &str) -> Output {
    let command = format!("{limit}exec \"$0\" run \"$1\" --raw --greedy -p 'one two three' -n 3 --json {args}");
    // A backtrace of an allocation that failed would need memory itself.
    Command::new("sh")
        .env_remove("RUST_BACKTRACE")
        .args(["-c", &command, env!("CARGO_BIN_EXE_qwen-edge")])
        .arg(model)
        .output()
        .unwrap()
}

#[test]
fn a_full_context_stays_below_the_ceiling_and_below_the_plan() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no memory of its own to measure");
    }
    let model = Model::new("ceiling");
    let mut longest = 0;
    for megabytes in [130, 170, 250, 600] {
        for args in ["", "--no-mmap"] {
            let result = json(&run(&model.0, &format!("--touch --mem {megabytes}M {args}"), None));
            let number = |key: &str| result["memory"][key].as_u64().unwrap();
            let (peak, planned) = (number("peak_bytes"), number("planned_bytes"));
            println!("--mem {megabytes}M {args}: planned {planned}, peak {peak}, context {}", number("ctx"));
            assert!(planned <= megabytes * 1_000_000 && peak <= planned, "{megabytes} MB {args}: {}", result["memory"]);
            longest = longest.max(number("ctx"));
        }
    }
    assert!(longest > 32_768, "{longest}");
}

#[test]
fn eight_full_conversations_stay_below_the_ceiling_and_inside_a_control_group() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no memory of its own to measure");
    }
    let model = Model::new("eight");
    let prompts = Model::path("prompts.jsonl");
    let lines = (0..16).map(|i| format!("{{\"prompt\": \"{}\"}}\n", "one two three ".repeat(150 + i)));
    std::fs::write(&prompts.0, lines.collect::<String>()).unwrap();
    let mut answers = Vec::new();
    for limit in [None, Some(250_000_000)] {
        let group = limit.and_then(|bytes| Group::new("eight", bytes));
        if limit.is_some() && group.is_none() {
            println!("skipped: no control group can be made here");
            continue;
        }
        let enter = group.as_ref().map_or(String::new(), |group| group.enter(&model.0));
        let mem = if limit.is_none() { "--mem 250M" } else { "" };
        let command =
            format!("{enter}exec \"$0\" batch \"$1\" \"$2\" --raw --greedy -n 90 --parallel 8 --touch -t 2 {mem}");
        let output = Command::new("sh")
            .args(["-c", &command, env!("CARGO_BIN_EXE_qwen-edge")])
            .args([&model.0, &prompts.0])
            .output()
            .unwrap();
        let told = told(&output);
        assert!(output.status.success(), "{told}");
        let peak =
            told.lines().rev().find_map(|line| line.strip_prefix("memory: ")?.split_once(" MB at the most, of "));
        let (peak, planned) = peak.unwrap_or_else(|| panic!("no peak in {told}"));
        let number = |text: &str| text.split(' ').next().unwrap().parse::<f64>().unwrap();
        let (peak, planned) = (number(peak), number(planned));
        println!("peak {peak} MB, planned {planned} MB");
        // The limit of a group is on what is in memory; the plan also counts what the program took before it was made.
        assert!(peak <= planned && peak <= 250.0 && (limit.is_some() || planned <= 250.0), "{told}");
        answers.push(output.stdout);
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]) && answers[0].iter().filter(|&&b| b == b'\n').count() == 16
    );
}

#[test]
fn weights_above_the_ceiling_are_streamed_below_it_and_answer_the_same() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no memory of its own to measure");
    }
    let model = Model::wide("streamed");
    let ask = |megabytes: u64| {
        let args = format!("--touch --ctx 512 --kv q8_0 --batch 32 --mem {megabytes}M");
        json(&run(&model.0, &args, None))
    };
    let whole = ask(400);
    let number = |result: &Value, key: &str| result["memory"][key].as_u64().unwrap();
    assert_eq!(number(&whole, "streamed_bytes"), 0);
    let weights = number(&whole, "weights_bytes");
    for megabytes in [weights / 1_000_000, weights * 2 / 3_000_000] {
        let result = ask(megabytes);
        let (peak, planned) = (number(&result, "peak_bytes"), number(&result, "planned_bytes"));
        println!("--mem {megabytes}M of {weights}: {}", result["memory"]);
        assert!(number(&result, "streamed_bytes") > 0, "{}", result["memory"]);
        assert!(planned <= megabytes * 1_000_000 && peak <= planned, "{}", result["memory"]);
        assert_eq!(result["ids"], whole["ids"]);
    }
}

#[test]
fn layers_are_streamed_by_reading_as_well_as_by_mapping() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no memory of its own to measure");
    }
    // Layers of two sizes, as published files have them.
    let options = Options { quant: Quant::Q4_K_M, mtp: false, ..Model::options() };
    let dims = Dims { n_ff: 12_288, n_layer: 16, ..options.dims };
    let model = Model::path("read.gguf");
    std::fs::write(&model.0, Synth::text(&Options { dims, ..options }).to_bytes()).unwrap();
    let ask = |args: &str| json(&run(&model.0, &format!("--touch --ctx 512 --kv q8_0 --batch 32 {args}"), None));
    let whole = ask("");
    let number = |result: &Value, key: &str| result["memory"][key].as_u64().unwrap();
    let megabytes = number(&whole, "weights_bytes") * 4 / 5_000_000;
    for way in ["map", "read"] {
        let result = ask(&format!("--mem {megabytes}M --stream {way}"));
        let (peak, planned) = (number(&result, "peak_bytes"), number(&result, "planned_bytes"));
        println!("--stream {way}: {}", result["memory"]);
        assert!(number(&result, "streamed_bytes") > 0, "{}", result["memory"]);
        assert!(planned <= megabytes * 1_000_000 && peak <= planned, "{}", result["memory"]);
        assert_eq!(result["ids"], whole["ids"], "{way}");
    }
}

/// What the program says of its experts.
fn experts(result: &Value) -> (u64, u64, f64, u64) {
    let experts = &result["memory"]["experts"];
    let number = |key: &str| experts[key].as_u64().unwrap_or_else(|| panic!("no {key} in {result}"));
    (number("kept"), number("of"), experts["hit_rate"].as_f64().unwrap(), number("read_bytes"))
}

#[test]
fn experts_above_the_ceiling_are_read_below_it_and_answer_the_same() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no memory of its own to measure");
    }
    let model = Model::sparse("experts", 32);
    let args = "--touch --ctx 512 --kv q8_0 -n 24";
    let whole = json(&run(&model.0, args, None));
    assert!(whole["memory"]["experts"].is_null(), "{}", whole["memory"]);
    let number = |result: &Value, key: &str| result["memory"][key].as_u64().unwrap();
    let weights = number(&whole, "weights_bytes");
    let mut most = 0;
    for megabytes in [weights * 3 / 5_000_000, weights * 4 / 5_000_000, weights / 1_000_000] {
        let output = run(&model.0, &format!("{args} --mem {megabytes}M"), None);
        let result = json(&output);
        let (peak, planned) = (number(&result, "peak_bytes"), number(&result, "planned_bytes"));
        println!("--mem {megabytes}M of {weights}: {}", result["memory"]);
        assert!(planned <= megabytes * 1_000_000 && peak <= planned, "{}", result["memory"]);
        let (kept, of, hit_rate, read) = experts(&result);
        assert!(most < kept && kept < of && of == 256 && read > 0, "{}", result["memory"]);
        assert!(hit_rate > 0.5 * kept as f64 / of as f64, "{}", result["memory"]);
        assert_eq!(result["ids"], whole["ids"], "{megabytes} MB");
        let said = told(&output);
        assert!(said.contains("of the experts") && said.contains("tokens a second expected"), "{said}");
        most = kept;
    }
}

#[test]
fn experts_that_were_used_most_are_remembered_and_a_damaged_file_is_not_believed() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no memory of its own to measure");
    }
    let (model, folder) = (Model::sparse("remembered", 32), Scratch::new("uses"));
    let args = format!("--ctx 512 --kv q8_0 -n 24 --mem 300M --cache {}", folder.0.join("cache").display());
    let [first, second] = [false, true].map(|known| {
        let output = run(&model.0, &args, None);
        assert_ne!(told(&output).contains("until it is known which are used most"), known, "{}", told(&output));
        json(&output)
    });
    let ((_, _, hit_rate, _), (_, _, better, _)) = (experts(&first), experts(&second));
    println!("hit rate {hit_rate}, then {better}");
    assert!(better > hit_rate, "{hit_rate}, then {better}");
    assert_eq!(first["ids"], second["ids"]);
    let file = std::fs::read_dir(folder.0.join("cache")).unwrap().map(|entry| entry.unwrap().path());
    let mut file = file.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("experts-"));
    let file = file.next().expect("the uses are remembered");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let damaged = json(&run(&model.0, &args, None));
    assert_eq!(damaged["ids"], first["ids"]);
    assert_ne!(std::fs::read(&file).unwrap(), bytes, "it was not written anew");
}

#[cfg(target_os = "linux")]
#[test]
fn an_expert_that_cannot_be_read_ends_an_answer_with_its_reason_and_not_the_server() {
    if emulated() {
        return println!("skipped: no memory of its own to plan with");
    }
    let (model, args) =
        (Model::sparse("lost", 32), ["--mem", "450M", "--ctx", "512", "--kv", "q8_0", "--parallel", "2"]);
    // Experts last: what stays mapped lies before them.
    let mut rewrite = Rewrite::of(&Gguf::open(&model.0).unwrap(), &[]);
    rewrite.tensors.sort_by_key(|tensor| tensor.name.contains("_exps"));
    let experts = rewrite.tensors.iter().filter(|tensor| tensor.name.contains("_exps"));
    let of_experts: usize = experts.map(|tensor| tensor.bytes.len().next_multiple_of(32)).sum();
    let whole = rewrite.bytes();
    std::fs::write(&model.0, &whole).unwrap();

    let server = Server::start(&model.0, &args);
    let ask = |prompt: &str| {
        server.post("/v1/completions", &json!({"prompt": prompt, "max_tokens": 12, "temperature": 0, "seed": 1}))
    };
    let first = ask("one two three");
    assert_eq!(first.status, 200, "{first:?}");
    let file = std::fs::File::options().write(true).open(&model.0).unwrap();
    file.set_len((whole.len() - of_experts) as u64).unwrap();
    let lost = ask("Fische schwimmen im Wasser, und Vögel fliegen darüber hin");
    assert_eq!(lost.status, 500, "{lost:?}");
    assert!(lost.body.contains("a weight cannot be read from the model's file"), "{lost:?}");
    assert_eq!(server.get("/health").status, 200);
    // The same file: what it maps is there again too.
    std::fs::write(&model.0, &whole).unwrap();
    for (prompt, expected) in [("one two three", Some(&first)), ("Fische schwimmen im Wasser", None)] {
        let answer = ask(prompt);
        assert_eq!(answer.status, 200, "{answer:?}");
        if let Some(expected) = expected {
            assert_eq!(answer.json()["choices"], expected.json()["choices"]);
        }
    }
}

/// Bytes that the program has had read from the disk, as the system counts them for a shell that waited for it.
fn read_from_disk(before: &str, model: &Path, args: &str) -> (u64, Value) {
    let command =
        format!("{before}\"$0\" run \"$1\" --raw --greedy -p 'one two three' -n 3 --json {args}; cat /proc/$$/io >&2");
    let output =
        Command::new("sh").args(["-c", &command, env!("CARGO_BIN_EXE_qwen-edge")]).arg(model).output().unwrap();
    let said = told(&output);
    let read = said.lines().find_map(|line| line.strip_prefix("read_bytes: ")).and_then(|n| n.parse().ok());
    (read.unwrap_or_else(|| panic!("{said}")), json(&output))
}

#[test]
fn a_few_experts_are_read_without_the_rest_of_the_file() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no disk of its own to measure");
    }
    let model = Model::sparse("random", 256);
    let file = std::fs::metadata(&model.0).unwrap().len();
    let uncache = format!("dd if='{}' iflag=nocache count=0 status=none; ", model.0.display());
    let (read, result) = read_from_disk(&uncache, &model.0, "--ctx 512 --mem 150M");
    let (_, of, _, asked) = experts(&result);
    println!("{read} bytes of {file} from the disk, {asked} of experts: {}", result["memory"]);
    if read == 0 {
        return println!("skipped: the file system is in memory");
    }
    // The rest of the file is what every token reads; a model of this size is half experts that nobody asked for.
    assert!(of == 2048 && asked < file / 4, "{}", result["memory"]);
    assert!(read < file * 2 / 3, "{read} bytes of {file}");
}

#[test]
fn in_a_control_group_smaller_than_the_experts_they_are_read_within_it() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no memory of its own to measure");
    }
    let model = Model::sparse("group-experts", 32);
    let limit = std::fs::metadata(&model.0).unwrap().len() * 5 / 6;
    let Some(group) = Group::new("experts", limit) else {
        return println!("skipped: no control group can be made here");
    };
    let result = json(&run_below(&group.enter(&model.0), &model.0, "--touch --ctx 512"));
    let number = |key: &str| result["memory"][key].as_u64().unwrap();
    println!("{limit} bytes: {}", result["memory"]);
    let (kept, of, ..) = experts(&result);
    let most = limit + limit / 100;
    assert!(kept < of && number("planned_bytes") <= most, "{}", result["memory"]);
    assert!(number("peak_bytes") <= number("planned_bytes").min(limit), "{}", result["memory"]);
    let kv = result["memory"]["kv"].as_str().unwrap();
    let plain = json(&run(&model.0, &format!("--ctx 512 --kv {kv}"), None));
    assert_eq!(result["ids"], plain["ids"]);
}

#[test]
fn too_little_memory_is_a_sentence_that_says_what_would_fit() {
    if emulated() {
        return println!("skipped: no memory of its own to measure");
    }
    let model = Model::new("little");
    for (args, expected) in [
        ("--mem 20M", "smaller model or quantisation"),
        ("--mem 200M --ctx 262144", "would fit"),
        ("--mem 200M --ctx 100k --kv f16", "--ctx"),
    ] {
        let output = run(&model.0, args, None);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args}: {message}");
        assert!(message.contains("not enough memory") && message.contains(expected), "{args}: {message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn under_any_address_space_limit_the_program_answers_or_says_why_not() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: an emulator needs an address space of its own");
    }
    let model = Model::new("ulimit");
    let (mut answered, mut refused) = (0, 0);
    for kib in (60..1200).step_by(60).map(|mib| mib * 1024) {
        let output = run(&model.0, "--touch --threads 2", Some(kib));
        let message = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => answered += 1,
            Some(1) => {
                assert!(message.contains("emory"), "{kib} KiB: {message}");
                assert!(answered == 0, "{kib} KiB is refused, and less was enough: {message}");
                refused += 1;
            }
            other => panic!("{kib} KiB: ended with {other:?}: {message}"),
        }
    }
    assert!(answered > 0 && refused > 0, "{answered} answered, {refused} refused");
}

#[test]
fn pictures_are_looked_at_within_the_ceiling_or_refused() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no memory of its own to measure");
    }
    let (model, tower) = (Model::new("vision"), Model::tower());
    let (picture, large) = (Model::picture(700), Model::picture(5000));
    let look = |picture: &Path, args: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qwen-edge"));
        command.arg("run").arg(&model.0).args(["-p", "what?", "-n", "1", "--greedy", "--json", "--touch", "--mmproj"]);
        command.arg(&tower.0).arg("--image").arg(picture).args(args.split(' '));
        command.output().unwrap()
    };
    for (megabytes, args) in [(220, ""), (220, " --no-mmap"), (500, " --ctx 4k --image-tokens 200")] {
        let result = json(&look(&picture.0, &format!("--mem {megabytes}M{args}")));
        let number = |key: &str| result["memory"][key].as_u64().unwrap();
        let (peak, planned) = (number("peak_bytes"), number("planned_bytes"));
        println!("--mem {megabytes}M{args}: planned {planned}, peak {peak}, vision {}", number("vision_bytes"));
        assert!(planned <= megabytes * 1_000_000 && peak <= planned, "{megabytes} MB {args}: {}", result["memory"]);
    }
    let output = look(&large.0, "--mem 220M");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && message.contains("5000 x 5000") && message.contains("--mem"), "{message}");
}

/// `ulimit -d` counts everything a program may write to, touched or not.
#[test]
fn a_plan_survives_a_limit_on_data_of_its_own_size() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: an emulator needs memory of its own");
    }
    let model = Model::new("data");
    let args = "--touch --threads 2 --mem 200M";
    let memory = json(&run(&model.0, args, None))["memory"].clone();
    let data = memory["planned_bytes"].as_u64().unwrap() - memory["weights_bytes"].as_u64().unwrap();
    // Stacks are mapped whole and hardly touched: 2 MiB for each of two threads more, and the first one's heap.
    let data = data / 1024 + (8 << 10);
    let limited = |kib: u64| run_below(&format!("ulimit -d {kib}; "), &model.0, args);
    assert_eq!(json(&limited(data))["memory"]["ctx"], memory["ctx"]);
    // Half of it is not enough, and that is foreseen.
    let args = "--touch --threads 2 --ctx 32768 --kv f16";
    let output = run_below(&format!("ulimit -d {}; ", data / 2), &model.0, args);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && message.contains("ulimit -d"), "{message}");
}

/// A control group with a limit on memory, removed at the end; `None` where none can be made.
struct Group(PathBuf);

impl Group {
    fn new(name: &str, bytes: u64) -> Option<Group> {
        for (base, file) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let group = Group(Path::new(base).join(format!("qwen-edge-test-{name}-{}", std::process::id())));
            let made = Path::new(base).join("cgroup.procs").exists() && std::fs::create_dir(&group.0).is_ok();
            if made && std::fs::write(group.0.join(file), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        None
    }

    /// What a shell does to enter it, with `model` in nobody's memory: pages count where they were read first.
    fn enter(&self, model: &Path) -> String {
        let uncache = format!("dd if='{}' iflag=nocache count=0 status=none", model.display());
        format!("{uncache}; echo $$ > '{}/cgroup.procs'; ", self.0.display())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn in_a_control_group_smaller_than_the_weights_a_fixed_share_is_read_again() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no memory of its own to measure");
    }
    let model = Model::wide("group-streamed");
    let limit = std::fs::metadata(&model.0).unwrap().len() * 5 / 6;
    let Some(group) = Group::new("streamed", limit) else {
        return println!("skipped: no control group can be made here");
    };
    let result = json(&run_below(&group.enter(&model.0), &model.0, "--touch --ctx 512"));
    let number = |key: &str| result["memory"][key].as_u64().unwrap();
    println!("{limit} bytes: {}", result["memory"]);
    // The plan counts pages of the program's file too for which another group is charged.
    let most = limit + limit / 100;
    assert!(number("streamed_bytes") > 0 && number("planned_bytes") <= most, "{}", result["memory"]);
    assert!(number("peak_bytes") <= number("planned_bytes").min(limit), "{}", result["memory"]);
    let plain = json(&run(&model.0, "--ctx 512 --kv q8_0", None));
    assert_eq!(result["ids"], plain["ids"]);
}

#[test]
fn a_control_group_is_answered_in_or_declined_and_never_kills() {
    if emulated() || !cfg!(target_os = "linux") {
        return println!("skipped: no memory of its own to measure");
    }
    let model = Model::new("group");
    for (megabytes, answers) in [(125, true), (30, true), (14, false)] {
        let Some(group) = Group::new("small", megabytes << 20) else {
            return println!("skipped: no control group can be made here");
        };
        let output = run_below(&group.enter(&model.0), &model.0, "--touch");
        let message = String::from_utf8_lossy(&output.stderr);
        if answers {
            let memory = &json(&output)["memory"];
            println!("{megabytes} MiB: {memory}");
            assert!(memory["ctx"].as_u64().unwrap() < 32_768, "planned for more than there is: {memory}");
        } else {
            assert_eq!(output.status.code(), Some(1), "{message}");
            assert!(message.contains("control group"), "{message}");
        }
    }
}
