//! Folders of a user, as the XDG base directory specification has them.

use std::path::{Path, PathBuf};

pub(crate) fn data(variable: &dyn Fn(&str) -> Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    variable("XDG_DATA_HOME").or_else(|| Some(home?.join(".local/share")))
}

pub(crate) fn cache(variable: &dyn Fn(&str) -> Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    variable("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")))
}
