//! Text as people's files have it: UTF-8 with or without a byte-order mark, and the UTF-16 that Windows PowerShell 5
//! and older editors write. The ends of lines stay as they are.

use anyhow::{anyhow, bail};

/// The character that some programs write in front of a text to tell its encoding. It is no part of the text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The first bytes of files that are taken for texts, what they are, and what to do with them.
const NO_TEXT: [(&[u8], &str); 9] = [
    (b"%PDF-", "a PDF document: pdftotext makes text of it"),
    (b"PK\x03\x04", "a ZIP file, as office documents are: save it as text"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document: save it as text"),
    (b"\x1f\x8b", "compressed: zcat makes text of it"),
    (b"GGUF", "a GGUF model: it goes in the place of the model"),
    (b"\x89PNG", "a picture: give it with --image, which takes - for standard input"),
    (b"\xff\xd8\xff", "a picture: give it with --image, which takes - for standard input"),
    (b"GIF8", "a picture: give it with --image, which takes - for standard input"),
    (b"RIFF", "a picture, clip or sound: pictures are given with --image, clips with --video"),
];

/// An encoding of text, and the bytes of its mark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Encoding {
    Utf8,
    Utf16 { big: bool },
    Utf32 { big: bool },
}

impl Encoding {
    /// Those with a mark of their own; that of UTF-32 begins with that of UTF-16.
    const MARKED: [(Encoding, &[u8]); 5] = [
        (Encoding::Utf8, b"\xef\xbb\xbf"),
        (Encoding::Utf32 { big: false }, b"\xff\xfe\0\0"),
        (Encoding::Utf32 { big: true }, b"\0\0\xfe\xff"),
        (Encoding::Utf16 { big: false }, b"\xff\xfe"),
        (Encoding::Utf16 { big: true }, b"\xfe\xff"),
    ];

    /// The encoding of `bytes`, and how many of them are its mark.
    fn of(bytes: &[u8]) -> (Encoding, usize) {
        let marked = Self::MARKED.into_iter().find(|(_, mark)| bytes.starts_with(mark));
        match marked {
            Some((encoding, mark)) => (encoding, mark.len()),
            None => (Self::without_mark(bytes), 0),
        }
    }

    /// UTF-16 without a mark gives itself away where most characters are ASCII: every second byte is 0, on one side,
    /// and stands beside a byte of text.
    fn without_mark(bytes: &[u8]) -> Encoding {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let is_text = |byte: u8| byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r');
        let is_wide = |big: bool| {
            let ordered = pairs.iter().map(|&[a, b]| if big { (a, b) } else { (b, a) });
            let mut ascii = ordered.filter(|(high, _)| *high == 0);
            let n_ascii = ascii.clone().count();
            2 * n_ascii >= pairs.len() && ascii.all(|(_, low)| is_text(low))
        };
        match [false, true].into_iter().find(|&big| pairs.len() >= 4 && rest.is_empty() && is_wide(big)) {
            Some(big) => Encoding::Utf16 { big },
            None => Encoding::Utf8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "UTF-8",
            Encoding::Utf16 { big: false } => "UTF-16LE",
            Encoding::Utf16 { big: true } => "UTF-16BE",
            Encoding::Utf32 { big: false } => "UTF-32LE",
            Encoding::Utf32 { big: true } => "UTF-32BE",
        }
    }
}

/// The text that `bytes` are, without its byte-order mark.
///
/// # Errors
/// If they are no text, or in an encoding that cannot be told: what was found where, and what to do.
pub(super) fn decode(bytes: &[u8]) -> anyhow::Result<String> {
    let text = decode_as(Encoding::of(bytes), bytes).and_then(|text| match text.find('\0') {
        Some(at) => bail!("not text: it has a zero byte (offset {at})"),
        None => Ok(text),
    });
    // A text may begin with such letters; what is none is known by them.
    text.map_err(|error| match NO_TEXT.into_iter().find(|(magic, _)| bytes.starts_with(magic)) {
        Some((_, what)) => anyhow!("not text but {what}"),
        None => error,
    })
}

/// The text behind the first `mark` bytes.
fn decode_as((encoding, mark): (Encoding, usize), bytes: &[u8]) -> anyhow::Result<String> {
    let (encoded, mut at) = (&bytes[mark..], mark);
    let mut text = String::new();
    let rest = match encoding {
        Encoding::Utf8 => {
            text.push_str(std::str::from_utf8(encoded).map_err(|e| not_utf8(bytes, mark + e.valid_up_to()))?);
            &[]
        }
        Encoding::Utf16 { big } => {
            let (units, rest) = encoded.as_chunks::<2>();
            let unit = |unit: &[u8; 2]| if big { u16::from_be_bytes(*unit) } else { u16::from_le_bytes(*unit) };
            for c in char::decode_utf16(units.iter().map(unit)) {
                let c = c.map_err(|_| broken(encoding, at))?;
                at += 2 * c.len_utf16();
                text.push(c);
            }
            rest
        }
        Encoding::Utf32 { big } => {
            let (units, rest) = encoded.as_chunks::<4>();
            for unit in units {
                let unit = if big { u32::from_be_bytes(*unit) } else { u32::from_le_bytes(*unit) };
                text.push(char::from_u32(unit).ok_or_else(|| broken(encoding, at))?);
                at += 4;
            }
            rest
        }
    };
    if rest.is_empty() { Ok(text) } else { Err(broken(encoding, at)) }
}

