//! Where the bytes of a picture or a clip come from: a file, standard input (`-`) or a `data:` URL.

use super::data_url;
use super::error::{Error, Result};
use crate::platform::files;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes read from one source.
pub const MAX_BYTES: u64 = 1 << 30;

/// A place where bytes come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Standard input.
    Stdin,
    /// The text of a `data:` URL.
    DataUrl(String),
    /// A file, or a directory of frames.
    File(PathBuf),
}

impl Source {
    /// Reads all bytes.
    ///
    /// # Errors
    /// What the system said, a malformed URL, or more than `most` bytes or [`MAX_BYTES`].
    pub fn read(&self, most: u64) -> Result<Vec<u8>> {
        let limit = most.min(MAX_BYTES);
        match self {
            Source::Stdin => read_all(std::io::stdin().lock(), limit),
            Source::File(path) => read_file(path, limit),
            Source::DataUrl(url) => match data_url::decode(url)? {
                bytes if bytes.len() as u64 > limit => Err(Error::TooManyBytes { limit }),
                bytes => Ok(bytes),
            },
        }
    }

    /// What messages call it: its path, or what it is.
    pub fn label(&self) -> String {
        match self {
            Source::Stdin => "standard input".into(),
            Source::DataUrl(_) => "data URL".into(),
            Source::File(path) => path.to_string_lossy().into_owned(),
        }
    }
}

/// Reads all bytes of a file.
///
/// # Errors
/// What the system said, that it is a directory, or more than `limit` bytes.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    // Looked at first: not every system opens one.
    if path.is_dir() {
        return Err(Error::Directory);
    }
    let file = files::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > limit {
        return Err(Error::TooManyBytes { limit });
    }
    read_all(file, limit)
}

fn read_all(source: impl Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooManyBytes { limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_url_is_bounded_and_called_what_it_is() {
        let url = Source::DataUrl(format!("data:image/png;base64,{}", "iVBORw0KGgo/".repeat(100)));
        assert_eq!(url.label(), "data URL");
        assert!(matches!(url.read(100), Err(Error::TooManyBytes { limit: 100 })));
        assert_eq!(url.read(1000).unwrap().len(), 900);
    }
}
