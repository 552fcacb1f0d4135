//! How much of prompts is read, against the least possible, when people and agents talk as they do; `make reuse-table` prints
//! it.
//!
//! The least possible is what no earlier prompt or answer of the same scene begins with. What is read of a history while its
//! last answer is looked at counts as read.

use crate::support::scratch::Scratch;
use qwen_edge::chat::offer::Offer;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::message::Message;
use qwen_edge::engine::model_file::{ModelFile, StartOptions};
use qwen_edge::engine::plan::Wish;
use qwen_edge::engine::prompt_cache::{CacheFolder, PromptCache};
use qwen_edge::engine::session::{AnswerOptions, Session};
use qwen_edge::sampler::Settings;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

const DEMO: &str = "models/demo-q8_0.gguf";

/// Where what was read is found again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Memory {
    /// One process, without a folder.
    Process,
    /// One process, with a folder.
    ProcessAndFolder,
    /// A process for every request, with a folder.
    Folder,
}

/// A request: who asks (a conversation of its own tools and system message), and the messages.
struct Request {
    tools: Option<Value>,
    messages: Vec<Message>,
}

/// One who asks, and reads the answers.
struct Reader<'a> {
    memory: Memory,
    folder: &'a Path,
    file: ModelFile,
    session: Option<Session>,
    known: Vec<Vec<u32>>,
    tally: Tally,
}

/// Tokens, of all requests of a scene.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    n_request: usize,
    prompt: usize,
    least: usize,
    read: usize,
}

fn session(memory: Memory, folder: &Path) -> Session {
    let file = ModelFile::open(DEMO).unwrap();
    let model = file.fingerprint();
    let answers =
        AnswerOptions { thinking: false, think_budget: Some(0), max_tokens: 16, sampling: Settings::greedy() };
    let wish = Wish { n_ctx: Some(8192), ..Wish::default() };
    let options = StartOptions { wish, answers: Some(answers), threads: Some(2), ..StartOptions::default() };
    let mut session = file.start(options, |_, _| ()).unwrap();
    if memory != Memory::Process {
        let folder = CacheFolder::open(folder).unwrap();
        session.keep_prompts(PromptCache::new(folder, ByteSize(1 << 30), model, "demo".to_owned()));
    }
    session
}

impl<'a> Reader<'a> {
    fn new(memory: Memory, folder: &'a Path) -> Reader<'a> {
        let (known, tally) = Default::default();
        Reader { memory, folder, file: ModelFile::open(DEMO).unwrap(), session: None, known, tally }
    }

    /// Asks, and gives the answer; where `stays`, the history is read again while it is looked at.
    fn ask(&mut self, request: &Request, stays: bool) -> Message {
        let messages: Vec<Value> = request.messages.iter().map(Message::to_json).collect();
        let offer = request.tools.as_ref().map(|tools| Offer::of(tools).unwrap());
        let ids = self.file.prompt_ids(&messages, offer.as_ref(), false).unwrap();
        let same = |known: &Vec<u32>| known.iter().zip(&ids).take_while(|(a, b)| a == b).count();
        let known = self.known.iter().map(same).max().unwrap_or(0);
        if self.memory == Memory::Folder {
            self.session = None;
        }
        let (memory, folder) = (self.memory, self.folder);
        let session = self.session.get_or_insert_with(|| session(memory, folder));
        session.offer = request.tools.as_ref().map(|tools| Arc::new(Offer::of(tools).unwrap()));
        let outcome = session.answer(&request.messages, |_| ()).unwrap();
        assert_eq!(outcome.n_prompt, ids.len());
        let answer = Message::from(outcome.clone());
        let messages = [&request.messages[..], std::slice::from_ref(&answer)].concat();
        let between = if stays { session.read_history(&messages, || true).unwrap() } else { 0 };
        let Tally { n_request, prompt, least, read } = &mut self.tally;
        *n_request += 1;
        *prompt += ids.len();
        // The last row is read in any case: an answer begins with what is behind it.
        *least += (ids.len() - known).max(1);
        *read += outcome.n_read + between;
        self.known.push([&ids[..], &outcome.ids].concat());
        answer
    }
}

fn tools(name: &str) -> Value {
    let tool = |i: usize| {
        let place = json!({"type": "string", "description": format!("Which of the {name}, as a path of parts")});
        let parameters = json!({"type": "object", "properties": {"place": place}, "required": ["place"]});
        json!({"type": "function", "function": {"name": format!("{name}_{i}"), "description":
            format!("Does task {i} with the {name}, and tells how it went"), "parameters": parameters}})
    };
    (0..8).map(tool).collect()
}

/// A text of some `n` * 16 tokens.
fn text(about: &str, n: usize) -> String {
    (0..n).map(|i| format!("Of the {about}, part {i} has the number {} and is red. ", i * 7 % 31)).collect()
}

/// An agent at work: each step is an answer, and what a tool says to it.
struct Agent {
    request: Request,
    name: &'static str,
}

impl Agent {
    fn new(name: &'static str) -> Agent {
        let messages = vec![Message::system(text(name, 12)), Message::user(format!("Put the {name} in order."))];
        Agent { request: Request { tools: Some(tools(name)), messages }, name }
    }

