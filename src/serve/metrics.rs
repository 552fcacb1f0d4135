//! What the server counts, as Prometheus reads it: the names of llama-server where it has one for the same, and our
//! own.

use super::event::Finish;
use crate::platform::machine;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bounds of the buckets of durations, in seconds.
const BOUNDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Counters of a server.
#[derive(Default)]
pub(super) struct Metrics {
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    /// Of these, tokens that were taken up from a folder.
    recalled_tokens: AtomicU64,
    /// Bytes written to a folder since the server began.
    pub written_bytes: AtomicU64,
    /// Bytes of the points of conversations that are kept in memory, and of those at work.
    pub kept_bytes: AtomicU64,
    /// The most that these may be.
    pub most_kept_bytes: AtomicU64,
    /// Points that are kept.
    pub kept_points: AtomicU64,
    prompt_micros: AtomicU64,
    predicted_tokens: AtomicU64,
    predicted_micros: AtomicU64,
    drafted: AtomicU64,
    accepted: AtomicU64,
    answers: AtomicU64,
    passes: AtomicU64,
    busy: AtomicU64,
    /// Answers in the making.
    pub processing: AtomicU64,
    /// Open connections.
    pub connections: AtomicU64,
    /// Panics that were caught.
    pub panics: AtomicU64,
    /// Responses by the hundreds of their status, and those whose clients left.
    responses: [AtomicU64; 6],
    queued: Histogram,
    first_token: Histogram,
    gaps: Histogram,
}

/// Durations by the bucket they fall in.
#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    fn note(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        add(&self.buckets[BOUNDS.iter().position(|&bound| seconds <= bound).unwrap_or(BOUNDS.len())], 1);
        add(&self.micros, time.as_micros() as u64);
    }

    fn write(&self, name: &str, help: &str, out: &mut String) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut n = 0;
        for (i, bucket) in self.buckets.iter().enumerate() {
            n += get(bucket);
            let bound = BOUNDS.get(i).map_or("+Inf".to_owned(), ToString::to_string);
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {n}");
        }
        let _ = writeln!(out, "{name}_sum {}\n{name}_count {n}", get(&self.micros) as f64 / 1e6);
    }
}

/// What one of several has in a gauge.
#[derive(Default)]
pub(super) struct Share(u64);

