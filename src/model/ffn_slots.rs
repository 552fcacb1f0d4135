//! Feed-forwards in slots of memory: those that do not stay in the mapped file are read into a slot when they are used.
//!
//! Most of a sparse model is experts, and a row uses few of them. Where not all fit, each layer keeps as many as the memory plan
//! allows, the most used ones, and the others come and go through slots that all layers share. All that are missing of a
//! layer are asked for at once, in the order of their use; threads of their own read them, several at a time; what was read
//! is either kept in place of the least used one that is, or makes room for the next.
//!
//! How often an expert was used is counted for each layer and row, and counts for half after [`HALF_LIFE`] rows more. One that
//! is not kept takes the place of another only when it was used more often by a whole row, so that equals do not change
//! places for ever. A prompt of many rows uses nearly all experts: they pass through the slots that come and go, while the kept
//! ones stay.
//!
//! Where the page cache is what is short, what is read does not go through it: copying from there takes four times the time of
//! the processor, and its pages would have to make room again.
//!
//! Dense layers that are streamed by reading are the same with one feed-forward in a layer and none kept: two slots, of which one
//! computes while the next layer is read into the other.
//!
//! Nothing here changes a bit of what is computed.
//!
//! Tried and left out: asking ahead for the experts of the next layer by its router, applied to the rows of this one. On a random model of
//! skew 1 with 44 % of its experts kept, which served 95 % of their uses, 40 tokens read 1.32 GB more beside the 1.05 GB that were
//! missing: more than half of what was asked for was not used, and where the disk is what limits, that costs more than it hides.
//! Large pages for the slots: 10.8 and 12.3 tokens a second in turn with 11.1 and 12.7 without (77 % kept, nearly all uses served).

use super::weights::{Ffn, FfnMatrices};
use crate::gguf::Stored;
use crate::platform::file_bytes::{DIRECT_PAGE, DirectFile, PageBuffer};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// Experts that are computed together at most: there are slots for as many, and for the next ones.
pub(super) const MOST_TOGETHER: usize = 16;

/// Slots that experts come and go through.
const PASSING: usize = 2 * MOST_TOGETHER;

/// Slots of dense layers.
const DENSE_SLOTS: usize = 2;

/// Rows after which a use counts for half.
const HALF_LIFE: f32 = 2048.0;

/// Experts that are read at the start where nothing is known of their use.
const SAMPLE: usize = 96;

/// Threads that read, and requests that are under way at most.
const READERS: usize = 8;

/// Their stacks, in bytes: they call no more than a read.
const READER_STACK: usize = 128 << 10;

/// Sizes of slots that are told apart at most; of more sizes all slots are as large as the largest.
const MOST_SIZES: usize = 4;

/// Bytes of the slot of a feed-forward whose matrices have so many bytes, wherever in their pages they begin; those beyond the
/// address space count as all of it.
pub fn slot_bytes(matrices: [usize; 3]) -> usize {
    matrices.into_iter().map(pages_bytes).fold(0, usize::saturating_add)
}

/// Bytes of the pages that a matrix of so many bytes touches at most.
fn pages_bytes(matrix: usize) -> usize {
    matrix.saturating_add(DIRECT_PAGE - 1).checked_next_multiple_of(DIRECT_PAGE).unwrap_or(usize::MAX)
}

/// Bytes of slots for layers whose feed-forwards need slots of so many bytes, each with so many kept and so many in all, and of
/// the threads that read.
pub fn slots_bytes(layers: impl Iterator<Item = (usize, usize, usize)> + Clone) -> u64 {
    let n_ffn = layers.clone().map(|(.., n)| n).max().unwrap_or(0);
    let sizes = sizes(layers.clone().map(|(bytes, ..)| bytes), n_ffn);
    let size_of = |bytes: usize| sizes[size_index(&sizes, bytes)];
    let kept = layers.map(|(bytes, kept, _)| (size_of(bytes) as u64).saturating_mul(kept as u64));
    let passing = sizes.iter().map(|&bytes| (bytes as u64).saturating_mul(n_passing(n_ffn) as u64));
    kept.chain(passing).fold((READERS * READER_STACK) as u64, u64::saturating_add)
}

