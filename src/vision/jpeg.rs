//! The outer structure of a JPEG picture: its marker segments and where it ends. Knows nothing of its pixels.
//!
//! Needed because a truncated picture must be an error (decoders fill the missing part with grey; `jpeg_scans` tells
//! whether there is one) and because the frames of an MJPEG clip lie one after another and may leave their Huffman tables
//! out.

/// Start of image.
const SOI: u8 = 0xD8;
/// End of image.
const EOI: u8 = 0xD9;
/// Start of scan: entropy-coded data follows its header.
const SOS: u8 = 0xDA;
/// Definition of Huffman tables.
const DHT: u8 = 0xC4;

/// What a walk over the markers found.
pub struct Outline {
    /// Bytes from the start of the picture to the end of its end marker, when it is reached.
    pub len: Option<usize>,
    /// Where the first scan header starts, and whether a Huffman table comes before it.
    first_scan: usize,
    has_tables: bool,
}

/// Whether the bytes start as a JPEG picture does.
pub fn starts(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, SOI, 0xFF])
}

/// Walks the segments and scans of the picture at the start of `bytes`; `None` when it reaches no scan.
pub fn outline(bytes: &[u8]) -> Option<Outline> {
    if !starts(bytes) {
        return None;
    }
    let mut outline = Outline { len: None, first_scan: 0, has_tables: false };
    let mut at = 2;
    while let Some(marker) = next_marker(bytes, &mut at) {
        match marker {
            EOI if outline.first_scan == 0 => return None,
            EOI => {
                outline.len = Some(at);
                break;
            }
            // Markers without a length: RSTn, TEM and a stray SOI.
            0xD0..=0xD8 | 0x01 => continue,
            DHT if outline.first_scan == 0 => outline.has_tables = true,
            SOS if outline.first_scan == 0 => outline.first_scan = at - 2,
            _ => {}
        }
        let Some(len) = bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|len| u16::from_be_bytes(*len)) else {
            break;
        };
        if len < 2 {
            break;
        }
        at += usize::from(len);
        if marker == SOS {
            match bytes.get(at..).and_then(scan_len) {
                Some(len) => at += len,
                None => break,
            }
        }
    }
    (outline.first_scan > 0).then_some(outline)
}

/// The marker that begins at `at`, which moves behind it; bytes that belong to nothing and fill bytes in front of it are
/// passed over.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    *at += bytes.get(*at..)?.iter().position(|&byte| byte == 0xFF)?;
    *at += bytes[*at..].iter().position(|&byte| byte != 0xFF)?;
    *at += 1;
    Some(bytes[*at - 1])
}

/// Bytes of entropy-coded data up to the next marker that is neither a stuffed zero nor a restart marker.
fn scan_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|&b| b == 0xFF)?;
        match *bytes.get(at + 1)? {
            0x00 | 0xD0..=0xD7 => at += 2,
            _ => return Some(at),
        }
    }
}

/// A frame of an MJPEG clip as a picture of its own: the standard Huffman tables are put in where it relies on them.
pub fn with_tables(bytes: &[u8]) -> Option<Vec<u8>> {
    let outline = outline(bytes)?;
    let (head, tail) = bytes[..outline.len.unwrap_or(bytes.len())].split_at(outline.first_scan);
    let mut picture = head.to_vec();
    if !outline.has_tables {
        picture.extend_from_slice(&standard_tables());
    }
    picture.extend_from_slice(tail);
    Some(picture)
}

/// The picture that ends, without its end marker, at byte `end`, with the marker.
pub fn with_end(bytes: &[u8], end: usize) -> Vec<u8> {
    [&bytes[..end], &[0xFF, EOI]].concat()
}

/// The four typical Huffman tables of ITU-T T.81 annex K.3, as one DHT segment. MJPEG clips use them unsaid.
fn standard_tables() -> Vec<u8> {
    /// Codes of each length 1..=16, luminance and chrominance DC (tables K.3, K.4).
    const DC: [[u8; 16]; 2] =
        [[0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]];
    /// The same for AC (tables K.5, K.6).
    const AC: [[u8; 16]; 2] =
        [[0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125], [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119]];
    /// AC symbols (run, size) in code order, luminance.
    const AC_LUMA: &str = "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a2526\
        2728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a9293949596\
        9798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6\
        f7f8f9fa";
    /// AC symbols in code order, chrominance.
    const AC_CHROMA: &str = "0001020311040521310612415107617113223281081442 91a1b1c109233352f0156272d10a162434e125f11718\
        191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a9293\
        9495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5\
        f6f7f8f9fa";
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
        digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect()
    };
    let dc_symbols: Vec<u8> = (0..12).collect();
    let tables = [
        (0x00, DC[0], dc_symbols.clone()),
        (0x10, AC[0], hex(AC_LUMA)),
        (0x01, DC[1], dc_symbols),
        (0x11, AC[1], hex(AC_CHROMA)),
    ];
    let mut body = Vec::new();
    for (id, counts, symbols) in tables {
        body.push(id);
        body.extend_from_slice(&counts);
        body.extend_from_slice(&symbols);
    }
    let mut segment = vec![0xFF, DHT];
    segment.extend_from_slice(&((body.len() + 2) as u16).to_be_bytes());
    segment.extend_from_slice(&body);
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_tables_are_whole() {
        // 2 bytes of length, then for each table an id, 16 counts and its symbols: 12 + 162 + 12 + 162.
        let segment = standard_tables();
        assert_eq!(segment.len(), 2 + 2 + 4 * 17 + 2 * 12 + 2 * 162);
        let mut at = 4;
        while at < segment.len() {
            let symbols: usize = segment[at + 1..at + 17].iter().map(|&n| n as usize).sum();
            let mut seen: Vec<u8> = segment[at + 17..at + 17 + symbols].to_vec();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), symbols, "a symbol twice");
            at += 17 + symbols;
        }
    }

    #[test]
    fn an_outline_tells_whether_the_end_marker_is_there() {
        // SOI, a COM segment of 2 + 3 bytes, a stray byte, SOS with an empty header, data with a stuffed byte and a restart,
        // EOI.
        let bytes = [
            0xFF, 0xD8, 0xFF, 0xFE, 0, 5, 1, 0xFF, 0xD9, 7, 0xFF, 0xDA, 0, 2, 7, 0xFF, 0, 8, 0xFF, 0xD0, 9, 0xFF, 0xD9,
        ];
        assert_eq!(outline(&bytes).unwrap().len, Some(bytes.len()));
        for len in 0..bytes.len() {
            let outline = outline(&bytes[..len]);
            assert_eq!(outline.is_some(), len >= 12, "{len} bytes");
            assert!(outline.is_none_or(|outline| outline.len.is_none()), "{len} bytes");
        }
        let whole = with_tables(&bytes).unwrap();
        assert_eq!(whole.len(), bytes.len() + standard_tables().len());
        assert_eq!(with_end(&bytes, bytes.len() - 2), bytes);
    }
}
