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
    let path = Path::new(spec);
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    if spec == "-" {
        std::io::stdin().lock().take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    } else {
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() > limit {
            return Err(Error::TooManyBytes { limit });
        }
        file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    }
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
    lenient.decode(data.trim_ascii()).map_err(|error| wrong(error.to_string()))
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
