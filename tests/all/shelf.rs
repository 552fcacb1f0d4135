//! What is taken from the shelf is what was put there: its logits are those of a fresh run of the same rows, computed in the
//! same ways, bit for bit; and the shelf never has more than it may.

use crate::support::program::emulated;
use crate::support::{Fixture, levels};
use kernels::{Kernels, Way};
use qwen_edge::compute::Compute;
use qwen_edge::engine::context::text_rows;
use qwen_edge::engine::runner::{Runner, Settings, Step};
use qwen_edge::engine::sequence::Sequence;
use qwen_edge::engine::shelf::{self, LEAST, Shelf};
use qwen_edge::model::Model;
use qwen_edge::model::kv_type::KvType;
use std::sync::Arc;

/// Rows of a sequence at most.
const N_CTX: usize = 320;

/// Rows of a pass at most.
const N_BATCH: usize = 96;

/// Numbers that look random: a linear congruential generator.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

fn runner(model: &Arc<Model>, kernels: &'static Kernels, n_sequence: usize, n_checkpoint: usize) -> Runner {
    let settings = Settings { n_ctx: N_CTX, n_sequence, n_batch: N_BATCH, kv: KvType::F16, n_checkpoint };
    Runner::new(model.clone(), Compute::new(kernels, 1), settings).unwrap()
}

/// Computes rows in pieces; the logits behind the last one.
fn compute(runner: &mut Runner, sequence: &mut Sequence, ids: &[u32], way: Way, checkpoint_at: &[usize]) -> Vec<u32> {
    let (mut at, n_first) = (0, sequence.n_past());
    while at < ids.len() {
        let n = (ids.len() - at).min(if way == Way::Prompt { N_BATCH } else { 3 });
        let rows = text_rows(&ids[at..at + n], sequence.next_position());
        let inside = checkpoint_at.iter().filter_map(|point| point.checked_sub(n_first + at));
        let inside: Vec<usize> = inside.filter(|point| (1..n).contains(point)).collect();
        runner.run(&mut [Step { sequence, rows: &rows, way, want: 1, shown: 0, checkpoint_at: &inside }]).unwrap();
        at += n;
        if checkpoint_at.contains(&(n_first + at)) {
            sequence.checkpoint();
        }
    }
    bits(runner.logits(0..1))
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|x| x.to_bits()).collect()
}

/// The logits behind the last of these rows, computed by themselves.
fn afresh(runner: &mut Runner, rows: &[(u32, Way)]) -> Vec<u32> {
    let (mut sequence, mut logits) = (runner.sequence(), Vec::new());
    for rows in rows.chunk_by(|a, b| a.1 == b.1) {
        let ids: Vec<u32> = rows.iter().map(|row| row.0).collect();
        logits = compute(runner, &mut sequence, &ids, rows[0].1, &[]);
    }
    logits
}

