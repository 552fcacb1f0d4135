//! What a server reads of prompts that begin as earlier ones did, against the least possible; and that nobody's answer is
//! another one for it. `make reuse-table` prints the tokens.

use crate::support::chats::{demo, text as answer_of, user, with};
use crate::support::http::{PATIENCE, Server};
use crate::support::requests_to_end::ask_to_end;
use crate::support::scenes::{Asks, Request, SCENES, Scene, Tally, text};
use crate::support::scratch::Scratch;
use qwen_edge::chat::offer::Offer;
use qwen_edge::engine::message::Message;
use qwen_edge::engine::model_file::ModelFile;
use qwen_edge::tokenizer::Special;
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// One who asks a server, and reads the answers.
struct Client<'a> {
    server: &'a Server,
    file: ModelFile,
    tally: Tally,
    /// Tokens of each prompt, of these the ones that were not read, and of the answer.
    turns: Vec<[usize; 3]>,
}

impl<'a> Client<'a> {
    fn new(server: &'a Server) -> Client<'a> {
        Client { server, file: ModelFile::open(demo()).unwrap(), tally: Tally::default(), turns: Vec::new() }
    }
}

/// A question as it is sent: without thinking, answered by a few tokens.
fn body(request: &Request) -> Value {
    let messages: Vec<Value> = request.messages.iter().map(Message::to_json).collect();
    let mut body = json!({
        "messages": messages, "temperature": 0, "max_tokens": 16, "chat_template_kwargs": {"enable_thinking": false},
    });
    if let Some(tools) = &request.tools {
        (body["tools"], body["tool_choice"]) = (tools.clone(), "none".into());
    }
    body
}

/// Tokens of a prompt, of these the ones that were not read, and of the answer.
fn tokens(answer: &Value) -> [usize; 3] {
    let usage = &answer["usage"];
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{answer}")) as usize;
    let cached = &usage["prompt_tokens_details"]["cached_tokens"];
    [number(&usage["prompt_tokens"]), number(cached), number(&usage["completion_tokens"])]
}

impl Asks for Client<'_> {
    fn ask(&mut self, request: &Request, _: bool) -> Message {
        let messages: Vec<Value> = request.messages.iter().map(Message::to_json).collect();
        let offer = request.tools.as_ref().map(|tools| Offer::of(tools).unwrap());
        let ids = self.file.prompt_ids(&messages, offer.as_ref(), false).unwrap();
        let response = self.server.chat(&body(request));
        let (answer, text) = (response.json(), answer_of(&response));
        let [n_prompt, n_cached, n_answer] = tokens(&answer);
        assert_eq!(n_prompt, ids.len());
        self.tally.note(ids, n_prompt - n_cached, &self.file.tokenizer().encode(&text, Special::None));
        self.turns.push([n_prompt, n_cached, n_answer]);
        Message::assistant(text)
    }
}

fn server(args: &[&str]) -> Server {
    Server::start(&demo(), &[&["--ctx", "8192"], args].concat())
}

fn play(scene: Scene, args: &[&str]) -> Tally {
    let server = server(args);
    let mut client = Client::new(&server);
    scene(&mut client);
    client.tally
}

#[test]
fn a_server_reads_little_more_than_the_least_possible() {
    for (name, scene, more) in SCENES {
        let Tally { n_request, least, read, .. } = play(scene, &["--parallel", "2"]);
        // The start of the last answer, or of the last question.
        assert!(read < least + 40 * n_request + more, "{name}: {read} tokens, {least} at least");
    }
}

#[test]
#[ignore = "a table: make reuse-table"]
fn a_table_of_what_a_server_reads_and_the_least_possible() {
    println!("\n| | requests | tokens of prompts | least | --parallel 1 | --parallel 4 |\n|---|---|---|---|---|---|");
    for (name, scene, _) in SCENES {
        let tallies = ["1", "4"].map(|n| play(scene, &["--parallel", n]));
        let Tally { n_request, prompt, least, .. } = tallies[0];
        let [one, four] = tallies.map(|tally| tally.read);
        println!("| {name} | {n_request} | {prompt} | {least} | {one} | {four} |");
    }
}

