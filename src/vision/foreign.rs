//! What a file is that is none of the pictures this program reads, told from its first bytes, and what to do with it.

/// A kind of file that is not read as a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Foreign {
    /// Its name, with an article.
    pub name: &'static str,
    /// What to do, as a sentence without its start and end.
    pub advice: &'static str,
}

const fn foreign(name: &'static str, advice: &'static str) -> Foreign {
    Foreign { name, advice }
}

const HEIC: Foreign =
    foreign("a HEIC picture", "convert it to JPEG or PNG, for example with heif-convert IN.heic OUT.jpg");
const AVIF: Foreign = foreign("an AVIF picture", "convert it to PNG or JPEG, for example with avifdec IN.avif OUT.png");
const TIFF: Foreign = foreign("a TIFF picture", "convert it to PNG, for example with magick IN.tif OUT.png");
const SVG: Foreign = foreign("an SVG drawing", "convert it to PNG, for example with rsvg-convert IN.svg -o OUT.png");
const PDF: Foreign = foreign("a PDF document", "convert its pages to PNG, for example with pdftoppm -png IN.pdf OUT");
const POSTSCRIPT: Foreign =
    foreign("a PostScript document", "convert it to PNG, for example with magick IN.eps OUT.png");
const JPEG_XL: Foreign =
    foreign("a JPEG XL picture", "convert it to PNG or JPEG, for example with djxl IN.jxl OUT.png");
const JPEG_2000: Foreign =
    foreign("a JPEG 2000 picture", "convert it to PNG or JPEG, for example with magick IN.jp2 OUT.png");
const RAW: Foreign = foreign(
    "a camera's raw picture",
    "convert it to JPEG or PNG, for example with a program for raw pictures or magick IN OUT.jpg",
);
const PSD: Foreign = foreign("a Photoshop document", "export it as PNG, for example with magick 'IN.psd[0]' OUT.png");
const XCF: Foreign = foreign("a GIMP document", "export it as PNG");
const ICON: Foreign = foreign("an icon (ICO, CUR, ICNS)", "convert it to PNG, for example with magick IN.ico OUT.png");
const OTHER: Foreign = foreign("a picture of a rarer format", "convert it to PNG, for example with magick IN OUT.png");
const CLIP: Foreign = foreign("a clip, not a picture", "give it as a clip");
const PAGE: Foreign = foreign("a web page (HTML)", "get the picture itself rather than the page that shows it");
const GZIP: Foreign = foreign("a gzip file", "unpack it first, and convert what is in it to PNG or JPEG");
const ZIP: Foreign = foreign("a ZIP file or an office document", "unpack or export the picture that is in it");
const LFS: Foreign = foreign("a pointer of Git LFS", "fetch the file it stands for, with git lfs pull");
const GGUF: Foreign = foreign("a GGUF file, a model", "give a picture");

/// Files told by how they begin.
const STARTS: [(&[u8], Foreign); 43] = [
    (b"%PDF-", PDF),
    (b"%!PS", POSTSCRIPT),
    (b"\xC5\xD0\xD3\xC6", POSTSCRIPT),
    (b"\0\0\0\x0CJXL \r\n\x87\n", JPEG_XL),
    (b"\xFF\x0A", JPEG_XL),
    (b"\0\0\0\x0CjP  \r\n\x87\n", JPEG_2000),
    (b"\xFF\x4F\xFF\x51", JPEG_2000),
    (b"II*\0\x10\0\0\0CR", RAW),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\0", RAW),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"FOVb", RAW),
    (b"\0MRM", RAW),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
    (b"II+\0", TIFF),
    (b"MM\0+", TIFF),
    (b"8BPS", PSD),
    (b"gimp xcf", XCF),
    (b"\0\0\x01\0", ICON),
    (b"\0\0\x02\0", ICON),
    (b"icns", ICON),
    (b"qoif", OTHER),
    (b"DDS ", OTHER),
    (b"\x76\x2F\x31\x01", OTHER),
    (b"#?RADIANCE", OTHER),
    (b"farbfeld", OTHER),
    (b"BPG\xFB", OTHER),
    (b"FLIF", OTHER),
    (b"AT&TFORM", OTHER),
    (b"\x8AMNG", OTHER),
    (b"\x8BJNG", OTHER),
    (b"\xD7\xCD\xC6\x9A", OTHER),
    (b"\x1A\x45\xDF\xA3", CLIP),
    (b"\0\0\x01\xBA", CLIP),
    (b"\0\0\x01\xB3", CLIP),
    (b"OggS", CLIP),
    (b"\x1F\x8B", GZIP),
    (b"PK\x03\x04", ZIP),
    (b"version https://git-lfs", LFS),
    (b"GGUF", GGUF),
];

