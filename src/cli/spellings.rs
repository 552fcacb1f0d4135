//! Options as people know them from llama.cpp and Ollama: those with a meaning here become the options they mean, those
//! without one are left out with a sentence.
//!
//! It happens before the arguments are parsed, since some look like several of ours in one word (`-fa` as `-f a`,
//! `-ngl` as `-n gl`). What an option of ours takes for its value is not looked at.

use clap::Command;
use std::ffi::OsString;

/// What is done with a spelling.
#[derive(Clone, Copy)]
enum Meaning {
    /// The option of ours that takes the same value.
    Value(&'static str),
    /// The option of ours that takes no value either.
    Flag(&'static str),
    /// `--chat-template-kwargs`, which switches the thinking.
    Kwargs,
    /// Left out with so many values, and why.
    Without(Takes, &'static str),
    /// An error: what is asked for would be missed in the answer.
    Refused(&'static str),
}

use Meaning::{Flag, Kwargs, Refused, Value, Without};

/// How many values an option has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    One,
    /// One of a few words, or nothing.
    Maybe,
}

use Takes::{Maybe, Nothing, One};

/// The words that [`Takes::Maybe`] takes for a value.
const SWITCH: [&str; 9] = ["on", "off", "auto", "0", "1", "true", "false", "enabled", "disabled"];

const GPU: &str = "there is no GPU here";
const SPLIT: &str = "there are no GPUs here to share the model";
const DISK: &str = "a plan made from the free memory decides that here; see --mem";
const TEMPLATE: &str = "the model's own chat template is always used, else the published one; --raw uses none";
const SAMPLER: &str = "that way of choosing tokens does not exist here";
const LOOK: &str = "how messages look cannot be chosen; -q leaves them out";
const TURN: &str = "with a prompt there is one answer, without one a chat";
const WORDS: &str = "text is taken as it is, without escapes or additions";
const ONE: &str = "there is one conversation at a time here";
const SHARED: &str = "conversations share passes and memory wherever there are several";
const CPU: &str = "threads are given with --threads alone";
const DRAFT: &str = "this program does not draft with a second model";
const DOWNLOAD: &str =
    "give the repository as the model, user/repo:QUANT, once `qwen-edge pull user/repo:QUANT` has fetched it";

/// Spellings and what they mean, by the programs they come from. One that is there twice means an option of some commands,
/// and nothing in the others.
const SPELLINGS: &[(&[&str], Meaning)] = &[
    // llama.cpp: what is here too.
    (&["--ctx-size", "--context-size"], Value("--ctx")),
    (&["-np"], Value("--parallel")),
    (&["-a"], Value("--alias")),
    (&["--n-predict", "--predict"], Value("--tokens")),
    (&["-b", "--batch-size", "-ub", "--ubatch-size"], Value("--batch")),
    (&["-ctk", "-ctv", "--cache-type-k", "--cache-type-v"], Value("--kv")),
    (&["-d", "--n-depth"], Value("--depth")),
    (&["-sys", "--system-prompt"], Value("--system")),
    (&["-sysf", "--system-prompt-file"], Refused("give the file's text: --system \"$(cat FILE)\"")),
    (&["-mm"], Value("--mmproj")),
    (&["--no-mmproj-auto"], Flag("--no-mmproj")),
    (&["-rea", "--reasoning"], Value("--think")),
    (&["--reasoning-budget"], Value("--think-budget")),
    (&["--chat-template-kwargs"], Kwargs),
    (&["-no-cnv", "--no-conversation"], Flag("--raw")),
    (&["--n-prompt"], Value("--prompt")),
    (&["--n-gen"], Value("--tokens")),
    // llama.cpp: what has no meaning on one CPU.
    (&["-ngl", "--gpu-layers", "--n-gpu-layers"], Without(One, GPU)),
    (&["-dev", "--device"], Without(One, GPU)),
    (&["-fa", "--flash-attn"], Without(Maybe, "there is one way to compute attention here, and it is that one")),
    (&["-sm", "--split-mode", "-mg", "--main-gpu", "-ts", "--tensor-split"], Without(One, SPLIT)),
    (&["-ot", "--override-tensor", "-ncmoe", "--n-cpu-moe"], Without(One, GPU)),
    (&["-cmoe", "--cpu-moe", "-nkvo", "--no-kv-offload", "-kvo", "--kv-offload", "--no-host"], Without(Nothing, GPU)),
    (&["--op-offload", "--no-op-offload", "--no-mmproj-offload", "--mmproj-offload"], Without(Nothing, GPU)),
    (&["-fit", "--fit", "-fitt", "--fit-target", "-fitc", "--fit-ctx"], Without(One, DISK)),
    (&["--mmap"], Without(Nothing, "the file is mapped anyway unless --no-mmap says otherwise")),
    (&["-dio", "--direct-io", "-ndio", "--no-direct-io", "-nr", "--no-repack", "--repack"], Without(Nothing, DISK)),
    (&["-tb", "--threads-batch", "--numa", "--prio", "--poll", "-C", "--cpu-mask", "-Cr"], Without(One, CPU)),
    (&["--cpu-range", "--cpu-strict", "--prio-batch", "--poll-batch"], Without(One, CPU)),
    (&["--no-warmup", "--warmup"], Without(Nothing, "nothing is run before the prompt")),
    (&["--check-tensors"], Without(Nothing, "tensors are checked anyway, as far as they can be")),
    (&["-np", "--parallel", "-ns", "--sequences"], Without(One, ONE)),
    (&["-cb", "--cont-batching", "-nocb", "--no-cont-batching", "-kvu", "--kv-unified"], Without(Nothing, SHARED)),
    (&["--swa-full", "--context-shift", "--no-context-shift"], Without(Nothing, "a full context ends the answer")),
    (&["--keep", "-dt", "--defrag-thold"], Without(One, "a full context ends the answer")),
    // llama.cpp: templates and talk.
    (&["--jinja", "--no-jinja", "--skip-chat-parsing"], Without(Nothing, TEMPLATE)),
    (&["--chat-template", "--chat-template-file"], Without(One, TEMPLATE)),
    (&["--reasoning-format"], Without(One, "thinking goes to standard error, and the answer to standard output")),
    (&["-cnv", "--conversation", "-st", "--single-turn"], Without(Nothing, TURN)),
    (&["-i", "--interactive", "-if", "--interactive-first", "-ins", "--instruct"], Without(Nothing, TURN)),
    (&["-mli", "--multiline-input"], Without(Nothing, "a line that ends in \\ goes on in the next")),
    (&["-e", "--escape", "--no-escape", "-sp", "--special", "--no-display-prompt"], Without(Nothing, WORDS)),
    (&["--display-prompt", "--in-prefix-bos"], Without(Nothing, WORDS)),
    (&["--in-prefix", "--in-suffix"], Without(One, WORDS)),
    (&["-co", "--color", "--colors"], Without(Maybe, LOOK)),
    (&["--log-colors", "--log-verbosity", "-lv", "--log-file", "--verbosity"], Without(One, LOOK)),
    (&["--simple-io", "-v", "--verbose", "--log-verbose", "--log-disable", "--verbose-prompt"], Without(Nothing, LOOK)),
    (&["--log-prefix", "--log-timestamps", "--show-timings", "--no-show-timings"], Without(Nothing, LOOK)),
    (&["--perf", "--no-perf"], Without(Nothing, "the closing line says how fast it was; -q leaves it out")),
    // llama.cpp: sampling.
    (&["--repeat-last-n"], Without(One, "penalties look at everything written before")),
    (&["--samplers", "--sampler-seq", "--sampling-seq"], Without(One, "penalties, temperature, top-k, top-p, min-p")),
    (&["--typical", "--typical-p", "--top-nsigma", "--top-n-sigma", "--xtc-probability"], Without(One, SAMPLER)),
    (&["--xtc-threshold", "--mirostat", "--mirostat-lr", "--mirostat-ent"], Without(One, SAMPLER)),
    (&["--dynatemp-range", "--dynatemp-exp", "--adaptive-target", "--adaptive-decay"], Without(One, SAMPLER)),
    (&["--dry-multiplier", "--dry-base", "--dry-allowed-length", "--dry-penalty-last-n"], Without(One, SAMPLER)),
    (&["--dry-sequence-breaker"], Without(One, SAMPLER)),
    // llama.cpp: drafting.
    (&["-md", "--model-draft", "-ngld", "--gpu-layers-draft", "--draft-n"], Without(One, DRAFT)),
    (&["--draft-max", "--draft-min", "--draft-p-min", "-devd", "--device-draft"], Without(One, DRAFT)),
    (&["--spec-type"], Without(One, DRAFT)),
    // llama.cpp: what would be missed.
    (&["-hf", "-hfr", "--hf-repo", "-hff", "--hf-file", "-mu", "--model-url"], Refused(DOWNLOAD)),
    (&["--mmproj-url", "-mmu"], Refused(DOWNLOAD)),
    (&["--lora", "--lora-scaled"], Refused("adapters are not applied here: merge it into the model first")),
    (&["--control-vector", "--control-vector-scaled"], Refused("control vectors are not applied here")),
    (
        &["--grammar", "--grammar-file", "-j", "--json-schema", "-jf", "--json-schema-file"],
        Refused("there are no grammars here"),
    ),
    (&["-r", "--reverse-prompt"], Refused("an answer ends where the model ends it, or at -n tokens")),
    (&["--ignore-eos"], Refused("an answer ends where the model ends it, or at -n tokens")),
    // Ollama.
    (&["--hidethinking"], Without(Nothing, "thinking goes to standard error alone; -q leaves it out")),
    (&["--nowordwrap"], Without(Nothing, "lines are never wrapped here")),
    (&["--keepalive"], Without(One, "the model is loaded for this command alone")),
];

/// Arguments for the parser, and what is to be said about those that were left out.
#[derive(Debug, Default)]
pub(super) struct Respelled {
    pub args: Vec<OsString>,
    pub notes: Vec<String>,
}

/// The options of a command, as far as they matter here.
struct Options {
    /// All names, with their hyphens, and whether they take a value.
    names: Vec<(String, bool)>,
}

impl Options {
    fn of(command: &Command) -> Options {
        let mut names = vec![("-h".to_owned(), false), ("--help".to_owned(), false)];
        for arg in command.get_arguments() {
            let takes = arg.get_action().takes_values();
            let shorts = arg.get_short().into_iter().chain(arg.get_all_short_aliases().unwrap_or_default());
            let longs = arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default());
            names.extend(shorts.map(|short| (format!("-{short}"), takes)));
            names.extend(longs.map(|long| (format!("--{long}"), takes)));
        }
        Options { names }
    }

    /// Whether an option takes a value; `None` if there is none of that name.
    fn takes_value(&self, name: &str) -> Option<bool> {
        self.names.iter().find(|(known, _)| known == name).map(|&(_, takes)| takes)
    }

    /// Whether the value of `word`, which is an option or several short ones, is the next word.
    fn value_follows(&self, word: &str) -> bool {
        if word.starts_with("--") {
            return self.takes_value(word) == Some(true);
        }
        let takes = |c: char| self.takes_value(&format!("-{c}"));
        match word.char_indices().skip(1).find(|&(_, c)| takes(c) != Some(false)) {
            Some((at, c)) => takes(c) == Some(true) && at + c.len_utf8() == word.len(),
            None => false,
        }
    }
}

/// The arguments of the program as `definition` knows them.
///
/// # Errors
/// A sentence, if one asks for something whose lack would change the answer.
pub(super) fn respell(args: Vec<OsString>, definition: &Command) -> Result<Respelled, String> {
    let command = args.get(1).and_then(|name| name.to_str()).and_then(|name| definition.find_subcommand(name));
    let Some(command) = command.filter(|command| ["run", "bench", "serve"].contains(&command.get_name())) else {
        return Ok(Respelled { args, notes: Vec::new() });
    };
    let options = Options::of(command);
    let mut out = Respelled::default();
    let mut args = args.into_iter();
    out.args.extend(args.by_ref().take(2));
    while let Some(arg) = args.next() {
        let word = match arg.to_str() {
            Some("--") | None => {
                out.args.push(arg);
                // What is not UTF-8 is no option of anybody.
                if out.args.last().is_some_and(|arg| arg == "--") {
                    break;
                }
                continue;
            }
            Some(word) => word,
        };
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (word, None),
        };
        let meanings = SPELLINGS.iter().filter(|(names, _)| names.contains(&name)).map(|&(_, meaning)| meaning);
        let meaning = meanings.filter(|_| options.takes_value(name).is_none()).find(|meaning| match meaning {
            Value(ours) | Flag(ours) => options.takes_value(ours).is_some(),
            Kwargs => options.takes_value("--think").is_some(),
            Without(..) | Refused(_) => true,
        });
        let mut value = |inline: Option<OsString>| inline.or_else(|| args.next());
        match meaning {
            None if name.starts_with('-') && inline.is_none() && options.value_follows(name) => {
                out.args.push(arg);
                out.args.extend(args.next());
            }
            None => out.args.push(arg),
            Some(Flag(ours)) => out.args.push(ours.into()),
            Some(Value(ours)) => match value(inline) {
                Some(value) => {
                    let mut whole = OsString::from(format!("{ours}="));
                    whole.push(value);
                    out.args.push(whole);
                }
                None => out.args.push(ours.into()),
            },
            Some(Kwargs) => match value(inline).as_deref().and_then(|json| json.to_str()).and_then(thinking_of) {
                Some(thinking) => out.args.push(format!("--think={}", if thinking { "on" } else { "off" }).into()),
                None => out.notes.push(format!("{name}: nothing but enable_thinking has a meaning here; ignored")),
            },
            Some(Without(takes, why)) => {
                match takes {
                    Nothing => {}
                    One => drop(value(inline)),
                    Maybe if inline.is_some() => {}
                    Maybe => {
                        let next = args.as_slice().first().and_then(|next| next.to_str());
                        if next.is_some_and(|next| SWITCH.contains(&next)) {
                            args.next();
                        }
                    }
                }
                out.notes.push(format!("{name}: {why}; ignored"));
            }
            Some(Refused(why)) => return Err(format!("{name}: {why}")),
        }
    }
    out.args.extend(args);
    Ok(out)
}

/// Whether template variables in JSON switch the thinking, and how; `None` if they say anything else.
fn thinking_of(json: &str) -> Option<bool> {
    let variables: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).ok()?;
    if variables.len() == 1 { variables.get("enable_thinking")?.as_bool() } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::definition;
    use super::*;

