//! Writing with drafts, as `bench` times it: the same text with and without, in turn, and what a draft step takes.
//!
//! The text is given: no token depends on what the model would choose, so that models of random weights can be measured. All
//! work is done as if it were. Where an acceptance is given, the block's guesses are made, and then put right or wrong as
//! chance has it.

use super::bench_passes::{self, Kind};
use kernels::Way;
use qwen_edge::engine::context::text_rows;
use qwen_edge::engine::draft::shortlist::Shortlist;
use qwen_edge::engine::draft::{Draft, Drafting, Drafts, MOST_BLOCK, Phase, Talk, Track};
use qwen_edge::engine::runner::{Runner, Step};
use qwen_edge::engine::sequence::Sequence;
use qwen_edge::model::input::InputRow;
use qwen_edge::sampler::{Sampler, Settings};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What is to be measured.
pub(super) struct Job<'a> {
    /// How tokens are drafted.
    pub draft: Draft,
    /// The probability of each draft of the block that it is accepted if those before it are; of later ones that of the last.
    pub acceptance: Option<&'a [f64]>,
    /// Prompt and answer.
    pub ids: &'a [u32],
    /// Tokens of the prompt.
    pub n_prompt: usize,
    pub runs: usize,
    /// Bytes of the block's weights.
    pub block_bytes: u64,
}

/// Numbers that look random: a linear congruential generator.
struct Numbers(u64);

impl Numbers {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// One answer.
struct Written {
    time: Duration,
    drafts: Drafts,
}

impl Job<'_> {
    /// Times prompt and answer, with drafts and without, in turn. `runner` drafts in the mode of the job.
    pub fn measure(&self, runner: &mut Runner) -> Value {
        let (mut reading, mut writing) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        let mut drafts = Drafts::default();
        let mut past = None;
        for run in 0..=self.runs {
            for (i, draft) in [Draft::Off, self.draft].into_iter().enumerate() {
                // There is memory for one at a time.
                drop(past.take());
                let start = Instant::now();
                let sequence = self.read(runner, draft != Draft::Off);
                let read = start.elapsed();
                let written = self.write(runner, &sequence, draft, run as u64);
                past = Some(sequence);
                // The first is a warm-up.
                if run > 0 {
                    reading[i].push(read);
                    writing[i].push(written.time);
                    drafts = written.drafts;
                }
            }
        }
        let past = past.expect("one run at least");
        let passes =
            bench_passes::measure(runner, &past, Kind::Rows, &(1..=MOST_BLOCK + 1).collect::<Vec<_>>(), self.runs);
        let step = runner.has_block().then(|| self.step(runner, &past));
        let ratio = |times: &[Vec<Duration>; 2]| {
            let mut ratios: Vec<f64> =
                times[0].iter().zip(&times[1]).map(|(off, on)| off.as_secs_f64() / on.as_secs_f64()).collect();
            ratios.sort_by(f64::total_cmp);
            ratios[ratios.len() / 2]
        };
        let n = (self.ids.len() - self.n_prompt - 1) as f64;
        let [off, on] = writing.each_ref().map(|times| n / seconds(times));
        json!({
            "plain_tok_s": off,
            "tok_s": on,
            "speedup": ratio(&writing),
            "prefill_cost": 1.0 / ratio(&reading),
            "predicted": self.predicted(&passes, step.as_ref()),
            "drafts": super::drafting::report(&drafts),
            "step": step,
            "rows": passes,
        })
    }

    /// A conversation that has read the prompt.
    fn read(&self, runner: &mut Runner, shows: bool) -> Sequence {
        let rows = text_rows(&self.ids[..self.n_prompt], 0);
        let mut sequence = runner.sequence();
        for rows in rows.chunks(runner.settings().n_batch) {
            let shown = if shows { rows.len() } else { 0 };
            runner.run(&mut [Step { shown, ..Step::prompt(&mut sequence, rows, 1) }]).expect("room for the prompt");
        }
        sequence
    }

