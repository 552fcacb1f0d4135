//! Several models of one server: a request's `model` chooses, a model that nobody uses gives its memory back, and what
//! each one answers does not depend on the others.

use crate::support::chats::{demo, demo_forever, text, user, with};
use crate::support::http::Server;
use crate::support::scratch::Scratch;
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const QUESTIONS: [&str; 3] = ["What is 7 plus 5?", "Repeat after me: silver lake garden", "Who are you?"];

/// Bytes that hold one of the two models with the clients that [`FEW`] allows, and not both. A program of Windows takes more for
/// itself under an emulator.
const ONE: u64 = if cfg!(windows) { 250_000_000 } else { 230_000_000 };

/// Room for few and small requests.
const FEW: [&str; 4] = ["--max-body", "1M", "--parallel", "1"];

fn other() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-q4_k_m.gguf")
}

/// A server with both, and a context that both have room for.
fn both(args: &[&str]) -> Server {
    let other = other();
    Server::start(&demo(), &[&[other.to_str().unwrap(), "--ctx", "1024"], args].concat())
}

fn question(model: &str, text: &str) -> Value {
    with(user(text), json!({"model": model, "temperature": 0, "max_tokens": 40}))
}

/// What a model answers to the questions where it is alone.
fn alone(model: &Path) -> Vec<String> {
    let server = Server::start(model, &["--ctx", "1024"]);
    QUESTIONS.iter().map(|asked| text(&server.chat(&question("any", asked)))).collect()
}

