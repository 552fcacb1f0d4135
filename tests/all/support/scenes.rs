//! How people and agents talk to a model, and how much of what they send is read, against the least possible.
//!
//! The least possible is what no earlier prompt or answer of the same scene begins with.

use qwen_edge::engine::message::Message;
use serde_json::{Value, json};

/// A request: who asks (a conversation of its own tools and system message), and the messages.
pub struct Request {
    pub tools: Option<Value>,
    pub messages: Vec<Message>,
}

/// Who asks a model.
pub trait Asks {
    /// Asks, and gives the answer; where `stays`, that is looked at for a while.
    fn ask(&mut self, request: &Request, stays: bool) -> Message;
}

/// Tokens, of all requests of a scene.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    pub n_request: usize,
    pub prompt: usize,
    pub least: usize,
    pub read: usize,
    /// Prompts and answers so far.
    known: Vec<Vec<u32>>,
}

impl Tally {
    /// A prompt of which so many tokens were read, and its answer.
    pub fn note(&mut self, prompt: Vec<u32>, read: usize, answer: &[u32]) {
        let same = |known: &Vec<u32>| known.iter().zip(&prompt).take_while(|(a, b)| a == b).count();
        let known = self.known.iter().map(same).max().unwrap_or(0);
        self.n_request += 1;
        self.prompt += prompt.len();
        self.least += prompt.len() - known;
        self.read += read;
        self.known.push([&prompt[..], answer].concat());
    }
}

pub fn tools(name: &str) -> Value {
    let tool = |i: usize| {
        let place = json!({"type": "string", "description": format!("Which of the {name}, as a path of parts")});
        let parameters = json!({"type": "object", "properties": {"place": place}, "required": ["place"]});
        json!({"type": "function", "function": {"name": format!("{name}_{i}"), "description":
            format!("Does task {i} with the {name}, and tells how it went"), "parameters": parameters}})
    };
    (0..8).map(tool).collect()
}

/// A text of some `n` * 16 tokens.
pub fn text(about: &str, n: usize) -> String {
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

    fn step(&mut self, reader: &mut dyn Asks, i: usize) {
        let answer = reader.ask(&self.request, false);
        let said = format!("<tool_response>\n{}{i}\n</tool_response>", text(self.name, 6));
        self.request.messages.extend([answer, Message::user(said)]);
    }
}

pub fn one_agent(reader: &mut dyn Asks) {
    let mut agent = Agent::new("files");
    (0..8).for_each(|i| agent.step(reader, i));
}

pub fn two_agents_in_turn(reader: &mut dyn Asks) {
    let mut agents = [Agent::new("files"), Agent::new("letters")];
    (0..10).for_each(|i| agents[i % 2].step(reader, i));
}

/// A conversation of `n` questions, in which the history is read while the answers are.
fn chat(reader: &mut dyn Asks, system: &str, n: usize) -> Vec<Message> {
    let mut messages = vec![Message::system(text(system, 30))];
    for i in 0..n {
        messages.push(Message::user(format!("{i}: {}", text("story", 4))));
        let answer = reader.ask(&Request { tools: None, messages: messages.clone() }, true);
        messages.push(answer);
    }
    messages
}

fn a_chat(reader: &mut dyn Asks) {
    chat(reader, "tavern", 8);
}

/// The last question is put in another way, then the one before it.
fn edits_near_the_end(reader: &mut dyn Asks) {
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

fn retries(reader: &mut dyn Asks) {
    let mut messages = chat(reader, "tavern", 4);
    messages.pop();
    (0..4).for_each(|_| drop(reader.ask(&Request { tools: None, messages: messages.clone() }, true)));
}

/// From the same history two conversations go on in turn.
fn branches(reader: &mut dyn Asks) {
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
fn questions_to_a_text(reader: &mut dyn Asks) {
    for i in 0..6 {
        let question = format!("{}\n\nQuestion {i}: what is part {i}?", text("report", 100));
        reader.ask(&Request { tools: None, messages: vec![Message::user(question)] }, false);
    }
}

pub type Scene = fn(&mut dyn Asks);

/// The scenes, and the tokens that are read more in each than the least possible and fewer than 128 a request, which are not
/// worth a state of their own: of the text all once more, when it has been seen where prompts leave it.
pub const SCENES: [(&str, Scene, usize); 7] = [
    ("an agent at work", one_agent, 0),
    ("two agents in turn", two_agents_in_turn, 0),
    ("a chat", a_chat, 0),
    ("edits near the end", edits_near_the_end, 0),
    ("retries", retries, 0),
    ("two branches in turn", branches, 0),
    ("questions to a text", questions_to_a_text, 1900),
];
