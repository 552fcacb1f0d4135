//! Programs on terminals of their own.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything takes here on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the line editor writes each time it begins to wait for a line: bracketed paste is switched on.
const WAITS: &str = "\x1b[?2004h";

/// A program on a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    shown: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
    start: Instant,
}

impl Terminal {
    fn start(command: &mut Command) -> Terminal {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let side = || Stdio::from(theirs.try_clone().unwrap());
        let child = command.env("TERM", "xterm").stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        // Nobody but the program holds its side any more, so that this side sees its end.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        drop(theirs);
        let mut screen = File::from(ours);
        let keys = screen.try_clone().unwrap();
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
        Terminal { child, keys, shown, reader, start: Instant::now() }
    }

    /// Waits until `sign` was shown `times` times and types `keys` then; not where the program has ended.
    fn type_at(&mut self, sign: &str, times: usize, keys: &str) {
        while self.shown.lock().unwrap().matches(sign).count() < times {
            if self.child.try_wait().unwrap().is_some() {
                return;
            }
            let shown = || self.shown.lock().unwrap().clone();
            assert!(self.start.elapsed() < PATIENCE, "{keys:?} is not asked for: {}", shown());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn finish(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        self.reader.join().unwrap();
        let shown = self.shown.lock().unwrap().clone();
        (status.code(), shown)
    }
}

/// Runs `command` on a terminal and types each of `lines` when it waits for one, then Ctrl-D; its exit status, and
/// everything the terminal showed.
pub fn chat(command: &mut Command, lines: &[&str]) -> (Option<i32>, String) {
    let mut terminal = Terminal::start(command);
    for (i, line) in lines.iter().map(|line| format!("{line}\r")).chain(["\x04".into()]).enumerate() {
        terminal.type_at(WAITS, i + 1, &line);
    }
    terminal.finish()
}

/// Runs `command` on a terminal and types `line` once it asks `question`; its exit status, and everything the terminal
/// showed.
pub fn reply(command: &mut Command, question: &str, line: &str) -> (Option<i32>, String) {
    let mut terminal = Terminal::start(command);
    terminal.type_at(question, 1, &format!("{line}\r"));
    terminal.finish()
}
