//! Folders of a user, as macOS has them.

use std::path::{Path, PathBuf};

pub(crate) const SERVICE_OF_OLLAMA: &[&str] = &[];

pub(crate) fn data(variable: &dyn Fn(&str) -> Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    variable("XDG_DATA_HOME").or_else(|| Some(home?.join("Library/Application Support")))
}

pub(crate) fn cache(_: &dyn Fn(&str) -> Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    Some(home?.join("Library/Caches"))
}
