//! A chat on a terminal of its own.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything takes here on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the line editor writes each time it begins to wait for a line: bracketed paste is switched on.
const WAITS: &str = "\x1b[?2004h";

/// Runs `command` on a terminal and types each of `lines` when it waits for one, then Ctrl-D; its exit status, and
/// everything the terminal showed.
pub fn chat(command: &mut Command, lines: &[&str]) -> (Option<i32>, String) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let side = || Stdio::from(theirs.try_clone().unwrap());
    let mut child = command.env("TERM", "xterm").stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
    // Nobody but the program holds its side any more, so that this side sees its end.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(theirs);
    let mut screen = File::from(ours);
    let mut keys = screen.try_clone().unwrap();
    let shown = Arc::new(Mutex::new(String::new()));
    let text = shown.clone();
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        loop {
            match screen.read(&mut bytes) {
                Ok(n) if n > 0 => text.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n])),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    });
    let start = Instant::now();
    let mut status = None;
    for (i, line) in lines.iter().map(|line| format!("{line}\r")).chain(["\x04".into()]).enumerate() {
        while status.is_none() && shown.lock().unwrap().matches(WAITS).count() <= i {
            status = child.try_wait().unwrap();
            assert!(start.elapsed() < PATIENCE, "line {i} is not asked for: {}", shown.lock().unwrap());
            std::thread::sleep(Duration::from_millis(5));
        }
        if status.is_none() {
            keys.write_all(line.as_bytes()).unwrap();
        }
    }
    let status = child.wait().unwrap();
    reader.join().unwrap();
    let shown = shown.lock().unwrap().clone();
    (status.code(), shown)
}