/// What `bytes`, which are no picture this program reads, are; `None` when they are nothing that is known here.
pub fn find(bytes: &[u8]) -> Option<Foreign> {
    let start = STARTS.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, foreign)| *foreign);
    start.or_else(|| iso_media(bytes)).or_else(|| riff(bytes)).or_else(|| portable_map(bytes)).or_else(|| markup(bytes))
}

/// A file of the ISO base media format, by its brands: the major one, and where that is one of a container of pictures,
/// the compatible ones.
fn iso_media(bytes: &[u8]) -> Option<Foreign> {
    let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    let brands = bytes.get(4..len.clamp(16, 256).min(bytes.len()))?.strip_prefix(b"ftyp")?;
    let (major, rest) = brands.split_first_chunk::<4>()?;
    // Behind the major brand stands its version.
    let has = |brand: &[u8; 4]| major == brand || rest.chunks_exact(4).skip(1).any(|found| found == brand);
    Some(match major {
        b"avif" | b"avis" => AVIF,
        b"mif1" | b"msf1" if has(b"avif") || has(b"avis") => AVIF,
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs" | b"mif1" | b"msf1" | b"mif2" => {
            HEIC
        }
        b"crx " => RAW,
        b"jxl " => JPEG_XL,
        b"jp2 " | b"jpx " => JPEG_2000,
        _ => CLIP,
    })
}

fn riff(bytes: &[u8]) -> Option<Foreign> {
    (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"AVI ")).then_some(CLIP)
}

/// PBM, PGM, PPM, PAM and PFM: a P, a digit or letter, and white space.
fn portable_map(bytes: &[u8]) -> Option<Foreign> {
    let kinds = b"1234567Ff";
    let fits = matches!(bytes, [b'P', kind, space, ..] if kinds.contains(kind) && space.is_ascii_whitespace());
    fits.then_some(OTHER)
}

/// Text with tags: SVG, where the first tag that is no declaration, comment or type is `svg`, or a web page.
fn markup(bytes: &[u8]) -> Option<Foreign> {
    // UTF-16 as UTF-8, as far as letters are concerned.
    let start = bytes[..bytes.len().min(4096)].iter().filter(|byte| **byte != 0).map(u8::to_ascii_lowercase);
    let start: Vec<u8> = start.collect();
    let text = String::from_utf8_lossy(&start);
    let mut rest = text.trim_start_matches(|c: char| c.is_whitespace() || !c.is_ascii());
    loop {
        let tag = rest.strip_prefix('<')?;
        if tag.starts_with("svg") || tag.starts_with("!doctype svg") || tag.starts_with("!entity") {
            return Some(SVG);
        }
        if ["html", "!doctype html", "head", "body", "script"].iter().any(|name| tag.starts_with(name)) {
            return Some(PAGE);
        }
        // A prefix may stand in front of the name.
        if tag.split_once([' ', '>', '\n']).is_some_and(|(name, _)| name.ends_with(":svg")) {
            return Some(SVG);
        }
        let end = match tag {
            tag if tag.starts_with("!--") => "-->",
            tag if tag.starts_with('?') => "?>",
            tag if tag.starts_with('!') => ">",
            _ => return None,
        };
        rest = tag.split_once(end)?.1.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_formats_are_told_by_their_first_bytes() {
        for (bytes, expected) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], HEIC),
            (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1heicmiaf", HEIC),
            (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1avifmiaf", AVIF),
            (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B", AVIF),
            (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41", CLIP),
            (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", RAW),
            (b"II*\0\x08\0\0\0", TIFF),
            (b"II*\0\x10\0\0\0CR\x02\0", RAW),
            (b"MM\0*\0\0\0\x08", TIFF),
            (b"%PDF-1.7\n", PDF),
            (b"<svg xmlns=\"http://www.w3.org/2000/svg\">", SVG),
            (b"\xEF\xBB\xBF <?xml version=\"1.0\"?>\n<!-- made by hand -->\n<svg>", SVG),
            (b"<?xml version='1.0'?><!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x.dtd'>", SVG),
            (b"\xFF\xFE<\0s\0v\0g\0 \0", SVG),
            (b"<ns0:svg xmlns:ns0='x'>", SVG),
            (b"<!DOCTYPE html><html>", PAGE),
            (b"\xFF\x0A\xFA", JPEG_XL),
            (b"\0\0\0\x0CJXL \r\n\x87\n\0\0", JPEG_XL),
            (b"8BPS\0\x01", PSD),
            (b"\0\0\x01\0\x01\0", ICON),
            (b"P6\n1 1\n255\n", OTHER),
            (b"\x1A\x45\xDF\xA3\x01", CLIP),
        ] {
            assert_eq!(find(bytes), Some(expected), "{}", bytes.escape_ascii());
        }
        for unknown in [&b""[..], b"hello", b"<?xml version='1.0'?><note/>", b"<", b"\0\0\0\x18ftyp", b"P6", b"\0\0\0"]
        {
            assert_eq!(find(unknown), None, "{}", unknown.escape_ascii());
        }
    }
}
