//! How much of prompts is read, against the least possible, when people and agents talk as they do; `make reuse-table` prints
//! it.
//!
//! What is read of a history while its last answer is looked at counts as read.

use crate::support::scenes::{Asks, Request, SCENES, Scene, Tally, text};
use crate::support::scratch::Scratch;
use qwen_edge::chat::offer::Offer;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::message::Message;
use qwen_edge::engine::model_file::{ModelFile, StartOptions};
use qwen_edge::engine::plan::Wish;
use qwen_edge::engine::prompt_cache::{CacheFolder, PromptCache};
use qwen_edge::engine::session::{AnswerOptions, Session};
use qwen_edge::sampler::Settings;
use serde_json::Value;
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

/// One who asks, and reads the answers.
struct Reader<'a> {
    memory: Memory,
    folder: &'a Path,
    file: ModelFile,
    session: Option<Session>,
    tally: Tally,
}

fn session(memory: Memory, folder: &Path) -> Session {
    let file = ModelFile::open(DEMO).unwrap();
    let model = file.fingerprint();
    let answers = AnswerOptions { sampling: Settings::greedy(), max_tokens: 16, ..file.published_answers(false) };
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
        Reader { memory, folder, file: ModelFile::open(DEMO).unwrap(), session: None, tally: Tally::default() }
    }
}

impl Asks for Reader<'_> {
    /// Where it `stays`, the history is read again while the answer is looked at.
    fn ask(&mut self, request: &Request, stays: bool) -> Message {
        let messages: Vec<Value> = request.messages.iter().map(Message::to_json).collect();
        let offer = request.tools.as_ref().map(|tools| Offer::of(tools).unwrap());
        let ids = self.file.prompt_ids(&messages, offer.as_ref(), false).unwrap();
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
        self.tally.note(ids, outcome.n_read + between, &outcome.ids);
        answer
    }
}

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
        let Tally { n_request, prompt, least, .. } = tallies[0];
        let [process, both, folder] = tallies.map(|tally| tally.read);
        println!("| {} | {n_request} | {prompt} | {least} | {process} | {both} | {folder} |", scene.0);
    }
}

#[test]
fn what_is_asked_again_reads_nothing() {
    let scratch = Scratch::new("reuse");
    for thinking in [false, true] {
        let mut session = session(Memory::Process, &scratch.0);
        session.options.thinking = thinking;
        let mut messages = vec![Message::system(text("house", 4)), Message::user("What is 12+30?")];
        for _ in 0..2 {
            let first = session.answer(&messages, |_| ()).unwrap();
            let again = session.answer(&messages, |_| ()).unwrap();
            assert_eq!((again.n_read, again.n_reused, again.n_prompt), (0, first.n_prompt, first.n_prompt));
            assert_eq!((&again.ids, &again.text), (&first.ids, &first.text));
            messages.extend([Message::from(again), Message::user("Reverse the word lamp.")]);
        }
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
        let before = reader.tally.clone();
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
