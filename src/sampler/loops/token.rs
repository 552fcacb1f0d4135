//! What the guard against loops knows of a token: whether it is a word of a sentence, and whether it counts.

/// What is known of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Bytes of its text.
    pub n_bytes: usize,
    /// Whether it is a word of running text: letters behind a space, or of a script that has none.
    pub is_word: bool,
    /// What it counts, if it is a number, a letter or a name of such a row.
    pub count: Option<Count>,
}

/// A place in a row that is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    row: u8,
    place: u8,
}

/// Rows that are counted in words. After the last one comes the first again.
const ROWS: [&[&str]; 8] = [
    &["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
    &[
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ],
    &[
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ],
    &[
        "first",
        "second",
        "third",
        "fourth",
        "fifth",
        "sixth",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
        "eleventh",
        "twelfth",
        "thirteenth",
        "fourteenth",
        "fifteenth",
        "sixteenth",
        "seventeenth",
        "eighteenth",
        "nineteenth",
        "twentieth",
    ],
    &[
        "eins",
        "zwei",
        "drei",
        "vier",
        "fünf",
        "sechs",
        "sieben",
        "acht",
        "neun",
        "zehn",
        "elf",
        "zwölf",
        "dreizehn",
        "vierzehn",
        "fünfzehn",
        "sechzehn",
        "siebzehn",
        "achtzehn",
        "neunzehn",
        "zwanzig",
    ],
    &[
        "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze", "treize",
        "quatorze", "quinze", "seize",
    ],
    &[
        "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve", "diez", "once", "doce", "trece",
        "catorce", "quince",
    ],
    &["一", "二", "三", "四", "五", "六", "七", "八", "九", "十"],
];

/// Digits, letters, and the rows of words.
const DIGITS: u8 = 0;
const SMALL: u8 = 1;
const LARGE: u8 = 2;
const WORDS: usize = 3;

impl Token {
    /// The token with this id and text, which has so many bytes.
    pub fn new(id: u32, text: &str, n_bytes: usize) -> Token {
        let word = text.strip_prefix(' ').unwrap_or(text);
        let has_space = word.len() < text.len() || word.chars().next().is_some_and(|first| !first.is_ascii());
        let is_word = has_space && !word.is_empty() && word.chars().all(char::is_alphabetic);
        Token { id, n_bytes, is_word, count: Count::of(word.strip_prefix('(').unwrap_or(word)) }
    }

    /// Whether its text is a digit.
    pub(super) fn is_digit(&self) -> bool {
        self.count.is_some_and(|count| count.row == DIGITS)
    }
}

impl Count {
    /// What a word counts.
    fn of(word: &str) -> Option<Count> {
        if let [byte] = *word.as_bytes() {
            let (row, first) = match byte {
                b'0'..=b'9' => (DIGITS, b'0'),
                b'a'..=b'z' => (SMALL, b'a'),
                b'A'..=b'Z' => (LARGE, b'A'),
                _ => return None,
            };
            return Some(Count { row, place: byte - first });
        }
        let is = |other: &&str| {
            other.len() == word.len()
                && other.chars().zip(word.chars()).all(|(a, b)| a == b || a == b.to_ascii_lowercase())
        };
        let in_row = |row: &&[&str]| row.iter().position(is);
        let (row, place) = ROWS.iter().enumerate().find_map(|(i, row)| Some((i, in_row(row)?)))?;
        Some(Count { row: (WORDS + row) as u8, place: place as u8 })
    }

    /// Entries of its row.
    fn row_length(self) -> u8 {
        match self.row {
            DIGITS => 10,
            SMALL | LARGE => 26,
            row => ROWS[row as usize - WORDS].len() as u8,
        }
    }

    /// How many places it is behind another of its row, round the end.
    fn steps_from(self, other: Count) -> Option<u8> {
        let length = self.row_length();
        (self.row == other.row).then(|| (self.place + length - other.place) % length)
    }

    /// Whether it goes on counting from `before`: by one, on or back, or by as much as that did from what was `earlier`.
    pub(super) fn goes_on(self, before: Count, earlier: impl IntoIterator<Item = Count>) -> bool {
        let Some(steps) = self.steps_from(before).filter(|&steps| steps > 0) else { return false };
        steps == 1
            || steps == self.row_length() - 1
            || earlier.into_iter().any(|earlier| before.steps_from(earlier) == Some(steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token::new(0, text, text.len())
    }

    #[test]
    fn words_stand_behind_a_space_or_in_a_script_without_one() {
        for word in [" the", " Straße", "哈", "待って", "ок"] {
            assert!(token(word).is_word, "{word:?}");
        }
        for other in ["the", " ", "", " 7", " a-b", "_x", "\n", ".", "。", "\u{fffd}"] {
            assert!(!token(other).is_word, "{other:?}");
        }
    }

    #[test]
    fn digits_letters_and_names_of_numbers_and_days_count() {
        let goes_on = |texts: [&str; 3]| {
            let [earlier, before, now] = texts.map(|text| token(text).count);
            now.unwrap().goes_on(before.unwrap(), earlier)
        };
        let counted = [["1", "2", "3"], ["4", "3", "2"], ["2", "7", "2"], ["8", "9", "0"], ["(a", "(b", "(c"]];
        let words = [[" one", " two", " three"], [" Friday", " Saturday", " Sunday"], [" Elf", " Zwölf", " dreizehn"]];
        assert!(counted.into_iter().chain(words).all(goes_on));
        let others =
            [["1", "3", "7"], ["1", "1", "1"], ["x", "a", "q"], ["a", "b", "C"], [" one", " Monday", " three"]];
        assert!(!others.into_iter().any(goes_on));
        assert!(token("7").is_digit() && !token(" seven").is_digit());
        assert!([" the", "12", "", "é", " oneself"].iter().all(|text| token(text).count.is_none()));
    }
}