/// Steps of an agent: each is answered, and what it called says something to the answer.
struct Loop {
    messages: Vec<Value>,
    last: Option<[usize; 3]>,
}

impl Loop {
    fn new(name: &str) -> Loop {
        let system = json!({"role": "system", "content": text(name, 30)});
        Loop { messages: vec![system, json!({"role": "user", "content": "What is 2 + 3?"})], last: None }
    }

    /// The next one. Nothing is read again that was read or written in the last one.
    fn step(&mut self, server: &Server, more: &Value) {
        let body = json!({
            "messages": self.messages, "temperature": 0, "chat_template_kwargs": {"enable_thinking": false},
        });
        let answer = server.chat(&with(body, more.clone())).json();
        let now = tokens(&answer);
        if let Some([n_prompt, _, n_answer]) = self.last {
            assert!(now[1] + 4 >= n_prompt + n_answer, "{:?}, then {now:?}: {answer}", self.last);
        }
        self.last = Some(now);
        let n = self.messages.len();
        let said = format!("<tool_response>\nWhat is {n} + {}?\n</tool_response>", n / 2);
        self.messages.extend([answer["choices"][0]["message"].clone(), json!({"role": "user", "content": said})]);
    }
}

#[test]
fn an_agent_never_reads_again_what_it_has_read_or_written() {
    let server = server(&["--parallel", "1"]);
    let mut one = Loop::new("files");
    (0..6).for_each(|_| one.step(&server, &json!({})));
    let mut two = Loop::new("letters");
    for _ in 0..4 {
        two.step(&server, &json!({}));
        one.step(&server, &json!({}));
        // What is asked beside it, with or without what was said so far, does not push it out.
        server.chat(&with(user("Count from 1 to 9."), json!({"temperature": 0})));
        let title = json!({"role": "user", "content": "Write a title of it."});
        let messages = [&one.messages[..one.messages.len() - 1], &[title]].concat();
        server.chat(&json!({"messages": messages, "max_tokens": 9}));
    }
}

#[test]
fn an_answer_that_was_cut_is_gone_on_with_where_it_was_cut() {
    let (server, tokenizer) = (server(&["--parallel", "2"]), ModelFile::open(demo()).unwrap());
    let asked = turn(&[], "Count from 1 to 9.");
    for (cut, expected) in [(json!({"stop": ", 5"}), "1, 2, 3, 4"), (json!({"max_tokens": 7}), "1, 2, 3")] {
        let answer = server.chat(&with(asked.clone(), cut)).json();
        let [n_prompt, ..] = tokens(&answer);
        let said = answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
        assert!(said.starts_with(expected), "{said}");
        let n_said = tokenizer.tokenizer().encode(&said, Special::None).len();
        let mut next = asked.clone();
        next["messages"].as_array_mut().unwrap().extend([
            answer["choices"][0]["message"].clone(),
            json!({"role": "user", "content": "<tool_response>\nWhat is 4 + 3?\n</tool_response>"}),
        ]);
        let next = server.chat(&next).json();
        assert!(tokens(&next)[1] + 1 >= n_prompt + n_said, "{answer}, then {next}");
    }
}

#[test]
fn what_was_asked_before_reads_nothing_and_is_answered_as_by_a_cold_server() {
    let warm = server(&["--parallel", "3"]);
    let thinking = with(turn(&[], "What is 4 + 3?"), json!({"chat_template_kwargs": {"enable_thinking": true}}));
    let asked =
        |more: Value| with(turn(&[], "What is 12 + 30?"), with(json!({"logprobs": true, "top_logprobs": 5}), more));
    for (i, more) in [
        json!({}),
        with(thinking, json!({"max_tokens": 30})),
        json!({"temperature": 1.0, "seed": 7, "max_tokens": 1}),
        json!({"temperature": 1.0, "seed": 7, "n": 3}),
    ]
    .into_iter()
    .enumerate()
    {
        let cold = server(&["--parallel", "3"]).chat(&asked(more.clone())).json();
        let [n_prompt, n_cached, _] = tokens(&cold);
        assert_eq!(n_cached, 0);
        for round in 0..2 {
            let answer = warm.chat(&asked(more.clone())).json();
            assert_eq!(answer["choices"], cold["choices"], "{more}, {round}");
            if round > 0 || i > 1 {
                assert_eq!(tokens(&answer)[..2], [n_prompt; 2], "{more}, {round}: {answer}");
                assert_eq!(answer["timings"]["prompt_n"], 0);
                assert_eq!(answer["timings"]["cache_reason"], "nothing of the prompt was new");
            }
        }
    }
    // A text as it is, of few tokens.
    let text =
        json!({"prompt": "Count from 1 to 9. What is 4 + 3? Count.", "max_tokens": 4, "temperature": 0, "logprobs": 3});
    let [first, again] = [0, 1].map(|_| warm.post("/v1/completions", &text).json());
    assert_eq!(again["choices"], first["choices"]);
    assert_eq!(tokens(&again)[0], tokens(&again)[1], "{again}");
}

