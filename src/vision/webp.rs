//! The outer structure of a WebP picture: whether its chunks are in its file. Knows nothing of its pixels.

/// A chunk that the file ends in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Whether the file's header counts it among the picture's, or it is something behind them.
    pub belongs: bool,
}

/// The first chunk that is longer than the file.
pub fn cut(bytes: &[u8]) -> Option<Cut> {
    let size = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    let end = 8 + size(4)?;
    let mut at = 12;
    loop {
        let len = size(at + 4)?;
        if len > bytes.len() - (at + 8) {
            return Some(Cut { belongs: at < end });
        }
        at += 8 + len.next_multiple_of(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_that_is_longer_than_the_file_is_found() {
        let bytes = b"RIFF\x1A\0\0\0WEBPVP8 \x03\0\0\0abc\0EXIF\x02\0\0\0xy";
        assert_eq!(cut(bytes), None);
        for len in 12..bytes.len() {
            // Behind the head of a chunk and in front of its end.
            let is_cut = (20..23).contains(&len) || (32..34).contains(&len);
            assert_eq!(cut(&bytes[..len]), is_cut.then_some(Cut { belongs: true }), "{len} bytes");
        }
        let behind = [&bytes[..], b"junkjunkjunk"].concat();
        assert_eq!(cut(&behind), Some(Cut { belongs: false }));
    }
}
