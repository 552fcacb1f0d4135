//! Ctrl-C and SIGTERM, and what a program that waits costs, as seen from outside the process.

use crate::support::program::emulated;
use crate::support::scratch::Scratch;
use qwen_edge::synth::{Dims, Options, Quant, Size, Synth, Vocab};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};
use serde_json::json;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything takes here on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a small model of random weights whose answer to anything goes on until the context is full.
fn model(scratch: &Scratch) -> PathBuf {
    let n_vocab = Vocab::published_cut(1088).tokens.len();
    let dims = Dims { n_embd: 256, n_layer: 4, n_ff: 512, n_vocab, ..Dims::of(Size::B0_8) };
    let synth = Synth::text(&Options { dims, quant: Quant::Q8_0, mtp: false, newer: false, seed: 1 });
    scratch.write("model.gguf", synth.to_bytes())
}

/// A started program; killed when a test fails.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Program {
        Program(command.spawn().unwrap())
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the program ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Clock ticks this process has used so far, a hundredth of a second each.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // The name may hold spaces; user and system time are the 12th and 13th field behind it.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_qwen-edge"))
}

/// Starts an endless answer and returns once it has begun.
fn answering(model: &Path) -> Program {
    let mut command = program();
    command.arg("run").arg(model).args(["--raw", "--quiet", "-p", "a", "--ctx", "262144", "--greedy"]);
    let mut program = Program::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut byte = [0];
    program.0.stdout.as_mut().unwrap().read_exact(&mut byte).unwrap();
    program
}

#[test]
fn sigterm_ends_an_answer_at_once_and_the_parent_sees_why() {
    if emulated() {
        return println!("skipped: starts the program");
    }
    let scratch = Scratch::new("term");
    let mut program = answering(&model(&scratch));
    let start = Instant::now();
    program.send(Signal::TERM);
    let status = program.wait();
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(scratch.files(), ["model.gguf"]);
}

#[test]
fn ctrl_c_stops_an_answer_and_is_reported_as_shells_do() {
    if emulated() {
        return println!("skipped: starts the program");
    }
    let scratch = Scratch::new("int");
    let mut program = answering(&model(&scratch));
    program.send(Signal::INT);
    let mut rest = String::new();
    program.0.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
    assert_eq!(program.wait().code(), Some(130));
    assert!(rest.ends_with('\n'), "the line is ended: {rest:?}");
}

#[test]
fn a_file_that_a_signal_cuts_short_is_not_there() {
    if emulated() {
        return println!("skipped: starts the program");
    }
    for signal in [Signal::TERM, Signal::INT] {
        let scratch = Scratch::new("file");
        let output = scratch.0.join("big.gguf");
        fs::write(&output, "what was there").unwrap();
        let mut command = program();
        command.args(["synth", "--size", "0.8b", "--quant", "bf16", "--force", "-o"]).arg(&output);
        let mut program = Program::start(command.stderr(Stdio::null()));
        until("the file is begun", || scratch.files().len() == 2);
        program.send(signal);
        assert_eq!(program.wait().signal(), Some(signal.as_raw()));
        assert_eq!(scratch.files(), ["big.gguf"]);
        assert_eq!(fs::read(&output).unwrap(), b"what was there");
    }
}

/// A terminal of its own for a program, and this side of it.
fn terminal() -> (OwnedFd, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (ours, theirs)
}

fn modes(terminal: &File) -> Termios {
    tcgetattr(terminal).unwrap()
}

/// What the program shows on its terminal, collected until it has ended.
struct Shown {
    text: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Shown {
    fn of(mut screen: File) -> Shown {
        let text = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            loop {
                match screen.read(&mut bytes) {
                    Ok(0) => return,
                    Ok(n) => shown.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n])),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return, // the other side is closed
                }
            }
        });
        Shown { text, reader }
    }

    fn so_far(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// All of it, when the other side is closed.
    fn end(self) -> String {
        self.reader.join().unwrap();
        self.text.lock().unwrap().clone()
    }
}

/// A chat on a terminal.
struct Chat {
    program: Program,
    theirs: File,
    keys: File,
    shown: Shown,
    /// Lines typed so far.
    n_lines: usize,
}

impl Chat {
    /// Starts one; its answers go to `answers`, else to the terminal.
    fn start(model: &Path, line: &[&str], answers: Option<File>) -> Chat {
        let chat = Chat::begin_start(model, line, answers);
        chat.wait_for_line();
        chat
    }

