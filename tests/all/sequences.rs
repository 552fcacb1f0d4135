//! A sequence is a value: whatever was done with it and whoever shared its passes, its logits are those of a fresh run of the
//! same rows, computed in the same ways, bit for bit.

use crate::support::program::emulated;
use crate::support::{Fixture, levels};
use kernels::{Kernels, Way};
use qwen_edge::compute::Compute;
use qwen_edge::engine::context::text_rows;
use qwen_edge::engine::run_error::RunError;
use qwen_edge::engine::runner::{Runner, Settings, Step};
use qwen_edge::engine::sequence::Sequence;
use qwen_edge::engine::snapshot::SnapshotError;
use qwen_edge::gguf::{Fingerprint, Gguf};
use qwen_edge::model::Model;
use qwen_edge::model::kv_type::KvType;
use std::path::Path;
use std::sync::Arc;

/// Rows of a pass at most.
const N_BATCH: usize = 96;

/// Rows of a sequence at most.
const N_CTX: usize = 200;

/// Sequences there are at a time, at most.
const MOST: usize = 6;

/// Random histories of the test; `QWEN_EDGE_TEST_HISTORIES` asks for another number.
fn n_history() -> u64 {
    let few = if emulated() { 12 } else { 60 };
    std::env::var("QWEN_EDGE_TEST_HISTORIES").map_or(few, |n| n.parse().unwrap())
}

/// Numbers that look random: a linear congruential generator.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// A sequence, and what is in it.
struct Told {
    sequence: Sequence,
    rows: Vec<(u32, Way)>,
}

impl Told {
    fn fork(&self) -> Told {
        Told { sequence: self.sequence.fork(), rows: self.rows.clone() }
    }
}

struct History<'m> {
    runner: Runner,
    /// Computes the same in the plainest way.
    fresh: Runner,
    fingerprint: &'m Fingerprint,
    sequences: Vec<Told>,
    numbers: Numbers,
}

