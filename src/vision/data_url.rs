//! Pictures as text: `data:` URLs (RFC 2397), as browsers, editors and chat programs write them.

use super::error::{Error, Result};
use crate::percent;
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const SCHEME: &str = "data:";

/// What stands behind the scheme of a data URL; the scheme is of either case.
fn behind_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

/// Whether `text` is a data URL, or was meant to be one.
pub fn is_one(text: &str) -> bool {
    // What comes before the data is short, whatever the media type's parameters.
    let head = text.get(..text.len().min(256)).unwrap_or(text);
    behind_scheme(text).is_some() || head.to_ascii_lowercase().contains(";base64,")
}

/// Whether `text` begins as the base64 of a picture does, without the head of a data URL.
pub fn is_bare(text: &str) -> bool {
    // PNG, JPEG, GIF, WebP.
    ["iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR"].iter().any(|start| text.starts_with(start))
}

/// The bytes of a data URL: base64 of either alphabet, padded or not, broken into lines or not, percent-encoded or not;
/// or without `;base64` the percent-encoded bytes themselves. The media type and its parameters are not looked at: the
/// bytes say what they are.
///
/// # Errors
/// [`Error::DataUrl`], which repeats nothing of the text.
pub fn decode(url: &str) -> Result<Vec<u8>> {
    let wrong = |reason: &str| Error::DataUrl { reason: reason.into() };
    let rest = behind_scheme(url).ok_or_else(|| wrong("it does not begin with data:"))?;
    let (head, data) = rest.split_once(',').ok_or_else(|| wrong("there is no comma in front of the data"))?;
    let last = head.rsplit(';').next().unwrap_or_default();
    let data = percent::decode(data);
    if !last.trim().eq_ignore_ascii_case("base64") {
        return Ok(data);
    }
    let plain = |byte: u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => byte,
    };
    let mut data: Vec<u8> = data.into_iter().filter(|byte| !byte.is_ascii_whitespace()).map(plain).collect();
    // How much padding there is says nothing that the number of symbols does not.
    data.truncate(data.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1));
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true);
    let lenient = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    lenient.decode(&data).map_err(|error| wrong(&format!("its base64 is broken: {}", place(&error))))
}

/// What the decoder found, without the symbol itself.
fn place(error: &base64::DecodeError) -> String {
    use base64::DecodeError::{InvalidByte, InvalidLastSymbol, InvalidLength, InvalidPadding};
    match error {
        InvalidByte(at, _) | InvalidLastSymbol { offset: at, .. } => format!("no base64 at its symbol {}", at + 1),
        InvalidLength(n) => format!("{n} symbols make no whole number of bytes"),
        InvalidPadding => "its padding is wrong".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_data_url_is_decoded() {
        for url in [
            "data:image/png;base64,+/8BAg==",
            "DATA:image/png;base64,+/8BAg==",
            "Data:;BASE64,+/8BAg",
            "data:image/png;charset=utf-8;name=a.png;base64,-_8BAg",
            "data:;base64,+/8\r\n BAg\n=\t=",
            "data:;base64,%2B%2F8BAg%3D%3D",
            "data:application/octet-stream,%fb%FF%01%02",
        ] {
            assert!(is_one(url));
            assert_eq!(decode(url).unwrap(), [0xFB, 0xFF, 1, 2], "{url}");
        }
        assert_eq!(decode("data:,plain text").unwrap(), b"plain text");
        assert_eq!(decode("data:;base64,").unwrap(), b"");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_text() {
        for (url, says) in [
            ("data:image/png;base64", "comma"),
            ("dat:image/png;base64,U0VDUkVU", "begin with data:"),
            ("data:image/png;base64,U0VDU?VU", "symbol 6"),
            ("data:image/png;base64,U0VDUkVUU", "9 symbols"),
            ("data:image/png;base64,U0VDU=VU", "symbol"),
        ] {
            assert!(is_one(url), "{url}");
            let error = decode(url).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("U0VD"), "{error}");
        }
        assert!(!is_one("data.png") && !is_one("dää") && !is_one(""));
    }
}
