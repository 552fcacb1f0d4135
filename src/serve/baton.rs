//! Of several models one computes at a time: threads that wait for each other inside a pass must not wait for another
//! model's threads as well. Those who want the baton get it in the order in which they came.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Had by one at a time.
#[derive(Default)]
pub(super) struct Baton {
    tickets: Mutex<Tickets>,
    passed: Condvar,
}

#[derive(Default)]
struct Tickets {
    /// The next one that is given out.
    next: u64,
    /// The one whose turn it is.
    now: u64,
}

impl Baton {
    /// Waits for it; it is passed on when what this returns is dropped.
    pub fn take(&self) -> Taken<'_> {
        let mut tickets = self.lock();
        let own = tickets.next;
        tickets.next += 1;
        let waited = self.passed.wait_while(tickets, |tickets| tickets.now != own);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Taken(self)
    }

    fn lock(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has this has the baton.
pub(super) struct Taken<'b>(&'b Baton);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.lock().now += 1;
        self.0.passed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    #[test]
    fn one_has_it_at_a_time_and_all_get_it() {
        let (baton, inside, rounds) = (Baton::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _taken = baton.take();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        rounds.fetch_add(1, Ordering::SeqCst);
                        thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(rounds.into_inner(), 800);
    }

    #[test]
    fn a_panic_passes_it_on() {
        let baton = Baton::default();
        let fault = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _taken = baton.take();
            panic!("with the baton");
        }));
        assert!(fault.is_err());
        drop(baton.take());
    }
}
