//! The answers of a batch: lines that are added in order, and that an interrupted run goes on behind.

use super::printable;
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

/// Where answers go: a file that may have some of them, or standard output.
pub(super) struct AnswersFile {
    file: Option<File>,
    n_answered: usize,
}

impl AnswersFile {
    /// Opens the answers of the prompts with these ids, which are in this order; without a path, standard output. What a
    /// run before has written of a last line is cut off.
    ///
    /// # Errors
    /// If the file cannot be opened, or is not the beginning of those answers: it is left as it is then.
    pub fn open<'i>(path: Option<&Path>, ids: impl Iterator<Item = &'i Value>) -> anyhow::Result<AnswersFile> {
        let Some(path) = path else { return Ok(AnswersFile { file: None, n_answered: 0 }) };
        let name = || path.display().to_string();
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.with_context(name)?;
        if !file.metadata().with_context(name)?.is_file() {
            return Ok(AnswersFile { file: Some(file), n_answered: 0 });
        }
        let mut reader = BufReader::new(&file);
        let (mut n_answered, mut end, mut line, mut ids) = (0, 0, Vec::new(), ids);
        loop {
            line.clear();
            let n = reader.read_until(b'\n', &mut line).with_context(name)?;
            if n == 0 {
                break;
            }
            let id = serde_json::from_slice::<Value>(&line).ok().and_then(|line| line.get("id").cloned());
            let whole = line.ends_with(b"\n");
            match (id, ids.next()) {
                (Some(found), Some(expected)) if found == *expected && whole => {}
                // The last line of a run that was ended within it.
                (_, Some(expected)) if !whole && looks_cut(&line, expected) => break,
                (found, expected) => {
                    let shown = |id: Option<&Value>| {
                        id.map_or("none".to_owned(), |id| printable::line(&id.to_string()).into_owned())
                    };
                    bail!(
                        "{}: line {} has the id {}, expected {}: these are not the answers to these prompts; give another \
                         -o, or remove the file",
                        name(),
                        n_answered + 1,
                        shown(found.as_ref()),
                        shown(expected),
                    );
                }
            }
            n_answered += 1;
            end += n as u64;
        }
        file.set_len(end).with_context(name)?;
        file.seek(SeekFrom::Start(end)).with_context(name)?;
        Ok(AnswersFile { file: Some(file), n_answered })
    }

    /// Lines that are there.
    pub fn n_answered(&self) -> usize {
        self.n_answered
    }

    /// Adds a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&mut self, line: &Value) -> anyhow::Result<()> {
        let written = match &mut self.file {
            // One call a line: whoever follows the file sees whole ones.
            Some(file) => file.write_all(format!("{line}\n").as_bytes()),
            None => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{}", printable::json(&line.to_string())).and_then(|()| out.flush())
            }
        };
        written.context("cannot write the answers")?;
        self.n_answered += 1;
        Ok(())
    }
}

/// Whether a line without an end is the beginning of the answer with this id. Whatever else it is, it is somebody's.
fn looks_cut(line: &[u8], id: &Value) -> bool {
    // As they are written: the keys in order, the id first.
    let begin = format!("{{\"id\":{id}");
    let n = line.len().min(begin.len());
    line[..n] == begin.as_bytes()[..n]
}
