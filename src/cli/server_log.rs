//! What `serve` says on standard error.
//!
//! Of requests a thread of its own tells: where nobody reads what is said, as in a pipe that is full, lines are left out,
//! and no client waits.

use clap::ValueEnum;
use qwen_edge::serve::{RequestLine, seconds};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

/// Requests that are to be told of, at most.
const WAITING: usize = 4096;

/// Time for the last of them once the server has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How the log is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Form {
    /// In words.
    Text,
    /// As JSON.
    Json,
}

impl Form {
    /// Says something.
    pub fn say(self, message: &str) {
        match self {
            Form::Text => say!("{message}"),
            Form::Json => say!("{}", json!({"time": seconds(SystemTime::now()), "message": message})),
        }
    }

    fn tell(self, line: &RequestLine) {
        match self {
            Form::Text => say!("{line}"),
            Form::Json => say!("{}", line.to_json()),
        }
    }
}

/// Something for the thread that tells.
enum Said {
    Line(RequestLine),
    /// Nothing more comes; whoever waits is told when all is said.
    End(SyncSender<()>),
}

/// The log of requests. Clones write to the same one.
#[derive(Clone)]
pub struct RequestLog {
    lines: SyncSender<Said>,
    n_left_out: Arc<AtomicU64>,
}

impl RequestLog {
    /// Begins one.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn begin(form: Form) -> std::io::Result<RequestLog> {
        let (lines, said) = sync_channel(WAITING);
        let log = RequestLog { lines, n_left_out: Arc::default() };
        let n_left_out = Arc::clone(&log.n_left_out);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || tell(form, &said, &n_left_out))?;
        Ok(log)
    }

    /// Tells of a request, soon.
    pub fn tell(&self, line: &RequestLine) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Said::Line(line.clone())) {
            self.n_left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until all is said, if somebody reads it.
    pub fn end(&self) {
        let (done, is_done) = sync_channel(1);
        if self.lines.try_send(Said::End(done)).is_ok() {
            let _ = is_done.recv_timeout(LAST_WORDS);
        }
    }
}

fn tell(form: Form, said: &Receiver<Said>, n_left_out: &AtomicU64) {
    for said in said {
        match said {
            Said::Line(line) => form.tell(&line),
            Said::End(done) => _ = done.send(()),
        }
        match n_left_out.swap(0, Ordering::Relaxed) {
            0 => {}
            n => form.say(&format!("note: {n} requests are left out here: they came faster than this log is read")),
        }
    }
}