    /// As [`Chat::start`], and does not wait for it.
    fn begin_start(model: &Path, line: &[&str], answers: Option<File>) -> Chat {
        let (ours, theirs) = terminal();
        let side = || Stdio::from(theirs.try_clone().unwrap());
        let mut command = program();
        command.arg("run").arg(model).args(line).env("TERM", "xterm").stdin(side()).stderr(side());
        command.stdout(answers.map_or_else(side, Stdio::from));
        let program = Program::start(&mut command);
        let keys = File::from(ours);
        let shown = Shown::of(keys.try_clone().unwrap());
        Chat { program, theirs, keys, shown, n_lines: 0 }
    }

    /// What the editing of a line begins and ends with: bracketed paste, on and off.
    fn shows(&self, what: &str, times: usize) -> bool {
        self.shown.so_far().matches(what).count() >= times
    }

    fn wait_for_line(&self) {
        until("it waits for a line", || self.shows("\x1b[?2004h", self.n_lines + 1));
    }

    /// Types a line and waits until it has been read; returns how much was shown before.
    fn begin(&mut self, line: &str) -> usize {
        let before = self.shown.so_far().len();
        self.n_lines += 1;
        // As a terminal pastes it: in one piece.
        self.keys.write_all(format!("\x1b[200~{line}\x1b[201~\r").as_bytes()).unwrap();
        until("it reads the line", || self.shows("\x1b[?2004l", self.n_lines));
        before
    }

    /// Types a line and waits for the next one; returns what was shown meanwhile.
    fn line(&mut self, line: &str) -> String {
        let before = self.begin(line);
        self.wait_for_line();
        self.shown.so_far()[before..].to_owned()
    }

    /// Leaves, and returns everything that was shown.
    fn leave(mut self) -> String {
        self.keys.write_all(b"\x04").unwrap();
        assert!(self.program.wait().success());
        drop((self.theirs, self.program));
        self.shown.end()
    }
}

#[test]
fn a_chat_that_waits_costs_nothing_and_sigterm_leaves_the_terminal_as_it_was() {
    if emulated() {
        return println!("skipped: starts the program");
    }
    let scratch = Scratch::new("chat");
    let (ours, theirs) = terminal();
    let before = modes(&theirs);
    let side = || Stdio::from(theirs.try_clone().unwrap());
    let mut command = program();
    command.arg("run").arg(model(&scratch)).args(["--ctx", "512"]).env("TERM", "xterm");
    let mut program = Program::start(command.stdin(side()).stdout(side()).stderr(side()));
    let mut keys = File::from(ours);
    let shown = Shown::of(keys.try_clone().unwrap());
    let raw = || !modes(&theirs).local_modes.contains(LocalModes::ICANON);
    until("it waits for a line", raw);
    // One answer, so that the threads have worked and gone back to sleep.
    keys.write_all(b"hello\r").unwrap();
    until("it reads the line", || !raw());
    until("it waits again", raw);

    std::thread::sleep(Duration::from_millis(300));
    // On a busy machine reading the history again takes longer than that.
    let mut used = 0;
    let is_quiet = |_| {
        let ticks = program.ticks();
        std::thread::sleep(Duration::from_secs(1));
        used = program.ticks() - ticks;
        used <= 1
    };
    assert!((0..10).any(is_quiet), "{used} hundredths of a second of CPU in a second of waiting");

    program.send(Signal::TERM);
    assert_eq!(program.wait().signal(), Some(Signal::TERM.as_raw()));
    let after = modes(&theirs);
    assert_eq!(
        (after.local_modes, after.input_modes, after.output_modes),
        (before.local_modes, before.input_modes, before.output_modes)
    );
    drop((theirs, command));
    let shown = shown.end();
    assert!(shown.contains(">>> ") && shown.ends_with("\u{1b}[?2004l\r\n"), "{shown:?}");
}

/// The numbers in a text.
fn numbers(text: &str) -> Vec<usize> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[test]
fn ctrl_c_while_a_message_is_read_takes_it_back_and_tells_what_was_read() {
    if emulated() {
        return println!("skipped: starts the program");
    }
    let scratch = Scratch::new("unread");
    // One token at a time, so that there is time to press a key.
    let line = ["--ctx", "16384", "--batch", "1", "-n", "4", "--seed", "1"];
    let mut chat = Chat::start(&model(&scratch), &line, None);
    let first = read(&chat.line("hi"));
    chat.line("/reset");

    let before = chat.begin(&"one two three ".repeat(1200));
    std::thread::sleep(Duration::from_millis(100));
    chat.program.send(Signal::INT);
    chat.wait_for_line();
    let shown = chat.shown.so_far()[before..].to_owned();
    let counts = numbers(shown.rsplit_once("[read ").unwrap().1);
    assert!(shown.contains("stopped]") && shown.contains("taken back"), "{shown}");
    assert!(0 < counts[0] && counts[0] < counts[1], "{shown}");

    // As if it had never been said.
    assert_eq!(read(&chat.line("hi")), first);
    chat.leave();
}

