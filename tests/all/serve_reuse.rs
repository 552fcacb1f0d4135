//! What a server reads of prompts that begin as earlier ones did, against the least possible; and that nobody's answer is
//! another one for it. `make reuse-table` prints the tokens.

use crate::support::chats::{demo, text as answer_of, user, with};
use crate::support::http::Server;
use crate::support::scenes::{Asks, Request, SCENES, Scene, Tally, text};
use qwen_edge::chat::offer::Offer;
use qwen_edge::engine::message::Message;
use qwen_edge::engine::model_file::ModelFile;
use qwen_edge::tokenizer::Special;
use serde_json::{Value, json};

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
