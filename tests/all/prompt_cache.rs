//! What `run --cache` keeps: it saves reading, and never changes an answer.

use crate::support::program::program;
use crate::support::scratch::Scratch;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
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

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
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
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
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
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
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

/// Kills runs that are writing, and asks again.
fn kill(n: usize) {
    let scratch = Scratch::new("prompt-cache");
    let cache = folder(&scratch);
    let with = ["--cache", cache.to_str().unwrap()];
    let right = json(&ask(&rules(), "Hello", &[]));
    for i in 0..n {
        let mut run = program()
            .args(["run", DEMO, "--greedy", "-n", "1", "--ctx", "4096", "--threads", "2", "-q"])
            .args(["--system", &format!("{}{i}", rules()), "-p", "Hello", "--cache", with[1]])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Spread over a run, which takes some tenths of a second.
        std::thread::sleep(Duration::from_millis((i as u64 * 7919) % 400));
        let _ = run.kill();
        run.wait().unwrap();
        if i % 10 == 0 {
            assert_eq!(json(&ask(&rules(), "Hello", &with))["ids"], right["ids"]);
        }
    }
    let output = ask(&rules(), "Hello", &with);
    assert_eq!(json(&output)["ids"], right["ids"]);
    // What appears under its name is whole.
    assert!(!String::from_utf8_lossy(&output.stderr).contains("is not used"));
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
        (json(&output), String::from_utf8_lossy(&output.stderr).into_owned())
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
