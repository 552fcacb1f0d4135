//! The thread team: the one place that knows threads.
//!
//! A token is a few hundred short parallel regions, so a region must cost well under a microsecond of overhead. The
//! workers of a [`Team`] wait for the next region by spinning briefly and go to sleep when none comes; within a region
//! the items are dealt out by one atomic counter, so a slow core takes fewer of them. Which thread computes an item
//! never changes its result: results do not depend on the number of threads.
//!
//! The methods hand out *disjoint* parts of output buffers, which is what makes their closures safe code.

use kernels::Tile;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long an idle worker spins before it sleeps: longer than the serial stretches inside a token, far shorter than
/// anything a battery would notice.
const SPIN: Duration = Duration::from_micros(60);

/// What the time of a run is booked on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
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

impl Part {
    /// Every part, with its name in reports.
    pub const ALL: [(Part, &'static str); 5] = [
        (Part::Products, "products"),
        (Part::DeltaRule, "delta_rule"),
        (Part::Attention, "attention"),
        (Part::Head, "head"),
        (Part::Other, "other"),
    ];
}

/// Time by part, as the calling thread sees it.
#[derive(Clone, Debug)]
pub struct Profile {
    spent: [Duration; Part::ALL.len()],
    /// Of all of that, waiting for other threads at the end of regions.
    pub waiting: Duration,
    part: Part,
    since: Instant,
}

impl Profile {
    fn new() -> Profile {
        Profile { spent: Default::default(), waiting: Duration::ZERO, part: Part::Other, since: Instant::now() }
    }

    fn enter(&mut self, part: Part) {
        let now = Instant::now();
        self.spent[self.part as usize] += now - self.since;
        (self.part, self.since) = (part, now);
    }

    /// Time spent in a part.
    pub fn spent(&self, part: Part) -> Duration {
        self.spent[part as usize]
    }
}

/// A fixed set of threads that run parallel regions together with the calling thread.
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<(Thread, JoinHandle<()>)>,
    profile: Option<Profile>,
}

/// A parallel region, as seen by a worker: called once with the worker's number.
type Region<'a> = &'a (dyn Fn(usize) + Sync);

struct Shared {
    /// Counts regions; a change tells the workers that `region` is new.
    epoch: AtomicU32,
    /// The current region; valid from the change of `epoch` until `pending` is back at zero.
    region: std::cell::UnsafeCell<Option<Region<'static>>>,
    /// Workers that have not finished the current region.
    pending: AtomicUsize,
    /// Which workers are asleep, by number.
    asleep: Vec<AtomicBool>,
    /// Set when a worker panicked in a region.
    panicked: AtomicBool,
    quit: AtomicBool,
}

// SAFETY: `region` is written by the team's owner only while `pending` is zero, when no worker reads it (see `run`);
// everything else is atomic.
unsafe impl Sync for Shared {}
// SAFETY: as above; the region itself is `Sync`, so a shared reference to it may move between threads.
unsafe impl Send for Shared {}

