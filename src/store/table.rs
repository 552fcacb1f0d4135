//! Short names of models, and the repositories they stand for.

use super::name::{HubName, Name};
use std::io;
use std::path::{Path, PathBuf};

/// Names and repositories, the first of a name preferred. The ones of unsloth are those that the model lists and install
/// scripts of several programs name, the one of ggml-org is named by llama.cpp's README (looked up in November 2026).
const TABLE: &str = "\
qwen3.5:0.8b unsloth/Qwen3.5-0.8B-GGUF
qwen3.5:0.8b ggml-org/Qwen3.5-0.8B-GGUF
qwen3.5:2b   unsloth/Qwen3.5-2B-GGUF
qwen3.5:4b   unsloth/Qwen3.5-4B-GGUF
qwen3.5:9b   unsloth/Qwen3.5-9B-GGUF
";

/// Names the file that replaces this program's own table.
pub const VARIABLE: &str = "QWEN_EDGE_MODELS_TABLE";

/// Bytes of a table at most.
const LARGEST: u64 = 1 << 20;

/// What short names stand for: of each line `NAME USER/REPO[:QUANT]`; empty lines, and what stands behind `#`, say nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table(Vec<(String, HubName)>);

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadTable {
    /// The file cannot be read.
    #[error("{VARIABLE}: {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// A line says something else.
    #[error("{VARIABLE}: line {line} is {text:?}, expected a name as qwen3.5:0.8b and a repository as user/repo:QUANT")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What it says.
        text: String,
    },
}

impl Table {
    /// This program's own, or the one that the environment names.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn of_environment() -> Result<Table, BadTable> {
        match std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            None => Table::parse(TABLE),
            Some(path) => Table::parse(&read(Path::new(&path))?),
        }
    }

    fn parse(text: &str) -> Result<Table, BadTable> {
        let mut entries = Vec::new();
        for (no, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
            let parsed = match words[..] {
                [] => continue,
                [name, model] => Name::parse(name).ok().zip(Name::parse(model).ok()),
                _ => None,
            };
            let Some((name @ Name::Table { .. }, Name::Hub(model))) = parsed else {
                return Err(BadTable::Line { line: no + 1, text: line.chars().take(80).collect() });
            };
            entries.push((name.to_string(), model));
        }
        Ok(Table(entries))
    }

    /// What a name stands for, the preferred one first.
    pub fn models(&self, name: &Name) -> Vec<HubName> {
        let name = name.to_string();
        self.0.iter().filter(|(known, _)| *known == name).map(|(_, model)| model.clone()).collect()
    }
}

fn read(path: &Path) -> Result<String, BadTable> {
    let read = || {
        let metadata = std::fs::metadata(path)?;
        if metadata.len() > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        std::fs::read_to_string(path)
    };
    read().map_err(|reason| BadTable::File { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(table: &Table, name: &str) -> Vec<String> {
        table.models(&Name::parse(name).unwrap()).iter().map(HubName::to_string).collect()
    }

    #[test]
    fn names_stand_for_repositories() {
        let table = Table::parse(TABLE).unwrap();
        assert_eq!(models(&table, "Qwen3.5:0.8B"), ["unsloth/Qwen3.5-0.8B-GGUF", "ggml-org/Qwen3.5-0.8B-GGUF"]);
        assert!(["qwen3.5:2b", "qwen3.5:4b", "qwen3.5:9b"].iter().all(|name| !models(&table, name).is_empty()));
        assert_eq!(models(&table, "qwen3.5:70b"), [] as [&str; 0]);
    }

    #[test]
    fn a_table_of_ones_own_is_read_line_by_line() {
        let table = Table::parse("# mine\n\nsmall:one a/b:Q8_0 # preferred\nsmall:one c/d\n").unwrap();
        assert_eq!(models(&table, "small:one"), ["a/b:Q8_0", "c/d"]);
        for line in ["small:one", "a/b c/d", "small:one x y", "small:one ../x"] {
            assert!(matches!(Table::parse(line), Err(BadTable::Line { line: 1, .. })), "{line}");
        }
    }
}