/// A history of prompts and answers, many of which begin alike. Returns the rows that were not read, and prompts of which none was.
fn live(model: &Arc<Model>, kernels: &'static Kernels, seed: u64, n_checkpoint: usize) -> (usize, usize) {
    let (mut numbers, mut n_reused, mut n_whole) = (Numbers(seed), 0, 0);
    let (mut runner, mut fresh) = (runner(model, kernels, 2, n_checkpoint), runner(model, kernels, 1, 0));
    let (n_free, mut shelf) = (runner.n_free_page(), Shelf::new(&runner));
    let (mut past, mut asked): (Vec<Vec<u32>>, Vec<Vec<u32>>) = (vec![Vec::new()], Vec::new());
    for step in 0..12 {
        let what = format!("{}, history {seed}, step {step}", kernels.isa());
        // A beginning of what was said before, and something new.
        let begun = &past[numbers.below(past.len())];
        let mut ids = begun[..begun.len() - numbers.below(begun.len() / 4 + 1)].to_vec();
        ids.truncate(N_CTX - 130);
        ids.extend((0..1 + numbers.below(100)).map(|_| 3 + numbers.below(20) as u32));
        if numbers.below(4) == 0 && !asked.is_empty() {
            ids.clone_from(&asked[numbers.below(asked.len())]);
        }
        let keys = shelf::keys(&text_rows(&ids, 0));
        let found = shelf.find(&keys);
        let same = |past: &Vec<u32>| past.iter().zip(&ids).take_while(|(a, b)| a == b).count();
        let most = past.iter().map(same).max().unwrap();
        assert!(found.n <= found.known && found.known <= most, "{what}: {found:?}, {most}");
        let mut sequence = shelf.begin(&found, &runner);
        assert_eq!(sequence.n_past(), found.n, "{what}");
        assert!(found.n == 0 || found.n >= LEAST);
        n_reused += found.n;
        n_whole += usize::from(found.n == ids.len());
        let n_unread = ids.len() - found.n;
        let mut points: Vec<usize> = (0..3).map(|_| found.n + 1 + numbers.below(n_unread.max(1))).collect();
        // One near the end, as behind the last turn.
        points.push(ids.len().saturating_sub(1 + numbers.below(9)));
        points.retain(|point| (found.n + 1..ids.len()).contains(point));
        points.sort_unstable();
        points.dedup();
        let mut lease = shelf.lease(found.n, ids.len(), &points);
        assert!(shelf.bytes() <= shelf.most(), "{what}: {} of {} bytes", shelf.bytes(), shelf.most());
        let points = lease.points();
        sequence.allow_checkpoints(points.len());
        shelf.free_pages(&runner, sequence.n_missing(ids.len() - found.n).0);
        if n_unread > 0 {
            let logits = compute(&mut runner, &mut sequence, &ids[found.n..], Way::Prompt, &points);
            runner.keep_tip(&mut sequence, 0);
            let tip = sequence.tip().cloned().unwrap();
            assert!(logits == bits(runner.logits_behind(&tip)), "{what}: logits behind the tip");
        } else {
            let rows: Vec<(u32, Way)> = ids.iter().copied().zip(sequence.ways().iter().copied()).collect();
            let tip = sequence.tip().cloned().unwrap_or_else(|| panic!("{what}: no tip behind {found:?}"));
            let expected = afresh(&mut fresh, &rows);
            assert!(expected == bits(runner.logits_behind(&tip)), "{what}: the tip of {found:?}");
        }
        asked.push(ids.clone());
        shelf.keep_checkpoints(&mut lease, &mut sequence);
        let answer: Vec<u32> = (0..1 + numbers.below(24)).map(|_| 3 + numbers.below(20) as u32).collect();
        shelf.free_pages(&runner, sequence.n_missing(answer.len()).0);
        let logits = compute(&mut runner, &mut sequence, &answer, Way::Written, &[]);
        ids.extend(&answer);
        let rows: Vec<(u32, Way)> = ids.iter().copied().zip(sequence.ways().iter().copied()).collect();
        assert!(logits == afresh(&mut fresh, &rows), "{what}: {} rows, {} of them reused", rows.len(), found.n);
        shelf.keep(lease, sequence);
        assert!(shelf.bytes() <= shelf.most(), "{what}: {} of {} bytes", shelf.bytes(), shelf.most());
        past.push(ids);
    }
    shelf.clear();
    assert_eq!(runner.n_free_page(), n_free, "all pages come back");
    (n_reused, n_whole)
}

#[test]
fn what_is_taken_from_the_shelf_is_what_was_put_there() {
    for name in ["micro-f32", "q4_k_m"] {
        let model = Fixture::open(name).model();
        for kernels in levels() {
            let histories = if emulated() { 2 } else { 8 };
            let lives = (0..histories).map(|seed| live(&model, kernels, seed, seed as usize % 4));
            let (n_reused, n_whole) = lives.fold((0, 0), |(n, m), (reused, whole)| (n + reused, m + whole));
            assert!(n_reused > 300 * histories as usize, "{name}, {}: {n_reused}", kernels.isa());
            assert!(n_whole > histories as usize / 2, "{name}, {}: {n_whole} prompts", kernels.isa());
        }
    }
}
