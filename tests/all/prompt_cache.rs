//! What `run --cache` keeps: it saves reading, and never changes an answer.

use crate::support::Fixture;
use crate::support::program::{emulated, json, program, told};
use crate::support::scratch::Scratch;
use kernels::{Kernels, Way};
use qwen_edge::compute::Compute;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::context::text_rows;
use qwen_edge::engine::prompt_cache::{CacheFolder, PromptCache};
use qwen_edge::engine::runner::{Runner, Settings, Step};
use qwen_edge::engine::sequence::Sequence;
use qwen_edge::model::kv_type::KvType;
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const DEMO: &str = "models/demo-q8_0.gguf";

/// A system message of some 600 tokens.
fn rules() -> String {
    let rule =
        |i: usize| format!("Rule {i}: the box of number {} is {}. ", i * 7 % 31, ["red", "green", "blue"][i % 3]);
    (0..36).map(rule).collect()
}

/// Asks the demo a question behind a system message.
fn ask(system: &str, question: &str, more: &[&str]) -> Output {
    program()
        .args(["run", DEMO, "--greedy", "-n", "12", "--json", "--ctx", "4096", "--threads", "2"])
        .args(["--system", system, "-p", question])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn number(result: &Value, name: &str) -> u64 {
    result[name].as_u64().unwrap_or_else(|| panic!("{name} in {result}"))
}

/// A folder for a cache, which is not there yet.
fn folder(scratch: &Scratch) -> PathBuf {
    scratch.0.join("kept")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn bytes(folder: &Path) -> u64 {
    files(folder).iter().map(|file| file.metadata().unwrap().len()).sum()
}

#[test]
fn what_was_read_is_not_read_again_and_the_answer_is_that_of_a_cold_run() {
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let with = ["--cache", cache.to_str().unwrap()];
    let questions = ["What is 12+30?", "What is 12+30?", "Reverse the word lamp."];
    let answers: Vec<[Value; 2]> =
        questions.map(|question| [json(&ask(&rules(), question, &[])), json(&ask(&rules(), question, &with))]).into();
    for [cold, kept] in &answers {
        assert_eq!(kept["ids"], cold["ids"]);
        assert_eq!(kept["text"], cold["text"]);
        assert_eq!(number(cold, "reused_tokens"), 0);
        assert_eq!(cold["reuse"], "no cache");
        assert_eq!(number(kept, "prompt_tokens"), number(kept, "reused_tokens") + number(kept, "prompt_tokens_read"));
    }
    let reused: Vec<u64> = answers.iter().map(|[_, kept]| number(kept, "reused_tokens")).collect();
    let system = number(&answers[0][1], "prompt_tokens") - 40;
    assert!(reused[0] == 0 && reused[1] > system && reused[2] > system, "{reused:?}");
}

#[test]
fn the_same_prompt_again_reads_nothing_and_another_end_its_end() {
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let with = ["--cache", cache.to_str().unwrap()];
    for more in [&[][..], &["--think", "on"]] {
        // The start of the answer is so far behind the system message that a state is kept there.
        let ask = |cache: &[&str]| json(&ask("Be kind.", &rules(), &[more, cache].concat()));
        let (cold, _, again) = (ask(&[]), ask(&with), ask(&with));
        assert_eq!(again["ids"], cold["ids"], "{more:?}");
        let of = ["prompt_tokens", "reused_tokens", "prompt_tokens_read"].map(|name| number(&again, name));
        let [n_prompt, n_reused, n_read] = of;
        if more.is_empty() {
            assert_eq!((n_reused, n_read, &again["reuse"]), (n_prompt, 0, &"nothing of the prompt was new".into()));
        } else {
            // With thinking the prompt ends otherwise; the end that was kept first stays.
            assert!(n_reused + n_read == n_prompt && (1..8).contains(&n_read), "{again}");
        }
    }
}

#[test]
fn a_prompt_that_differs_is_told_from_where_on() {
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let with = ["--cache", cache.to_str().unwrap()];
    assert_eq!(json(&ask(&rules(), "Hello", &with))["reuse"], "nothing is kept of this model with these settings");
    let other = rules().replace("Rule 20", "Rule twenty");
    let result = json(&ask(&other, "Hello", &with));
    let why = result["reuse"].as_str().unwrap();
    // Up to there 20 rules of some 17 tokens are the same, but no state was kept.
    let known: u64 = why.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{why}"));
    assert!(why.contains("no state") && (200..500).contains(&known), "{why}");
    assert_eq!(result["ids"], json(&ask(&other, "Hello", &[]))["ids"]);
    // Other bits in other storage: another entry.
    assert_eq!(number(&json(&ask(&rules(), "Hello", &[&with[..], &["--kv", "q8_0"]].concat())), "reused_tokens"), 0);
}

#[test]
fn a_damaged_file_is_told_and_made_again() {
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let with = ["--cache", cache.to_str().unwrap()];
    let right = json(&ask(&rules(), "Hello", &with));
    let state = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("state-");
    let (states, pages): (Vec<PathBuf>, Vec<PathBuf>) = files(&cache).into_iter().partition(state);
    let damages: [fn(&mut Vec<u8>); 5] = [
        |bytes| bytes[30] ^= 1,
        |bytes| *bytes.last_mut().unwrap() ^= 128,
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.clear(),
        |bytes| bytes.extend_from_slice(&[0; 1 << 20]),
    ];
    for damage in damages {
        for file in [&states[0], &pages[0]] {
            let mut content = fs::read(file).unwrap();
            damage(&mut content);
            fs::write(file, content).unwrap();
            let output = ask(&rules(), "Hello", &with);
            let told = told(&output);
            assert!(told.contains("is not used: damaged or cut off"), "{told}");
            assert_eq!(json(&output)["ids"], right["ids"]);
            // And whole again.
            let again = json(&ask(&rules(), "Hello", &with));
            assert!(number(&again, "reused_tokens") > 0, "{}", again["reuse"]);
        }
    }
}

#[test]
#[cfg(unix)]
fn a_folder_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let with = ["--cache", cache.to_str().unwrap()];
    json(&ask(&rules(), "Hello", &with));
    assert_eq!(cache.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert!(files(&cache).iter().all(|file| file.metadata().unwrap().permissions().mode() & 0o777 == 0o600));
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    let output = ask(&rules(), "Hello", &with);
    let told = told(&output);
    assert!(output.status.code() == Some(1) && told.contains("can be written by other users"), "{told}");
    assert!(ask(&rules(), "Hello", &["--cache", DEMO]).status.code() == Some(1));
}

#[test]
fn the_folder_keeps_to_its_size() {
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let with = ["--cache", cache.to_str().unwrap(), "--cache-size", "3M"];
    for i in 0..6 {
        json(&ask(&format!("Number {i}. {}", rules()), "Hello", &with));
        assert!(bytes(&cache) <= 3_000_000, "{} bytes after {i}", bytes(&cache));
    }
    // The latest is still there.
    assert!(number(&json(&ask(&format!("Number 5. {}", rules()), "Hello", &with)), "reused_tokens") > 0);
    // Less than one prompt takes: nothing is kept, and all goes on.
    json(&ask(&format!("Small. {}", rules()), "Hello", &["--cache", cache.to_str().unwrap(), "--cache-size", "100k"]));
}

#[test]
fn what_is_kept_is_listed_and_cleared_and_nothing_else() {
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let run = |what: &str| program().args(["cache", what]).arg(&cache).output().unwrap();
    assert_eq!(run("list").status.code(), Some(1));
    json(&ask(&rules(), "Hello", &["--cache", cache.to_str().unwrap()]));
    fs::write(cache.join("notes.txt"), "mine").unwrap();
    let list = String::from_utf8(run("list").stdout).unwrap();
    assert!(list.contains("qwen-edge demo") && list.contains("1 kept"), "{list}");
    assert!(run("clear").status.success());
    assert_eq!(files(&cache), [cache.join("notes.txt")]);
}

/// Kills runs while they write, and asks again.
fn kill(n: u64) {
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let with = ["--cache", cache.to_str().unwrap()];
    let right = json(&ask(&rules(), "Hello", &[]));
    let mut unfinished = 0;
    for i in 0..n {
        // Another beginning every time: all pages are new.
        let mut run = program()
            .args(["run", DEMO, "--greedy", "-n", "1", "--ctx", "4096", "--threads", "2", "-q"])
            .args(["--system", &format!("{i} {}", rules()), "-p", "Hello", "--cache", with[1]])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let before = if cache.exists() { files(&cache).len() } else { 0 };
        while (!cache.exists() || files(&cache).len() == before) && run.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(50));
        }
        // Its eleven files are written within some milliseconds, in two batches.
        std::thread::sleep(Duration::from_micros(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 30_000));
        let _ = run.kill();
        run.wait().unwrap();
        let cut = files(&cache).iter().filter(|file| file.extension().is_some_and(|end| end == "part")).count();
        unfinished += usize::from(cut > 0);
        if i % 10 == 0 {
            assert_eq!(json(&ask(&rules(), "Hello", &with))["ids"], right["ids"]);
            // What the last one has left is never taken for more than it is.
            let system = format!("{i} {}", rules());
            let (cold, kept) = (ask(&system, "Hello", &[]), ask(&system, "Hello", &with));
            assert_eq!(json(&kept)["ids"], json(&cold)["ids"]);
            // What appears under its name is whole.
            assert!(!String::from_utf8_lossy(&kept.stderr).contains("is not used"));
            fs::remove_dir_all(&cache).unwrap();
        }
    }
    println!("{unfinished} of {n} kills left an unfinished file");
}

