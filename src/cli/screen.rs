//! Where an answer appears: its text on standard output, everything else on standard error.

use super::{calls, drafting, message, printable, signals};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use qwen_edge::chat::calls::{Call, Piece};
use qwen_edge::chat::thinking::{Channel, Thought};
use qwen_edge::engine::generate::{Outcome, Stop};
use qwen_edge::engine::session::Event;
use std::fs::File;
use std::io::{self, IsTerminal, Write};

/// Prompts shorter than this are read before a bar would be seen.
const BAR_FROM: usize = 256;

/// The terminal, or the pipes in its place.
pub(super) struct Screen {
    quiet: bool,
    /// Collect the answer rather than print it.
    collect: bool,
    bar: Option<ProgressBar>,
    /// What was written last.
    channel: Option<Channel>,
    answer: String,
    reasoning: String,
    /// The call that is being written, and calls before it.
    call: Option<Call>,
    n_call: usize,
    /// Whether the last line of the answer is not at its end.
    is_line_open: bool,
    /// Where answers go in place of standard output.
    file: Option<File>,
    /// Whether answers appear on a terminal, which what they hold must not steer.
    terminal: bool,
    /// Why the answer's place takes no more: its reader has gone, or its disk is full.
    lost: Option<io::Error>,
}

impl Screen {
    pub fn new(quiet: bool, collect: bool) -> Screen {
        Screen {
            quiet,
            collect,
            bar: None,
            channel: None,
            answer: String::new(),
            reasoning: String::new(),
            call: None,
            n_call: 0,
            is_line_open: false,
            file: None,
            terminal: io::stdout().is_terminal(),
            lost: None,
        }
    }

    /// Writes answers to `file` from now on.
    pub fn write_to(&mut self, file: File) {
        self.terminal = file.is_terminal();
        self.file = Some(file);
    }