/// What was read for the last answer.
fn read(shown: &str) -> usize {
    numbers(shown.rsplit_once("[read ").unwrap().1)[0]
}

#[test]
fn a_history_is_read_while_nobody_types_and_no_longer() {
    if emulated() {
        return println!("skipped: starts the program");
    }
    let scratch = Scratch::new("heal");
    let (model, long) = (model(&scratch), "one two three ".repeat(60));
    // One token at a time, so that there is time to press a key.
    let start = |name: &str, heal: &str| {
        let talk = json!({"qwen-edge session": 1, "messages": [{"role": "system", "content": &long}]});
        let talk = scratch.write(name, talk.to_string());
        let line = ["--ctx", "16384", "--batch", "1", "-n", "4", "--greedy", "--heal", heal, "--session"];
        Chat::begin_start(&model, &[&line[..], &[talk.to_str().unwrap()]].concat(), None)
    };
    let mut never = start("never.json", "off");
    never.wait_for_line();
    let all = read(&never.line("hi"));

    // All of it, when there is time.
    let mut patient = start("patient.json", "on");
    patient.wait_for_line();
    assert!(read(&patient.line("hi")) < 40);

    // What is typed before that is taken at once, and is not lost.
    let mut hurried = start("hurried.json", "on");
    until("it reads the history", || hurried.shows(">>> ", 1));
    std::thread::sleep(Duration::from_millis(50));
    hurried.keys.write_all(b"hi\r").unwrap();
    hurried.n_lines += 1;
    until("it reads the line", || hurried.shows("\x1b[?2004l", 1));
    hurried.wait_for_line();
    let rest = read(&hurried.shown.so_far());
    assert!(all / 4 < rest && rest < all, "{rest} of {all} tokens were left");
    [never, patient, hurried].into_iter().for_each(|chat| drop(chat.leave()));
}

#[test]
fn a_chat_whose_output_goes_to_a_file_writes_answers_alone_there() {
    if emulated() {
        return println!("skipped: starts the program");
    }
    let scratch = Scratch::new("answers");
    let answers = scratch.write("answers.txt", "");
    let file = File::options().write(true).open(&answers).unwrap();
    let mut chat = Chat::start(&model(&scratch), &["--ctx", "512", "-n", "5", "--greedy"], Some(file));
    let shown = [chat.line("hi"), chat.line("/help"), chat.line("/think"), chat.line("ho")];
    let all = chat.leave();
    assert!(all.contains(">>> ") && shown[1].contains("/reset") && shown[2].contains("thinking is off"), "{shown:?}");
    let answers = fs::read_to_string(&answers).unwrap();
    let apart = |prompt: &str| {
        let mut command = program();
        command.arg("run").arg(scratch.0.join("model.gguf")).args(["-p", prompt, "-n", "5", "--greedy", "-q"]);
        String::from_utf8(command.stdin(Stdio::null()).output().unwrap().stdout).unwrap()
    };
    assert!(answers.starts_with(&apart("hi")) && answers.len() > apart("hi").len(), "{answers:?}");
    assert!(!answers.contains("\u{1b}[") && !answers.contains(">>>") && answers.ends_with('\n'), "{answers:?}");
    assert!(!shown[0].contains(apart("hi").trim()), "{shown:?}");
}

#[test]
fn an_answer_does_not_steer_the_terminal_and_reaches_a_pipe_as_it_is() {
    if emulated() {
        return println!("skipped: starts the program");
    }
    let scratch = Scratch::new("steering");
    let model = model(&scratch);
    // Any token is as likely as any other, those of control characters among them.
    let run = |output: Stdio| {
        let mut command = program();
        command.arg("run").arg(&model).args(["-q", "--raw", "-p", "a", "-n", "1500", "--ctx", "2048", "--temp", "1e9"]);
        command.args(["--top-k", "0", "--top-p", "1", "--seed", "1", "--presence-penalty", "0"]);
        Program::start(command.stdin(Stdio::null()).stdout(output))
    };
    let steers = |c: char| c.is_control() && !['\n', '\t', '\r'].contains(&c);
    let mut piped = run(Stdio::piped());
    let mut answer = String::new();
    piped.0.stdout.as_mut().unwrap().read_to_string(&mut answer).unwrap();
    assert!(piped.wait().success());
    assert!(answer.contains(steers), "none was drawn");

    let (ours, theirs) = terminal();
    let shown = Shown::of(File::from(ours));
    let mut program = run(theirs.into());
    assert!(program.wait().success());
    drop(program);
    let harmless = answer.replace('\r', "").replace(steers, "\u{fffd}").replace('\n', "\r\n");
    assert_eq!(shown.end(), harmless);
}