#[test]
fn a_run_that_is_killed_leaves_no_wrong_answers() {
    kill(12);
}

#[test]
#[ignore = "takes minutes"]
fn three_hundred_runs_that_are_killed_leave_no_wrong_answers() {
    kill(300);
}

#[test]
fn a_conversation_in_a_file_goes_on_and_only_what_is_new_is_read() {
    let scratch = Scratch::new("prompt-cache");
    let file = scratch.0.join("talk.json");
    let say = |question: &str, more: &[&str]| {
        let output = program()
            .args(["run", DEMO, "--greedy", "-n", "16", "--json", "--ctx", "4096", "--threads", "2", "-p", question])
            .args(["--session", file.to_str().unwrap()])
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (json(&output), told(&output))
    };
    let (first, _) = say("My name is Tom.", &["--system", &rules()]);
    assert_eq!(number(&first, "reused_tokens"), 0);
    let state = scratch.0.join("talk.json.state");
    let (messages, kept) = (fs::read(&file).unwrap(), fs::read(&state).unwrap());
    let (second, _) = say("What is my name?", &[]);
    // The first answer was read again as the history has it, without the empty thinking before it: the question is new.
    assert!(number(&second, "prompt_tokens_read") < 20, "{second}");
    assert!(number(&second, "reused_tokens") > number(&first, "prompt_tokens"), "{second}");
    assert_eq!(
        serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).unwrap()["messages"].as_array().unwrap().len(),
        5
    );

    // Without the state, or with a damaged one, the messages are read again; the answer may differ in no more than rounding.
    for damaged in [None, Some(&kept[..kept.len() / 2])] {
        fs::write(&file, &messages).unwrap();
        let _ = fs::remove_file(&state);
        damaged.inspect(|bytes| fs::write(&state, bytes).unwrap());
        let (again, told) = say("What is my name?", &[]);
        assert!(told.contains("the messages are read again"), "{told}");
        assert_eq!((number(&again, "reused_tokens"), &again["text"]), (0, &second["text"]));
    }
    // The same conversation with its state gives the same bits.
    fs::write(&file, &messages).unwrap();
    fs::write(&state, &kept).unwrap();
    assert_eq!(say("What is my name?", &[]).0["ids"], second["ids"]);

    // A file that is something else stays as it is.
    fs::write(&file, "a letter").unwrap();
    let output = program().args(["run", DEMO, "-p", "Hello", "--session"]).arg(&file).output().unwrap();
    assert_eq!((output.status.code(), fs::read_to_string(&file).unwrap().as_str()), (Some(1), "a letter"));
}

