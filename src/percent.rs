//! Percent-encoding, as URLs have it.

/// The bytes of `text` with each `%` and two hexadecimal digits turned into the byte they stand for; another `%` stays.
pub fn decode(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|&b| char::from(b).to_digit(16)).map(|d| d as u8);
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high * 16 + low);
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_bytes_are_decoded_and_others_stay() {
        assert_eq!(decode("a%20b%C3%A4%2f"), "a bä/".as_bytes());
        assert_eq!(decode("100%, %4, %zz, %"), b"100%, %4, %zz, %");
        assert_eq!(decode("%ff%00"), [0xFF, 0]);
    }
}
