//! Facts about a Linux machine, from the text files of `/proc` and `/sys`.
//!
//! A file that is missing or reads otherwise than expected is as good as no limit: the answers are for planning. Android
//! hides some of them from its apps.

use crate::platform::machine::{Limiter, Usage};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn usage() -> Usage {
    Machine::default().usage()
}

pub(crate) fn free_memory() -> Option<(u64, Limiter)> {
    Machine::default().free_memory().or_else(free_without_files)
}

pub(crate) fn free_address_space() -> Option<u64> {
    Machine::default().free_address_space()
}

pub(crate) fn free_data() -> Option<(u64, Limiter)> {
    Machine::default().free_data().map(|free| (free, Limiter::Data))
}

pub(crate) fn fast_cores() -> Option<usize> {
    Machine::default().distinct_fast_cores()
}

pub(crate) fn begin_worker() {}

/// The free memory where `/proc` is not there, as in a bare root: without what the caches would give up.
fn free_without_files() -> Option<(u64, Limiter)> {
    let facts = rustix::system::sysinfo();
    let units = facts.freeram.checked_add(facts.bufferram)?;
    #[allow(clippy::unnecessary_cast)] // The field is of another width on other machines.
    let free = (units as u64).checked_mul(u64::from(facts.mem_unit))?;
    Some((free, Limiter::Machine))
}

/// The machine as seen through its file system.
struct Machine {
    root: PathBuf,
}

impl Default for Machine {
    fn default() -> Self {
        Machine { root: PathBuf::from("/") }
    }
}

impl Machine {
    /// What this process uses now; zeros where the system does not tell.
    fn usage(&self) -> Usage {
        let status = self.read("proc/self/status").unwrap_or_default();
        let field = |name| kib_field(&status, name).unwrap_or(0);
        Usage {
            anonymous: field("RssAnon"),
            file: field("RssFile"),
            peak: field("VmHWM"),
            mapped: field("VmSize"),
            data: field("VmData"),
        }
    }

    /// The bytes this process may still take before [`Limiter::Machine`] or [`Limiter::Cgroup`] stops it, whichever is
    /// less; `None` where the system does not tell.
    fn free_memory(&self) -> Option<(u64, Limiter)> {
        let machine = self.read("proc/meminfo").and_then(|t| kib_field(&t, "MemAvailable"));
        let machine = machine.map(|free| (free, Limiter::Machine));
        let cgroup = self.free_in_cgroups().map(|free| (free, Limiter::Cgroup));
        machine.into_iter().chain(cgroup).min_by_key(|&(free, _)| free)
    }

    /// The bytes of address space this process may still map, when that is limited.
    fn free_address_space(&self) -> Option<u64> {
        Some(self.limit("Max address space")?.saturating_sub(self.usage().mapped))
    }

    /// The bytes of memory to write to that this process may still map, when that is limited.
    fn free_data(&self) -> Option<u64> {
        Some(self.limit("Max data size")?.saturating_sub(self.usage().data))
    }

    /// The soft limit of that name on this process.
    fn limit(&self, name: &str) -> Option<u64> {
        let limits = self.read("proc/self/limits")?;
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok() // "unlimited" is no number
    }

