//! The memory of keys and values: pages of 64 positions of one attention layer, lent from one pool.
//!
//! A page that several sequences hold is theirs to read; who writes into one that is shared takes a copy first. A page
//! goes back to the pool when its last holder lets it go.

use super::Config;
use super::kv_type::{KvType, PageShape};
use crate::platform::machine::commit_memory;
use half::f16;
use kernels::Kernels;
use kernels::attention::{KvBlock, KvPages, KvRows, PAGE, Run};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

/// Storage of all pages, `[page, 2 (keys, values), n_head_kv, 64, head_dim]`. Pages that were never written take no memory.
pub struct PagePool {
    store: Store,
    shape: PageShape,
    shelf: Arc<Shelf>,
}

/// The units of storage of all pages.
enum Store {
    F16(Vec<f16>),
    Q8_0(Vec<KvBlock>),
}

/// Which pages are not lent.
struct Shelf(Mutex<Free>);

struct Free {
    /// Pages that came back, the latest last: they are lent again first, for their memory is there.
    returned: Vec<u32>,
    /// The pages from here on were never lent.
    untouched: u32,
    /// Pages in all.
    count: u32,
}

impl Shelf {
    fn free(&self) -> MutexGuard<'_, Free> {
        // A holder of the lock does nothing that can panic half way.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Which pool it is. A clone means the same one.
#[derive(Clone)]
pub(super) struct PoolId(Arc<Shelf>);

impl PartialEq for PoolId {
    fn eq(&self, other: &PoolId) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A page on loan. A clone is the same page.
#[derive(Clone)]
pub(super) struct Page(Arc<Loan>);

struct Loan {
    number: u32,
    shelf: Arc<Shelf>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.shelf.free().returned.push(self.number);
    }
}

/// There are too few pages left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{wanted} pages of {PAGE} keys and values are wanted, {free} of {count} are free")]
#[non_exhaustive]
pub struct OutOfPages {
    /// Pages wanted.
    pub wanted: usize,
    /// Pages that are free.
    pub free: usize,
    /// Pages of the pool.
    pub count: usize,
}

/// Pages that `n` positions take.
pub fn pages_of(n: usize) -> usize {
    n.div_ceil(PAGE)
}

impl PagePool {
    /// A pool of `count` pages.
    ///
    /// # Panics
    /// If `kv` does not suit the head size ([`KvType::suits`]), or there are 2³² pages or more.
    pub fn new(config: &Config, kv: KvType, count: usize) -> PagePool {
        assert!(kv.suits(config.head_dim), "heads of {} values in {}", config.head_dim, kv.name());
        let shape = PageShape::new(config, kv);
        let units = shape.units().checked_mul(count).expect("a pool within the address space");
        let store = match kv {
            KvType::F16 => Store::F16(bytemuck::zeroed_vec(units)),
            KvType::Q8_0 => Store::Q8_0(bytemuck::zeroed_vec(units)),
        };
        let count = u32::try_from(count).expect("fewer than 2³² pages");
        let free = Free { returned: Vec::new(), untouched: 0, count };
        PagePool { store, shape, shelf: Arc::new(Shelf(Mutex::new(free))) }
    }

    /// Bytes of a pool of `count` pages; sizes beyond the address space count as all of it.
    pub fn bytes(config: &Config, kv: KvType, count: usize) -> usize {
        PageShape::new(config, kv).bytes().saturating_mul(count)
    }

    /// Makes the system give the memory of all pages now.
    pub fn commit_memory(&mut self) {
        match &mut self.store {
            Store::F16(data) => commit_memory(data),
            Store::Q8_0(data) => commit_memory(data),
        }
    }

    /// What tells this pool from others.
    pub(super) fn id(&self) -> PoolId {
        PoolId(self.shelf.clone())
    }

    /// Pages that are not lent.
    pub fn n_free(&self) -> usize {
        let free = self.shelf.free();
        free.returned.len() + (free.count - free.untouched) as usize
    }

    /// Pages in all.
    fn n_page(&self) -> usize {
        self.shelf.free().count as usize
    }

    /// Whether so many pages are free.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, wanted: usize) -> Result<(), OutOfPages> {
        let free = self.n_free();
        if wanted > free { Err(OutOfPages { wanted, free, count: self.n_page() }) } else { Ok(()) }
    }