impl Share {
    /// It is `n` now.
    pub fn set(&mut self, gauge: &AtomicU64, n: u64) {
        // Taken away where it has become less.
        gauge.fetch_add(n.wrapping_sub(self.0), Ordering::Relaxed);
        self.0 = n;
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Metrics {
    /// A request got a seat after so long.
    pub fn seated(&self, waited: Duration) {
        self.queued.note(waited);
    }

    /// The first token of an answer came so long after the request.
    pub fn began(&self, after: Duration) {
        self.first_token.note(after);
    }

    /// A further token of an answer came so long after the one before.
    pub fn went_on(&self, after: Duration) {
        self.gaps.note(after);
    }

    /// About the time that so many requests take, in seconds: 1 to 60.
    pub fn seconds_of(&self, n: usize) -> u32 {
        let (micros, answers) = (get(&self.prompt_micros) + get(&self.predicted_micros), get(&self.answers).max(1));
        let at_once = (get(&self.busy) / get(&self.passes).max(1)).max(1);
        (micros / answers * n as u64 / at_once / 1_000_000).clamp(1, 60) as u32
    }

    /// So many tokens of a prompt were taken up from a folder.
    pub fn recalled(&self, n: usize) {
        add(&self.recalled_tokens, n as u64);
    }

    /// A pass for so many conversations.
    pub fn passed(&self, busy: usize) {
        add(&self.passes, 1);
        add(&self.busy, busy as u64);
    }

    /// An answer is complete.
    pub fn finished(&self, finish: &Finish) {
        add(&self.answers, 1);
        add(&self.prompt_tokens, (finish.n_prompt - finish.n_cached) as u64);
        add(&self.cached_tokens, finish.n_cached as u64);
        add(&self.prompt_micros, finish.prefill.as_micros() as u64);
        add(&self.predicted_tokens, finish.n_completion as u64);
        add(&self.predicted_micros, finish.decode.as_micros() as u64);
        add(&self.drafted, finish.n_drafted as u64);
        add(&self.accepted, finish.n_accepted as u64);
    }

    /// A request was answered with this status; 499 is that of a client that left.
    pub fn responded(&self, status: u16) {
        let class = if status == 499 { 0 } else { usize::from(status / 100).min(5) };
        add(&self.responses[class], 1);
    }

    /// All of it; `deferred` requests wait for a seat.
    pub fn render(&self, deferred: usize) -> String {
        let mut out = String::new();
        let mut one = |kind: &str, name: &str, help: &str, value: f64| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        let (prompt, prompt_s) = (get(&self.prompt_tokens) as f64, get(&self.prompt_micros) as f64 / 1e6);
        let (predicted, predicted_s) = (get(&self.predicted_tokens) as f64, get(&self.predicted_micros) as f64 / 1e6);
        let (passes, busy) = (get(&self.passes) as f64, get(&self.busy) as f64);
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        one("counter", "llamacpp:prompt_tokens_total", "Prompt tokens read.", prompt);
        one("counter", "llamacpp:prompt_seconds_total", "Time of reading prompts.", prompt_s);
        one("counter", "llamacpp:tokens_predicted_total", "Tokens written.", predicted);
        one("counter", "llamacpp:tokens_predicted_seconds_total", "Time of writing.", predicted_s);
        one("counter", "llamacpp:n_decode_total", "Passes over the weights.", passes);
        one("gauge", "llamacpp:n_busy_slots_per_decode", "Conversations in a pass, on average.", ratio(busy, passes));
        one("gauge", "llamacpp:prompt_tokens_seconds", "Prompt tokens a second.", ratio(prompt, prompt_s));
        one("gauge", "llamacpp:predicted_tokens_seconds", "Tokens written a second.", ratio(predicted, predicted_s));
        one("gauge", "llamacpp:requests_processing", "Answers in the making.", get(&self.processing) as f64);
        one("gauge", "llamacpp:requests_deferred", "Requests that wait for a seat.", deferred as f64);
        one(
            "counter",
            "qwen_edge_cached_tokens_total",
            "Prompt tokens that were read before.",
            get(&self.cached_tokens) as f64,
        );
        let from_folder = get(&self.recalled_tokens) as f64;
        one("counter", "qwen_edge_recalled_tokens_total", "Of these, tokens that came from a folder.", from_folder);
        let (written, kept) = (get(&self.written_bytes) as f64, get(&self.kept_bytes) as f64);
        one("counter", "qwen_edge_cache_written_bytes_total", "Bytes written to a folder.", written);
        one("gauge", "qwen_edge_kept_points", "Points of conversations in memory.", get(&self.kept_points) as f64);
        one("gauge", "qwen_edge_kept_bytes", "Bytes of these and of the states at work.", kept);
        one("gauge", "qwen_edge_kept_bytes_limit", "The most that they may be.", get(&self.most_kept_bytes) as f64);
        one("counter", "qwen_edge_drafted_tokens_total", "Tokens that were drafted.", get(&self.drafted) as f64);
        one("counter", "qwen_edge_accepted_tokens_total", "Drafts that were right.", get(&self.accepted) as f64);
        one("counter", "qwen_edge_panics_total", "Faults of the program that were caught.", get(&self.panics) as f64);
        one("gauge", "qwen_edge_connections", "Open connections.", get(&self.connections) as f64);
        let usage = machine::usage();
        one("gauge", "qwen_edge_resident_bytes", "Resident memory.", (usage.anonymous + usage.file) as f64);
        let _ = writeln!(out, "# HELP qwen_edge_responses_total Responses.\n# TYPE qwen_edge_responses_total counter");
        for (class, n) in ["gone", "1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(&self.responses) {
            let _ = writeln!(out, "qwen_edge_responses_total{{status=\"{class}\"}} {}", get(n));
        }
        self.queued.write("qwen_edge_queue_seconds", "Time until a request has a seat.", &mut out);
        self.first_token.write("qwen_edge_first_token_seconds", "Time until the first token.", &mut out);
        self.gaps.write("qwen_edge_token_gap_seconds", "Time between two tokens of an answer.", &mut out);
        out
    }
}