    /// A line about what is going on.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            say!("{line}");
        }
    }

    /// An answer begins.
    pub fn begin(&mut self) {
        signals::begin_answer();
        self.channel = None;
        self.answer.clear();
        self.reasoning.clear();
        (self.call, self.n_call, self.is_line_open) = (None, 0, false);
    }

    /// The answer is complete.
    pub fn end(&mut self) {
        signals::end_answer();
        self.clear_bar();
        if self.channel == Some(Channel::Thinking) && self.shows_thinking() {
            say!("");
        }
        if self.is_line_open {
            self.print("\n");
        }
    }

    fn shows_thinking(&self) -> bool {
        !self.collect && !self.quiet
    }

    /// Whether all of the answer has been written.
    ///
    /// # Errors
    /// Why not, once.
    pub fn written(&mut self) -> io::Result<()> {
        self.lost.take().map_or(Ok(()), Err)
    }

    /// The text after the reasoning.
    pub fn answer(&self) -> &str {
        &self.answer
    }

    /// The text of the reasoning.
    pub fn reasoning(&self) -> &str {
        self.reasoning.trim()
    }

    /// How it went, on one line; `seed` is that of the answer if chance had a part in it. A second line says so when
    /// the thinking was not finished: `n_max` is what `-n` allowed.
    pub fn summary(&self, outcome: &Outcome, bytes_per_token: usize, seed: Option<u64>, n_max: usize) {
        let seed = seed.map_or(String::new(), |seed| format!("; seed {seed}"));
        let read_at = outcome.prefill_tok_s();
        if outcome.is_stopped_before_answer() {
            let (read, all) = (outcome.n_read, outcome.n_prompt - outcome.n_reused);
            return self.note(&format!("[read {read} of {all} tokens at {read_at:.1} tok/s; stopped]"));
        }
        let decode = outcome.decode_tok_s();
        // With drafts, passes are fewer than tokens.
        let how = match drafting::told(&outcome.drafts) {
            Some(told) => format!("; {told}"),
            None => format!(", {:.1} GB/s of weights", decode * bytes_per_token as f64 / 1e9),
        };
        let why = match outcome.stop {
            Stop::End | Stop::Length => "",
            Stop::ContextFull => "; the context is full",
            Stop::Interrupted => "; stopped",
            Stop::Repetition => "; ended, for it went round in circles: --loop-guard off lets it go on",
        };
        self.note(&format!(
            "[read {} tokens at {read_at:.1} tok/s; wrote {} at {decode:.1} tok/s{how}{why}{seed}]",
            outcome.n_read,
            outcome.ids.len(),
        ));
        if outcome.thought == Thought::Loop {
            self.note("note: the thinking went round in circles and was ended: --loop-guard off lets it go on");
        }
        if outcome.thought != Thought::Unfinished {
            return;
        }
        let what_to_do = "--think-budget N ends the thinking in time, --think off leaves it out";
        self.note(&match outcome.stop {
            Stop::Length => format!(
                "note: -n {n_max} ended the answer while the model was still thinking: give a larger -n; {what_to_do}"
            ),
            Stop::ContextFull => format!(
                "note: the context was full while the model was still thinking: give a larger --ctx; {what_to_do}"
            ),
            Stop::Interrupted => "note: stopped while the model was still thinking".to_owned(),
            Stop::End | Stop::Repetition => {
                format!("note: the model ended its turn while it was still thinking; {what_to_do}")
            }
        });
    }

    fn print(&mut self, text: &str) {
        self.is_line_open = !text.ends_with('\n');
        let text = if self.terminal { printable::answer(text) } else { text.into() };
        let write = |out: &mut dyn Write| out.write_all(text.as_bytes()).and_then(|()| out.flush());
        let written = match &mut self.file {
            Some(file) => write(file),
            None => write(&mut io::stdout().lock()),
        };
        if let Err(error) = written {
            self.lost.get_or_insert(error);
        }
    }

    fn clear_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Screen {
    /// Shows what happens; false when it cannot be shown any more.
    pub fn show(&mut self, event: Event<'_>) -> bool {
        match event {
            Event::Reading { done, total } => self.reading(done, total),
            Event::Thinking(text) => self.writing(Channel::Thinking, text),
            Event::Text(text) => self.writing(Channel::Answer, text),
            Event::Call(piece) => self.calling(piece),
            _ => {}
        }
        self.lost.is_none()
    }

    fn reading(&mut self, done: usize, total: usize) {
        if self.quiet || total < BAR_FROM {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = "reading {bar:30} {pos}/{len} tokens, {per_sec}, {eta} left";
            let style = ProgressStyle::with_template(style).expect("the template is valid");
            ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr()).with_style(style)
        });
        bar.set_position(done as u64);
        if done == total {
            self.clear_bar();
        }
    }

    /// Calls are shown when they are whole, each on a line of its own.
    fn calling(&mut self, piece: Piece<'_>) {
        match (piece, &mut self.call) {
            (Piece::Begun(name), _) => {
                if self.channel.replace(Channel::Answer) == Some(Channel::Thinking) && self.shows_thinking() {
                    say!("\n");
                }
                self.call = Some(Call { name: name.to_owned(), arguments: String::new(), is_whole: false });
            }
            (Piece::Arguments(json), Some(call)) => call.arguments.push_str(json),
            (Piece::Ended, Some(call)) if !self.collect => {
                let line = calls::report_one(self.n_call, call).to_string();
                let before = if self.is_line_open { "\n" } else { "" };
                self.n_call += 1;
                self.print(&format!("{before}{line}\n"));
            }
            (Piece::Text(_) | Piece::Arguments(_) | Piece::Ended, _) => {}
        }
    }

    fn writing(&mut self, channel: Channel, text: &str) {
        let before = self.channel.replace(channel);
        if channel == Channel::Thinking {
            self.reasoning.push_str(text);
            if self.shows_thinking() {
                message::show_dim(text, io::stderr().is_terminal());
            }
            return;
        }
        if before == Some(Channel::Thinking) && self.shows_thinking() {
            say!("\n");
        }
        // The blank lines between reasoning and answer belong to neither.
        let text = if self.answer.is_empty() { text.trim_start_matches('\n') } else { text };
        self.answer.push_str(text);
        if !self.collect && !text.is_empty() {
            self.print(text);
        }
    }
}