    fn lend(&self) -> Page {
        let mut free = self.shelf.free();
        let number = free.returned.pop().unwrap_or_else(|| {
            assert!(free.untouched < free.count, "a page is left: `reserve` has counted");
            free.untouched += 1;
            free.untouched - 1
        });
        drop(free);
        Page(Arc::new(Loan { number, shelf: self.shelf.clone() }))
    }

    /// Copies the first `rows` rows of every head of a page to another.
    fn copy_page(&mut self, from: &Page, to: &Page, rows: usize) {
        let PageShape { row_units, heads, .. } = self.shape;
        let unit = self.shape.units();
        let (from, to) = (from.0.number as usize * unit, to.0.number as usize * unit);
        for run in 0..2 * heads {
            let at = run * PAGE * row_units;
            let range = from + at..from + at + rows * row_units;
            match &mut self.store {
                Store::F16(data) => data.copy_within(range, to + at),
                Store::Q8_0(data) => data.copy_within(range, to + at),
            }
        }
    }

    /// Keys and values of one head at the positions in `range`, which begins at a page.
    pub(super) fn rows<'a>(
        &'a self,
        table: &'a PageTable,
        head: usize,
        range: Range<usize>,
    ) -> (KvRows<'a>, KvRows<'a>) {
        let PageShape { row_units, heads, .. } = self.shape;
        let pages = &table.numbers[range.start / PAGE..pages_of(range.end)];
        let rows = |half: usize| {
            let offset = (half * heads + head) * PAGE * row_units;
            let run = Run { page_len: self.shape.units(), offset, row_len: row_units };
            match &self.store {
                Store::F16(data) => KvRows::PagedF16(KvPages::new(data, pages, run, range.len())),
                Store::Q8_0(data) => KvRows::PagedQ8_0(KvPages::new(data, pages, run, range.len())),
            }
        };
        (rows(0), rows(1))
    }

    /// Stores the keys and values `[n, n_head_kv·head_dim]` of the positions from `first` on, for which `table` has pages of
    /// its own.
    pub(super) fn write(&mut self, kernels: &Kernels, table: &PageTable, first: usize, k: &[f32], v: &[f32]) {
        let PageShape { row_units, heads, head_dim, .. } = self.shape;
        for (half, data) in [k, v].into_iter().enumerate() {
            for (i, row) in data.chunks(heads * head_dim).enumerate() {
                let position = first + i;
                let page = table.numbers[position / PAGE] as usize * self.shape.units();
                for (head, x) in row.chunks(head_dim).enumerate() {
                    let at = page + ((half * heads + head) * PAGE + position % PAGE) * row_units;
                    match &mut self.store {
                        Store::F16(data) => kernels.f32_to_f16(x, &mut data[at..][..row_units]),
                        Store::Q8_0(data) => kernels.quantize_kv(x, &mut data[at..][..row_units]),
                    }
                }
            }
        }
    }
}

impl PagePool {
    /// The stored keys and values of positions of a table, which begin at a page, page by page:
    /// `[2, n_head_kv, rows, head_dim]`.
    pub(super) fn write_rows(
        &self,
        table: &PageTable,
        positions: Range<usize>,
        out: &mut impl io::Write,
    ) -> io::Result<()> {
        self.runs(table, positions).into_iter().try_for_each(|(range, _)| {
            out.write_all(match &self.store {
                Store::F16(data) => bytemuck::cast_slice(&data[range]),
                Store::Q8_0(data) => bytemuck::cast_slice(&data[range]),
            })
        })
    }

    /// Fills positions of a table, whose pages are its own, with what [`PagePool::write_rows`] has written of them, and takes
    /// that from `bytes`; `None`, with the rest of the pages as they were, if there is too little.
    pub(super) fn fill(&mut self, table: &PageTable, positions: Range<usize>, bytes: &mut &[u8]) -> Option<()> {
        for (range, len) in self.runs(table, positions) {
            let from = bytes.split_off(..len)?;
            let to: &mut [u8] = match &mut self.store {
                Store::F16(data) => bytemuck::cast_slice_mut(&mut data[range]),
                Store::Q8_0(data) => bytemuck::cast_slice_mut(&mut data[range]),
            };
            to.copy_from_slice(from);
        }
        Some(())
    }

