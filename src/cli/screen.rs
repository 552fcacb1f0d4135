//! Where an answer appears: its text on standard output, everything else on standard error.

use super::signals;
use crate::generate::{Audience, Outcome, Stop};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};

/// Prompts shorter than this are read before a bar would be seen.
const BAR_FROM: usize = 256;

/// The terminal, or the pipes in its place.
pub(super) struct Screen {
    quiet: bool,
    /// Collect the answer rather than print it.
    collect: bool,
    bar: Option<ProgressBar>,
    /// The id that ends the thinking part.
    think_end: Option<u32>,
    thinking: bool,
    answer: String,
    reasoning: String,
    /// Why standard output takes no more: its reader has gone, or its disk is full.
    lost: Option<io::Error>,
}

impl Screen {
    pub fn new(quiet: bool, collect: bool) -> Screen {
        Screen {
            quiet,
            collect,
            bar: None,
            think_end: None,
            thinking: false,
            answer: String::new(),
            reasoning: String::new(),
            lost: None,
        }
    }

    /// A line about what is going on.
    pub fn note(&self, line: &str) {
        if !self.quiet {
            say!("{line}");
        }
    }

    /// An answer begins; with `thinking`, by its reasoning, which `think_end` ends.
    pub fn begin(&mut self, thinking: bool, think_end: Option<u32>) {
        signals::begin_answer();
        self.thinking = thinking && think_end.is_some();
        self.think_end = think_end;
        self.answer.clear();
        self.reasoning.clear();
    }

    /// The answer is complete.
    pub fn end(&mut self) {
        signals::end_answer();
        self.clear_bar();
        if self.thinking && !self.collect && !self.quiet {
            say!("");
        }
        if !self.collect && !self.answer.ends_with('\n') {
            self.print("\n");
        }
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

    /// How it went, on one line.
    pub fn summary(&self, outcome: &Outcome, bytes_per_token: usize) {
        let n_read = outcome.n_prompt - outcome.n_reused;
        let decode = outcome.decode_tok_s();
        let why = match outcome.stop {
            Stop::End | Stop::Length => "",
            Stop::ContextFull => "; the context is full",
            Stop::Interrupted => "; stopped",
        };
        self.note(&format!(
            "[read {n_read} tokens at {:.1} tok/s; wrote {} at {decode:.1} tok/s, {:.1} GB/s of weights{why}]",
            outcome.prefill_tok_s(),
            outcome.ids.len(),
            decode * bytes_per_token as f64 / 1e9,
        ));
    }

    fn print(&mut self, text: &str) {
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            self.lost.get_or_insert(error);
        }
    }

    fn clear_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Audience for Screen {
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

    fn writing(&mut self, id: u32, text: &str) {
        if self.thinking {
            if Some(id) == self.think_end {
                self.thinking = false;
                if !self.collect && !self.quiet {
                    say!("\n");
                }
            } else {
                self.reasoning.push_str(text);
                if !self.collect && !self.quiet {
                    let dim = std::io::stderr().is_terminal();
                    let (on, off) = if dim { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
                    show!("{on}{text}{off}");
                }
            }
            return;
        }
        // The blank lines between reasoning and answer belong to neither.
        let text = if self.answer.is_empty() { text.trim_start_matches('\n') } else { text };
        self.answer.push_str(text);
        if !self.collect && !text.is_empty() {
            self.print(text);
        }
    }

    fn proceed(&mut self) -> bool {
        self.lost.is_none() && !signals::interrupted()
    }
}