fn runner(model: &Arc<Model>, kernels: &'static Kernels, threads: usize, kv: KvType, n_sequence: usize) -> Runner {
    let settings = Settings { n_ctx: N_CTX, n_sequence, n_batch: N_BATCH, kv, n_checkpoint: 2 };
    Runner::new(model.clone(), Compute::new(kernels, threads), settings).unwrap()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

impl History<'_> {
    /// The logits behind the last `want` of these rows, read by themselves in pieces of other lengths.
    fn afresh(&mut self, rows: &[(u32, Way)], want: usize) -> Vec<u32> {
        let n_vocab = self.fresh.model().n_vocab;
        let mut sequence = self.fresh.sequence();
        let mut logits = Vec::new();
        for rows in rows.chunk_by(|a, b| a.1 == b.1) {
            let (way, ids): (Way, Vec<u32>) = (rows[0].1, rows.iter().map(|row| row.0).collect());
            let most = match way {
                Way::Prompt => [N_BATCH, 1, 17, 5][self.numbers.below(4)],
                Way::Written => [1, 3, 16, 30][self.numbers.below(4)],
            };
            for ids in ids.chunks(most) {
                let rows = text_rows(ids, sequence.next_position());
                let (sequence, want) = (&mut sequence, ids.len());
                self.fresh.run(&mut [Step { sequence, rows: &rows, way, want, shown: 0, checkpoint_at: &[] }]).unwrap();
                logits.extend(bits(self.fresh.logits(0..want)));
            }
        }
        logits.split_off(logits.len() - want * n_vocab)
    }

    /// One pass over rows of some of the sequences, whose logits are compared with those of fresh runs.
    fn pass(&mut self, what: &str) {
        let n_vocab = self.runner.model().n_vocab;
        let mut room = N_BATCH;
        let mut plans = Vec::new();
        for told in &self.sequences {
            let way = if self.numbers.below(2) == 0 { Way::Prompt } else { Way::Written };
            let most = [20, 12][way as usize].min(room).min(N_CTX - told.rows.len());
            if most > 0 && self.numbers.below(3) > 0 {
                let n = 1 + self.numbers.below(most);
                let ids: Vec<u32> = (0..n).map(|_| self.numbers.below(n_vocab) as u32).collect();
                let rows = text_rows(&ids, told.sequence.next_position());
                let inside = (n > 1 && self.numbers.below(4) == 0).then(|| 1 + self.numbers.below(n - 1));
                room -= n;
                plans.push(Some((ids, rows, way, self.numbers.below(n + 1), inside)));
            } else {
                plans.push(None);
            }
        }
        let mut steps = Vec::new();
        for (told, plan) in self.sequences.iter_mut().zip(&plans) {
            let Some((ids, rows, way, want, inside)) = plan else { continue };
            told.rows.extend(ids.iter().map(|&id| (id, *way)));
            let (sequence, way, want) = (&mut told.sequence, *way, *want);
            steps.push(Step { sequence, rows, way, want, shown: rows.len() / 2, checkpoint_at: inside.as_slice() });
        }
        if steps.is_empty() {
            return;
        }
        let outputs = self.runner.run(&mut steps).unwrap();
        let n_output = outputs.iter().map(|range| range.end).max().unwrap();
        let logits = bits(self.runner.logits(0..n_output));
        let passed = plans.iter().enumerate().filter(|(_, plan)| plan.is_some());
        for ((who, _), range) in passed.collect::<Vec<_>>().into_iter().zip(outputs) {
            let rows = self.sequences[who].rows.clone();
            let expected = self.afresh(&rows, range.len());
            let found = &logits[range.start * n_vocab..range.end * n_vocab];
            assert!(found == expected, "{what}: {} rows behind {}", range.len(), rows.len() - range.len());
            if !range.is_empty() && self.numbers.below(2) == 0 {
                self.runner.keep_tip(&mut self.sequences[who].sequence, range.end - 1);
            }
        }
    }

    fn act(&mut self, what: &str) {
        let (n, n_row) = (self.sequences.len(), |told: &Told| told.rows.len());
        let who = if n > 0 { self.numbers.below(n) } else { 0 };
        match self.numbers.below(10) {
            0 if n < MOST => {
                self.sequences.push(Told { sequence: self.runner.sequence(), rows: Vec::new() });
            }
            1 if 0 < n && n < MOST => {
                let fork = self.sequences[who].fork();
                self.sequences.push(fork);
            }
            2 if n > 0 => {
                let told = &mut self.sequences[who];
                let back = self.numbers.below(told.sequence.n_logged() + 1);
                told.sequence.take_back(back).unwrap();
                told.rows.truncate(n_row(told) - back);
            }
            3 if n > 0 => {
                // To bytes and back, in the place of the one that was there.
                let told = &mut self.sequences[who];
                let bytes = self.runner.save(&told.sequence, self.fingerprint);
                told.sequence = self.runner.restore(&bytes, self.fingerprint).unwrap();
            }
            4 if n > 1 => {
                // One ends; or one takes the place of another, as a snapshot does that is gone back to.
                let ended = self.sequences.swap_remove(who);
                if self.numbers.below(2) == 0 {
                    let at = self.numbers.below(self.sequences.len());
                    self.sequences[at] = ended;
                }
            }
            5 if n > 0 => {
                // Back to whatever is known of a beginning.
                let told = &mut self.sequences[who];
                let keep = self.numbers.below(n_row(told) + 1);
                let more = (self.numbers.below(2) == 0).then_some(0);
                let ids: Vec<u32> = told.rows[..keep].iter().map(|row| row.0).chain(more).collect();
                let n_past = told.sequence.rewind_to_common_prefix(&text_rows(&ids, 0));
                assert!(n_past <= keep, "{n_past} of {keep} rows are known");
                assert!(n_past < ids.len().max(1) || told.sequence.tip().is_some(), "something is left to be read");
                told.rows.truncate(n_past);
            }
            6 if n > 0 => self.sequences[who].sequence.checkpoint(),
            _ => self.pass(what),
        }
        for who in 0..self.sequences.len() {
            let Told { sequence, rows } = &self.sequences[who];
            assert_eq!((sequence.n_past(), sequence.next_position()), (rows.len(), rows.len() as u32), "{what}");
            if let Some(tip) = sequence.tip().cloned().filter(|_| self.numbers.below(3) == 0) {
                let rows = rows.clone();
                let expected = self.afresh(&rows, 1);
                assert!(bits(self.runner.logits_behind(&tip)) == expected, "{what}: behind the tip of {}", rows.len());
            }
        }
    }
}

