//! Where the bytes of a picture or a clip come from: a file, standard input (`-`) or a `data:` URL.

use super::error::{Error, Result};
use super::{data_url, pasted};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes read from one source.
pub const MAX_BYTES: u64 = 1 << 30;

/// Longer text is not taken for a path that was mistyped.
const LONGEST_PATH: usize = 1024;

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
    /// What a user means by `spec`: `-`, a data URL, or a path. A file that has just that name comes first; else the path
    /// may be quoted or escaped, a `file://` URL, or begin with `~/`, as it is pasted into terminals.
    ///
    /// # Errors
    /// [`Error::Web`] for the address of another machine, [`Error::NoName`] for text that is too long for a path.
    pub fn parse(spec: &str) -> Result<Source> {
        let text = spec.trim();
        if text == "-" {
            return Ok(Source::Stdin);
        }
        let is_there = |path: &Path| spec.len() <= LONGEST_PATH && path.exists();
        if is_there(Path::new(spec)) {
            return Ok(Source::File(spec.into()));
        }
        let bare = match text.starts_with(['\'', '"']) || text.len() <= LONGEST_PATH {
            true => pasted::unquote(text).unwrap_or_else(|| text.to_owned()),
            false => text.to_owned(),
        };
        if data_url::is_one(&bare) {
            return Ok(Source::DataUrl(bare));
        }
        if text.len() > LONGEST_PATH || data_url::is_bare(text) {
            return Err(Error::NoName { n: text.chars().count() });
        }
        if let Some(path) = pasted::file_url(&bare) {
            return path.map(Source::File).map_err(|host| Error::Web { address: host });
        }
        let web = ["http://", "https://", "ftp://"];
        if web.iter().any(|scheme| bare.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))) {
            return Err(Error::Web { address: bare });
        }
        let readings = [text, &bare].into_iter().flat_map(|text| [Some(text.into()), pasted::in_home(text)]);
        let readings: Vec<PathBuf> = readings.flatten().collect();
        let found = readings.iter().find(|path| is_there(path)).or(readings.last());
        Ok(Source::File(found.expect("the text itself").clone()))
    }

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
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(Error::Directory);
    }
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
    fn a_path_is_found_however_it_was_pasted_and_a_literal_name_comes_first() {
        let dir = std::env::temp_dir().join(format!("qwen-edge-pasted-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        for name in ["a b.png", "it's.png", "'quoted'", "quoted", "100%25.png", "-"] {
            std::fs::write(at(name), b"").unwrap();
        }
        let dir_text = dir.to_str().unwrap();
        let path = |spec: &str| Source::parse(&spec.replace("DIR", dir_text)).unwrap();
        for spec in [
            "DIR/a b.png",
            "DIR/a b.png ",
            " 'DIR/a b.png' ",
            "\"DIR/a b.png\"",
            "DIR/a\\ b.png",
            "file://DIR/a%20b.png",
            "file://localhostDIR/a%20b.png\r",
            "'file://DIR/a%20b.png'",
        ] {
            assert_eq!(path(spec), Source::File(at("a b.png")), "{spec}");
        }
        assert_eq!(path("DIR/it's.png"), Source::File(at("it's.png")));
        assert_eq!(path("'DIR/it'\\''s.png'"), Source::File(at("it's.png")));
        assert_eq!(path("DIR/'quoted'"), Source::File(at("'quoted'")));
        assert_eq!(path("DIR/100%25.png"), Source::File(at("100%25.png")));
        assert_eq!(path("'DIR/none.png'"), Source::File(at("none.png")), "what the error is about");
        std::fs::remove_dir_all(&dir).unwrap();
        let home = std::env::home_dir().unwrap();
        assert_eq!(path("~/no such picture.png"), Source::File(home.join("no such picture.png")));
        assert_eq!(path("-"), Source::Stdin);
    }

    #[test]
    fn text_that_is_no_path_is_not_repeated() {
        let base64 = "iVBORw0KGgo/".repeat(1000);
        for (text, n) in [(base64.as_str(), "12000"), (&base64[..60], "60"), (&"x".repeat(5000), "5000")] {
            let error = Source::parse(text).unwrap_err().to_string();
            assert!(error.contains(n) && !error.contains("iVBOR") && !error.contains("xx"), "{error}");
        }
        let url = Source::parse(&format!("\"DATA:image/png;base64,{base64}\"")).unwrap();
        assert_eq!(url.label(), "data URL");
        assert!(matches!(url.read(100), Err(Error::TooManyBytes { limit: 100 })));
        assert_eq!(Source::parse("data:,x").unwrap().read(100).unwrap(), b"x");
        for web in ["https://example.org/a.png", "HTTP://x/y", "file://nas/a.png"] {
            assert!(matches!(Source::parse(web), Err(Error::Web { .. })), "{web}");
        }
    }
}