/// `text` without a byte-order mark in front: of an argument that a shell filled from such a file.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Whether these bytes, the first of a file, say that it is not in UTF-8.
pub(super) fn is_wide(start: &[u8]) -> bool {
    Encoding::MARKED[1..].iter().any(|(_, mark)| start.starts_with(mark))
}

fn broken(encoding: Encoding, at: usize) -> anyhow::Error {
    let name = encoding.name();
    anyhow!("broken {name} at byte {at}: is it cut short, or not text? iconv -f {name} -t UTF-8 may save the rest")
}

/// What is wrong with `bytes`, which begin as no wide encoding does, at byte `at`.
fn not_utf8(bytes: &[u8], at: usize) -> anyhow::Error {
    let found = bytes[at];
    if bytes.contains(&0) {
        return anyhow!("not text: it has zero bytes, and is not UTF-8 at byte {at} (0x{found:02x})");
    }
    anyhow!(
        "not UTF-8 at byte {at} (0x{found:02x}): convert it, as with iconv -f WINDOWS-1252 -t UTF-8 FILE, \
         or with the name of its own encoding"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Count from 1 to 5.\r\nGrüße, 世界 🙂\n";

    fn wide(text: &str, mark: bool, big: bool, bytes: usize) -> Vec<u8> {
        let text = format!("{}{text}", if mark { "\u{feff}" } else { "" });
        let order = |mut unit: Vec<u8>| {
            if !big {
                unit.reverse();
            }
            unit
        };
        match bytes {
            2 => text.encode_utf16().flat_map(|unit| order(unit.to_be_bytes().to_vec())).collect(),
            _ => text.chars().flat_map(|c| order(u32::from(c).to_be_bytes().to_vec())).collect(),
        }
    }

    fn error(bytes: impl Into<Vec<u8>>) -> String {
        decode(&bytes.into()).unwrap_err().to_string()
    }

    #[test]
    fn the_same_text_comes_out_of_every_encoding_without_its_mark() {
        assert_eq!(decode(TEXT.as_bytes()).unwrap(), TEXT);
        assert_eq!(decode(format!("\u{feff}{TEXT}").as_bytes()).unwrap(), TEXT);
        for big in [false, true] {
            for bytes in [2, 4] {
                assert_eq!(decode(&wide(TEXT, true, big, bytes)).unwrap(), TEXT, "{big} {bytes}");
                assert_eq!(decode(&wide("", true, big, bytes)).unwrap(), "", "{big} {bytes}");
            }
            assert_eq!(decode(&wide(TEXT, false, big, 2)).unwrap(), TEXT, "{big}, no mark");
        }
        assert_eq!(decode(b"").unwrap(), "");
        // Only the mark in front is one.
        assert_eq!(decode("\u{feff}a\u{feff}b".as_bytes()).unwrap(), "a\u{feff}b");
        assert_eq!((without_mark("\u{feff}- a"), without_mark("a")), ("- a", "a"));
    }

    #[test]
    fn what_cannot_be_read_says_what_to_do() {
        assert!(
            error(b"caf\xe9 au lait".to_vec()).starts_with("not UTF-8 at byte 3 (0xe9): convert it, as with iconv")
        );
        assert!(error(b"abc\0def".to_vec()).starts_with("not text: it has a zero byte"));
        assert!(error(b"\x01\0\x02\0\x03\0\x04\0".to_vec()).starts_with("not text: it has a zero byte"));
        assert!(error(b"\0\xff\0\0\x01".to_vec()).starts_with("not text: it has zero bytes"));
        assert!(error(b"%PDF-1.7\n%\xe2\xe3".to_vec()).contains("pdftotext"));
        assert_eq!(decode(b"GGUF is a format.").unwrap(), "GGUF is a format.");
        assert!(error(b"\x89PNG\r\n\x1a\n".to_vec()).contains("--image"));
        assert!(error(b"PK\x03\x04\0abc".to_vec()).contains("save it as text"));
        let mut cut = wide(TEXT, true, false, 2);
        cut.pop();
        assert!(error(cut).starts_with("broken UTF-16LE at byte"));
        // A surrogate without its second half.
        assert!(error(b"\xff\xfea\0\x3d\xd8".to_vec()).starts_with("broken UTF-16LE at byte 4"));
        assert!(error(b"\xff\xfe\0\0\0\0\x11\0".to_vec()).starts_with("broken UTF-32LE at byte 4"));
    }
}
