//! Facts about a Mac, from `sysctl`, the Mach kernel and the limits of the process.

use crate::platform::machine::{Limiter, Usage};
use std::ffi::CStr;
use std::mem::{size_of, zeroed};
use std::ptr::null_mut;

/// `TASK_VM_INFO` of `mach/task_info.h`.
const TASK_VM_INFO: u32 = 22;

/// `task_vm_info` of `mach/task_info.h`, as far as its first revision goes; Mach packs its structures by four bytes.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
struct TaskVmInfo {
    virtual_size: u64,
    region_count: i32,
    page_size: i32,
    resident_size: u64,
    resident_size_peak: u64,
    device: u64,
    device_peak: u64,
    internal: u64,
    internal_peak: u64,
    external: u64,
    external_peak: u64,
    reusable: u64,
    reusable_peak: u64,
    purgeable_volatile_pmap: u64,
    purgeable_volatile_resident: u64,
    purgeable_volatile_virtual: u64,
    compressed: u64,
    compressed_peak: u64,
    compressed_lifetime: u64,
    phys_footprint: u64,
}

// 18 numbers of eight bytes and two of four, in the order of the header.
const _: () = assert!(size_of::<TaskVmInfo>() == 18 * 8 + 2 * 4);

fn task() -> Option<TaskVmInfo> {
    // SAFETY: all fields are numbers.
    let mut info: TaskVmInfo = unsafe { zeroed() };
    let mut count = (size_of::<TaskVmInfo>() / size_of::<libc::natural_t>()) as libc::mach_msg_type_number_t;
    let expected = count;
    #[allow(deprecated)] // `libc` would have another crate for Mach's functions.
    // SAFETY: there is room for `count` words. The port is that of this process.
    let result = unsafe { libc::task_info(libc::mach_task_self_, TASK_VM_INFO, (&raw mut info).cast(), &mut count) };
    (result == libc::KERN_SUCCESS && count >= expected).then_some(info)
}

/// The footprint is what the system holds a process to: memory of its own, compressed or not.
pub(crate) fn usage() -> Usage {
    let Some(info) = task() else { return Usage::default() };
    Usage {
        anonymous: info.phys_footprint,
        file: info.external,
        peak: info.resident_size_peak,
        mapped: info.virtual_size,
        data: info.phys_footprint,
    }
}

/// A number of `sysctl`.
fn number(name: &CStr) -> Option<u64> {
    let (mut value, mut bytes) = ([0u8; 8], 8);
    // SAFETY: there is room for `bytes` bytes; nothing is set.
    let result = unsafe { libc::sysctlbyname(name.as_ptr(), value.as_mut_ptr().cast(), &mut bytes, null_mut(), 0) };
    match (result, bytes) {
        (0, 4) => Some(u64::from(u32::from_ne_bytes(*value.first_chunk()?))),
        (0, 8) => Some(u64::from_ne_bytes(value)),
        _ => None,
    }
}

/// What is free, what is a copy of files or may be purged, and what has not been used for long; less than the machine has.
pub(crate) fn free_memory() -> Option<(u64, Limiter)> {
    // SAFETY: all fields are numbers.
    let mut pages: libc::vm_statistics64 = unsafe { zeroed() };
    let mut count = libc::HOST_VM_INFO64_COUNT;
    #[allow(deprecated)] // `libc` would have another crate for Mach's functions.
    // SAFETY: there is room for `count` words.
    let result = unsafe {
        libc::host_statistics64(libc::mach_host_self(), libc::HOST_VM_INFO64, (&raw mut pages).cast(), &mut count)
    };
    if result != libc::KERN_SUCCESS {
        return None;
    }
    // Pages that were read ahead are among the free ones here.
    let free = [pages.free_count, pages.inactive_count, pages.purgeable_count];
    let free: u64 = free.into_iter().map(u64::from).sum();
    let bytes = free.checked_mul(number(c"hw.pagesize")?)?;
    Some((bytes.min(number(c"hw.memsize")?), Limiter::Machine))
}

/// What a limit leaves, if it is one.
fn left(resource: libc::c_int, used: u64) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is the one that is asked for.
    let asked = unsafe { libc::getrlimit(resource, &mut limit) };
    (asked == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then(|| limit.rlim_cur.saturating_sub(used))
}

pub(crate) fn free_address_space() -> Option<u64> {
    left(libc::RLIMIT_AS, usage().mapped)
}

pub(crate) fn free_data() -> Option<(u64, Limiter)> {
    left(libc::RLIMIT_DATA, usage().data).map(|free| (free, Limiter::Data))
}

/// The performance cores of Apple silicon; on Intel's all cores, hyper-threads of one counted once.
pub(crate) fn fast_cores() -> Option<usize> {
    let cores = number(c"hw.perflevel0.physicalcpu").or_else(|| number(c"hw.physicalcpu"))?;
    usize::try_from(cores).ok()
}

/// Threads of a lower class may be moved to efficiency cores, where every region would wait for them.
pub(crate) fn begin_worker() {
    // SAFETY: numbers alone. A thread that may not change its class keeps it.
    unsafe { libc::pthread_set_qos_class_self_np(libc::qos_class_t::QOS_CLASS_USER_INITIATED, 0) };
}
