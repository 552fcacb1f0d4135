//! The byte alphabet of GPT-2: every byte has one printable character, so that a vocabulary can be written as text.
//!
//! Bytes that print (`!`–`~`, `¡`–`¬`, `®`–`ÿ`) stand for themselves; the other 68, in order, are U+0100 and onwards.

/// Character of every byte.
const CHAR_OF_BYTE: [char; 256] = {
    let mut table = ['\0'; 256];
    let mut byte = 0;
    let mut next = 0x100;
    while byte < 256 {
        let code = if prints(byte as u8) {
            byte as u32
        } else {
            next += 1;
            next - 1
        };
        table[byte] = match char::from_u32(code) {
            Some(c) => c,
            None => unreachable!(),
        };
        byte += 1;
    }
    table
};

/// Byte + 1 of the characters U+0000..U+0144; 0 where there is none.
const BYTE_OF_CHAR: [u16; 0x144] = {
    let mut table = [0; 0x144];
    let mut byte = 0;
    while byte < 256 {
        table[CHAR_OF_BYTE[byte] as usize] = byte as u16 + 1;
        byte += 1;
    }
    table
};

const fn prints(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

/// The character that stands for `byte`.
pub fn char_of(byte: u8) -> char {
    CHAR_OF_BYTE[byte as usize]
}

/// The byte that `c` stands for, if it is in the alphabet.
pub fn byte_of(c: char) -> Option<u8> {
    BYTE_OF_CHAR.get(c as usize)?.checked_sub(1).map(|byte| byte as u8)
}

/// Appends the bytes that `text` stands for; a character outside the alphabet stands for its own UTF-8.
pub fn decode(text: &str, out: &mut Vec<u8>) {
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => out.push(byte),
            None => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_printable_character_of_its_own() {
        for byte in 0..=255 {
            assert_eq!(byte_of(char_of(byte)), Some(byte));
            assert!(!char_of(byte).is_control() && !char_of(byte).is_whitespace());
        }
        assert_eq!((char_of(b' '), char_of(b'\n'), char_of(0xad), char_of(0)), ('Ġ', 'Ċ', 'Ń', 'Ā'));
    }

    #[test]
    fn characters_outside_the_alphabet_keep_their_utf8() {
        let mut out = Vec::new();
        decode("ĠaŃ世\u{144}", &mut out);
        assert_eq!(out, [&b" a\xad"[..], "世\u{144}".as_bytes()].concat());
        assert_eq!([byte_of('\u{144}'), byte_of(' '), byte_of('\u{ad}')], [None; 3]);
    }
}