/// A server that keeps what it reads in a folder.
fn keeping(folder: &Path) -> Server {
    server(&["--parallel", "2", "--cache", folder.to_str().unwrap()])
}

/// Ends a server, which writes its folder then; and returns what it has said.
fn end(mut server: Server) -> String {
    ask_to_end(&server.child);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    server.said.read_to_string(&mut said).unwrap();
    said
}

/// A question behind a long system message, and what was said before.
fn turn(said: &[&str], question: &str) -> Value {
    let mut messages = vec![json!({"role": "system", "content": text("house", 40)})];
    messages.extend(said.chunks(2).flat_map(|said| {
        [json!({"role": "user", "content": said[0]}), json!({"role": "assistant", "content": said[1]})]
    }));
    messages.push(json!({"role": "user", "content": question}));
    json!({"messages": messages, "temperature": 0, "chat_template_kwargs": {"enable_thinking": false}})
}

#[test]
fn a_server_that_is_started_anew_goes_on_where_it_was_and_answers_the_same() {
    let scratch = Scratch::new("serve-reuse");
    let folder = scratch.0.join("kept");
    let never_evicted = keeping(&scratch.0.join("other"));
    let first = answer_of(&never_evicted.chat(&turn(&[], "What is 4 + 3?")));
    let second = turn(&["What is 4 + 3?", &first], "What is 12 + 30?");
    let expected = never_evicted.chat(&second).json();

    let before = keeping(&folder);
    assert_eq!(answer_of(&before.chat(&turn(&[], "What is 4 + 3?"))), first);
    let said = end(before);
    assert!(!said.contains("note: "), "{said}");
    let server = keeping(&folder);
    let found = server.chat(&second).json();
    let [n_prompt, n_cached, _] = tokens(&found);
    assert!(n_prompt > 600 && n_cached + 60 > n_prompt, "{found}");
    assert_eq!(found["choices"], expected["choices"]);
    let metrics = server.get("/metrics").body;
    assert!(metrics.contains(&format!("\nqwen_edge_recalled_tokens_total {n_cached}\n")), "{metrics}");
    // Another one begins behind the system message.
    let other = server.chat(&turn(&[], "Reverse the word lamp.")).json();
    assert!(tokens(&other)[1] > 600, "{other}");
    let cold = Server::start(&demo(), &["--parallel", "1"]).chat(&turn(&[], "Reverse the word lamp.")).json();
    assert_eq!((other["choices"].clone(), tokens(&cold)[1]), (cold["choices"].clone(), 0));
    assert_eq!(other["timings"]["cache_reason"], "only the end of the prompt was new", "{other}");
}

/// What every system says of a file that is not there.
const GONE: &str = "os error 2";

/// What becomes of a file.
type Spoil = fn(&Path);