    /// The least that any control group on the way to the root leaves.
    fn free_in_cgroups(&self) -> Option<u64> {
        // Lines are `id:controllers:path`; version 2 has the one line with id 0 and no controllers.
        let groups = self.read("proc/self/cgroup")?;
        let free = groups.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            if controllers.split(',').any(|c| c == "memory") {
                let files = CgroupFiles {
                    limit: "memory.limit_in_bytes",
                    usage: "memory.usage_in_bytes",
                    cache: "total_inactive_file",
                };
                self.free_up_from(Path::new("sys/fs/cgroup/memory"), path, &files)
            } else if id == "0" && controllers.is_empty() {
                let files = CgroupFiles { limit: "memory.max", usage: "memory.current", cache: "inactive_file" };
                self.free_up_from(Path::new("sys/fs/cgroup"), path, &files)
            } else {
                None
            }
        });
        free.min()
    }

    /// The least free memory of the group `path` and of those it is in. Inside a container the path may be that of the
    /// host; what is mounted at `base` is then the container's own group.
    fn free_up_from(&self, base: &Path, path: &str, files: &CgroupFiles) -> Option<u64> {
        let own = base.join(path.trim_start_matches('/'));
        own.ancestors().take_while(|dir| dir.starts_with(base)).filter_map(|dir| self.free_of_group(dir, files)).min()
    }

    fn free_of_group(&self, dir: &Path, files: &CgroupFiles) -> Option<u64> {
        let number = |name| self.read(dir.join(name))?.trim().parse::<u64>().ok();
        let limit = number(files.limit)?; // "max" is no number
        // Version 1 says "no limit" with the largest multiple of the page size.
        if limit >= i64::MAX as u64 - (1 << 20) {
            return None;
        }
        let stat = self.read(dir.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|line| line.strip_prefix(files.cache)?.trim().parse::<u64>().ok());
        let usage = number(files.usage).unwrap_or(0).saturating_sub(cache.unwrap_or(0));
        Some(limit.saturating_sub(usage))
    }

    /// The cores that this process may run on, hyper-threads of one core counted once, and of a mixed set only the fast ones.
    fn distinct_fast_cores(&self) -> Option<usize> {
        let status = self.read("proc/self/status")?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let allowed = cpu_list(allowed)?;
        let cpu = |n: usize| PathBuf::from(format!("sys/devices/system/cpu/cpu{n}"));
        let number = |path: PathBuf| self.read(path)?.trim().parse::<u64>().ok();

        // How fast: Arm and newer kernels rate the cores (1024 is the fastest), others tell the highest clock. Cores of
        // one kind may differ by a favoured one's few per cent; another kind is much slower.
        let rating =
            |n| number(cpu(n).join("cpu_capacity")).or_else(|| number(cpu(n).join("cpufreq/cpuinfo_max_freq")));
        let ratings: Vec<Option<u64>> = allowed.iter().map(|&n| rating(n)).collect();
        let best = ratings.iter().flatten().max().copied().unwrap_or(0);
        let fast = allowed.iter().zip(&ratings).filter(|(_, rating)| rating.is_none_or(|r| r * 4 >= best * 3));

        let cores: BTreeSet<usize> = fast
            .map(|(&n, _)| {
                let siblings = self.read(cpu(n).join("topology/thread_siblings_list"));
                siblings.and_then(|list| cpu_list(&list)?.first().copied()).unwrap_or(n)
            })
            .collect();
        Some(cores.len())
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

/// Names of the files of a control group, which the two versions call differently.
struct CgroupFiles {
    limit: &'static str,
    usage: &'static str,
    /// Line of `memory.stat`: cached file pages that the system drops first.
    cache: &'static str,
}

/// The value of a line `name:   123 kB`, in bytes.
fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// CPU numbers of a list like `0-3,8`, ascending.
fn cpu_list(text: &str) -> Option<Vec<usize>> {
    /// More CPUs than any system has; a longer range is no list of CPUs.
    const MAX_CPUS: usize = 1 << 16;
    let mut cpus = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= MAX_CPUS {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system of the given files below a directory of its own, removed at the end.
    struct Fake(Machine);

    impl Fake {
        fn new(name: &str, files: &[(&str, &str)]) -> Fake {
            let root = std::env::temp_dir().join(format!("qwen-edge-machine-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Fake(Machine { root })
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0.root);
        }
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal:  8000000 kB\nMemFree:  100 kB\nMemAvailable:  4000000 kB\n");

    #[test]
    fn free_memory_is_the_machines_where_nothing_limits_it() {
        let fake = Fake::new("plain", &[MEMINFO, ("proc/self/cgroup", "0::/user.slice\n")]);
        assert_eq!(fake.0.free_memory(), Some((4_096_000_000, Limiter::Machine)));
    }

    #[test]
    fn a_version_2_group_limits_and_so_does_one_above_it() {
        let fake = Fake::new(
            "v2",
            &[
                MEMINFO,
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("sys/fs/cgroup/a/memory.max", "1000000000\n"),
                ("sys/fs/cgroup/a/memory.current", "300000000\n"),
                ("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 100000000\nactive_file 7\n"),
            ],
        );
        assert_eq!(fake.0.free_memory(), Some((800_000_000, Limiter::Cgroup)));
    }

    #[test]
    fn a_version_1_group_limits_unless_it_says_no_limit() {
        let group = ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/x\n");
        let open = Fake::new(
            "v1-open",
            &[MEMINFO, group, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")],
        );
        assert_eq!(open.0.free_memory(), Some((4_096_000_000, Limiter::Machine)));
        // In a container the path is the host's, and the group itself is at the top of the mount.
        let set = Fake::new(
            "v1-set",
            &[
                MEMINFO,
                group,
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000000\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1500000000\n"),
                ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 500000000\n"),
            ],
        );
        assert_eq!(set.0.free_memory(), Some((1_000_000_000, Limiter::Cgroup)));
    }

    #[test]
    fn limits_on_the_process_count_what_is_mapped() {
        let status = (
            "proc/self/status",
            "VmSize:\t  1000 kB\nVmHWM:\t 30 kB\nRssAnon:\t 10 kB\nRssFile:\t 20 kB\nVmData:\t 500 kB\n",
        );
        let limit = |soft| {
            format!(
                "Limit   Soft Limit  Hard Limit  Units\nMax data size    {soft}   unlimited   bytes\n\
                 Max address space    {soft}   unlimited   bytes\n"
            )
        };
        let set = Fake::new("as-set", &[status, ("proc/self/limits", &limit("3024000"))]);
        assert_eq!(set.0.free_address_space(), Some(2_000_000));
        assert_eq!(set.0.free_data(), Some(2_512_000));
        let usage = Usage { anonymous: 10_240, file: 20_480, peak: 30_720, mapped: 1_024_000, data: 512_000 };
        assert_eq!(set.0.usage(), usage);
        let open = Fake::new("as-open", &[status, ("proc/self/limits", &limit("unlimited"))]);
        assert_eq!((open.0.free_address_space(), open.0.free_data()), (None, None));
    }

    #[test]
    fn unreadable_files_are_no_limit_and_no_panic() {
        let nothing = Fake::new("nothing", &[]);
        assert_eq!((nothing.0.free_memory(), nothing.0.free_address_space()), (None, None));
        let garbage = Fake::new(
            "garbage",
            &[
                ("proc/meminfo", "MemAvailable: many kB"),
                ("proc/self/cgroup", "::\n0:\nx:memory:\n"),
                ("proc/self/limits", "Max address space"),
                ("proc/self/status", "Cpus_allowed_list: 0-99999999999999999999\nVmSize: -1 kB"),
            ],
        );
        assert_eq!((garbage.0.free_memory(), garbage.0.free_address_space()), (None, None));
        assert_eq!(garbage.0.distinct_fast_cores(), None);
    }

    #[test]
    fn slow_cores_and_second_threads_of_a_core_get_no_thread() {
        let allowed = |list| ("proc/self/status", list);
        // Two fast cores with two threads each, and four slow ones.
        let mut files = vec![allowed("Cpus_allowed_list:\t0-7\n")];
        let names: Vec<_> = (0..8)
            .map(|n| {
                let (max, siblings) = match n {
                    0..4 => ("4700000\n", ["0-1\n", "2-3\n"][n / 2]),
                    _ => ("3300000\n", ["4\n", "5\n", "6\n", "7\n"][n - 4]),
                };
                let cpu = format!("sys/devices/system/cpu/cpu{n}");
                (
                    format!("{cpu}/cpufreq/cpuinfo_max_freq"),
                    max,
                    format!("{cpu}/topology/thread_siblings_list"),
                    siblings,
                )
            })
            .collect();
        for (freq, max, topology, siblings) in &names {
            files.push((freq.as_str(), max));
            files.push((topology.as_str(), siblings));
        }
        assert_eq!(Fake::new("hybrid", &files).0.distinct_fast_cores(), Some(2));
        files[0] = allowed("Cpus_allowed_list:\t4-7\n");
        assert_eq!(Fake::new("slow-only", &files).0.distinct_fast_cores(), Some(4));
        // A board that tells nothing of its cores.
        let board = Fake::new("board", &[allowed("Cpus_allowed_list:\t0-3\n")]);
        assert_eq!(board.0.distinct_fast_cores(), Some(4));
        // big.LITTLE, rated by capacity.
        let rated: Vec<_> = (0..6)
            .map(|n| (format!("sys/devices/system/cpu/cpu{n}/cpu_capacity"), if n < 2 { "1024" } else { "446" }))
            .collect();
        let mut files = vec![allowed("Cpus_allowed_list:\t0-5\n")];
        files.extend(rated.iter().map(|(path, text)| (path.as_str(), *text)));
        assert_eq!(Fake::new("little", &files).0.distinct_fast_cores(), Some(2));
    }

    #[test]
    fn a_cpu_list_is_a_set_of_numbers() {
        assert_eq!(cpu_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cpu_list(""), Some(vec![]));
        assert_eq!(cpu_list("0-99999999"), None);
        assert_eq!(cpu_list("a"), None);
    }

    #[test]
    fn this_process_has_a_size() {
        let usage = Machine::default().usage();
        assert!(usage.peak >= usage.anonymous && usage.mapped >= usage.peak, "{usage:?}");
    }

    #[test]
    fn without_its_files_the_system_still_says_what_is_free() {
        let (free, _) = free_without_files().unwrap();
        let (with_caches, _) = Machine::default().free_memory().unwrap();
        assert!(free > 0 && free < 2 * with_caches + (1 << 30), "{free} of {with_caches}");
    }
}
