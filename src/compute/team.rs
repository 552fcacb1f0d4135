//! The thread team: the one place that knows threads.
//!
//! A token is a few hundred short parallel regions, so a region must cost well under a microsecond of overhead. The
//! workers of a [`Team`] wait for the next region by spinning briefly and go to sleep when none comes; within a region
//! the items are dealt out by atomic counters, so a slow core takes fewer of them. Which thread computes an item
//! never changes its result: results do not depend on the number of threads.
//!
//! The methods hand out *disjoint* pieces of output buffers, which is what makes their closures safe code.

use crate::compute::arena::Arena;
use crate::platform::machine::begin_worker;
use kernels::Tile;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long an idle worker spins before it sleeps: longer than the serial stretches inside a token, far shorter than
/// anything a battery would notice.
const SPIN: Duration = Duration::from_micros(60);

/// Values of which the norms, rounding and the like take one thread as long as to start a region: a few microseconds.
const ALONE: usize = 8192;

/// What the time of a run is booked on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Embedding, norms, residual additions, and everything not named below.
    Other,
    /// Products with the layers' weights.
    Products,
    /// Convolution and delta rule.
    DeltaRule,
    /// Softmax attention.
    Attention,
    /// The LM head.
    Head,
}

impl Phase {
    /// Every phase, with its name in reports.
    pub const ALL: [(Phase, &'static str); 5] = [
        (Phase::Products, "products"),
        (Phase::DeltaRule, "delta_rule"),
        (Phase::Attention, "attention"),
        (Phase::Head, "head"),
        (Phase::Other, "other"),
    ];
}

/// Time by phase, as the calling thread sees it.
#[derive(Clone, Debug)]
pub struct Profile {
    spent: [Duration; Phase::ALL.len()],
    /// Of all of that, waiting for other threads at the end of regions.
    pub waiting: Duration,
    phase: Phase,
    since: Instant,
}

impl Profile {
    fn new() -> Profile {
        Profile { spent: Default::default(), waiting: Duration::ZERO, phase: Phase::Other, since: Instant::now() }
    }

    fn enter(&mut self, phase: Phase) {
        let now = Instant::now();
        self.spent[self.phase as usize] += now - self.since;
        (self.phase, self.since) = (phase, now);
    }

    /// Time spent in a phase.
    pub fn spent(&self, phase: Phase) -> Duration {
        self.spent[phase as usize]
    }
}

/// A fixed set of threads that run parallel regions together with the calling thread.
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<(Thread, JoinHandle<()>)>,
    /// One for every thread, by its number.
    arenas: Vec<Arena>,
    profile: Option<Profile>,
}

/// A parallel region: called by the team's owner, and by each worker that comes in time, with the thread's number: the
/// owner's is 0, a worker's one more than its own.
type Region<'a> = &'a (dyn Fn(usize) + Sync);

/// In the gate: nobody may enter any more.
const CLOSED: u64 = 1 << 31;
/// In the gate: one more region.
const NEXT: u64 = 1 << 32;
/// In the gate: how many are inside.
const INSIDE: u64 = CLOSED - 1;

struct Shared {
    /// The number of the latest region (upper half), whether it is closed, and how many workers are inside (lower half).
    gate: AtomicU64,
    /// The latest region; may be called by whoever is inside.
    region: std::cell::UnsafeCell<Option<Region<'static>>>,
    /// Which workers are asleep, by number.
    asleep: Vec<AtomicBool>,
    /// Set when a worker panicked in a region.
    panicked: AtomicBool,
    quit: AtomicBool,
}

// SAFETY: `region` is written by the team's owner only while the gate is closed and nobody inside, and read only from
// inside (see `run` and `enter`); everything else is atomic.
unsafe impl Sync for Shared {}
// SAFETY: as above; the region itself is `Sync`, so a shared reference to it may move between threads.
unsafe impl Send for Shared {}

