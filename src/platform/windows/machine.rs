//! Facts about a Windows machine, as its functions tell them.

use crate::platform::machine::{Limiter, Usage};
use std::mem::{offset_of, size_of, zeroed};
use std::ptr::{null_mut, read_unaligned};
use windows_sys::Win32::System::JobObjects::{
    JOB_OBJECT_LIMIT_JOB_MEMORY, JOB_OBJECT_LIMIT_PROCESS_MEMORY, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectExtendedLimitInformation, QueryInformationJobObject,
};
use windows_sys::Win32::System::ProcessStatus::{
    K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS, PROCESS_MEMORY_COUNTERS_EX, PROCESS_MEMORY_COUNTERS_EX2,
};
use windows_sys::Win32::System::SystemInformation::{
    CpuSetInformation, GetLogicalProcessorInformationEx, GetSystemCpuSetInformation, GlobalMemoryStatusEx,
    MEMORYSTATUSEX, PROCESSOR_RELATIONSHIP, RelationProcessorCore, SYSTEM_CPU_SET_INFORMATION,
    SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThread, GetProcessAffinityMask, SetThreadInformation, SetThreadSelectedCpuSets,
    THREAD_POWER_THROTTLING_CURRENT_VERSION, THREAD_POWER_THROTTLING_EXECUTION_SPEED, THREAD_POWER_THROTTLING_STATE,
    ThreadPowerThrottling,
};

fn memory() -> Option<MEMORYSTATUSEX> {
    // SAFETY: all fields are numbers.
    let mut memory: MEMORYSTATUSEX = unsafe { zeroed() };
    memory.dwLength = size_of::<MEMORYSTATUSEX>() as u32;
    // SAFETY: the structure is of the length that it says.
    (unsafe { GlobalMemoryStatusEx(&mut memory) } != 0).then_some(memory)
}

/// The counters of this process. Versions of Windows 10 before 22H2 do not count private pages in memory: then it is what
/// was promised of them, as far as there is so much in memory.
fn counters() -> Option<PROCESS_MEMORY_COUNTERS_EX2> {
    // SAFETY: all fields are numbers.
    let mut counters: PROCESS_MEMORY_COUNTERS_EX2 = unsafe { zeroed() };
    let mut get = |bytes: usize| {
        let to: *mut PROCESS_MEMORY_COUNTERS = (&raw mut counters).cast();
        // SAFETY: the structure has at least `bytes` bytes, and begins as the shorter ones do.
        unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), to, bytes as u32) != 0 }
    };
    if !get(size_of::<PROCESS_MEMORY_COUNTERS_EX2>()) && !get(size_of::<PROCESS_MEMORY_COUNTERS_EX>()) {
        return None;
    }
    // The same number by its older name.
    counters.PrivateUsage = counters.PrivateUsage.max(counters.PagefileUsage);
    if counters.PrivateWorkingSetSize == 0 {
        counters.PrivateWorkingSetSize = counters.PrivateUsage.min(counters.WorkingSetSize);
    }
    Some(counters)
}

pub(crate) fn usage() -> Usage {
    let Some(counters) = counters() else { return Usage::default() };
    let (anonymous, resident) = (counters.PrivateWorkingSetSize as u64, counters.WorkingSetSize as u64);
    let data = counters.PrivateUsage as u64;
    Usage {
        anonymous,
        file: resident.saturating_sub(anonymous),
        peak: counters.PeakWorkingSetSize as u64,
        mapped: memory().map_or(data, |memory| memory.ullTotalVirtual.saturating_sub(memory.ullAvailVirtual)),
        data,
    }
}

/// What is free counts the standby list, the cache of file pages that are dropped first.
pub(crate) fn free_memory() -> Option<(u64, Limiter)> {
    let machine = memory().map(|memory| (memory.ullAvailPhys, Limiter::Machine));
    let job = free_in_job().map(|free| (free, Limiter::Job));
    machine.into_iter().chain(job).min_by_key(|&(free, _)| free)
}

pub(crate) fn free_address_space() -> Option<u64> {
    None // 128 TiB, which nothing limits.
}

/// Everything that is allocated is promised at once, whether it is touched or not.
pub(crate) fn free_data() -> Option<(u64, Limiter)> {
    let commit = memory().map(|memory| (memory.ullAvailPageFile, Limiter::Commit));
    let job = free_in_job().map(|free| (free, Limiter::Job));
    commit.into_iter().chain(job).min_by_key(|&(free, _)| free)
}

/// What the limits of the job object leave that this process is in, if it is in one that has any. What other processes of the
/// job take is not told.
fn free_in_job() -> Option<u64> {
    Some((least(&limits_of_job()?)? as u64).saturating_sub(usage().data))
}

/// The least of the limits that a job object sets.
fn least(limits: &JOBOBJECT_EXTENDED_LIMIT_INFORMATION) -> Option<usize> {
    let is_set = |flag| limits.BasicLimitInformation.LimitFlags & flag != 0;
    let process = is_set(JOB_OBJECT_LIMIT_PROCESS_MEMORY).then_some(limits.ProcessMemoryLimit);
    let job = is_set(JOB_OBJECT_LIMIT_JOB_MEMORY).then_some(limits.JobMemoryLimit);
    process.into_iter().chain(job).min()
}

