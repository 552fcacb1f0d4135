//! Nothing is known of the machine: its user says how much memory may be taken.

use crate::platform::machine::{Limiter, Usage};

pub(crate) fn usage() -> Usage {
    Usage::default()
}

pub(crate) fn free_memory() -> Option<(u64, Limiter)> {
    None
}

pub(crate) fn free_address_space() -> Option<u64> {
    None
}

pub(crate) fn free_data() -> Option<(u64, Limiter)> {
    None
}

pub(crate) fn fast_cores() -> Option<usize> {
    None
}

pub(crate) fn begin_worker() {}
