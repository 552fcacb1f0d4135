//! The program among others: full disks, readers that have gone, values that make no sense. Whatever cannot be done is
//! said in a sentence and by the exit code; a panic is never the answer.

use crate::support::program::program;
use crate::support::scratch::Scratch;
use qwen_edge::gguf::writer::Writer;
use qwen_edge::gguf::{Gguf, Value as Key};
use qwen_edge::synth::{Dims, Options, Quant, Size, Synth};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn options(quant: Quant) -> Options {
    Options { dims: Dims::of(Size::Tiny), quant, mtp: false, newer: false, seed: 1 }
}

fn model(scratch: &Scratch) -> PathBuf {
    scratch.write("model.gguf", Synth::text(&options(Quant::Q8_0)).to_bytes())
}

/// The small model with other keys, or further ones.
fn model_with(scratch: &Scratch, name: &str, keys: &[(&str, Key<'_>)]) -> PathBuf {
    let gguf = Gguf::from_bytes(Synth::text(&options(Quant::Q8_0)).to_bytes()).unwrap();
    let mut writer = Writer::new();
    for (key, value) in gguf.keys().filter(|(key, _)| !keys.iter().any(|(other, _)| other == key)) {
        writer.key(key, value);
    }
    for (key, value) in keys {
        writer.key(key, *value);
    }
    for tensor in gguf.tensors() {
        writer.tensor(tensor.name, tensor.ty, tensor.shape);
    }
    scratch.write(name, writer.to_bytes(|tensor| gguf.tensor(&tensor.name).unwrap().bytes.to_vec()))
}

/// `run` with nothing on standard input; what it answers is one JSON object.
fn json_run(model: &Path, line: &[&str]) -> Command {
    let mut command = program();
    command.arg("run").arg(model).args(["--json", "--seed", "1", "-n", "8"]).args(line).stdin(Stdio::null());
    command
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The answer to a prompt as a plain `--prompt=TEXT` gives it, which tells prompts apart.
fn answer_to(model: &Path, prompt: &str) -> Value {
    let answer = answer(&json_run(model, &[&format!("--prompt={prompt}")]).output().unwrap());
    same(answer)
}

/// What is the same in every run of the same prompt.
fn same(mut answer: Value) -> Value {
    let kept = ["text", "reasoning", "stop", "thinking", "prompt_tokens", "ids", "seed"];
    answer.as_object_mut().unwrap().retain(|key, _| kept.contains(&key.as_str()));
    answer
}

/// The output of a command with `input` on a pipe.
fn fed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // Refused arguments end the program before it reads.
    let _ = pipe.write_all(input);
    drop(pipe);
    child.wait_with_output().unwrap()
}

/// Commands that write to standard output, on a small model.
fn writers(scratch: &Scratch) -> Vec<Command> {
    let model = model(scratch);
    let lines: [&[&str]; 4] = [
        &["run", "-q", "-p", "Hi", "-n", "4"],
        &["run", "-q", "-p", "Hi", "-n", "4", "--json"],
        &["bench", "-p", "4", "-n", "1", "-r", "1"],
        &["inspect"],
    ];
    let command = |line: &&[&str]| {
        let mut command = program();
        command.args(*line).arg(&model).stdin(Stdio::null());
        command
    };
    lines.iter().map(command).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The end of a pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[cfg(target_os = "linux")]
fn full() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").unwrap().into()
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_a_full_disk_loses_is_a_failure_that_is_said() {
    let scratch = Scratch::new("full-disk");
    for mut command in writers(&scratch) {
        let output = command.stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{command:?}: {said}");
        assert!(said.contains("No space left"), "{command:?}: {said}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let scratch = Scratch::new("closed-pipe");
    for mut command in writers(&scratch) {
        let output = command.stdout(unread()).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{command:?}: {output:?}");
    }
}

#[test]
fn messages_that_cannot_be_written_do_not_cost_the_answer() {
    let scratch = Scratch::new("lost-messages");
    let model = model(&scratch);
    let run = |messages: Stdio| {
        let mut command = program();
        command.args(["run", "-p", "Hi", "-n", "4", "--greedy", "--think", "off"]).arg(&model).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(messages).output().unwrap()
    };
    let heard = run(Stdio::piped());
    assert!(heard.status.success() && !heard.stdout.is_empty() && !heard.stderr.is_empty(), "{heard:?}");
    let unheard = run(unread());
    assert_eq!((unheard.status.code(), &unheard.stdout), (Some(0), &heard.stdout));
    #[cfg(target_os = "linux")]
    {
        let lost = run(full());
        assert_eq!((lost.status.code(), &lost.stdout), (Some(0), &heard.stdout));
    }
    let failed = program().args(["run", "no-such-file", "-p", "Hi"]).stderr(unread()).output().unwrap();
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn a_number_below_zero_is_refused_as_the_value_it_is() {
    let options =
        ["--threads", "--ctx", "--batch", "--mem", "--frames", "--fps", "--image-tokens", "--image-time", "--yarn"];
    for option in options {
        let output = program().args(["run", "model.gguf", "-p", "Hi", option, "-1"]).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{option}: {said}");
        assert!(said.contains(&format!("invalid value '-1' for '{option} ")), "{option}: {said}");
    }
}

#[test]
fn an_empty_prompt_is_refused_wherever_it_comes_from() {
    let scratch = Scratch::new("empty-prompt");
    let (model, empty) = (model(&scratch), scratch.write("empty.txt", "\n"));
    for (line, source) in [
        (&["-p", ""][..], "--prompt"),
        (&["-p", " "], "--prompt"),
        (&["-p", "-"], "standard input"),
        (&[], "standard input"),
        (&["-f", empty.to_str().unwrap()], "empty.txt"),
    ] {
        let output = program().arg("run").arg(&model).args(line).stdin(Stdio::null()).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{line:?}: {said}");
        assert!(said.ends_with(&format!("{source}: the prompt is empty\n")), "{line:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn greedy_does_not_give_way_to_a_temperature() {
    let output = program().args(["run", "model.gguf", "-p", "Hi", "--greedy", "--temp", "2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("cannot be used with '--temperature"), "{output:?}");
}

#[test]
fn a_vision_tower_in_place_of_the_model_is_called_one() {
    let scratch = Scratch::new("tower-as-model");
    let tower = scratch.write("mmproj.gguf", Synth::vision(&options(Quant::F16)).to_bytes());
    let output = program().arg("run").arg(tower).args(["-p", "Hi"]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("vision tower") && said.contains("--mmproj"), "{said}");
}

#[test]
fn a_measurement_no_machine_has_room_for_is_refused() {
    let scratch = Scratch::new("endless-bench");
    let model = model(&scratch);
    for line in [&["-p", "99999999999999"][..], &["--depth", "99999999999999999"], &["-n", "18446744073709551615"]] {
        let output = program().arg("bench").arg(&model).args(line).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{line:?}: {said}");
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{line:?}: {said}");
    }
}

#[test]
fn prompts_and_system_messages_may_begin_with_a_hyphen_and_nothing_else() {
    let scratch = Scratch::new("hyphen");
    let model = model(&scratch);
    for text in ["- milk, - eggs: sort these", "---", "-5 + 3", "--json", "-q", "--", "-ngl 99"] {
        let expected = answer_to(&model, text);
        assert_eq!(same(answer(&json_run(&model, &["-p", text]).output().unwrap())), expected, "{text}");
        assert_eq!(same(answer(&json_run(&model, &["--", text]).output().unwrap())), expected, "{text}");
        let by_equals = json_run(&model, &["hi", &format!("--system={text}")]).output().unwrap();
        let by_space = json_run(&model, &["hi", "--system", text]).output().unwrap();
        assert_eq!(same(answer(&by_space)), same(answer(&by_equals)), "{text}");
        assert!(answer(&by_space)["prompt_tokens"].as_u64() > answer_to(&model, "hi")["prompt_tokens"].as_u64());
    }
    for option in ["-f", "--image", "--mmproj", "--cache", "--think", "--temp"] {
        let output = json_run(&model, &["hi", option, "-x"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{option}: {output:?}");
    }
    let output = program().arg("run").arg(&model).args(["- milk"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("with -p TEXT, or behind --"), "{output:?}");
}

#[test]
fn the_prompt_may_stand_behind_the_model() {
    let scratch = Scratch::new("words");
    let model = model(&scratch);
    let expected = answer_to(&model, "Why is the sky blue?");
    for words in [&["Why is the sky blue?"][..], &["Why", "is", "the", "sky", "blue?"]] {
        assert_eq!(same(answer(&json_run(&model, words).output().unwrap())), expected);
        for option in ["-m", "--model"] {
            let mut command = program();
            command.args(["run", option]).arg(&model).args(words).args(["--json", "--seed", "1", "-n", "8"]);
            assert_eq!(same(answer(&command.stdin(Stdio::null()).output().unwrap())), expected, "{option}");
        }
    }
    let other = scratch.write("other.gguf", "");
    for (line, says) in [
        (&["hi", "-p", "ho"][..], "two prompts are given"),
        (&[other.to_str().unwrap()], "one model at a time"),
        (&[other.to_str().unwrap(), model.to_str().unwrap()], "one model at a time"),
        (&[""], "TEXT: the prompt is empty"),
    ] {
        let output = json_run(&model, line).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line:?}: {output:?}");
        assert!(said(&output).contains(says), "{line:?}: {}", said(&output));
    }
}

#[test]
fn a_prompt_and_what_is_piped_are_both_the_prompt() {
    let scratch = Scratch::new("piped");
    let model = model(&scratch);
    let (question, text) = ("Sort these <image>", "b\r\n\\<image>\n- a\n");
    // What is piped keeps its backslash; in what is typed, it takes one away.
    let expected = answer_to(&model, &format!("{question}\n\n{}", text.replace("\\<", "\\\\<")));
    let alone = answer_to(&model, question);
    let file = scratch.write("text.txt", text);
    let named = scratch.write("question.txt", question);
    let (file_name, named) = (file.to_str().unwrap(), named.to_str().unwrap());
    assert_ne!(expected, alone);
    for line in [&["-p", question][..], &[question], &["-f", named]] {
        assert_eq!(same(answer(&fed(&mut json_run(&model, line), text.as_bytes()))), expected, "{line:?}, a pipe");
        let mut redirected = json_run(&model, line);
        redirected.stdin(std::fs::File::open(&file).unwrap());
        assert_eq!(same(answer(&redirected.output().unwrap())), expected, "{line:?}, a file");
        for nothing in ["", "\n \n"] {
            assert_eq!(same(answer(&fed(&mut json_run(&model, line), nothing.as_bytes()))), alone, "{line:?}");
        }
        assert_eq!(same(answer(&json_run(&model, line).output().unwrap())), alone, "{line:?}, no input");
    }
    // A file behind the question, or standard input by name, is the same.
    let by_file = json_run(&model, &["-p", question, "-f", file_name]).output().unwrap();
    assert_eq!(same(answer(&by_file)), expected);
    assert_eq!(same(answer(&fed(&mut json_run(&model, &[question, "-f", "-"]), text.as_bytes()))), expected);
    // All of standard input, as before.
    for line in [&["-p", "-"][..], &[], &["-"], &["-f", "-"]] {
        assert_eq!(same(answer(&fed(&mut json_run(&model, line), question.as_bytes()))), alone, "{line:?}");
    }
    let output = fed(&mut json_run(&model, &["-p", "-", "-f", "-"]), b"x");
    assert_eq!(output.status.code(), Some(1));
}

/// A pipe that nobody writes to does not hang, and a slow writer is waited for.
#[cfg(target_os = "linux")]
#[test]
fn a_silent_pipe_is_left_alone_unless_its_writer_is_at_work() {
    let scratch = Scratch::new("silent");
    let model = model(&scratch);
    let start = |input: Stdio| {
        let mut command = json_run(&model, &["-p", "hi"]);
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let at_work = "i=0; while [ $i -lt 90 ]; do sleep 0.09; j=0; \
                   while [ $j -lt 9999 ]; do j=$((j+1)); done; i=$((i+1)); \
                   done; echo ho";
    let mut writer = Command::new("sh").args(["-c", at_work]).stdout(Stdio::piped()).spawn().unwrap();
    let waiting = start(writer.stdout.take().unwrap().into());
    let begun = Instant::now();
    // One that this program holds, one that another does, and both ends of a socket.
    let mut sleeping = Command::new("sleep").arg("60").stdout(Stdio::piped()).spawn().unwrap();
    let (socket, other_end) = std::os::unix::net::UnixStream::pair().unwrap();
    let inputs = [Stdio::piped(), sleeping.stdout.take().unwrap().into(), std::os::fd::OwnedFd::from(socket).into()];
    for mut silent in inputs.map(start) {
        let held = silent.stdin.take();
        let silent = silent.wait_with_output().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        drop(held);
        assert_eq!(same(answer(&silent)), answer_to(&model, "hi"));
        assert!(said(&silent).contains("nothing came on standard input"), "{}", said(&silent));
    }
    sleeping.kill().unwrap();
    sleeping.wait().unwrap();
    drop(other_end);
    let waited = waiting.wait_with_output().unwrap();
    assert!(writer.wait().unwrap().success());
    assert_eq!(same(answer(&waited)), answer_to(&model, "hi\n\nho\n"), "{}", said(&waited));
}

#[test]
fn numbers_below_zero_are_no_limit_where_that_is_their_meaning() {
    let scratch = Scratch::new("no-limit");
    let model = model(&scratch);
    for n in ["-1", "-2"] {
        let output = json_run(&model, &["-p", "hi", "--temp", "9", "--ctx", "64", "-n", n]).output().unwrap();
        let answer = answer(&output);
        assert!(answer["stop"] == "context_full" || answer["stop"] == "end", "{answer}");
    }
    let line = |top_k| json_run(&model, &["-p", "hi", "--temp", "3", "-n", "16", "--top-k", top_k]).output().unwrap();
    let all = same(answer(&line("0")));
    assert_eq!(same(answer(&line("-1"))), all);
    assert_ne!(same(answer(&line("1"))), all);
    let seeds =
        [(); 2].map(|()| answer(&json_run(&model, &["-p", "hi", "--seed", "-1"]).output().unwrap())["seed"].clone());
    assert_ne!(seeds[0], seeds[1]);
}

#[test]
fn of_an_option_given_twice_the_last_counts() {
    let scratch = Scratch::new("twice");
    let model = model(&scratch);
    let line = ["-p", "hi", "-p", "ho", "-n", "3", "-n", "5", "--seed", "2", "-s", "7", "--temp", "0", "--temp", "1"];
    let twice = answer(&json_run(&model, &line).output().unwrap());
    let once = answer(&json_run(&model, &["-p", "ho", "-n", "5", "--seed", "7", "--temp", "1"]).output().unwrap());
    assert_eq!(same(twice), same(once));
}

#[test]
fn options_of_other_programs_are_understood_or_said_to_be_ignored() {
    let scratch = Scratch::new("spellings");
    let model = model(&scratch);
    let ours = ["-p", "hi", "--kv", "q8_0", "--ctx", "512", "--threads", "1", "--tokens", "4", "--temperature", "0"];
    let ours = answer(&json_run(&model, &ours).output().unwrap());
    let mut theirs = program();
    theirs.args(["run", "-m"]).arg(&model).args(["--json", "-c", "512", "-t", "1", "-n", "4", "--temp", "0"]);
    theirs.args(["-ctk", "q8_0", "-ngl", "99", "-fa", "on", "--jinja", "--no-warmup", "-s", "1", "hi"]);
    let output = theirs.stdin(Stdio::null()).output().unwrap();
    assert_eq!(same(answer(&output)), same(ours));
    let said_of_theirs = said(&output);
    for option in ["-ngl", "-fa", "--jinja", "--no-warmup"] {
        assert!(said_of_theirs.contains(&format!("note: {option}: ")), "{said_of_theirs}");
    }
    assert!(said_of_theirs.contains("-ngl: there is no GPU here; ignored\n"), "{said_of_theirs}");
    assert_eq!(said(&theirs.arg("-q").output().unwrap()), "");
    let output =
        program().args(["bench", "-m"]).arg(&model).args(["-p", "4", "-n", "1", "-r", "1", "-ngl", "0"]).output();
    assert!(said(&output.unwrap()).starts_with("note: -ngl: "));
    let output = json_run(&model, &["-p", "hi", "--lora", "a.gguf"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).starts_with("error: --lora: adapters"), "{}", said(&output));
}

#[test]
fn texts_of_windows_are_read_as_the_texts_they_are() {
    let scratch = Scratch::new("windows");
    let model = model(&scratch);
    let text = "Count from 1 to 5.\r\nGr\u{fc}\u{df}e.";
    let expected = answer_to(&model, text);
    assert_ne!(expected, answer_to(&model, &text.replace('\r', "")), "CRLF is kept");
    let marked = format!("\u{feff}{text}");
    let wide = |order: fn(u16) -> [u8; 2]| marked.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    for (i, bytes) in [marked.clone().into_bytes(), wide(u16::to_le_bytes), wide(u16::to_be_bytes)].iter().enumerate() {
        let file = scratch.write(&format!("{i}.txt"), bytes);
        let by_file = json_run(&model, &["-f", file.to_str().unwrap()]).output().unwrap();
        assert_eq!(same(answer(&by_file)), expected, "{i}");
        assert_eq!(same(answer(&fed(&mut json_run(&model, &[]), bytes))), expected, "{i}, standard input");
        let messages = "\u{feff}{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}";
        let bytes = match i {
            0 => messages.as_bytes().to_vec(),
            1 => messages.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            _ => messages.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        };
        let output = fed(program().arg("template").arg(&model).args(["--messages", "-"]), &bytes);
        assert!(String::from_utf8(output.stdout).unwrap().contains("user\na<|im_end|>"), "{i}");
    }
    assert_eq!(same(answer(&json_run(&model, &["-p", &marked]).output().unwrap())), expected);
    for (bytes, says) in [
        (&b"caf\xe9"[..], "not UTF-8 at byte 3 (0xe9): convert it, as with iconv"),
        (b"abc\0def\x01", "not text"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3", "pdftotext"),
    ] {
        let output = fed(&mut json_run(&model, &[]), bytes);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).starts_with("error: standard input: ") && said(&output).contains(says), "{output:?}");
    }
    // `tokenize` is exact.
    let ids = |bytes: &[u8]| fed(program().arg("tokenize").arg(&model), bytes);
    let (plain, marked) = (ids(text.as_bytes()), ids(marked.as_bytes()));
    assert_ne!(plain.stdout, marked.stdout);
    assert!(plain.stderr.is_empty() && said(&marked).contains("byte-order mark"), "{marked:?}");
    assert_eq!(plain.stdout, ids(&wide(u16::to_le_bytes)).stdout);
}

#[test]
fn an_answer_that_ends_while_the_model_thinks_says_so() {
    let scratch = Scratch::new("thinking");
    let model = model(&scratch);
    let run = |line: &[&str]| {
        let mut command = program();
        command.arg("run").arg(&model).args(["-p", "hi", "--seed", "3", "--temp", "2"]).args(line).stdin(Stdio::null());
        command.output().unwrap()
    };
    for (line, says) in [
        (&["--think", "on", "-n", "12"][..], "-n 12 ended the answer while the model was still thinking"),
        (&["--think", "on", "--ctx", "64"], "while the model was still thinking"),
    ] {
        let output = run(line);
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout.is_empty(), "{line:?}: {output:?}");
        assert!(said(&output).contains(says), "{line:?}: {}", said(&output));
    }
    let quiet = run(&["--think", "on", "-n", "12", "-q"]);
    assert!(quiet.status.success() && quiet.stderr.is_empty() && quiet.stdout.is_empty());
    let result = answer(&run(&["--think", "on", "-n", "12", "--json"]));
    assert_eq!(
        (&result["stop"], &result["thinking"], &result["text"]),
        (&"length".into(), &"unfinished".into(), &"".into())
    );
    assert!(!said(&run(&["--think", "off", "-n", "12"])).contains("thinking"));
}

#[test]
fn a_budget_ends_the_thinking_and_the_answer_follows() {
    let scratch = Scratch::new("budget");
    let template = |source: &'static str| [("tokenizer.chat_template", Key::String(source.as_bytes()))];
    let bare = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                <|im_start|>assistant\n";
    let always = "<|im_start|>user\n{{ messages[0].content }}<|im_end|>\n<|im_start|>assistant\n<think>\n";
    let models = [
        (model(&scratch), true),
        (model_with(&scratch, "bare.gguf", &template(bare)), false),
        (model_with(&scratch, "always.gguf", &template(always)), true),
    ];
    for (model, opens) in &models {
        let run = |line: &[&str]| {
            let line = [&["-p", "hi <think>", "--temp", "2", "-n", "40"], line].concat();
            answer(&json_run(model, &line).output().unwrap())
        };
        let cut = run(&["--think", "on", "--think-budget", "5"]);
        if *opens {
            assert_eq!((&cut["thinking"], &cut["thinking_tokens"]), (&"budget".into(), &5.into()), "{cut}");
            assert!(
                !cut["reasoning"].as_str().unwrap().is_empty() && !cut["text"].as_str().unwrap().is_empty(),
                "{cut}"
            );
        } else {
            assert_eq!((&cut["thinking"], &cut["reasoning"]), (&Value::Null, &"".into()), "{cut}");
        }
        for none in [&["--think", "on", "--think-budget", "0"][..], &["--think", "off"]] {
            let none = run(none);
            assert_eq!((&none["reasoning"], &none["thinking_tokens"]), (&"".into(), &0.into()), "{none}");
            assert!(!none["text"].as_str().unwrap().is_empty(), "{none}");
        }
        let free = run(&["--think", "on", "--think-budget", "-1"]);
        assert_eq!(same(free), same(run(&["--think", "on"])));
    }
}

#[test]
fn nothing_of_a_file_steers_the_terminal() {
    let scratch = Scratch::new("steering");
    let hostile = "quiet\u{1b}]0;TITLE\u{7}\u{1b}[31mred\u{9b}2J\u{202e}";
    let name = [("general.name", Key::String(hostile.as_bytes()))];
    // No file of Windows can have such a name.
    let name_of = |name: &str| if cfg!(windows) { name.replace(char::is_control, "") } else { name.to_owned() };
    let model = model_with(&scratch, &name_of("hostile\u{1b}[2J.gguf"), &name);
    let raise = format!("{{{{ raise_exception('{hostile}') }}}}");
    let raising = model_with(&scratch, "raising.gguf", &[("tokenizer.chat_template", Key::String(raise.as_bytes()))]);
    let architecture = [("general.architecture", Key::String(hostile.as_bytes()))];
    let other = model_with(&scratch, &name_of("other\u{9b}2J.gguf"), &architecture);
    let lines: [(&Path, &[&str]); 9] = [
        (&model, &["run", "-p", "Hi", "-n", "1", "--json"]),
        (&model, &["run", "-p", "Hi", "--image", "\u{1b}[31m.png"]),
        (&model, &["run", "-p", "Hi", "-f", "\u{1b}[31m.txt"]),
        (&model, &["bench", "-p", "4", "-n", "1", "-r", "1"]),
        (&model, &["inspect"]),
        (&model, &["inspect", "--json"]),
        (&raising, &["run", "-p", "Hi"]),
        (&other, &["run", "-p", "Hi"]),
        (&other, &["run", "-p", "Hi", "--\u{1b}[31m"]),
    ];
    for (model, line) in lines {
        let output = program().args(line).arg(model).stdin(Stdio::null()).output().unwrap();
        let all = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!all.contains(steers), "{line:?}: {all:?}");
        assert!(!all.is_empty());
    }
}

#[test]
fn settings_in_a_file_that_make_no_sense_do_not_keep_it_from_running() {
    let scratch = Scratch::new("settings");
    let good = ("general.sampling.top_k", Key::I32(1));
    let greedy = {
        let model = model_with(&scratch, "good.gguf", &[good, ("general.sampling.temp", Key::F32(1.0))]);
        answer(&json_run(&model, &["-p", "hi"]).output().unwrap())["ids"].clone()
    };
    let run = |keys: &[(&str, Key<'_>)], line: &[&str]| {
        let output =
            json_run(&model_with(&scratch, "model.gguf", keys), &[&["-p", "hi"], line].concat()).output().unwrap();
        (answer(&output)["ids"].clone(), said(&output))
    };
    // A broken temperature leaves the rest in force.
    for value in [Key::F32(f32::NAN), Key::F32(-1.0), Key::String(b"hot"), Key::Bool(true)] {
        let (ids, said) = run(&[good, ("general.sampling.temp", value)], &["--presence-penalty", "0"]);
        assert_eq!(ids, greedy, "{value:?}");
        assert!(said.contains("note: the file's general.sampling.temp should be"), "{said}");
    }
    for key in ["top_k", "top_p", "min_p", "penalty_repeat"] {
        for value in [Key::F32(f32::NAN), Key::I32(-1), Key::F32(0.0), Key::F32(1.5), Key::String(b"1")] {
            let key = format!("general.sampling.{key}");
            let (ids, _) = run(&[(&key, value), ("general.sampling.temp", Key::F32(1.0))], &["--top-k", "1"]);
            // What is given counts first.
            if key != "general.sampling.penalty_repeat" {
                assert_eq!(ids, greedy, "{key} {value:?}");
            }
        }
    }
}

#[test]
fn the_closing_line_names_the_seed() {
    let scratch = Scratch::new("seed");
    let model = model(&scratch);
    let run = |line: &[&str]| {
        let output =
            program().arg("run").arg(&model).args(["-p", "hi", "-n", "4"]).args(line).stdin(Stdio::null()).output();
        let output = output.unwrap();
        (said(&output), output.stdout)
    };
    let (said, text) = run(&[]);
    let seed = said.rsplit_once("; seed ").unwrap().1.split(']').next().unwrap().to_owned();
    assert_eq!(run(&["--seed", &seed]).1, text);
    assert!(run(&["--seed", "12"]).0.contains("; seed 12]"));
}