/// Asks the demo from a shell that has prepared for it.
#[cfg(unix)]
fn ask_below(preparation: &str, question: &str, more: &[&str]) -> Output {
    let mut inner = program();
    inner.args(["run", DEMO, "--greedy", "-n", "12", "--json", "--ctx", "4096", "--threads", "2"]);
    inner.args(["--system", &rules(), "-p", question]).args(more);
    std::process::Command::new("sh")
        .args(["-c", &format!("{preparation} exec \"$@\""), "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_told_and_the_answer_is_right() {
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let with = ["--cache", cache.to_str().unwrap()];
    let right = json(&ask(&rules(), "Hello", &[]));
    // Files end after so many blocks of 512 bytes: within the first page, and between a page and a state.
    for blocks in [1, 60, 400] {
        let output = ask_below(&format!("trap '' XFSZ; ulimit -f {blocks};"), "Hello", &with);
        let told = told(&output);
        assert!(told.contains("what is read cannot be kept: cannot write"), "{blocks}: {told}");
        assert_eq!(json(&output)["ids"], right["ids"]);
        assert!(!files(&cache).iter().any(|file| file.extension().is_some()), "{:?}", files(&cache));
    }
    // With room again all is kept.
    json(&ask(&rules(), "Hello", &with));
    assert!(number(&json(&ask(&rules(), "Hello", &with)), "reused_tokens") > 0);
}

/// Somebody who is not root: root may write everywhere.
#[cfg(unix)]
const NOBODY: u32 = 65_534;

#[cfg(unix)]
fn is_root(file: &Path) -> bool {
    std::os::unix::fs::MetadataExt::uid(&file.metadata().unwrap()) == 0
}

#[test]
#[cfg(unix)]
fn from_a_folder_that_cannot_be_written_what_is_kept_is_taken_up() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let with = ["--cache", cache.to_str().unwrap()];
    let right = json(&ask(&rules(), "Hello", &with));
    let root = is_root(&cache);
    if root {
        files(&cache).iter().chain([&cache]).for_each(|path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap());
    }
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o500)).unwrap();
    let ask = |system: &str| {
        let mut run = program();
        run.args(["run", DEMO, "--greedy", "-n", "12", "--json", "--ctx", "4096", "--threads", "2"]);
        run.args(["--system", system, "-p", "Hello"]).args(with).stdin(Stdio::null());
        if root {
            run.uid(NOBODY).gid(NOBODY);
        }
        run.output().ok()
    };
    let Some(kept) = ask(&rules()) else {
        // Nobody else may come where the program lies.
        assert!(root);
        return;
    };
    let result = json(&kept);
    assert!(number(&result, "reused_tokens") > 0, "{}", result["reuse"]);
    assert_eq!(result["ids"], right["ids"]);
    let other = format!("Other. {}", rules());
    let output = ask(&other).unwrap();
    let told = told(&output);
    assert!(told.contains("what is read cannot be kept"), "{told}");
    assert_eq!(json(&output)["ids"], json(&self::ask(&other, "Hello", &[]))["ids"]);
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
#[cfg(unix)]
fn a_folder_that_another_user_has_planted_is_refused() {
    let scratch = Scratch::new("prompt-cache");
    let planted = if is_root(&scratch.0) {
        let cache = folder(&scratch);
        fs::create_dir(&cache).unwrap();
        std::os::unix::fs::chown(&cache, Some(NOBODY), None).unwrap();
        cache
    } else {
        PathBuf::from("/usr")
    };
    let output = ask(&rules(), "Hello", &["--cache", planted.to_str().unwrap()]);
    let told = told(&output);
    assert!(output.status.code() == Some(1) && told.contains("belongs to another user"), "{told}");
    let output = program().args(["cache", "clear"]).arg(&planted).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_file_of_another_prompt_is_not_taken_for_one_of_this() {
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let with = ["--cache", cache.to_str().unwrap()];
    let right = json(&ask(&rules(), "Hello", &with));
    let before = files(&cache);
    json(&ask(&format!("Other. {}", rules()), "Hello", &with));
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    for kind in ["state-", "page-"] {
        let is = |path: &&PathBuf| name(path).starts_with(kind);
        let other = files(&cache).into_iter().find(|path| is(&path) && !before.contains(path)).unwrap();
        for file in before.iter().filter(is) {
            fs::copy(&other, file).unwrap();
        }
        let output = ask(&rules(), "Hello", &with);
        let told = told(&output);
        assert!(told.contains("is not used: damaged"), "{told}");
        assert_eq!(json(&output)["ids"], right["ids"]);
    }
}

/// Bytes that a folder has had at some moment: those of the files that are there before it and behind it.
fn bytes_at_a_moment(folder: &Path) -> u64 {
    let look = || -> HashMap<PathBuf, u64> {
        let Ok(entries) = fs::read_dir(folder) else { return HashMap::new() };
        let file = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.ok()?;
            Some((entry.path(), entry.metadata().ok()?.len()))
        };
        entries.filter_map(file).collect()
    };
    let (before, behind) = (look(), look());
    before.iter().filter_map(|(file, bytes)| behind.get(file).map(|later| bytes.min(later))).sum()
}