impl Team {
    /// A team of `threads` threads, the caller included; at least one.
    pub fn new(threads: usize) -> Team {
        let n_workers = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(CLOSED),
            region: std::cell::UnsafeCell::new(None),
            asleep: (0..n_workers).map(|_| AtomicBool::new(false)).collect(),
            panicked: AtomicBool::new(false),
            quit: AtomicBool::new(false),
        });
        let started = Arc::new(Barrier::new(n_workers + 1));
        let workers = (0..n_workers)
            .map(|i| {
                let (shared, started) = (shared.clone(), started.clone());
                let begin = move || {
                    // A thread's first allocation makes some systems reserve address space for it, for a moment twice what
                    // it keeps: that is over before the caller goes on and asks for much, under a limit maybe.
                    drop(std::hint::black_box(Box::new(i)));
                    begin_worker();
                    started.wait();
                    shared.work(i);
                };
                let thread = thread::Builder::new().name(format!("worker-{}", i + 1));
                let handle = thread.spawn(begin).expect("the system refuses another thread");
                (handle.thread().clone(), handle)
            })
            .collect();
        started.wait();
        let arenas = (0..=n_workers).map(|_| Arena::default()).collect();
        Team { shared, workers, arenas, profile: None }
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Makes room for `n` values in every arena, for items that need so many.
    pub fn reserve(&mut self, n: usize) {
        for Arena { values, .. } in &mut self.arenas {
            values.reserve_exact(n.saturating_sub(values.len()));
        }
    }

    /// Starts to book time; the bookings so far are forgotten.
    pub fn start_profile(&mut self) {
        self.profile = Some(Profile::new());
    }

    /// Ends the booking of time and returns the books, if there were any.
    pub fn take_profile(&mut self) -> Option<Profile> {
        self.enter(Phase::Other);
        self.profile.take()
    }

    /// From here on time is booked on `phase`; returns what it was booked on so far.
    pub fn enter(&mut self, phase: Phase) -> Phase {
        self.profile.as_mut().map_or(Phase::Other, |profile| {
            let before = profile.phase;
            profile.enter(phase);
            before
        })
    }

    /// Calls `region` on this thread, and on the workers that come before it has returned here. Nobody waits for a
    /// worker that the system has put aside: it finds the gate closed. The arenas are lent to the region, one a thread.
    ///
    /// # Panics
    /// If the region panics on any thread.
    fn run(&mut self, region: impl Fn(&mut Arena) + Sync) {
        let Team { shared, workers, arenas, profile } = self;
        let shared = &**shared;
        let arenas = Pieces::new(arenas, 1);
        // SAFETY: within a region no two threads have the same number, and each calls it once.
        let region = |thread: usize| region(&mut unsafe { arenas.piece(thread) }[0]);
        let region: Region<'_> = &region;
        // SAFETY: only the lifetime changes. Workers use the reference while inside, and this function does not return
        // (nor unwind past the guard) before the gate is closed and nobody inside.
        let region: Region<'static> = unsafe { std::mem::transmute(region) };
        // SAFETY: the gate is closed and nobody inside: so it was made, and so the guard of the last call left it.
        unsafe { *shared.region.get() = Some(region) };
        // A caller that panicked together with a worker did not come to look at this.
        shared.panicked.store(false, Ordering::Relaxed);
        let number = shared.gate.load(Ordering::Relaxed) & !(NEXT - 1);
        shared.gate.store(number.wrapping_add(NEXT), Ordering::SeqCst);
        for ((thread, _), asleep) in workers.iter().zip(&shared.asleep) {
            if asleep.load(Ordering::SeqCst) {
                thread.unpark();
            }
        }
        struct Close<'a>(&'a Shared);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                let mut inside = self.0.gate.fetch_or(CLOSED, Ordering::Acquire) & INSIDE;
                let mut spins = 0u32;
                while inside != 0 {
                    std::hint::spin_loop();
                    spins += 1;
                    // A worker may have lost its core to another process: let it have ours.
                    if spins.is_multiple_of(1 << 10) {
                        thread::yield_now();
                    }
                    inside = self.0.gate.load(Ordering::Acquire) & INSIDE;
                }
            }
        }
        {
            let close = Close(shared);
            region(0);
            let start = profile.is_some().then(Instant::now);
            drop(close);
            if let (Some(profile), Some(start)) = (profile, start) {
                profile.waiting += start.elapsed();
            }
        }
        assert!(!shared.panicked.load(Ordering::Relaxed), "a worker thread panicked");
    }

    /// Calls `f(i)` for every `i < n`, dealt out over the threads.
    ///
    /// # Panics
    /// If `f` panics on any thread, or there are 2³¹ items or more and several threads.
    pub fn for_each(&mut self, n: usize, f: impl Fn(usize) + Sync) {
        self.for_each_with(n, |_, i| f(i));
    }

    /// As [`Team::for_each`], calling `f(arena, i)` with the arena of the thread that the item falls to.
    ///
    /// # Panics
    /// As [`Team::for_each`].
    pub fn for_each_with(&mut self, n: usize, f: impl Fn(&mut Arena, usize) + Sync) {
        if n <= 1 || self.workers.is_empty() {
            let arena = &mut self.arenas[0];
            return (0..n).for_each(|i| f(arena, i));
        }
        let shares = Shares::new(n, self.threads());
        self.run(|arena| shares.work(|i| f(arena, i)));
    }

    /// As [`Team::for_each`] for `n` rows of so many values in all, each of which takes little time: of few values the calling
    /// thread is through before another would have come.
    fn for_rows(&mut self, n: usize, values: usize, f: impl Fn(usize) + Sync) {
        if values <= ALONE { (0..n).for_each(f) } else { self.for_each(n, f) }
    }

    /// Cuts `data` into pieces of `unit` values (the last may be shorter) and calls `f(i, piece i)` for each.
    pub fn split<T: Send>(&mut self, data: &mut [T], unit: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        self.split_with(data, unit, |_, i, piece| f(i, piece));
    }

    /// As [`Team::split`], calling `f(arena, i, piece i)` with the arena of the thread that the piece falls to.
    pub fn split_with<T: Send>(&mut self, data: &mut [T], unit: usize, f: impl Fn(&mut Arena, usize, &mut [T]) + Sync) {
        let pieces = Pieces::new(data, unit);
        self.for_each_with(pieces.count(), |arena, i| {
            // SAFETY: `for_each_with` calls with each `i` once, so no piece is borrowed twice.
            f(arena, i, unsafe { pieces.piece(i) });
        });
    }

    /// Cuts two buffers into the same number of pieces and calls `f(i, piece i of a, piece i of b)` for each.
    ///
    /// # Panics
    /// If the numbers of pieces differ.
    pub fn split2<A: Send, B: Send>(
        &mut self,
        (a, a_unit): (&mut [A], usize),
        (b, b_unit): (&mut [B], usize),
        f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
    ) {
        let values = a.len() + b.len();
        let (a, b) = (Pieces::new(a, a_unit), Pieces::new(b, b_unit));
        assert_eq!(a.count(), b.count(), "buffers of different numbers of pieces");
        self.for_rows(a.count(), values, |i| {
            // SAFETY: `for_each` calls with each `i` once, so no piece is borrowed twice.
            f(i, unsafe { a.piece(i) }, unsafe { b.piece(i) });
        });
    }

    /// As [`Team::split2`] for three buffers, the last of which is two: its pieces are those of the first, then those of
    /// the second.
    ///
    /// # Panics
    /// If the numbers of pieces differ.
    pub fn split_rows<A: Send, B: Send, C: Send>(
        &mut self,
        (a, a_unit): (&mut [A], usize),
        (b, b_unit): (&mut [B], usize),
        c: [(&mut [C], usize); 2],
        f: impl Fn(usize, &mut [A], &mut [B], &mut [C]) + Sync,
    ) {
        let values = a.len() + b.len();
        let (a, b) = (Pieces::new(a, a_unit), Pieces::new(b, b_unit));
        let c = c.map(|(c, unit)| Pieces::new(c, unit));
        let first = c[0].count();
        let same = a.count() == b.count() && a.count() == first + c[1].count();
        assert!(same, "buffers of different numbers of pieces");
        self.for_rows(a.count(), values, |i| {
            // SAFETY: `for_each` calls with each `i` once, so no piece is borrowed twice.
            let c = unsafe { if i < first { c[0].piece(i) } else { c[1].piece(i - first) } };
            // SAFETY: as above.
            f(i, unsafe { a.piece(i) }, unsafe { b.piece(i) }, c);
        });
    }

    /// Cuts each matrix into rectangles and calls `f(arena, matrix, rows, columns, rectangle)` for each of them, with the
    /// arena of the thread that the rectangle falls to.
    pub fn grids_with(
        &mut self,
        grids: &mut [Grid<'_>],
        f: impl Fn(&mut Arena, usize, Range<usize>, Range<usize>, Tile<'_>) + Sync,
    ) {
        let n = grids.iter().map(Grid::count).sum();
        let grids = &*grids;
        self.for_each_with(n, |arena, mut i| {
            let mut which = 0;
            while i >= grids[which].count() {
                i -= grids[which].count();
                which += 1;
            }
            let (rows, cols) = grids[which].ranges(i);
            // SAFETY: `for_each_with` calls with each rectangle once, and the rectangles of a grid do not overlap.
            let tile = unsafe { grids[which].tile(&rows, &cols) };
            f(arena, which, rows, cols, tile);
        });
    }

    /// Cuts pairs of matrices, each of one shape and in the same way, and calls `f(arena, pair, columns, rectangle of a,
    /// rectangle of b)`, with the arena of the thread that the rectangles fall to.
    ///
    /// # Panics
    /// If the matrices of a pair are cut differently.
    pub fn twins_with(
        &mut self,
        pairs: &[(Grid<'_>, Grid<'_>)],
        f: impl Fn(&mut Arena, usize, Range<usize>, Tile<'_>, Tile<'_>) + Sync,
    ) {
        let cut = |grid: &Grid<'_>| (grid.rows, grid.cols, grid.row_unit, grid.col_unit);
        assert!(pairs.iter().all(|(a, b)| cut(a) == cut(b)), "twins of different shape");
        let n = pairs.iter().map(|(a, _)| a.count()).sum();
        self.for_each_with(n, |arena, mut i| {
            let mut which = 0;
            while i >= pairs[which].0.count() {
                i -= pairs[which].0.count();
                which += 1;
            }
            let (a, b) = &pairs[which];
            let (rows, cols) = a.ranges(i);
            // SAFETY: `for_each_with` calls with each rectangle once, and the rectangles of a grid do not overlap.
            let (tile_a, tile_b) = unsafe { (a.tile(&rows, &cols), b.tile(&rows, &cols)) };
            f(arena, which, cols, tile_a, tile_b);
        });
    }

    /// Cuts a matrix into full-height column strips, `extra` into as many pieces of `unit` values, and calls
    /// `f(i, columns, strip, piece i of extra)` for each pair.
    ///
    /// # Panics
    /// If the numbers of strips and pieces differ.
    pub fn strips<T: Send>(
        &mut self,
        grid: Grid<'_>,
        (extra, unit): (&mut [T], usize),
        f: impl Fn(usize, Range<usize>, Tile<'_>, &mut [T]) + Sync,
    ) {
        let pieces = Pieces::new(extra, unit);
        assert!(grid.row_unit >= grid.rows && pieces.count() == grid.count(), "strips and pieces differ");
        self.for_each(pieces.count(), |i| {
            let (rows, cols) = grid.ranges(i);
            // SAFETY: `for_each` calls with each `i` once; strips and pieces of different numbers do not overlap.
            let (tile, piece) = unsafe { (grid.tile(&rows, &cols), pieces.piece(i)) };
            f(i, cols, tile, piece);
        });
    }
}

/// The items `0..n` of a region in even shares of consecutive ones, for what is consecutive is read ahead. Each thread
/// takes a share of its own from the front, and who has finished one takes from the back of the next: its owner goes on
/// in order.
struct Shares {
    /// What is left of each: see [`left`].
    shares: [OwnLine<AtomicU64>; MOST_SHARES],
    /// Threads that have begun.
    begun: AtomicUsize,
    count: usize,
}

/// More threads than that begin with a share that another has begun.
const MOST_SHARES: usize = 16;

/// A value that shares its cache line with no other.
#[repr(align(64))]
struct OwnLine<T>(T);

/// In a share: one item at its back.
const BACK: u64 = 1 << 32;

/// The items that are left of a share, which is its front in the lower half, its back in the upper one. Everyone who finds it
/// empty may have moved the front past the back, by one.
fn left(share: u64) -> Range<u64> {
    share % BACK..share / BACK
}

impl Shares {
    fn new(n: usize, threads: usize) -> Shares {
        // The methods that hand out pieces rely on every item coming once.
        assert!((n as u64) < BACK / 2, "{n} items: fronts leave their half");
        let count = threads.min(MOST_SHARES);
        let start = |share| (share * n / count) as u64;
        // Shares past the last are not looked at: a token has hundreds of regions, and no time to divide in vain.
        let share = |i| if i < count { start(i) + start(i + 1) * BACK } else { 0 };
        Shares { shares: std::array::from_fn(|i| OwnLine(AtomicU64::new(share(i)))), begun: AtomicUsize::new(0), count }
    }

    /// Calls `f` for items until none is left.
    fn work(&self, mut f: impl FnMut(usize)) {
        let own = self.begun.fetch_add(1, Ordering::Relaxed) % self.count;
        loop {
            let item = left(self.shares[own].0.fetch_add(1, Ordering::Relaxed));
            if item.is_empty() {
                break;
            }
            f(item.start as usize);
        }
        for other in (own + 1..own + self.count).map(|share| share % self.count) {
            let take = |share| (!left(share).is_empty()).then(|| share - BACK);
            while let Ok(share) = self.shares[other].0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                f(left(share).end as usize - 1);
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        for (thread, handle) in self.workers.drain(..) {
            thread.unpark();
            // A worker catches the panics of its regions; it has nothing to report here.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// The life of worker `i`.
    fn work(&self, i: usize) {
        let mut seen = 0;
        while let Some(number) = self.enter(i, seen) {
            seen = number;
            // SAFETY: we are inside, so the region was stored before the gate opened and stays until we leave.
            let region = unsafe { (*self.region.get()).expect("a region was announced") };
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| region(i + 1))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.gate.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an open region other than number `seen`, enters it and returns its number; `None` when the team ends.
    /// Spins for a while, then sleeps.
    fn enter(&self, i: usize, seen: u64) -> Option<u64> {
        let mut start = None;
        loop {
            for _ in 0..64 {
                let gate = self.gate.load(Ordering::SeqCst);
                let number = gate / NEXT;
                if number != seen && gate & CLOSED == 0 {
                    let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
                    if self.gate.compare_exchange_weak(gate, gate + 1, success, failure).is_ok() {
                        return Some(number);
                    }
                }
                std::hint::spin_loop();
            }
            if start.get_or_insert_with(Instant::now).elapsed() < SPIN {
                continue;
            }
            // Announce the sleep first, then look once more: `run` opens the gate first, then looks for sleepers, so
            // one of the two sees the other.
            self.asleep[i].store(true, Ordering::SeqCst);
            let gate = self.gate.load(Ordering::SeqCst);
            let quit = self.quit.load(Ordering::SeqCst);
            if !quit && (gate & CLOSED != 0 || gate / NEXT == seen) {
                thread::park();
            }
            self.asleep[i].store(false, Ordering::SeqCst);
            if quit {
                return None;
            }
        }
    }
}

/// A buffer in pieces that several threads may borrow, one each.
struct Pieces<'a, T> {
    ptr: *mut T,
    len: usize,
    unit: usize,
    owner: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: sharing only allows to borrow pieces, which `piece` makes the caller keep disjoint; T may be sent.
unsafe impl<T: Send> Sync for Pieces<'_, T> {}

impl<'a, T> Pieces<'a, T> {
    fn new(data: &'a mut [T], unit: usize) -> Self {
        assert!(unit > 0, "pieces of nothing");
        Pieces { ptr: data.as_mut_ptr(), len: data.len(), unit, owner: std::marker::PhantomData }
    }

    fn count(&self) -> usize {
        self.len.div_ceil(self.unit)
    }

    /// # Safety
    /// No two live results have the same `i`.
    #[allow(clippy::mut_from_ref)]
    unsafe fn piece(&self, i: usize) -> &mut [T] {
        let start = i * self.unit;
        assert!(start < self.len || self.len == 0);
        // SAFETY: the range lies inside the buffer, and pieces of different numbers are disjoint.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(start), self.unit.min(self.len - start)) }
    }
}

/// A row-major output matrix and how to cut it.
pub struct Grid<'a> {
    ptr: *mut f32,
    rows: usize,
    cols: usize,
    row_unit: usize,
    col_unit: usize,
    owner: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: sharing only allows to borrow rectangles, which `tile` makes the caller keep disjoint.
unsafe impl Sync for Grid<'_> {}
// SAFETY: a grid is a unique borrow of f32 values, which are Send.
unsafe impl Send for Grid<'_> {}

impl<'a> Grid<'a> {
    /// The matrix `[buffer.len() / cols, cols]`, cut into rectangles of `row_unit` rows and `col_unit` columns.
    ///
    /// # Panics
    /// If the buffer is not a whole number of rows, or a unit is zero.
    pub fn new(buffer: &'a mut [f32], cols: usize, row_unit: usize, col_unit: usize) -> Self {
        assert!(cols > 0 && buffer.len().is_multiple_of(cols), "{} values in rows of {cols}", buffer.len());
        assert!(row_unit > 0 && col_unit > 0, "rectangles of nothing");
        let rows = buffer.len() / cols;
        Grid { ptr: buffer.as_mut_ptr(), rows, cols, row_unit, col_unit, owner: std::marker::PhantomData }
    }

    /// Full-height strips of `col_unit` columns.
    pub fn strips(buffer: &'a mut [f32], cols: usize, col_unit: usize) -> Self {
        Grid::new(buffer, cols, usize::MAX, col_unit)
    }

    fn count(&self) -> usize {
        self.rows.div_ceil(self.row_unit) * self.cols.div_ceil(self.col_unit)
    }

    /// Rows and columns of rectangle `i`; the rows run fastest, so that threads share a strip of columns.
    fn ranges(&self, i: usize) -> (Range<usize>, Range<usize>) {
        let n = self.rows.div_ceil(self.row_unit);
        let (r, c) = ((i % n).saturating_mul(self.row_unit), i / n * self.col_unit);
        (r..r.saturating_add(self.row_unit).min(self.rows), c..(c + self.col_unit).min(self.cols))
    }

    /// # Safety
    /// The ranges come from [`Grid::ranges`], and no two live tiles come from the same number.
    unsafe fn tile(&self, rows: &Range<usize>, cols: &Range<usize>) -> Tile<'_> {
        // SAFETY: the rectangle lies inside the buffer this grid borrows, and no other tile overlaps it.
        unsafe { Tile::from_raw(self.ptr.add(rows.start * self.cols + cols.start), rows.len(), cols.len(), self.cols) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_runs_once_for_any_number_of_threads() {
        for threads in 1..=4 {
            let mut team = Team::new(threads);
            for n in [0, 1, 2, 7, 1000] {
                let sum = AtomicU64::new(0);
                team.for_each(n, |i| {
                    sum.fetch_add(1 << (i % 60), Ordering::Relaxed);
                });
                let expected: u64 = (0..n).map(|i| 1u64 << (i % 60)).fold(0, u64::wrapping_add);
                assert_eq!(sum.into_inner(), expected);
            }
        }
    }

    #[test]
    fn a_share_is_taken_in_order_from_the_front_and_by_helpers_from_the_back() {
        let taken = std::cell::RefCell::new(Vec::new());
        let shares = Shares::new(9, 2);
        shares.work(|i| {
            taken.borrow_mut().push(i);
            if i == 7 {
                // The owner of this share comes late.
                shares.work(|i| taken.borrow_mut().push(i));
            }
        });
        assert_eq!(taken.take(), [0, 1, 2, 3, 8, 7, 4, 5, 6]);

        // Fewer items than threads: a share has none from the start.
        let shares = Shares::new(1, 2);
        for _ in 0..2 {
            shares.work(|i| taken.borrow_mut().push(i));
        }
        assert_eq!(taken.into_inner(), [0]);
    }

    #[test]
    fn no_two_threads_share_an_arena_and_each_keeps_its_own() {
        for threads in 1..=4 {
            let mut team = Team::new(threads);
            team.reserve(100);
            for n in [1, 2, 100] {
                team.for_each_with(n, |arena, i| {
                    let values = arena.values(100);
                    values.fill(i as f32);
                    thread::yield_now();
                    assert!(values.iter().all(|&v| v == i as f32), "another thread wrote here");
                });
            }
            assert!(team.arenas.iter().all(|arena| arena.values.capacity() == 100));
        }
    }

    #[test]
    fn a_sleeping_team_wakes_up() {
        let mut team = Team::new(3);
        for _ in 0..20 {
            thread::sleep(SPIN * 3);
            let count = AtomicUsize::new(0);
            team.for_each(10, |_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 10);
        }
    }

    #[test]
    fn a_row_comes_with_its_piece_of_the_buffer_that_it_falls_to() {
        let mut team = Team::new(2);
        for (first, second) in [(0, 3), (4, 0), (3, 2)] {
            let n = first + second;
            let (mut a, mut b) = (vec![0; n], vec![0; 3 * n]);
            let (mut c, mut d) = (vec![0; 2 * first], vec![0; 5 * second]);
            team.split_rows((&mut a, 1), (&mut b, 3), [(&mut c, 2), (&mut d, 5)], |i, a, b, c| {
                assert_eq!((a.len(), b.len(), c.len()), (1, 3, if i < first { 2 } else { 5 }));
                [a, b, c].into_iter().flatten().for_each(|v| *v += i + 1);
            });
            let all = [(a, 1, 0), (b, 3, 0), (c, 2, 0), (d, 5, first)];
            for (buffer, unit, start) in all {
                assert!(buffer.iter().enumerate().all(|(i, &v)| v == start + i / unit + 1));
            }
        }
    }

    #[test]
    fn rectangles_cover_the_matrix_once() {
        let mut team = Team::new(2);
        let (mut a, mut b) = (vec![0.0; 7 * 10], vec![0.0; 3 * 5]);
        let mut grids = [Grid::new(&mut a, 10, 2, 3), Grid::strips(&mut b, 5, 4)];
        team.grids_with(&mut grids, |_, which, rows, cols, mut tile| {
            for (i, r) in rows.enumerate() {
                for (v, c) in tile.row_mut(i).iter_mut().zip(cols.clone()) {
                    *v += (which * 1000 + r * 10 + c + 1) as f32;
                }
            }
        });
        assert!(a.iter().enumerate().all(|(i, &v)| v == (i + 1) as f32));
        assert!(b.iter().enumerate().all(|(i, &v)| v == (1000 + i / 5 * 10 + i % 5 + 1) as f32));
    }

    /// Runs a region in which a worker panics, and the caller too if asked to; returns whether the caller heard of it.
    fn panic_on_a_worker(team: &mut Team, caller_too: bool) -> bool {
        let here = thread::current().id();
        let came = AtomicBool::new(false);
        let region = || {
            team.for_each(2, |_| {
                if thread::current().id() != here {
                    came.store(true, Ordering::Relaxed);
                    panic!("on purpose");
                }
                while !came.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                assert!(!caller_too, "on purpose");
            });
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(region)).is_err()
    }

    #[test]
    fn a_panic_in_a_region_reaches_the_caller_and_leaves_the_team_usable() {
        let mut team = Team::new(2);
        for caller_too in [false, true] {
            assert!(panic_on_a_worker(&mut team, caller_too));
            let count = AtomicUsize::new(0);
            team.for_each(10, |_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.into_inner(), 10);
        }
    }

    #[test]
    #[should_panic(expected = "fronts leave their half")]
    fn more_items_than_a_share_can_count_are_refused() {
        Shares::new(3 << 32, 2);
    }
}