/// Slots of each size that feed-forwards come and go through, where a layer has up to `n_ffn`.
fn n_passing(n_ffn: usize) -> usize {
    if n_ffn <= 1 { DENSE_SLOTS } else { PASSING.min(2 * n_ffn) }
}

/// The sizes of slots, ascending, where layers have up to `n_ffn` feed-forwards that need slots of so many bytes.
fn sizes(of_layers: impl Iterator<Item = usize>, n_ffn: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = of_layers.filter(|&bytes| bytes > 0).collect();
    sizes.sort_unstable();
    sizes.dedup();
    // Where none is kept, all layers share two slots.
    let most = if n_ffn <= 1 { 1 } else { MOST_SIZES };
    if sizes.len() > most { sizes.split_off(sizes.len() - 1) } else { sizes }
}

/// The smallest size that is enough.
fn size_index(sizes: &[usize], bytes: usize) -> usize {
    sizes.partition_point(|&size| size < bytes)
}

/// Why there are no slots.
#[derive(Debug, thiserror::Error)]
#[error("no memory or threads to read weights into memory with: {0}")]
pub struct SlotsError(#[from] io::Error);

/// A use of a feed-forward of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Use {
    /// Which.
    pub ffn: u32,
    /// By how many rows.
    pub rows: u32,
}

/// What was read, and what was there.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct SlotCounts {
    /// Uses of experts by written rows, those of one layer and pass once.
    pub uses: u64,
    /// Of these those that were kept.
    pub kept: u64,
    /// Bytes that were read, by prompts too.
    pub read_bytes: u64,
}

/// Memory for one feed-forward: the pages of gate, of up and of down, one behind the other.
struct Slot {
    pages: PageBuffer,
    /// Whether what it is for could be read. If not, the pass that uses it comes to nothing, and it is not kept.
    is_read: bool,
}

impl Slot {
    fn new(bytes: usize) -> io::Result<Slot> {
        Ok(Slot { pages: PageBuffer::new(bytes)?, is_read: false })
    }
}

/// Where the pages of the matrices of a feed-forward are in its slot.
fn pages(ffn: &Ffn) -> [Range<usize>; 3] {
    let mut end = 0;
    ffn.weights().map(|weight| {
        let start = end;
        end += pages_bytes(weight.stored().len());
        start..end
    })
}

/// One feed-forward of one layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key {
    il: usize,
    ffn: u32,
}

/// What a thread is to read.
struct Job {
    key: Key,
    /// The weights, and where their pages are in the slot.
    weights: [(Stored, Range<usize>); 3],
    slot: Slot,
    /// How they are read past the page cache, where they are to be.
    direct: [Option<Arc<DirectFile>>; 3],
    uncached: bool,
}

impl Job {
    fn read(&mut self) -> io::Result<()> {
        for ((weight, pages), direct) in self.weights.iter().zip(&self.direct) {
            weight.read(&mut self.slot.pages[pages.clone()], direct.as_deref())?;
            if self.uncached && direct.is_none() {
                weight.uncache();
            }
        }
        Ok(())
    }
}

/// What a thread has read.
struct Done {
    key: Key,
    slot: Slot,
    result: io::Result<()>,
}

