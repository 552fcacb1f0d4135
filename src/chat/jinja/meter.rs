//! What a rendering may use: work, memory and stack.
//!
//! A template comes with a file and is a program, so that whatever it does must end soon and stay small. There are
//! three bounds, and each is kept in one place:
//!
//! - *Work*. Every node that is evaluated, every item that is visited and every [`BYTES_PER_STEP`] bytes that are read
//!   or written are a step. Filters and methods pay for their operands where they are called, whatever they do.
//! - *Memory*. Everything that a template makes lives in a [`Heap`], a [`Buffer`] or a [`Items`], and none of these can
//!   be had, or grow, without a [`Charge`]. A charge is given back when what it paid for is dropped, so that the bound
//!   is on what exists at one time: a long conversation may be copied often.
//! - *Stack*. Evaluation recurses, and [`Meter::descend`] measures how deep it is.
//!
//! Charges are made before memory is asked for, so that no request of a template is ever passed on unseen.

use super::error::{Cause, Error, Result};
use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;

/// Bytes that are as much work to read or copy as a node is to evaluate.
const BYTES_PER_STEP: usize = 64;

/// Bytes of stack that an evaluation may use. Threads have two megabytes or more.
const STACK: usize = 1 << 20;

/// Bytes that an allocation takes beside its contents: the counts of an [`Rc`], and what the allocator adds.
const OVERHEAD: usize = 32;

/// What a rendering may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps.
    pub work: u64,
    /// Bytes in use at one time.
    pub memory: usize,
}

/// The account of one rendering. Clones share it.
#[derive(Clone)]
pub struct Meter(Rc<Account>);

struct Account {
    /// Steps that are left.
    work: Cell<u64>,
    /// Bytes that are left.
    memory: Cell<usize>,
    limits: Limits,
    /// Where the stack was at the start.
    stack: usize,
}

impl Meter {
    pub fn new(limits: Limits) -> Self {
        let (work, memory) = (Cell::new(limits.work), Cell::new(limits.memory));
        Self(Rc::new(Account { work, memory, limits, stack: stack_pointer() }))
    }

    /// Pays for `steps` of work.
    ///
    /// # Errors
    /// [`Cause::Work`], now and ever after.
    pub fn work(&self, steps: usize) -> Result<()> {
        let left = self.0.work.get().saturating_sub(steps as u64);
        self.0.work.set(left);
        if left == 0 { Err(Error::new(Cause::Work)) } else { Ok(()) }
    }

    /// Pays for reading or copying `bytes`.
    ///
    /// # Errors
    /// As [`Meter::work`].
    pub fn scan(&self, bytes: usize) -> Result<()> {
        self.work(bytes / BYTES_PER_STEP)
    }

    /// Pays for `bytes` of memory, as long as the charge lives, and for filling them once.
    ///
    /// # Errors
    /// [`Cause::Memory`] or [`Cause::Work`].
    pub fn charge(&self, bytes: usize) -> Result<Charge> {
        let mut charge = Charge { meter: self.clone(), bytes: 0 };
        charge.grow(bytes)?;
        self.scan(bytes)?;
        Ok(charge)
    }

    /// Puts a value of fixed size on the heap; `inside` are the bytes of what it owns there.
    ///
    /// # Errors
    /// As [`Meter::charge`].
    pub fn put<T>(&self, value: T, inside: usize) -> Result<Rc<Heap<T>>> {
        let charge = self.charge(inside.saturating_add(size_of::<Heap<T>>() + OVERHEAD))?;
        Ok(Rc::new(Heap { value, _charge: charge }))
    }

    /// Puts a value on the heap whose memory is paid for by `charge` already.
    ///
    /// # Errors
    /// As [`Meter::charge`].
    pub fn keep<T>(value: T, mut charge: Charge) -> Result<Rc<Heap<T>>> {
        charge.grow(charge.bytes.saturating_add(size_of::<Heap<T>>() + OVERHEAD))?;
        Ok(Rc::new(Heap { value, _charge: charge }))
    }

    /// Must be called wherever the interpreter calls itself.
    ///
    /// # Errors
    /// The stack is used up, or the work.
    pub fn descend(&self) -> Result<()> {
        if stack_pointer().abs_diff(self.0.stack) > STACK {
            return Err(Error::failed("it is nested too deeply, or calls itself without end"));
        }
        self.work(1)
    }

    /// Whether no memory is in use.
    #[cfg(test)]
    pub fn is_settled(&self) -> bool {
        self.0.memory.get() == self.0.limits.memory
    }

    fn limit(&self) -> usize {
        self.0.limits.memory
    }
}

/// About where the stack ends at present.
#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0u8;
    std::hint::black_box(&raw const here) as usize
}

/// Memory that is paid for.
pub struct Charge {
    meter: Meter,
    bytes: usize,
}

impl Charge {
    /// Makes it a charge for `bytes`, which are no fewer than now. Filling them is paid for by those who do.
    ///
    /// # Errors
    /// [`Cause::Memory`]; then nothing has changed.
    pub fn grow(&mut self, bytes: usize) -> Result<()> {
        let account = &self.meter.0;
        let more = bytes.saturating_sub(self.bytes);
        let Some(left) = account.memory.get().checked_sub(more) else {
            let used = self.meter.limit() - account.memory.get();
            return Err(Error::new(Cause::Memory(used.saturating_add(more))));
        };
        account.memory.set(left);
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let left = &self.meter.0.memory;
        left.set(left.get() + self.bytes);
    }
}

/// A value that a template made, and what it pays for it.
pub struct Heap<T> {
    value: T,
    _charge: Charge,
}