#[test]
fn whatever_becomes_of_the_folder_the_answer_is_right_and_the_log_says_why_it_was_late() {
    let scratch = Scratch::new("serve-reuse");
    let asked = turn(&[], "What is 4 + 3?");
    let expected = Server::start(&demo(), &["--parallel", "1"]).chat(&asked).json();
    let folder = scratch.0.join("kept");
    let spoil: [(&str, Spoil); 3] = [
        ("damaged", |file| {
            let mut bytes = fs::read(file).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        ("damaged", |file| fs::File::options().write(true).open(file).unwrap().set_len(100).unwrap()),
        (GONE, |file| fs::remove_file(file).unwrap()),
    ];
    for (word, spoil) in spoil {
        let server = keeping(&folder);
        server.chat(&asked);
        end(server);
        for file in fs::read_dir(&folder).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            // Without states nothing is looked for.
            if word != GONE || name.starts_with("page-") {
                spoil(&file);
            }
        }
        let server = keeping(&folder);
        let found = server.chat(&asked).json();
        assert_eq!((tokens(&found)[1], &found["choices"]), (0, &expected["choices"]), "{word}");
        let said = end(server);
        assert!(said.contains("note: what is kept of ") && said.contains(word), "{word}: {said}");
    }
    // What cannot be written.
    let server = keeping(&folder);
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "a file in its place").unwrap();
    assert_eq!(server.chat(&asked).json()["choices"], expected["choices"]);
    let said = end(server);
    assert!(said.contains("note: ") && said.contains("kept"), "{said}");
}

#[test]
fn neither_memory_nor_folder_get_more_than_they_may() {
    let scratch = Scratch::new("serve-reuse");
    let folder = scratch.0.join("kept");
    let most = 3_000_000;
    let args = ["--parallel", "2", "--ctx", "2048", "--cache", folder.to_str().unwrap(), "--cache-size", "3M"];
    let n_request = 150;
    for round in 0..2 {
        let server = Server::start(&demo(), &args);
        let n = AtomicUsize::new(0);
        let client = |who: usize| {
            while n.fetch_add(1, Ordering::Relaxed) < n_request {
                let i = n.load(Ordering::Relaxed) * 7 + who;
                let request = Request {
                    tools: None,
                    messages: (0..1 + i % 4)
                        .map(|part| match part {
                            0 => Message::system(text(["house", "garden", "street"][i % 3], 2 + i % 40)),
                            _ => Message::user(text("question", (i * part) % 9)),
                        })
                        .chain([Message::user(format!("What is {} + {}?", i % 9, i % 5))])
                        .collect(),
                };
                assert_eq!(server.chat(&body(&request)).status, 200);
                let metrics = server.get("/metrics").body;
                let number = |name: &str| {
                    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
                    line.unwrap_or_else(|| panic!("{name} in {metrics}")).parse::<f64>().unwrap()
                };
                let (kept, limit) = (number("qwen_edge_kept_bytes"), number("qwen_edge_kept_bytes_limit"));
                assert!(kept <= limit && limit > 0.0, "{kept} of {limit}");
            }
        };
        std::thread::scope(|scope| (0..3).for_each(|who| _ = scope.spawn(move || client(who))));
        assert!(server.get("/metrics").body.contains("\nqwen_edge_panics_total 0\n"), "{round}");
        end(server);
        let bytes: u64 = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes <= most && bytes > most / 10, "{bytes} of {most}");
    }
}

#[test]
fn a_folder_is_written_when_nobody_has_asked_for_a_while() {
    let scratch = Scratch::new("serve-reuse");
    let folder = scratch.0.join("kept");
    let server = server(&["--cache", folder.to_str().unwrap(), "--hurry", "20"]);
    server.chat(&turn(&[], "What is 4 + 3?"));
    let start = Instant::now();
    while server.get("/metrics").body.contains("\nqwen_edge_cache_written_bytes_total 0\n") {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(start.elapsed() > Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn what_several_ask_at_once_is_read_once() {
    let server = server(&["--parallel", "4"]);
    let questions = ["What is 4 + 3?", "What is 12 + 30?", "Reverse the word lamp.", "Count from 1 to 9."];
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let asked = questions.map(|question| scope.spawn(|| server.chat(&turn(&[], question)).json()));
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    let alone = Server::start(&demo(), &["--parallel", "1"]);
    let mut n_read = 0;
    for (question, answer) in questions.iter().zip(&answers) {
        let [n_prompt, n_cached, _] = tokens(answer);
        assert!(n_prompt > 700);
        n_read += n_prompt - n_cached;
        assert_eq!(alone.chat(&turn(&[], question)).json()["choices"], answer["choices"]);
    }
    assert!(n_read < 900, "{n_read} tokens are read");
}