/// The limits of this process's job object.
fn limits_of_job() -> Option<JOBOBJECT_EXTENDED_LIMIT_INFORMATION> {
    // SAFETY: all fields are numbers.
    let mut limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = unsafe { zeroed() };
    let bytes = size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>() as u32;
    let to = (&raw mut limits).cast();
    // SAFETY: the structure is the one that belongs to the class, and of that length; no handle means the own job.
    let job = null_mut();
    (unsafe { QueryInformationJobObject(job, JobObjectExtendedLimitInformation, to, bytes, null_mut()) } != 0)
        .then_some(limits)
}

/// A core: how fast it is, higher being faster, and whether this process may run on it.
#[derive(Clone, Copy, Debug)]
struct Core {
    class: u8,
    allowed: bool,
}

fn cores() -> Option<Vec<Core>> {
    let mut bytes = 0;
    // SAFETY: with no room given, the length is all that is written.
    unsafe { GetLogicalProcessorInformationEx(RelationProcessorCore, null_mut(), &mut bytes) };
    let mut records = vec![0u64; (bytes as usize).div_ceil(8)];
    let to = records.as_mut_ptr().cast();
    // SAFETY: there is room for so many bytes.
    if bytes == 0 || unsafe { GetLogicalProcessorInformationEx(RelationProcessorCore, to, &mut bytes) } == 0 {
        return None;
    }
    let (mut own, mut machine) = (0, 0);
    // SAFETY: both are numbers. A process that runs on several groups of processors is told zeros: it may use them all.
    unsafe { GetProcessAffinityMask(GetCurrentProcess(), &mut own, &mut machine) };
    let first: *const u8 = records.as_ptr().cast();
    let (mut at, mut cores) = (0, Vec::new());
    while at + offset_of!(SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX, Anonymous) + size_of::<PROCESSOR_RELATIONSHIP>()
        <= bytes as usize
    {
        // SAFETY: the header and the fields that every core has are within the bytes that were written.
        let (size, core) = unsafe {
            let record: *const SYSTEM_LOGICAL_PROCESSOR_INFORMATION_EX = first.add(at).cast();
            let core: *const PROCESSOR_RELATIONSHIP = (&raw const (*record).Anonymous).cast();
            (read_unaligned(&raw const (*record).Size) as usize, read_unaligned(core))
        };
        let allowed = own == 0 || core.GroupMask[0].Mask & own != 0;
        cores.push(Core { class: core.EfficiencyClass, allowed });
        if size == 0 {
            return None;
        }
        at += size;
    }
    Some(cores)
}

pub(crate) fn fast_cores() -> Option<usize> {
    count_fast(&cores()?)
}

/// The cores of the fastest kind that this process may run on.
fn count_fast(cores: &[Core]) -> Option<usize> {
    let allowed = || cores.iter().filter(|core| core.allowed).map(|core| core.class);
    let best = allowed().max()?;
    Some(allowed().filter(|&class| class == best).count())
}

/// The processors of the fastest kind, by the numbers that threads are sent to them with; none where all are of one kind.
fn fast_processors() -> Vec<u32> {
    let mut bytes = 0;
    // SAFETY: with no room given, the length is all that is written. No handle means any process.
    unsafe { GetSystemCpuSetInformation(null_mut(), 0, &mut bytes, null_mut(), 0) };
    let mut records = vec![0u64; (bytes as usize).div_ceil(8)];
    let to = records.as_mut_ptr().cast();
    // SAFETY: there is room for so many bytes.
    if bytes == 0 || unsafe { GetSystemCpuSetInformation(to, bytes, &mut bytes, null_mut(), 0) } == 0 {
        return Vec::new();
    }
    let first: *const u8 = records.as_ptr().cast();
    let (mut at, mut sets) = (0, Vec::new());
    while at + size_of::<SYSTEM_CPU_SET_INFORMATION>() <= bytes as usize {
        // SAFETY: a record of this length is within the bytes that were written; all of its fields are numbers.
        let record: SYSTEM_CPU_SET_INFORMATION = unsafe { read_unaligned(first.add(at).cast()) };
        if record.Type == CpuSetInformation {
            // SAFETY: the type says that it is this one.
            let set = unsafe { record.Anonymous.CpuSet };
            sets.push((set.Id, set.EfficiencyClass));
        }
        if record.Size == 0 {
            break;
        }
        at += record.Size as usize;
    }
    fastest(&sets)
}

/// Of processors and how fast they are, those of the fastest kind; none where all are of one kind.
fn fastest(sets: &[(u32, u8)]) -> Vec<u32> {
    let classes = || sets.iter().map(|&(_, class)| class);
    match (classes().min(), classes().max()) {
        (Some(least), Some(best)) if least < best => {
            sets.iter().filter(|&&(_, class)| class == best).map(|&(id, _)| id).collect()
        }
        _ => Vec::new(),
    }
}