/// The threads that read.
struct Readers {
    /// None at the end.
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    fn new() -> io::Result<Readers> {
        let ((jobs, to_do), (tell, done)) = (channel::<Job>(), channel());
        let to_do = Arc::new(Mutex::new(to_do));
        let mut readers = Readers { jobs: Some(jobs), done, threads: Vec::with_capacity(READERS) };
        for _ in 0..READERS {
            let (to_do, tell) = (to_do.clone(), tell.clone());
            let work = move || {
                loop {
                    let next = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(mut job) = next else { return };
                    let result = job.read();
                    let Job { key, mut slot, .. } = job;
                    slot.is_read = result.is_ok();
                    if tell.send(Done { key, slot, result }).is_err() {
                        return;
                    }
                }
            };
            readers.threads.push(std::thread::Builder::new().stack_size(READER_STACK).spawn(work)?);
        }
        Ok(readers)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The feed-forwards of a layer.
struct Layer {
    /// Which of the sizes its slots have.
    size: usize,
    /// The slots of those that are kept, by number.
    kept: Vec<Option<Slot>>,
    n_kept: usize,
    most_kept: usize,
    /// How often each was used.
    uses: Vec<f32>,
    /// What a use counts now: later ones count more, in place of earlier ones less.
    unit: f32,
}

impl Layer {
    /// Counts uses by `n` rows in all.
    fn count(&mut self, uses: &[Use], n: u32) {
        self.unit *= (n as f32 / HALF_LIFE).exp2();
        if self.unit > 1e12 {
            self.uses.iter_mut().for_each(|uses| *uses /= self.unit);
            self.unit = 1.0;
        }
        uses.iter().for_each(|&Use { ffn, rows }| self.uses[ffn as usize] += self.unit * rows as f32);
    }

    /// Which of the kept ones is to make room for `ffn`, if any is; not one that is still to come.
    fn least_used(&self, ffn: u32, to_come: &[bool]) -> Option<usize> {
        let kept = (0..self.kept.len()).filter(|&i| self.kept[i].is_some() && !to_come[i]);
        let least = kept.min_by(|&a, &b| self.uses[a].total_cmp(&self.uses[b]))?;
        (self.uses[ffn as usize] > self.uses[least] + self.unit).then_some(least)
    }
}

/// All that changes.
struct State {
    layers: Vec<Layer>,
    /// Free slots by size.
    spare: Vec<Vec<Slot>>,
    readers: Readers,
    /// Asked for and not there yet.
    under_way: Vec<Key>,
    /// Read ahead of their use.
    ahead: VecDeque<(Key, Slot)>,
    failure: Option<io::ErrorKind>,
    counts: SlotCounts,
}

/// The slots of a model.
pub struct FfnSlots {
    ffns: Vec<Arc<[Ffn]>>,
    sizes: Vec<usize>,
    /// Whether what is read is not to stay in the page cache, and the files that are then read past it, each with a weight that
    /// lies there.
    uncached: bool,
    direct: Vec<(Stored, Arc<DirectFile>)>,
    state: Mutex<State>,
}

impl FfnSlots {
    /// Slots for the feed-forwards of each layer, empty ones for layers that stay where they are, and how many of them are kept.
    /// `uses` is what is known of how often each was used before.
    ///
    /// # Errors
    /// If there is no memory, or no thread can be started.
    pub(super) fn new(
        layers: Vec<(Arc<[Ffn]>, usize)>,
        uncached: bool,
        uses: Option<&[Vec<f32>]>,
    ) -> Result<FfnSlots, SlotsError> {
        let bytes_of =
            |ffns: &[Ffn]| ffns.first().map_or(0, |ffn| slot_bytes(ffn.weights().map(|weight| weight.stored().len())));
        let n_ffn = layers.iter().map(|(ffns, _)| ffns.len()).max().unwrap_or(0);
        let (sizes, n_passing) = (sizes(layers.iter().map(|(ffns, _)| bytes_of(ffns)), n_ffn), n_passing(n_ffn));
        let spare = sizes.iter().map(|&bytes| (0..n_passing).map(|_| Slot::new(bytes)).collect());
        let spare = spare.collect::<io::Result<Vec<Vec<Slot>>>>()?;
        if let Some(first) = layers.iter().find_map(|(ffns, most)| ffns.first().filter(|_| *most > 0 || ffns.len() > 1))
        {
            first.ffn_down.stored().reads_at_random();
        }
        let layer = |(il, (ffns, most_kept)): (usize, &(Arc<[Ffn]>, usize))| {
            let known = uses.and_then(|uses| uses.get(il)).filter(|uses| uses.len() == ffns.len());
            Layer {
                size: size_index(&sizes, bytes_of(ffns)),
                kept: ffns.iter().map(|_| None).collect(),
                n_kept: 0,
                most_kept: *most_kept,
                uses: known.cloned().unwrap_or_else(|| vec![0.0; ffns.len()]),
                unit: 1.0,
            }
        };
        let state = State {
            layers: layers.iter().enumerate().map(layer).collect(),
            spare,
            readers: Readers::new()?,
            under_way: Vec::new(),
            ahead: VecDeque::new(),
            failure: None,
            counts: SlotCounts::default(),
        };
        let ffns: Vec<Arc<[Ffn]>> = layers.into_iter().map(|(ffns, _)| ffns).collect();
        let mut direct: Vec<(Stored, Arc<DirectFile>)> = Vec::new();
        // The matrices of a layer may lie in several files, each of them whole in one.
        let firsts = ffns.iter().filter_map(|ffns| ffns.first()).filter(|_| uncached);
        for weight in firsts.flat_map(|first| first.weights()).map(|weight| weight.stored()) {
            if !direct.iter().any(|(other, _)| other.shares_file(weight))
                && let Some(file) = weight.open_direct()
            {
                direct.push((weight.clone(), Arc::new(file)));
            }
        }
        Ok(FfnSlots { ffns, sizes, uncached, direct, state: Mutex::new(state) })
    }

    /// The feed-forwards of a layer.
    pub fn ffns(&self, il: usize) -> &[Ffn] {
        &self.ffns[il]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was read so far, and what was there.
    pub fn counts(&self) -> SlotCounts {
        self.lock().counts
    }

    /// How often each feed-forward was used, `[n_layer][n]`, with the latest use as 1.
    pub fn uses(&self) -> Vec<Vec<f32>> {
        let of_layer = |layer: &Layer| layer.uses.iter().map(|uses| uses / layer.unit).collect();
        self.lock().layers.iter().map(of_layer).collect()
    }

    /// Why a weight could not be read, if one could not: what was computed since is worth nothing.
    pub fn take_failure(&self) -> Option<io::ErrorKind> {
        self.lock().failure.take()
    }

    /// Reads experts that are known to be used most, as many as are kept; where nothing is known, a few of every layer. Returns
    /// the bytes of a second that were read. `progress` is told how many bytes are there, of how many.
    pub fn fill(&self, progress: &mut dyn FnMut(u64, u64)) -> Option<u64> {
        let (start, state) = (Instant::now(), &mut *self.lock());
        let mut wanted = Vec::new();
        for (il, layer) in state.layers.iter().enumerate() {
            let mut used: Vec<u32> = (0..layer.uses.len() as u32).filter(|&i| layer.uses[i as usize] > 0.0).collect();
            used.sort_by(|&a, &b| layer.uses[b as usize].total_cmp(&layer.uses[a as usize]));
            used.truncate(layer.most_kept);
            used.sort_unstable();
            wanted.extend(used.into_iter().map(|ffn| Key { il, ffn }));
        }
        let n_layer = self.ffns.len();
        let n_sample = if wanted.is_empty() { SAMPLE } else { 0 };
        for i in 0..n_sample {
            let (il, round) = (i % n_layer, i / n_layer);
            let n = self.ffns[il].len();
            if n > SAMPLE / n_layer + 1 {
                // Far apart, so that it is found out what reading here and there costs.
                wanted.push(Key { il, ffn: ((il + round * (n / (SAMPLE / n_layer + 1))) % n) as u32 });
            }
        }
        let bytes = |key: &Key| self.ffns[key.il][key.ffn as usize].bytes() as u64;
        let (total, mut done, mut wanted) = (wanted.iter().map(bytes).sum(), 0, wanted.into_iter().peekable());
        loop {
            while let Some(&key) = wanted.peek()
                && self.request(state, key)
            {
                wanted.next();
            }
            let Some((key, slot)) = state.receive() else { break };
            self.keep(state, key, slot);
            done += bytes(&key);
            progress(done, total);
        }
        (done > 0).then(|| (done as f64 / start.elapsed().as_secs_f64().max(1e-6)) as u64)
    }

    /// Bytes of a second that one thread reads of what is kept in memory, of so many bytes at most; None where nothing is.
    pub fn memory_rate(&self, most: usize) -> Option<u64> {
        let (state, largest) = (self.lock(), *self.sizes.last()?);
        let kept = state.layers.iter().flat_map(|layer| layer.kept.iter().flatten()).take(most.div_ceil(largest));
        // What the disk has just written is slow to read at first; and what else the machine does can only take away.
        let rates = (0..3).flat_map(|_| kept.clone()).map(|slot| {
            let start = Instant::now();
            std::hint::black_box(kernels::memory::read(&slot.pages));
            slot.pages.len() as f64 / start.elapsed().as_secs_f64().max(1e-6)
        });
        rates.max_by(f64::total_cmp).map(|fastest| fastest as u64)
    }

    /// Asks for a feed-forward; false where no slot is free.
    fn request(&self, state: &mut State, key: Key) -> bool {
        let size = state.layers[key.il].size;
        let Some(slot) = state.spare[size].pop().or_else(|| state.take_ahead(size)) else { return false };
        let ffn = &self.ffns[key.il][key.ffn as usize];
        let stored = ffn.weights().map(|weight| weight.stored());
        let direct = stored.map(|weight| {
            let file = self.direct.iter().find(|(other, _)| other.shares_file(weight));
            file.map(|(_, file)| file.clone())
        });
        let [gate, up, down] = pages(ffn);
        let weights = [(stored[0].clone(), gate), (stored[1].clone(), up), (stored[2].clone(), down)];
        state.counts.read_bytes += ffn.bytes() as u64;
        let jobs = state.readers.jobs.as_ref().expect("there are readers until the end");
        jobs.send(Job { key, weights, slot, direct, uncached: self.uncached }).expect("readers live as long as these");
        state.under_way.push(key);
        true
    }

    /// Keeps what was read where there is room for more.
    fn keep(&self, state: &mut State, key: Key, slot: Slot) {
        let layer = &mut state.layers[key.il];
        let has_room = slot.is_read && layer.n_kept < layer.most_kept && layer.kept[key.ffn as usize].is_none();
        // Another slot takes the place of the one that stays. Where the system has none, fewer are kept.
        match has_room.then(|| Slot::new(self.sizes[layer.size])) {
            Some(Ok(another)) => {
                layer.kept[key.ffn as usize] = Some(slot);
                layer.n_kept += 1;
                state.spare[layer.size].push(another);
            }
            Some(Err(_)) => {
                layer.most_kept = layer.n_kept;
                state.spare[layer.size].push(slot);
            }
            None => state.spare[layer.size].push(slot),
        }
    }

    /// Begins a pass over a layer, of which `uses` are the feed-forwards that are used, ascending.
    ///
    /// # Panics
    /// If the layer has none in slots.
    pub(super) fn begin(&self, il: usize, uses: &[Use]) -> Visit<'_> {
        let state = self.lock();
        let n_ffn = self.ffns[il].len();
        let mut to_come = vec![false; n_ffn];
        uses.iter().for_each(|used| to_come[used.ffn as usize] = true);
        let layer = &state.layers[il];
        let missing = uses.iter().map(|used| used.ffn).filter(|&ffn| layer.kept[ffn as usize].is_none()).collect();
        let mut visit = Visit { slots: self, il, to_come, missing, next: 0, here: Vec::new(), state };
        // What was read ahead for this layer is there; for another, it was a wrong guess.
        for (key, slot) in std::mem::take(&mut visit.state.ahead) {
            if key.il == il {
                visit.place(key, slot);
            } else {
                let size = visit.state.layers[key.il].size;
                visit.state.spare[size].push(slot);
            }
        }
        visit.request_missing();
        visit
    }
}

impl State {
    /// A slot of what was read ahead.
    fn take_ahead(&mut self, size: usize) -> Option<Slot> {
        let i = self.ahead.iter().rposition(|(key, _)| self.layers[key.il].size == size)?;
        self.ahead.remove(i).map(|(_, slot)| slot)
    }

    /// Waits for the next feed-forward that is under way; `None` where none is.
    fn receive(&mut self) -> Option<(Key, Slot)> {
        if self.under_way.is_empty() {
            return None;
        }
        let Done { key, slot, result } = self.readers.done.recv().expect("readers live as long as these");
        self.under_way.retain(|other| *other != key);
        if let Err(error) = result {
            self.failure = Some(error.kind());
        }
        Some((key, slot))
    }
}

/// A pass over a layer whose feed-forwards are in slots.
pub(super) struct Visit<'s> {
    slots: &'s FfnSlots,
    state: MutexGuard<'s, State>,
    il: usize,
    /// Which will still be used.
    to_come: Vec<bool>,
    /// Those that were not kept, and how many of them were asked for.
    missing: Vec<u32>,
    next: usize,
    /// Those of them that were read.
    here: Vec<(u32, Slot)>,
}

impl Visit<'_> {
    /// Counts the uses by `n` rows in all, which are written rows or not.
    pub fn count(&mut self, uses: &[Use], n: usize, written: bool) {
        let n_missing = self.missing.len() as u64;
        let State { layers, counts, .. } = &mut *self.state;
        if written {
            counts.uses += uses.len() as u64;
            counts.kept += uses.len() as u64 - n_missing;
        }
        layers[self.il].count(uses, n as u32);
    }