/// Mixed requests: new prompts, known ones, other ends, longer ones, other storage.
fn requests(n: u64) {
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let most = 6_000_000;
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                seen = seen.max(bytes_at_a_moment(&cache));
                std::thread::sleep(Duration::from_micros(200));
            }
            seen
        });
        let ask = |i: u64| {
            let random = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let system = match random % 5 {
                0 => format!("Number {i}. {}", rules()),
                1 => format!("{} Number {i}.", rules()),
                2 => rules().repeat(1 + (random >> 8) as usize % 3),
                3 => rules(),
                _ => String::from("Be kind."),
            };
            let kv = if random >> 16 & 7 == 0 { "q8_0" } else { "f16" };
            let output = ask(
                &system,
                &format!("What is {}+30?", random >> 20 & 3),
                &["--cache", cache.to_str().unwrap(), "--cache-size", "6M", "--kv", kv, "-n", "2"],
            );
            let told = told(&output);
            assert!(!told.contains("cannot be") && !told.contains("is not used"), "{told}");
            let result = json(&output);
            let memory = |name: &str| number(&result["memory"], name);
            // In an emulator it is the memory of that.
            assert!(emulated() || memory("peak_bytes") <= memory("planned_bytes"), "{result}");
            number(&result, "reused_tokens") > 0
        };
        let hits = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (0..n).filter(|&i| ask(i)).count()));
        done.store(true, Ordering::Relaxed);
        let seen = watch.join().unwrap();
        let hits = hits.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        println!("{hits} of {n} requests had something in common with an earlier one");
        assert!(hits > n as usize / 8, "{hits} of {n}");
        seen
    });
    println!("{seen} bytes at most, of {most}");
    assert!(most / 2 < seen && seen <= most, "{seen} bytes of {most}");
}

