//! The outer structure of a GIF picture: whether it reaches its trailer. Knows nothing of its pixels.

/// Whether the blocks of the picture end in the trailer.
pub fn has_trailer(bytes: &[u8]) -> bool {
    walk(bytes).is_some()
}

/// Walks the blocks; `None` when they break off or something else stands between them.
fn walk(bytes: &[u8]) -> Option<()> {
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 6usize << (flags & 7) };
    let mut at = 13 + table(*bytes.get(10)?);
    loop {
        match *bytes.get(at)? {
            // The trailer.
            0x3B => return Some(()),
            // An extension: its label and blocks.
            0x21 => at += 2,
            // A frame: its descriptor, colour table, code size and blocks.
            0x2C => at += 11 + table(*bytes.get(at + 9)?),
            _ => return None,
        }
        loop {
            let len = usize::from(*bytes.get(at)?);
            at += 1 + len;
            if len == 0 {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trailer_is_looked_for_behind_all_blocks() {
        let mut bytes = b"GIF89a\x01\0\x01\0\x80\0\0".to_vec();
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(b"\x21\xF9\x04\0\0\0\0\0\x2C\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x3B\0\x3B");
        assert!(has_trailer(&bytes));
        for len in 0..bytes.len() {
            assert!(!has_trailer(&bytes[..len]), "{len} bytes");
        }
    }
}