pub(crate) fn begin_worker() {
    // Not slowed down to save power, as the work of a window in the background is.
    let _ = is_at_full_speed();
    let fast = fast_processors();
    if !fast.is_empty() {
        // SAFETY: so many numbers are there. A wish: where it is refused, the thread runs where it did.
        unsafe { SetThreadSelectedCpuSets(GetCurrentThread(), fast.as_ptr(), fast.len() as u32) };
    }
}

/// Asks that this thread runs at full speed; whether the system knows the wish.
fn is_at_full_speed() -> bool {
    let state = THREAD_POWER_THROTTLING_STATE {
        Version: THREAD_POWER_THROTTLING_CURRENT_VERSION,
        ControlMask: THREAD_POWER_THROTTLING_EXECUTION_SPEED,
        StateMask: 0,
    };
    let from = (&raw const state).cast();
    let bytes = size_of::<THREAD_POWER_THROTTLING_STATE>() as u32;
    // SAFETY: the structure is the one that belongs to the class, and of that length.
    unsafe { SetThreadInformation(GetCurrentThread(), ThreadPowerThrottling, from, bytes) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr::null;
    use windows_sys::Win32::Foundation::CloseHandle;
    use windows_sys::Win32::System::JobObjects::{AssignProcessToJobObject, CreateJobObjectW, SetInformationJobObject};

    #[test]
    fn memory_is_told_in_bytes_and_adds_up() {
        let memory = memory().unwrap();
        assert!(
            memory.ullTotalPhys > 256 << 20 && memory.ullAvailPhys < memory.ullTotalPhys,
            "{}",
            memory.ullTotalPhys
        );
        assert!(free_data().unwrap().0 > 16 << 20);
    }

    #[test]
    fn what_is_allocated_and_touched_is_counted() {
        // Tests beside this one allocate and free: once in some tries they leave it alone.
        let is_counted = |_| {
            let before = usage();
            let mut bytes = vec![0u8; 64 << 20];
            crate::platform::machine::commit_memory(&mut bytes);
            let after = usage();
            println!("{before:?} {after:?}");
            assert!(after.peak >= after.anonymous.max(64 << 20) && after.mapped > 0);
            after.anonymous >= before.anonymous + (60 << 20) && after.data >= before.data + (60 << 20)
        };
        assert!((0..50).any(is_counted));
    }

    #[test]
    fn every_core_is_counted_once_and_the_fast_ones_alone() {
        let cores = cores().unwrap();
        let granted = std::thread::available_parallelism().unwrap().get();
        assert!(!cores.is_empty() && cores.len() <= 4096);
        assert!((1..=granted).contains(&fast_cores().unwrap()), "{cores:?}");
        let core = |class, allowed| Core { class, allowed };
        let mixed = [core(0, true), core(1, true), core(1, true), core(2, false)];
        assert_eq!((count_fast(&mixed), count_fast(&mixed[..1]), count_fast(&[])), (Some(2), Some(1), None));
        assert_eq!(
            (fastest(&[(7, 0), (8, 1), (9, 1)]), fastest(&[(7, 1), (8, 1)]), fastest(&[])),
            (vec![8, 9], vec![], vec![])
        );
    }

    #[test]
    fn a_worker_begins_and_computes() {
        assert_eq!(std::thread::spawn(|| (begin_worker(), 6 * 7).1).join().unwrap(), 42);
    }

    /// A process is in its job for good: this one limits what nobody reaches.
    #[test]
    fn a_job_objects_limit_counts() {
        const LIMIT: usize = 1 << 40;
        // SAFETY: all fields are numbers.
        let mut limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = unsafe { zeroed() };
        assert_eq!(least(&limits), None);
        limits.ProcessMemoryLimit = 7;
        assert_eq!(least(&limits), None);
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_MEMORY | JOB_OBJECT_LIMIT_JOB_MEMORY;
        limits.JobMemoryLimit = 5;
        assert_eq!(least(&limits), Some(5));
        // SAFETY: all fields are numbers, and the length is that of the structure. The handle is closed once.
        unsafe {
            let job = CreateJobObjectW(null(), null());
            let mut limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION = zeroed();
            limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_MEMORY;
            limits.ProcessMemoryLimit = LIMIT;
            let bytes = size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>() as u32;
            let from = (&raw const limits).cast();
            assert_ne!(SetInformationJobObject(job, JobObjectExtendedLimitInformation, from, bytes), 0);
            assert_ne!(AssignProcessToJobObject(job, GetCurrentProcess()), 0);
            // An emulator may keep no limits; then none is made up.
            match limits_of_job() {
                Some(limits) if least(&limits).is_some() => {
                    let free = free_in_job().unwrap();
                    assert!(free <= LIMIT as u64 && free >= LIMIT as u64 / 2, "{free}");
                }
                told => assert_eq!(free_in_job(), None, "{}", told.is_some()),
            }
            CloseHandle(job);
        }
    }
}