impl Team {
    /// A team of `threads` threads, the caller included; at least one.
    pub fn new(threads: usize) -> Team {
        let n_workers = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            epoch: AtomicU32::new(0),
            region: std::cell::UnsafeCell::new(None),
            pending: AtomicUsize::new(0),
            asleep: (0..n_workers).map(|_| AtomicBool::new(false)).collect(),
            panicked: AtomicBool::new(false),
            quit: AtomicBool::new(false),
        });
        let workers = (0..n_workers)
            .map(|i| {
                let shared = shared.clone();
                let handle = thread::Builder::new()
                    .name(format!("worker-{}", i + 1))
                    .spawn(move || shared.work(i))
                    .expect("the system refuses another thread");
                (handle.thread().clone(), handle)
            })
            .collect();
        Team { shared, workers, profile: None }
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Starts to book time; the bookings so far are forgotten.
    pub fn start_profile(&mut self) {
        self.profile = Some(Profile::new());
    }

    /// Ends the booking of time and returns the books, if there were any.
    pub fn take_profile(&mut self) -> Option<Profile> {
        self.enter(Part::Other);
        self.profile.take()
    }

    /// From here on time is booked on `part`; returns what it was booked on so far.
    pub fn enter(&mut self, part: Part) -> Part {
        self.profile.as_mut().map_or(Part::Other, |profile| {
            let before = profile.part;
            profile.enter(part);
            before
        })
    }

    /// Runs `region(worker)` once on every thread of the team and returns when all have finished.
    ///
    /// # Panics
    /// If the region panics on any thread. Must not be called from inside a region.
    fn run(&mut self, region: Region<'_>) {
        if self.workers.is_empty() {
            return region(0);
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. Workers use the reference between the epoch's change and their decrement
        // of `pending`; this function does not return (nor unwind past the guard) before `pending` is zero.
        let region: Region<'static> = unsafe { std::mem::transmute(region) };
        // SAFETY: `pending` is zero here (`&mut self`, and the last region was waited for), so no worker reads it.
        unsafe { *shared.region.get() = Some(region) };
        shared.pending.store(self.workers.len(), Ordering::Relaxed);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        for ((thread, _), asleep) in self.workers.iter().zip(&shared.asleep) {
            if asleep.load(Ordering::SeqCst) {
                thread.unpark();
            }
        }
        struct Wait<'a>(&'a Shared);
        impl Drop for Wait<'_> {
            fn drop(&mut self) {
                let mut spins = 0u32;
                while self.0.pending.load(Ordering::Acquire) != 0 {
                    std::hint::spin_loop();
                    spins += 1;
                    // A worker may have lost its core to another process: let it have ours.
                    if spins.is_multiple_of(1 << 12) {
                        thread::yield_now();
                    }
                }
            }
        }
        {
            let wait = Wait(shared);
            region(0);
            let start = self.profile.is_some().then(Instant::now);
            drop(wait);
            if let (Some(profile), Some(start)) = (&mut self.profile, start) {
                profile.waiting += start.elapsed();
            }
        }
        assert!(!shared.panicked.swap(false, Ordering::Relaxed), "a worker thread panicked");
    }

    /// Calls `f(i)` for every `i < n`, dealt out over the threads.
    pub fn for_each(&mut self, n: usize, f: impl Fn(usize) + Sync) {
        if n <= 1 || self.workers.is_empty() {
            return (0..n).for_each(f);
        }
        let next = AtomicUsize::new(0);
        self.run(&|_| {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= n {
                    break;
                }
                f(i);
            }
        });
    }

    /// Cuts `data` into pieces of `unit` values (the last may be shorter) and calls `f(i, piece i)` for each.
    pub fn split<T: Send>(&mut self, data: &mut [T], unit: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        let parts = Parts::new(data, unit);
        self.for_each(parts.count(), |i| {
            // SAFETY: `for_each` calls with each `i` once, so no piece is borrowed twice.
            f(i, unsafe { parts.part(i) });
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
        let (a, b) = (Parts::new(a, a_unit), Parts::new(b, b_unit));
        assert_eq!(a.count(), b.count(), "buffers of different numbers of pieces");
        self.for_each(a.count(), |i| {
            // SAFETY: `for_each` calls with each `i` once, so no piece is borrowed twice.
            f(i, unsafe { a.part(i) }, unsafe { b.part(i) });
        });
    }

    /// As [`Team::split2`] for three buffers.
    ///
    /// # Panics
    /// If the numbers of pieces differ.
    pub fn split3<A: Send, B: Send, C: Send>(
        &mut self,
        (a, a_unit): (&mut [A], usize),
        (b, b_unit): (&mut [B], usize),
        (c, c_unit): (&mut [C], usize),
        f: impl Fn(usize, &mut [A], &mut [B], &mut [C]) + Sync,
    ) {
        let (a, b, c) = (Parts::new(a, a_unit), Parts::new(b, b_unit), Parts::new(c, c_unit));
        assert!(a.count() == b.count() && a.count() == c.count(), "buffers of different numbers of pieces");
        self.for_each(a.count(), |i| {
            // SAFETY: `for_each` calls with each `i` once, so no piece is borrowed twice.
            f(i, unsafe { a.part(i) }, unsafe { b.part(i) }, unsafe { c.part(i) });
        });
    }

    /// Cuts each matrix into rectangles and calls `f(matrix, rows, columns, rectangle)` for each of them.
    pub fn grids(&mut self, grids: &mut [Grid<'_>], f: impl Fn(usize, Range<usize>, Range<usize>, Tile<'_>) + Sync) {
        let n = grids.iter().map(Grid::count).sum();
        let grids = &*grids;
        self.for_each(n, |mut i| {
            let mut which = 0;
            while i >= grids[which].count() {
                i -= grids[which].count();
                which += 1;
            }
            let (rows, cols) = grids[which].ranges(i);
            // SAFETY: `for_each` calls with each rectangle once, and the rectangles of a grid do not overlap.
            let tile = unsafe { grids[which].tile(&rows, &cols) };
            f(which, rows, cols, tile);
        });
    }

    /// Cuts two matrices of the same shape in the same way and calls `f(rows, columns, rectangle of a, rectangle of b)`.
    ///
    /// # Panics
    /// If the matrices are cut differently.
    pub fn twins(
        &mut self,
        a: Grid<'_>,
        b: Grid<'_>,
        f: impl Fn(Range<usize>, Range<usize>, Tile<'_>, Tile<'_>) + Sync,
    ) {
        assert_eq!(
            (a.rows, a.cols, a.row_unit, a.col_unit),
            (b.rows, b.cols, b.row_unit, b.col_unit),
            "twins of different shape"
        );
        self.for_each(a.count(), |i| {
            let (rows, cols) = a.ranges(i);
            // SAFETY: `for_each` calls with each `i` once, and the rectangles of a grid do not overlap.
            let (tile_a, tile_b) = unsafe { (a.tile(&rows, &cols), b.tile(&rows, &cols)) };
            f(rows, cols, tile_a, tile_b);
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
        let parts = Parts::new(extra, unit);
        assert!(grid.row_unit >= grid.rows && parts.count() == grid.count(), "strips and pieces differ");
        self.for_each(parts.count(), |i| {
            let (rows, cols) = grid.ranges(i);
            // SAFETY: `for_each` calls with each `i` once; strips and pieces of different numbers do not overlap.
            let (tile, part) = unsafe { (grid.tile(&rows, &cols), parts.part(i)) };
            f(i, cols, tile, part);
        });
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
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
        loop {
            seen = self.next_epoch(i, seen);
            if self.quit.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: the epoch changed, so `run` has stored the region and waits for our decrement below.
            let region = unsafe { (*self.region.get()).expect("a region was announced") };
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| region(i + 1))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.pending.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits until the epoch is no longer `seen`: spins, then sleeps.
    fn next_epoch(&self, i: usize, seen: u32) -> u32 {
        let mut start = None;
        loop {
            for _ in 0..64 {
                let epoch = self.epoch.load(Ordering::SeqCst);
                if epoch != seen {
                    return epoch;
                }
                std::hint::spin_loop();
            }
            if start.get_or_insert_with(Instant::now).elapsed() < SPIN {
                continue;
            }
            // Announce the sleep first, then look once more: `run` changes the epoch first, then looks for sleepers,
            // so one of the two sees the other.
            self.asleep[i].store(true, Ordering::SeqCst);
            if self.epoch.load(Ordering::SeqCst) == seen {
                thread::park();
            }
            self.asleep[i].store(false, Ordering::SeqCst);
        }
    }
}

/// A buffer in pieces that several threads may borrow, one each.
struct Parts<'a, T> {
    ptr: *mut T,
    len: usize,
    unit: usize,
    owner: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: sharing only allows to borrow pieces, which `part` makes the caller keep disjoint; T may be sent.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    fn new(data: &'a mut [T], unit: usize) -> Self {
        assert!(unit > 0, "pieces of nothing");
        Parts { ptr: data.as_mut_ptr(), len: data.len(), unit, owner: std::marker::PhantomData }
    }

    fn count(&self) -> usize {
        self.len.div_ceil(self.unit)
    }

    /// # Safety
    /// No two live results have the same `i`.
    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, i: usize) -> &mut [T] {
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
    use std::sync::atomic::AtomicU64;

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
    fn rectangles_cover_the_matrix_once() {
        let mut team = Team::new(2);
        let (mut a, mut b) = (vec![0.0; 7 * 10], vec![0.0; 3 * 5]);
        let mut grids = [Grid::new(&mut a, 10, 2, 3), Grid::strips(&mut b, 5, 4)];
        team.grids(&mut grids, |which, rows, cols, mut tile| {
            for (i, r) in rows.enumerate() {
                for (v, c) in tile.row_mut(i).iter_mut().zip(cols.clone()) {
                    *v += (which * 1000 + r * 10 + c + 1) as f32;
                }
            }
        });
        assert!(a.iter().enumerate().all(|(i, &v)| v == (i + 1) as f32));
        assert!(b.iter().enumerate().all(|(i, &v)| v == (1000 + i / 5 * 10 + i % 5 + 1) as f32));
    }

    #[test]
    #[should_panic(expected = "panicked")]
    fn a_panic_on_a_worker_reaches_the_caller() {
        let mut team = Team::new(2);
        team.run(&|worker| assert_eq!(worker, 0));
    }
}
