//! Passes of several rows, as `bench` times them: of one conversation, as drafts make them, or one of each of several.

use super::bench::parts;
use qwen_edge::engine::context::text_rows;
use qwen_edge::engine::runner::{Runner, Step};
use qwen_edge::engine::sequence::Sequence;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often each size is timed for one run of the other measurements: passes are short.
const TIMES_A_RUN: usize = 6;

/// What a pass is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Written rows of one conversation.
    Rows,
    /// A written row of each of several.
    Sequences,
}

impl Kind {
    /// The key of the report, and of the size in it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Rows => "rows",
            Kind::Sequences => "sequences",
        }
    }
}

/// Times passes of these sizes behind `past`, logits of every row included, in turns: the medians, how they relate to that of
/// one row, the time to take the rows back, and what the last pass of each size spent its time on.
pub(super) fn measure(runner: &mut Runner, past: &Sequence, kind: Kind, sizes: &[usize], runs: usize) -> Value {
    let n_vocab = runner.model().n_vocab;
    let most = sizes.iter().copied().max().unwrap_or(1);
    let mut sequences: Vec<Sequence> = match kind {
        Kind::Rows => vec![past.fork()],
        Kind::Sequences => (0..most).map(|_| past.fork()).collect(),
    };
    let ids: Vec<u32> = (0..most).map(|i| ((i * 7919 + 131) % n_vocab) as u32).collect();
    let rows = text_rows(&ids, past.next_position());
    let mut pass = |n: usize| {
        let start = Instant::now();
        let mut steps: Vec<Step<'_>> = match kind {
            Kind::Rows => vec![Step::written(&mut sequences[0], &rows[..n])],
            Kind::Sequences => sequences.iter_mut().take(n).map(|s| Step::written(s, &rows[..1])).collect(),
        };
        runner.compute().team.start_profile();
        runner.run(&mut steps).expect("the runner has room for it");
        runner.logits(0..n);
        let time = start.elapsed();
        let profile = runner.compute().team.take_profile();
        let start = Instant::now();
        for sequence in &mut sequences {
            let n = sequence.n_past() - past.n_past();
            sequence.take_back(n).expect("written in the last pass");
        }
        let back = start.elapsed();
        (time, back, profile.map(|profile| parts(&profile)))
    };
    let mut sizes = sizes.to_vec();
    if !sizes.contains(&1) {
        sizes.insert(0, 1);
    }
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); sizes.len()];
    let mut backs = times.clone();
    let mut profiles: Vec<Option<Value>> = vec![None; sizes.len()];
    // Once without the clock: forks get states of their own.
    pass(most);
    for _ in 0..runs * TIMES_A_RUN {
        for (i, n) in sizes.iter().enumerate() {
            let (time, back, profile) = pass(*n);
            times[i].push(time);
            backs[i].push(back);
            profiles[i] = profile;
        }
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let one = sizes.iter().position(|&n| n == 1).map_or(f64::NAN, |i| medians[i]);
    let back: Vec<f64> = backs.iter_mut().map(|times| median(times)).collect();
    let of_size = |i: usize| {
        let (seconds, relative) = (medians[i], medians[i] / one);
        json!({
            kind.name(): sizes[i],
            "seconds": seconds,
            "relative": relative,
            "take_back_seconds": back[i],
            "parts": profiles[i],
        })
    };
    (0..sizes.len()).map(of_size).collect()
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    (times[(times.len() - 1) / 2] + times[times.len() / 2]).as_secs_f64() / 2.0
}
