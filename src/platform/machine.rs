//! What the machine offers this process: memory that is free, limits set on it, and the cores worth a thread.
//!
//! The facts are plain numbers, so that a plan made of them is the same on every system; each system has its own way of
//! finding them. What a system does not tell is `None`, and not a limit that is infinite.

use super::system;
use std::fmt;

/// Who sets a limit on memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limiter {
    /// The memory that the machine has free, counting what it would drop from its caches.
    Machine,
    /// A control group this process is in: a container, a service.
    Cgroup,
    /// A job object of Windows that this process is in: a container, a service.
    Job,
    /// What Windows can promise in memory and page file together: all that is allocated counts, touched or not.
    Commit,
    /// `ulimit -v`: all that is mapped counts, touched or not.
    AddressSpace,
    /// `ulimit -d`: all that may be written to counts, touched or not.
    Data,
}

impl Limiter {
    /// Whether the limit is on what may be touched later, not on what is in memory.
    pub fn counts_untouched(self) -> bool {
        matches!(self, Limiter::Commit | Limiter::AddressSpace | Limiter::Data)
    }
}

impl fmt::Display for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limiter::Machine => "the machine's free memory",
            Limiter::Cgroup => "the control group's limit",
            Limiter::Job => "the job object's limit",
            Limiter::Commit => "the commit limit (memory and page file)",
            Limiter::AddressSpace => "the address space limit (ulimit -v)",
            Limiter::Data => "the data limit (ulimit -d)",
        })
    }
}

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident, without a file behind it: what was allocated and touched.
    pub anonymous: u64,
    /// Resident pages of mapped files.
    pub file: u64,
    /// The most that was ever resident at once, of both.
    pub peak: u64,
    /// Address space mapped, touched or not.
    pub mapped: u64,
    /// Of that, what may be written to and has no file behind it.
    pub data: u64,
}

/// What a plan of memory is made of.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What this process uses; zeros where the system does not tell.
    pub usage: Usage,
    /// The bytes that this process may still take before what is named stops it; `None` where the system does not tell.
    pub free: Option<(u64, Limiter)>,
    /// The bytes of address space that it may still map, where that is limited.
    pub address_space: Option<u64>,
    /// The bytes of memory to write to that it may still be promised, touched or not, and who limits them, if anyone does.
    pub data: Option<(u64, Limiter)>,
}

impl Facts {
    /// What is so now.
    pub fn now() -> Facts {
        Facts {
            usage: usage(),
            free: free_memory(),
            address_space: system::machine::free_address_space(),
            data: system::machine::free_data(),
        }
    }
}

/// What this process uses now; zeros where the system does not tell.
pub fn usage() -> Usage {
    system::machine::usage()
}

/// The bytes that this process may still take, and what stops it then; `None` where the system does not tell.
pub fn free_memory() -> Option<(u64, Limiter)> {
    system::machine::free_memory()
}

/// The number of cores worth a thread: those this process may run on, hyper-threads of one core counted once, and of a
/// mixed set only the fast ones. At least 1, at most the parallelism that the system grants.
pub fn performance_cores() -> usize {
    let granted = std::thread::available_parallelism().map_or(1, |n| n.get());
    system::machine::fast_cores().unwrap_or(granted).clamp(1, granted)
}

/// Has the system run the calling thread, one of a team that computes, on its fast cores where it sorts threads by their
/// importance.
pub fn begin_worker() {
    system::machine::begin_worker();
}

/// Makes the system give the memory of a buffer now, by writing into every page what is there already.
pub fn commit_memory<T: Copy>(data: &mut [T]) {
    const PAGE: usize = 4096;
    let step = (PAGE / size_of::<T>().max(1)).max(1);
    for value in data.iter_mut().step_by(step) {
        *value = std::hint::black_box(*value);
    }
    std::hint::black_box(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On the systems that this is built for, nothing that a plan needs is unknown.
    #[test]
    fn this_machine_says_what_a_plan_needs() {
        let mut touched = vec![1u8; 32 << 20];
        commit_memory(&mut touched);
        let Facts { usage, free, .. } = Facts::now();
        assert!(usage.peak >= usage.anonymous && usage.mapped >= usage.anonymous, "{usage:?}");
        assert!(usage.anonymous >= 32 << 20 && usage.anonymous < 16 << 30, "{usage:?}");
        let (free, _) = free.expect("the free memory");
        assert!((1 << 20..1 << 50).contains(&free), "{free}");
        assert!((1..=4096).contains(&performance_cores()));
        drop(touched);
    }
}
