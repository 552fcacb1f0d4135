//! `tokenize`: text to token ids.

use super::text;
use anyhow::{Context, bail};
use qwen_edge::gguf::Gguf;
use qwen_edge::tokenizer::{Special, Tokenizer};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Print the token ids of a text as a JSON array.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    echo -n 'Hello, world!' | qwen-edge tokenize model.gguf\n  \
    qwen-edge tokenize model.gguf --no-special question.txt\n  \
    qwen-edge tokenize model.gguf --jsonl texts.jsonl > ids.jsonl")]
pub struct Args {
    /// The model, or a file with nothing but its vocabulary
    model: PathBuf,
    /// The text; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Read control tokens such as <|im_end|> as plain text, as is done with what a user writes
    #[arg(long)]
    no_special: bool,
    /// Read one JSON string a line, write one array a line
    #[arg(long)]
    jsonl: bool,
}

/// Reads the text and prints its tokens on stdout.
pub fn run(args: Args) -> anyhow::Result<()> {
    let gguf = Gguf::open(&args.model)?;
    let in_model = || format!("{}: no usable tokenizer", args.model.display());
    let tokenizer = Tokenizer::from_gguf(&gguf).with_context(in_model)?;
    let special = if args.no_special { Special::None } else { Special::Parse };

    let (input, name): (Box<dyn Read>, _) = if args.file == Path::new("-") {
        (Box::new(io::stdin().lock()), "standard input".to_owned())
    } else {
        let name = args.file.display().to_string();
        (Box::new(File::open(&args.file).with_context(|| format!("cannot open {name}"))?), name)
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.jsonl {
        encode_lines(BufReader::new(input), &mut out, |text| tokenizer.encode(text, special)).context(name)
    } else {
        let text = read_text(input).context(name)?;
        write_ids(&mut out, &tokenizer.encode(&text, special))?;
        out.flush().context(STDOUT)
    }
}

const STDOUT: &str = "cannot write to standard output";

/// Reads all of `input`: UTF-8 as it is, a byte-order mark included, other Unicode as the text it is.
fn read_text(mut input: impl Read) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).context("cannot be read")?;
    match String::from_utf8(bytes) {
        Ok(text) => {
            if text::without_mark(&text).len() < text.len() {
                say!("note: the byte-order mark in front is among the tokens; `run` leaves it out of a prompt");
            }
            Ok(text)
        }
        Err(error) => text::decode(error.as_bytes()),
    }
}

/// Maps every line of `input`, a JSON string, to a line of ids.
fn encode_lines(
    mut input: BufReader<impl Read>,
    out: &mut impl Write,
    encode: impl Fn(&str) -> Vec<u32>,
) -> anyhow::Result<()> {
    if text::is_wide(input.fill_buf().context("cannot be read")?) {
        let text = read_text(input)?;
        return encode_lines(BufReader::new(text.as_bytes()), out, encode);
    }
    let (mut line, mut offset) = (Vec::new(), 0);
    for number in 1.. {
        line.clear();
        if input.read_until(b'\n', &mut line).context("cannot be read")? == 0 {
            break;
        }
        let text: String = match std::str::from_utf8(&line) {
            // JSON has no byte-order mark; some programs write one.
            Ok(text) => serde_json::from_str(text::without_mark(text))
                .with_context(|| format!("line {number} is not a JSON string"))?,
            Err(error) => {
                let at = error.valid_up_to();
                bail!("not UTF-8: invalid byte 0x{:02x} at offset {} (line {number})", line[at], offset + at);
            }
        };
        offset += line.len();
        write_ids(out, &encode(&text))?;
        // A program that waits for the answer to its line gets it; a file is written in large pieces.
        if input.buffer().is_empty() {
            out.flush().context(STDOUT)?;
        }
    }
    out.flush().context(STDOUT)
}

fn write_ids(out: &mut impl Write, ids: &[u32]) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, ids).map_err(io::Error::from).context(STDOUT)?;
    out.write_all(b"\n").context(STDOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> (String, anyhow::Result<()>) {
        let mut out = Vec::new();
        let result = encode_lines(BufReader::new(input), &mut out, |text| vec![text.chars().count() as u32, 7]);
        (String::from_utf8(out).unwrap(), result)
    }

    #[test]
    fn every_line_gives_a_line() {
        let (out, result) = lines("\"a\\n\\u00e9\"\n  \"\"\r\n\"世\"".as_bytes());
        result.unwrap();
        assert_eq!(out, "[3,7]\n[0,7]\n[1,7]\n");
    }

    #[test]
    fn a_bad_line_is_named_and_those_before_it_are_answered() {
        let (out, result) = lines(b"\"a\"\n\n\"b\"\n");
        assert_eq!(out, "[1,7]\n");
        assert!(format!("{:#}", result.unwrap_err()).starts_with("line 2 is not a JSON string"));
        let (_, result) = lines(b"\"a\"\n[1]\n");
        assert!(format!("{:#}", result.unwrap_err()).starts_with("line 2 is not a JSON string"));
        let (_, result) = lines(b"\"\\ud800\"\n");
        assert!(format!("{:#}", result.unwrap_err()).starts_with("line 1 is not a JSON string"));
    }

    #[test]
    fn lines_are_read_as_other_programs_write_them() {
        let text = "\u{feff}\"a\"\n\"\u{feff}世\"\n";
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [text.as_bytes(), &utf16] {
            let (out, result) = lines(bytes);
            result.unwrap();
            assert_eq!(out, "[1,7]\n[2,7]\n");
        }
    }

    #[test]
    fn broken_utf8_is_reported_with_its_offset() {
        let (_, result) = lines(b"\"a\"\n\"b\xff\"\n");
        assert_eq!(result.unwrap_err().to_string(), "not UTF-8: invalid byte 0xff at offset 6 (line 2)");
        let error = read_text(&b"caf\xc3\xa9 \xe4\xb8!"[..]).unwrap_err();
        assert!(error.to_string().starts_with("not UTF-8 at byte 6 (0xe4)"), "{error}");
    }
}