impl<T> Deref for Heap<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Text that is paid for while it grows.
pub struct Buffer {
    text: String,
    charge: Charge,
    /// Bytes of work that are not paid yet, since they make no step.
    unpaid: usize,
}

/// Bytes that are as much work to append as an empty text is.
const BYTES_PER_PUSH: usize = 8;

impl Buffer {
    pub fn new(meter: &Meter) -> Self {
        Self { text: String::new(), charge: Charge { meter: meter.clone(), bytes: 0 }, unpaid: 0 }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn meter(&self) -> &Meter {
        &self.charge.meter
    }

    /// Makes room for `bytes` more, and pays for writing them.
    fn reserve(&mut self, bytes: usize) -> Result<()> {
        let needed = self.text.len().saturating_add(bytes);
        if needed > self.text.capacity() {
            let capacity = needed.max(self.text.capacity().saturating_mul(2)).max(16);
            // Where twice as much is too much, what is needed may not be.
            if self.charge.grow(capacity).is_ok() {
                self.text.reserve_exact(capacity - self.text.len());
            } else {
                self.charge.grow(needed)?;
                self.text.reserve_exact(bytes);
            }
        }
        self.unpaid += bytes + BYTES_PER_PUSH;
        if self.unpaid >= BYTES_PER_STEP {
            self.charge.meter.scan(self.unpaid)?;
            self.unpaid %= BYTES_PER_STEP;
        }
        Ok(())
    }

    pub fn push_str(&mut self, text: &str) -> Result<()> {
        self.reserve(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    pub fn push(&mut self, c: char) -> Result<()> {
        self.reserve(c.len_utf8())?;
        self.text.push(c);
        Ok(())
    }

    /// Appends `c`, `count` times.
    pub fn pad(&mut self, c: char, count: usize) -> Result<()> {
        self.reserve(count.saturating_mul(c.len_utf8()))?;
        self.text.extend(std::iter::repeat_n(c, count));
        Ok(())
    }

    /// Appends `text`, `count` times.
    pub fn repeat(&mut self, text: &str, count: usize) -> Result<()> {
        self.reserve(text.len().saturating_mul(count))?;
        if !text.is_empty() {
            (0..count).for_each(|_| self.text.push_str(text));
        }
        Ok(())
    }

    /// The text, and what pays for it.
    pub fn into_parts(self) -> (String, Charge) {
        (self.text, self.charge)
    }
}

/// A list that is paid for while it grows.
pub struct Items<T> {
    items: Vec<T>,
    charge: Charge,
}

impl<T> Items<T> {
    pub fn new(meter: &Meter) -> Self {
        Self { items: Vec::new(), charge: Charge { meter: meter.clone(), bytes: 0 } }
    }

    pub fn meter(&self) -> &Meter {
        &self.charge.meter
    }

    /// Makes room for exactly `count` more.
    ///
    /// # Errors
    /// As [`Meter::charge`].
    pub fn reserve(&mut self, count: usize) -> Result<()> {
        let capacity = self.items.len().saturating_add(count);
        if capacity > self.items.capacity() {
            self.charge.grow(capacity.saturating_mul(size_of::<T>()))?;
            self.charge.meter.scan(count * size_of::<T>())?;
            self.items.reserve_exact(count);
        }
        Ok(())
    }

    /// Appends an item; a step of work.
    ///
    /// # Errors
    /// As [`Meter::charge`].
    pub fn push(&mut self, item: T) -> Result<()> {
        self.charge.meter.work(1)?;
        if self.items.len() == self.items.capacity() {
            self.reserve(self.items.len().max(4))?;
        }
        self.items.push(item);
        Ok(())
    }

    /// Appends an item for which there is room, as far as there is; no work.
    pub fn push_within(&mut self, item: T) {
        debug_assert!(self.items.len() < self.items.capacity());
        self.items.push(item);
    }

    /// The items, and what pays for them.
    pub fn into_parts(self) -> (Vec<T>, Charge) {
        (self.items, self.charge)
    }
}

impl<T> Deref for Items<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.items
    }
}

impl<T> std::ops::DerefMut for Items<T> {
    /// Items may be changed and taken away; those who add any use [`Items::push`].
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter::new(Limits { work: 10_000, memory: 10_000 })
    }

    fn cause(result: Result<()>) -> Cause {
        result.unwrap_err().into_parts().1
    }

    #[test]
    fn memory_is_given_back() {
        let meter = meter();
        for _ in 0..10 {
            let mut buffer = Buffer::new(&meter);
            buffer.pad('x', 9000).unwrap();
            assert!(matches!(cause(buffer.pad('x', 9000)), Cause::Memory(18_000)));
            assert_eq!(meter.0.memory.get(), 1000);
            let mut items = Items::new(&meter);
            items.push(0u64).unwrap();
            assert!(items.reserve(usize::MAX).is_err());
        }
        assert_eq!(meter.0.memory.get(), 10_000);
    }

    #[test]
    fn work_that_is_used_up_stays_used_up() {
        let meter = meter();
        assert_eq!(meter.scan(64 * 9_999).map_err(|_| ()), Ok(()));
        assert_eq!(cause(meter.work(1)), Cause::Work);
        assert_eq!(cause(meter.work(0)), Cause::Work);
    }

    #[test]
    fn recursion_ends_before_the_stack_does() {
        fn down(meter: &Meter) -> usize {
            std::hint::black_box([0u8; 200]);
            if meter.descend().is_err() { 0 } else { 1 + down(meter) }
        }
        let meter = Meter::new(Limits { work: u64::MAX, memory: 0 });
        assert!((100..20_000).contains(&down(&meter)));
    }
}