/// Runs random histories of this model.
fn live(model: &Arc<Model>, fingerprint: &Fingerprint, kernels: &'static Kernels, name: &str, histories: u64) {
    for seed in 0..histories {
        let kv = if seed % 3 == 2 { KvType::Q8_0 } else { KvType::F16 };
        let kv = if kv.suits(model.config.head_dim) { kv } else { KvType::F16 };
        let mut history = History {
            runner: runner(model, kernels, 1 + seed as usize % 2, kv, MOST),
            // Of two sequences, so that a pass may have more written rows than are logged.
            fresh: runner(model, kernels, 1, kv, 2),
            fingerprint,
            sequences: Vec::new(),
            numbers: Numbers(seed),
        };
        let n_free = history.runner.n_free_page();
        for step in 0..14 {
            history.act(&format!("{name}, {}, history {seed}, step {step}", kernels.isa()));
        }
        history.sequences.clear();
        assert_eq!(history.runner.n_free_page(), n_free, "all pages come back");
    }
}

#[test]
fn whatever_was_done_with_a_sequence_its_logits_are_those_of_a_fresh_run() {
    for (i, name) in ["micro-f32", "q4_k_m", "micro-untied"].into_iter().enumerate() {
        let fixture = Fixture::open(name);
        let (model, fingerprint) = (fixture.model(), fixture.gguf.fingerprint());
        for kernels in levels() {
            live(&model, &fingerprint, kernels, name, n_history() / [1, 2, 3][i]);
        }
    }
}

#[test]
fn the_same_holds_of_the_demo_model() {
    let gguf = Gguf::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-q8_0.gguf")).unwrap();
    let model = Arc::new(Model::bind(&gguf).unwrap());
    let kernels = levels().pop().unwrap();
    live(&model, &gguf.fingerprint(), kernels, "demo", n_history() / 10);
}

#[test]
fn forks_share_the_pages_of_what_they_have_in_common() {
    let fixture = Fixture::open("micro-f32");
    let (model, prompt) = (fixture.model(), fixture.prompt());
    let settings = Settings { n_ctx: 4096, n_sequence: 2, n_batch: 512, kv: KvType::F16, n_checkpoint: 0 };
    let mut runner = Runner::new(model.clone(), Compute::new(levels()[0], 1), settings).unwrap();
    let ids: Vec<u32> = prompt.into_iter().cycle().take(4000).collect();
    let mut first = runner.sequence();
    for ids in ids.chunks(512) {
        let rows = text_rows(ids, first.next_position());
        runner.run(&mut [Step::prompt(&mut first, &rows, 0)]).unwrap();
    }
    let (n_free, n_layer) = (runner.n_free_page(), model.config.n_attention());
    assert_eq!(first.n_page(), 63 * n_layer);
    let mut forks: Vec<Sequence> = (0..60).map(|_| first.fork()).collect();
    assert_eq!(runner.n_free_page(), n_free, "a fork takes no page");
    // Each writes a row into its last page, which is then its own: 4,000 tokens end inside one.
    for forks in forks.chunks_mut(30) {
        let row = text_rows(&[7], 4000);
        runner.run(&mut forks.iter_mut().map(|fork| Step::written(fork, &row)).collect::<Vec<_>>()).unwrap();
    }
    assert_eq!(runner.n_free_page(), n_free - 60 * n_layer);
    drop(forks);
    assert_eq!(runner.n_free_page(), n_free);
}