/// The names of the models that are loaded.
fn loaded(server: &Server) -> Vec<String> {
    let list = server.get("/v1/models").json();
    let all = list["data"].as_array().unwrap();
    let loaded = all.iter().filter(|model| model["status"]["value"] == "loaded");
    loaded.map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until these models are loaded.
fn wait_for(server: &Server, expected: &[&str]) {
    let start = Instant::now();
    while loaded(server) != expected {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", loaded(server));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(target_os = "linux")]
/// Bytes of a kind in a process's status.
fn status(server: &Server, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn two_models_in_turn_under_a_ceiling_that_holds_one_answer_rightly_and_keep_to_it() {
    let expected = [alone(&demo()), alone(&other())];
    let ceiling = ONE.to_string();
    let mut server = both(&[&["--mem", &ceiling], &FEW[..]].concat());
    for round in 0..3 {
        for (model, expected) in ["demo-q8_0", "demo-q4_k_m"].iter().zip(&expected) {
            let asked = QUESTIONS[round];
            assert_eq!(text(&server.chat(&question(model, asked))), expected[round], "{model}, {asked}");
            assert_eq!(loaded(&server), [*model]);
        }
    }
    #[cfg(target_os = "linux")]
    assert!(status(&server, "VmHWM") < ONE, "{} bytes", status(&server, "VmHWM"));
    server.child.kill().unwrap();
    let mut said = String::new();
    server.said.read_to_string(&mut said).unwrap();
    assert_eq!(said.matches("left the memory").count(), 5, "{said}");
}

#[test]
fn models_that_fit_stay_and_answer_at_the_same_time() {
    let expected = [alone(&demo()), alone(&other())];
    let server = both(&[]);
    assert_eq!(loaded(&server), ["demo-q8_0"]);
    std::thread::scope(|scope| {
        for (model, expected) in ["demo-q8_0", "demo-q4_k_m"].iter().zip(&expected) {
            let server = &server;
            scope.spawn(move || {
                for (asked, expected) in QUESTIONS.iter().zip(expected) {
                    assert_eq!(&text(&server.chat(&question(model, asked))), expected, "{model}, {asked}");
                }
            });
        }
    });
    assert_eq!(loaded(&server), ["demo-q8_0", "demo-q4_k_m"]);
}

#[test]
fn the_field_model_chooses_and_without_it_the_last_one_answers() {
    let server = both(&[]);
    let answered_by = |model: Value| {
        let response = server.chat(&with(question("", QUESTIONS[0]), json!({"model": model})));
        assert_eq!(response.status, 200, "{response:?}");
        response.json()["model"].as_str().unwrap().to_owned()
    };
    assert_eq!(answered_by(Value::Null), "demo-q8_0");
    for name in ["demo-q4_k_m", "demo-q4_k_m:latest", "Demo-Q4_K_M"] {
        assert_eq!(answered_by(name.into()), "demo-q4_k_m");
    }
    assert_eq!(answered_by("".into()), "demo-q4_k_m");
    let error = server.chat(&question("gpt-4", QUESTIONS[0]));
    assert_eq!(error.status, 404);
    let error = error.json()["error"].take();
    assert_eq!(
        (&error["code"], &error["param"], &error["message"]),
        (
            &json!("model_not_found"),
            &json!("model"),
            &json!("there is no model gpt-4: there are demo-q8_0, demo-q4_k_m")
        )
    );
    // The other dialects choose alike.
    let counted =
        |model: &str| server.post("/v1/messages/count_tokens", &with(user("a"), json!({"model": model}))).status;
    assert_eq!((counted("demo-q8_0"), counted("claude")), (200, 404));
}

#[test]
fn a_model_that_nobody_asks_for_gives_its_memory_back_and_comes_when_it_is_asked_for() {
    let expected = alone(&demo());
    let server = Server::start(&demo(), &["--ctx", "1024", "--idle-unload", "0.02"]);
    let ask = || text(&server.chat(&question("any", QUESTIONS[1])));
    assert_eq!(ask(), expected[1]);
    // What the system maps for the program, its files and the model's among them.
    #[cfg(target_os = "linux")]
    let maps = || fs::read_to_string(format!("/proc/{}/maps", server.child.id())).unwrap();
    #[cfg(target_os = "linux")]
    assert!(maps().contains("demo-q8_0.gguf"));
    wait_for(&server, &[]);
    #[cfg(target_os = "linux")]
    assert!(!maps().contains("demo-q8_0.gguf"));
    // It is well, and is not loaded by those who only look.
    assert_eq!((server.get("/health").status, server.get("/metrics").status), (200, 200));
    assert_eq!(loaded(&server), [""; 0]);
    assert_eq!(ask(), expected[1]);
}

#[test]
fn a_model_leaves_only_when_its_answers_are_complete() {
    let ceiling = ONE.to_string();
    let server = both(&[&["--mem", &ceiling], &FEW[..]].concat());
    // It goes on for some hundred tokens.
    let endless = with(demo_forever(), json!({"model": "demo-q8_0", "stream": true}));
    let mut answer = server.chat_stream(&endless);
    let mut begun = [0; 1024];
    assert!(answer.read(&mut begun).unwrap() > 0);
    let asked = std::thread::scope(|scope| {
        let asked = scope.spawn(|| text(&server.chat(&question("demo-q4_k_m", QUESTIONS[0]))));
        let mut rest = String::new();
        answer.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("data: [DONE]"), "it is cut off");
        asked.join().unwrap()
    });
    assert_eq!(asked, alone(&other())[0]);
}

#[test]
fn a_model_is_found_by_its_name_as_addresses_have_it() {
    let scratch = Scratch::new("serve-names");
    for (from, to) in [(demo(), "one.gguf"), (other(), "two+b.gguf")] {
        fs::copy(from, scratch.0.join(to)).unwrap();
    }
    let server = Server::start_with(&["--models".as_ref(), scratch.0.as_os_str()], &["--ctx", "1024"]);
    for name in ["two+b", "two%2Bb", "%74wo%2bb"] {
        let props = server.get(&format!("/props?model={name}")).json();
        assert_eq!(props["model_alias"], "two+b", "{props}");
        assert_eq!(server.get(&format!("/v1/models/{name}")).json()["id"], "two+b");
    }
}

#[test]
fn a_folder_of_models_is_offered_without_what_is_none() {
    let scratch = Scratch::new("serve-folder");
    for (from, to) in [(demo(), "one.gguf"), (other(), "two.gguf")] {
        fs::copy(from, scratch.0.join(to)).unwrap();
    }
    scratch.write("broken.gguf", b"GGUF and no more");
    fs::create_dir(scratch.0.join("again")).unwrap();
    fs::copy(other(), scratch.0.join("again/ONE.gguf")).unwrap();
    scratch.write("notes.txt", b"no model");
    let server = Server::start_with(&["--models".as_ref(), scratch.0.as_os_str()], &["--ctx", "1024"]);
    let list = server.get("/v1/models").json();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    // Of two files of one name the first is taken.
    assert_eq!(ids.len(), 2);
    assert!(ids[0].eq_ignore_ascii_case("one") && ids[1] == "two", "{ids:?}");
    assert_eq!(list["data"][1]["status"]["value"], "unloaded");
    assert_eq!(text(&server.chat(&question("two", QUESTIONS[1]))), alone(&other())[1]);
}