    /// Asks for as many of those that are missing as there are slots for.
    fn request_missing(&mut self) {
        while let Some(&ffn) = self.missing.get(self.next) {
            let key = Key { il: self.il, ffn };
            let is_coming = self.here.iter().any(|(here, _)| *here == ffn) || self.state.under_way.contains(&key);
            if !is_coming && !self.slots.request(&mut self.state, key) {
                return;
            }
            self.next += 1;
        }
    }

    /// Takes what was read.
    fn place(&mut self, key: Key, slot: Slot) {
        let is_wanted = key.il == self.il
            && self.to_come[key.ffn as usize]
            && self.state.layers[key.il].kept[key.ffn as usize].is_none();
        if is_wanted {
            self.here.push((key.ffn, slot));
        } else if key.il == self.il || !slot.is_read {
            let size = self.state.layers[key.il].size;
            self.state.spare[size].push(slot);
        } else {
            self.state.ahead.push_back((key, slot));
        }
    }

    fn bytes(&self, ffn: u32) -> Option<&[u8]> {
        let kept = self.state.layers[self.il].kept[ffn as usize].as_ref();
        let slot = kept.or_else(|| self.here.iter().find(|(here, _)| *here == ffn).map(|(_, slot)| slot));
        slot.map(|slot| &slot.pages[..])
    }