#[test]
fn what_a_runner_cannot_do_is_an_error_and_changes_nothing() {
    let fixture = Fixture::open("micro-f32");
    let model = fixture.model();
    let new = || runner(&model, levels()[0], 1, KvType::F16, 1);
    let (mut ours, theirs) = (new(), new());
    let rows = text_rows(&[1, 2, 3], 0);
    let mut foreign = theirs.sequence();
    assert_eq!(ours.run(&mut [Step::prompt(&mut foreign, &rows, 1)]).unwrap_err(), RunError::Foreign);
    // Pages for one sequence of 200 rows: two of them do not fit.
    let long = text_rows(&[5; 90], 0);
    let mut pair = [ours.sequence(), ours.sequence()];
    for sequence in &mut pair {
        ours.run(&mut [Step::prompt(sequence, &long, 1)]).unwrap();
    }
    let more = text_rows(&[5; 60], 90);
    let [a, b] = &mut pair;
    ours.run(&mut [Step::prompt(a, &more, 1)]).unwrap_err();
    assert_eq!((a.n_past(), b.n_past()), (90, 90));
    b.clear();
    ours.run(&mut [Step::prompt(a, &more, 1)]).unwrap();
    let step = Step { checkpoint_at: &[3], ..Step::prompt(b, &rows, 1) };
    assert_eq!(ours.run(&mut [step]).unwrap_err(), RunError::Checkpoints { n: 3 });
    let taken = b.take_back(1).unwrap_err();
    assert_eq!(taken.to_string(), "1 rows cannot be taken back: the last pass has left 0 that can");
}

#[test]
fn bytes_that_are_no_sequence_of_the_model_are_refused() {
    let fixture = Fixture::open("micro-f32");
    let (model, ours) = (fixture.model(), fixture.gguf.fingerprint());
    let mut whole = runner(&model, levels()[0], 1, KvType::F16, 2);
    let mut sequence = whole.sequence();
    let rows = text_rows(&[1, 2, 3], 0);
    whole.run(&mut [Step::prompt(&mut sequence, &rows, 1)]).unwrap();
    let bytes = whole.save(&sequence, &ours);
    assert!(whole.restore(&bytes, &ours).is_ok());

    let mut refused = |bytes: &[u8], model: &Fingerprint| whole.restore(bytes, model).err().expect("it is none");
    assert_eq!(refused(b"GGUF", &ours), SnapshotError::Magic);
    assert_eq!(refused(&bytes, &Fixture::open("q4_k_m").gguf.fingerprint()), SnapshotError::Model);
    // Cut anywhere, changed anywhere behind the settings.
    for n in (22..bytes.len()).step_by(97) {
        assert_eq!(refused(&bytes[..n], &ours), SnapshotError::Damaged, "cut to {n}");
        let mut changed = bytes.clone();
        changed[n.max(400)] ^= 4;
        assert_eq!(refused(&changed, &ours), SnapshotError::Damaged, "changed at {n}");
    }
    // Computed in another way.
    let level = *levels().last().unwrap();
    let isa = format!("the sequence was computed with another instruction-set level: expected {}", level.isa());
    let other = runner(&model, level, 1, KvType::F16, 2).restore(&bytes, &ours).err().map(|error| error.to_string());
    assert_eq!(other, (level.isa() != levels()[0].isa()).then_some(isa));
    let mut stretched = fixture.model();
    Arc::get_mut(&mut stretched).unwrap().config.rope.freq_base *= 2.0;
    let rope = runner(&stretched, levels()[0], 1, KvType::F16, 2).restore(&bytes, &ours).err().unwrap();
    assert!(rope.to_string().contains("another setting of rotary positions"), "{rope}");
    let settings = Settings { n_ctx: 2, n_sequence: 1, n_batch: 2, kv: KvType::F16, n_checkpoint: 0 };
    let mut small = Runner::new(model.clone(), Compute::new(levels()[0], 1), settings).unwrap();
    assert_eq!(small.restore(&bytes, &ours).err(), Some(SnapshotError::NoRoom { n_past: 3 }));
}
