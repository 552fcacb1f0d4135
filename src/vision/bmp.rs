//! The outer structure of a BMP picture: whether only the padding of its last row is missing. Knows nothing of its pixels.

use std::borrow::Cow;

/// The picture, with the bytes that fill its last row up to a multiple of four where the file ends without them.
pub fn padded(bytes: &[u8]) -> Cow<'_, [u8]> {
    match missing_padding(bytes) {
        None | Some(0) => Cow::Borrowed(bytes),
        Some(n) => Cow::Owned([bytes, &[0; 3][..n]].concat()),
    }
}

/// Bytes of padding that the last row lacks; `None` when there is no saying, or pixels are missing.
fn missing_padding(bytes: &[u8]) -> Option<usize> {
    let le32 = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    // The header of OS/2 1 is shorter, and rare.
    if le32(14)? < 40 {
        return None;
    }
    let start = u64::from(le32(10)?);
    let width = u64::from((le32(18)? as i32).unsigned_abs());
    let height = u64::from((le32(22)? as i32).unsigned_abs());
    let (bits, compression) = (le32(28)? & 0xFFFF, le32(30)?);
    if height == 0 || ![0, 3].contains(&compression) {
        return None;
    }
    let row = (width * u64::from(bits)).div_ceil(8);
    let end = start.checked_add(row.next_multiple_of(4).checked_mul(height)?)?;
    let padding = row.next_multiple_of(4) - row;
    let lacks = end.saturating_sub(bytes.len() as u64);
    (lacks <= padding).then_some(lacks as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_padding_is_put_in() {
        let mut bytes = Vec::new();
        let image = image::RgbImage::from_fn(5, 2, |x, y| image::Rgb([x as u8, y as u8, 9]));
        image.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Bmp).unwrap();
        // Rows of 15 bytes and one of padding.
        for (cut, mended) in [(0, true), (1, true), (2, false), (3, false)] {
            let cut = &bytes[..bytes.len() - cut];
            assert_eq!(padded(cut) == bytes, mended);
            assert!(mended || matches!(padded(cut), Cow::Borrowed(_)));
        }
        for len in 0..bytes.len() - 1 {
            assert_eq!(*padded(&bytes[..len]), bytes[..len]);
        }
    }
}
