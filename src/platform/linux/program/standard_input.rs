//! Standard input on Linux, which tells who could write to it.

pub(crate) use crate::platform::unix::standard_input::is_meant;
use std::fs;

pub(crate) fn ticks_of_writers() -> Option<u64> {
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

/// This process and those it comes from.
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
struct Stat {
    parent: u32,
    /// User and system time.
    ticks: u64,
}

impl Stat {
    fn of(process: &str) -> Option<Stat> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name may hold anything; fields are counted behind it, the state being the first.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Stat { parent: u32::try_from(number(1)?).ok()?, ticks: number(11)? + number(12)? })
    }
}