#[test]
fn mixed_requests_keep_to_the_size_at_every_moment() {
    requests(24);
}

#[test]
#[ignore = "takes minutes"]
fn five_hundred_mixed_requests_keep_to_the_size_at_every_moment() {
    requests(500);
}

/// Reads and writes rows of a text one after the other, as `ways` say.
fn go_on(runner: &mut Runner, sequence: &mut Sequence, ways: &[Way]) {
    for &way in ways {
        let n = sequence.n_past();
        let row = text_rows(&[(n * 7 % 90) as u32], n as u32);
        runner.run(&mut [Step { way, ..Step::prompt(sequence, &row, 1) }]).unwrap();
    }
}

#[test]
fn a_conversation_that_was_put_away_goes_on_as_if_it_had_never_been() {
    let fixture = Fixture::open("q4_k_m");
    let (model, fingerprint) = (fixture.model(), fixture.gguf.fingerprint());
    let scratch = Scratch::new("prompt-cache");
    let settings = Settings { n_ctx: 1024, n_sequence: 1, n_batch: 64, kv: KvType::F16, n_checkpoint: 0 };
    let level = Kernels::select(None).unwrap();
    let runner = || Runner::new(model.clone(), Compute::new(level, 1), settings).unwrap();
    let open = || {
        let folder = CacheFolder::open(&folder(&scratch)).unwrap();
        PromptCache::new(folder, ByteSize(100 << 20), fingerprint, "test".to_owned())
    };
    // A question, an answer that was written, a question.
    let ways = [vec![Way::Prompt; 140], vec![Way::Written; 77], vec![Way::Prompt; 20]].concat();
    let mut first = runner();
    let mut sequence = first.sequence();
    let mut cache = open();
    go_on(&mut first, &mut sequence, &ways);
    cache.keep(&first, &sequence);
    assert!(cache.take_notes().is_empty());
    go_on(&mut first, &mut sequence, &[Way::Prompt]);
    let bits = |logits: &[f32]| logits.iter().map(|logit| logit.to_bits()).collect::<Vec<u32>>();
    let never_put_away = bits(first.logits(0..1));

    let prompt = text_rows(&(0..ways.len() + 1).map(|n| (n * 7 % 90) as u32).collect::<Vec<u32>>(), 0);
    let mut second = runner();
    let (known, reuse) = open().recall(&mut second, &prompt, 0);
    let mut known = known.unwrap_or_else(|| panic!("{reuse}"));
    assert_eq!((known.n_past(), known.ways()), (ways.len(), &ways[..]));
    go_on(&mut second, &mut known, &[Way::Prompt]);
    assert_eq!(bits(second.logits(0..1)), never_put_away);

    // The same rows, all of them read, have pages of their own behind the last that has no written row.
    let pages = || files(&folder(&scratch)).iter().filter(|file| file.to_str().unwrap().contains("page-")).count();
    assert_eq!(pages(), 3);
    let mut third = runner();
    let mut cold = third.sequence();
    go_on(&mut third, &mut cold, &[Way::Prompt; 200]);
    open().keep(&third, &cold);
    assert_eq!(pages(), 4);
    // What is found of fewer rows is as it was read.
    let mut fourth = runner();
    let (known, _) = open().recall(&mut fourth, &prompt[..210], 0);
    let mut known = known.unwrap();
    assert!(known.n_past() == 200 && known.ways().iter().all(|&way| way == Way::Prompt));
    go_on(&mut third, &mut cold, &[Way::Prompt]);
    go_on(&mut fourth, &mut known, &[Way::Prompt]);
    assert_eq!(bits(fourth.logits(0..1)), bits(third.logits(0..1)));
}

