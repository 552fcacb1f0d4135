//! Requests that wait for a seat. Clients take turns, so that one with many requests does not keep out one with few;
//! the requests of one client are served in order.

use super::job::Job;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The queue before the engine.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Something for the engine to look at.
    changed: Condvar,
    capacity: usize,
}

struct Inner {
    /// The client that is next, first.
    clients: VecDeque<(IpAddr, VecDeque<Job>)>,
    n: usize,
    woken: bool,
    closed: bool,
}

/// Why a request cannot wait.
pub(super) enum Refused {
    /// So many are waiting already.
    Full(usize),
    /// The server ends.
    Closed,
}

impl Queue {
    /// An empty queue for so many requests.
    pub fn new(capacity: usize) -> Queue {
        let inner = Inner { clients: VecDeque::new(), n: 0, woken: false, closed: false };
        Queue { inner: Mutex::new(inner), changed: Condvar::new(), capacity }
    }

    /// Takes a request.
    pub fn push(&self, job: Job) -> Result<(), Refused> {
        // A request that is dropped looks into other books: not under this lock.
        let mut gone = Vec::new();
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refused::Closed);
        }
        if inner.n >= self.capacity {
            inner.take_gone(&mut gone);
        }
        if inner.n >= self.capacity {
            return Err(Refused::Full(inner.n));
        }
        inner.n += 1;
        match inner.clients.iter_mut().find(|(client, _)| *client == job.client) {
            Some((_, jobs)) => jobs.push_back(job),
            None => {
                let client = job.client;
                inner.clients.push_back((client, VecDeque::from([job])));
            }
        }
        inner.woken = true;
        self.changed.notify_all();
        Ok(())
    }

    /// The request whose turn it is, if it needs no more than `free` seats: one that needs more is waited for.
    pub fn pop(&self, free: usize) -> Option<Job> {
        let mut gone = Vec::new();
        let mut inner = self.lock();
        inner.take_gone(&mut gone);
        if inner.clients.front()?.1.front()?.n > free {
            return None;
        }
        let (client, mut jobs) = inner.clients.pop_front()?;
        let job = jobs.pop_front();
        if !jobs.is_empty() {
            inner.clients.push_back((client, jobs));
        }
        inner.n -= usize::from(job.is_some());
        job
    }

    /// Takes all requests out, and no others in.
    pub fn close(&self) -> Vec<Job> {
        let mut inner = self.lock();
        inner.closed = true;
        inner.n = 0;
        inner.clients.drain(..).flat_map(|(_, jobs)| jobs).collect()
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.lock().n
    }

    /// Wakes the engine.
    pub fn wake(&self) {
        self.lock().woken = true;
        self.changed.notify_all();
    }

    /// Sleeps until something came since the last sleep, or for so long.
    pub fn sleep(&self, most: Duration) {
        let inner = self.lock();
        let waited = self.changed.wait_timeout_while(inner, most, |inner| !inner.woken);
        waited.unwrap_or_else(PoisonError::into_inner).0.woken = false;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Moves requests whose clients have left to `gone`.
    fn take_gone(&mut self, gone: &mut Vec<Job>) {
        for (_, jobs) in &mut self.clients {
            while let Some(i) = jobs.iter().position(|job| job.events.is_closed()) {
                gone.extend(jobs.remove(i));
            }
        }
        self.clients.retain(|(_, jobs)| !jobs.is_empty());
        self.n = self.clients.iter().map(|(_, jobs)| jobs.len()).sum();
    }
}
