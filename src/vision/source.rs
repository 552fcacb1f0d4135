//! Where the bytes of a picture or a clip come from: a file, standard input (`-`) or a `data:` URL.

use super::error::{Error, Result};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Most bytes read from one source.
pub const MAX_BYTES: u64 = 1 << 30;

/// Reads all bytes of `spec`: `-`, `data:TYPE;base64,DATA` or a path.
///
/// # Errors
/// What the system said, a malformed URL, or more than `most` bytes or [`MAX_BYTES`].
pub fn read(spec: &str, most: u64) -> Result<Vec<u8>> {
    let limit = most.min(MAX_BYTES);
    if spec.starts_with("data:") {
        return data_url(spec);
    }
    match spec {
        "-" => read_all(std::io::stdin().lock(), limit),
        path => read_file(Path::new(path), limit),
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

/// The bytes of a base64 data URL. The media type is not looked at: the bytes say what they are.
///
/// # Errors
/// [`Error::DataUrl`].
pub fn data_url(url: &str) -> Result<Vec<u8>> {
    let wrong = |reason: String| Error::DataUrl { reason };
    let (head, data) = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(','))
        .ok_or_else(|| wrong("there is no comma".into()))?;
    if !head.ends_with(";base64") {
        return Err(wrong(format!("{head:?} does not end in ;base64")));
    }
    let lenient = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    // The tools that make base64 break its lines.
    let data: Vec<u8> = data.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    lenient.decode(data).map_err(|error| wrong(error.to_string()))
}

/// What messages call a source: its path, or what it is.
pub fn label(spec: &str) -> &str {
    match spec {
        "-" => "standard input",
        _ if spec.starts_with("data:") => "the data URL",
        _ => spec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_urls_are_decoded_or_refused_with_a_reason() {
        assert_eq!(data_url("data:image/png;base64,AQID").unwrap(), [1, 2, 3]);
        assert_eq!(data_url("data:;base64,AQI").unwrap(), [1, 2]);
        assert_eq!(data_url("data:;base64,AQ\r\nID\n").unwrap(), [1, 2, 3]);
        for (url, says) in [
            ("data:image/png;base64", "comma"),
            ("data:image/png,AQID", ";base64"),
            ("data:image/png;base64,A?ID", "Invalid"),
        ] {
            let error = data_url(url).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
