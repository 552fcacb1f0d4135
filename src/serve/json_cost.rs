//! What a body of JSON takes once it is parsed, reckoned while it comes: a list of short numbers takes a hundred times
//! its own length.

/// Bytes of a value in a list, at most: itself twice, for it is moved once, and its digits, which have an allocation of
/// their own. So many a value in an object takes besides, with its name and its place in the index.
const VALUE: usize = 192;

/// Copies of a digit at most: numbers are kept as they are written, and repeated where they are out of range.
const DIGIT: usize = 4;

/// The cost of a text of JSON, which comes in pieces.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct JsonCost {
    n_byte: usize,
    /// Bytes that are not in strings.
    n_bare: usize,
    /// Values, and names of values.
    n_value: usize,
    in_string: bool,
    is_escaped: bool,
}

impl JsonCost {
    /// The text goes on.
    pub fn push(&mut self, text: &[u8]) {
        self.n_byte += text.len();
        for &byte in text {
            self.n_bare += usize::from(!self.in_string);
            match (self.in_string, byte) {
                (true, _) if self.is_escaped => self.is_escaped = false,
                (true, b'\\') => self.is_escaped = true,
                (_, b'"') => self.in_string = !self.in_string,
                // A value or a name stands behind each of these, or the end of an empty list.
                (false, b',' | b':' | b'[' | b'{') => self.n_value += 1,
                _ => {}
            }
        }
    }

    /// Bytes that its values take at most once it is parsed, beside the texts of its strings. What is no JSON takes less.
    pub fn of_values(&self) -> usize {
        VALUE * self.n_value + DIGIT * self.n_bare
    }

    /// Bytes of both: the strings are copied once, and the body is gone when they become something else.
    pub fn total(&self) -> usize {
        self.of_values() + self.n_byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> usize {
        let mut whole = JsonCost::default();
        whole.push(text.as_bytes());
        // However it is cut.
        for n in 1..text.len() {
            let mut cut = JsonCost::default();
            text.as_bytes().chunks(n).for_each(|piece| cut.push(piece));
            assert_eq!(cut.total(), whole.total());
        }
        whole.n_value
    }

    #[test]
    fn values_are_counted_outside_of_strings() {
        assert_eq!(values("[0,0,0]"), 3);
        assert_eq!(values(r#"{"a": [1, {"b": 2}], "c": "d"}"#), 8);
        assert_eq!(values(r#"{"a,[{:": "\",[{\\\",", "b": ","}"#), 4);
        assert_eq!(values(r#"["\\",0,"\\\"",[]]"#), 5);
        assert_eq!(values("7"), 0);
    }
}