    fn respelled(line: &[&str]) -> (Vec<String>, Vec<String>) {
        let line: Vec<OsString> = ["qwen-edge"].iter().chain(line).map(OsString::from).collect();
        let Respelled { args, notes } = respell(line, &definition()).unwrap();
        (args.into_iter().skip(1).map(|arg| arg.into_string().unwrap()).collect(), notes)
    }

    #[test]
    fn what_has_a_meaning_becomes_the_option_it_means() {
        for (line, expected) in [
            (&["--ctx-size", "4096"][..], &["--ctx=4096"][..]),
            (&["--ctx-size=4096"], &["--ctx=4096"]),
            (&["--n-predict", "-1"], &["--tokens=-1"]),
            (&["-ctk", "q8_0", "-ctv", "q8_0"], &["--kv=q8_0", "--kv=q8_0"]),
            (&["-sys", "- be brief"], &["--system=- be brief"]),
            (&["--reasoning-budget", "0"], &["--think-budget=0"]),
            (&["--chat-template-kwargs", r#"{"enable_thinking": false}"#], &["--think=off"]),
            (&["-no-cnv"], &["--raw"]),
            // Ours are left alone, in whatever form.
            (
                &["-c", "4096", "-t4", "-n", "5", "--temp=0", "-qp", "hi"],
                &["-c", "4096", "-t4", "-n", "5", "--temp=0", "-qp", "hi"],
            ),
        ] {
            let (args, notes) = respelled(&[&["run", "m.gguf"], line].concat());
            assert_eq!((&args[2..], notes.len()), (&expected.iter().map(|&s| s.to_owned()).collect::<Vec<_>>()[..], 0));
        }
    }

    #[test]
    fn a_server_is_told_as_llama_server_is() {
        let (args, notes) = respelled(&["serve", "m.gguf", "-np", "8", "--ctx-size", "4096", "-a", "b", "-cb"]);
        assert_eq!(args, ["serve", "m.gguf", "--parallel=8", "--ctx=4096", "--alias=b"]);
        assert!(notes.len() == 1 && notes[0].starts_with("-cb: conversations share"), "{notes:?}");
    }

    #[test]
    fn what_has_none_is_left_out_with_its_values_and_a_sentence() {
        for (line, rest) in [
            (&["-ngl", "99", "-p", "hi"][..], &["-p", "hi"][..]),
            (&["--n-gpu-layers=99", "hi"], &["hi"]),
            (&["-fa", "on", "hi"], &["hi"]),
            (&["-fa", "hi"], &["hi"]),
            (&["--flash-attn=off", "hi"], &["hi"]),
            (&["--jinja", "hi"], &["hi"]),
            (&["hi", "-ngl"], &["hi"]),
        ] {
            let (args, notes) = respelled(&[&["run", "m.gguf"], line].concat());
            assert_eq!(&args[2..], rest, "{line:?}");
            assert!(notes.len() == 1 && notes[0].ends_with("; ignored"), "{notes:?}");
        }
        assert_eq!(respelled(&["bench", "m.gguf", "-ngl", "0", "-ub", "256"]).0, ["bench", "m.gguf", "--batch=256"]);
    }

    #[test]
    fn values_and_words_behind_two_hyphens_are_not_looked_at() {
        for line in [
            &["run", "m.gguf", "-p", "-ngl"][..],
            &["run", "m.gguf", "-qp", "--jinja", "-n", "4"],
            &["run", "m.gguf", "--system", "-fa", "hi"],
            &["run", "m.gguf", "--prompt=--ngl=1"],
            &["run", "m.gguf", "--", "-ngl", "99", "--jinja"],
            &["run", "m.gguf", "-p"],
            &["inspect", "-ngl"],
            &["tokenize", "m.gguf", "--jinja"],
            &["--jinja"],
            &[],
        ] {
            assert_eq!(respelled(line), (line.iter().map(|&s| s.to_owned()).collect(), vec![]), "{line:?}");
        }
    }

    #[test]
    fn what_would_be_missed_is_an_error() {
        for name in ["--lora", "-hf", "--grammar"] {
            let line = ["qwen-edge", "run", "m.gguf", name, "x"].map(OsString::from).to_vec();
            assert!(respell(line, &definition()).unwrap_err().starts_with(&format!("{name}: ")));
        }
    }

    #[test]
    fn a_spelling_has_one_meaning_in_a_command_and_is_no_option_of_ours() {
        let all = SPELLINGS.iter().flat_map(|(names, meaning)| names.iter().map(move |name| (*name, meaning)));
        let (names, meanings): (Vec<&str>, Vec<&Meaning>) = all.unzip();
        for (i, name) in names.iter().enumerate() {
            if let Some(first) = names[..i].iter().position(|first| first == name) {
                assert!(matches!((meanings[first], meanings[i]), (Value(_), Without(..))), "{name}");
            }
        }
        let definition = definition();
        let run = Options::of(definition.find_subcommand("run").unwrap());
        for name in names {
            assert_eq!(run.takes_value(name), None, "{name}");
        }
    }
}
