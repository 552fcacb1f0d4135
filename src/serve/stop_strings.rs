//! Texts that end an answer: found however the text is cut into pieces, and not a character more is held back than may
//! begin one.

/// Follows the text of an answer.
pub(super) struct StopStrings {
    stops: Vec<String>,
    /// The end of the text that may begin a stop.
    held: String,
    found: Option<usize>,
}

impl StopStrings {
    /// None of these is empty.
    pub fn new(stops: Vec<String>) -> StopStrings {
        debug_assert!(stops.iter().all(|stop| !stop.is_empty()));
        StopStrings { stops, held: String::new(), found: None }
    }

    /// The text goes on; returns what can be passed on. Behind a stop that is nothing.
    pub fn push(&mut self, text: &str) -> String {
        if self.found.is_some() {
            return String::new();
        }
        self.held.push_str(text);
        // The one that is complete first, however much comes at once.
        let ends = self.stops.iter().enumerate();
        let ends = ends.filter_map(|(i, stop)| self.held.find(stop).map(|at| (at + stop.len(), at, i)));
        if let Some((_, at, i)) = ends.min() {
            self.found = Some(i);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let may_begin = |tail: &str| self.stops.iter().any(|stop| stop.starts_with(tail));
        let safe = self.held.char_indices().map(|(at, _)| at).find(|&at| may_begin(&self.held[at..]));
        let rest = self.held.split_off(safe.unwrap_or(self.held.len()));
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether a stop may have begun.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// The number of the stop that has come, if one has.
    pub fn found(&self) -> Option<usize> {
        self.found
    }

    /// The text is over; returns what was held back, and which stop has come, if any.
    pub fn finish(&mut self) -> (String, Option<usize>) {
        (std::mem::take(&mut self.held), self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, stops: &[&str], piece: usize) -> (String, Option<usize>) {
        let mut scan = StopStrings::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let chars: Vec<char> = text.chars().collect();
        let out: String = chars.chunks(piece).map(|piece| scan.push(&piece.iter().collect::<String>())).collect();
        let (rest, found) = scan.finish();
        (out + &rest, found)
    }

    #[test]
    fn a_stop_is_found_however_the_text_is_cut() {
        for (text, stops, expected, found) in [
            ("one END two", &["END"][..], "one ", Some(0)),
            ("one EN two", &["END"], "one EN two", None),
            ("aaab", &["aab"], "a", Some(0)),
            ("abcabd", &["abd", "cab"], "ab", Some(1)),
            ("größe ä!", &["ä!"], "größe ", Some(0)),
            ("12345", &["45", "234"], "1", Some(1)),
            ("no stop at all", &[], "no stop at all", None),
            ("ends with E", &["END"], "ends with E", None),
        ] {
            for piece in 1..=text.chars().count() {
                assert_eq!(cut(text, stops, piece), (expected.to_owned(), found), "{text:?} by {piece}");
            }
        }
    }

    #[test]
    fn only_what_may_begin_a_stop_is_held_back() {
        let mut scan = StopStrings::new(vec!["END".to_owned()]);
        assert_eq!(scan.push("a E"), "a ");
        assert_eq!(scan.push("N"), "");
        assert_eq!(scan.push("E"), "EN");
        assert_eq!(scan.push("x"), "Ex");
        assert_eq!((scan.push("END more").as_str(), scan.push("again").as_str()), ("", ""));
    }
}