    fn step(&mut self, reader: &mut Reader<'_>, i: usize) {
        let answer = reader.ask(&self.request, false);
        let said = format!("<tool_response>\n{}{i}\n</tool_response>", text(self.name, 6));
        self.request.messages.extend([answer, Message::user(said)]);
    }
}

fn one_agent(reader: &mut Reader<'_>) {
    let mut agent = Agent::new("files");
    (0..8).for_each(|i| agent.step(reader, i));
}

fn two_agents_in_turn(reader: &mut Reader<'_>) {
    let mut agents = [Agent::new("files"), Agent::new("letters")];
    (0..10).for_each(|i| agents[i % 2].step(reader, i));
}

/// A conversation of `n` questions, in which the history is read while the answers are.
fn chat(reader: &mut Reader<'_>, system: &str, n: usize) -> Vec<Message> {
    let mut messages = vec![Message::system(text(system, 30))];
    for i in 0..n {
        messages.push(Message::user(format!("{i}: {}", text("story", 4))));
        let answer = reader.ask(&Request { tools: None, messages: messages.clone() }, true);
        messages.push(answer);
    }
    messages
}

fn a_chat(reader: &mut Reader<'_>) {
    chat(reader, "tavern", 8);
}

/// The last question is put in another way, then the one before it.
fn edits_near_the_end(reader: &mut Reader<'_>) {
    let mut messages = chat(reader, "tavern", 6);
    for back in [2, 2, 4, 2] {
        messages.truncate(messages.len() - back);
        for i in 0..back / 2 {
            messages.push(Message::user(format!("{i}: Or so. {}", text("story", 3 + back + i))));
            let answer = reader.ask(&Request { tools: None, messages: messages.clone() }, true);
            messages.push(answer);
        }
    }
}

fn retries(reader: &mut Reader<'_>) {
    let mut messages = chat(reader, "tavern", 4);
    messages.pop();
    (0..4).for_each(|_| drop(reader.ask(&Request { tools: None, messages: messages.clone() }, true)));
}

/// From the same history two conversations go on in turn.
fn branches(reader: &mut Reader<'_>) {
    let messages = chat(reader, "tavern", 4);
    let mut branches = [messages.clone(), messages];
    for i in 0..6 {
        let messages = &mut branches[i % 2];
        messages.push(Message::user(format!("{}: {}", ["Left", "Right"][i % 2], text("way", 3 + i))));
        let answer = reader.ask(&Request { tools: None, messages: messages.clone() }, true);
        messages.push(answer);
    }
}

/// Questions to one long text.
fn questions_to_a_text(reader: &mut Reader<'_>) {
    for i in 0..6 {
        let question = format!("{}\n\nQuestion {i}: what is part {i}?", text("report", 100));
        reader.ask(&Request { tools: None, messages: vec![Message::user(question)] }, false);
    }
}

type Scene = fn(&mut Reader<'_>);

/// The scenes, and the tokens that are read more in each than the least possible and fewer than 128 a request, which are not
/// worth a state of their own: of the text all once more, when it has been seen where prompts leave it.
const SCENES: [(&str, Scene, usize); 7] = [
    ("an agent at work", one_agent, 0),
    ("two agents in turn", two_agents_in_turn, 0),
    ("a chat", a_chat, 0),
    ("edits near the end", edits_near_the_end, 0),
    ("retries", retries, 0),
    ("two branches in turn", branches, 0),
    ("questions to a text", questions_to_a_text, 1900),
];

fn play((name, scene, more): (&str, Scene, usize), memory: Memory) -> Tally {
    let scratch = Scratch::new("reuse");
    let mut reader = Reader::new(memory, &scratch.0);
    scene(&mut reader);
    let Tally { n_request, least, read, .. } = reader.tally;
    if memory != Memory::Process {
        assert!(read < least + 128 * n_request + more, "{name}, {memory:?}: {read} tokens, {least} at least");
    }
    reader.tally
}

#[test]
fn little_more_is_read_than_the_least_possible() {
    for scene in SCENES {
        play(scene, Memory::Folder);
    }
}

#[test]
#[ignore = "a table: make reuse-table"]
fn a_table_of_what_is_read_and_the_least_possible() {
    println!(
        "\n| | requests | tokens of prompts | least | one process | and a folder | a process a request, and a folder |"
    );
    println!("|---|---|---|---|---|---|---|");
    for scene in SCENES {
        let memories = [Memory::Process, Memory::ProcessAndFolder, Memory::Folder];
        let tallies = memories.map(|memory| play(scene, memory));
        let [Tally { n_request, prompt, least, .. }, ..] = tallies;
        let [process, both, folder] = tallies.map(|tally| tally.read);
        println!("| {} | {n_request} | {prompt} | {least} | {process} | {both} | {folder} |", scene.0);
    }
}

#[test]
fn a_second_turn_behind_4000_tokens_reads_its_question_alone_and_answers_as_a_cold_run() {
    let question = Message::user("What is 12+30?");
    let mut answers = Vec::new();
    for memory in [Memory::Process, Memory::Folder] {
        let scratch = Scratch::new("reuse");
        let mut reader = Reader::new(memory, &scratch.0);
        let mut messages = vec![Message::system(text("house", 250)), Message::user("Reverse the word lamp.")];
        let answer = reader.ask(&Request { tools: None, messages: messages.clone() }, true);
        messages.extend([answer, question.clone()]);
        let before = reader.tally;
        let answer = reader.ask(&Request { tools: None, messages: messages.clone() }, false);
        let (prompt, read) = (reader.tally.prompt - before.prompt, reader.tally.read - before.read);
        // The question, its turn, and the start of the answer.
        assert!(prompt > 4000 && read < 30, "{memory:?}: {read} of {prompt} tokens");
        let cold = session(Memory::Process, &scratch.0).answer(&messages, |_| ()).unwrap();
        assert_eq!((cold.n_read, &cold.text), (prompt, &answer.plain_text()));
        answers.push(cold.text);
    }
    assert_eq!(answers[0], answers[1]);
}
