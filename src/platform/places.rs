//! Folders of a user, as the system's programs have them.

use super::system::places;
use std::path::{Path, PathBuf};

/// Where Ollama keeps models when it runs as a service of the system.
pub(crate) const SERVICE_OF_OLLAMA: &[&str] = places::SERVICE_OF_OLLAMA;

/// The folder of programs' data. `variable` has paths of the environment.
pub(crate) fn data(variable: &dyn Fn(&str) -> Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    places::data(variable, home)
}

/// The folder of programs' caches.
pub(crate) fn cache(variable: &dyn Fn(&str) -> Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    places::cache(variable, home)
}