    /// Where the rows of positions that begin at a page are, in units and in bytes.
    fn runs(&self, table: &PageTable, positions: Range<usize>) -> Vec<(Range<usize>, usize)> {
        let PageShape { row_units, heads, .. } = self.shape;
        let (mut runs, unit_bytes) = (Vec::new(), self.shape.bytes() / self.shape.units().max(1));
        for i in positions.start / PAGE..pages_of(positions.end) {
            let page = table.numbers[i];
            let units = (positions.end - i * PAGE).min(PAGE) * row_units;
            for run in 0..2 * heads {
                let start = page as usize * self.shape.units() + run * PAGE * row_units;
                runs.push((start..start + units, units * unit_bytes));
            }
        }
        runs
    }
}

/// The pages of one attention layer of one sequence, in the order of positions. A clone shares them.
#[derive(Clone, Default)]
pub(super) struct PageTable {
    pages: Vec<Page>,
    /// Their numbers, as the kernels take them.
    numbers: Vec<u32>,
}

impl PageTable {
    /// Pages that must be lent before the positions `n_past..n_past + n` can be written.
    pub fn n_missing(&self, n_past: usize, n: usize) -> usize {
        let end = pages_of(n_past + n);
        let written = self.pages.iter().take(end).skip(n_past / PAGE);
        written.filter(|page| Arc::strong_count(&page.0) > 1).count() + end.saturating_sub(self.pages.len())
    }

    /// Whether the pool has the pages that [`PageTable::reserve`] will take.
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, pool: &PagePool, n_past: usize, n: usize) -> Result<(), OutOfPages> {
        pool.check(self.n_missing(n_past, n))
    }

    /// Makes the pages of the positions `n_past..n_past + n` the table's own, and lets later ones go.
    ///
    /// # Panics
    /// If the pool has fewer pages than [`PageTable::n_missing`] says.
    pub fn reserve(&mut self, pool: &mut PagePool, n_past: usize, n: usize) {
        self.truncate(n_past + n);
        for at in n_past / PAGE..pages_of(n_past + n) {
            match self.pages.get_mut(at) {
                None => {
                    let page = pool.lend();
                    self.numbers.push(page.0.number);
                    self.pages.push(page);
                }
                Some(page) if Arc::strong_count(&page.0) > 1 => {
                    let own = pool.lend();
                    pool.copy_page(page, &own, n_past.saturating_sub(at * PAGE).min(PAGE));
                    self.numbers[at] = own.0.number;
                    *page = own;
                }
                Some(_) => {}
            }
        }
    }

    /// That of the first `n` positions.
    pub fn first(&self, n: usize) -> PageTable {
        let n = pages_of(n).min(self.pages.len());
        PageTable { pages: self.pages[..n].to_vec(), numbers: self.numbers[..n].to_vec() }
    }

    /// Holds the pages of another, which are the same as its own, as far as the first `n` positions fill them.
    pub fn share(&mut self, other: &PageTable, n: usize) {
        let n = (n / PAGE).min(self.pages.len()).min(other.pages.len());
        self.pages[..n].clone_from_slice(&other.pages[..n]);
        self.numbers[..n].copy_from_slice(&other.numbers[..n]);
    }

    /// Pages that nobody else holds.
    pub fn n_own(&self) -> usize {
        self.pages.iter().filter(|page| Arc::strong_count(&page.0) == 1).count()
    }

    /// Bytes of it, but for the pages.
    pub fn bytes(&self) -> usize {
        self.pages.len() * PageTable::PLACE
    }

    /// Bytes of one of `n` positions, but for the pages.
    pub fn bytes_of(n: usize) -> usize {
        pages_of(n).saturating_mul(PageTable::PLACE)
    }

    /// Bytes of the place of a page.
    const PLACE: usize = size_of::<Page>() + size_of::<u32>();

    /// Lets the pages behind the first `n` positions go.
    pub fn truncate(&mut self, n: usize) {
        self.pages.truncate(pages_of(n));
        self.numbers.truncate(pages_of(n));
    }

    /// Lets the first page go: what stands behind it moves forward by a page.
    pub fn drop_first(&mut self) {
        self.pages.drain(..1.min(self.pages.len()));
        self.numbers.drain(..1.min(self.numbers.len()));
    }

    /// Pages held, shared ones included.
    pub fn len(&self) -> usize {
        self.pages.len()
    }
}
