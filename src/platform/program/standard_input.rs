//! What is known of standard input before it is read.

use std::io::IsTerminal;

/// Whether standard input is of a kind that somebody may have meant to be read.
#[cfg(unix)]
pub fn is_meant() -> bool {
    use rustix::fs::{FileType, fstat};
    let stdin = std::io::stdin();
    !stdin.is_terminal()
        && fstat(&stdin).is_ok_and(|stat| {
            matches!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile | FileType::Fifo | FileType::Socket)
        })
}

#[cfg(not(unix))]
#[allow(missing_docs)]
pub fn is_meant() -> bool {
    !std::io::stdin().is_terminal()
}

/// Processor time that the processes have used which can write to the pipe on standard input, in ticks; `None` if there are
/// none. The processes that this one comes from are left out: they may well hold a pipe that they never write to.
#[cfg(target_os = "linux")]
pub fn ticks_of_writers() -> Option<u64> {
    use std::fs;
    let pipe = fs::read_link("/proc/self/fd/0").ok()?;
    let writes = |process: &str| {
        let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|link| link == pipe)).any(|entry| {
            let info = format!("/proc/{process}/fdinfo/{}", entry.file_name().display());
            let info = fs::read_to_string(info).unwrap_or_default();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
            let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
            // The lowest two bits: 0 reads, 1 writes, 2 does both.
            flags.is_some_and(|flags| flags & 3 != 0)
        })
    };
    let ours = ancestry();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let others = processes.filter(|name| name.parse().is_ok_and(|pid| !ours.contains(&pid)));
    let ticks = others.filter(|process| writes(process)).filter_map(|process| Some(Stat::of(&process)?.ticks));
    ticks.reduce(|a, b| a + b)
}

/// Other systems do not tell: a pipe is taken to have somebody, who does nothing.
#[cfg(not(target_os = "linux"))]
pub fn ticks_of_writers() -> Option<u64> {
    Some(0)
}

/// This process and those it comes from.
#[cfg(target_os = "linux")]
fn ancestry() -> Vec<u32> {
    let mut line = vec![std::process::id()];
    // As long as the line goes back in this system; a circle would be a fault of the system.
    while let Some(stat) = Stat::of(&line[line.len() - 1].to_string())
        && stat.parent != 0
        && !line.contains(&stat.parent)
    {
        line.push(stat.parent);
    }
    line
}

/// What `/proc/PID/stat` says of a process.
#[cfg(target_os = "linux")]
struct Stat {
    parent: u32,
    /// User and system time.
    ticks: u64,
}

#[cfg(target_os = "linux")]
impl Stat {
    fn of(process: &str) -> Option<Stat> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name may hold anything; fields are counted behind it, the state being the first.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Stat { parent: u32::try_from(number(1)?).ok()?, ticks: number(11)? + number(12)? })
    }
}