    /// Waits until these are in memory. Those of a pass are fetched in ascending order, and at most [`MOST_TOGETHER`] at a time.
    pub fn fetch(&mut self, ffns: &[u32]) {
        while ffns.iter().any(|&ffn| self.bytes(ffn).is_none()) {
            self.request_missing();
            let (key, slot) = self.state.receive().expect("what is missing was asked for");
            self.place(key, slot);
        }
    }

    /// The matrices of one that was fetched.
    pub fn matrices(&self, ffn: u32) -> FfnMatrices<'_> {
        let w = &self.slots.ffns[self.il][ffn as usize];
        let bytes = self.bytes(ffn).expect("it was fetched");
        let [gate, up, down] = pages(w).map(|pages| &bytes[pages]);
        FfnMatrices {
            ffn_gate: w.ffn_gate.matrix_of(&gate[w.ffn_gate.stored().place()]),
            ffn_up: w.ffn_up.matrix_of(&up[w.ffn_up.stored().place()]),
            ffn_down: w.ffn_down.matrix_of(&down[w.ffn_down.stored().place()]),
        }
    }

    /// These are not used any more in this pass. Those of them that come and go make room, or stay in place of less used ones.
    pub fn release(&mut self, ffns: &[u32]) {
        for &ffn in ffns {
            self.to_come[ffn as usize] = false;
        }
        for &ffn in ffns {
            let Some(i) = self.here.iter().position(|(here, _)| *here == ffn) else { continue };
            let (_, slot) = self.here.swap_remove(i);
            let layer = &mut self.state.layers[self.il];
            let is_full = slot.is_read && layer.n_kept >= layer.most_kept;
            let less_used = if is_full { layer.least_used(ffn, &self.to_come) } else { None };
            if let Some(least) = less_used {
                let out = layer.kept[least].take().expect("it is kept");
                layer.kept[ffn as usize] = Some(slot);
                let size = layer.size;
                self.state.spare[size].push(out);
            } else {
                self.slots.keep(&mut self.state, Key { il: self.il, ffn }, slot);
            }
        }
        self.request_missing();
    }

    /// Has the next layer read whose feed-forwards are in slots, as far as slots are free.
    pub fn ask_ahead(&mut self) {
        let n_layer = self.slots.ffns.len();
        let next = (1..=n_layer).map(|n| (self.il + n) % n_layer).find(|&il| !self.slots.ffns[il].is_empty());
        let Some(il) = next.filter(|&il| il != self.il) else { return };
        let size = self.state.layers[il].size;
        for ffn in 0..self.slots.ffns[il].len() as u32 {
            let key = Key { il, ffn };
            let is_there = self.state.layers[il].kept[ffn as usize].is_some()
                || self.state.under_way.contains(&key)
                || self.state.ahead.iter().any(|(other, _)| *other == key);
            if self.state.spare[size].is_empty() {
                return;
            }
            if !is_there {
                self.slots.request(&mut self.state, key);
            }
        }
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // What is left was not used after all.
        let size = self.state.layers[self.il].size;
        for (_, slot) in std::mem::take(&mut self.here) {
            self.state.spare[size].push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(n: usize, kept: &[usize]) -> Layer {
        let slot = |i| kept.contains(&i).then(|| Slot::new(1).unwrap());
        Layer {
            size: 0,
            kept: (0..n).map(slot).collect(),
            n_kept: kept.len(),
            most_kept: kept.len(),
            uses: vec![0.0; n],
            unit: 1.0,
        }
    }

    fn by_one_row(layer: &mut Layer, ffns: &[u32]) {
        layer.count(&ffns.iter().map(|&ffn| Use { ffn, rows: 1 }).collect::<Vec<_>>(), 1);
    }

    #[test]
    fn equals_do_not_take_each_others_place_and_the_more_used_takes_that_of_the_least() {
        let mut layer = layer(4, &[0, 1]);
        let nothing_to_come = [false; 4];
        by_one_row(&mut layer, &[0, 1]);
        by_one_row(&mut layer, &[0, 2]);
        assert_eq!(layer.least_used(2, &nothing_to_come), None, "as often as 1");
        by_one_row(&mut layer, &[0, 2]);
        by_one_row(&mut layer, &[0, 2]);
        assert_eq!(layer.least_used(2, &nothing_to_come), Some(1));
        assert_eq!(layer.least_used(2, &[false, true, false, false]), None, "1 is still to come, and 0 is used more");
    }

    #[test]
    fn what_was_used_long_ago_counts_less() {
        let mut layer = layer(2, &[0]);
        layer.count(&[Use { ffn: 0, rows: 100 }], 100);
        // However long a program runs, the numbers stay finite.
        (0..100).for_each(|_| layer.count(&[], HALF_LIFE as u32));
        for _ in 0..3 {
            by_one_row(&mut layer, &[1]);
        }
        assert_eq!(layer.least_used(1, &[false; 2]), Some(0));
        assert!(layer.uses.iter().all(|uses| uses.is_finite()) && layer.unit < 1e13);
    }

    #[test]
    fn slots_are_of_few_sizes_and_large_enough() {
        let layers = [(3 * 4096, 5, 8), (4 * 4096, 6, 8), (0, 0, 0)];
        let passing = 16 * (3 + 4) * 4096;
        let threads = (READERS * READER_STACK) as u64;
        assert_eq!(slots_bytes(layers.into_iter()), (5 * 3 + 6 * 4) * 4096 + passing + threads);
        // A file of many sizes has slots of one.
        let many = (1..=9).map(|i| (i * 4096, 1, 8));
        assert_eq!(slots_bytes(many), (9 * 9 + 16 * 9) * 4096 + threads);
        // Two bytes may lie in two pages.
        assert_eq!(slot_bytes([1, 2, 4098]), (1 + 2 + 3) * 4096);
        assert_eq!(slot_bytes([usize::MAX; 3]), usize::MAX);
    }
}