    /// Writes the answer.
    fn write(&self, runner: &mut Runner, past: &Sequence, draft: Draft, seed: u64) -> Written {
        let (prompt, ids) = self.ids.split_at(self.n_prompt);
        let prompt = text_rows(prompt, 0);
        let mut sequence = past.fork();
        let (mut track, mut drafting) = (Track::default(), Drafting::new(runner));
        let (mut sampler, mut numbers) = (Sampler::new(Settings::greedy(), 0), Numbers(seed));
        let start = Instant::now();
        let mut at = 0;
        while at + 1 < ids.len() {
            let newest = text_rows(&ids[at..=at], sequence.next_position()).remove(0);
            if draft != Draft::Off {
                let (room, ids) = (ids.len() - at - 2, &ids[..=at]);
                let (track, sequence, phase) = (&mut track, &mut sequence, Phase::Answer);
                let talk =
                    Talk { track, sequence, prompt: &prompt, ids, newest: newest.clone(), phase, room, sampler: None };
                drafting.propose(runner, None, &mut [talk]);
            }
            if let Some(acceptance) = self.acceptance {
                let accepted = |i: usize| acceptance.get(i).or(acceptance.last()).copied().unwrap_or(0.0);
                track.forge(&ids[at + 1..], |i| numbers.unit() < accepted(i));
            }
            let drafts = text_rows(track.drafts(), newest.position[0] + 1);
            let rows: Vec<InputRow> = std::iter::once(newest).chain(drafts).collect();
            let n_kept = {
                let since = Instant::now();
                let outputs = runner.run(&mut [Step::written(&mut sequence, &rows)]).expect("room for it").remove(0);
                runner.logits(outputs.clone());
                let time = since.elapsed();
                let right = track.drafts().iter().zip(&ids[at + 1..]).take_while(|(a, b)| a == b).count();
                for output in 0..=right {
                    sampler.sample(runner.output(output).1);
                }
                let n_kept = 1 + right;
                sequence.take_back(rows.len() - n_kept).expect("rows of the last pass");
                if draft != Draft::Off {
                    runner.keep_hidden(&mut sequence, outputs.start..outputs.start + n_kept);
                    drafting.settle(&mut track, &ids[at + 1..at + 1 + n_kept]);
                    drafting.passed(1, rows.len() - 1, n_kept, time);
                }
                n_kept
            };
            at += n_kept;
        }
        Written { time: start.elapsed(), drafts: track.tally() }
    }

    /// What one draft step takes, by part.
    fn step(&self, runner: &mut Runner, past: &Sequence) -> Value {
        let mut sequence = past.fork();
        let n_embd = runner.model().config.n_embd;
        let (row, list) = (text_rows(&self.ids[..1], past.next_position()), Shortlist::new(runner.model().n_vocab));
        let mut times = [Vec::new(), Vec::new()];
        let mut y = vec![0.1; n_embd];
        for _ in 0..8 * self.runs {
            let start = Instant::now();
            y = runner.draft(&mut sequence, &y, &row, Way::Written).expect("there is a block").to_vec();
            times[0].push(start.elapsed());
            let start = Instant::now();
            runner.shortlist_logits(&y, &list);
            times[1].push(start.elapsed());
        }
        let [block, head] = times.each_ref().map(|times| seconds(times));
        let head_bytes = runner.model().output.matrix().row_bytes() * list.n_core();
        json!({
            "seconds": block + head,
            "block_seconds": block,
            "head_seconds": head,
            "block_bytes": self.block_bytes,
            "head_bytes": head_bytes,
        })
    }

    /// How much faster the best number of drafts is by the times of this run, if an acceptance was given.
    fn predicted(&self, passes: &Value, step: Option<&Value>) -> Option<f64> {
        let (acceptance, step) = (self.acceptance?, step?["seconds"].as_f64()?);
        let time = |rows: usize| passes[rows - 1]["seconds"].as_f64();
        let one = time(1)?;
        let (mut best, mut reached, mut tokens) = (1.0f64, 1.0, 1.0);
        for d in 1..=MOST_BLOCK {
            reached *= acceptance.get(d - 1).or(acceptance.last())?;
            tokens += reached;
            best = best.max(one * tokens / (d as f64 * step + time(d + 1)?));
        }
        Some(best)
    }
}

/// The median.
fn seconds(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