#[test]
#[cfg(unix)]
fn several_programs_that_write_at_once_keep_to_the_size_together() {
    let fixture = Fixture::open("q4_k_m");
    let (model, fingerprint) = (fixture.model(), fixture.gguf.fingerprint());
    let (scratch, level) = (Scratch::new("prompt-cache"), Kernels::select(None).unwrap());
    let settings = Settings { n_ctx: 1024, n_sequence: 1, n_batch: 256, kv: KvType::F16, n_checkpoint: 0 };
    CacheFolder::open(&folder(&scratch)).unwrap();
    // The bytes of one prompt.
    let keep = |first: u32, most: u64, times: u32| {
        let mut runner = Runner::new(model.clone(), Compute::new(level, 1), settings).unwrap();
        let folder = CacheFolder::open(&folder(&scratch)).unwrap();
        let mut cache = PromptCache::new(folder, ByteSize(most), fingerprint, "test".to_owned());
        for i in 0..times {
            let mut sequence = runner.sequence();
            let rows = text_rows(&(0..200).map(|n| (n * 7 + first + i) % 90).collect::<Vec<u32>>(), 0);
            runner.run(&mut [Step::prompt(&mut sequence, &rows, 1)]).unwrap();
            cache.keep(&runner, &sequence);
            assert!(cache.take_notes().is_empty());
        }
    };
    keep(0, u64::MAX, 1);
    let most = bytes(&folder(&scratch)) * 5 / 2;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watched = scope.spawn(|| {
            let mut largest = 0;
            while !done.load(Ordering::Relaxed) {
                // A file may go while they are counted.
                let files = fs::read_dir(folder(&scratch)).unwrap().filter_map(Result::ok);
                largest = largest.max(files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum());
            }
            largest
        });
        let writers: Vec<_> = (0..4).map(|who| scope.spawn(move || keep(who * 20, most, 12))).collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
        let largest = watched.join().unwrap();
        assert!(largest <= most && largest > most / 2, "{largest} of {most}");
    });
}
