//! Tells when a text has fallen into a loop.
//!
//! The text is aligned with itself, moved by every lag p from 1 to [`LAGS`]: token i is compared with token i − p. Along a
//! lag a score runs, which a token that agrees raises by one and one that differs lowers by much, to zero at least; an
//! alignment may pass to the next lag where a token is put in or left out. An alignment that stays above zero for three
//! periods and [`LEAST`] tokens is a loop. It is a local alignment of the text with itself (Smith and Waterman), of which
//! only the last row is kept.
//!
//! What a loop is told by is what is new in each period. In a list or a table every row brings something that was in neither
//! of the two rows before it, at the price of [`NOVEL`] tokens that agree: such a text never gets far. In a loop
//! that drifts from word to word most of what differs was there two periods ago, which costs [`RETURNS`]. One that counts its
//! rounds differs in digits; short lags are aligned a second time with digits at the price of [`DIGIT`], and then
//! [`ROUNDS`] periods are asked for.
//!
//! A token takes the same time wherever it stands, 3 microseconds, and the memory is 25 kB. Nothing is random.

/// Longest period that is looked for, in tokens.
pub const LAGS: usize = 1024;

/// Tokens that a loop has lasted at least when it is told, its first period included.
const LEAST: u32 = 282;

/// Hundredths of a period that a loop has lasted at least.
const PERIODS: u32 = 292;

/// What a token costs that differs from those one and two periods before.
const NOVEL: i32 = 40;

/// What a token costs that differs from the one a period before, and was there two periods ago.
const RETURNS: i32 = 2;

/// What a token costs that is left out.
const LEFT_OUT: i32 = 12;

/// What a digit costs that differs from a digit, where rounds are counted.
const DIGIT: i32 = 13;

/// Longest period whose rounds may be counted.
const COUNTED_LAGS: usize = 24;

/// Periods of a loop that counts.
const ROUNDS: u32 = 11;

/// Tokens of a repeated part that is told by its bytes: tokens of white space and rulers are long.
const SHORT_LAGS: usize = 4;

/// Bytes of such a repetition.
const BYTES: usize = 1600;

/// Tokens that are looked back at: two periods, and one token on either side.
const BACK: usize = 2 * LAGS + 2;

/// Places for tokens. The newest is put before the others; when the front is reached, what is looked back at moves to the end.
const PLACES: usize = 2 * BACK;

/// Fills the text before its beginning.
const NO_TOKEN: u32 = u32::MAX;

/// One point of an alignment's score; the low half of a number is the alignment's length in tokens.
const POINT: i32 = 1 << 16;

/// The length in an alignment's number.
const LENGTH: i32 = POINT - 1;

/// What is known of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Bytes of its text.
    pub n_bytes: usize,
    /// Whether its text is digits.
    pub is_number: bool,
}

/// Follows a text token by token.
pub struct LoopDetector {
    /// Ids, the newest first from `head` on; numbers have [`NUMBER`] set.
    ids: Vec<u32>,
    head: usize,
    /// Alignments by lag, and those of the token before.
    exact: [Vec<i32>; 2],
    counting: [Vec<i32>; 2],
    /// Bytes that agree without a gap, by lag, from 1.
    repeated: [usize; SHORT_LAGS],
}

/// Marks ids whose text is digits.
const NUMBER: u32 = 1 << 31;

impl Default for LoopDetector {
    fn default() -> Self {
        let alignments = |lags| [vec![0; lags + 2], vec![0; lags + 2]];
        LoopDetector {
            ids: vec![NO_TOKEN & !NUMBER; PLACES],
            head: PLACES - BACK,
            exact: alignments(LAGS),
            counting: alignments(COUNTED_LAGS),
            repeated: [0; SHORT_LAGS],
        }
    }
}

impl LoopDetector {
    /// Takes the next token, and says whether the text stands in a loop.
    pub fn push(&mut self, token: Token) -> bool {
        if self.head == 0 {
            self.head = PLACES - BACK;
            self.ids.copy_within(..BACK, self.head);
        }
        self.head -= 1;
        let id = token.id & !NUMBER | if token.is_number { NUMBER } else { 0 };
        self.ids[self.head] = id;
        let ids = &self.ids[self.head..];

        let mut repeats = false;
        for (bytes, before) in self.repeated.iter_mut().zip(&ids[1..]) {
            *bytes = if *before == id { *bytes + token.n_bytes } else { 0 };
            repeats |= *bytes >= BYTES;
        }
        let drifts = align(&mut self.exact, ids, false);
        let counts = align(&mut self.counting, ids, true);
        repeats || drifts || counts
    }
}

/// Takes the newest of `ids` into the alignments of all lags. Says whether one of them is a loop.
fn align([now, before]: &mut [Vec<i32>; 2], ids: &[u32], counts: bool) -> bool {
    std::mem::swap(now, before);
    let id = ids[0];
    let lags = now.len() - 2;
    let put_in = if counts && id & NUMBER != 0 { DIGIT } else { NOVEL };
    let left_out = if counts { NOVEL } else { LEFT_OUT };
    let mut found = false;
    for lag in 1..=lags {
        let there = ids[lag];
        let (agrees, absent) = if counts {
            let is_digit = id & there & NUMBER != 0;
            (
                if there == id {
                    1
                } else if is_digit {
                    -DIGIT
                } else {
                    -NOVEL
                },
                put_in,
            )
        } else {
            let [a, b, c] = [ids[2 * lag - 1], ids[2 * lag], ids[2 * lag + 1]];
            let returns = (a == id) | (b == id) | (c == id);
            let costs = if returns { RETURNS } else { NOVEL };
            (if there == id { 1 } else { -costs }, costs)
        };
        let straight = before[lag] + agrees * POINT;
        let inserted = before[lag - 1] - absent * POINT;
        let skipped = before[lag + 1] + (agrees - left_out) * POINT;
        let best = straight.max(inserted).max(skipped);
        let best = if best < POINT { 0 } else { best + i32::from(best & LENGTH != LENGTH) };
        now[lag] = best;
        let lasted = (best & LENGTH) as u32 + lag as u32;
        let enough = if counts { ROUNDS * 100 } else { PERIODS } * lag as u32;
        found |= (best != 0) & (lasted >= LEAST) & (lasted * 100 >= enough);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The token at which a text of words would be stopped.
    fn fired<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<usize> {
        let mut detector = LoopDetector::default();
        let mut known: Vec<&str> = Vec::new();
        words.into_iter().position(|word| {
            let id = known.iter().position(|&w| w == word).unwrap_or_else(|| {
                known.push(word);
                known.len() - 1
            });
            let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
            detector.push(Token { id: id as u32, n_bytes: word.len() + 1, is_number })
        })
    }

    /// Words of no order, each different from the ones before.
    fn new_words(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("w{i}")).collect()
    }

    #[test]
    fn a_loop_is_told_within_300_tokens_or_three_periods_and_not_before() {
        let before = new_words(400);
        for period in [1, 2, 3, 7, 20, 64, 99, 150, 300, 700, 1024] {
            let part: Vec<String> = (0..period).map(|i| format!("p{i}")).collect();
            let text = before.iter().chain(part.iter().cycle().take(4 * period + 400));
            let at = fired(text.map(String::as_str)).unwrap_or_else(|| panic!("period {period}")) - before.len();
            let due = 300.max(3 * period);
            assert!(at < due && at >= due * 17 / 20, "period {period}: after {at} tokens");
        }
        assert_eq!(fired(before.iter().map(String::as_str)), None);
    }

    #[test]
    fn a_loop_that_counts_its_rounds_is_told_and_a_list_is_not() {
        let row = |i: usize, noun: &str| -> Vec<String> {
            let digits = i.to_string();
            let digits = digits.chars().map(String::from);
            let rest = format!("we check the {noun} again and it is still not the {noun} that we wanted .");
            ["Step".to_owned()].into_iter().chain(digits).chain(rest.split(' ').map(str::to_owned)).collect()
        };
        let text = |noun: fn(usize) -> String| -> Vec<String> { (1..60).flat_map(|i| row(i, &noun(i))).collect() };
        let at = fired(text(|_| "engine".to_owned()).iter().map(String::as_str));
        assert!(at.is_some_and(|at| at < 300), "{at:?}");
        let list = text(|i| format!("part{i}"));
        assert_eq!(fired(list.iter().map(String::as_str)), None);
    }

    #[test]
    fn a_loop_whose_words_change_now_and_then_is_told() {
        // Every second round is as the first one was, the others have words changed.
        let part: Vec<String> = (0..70).map(|i| format!("p{i}")).collect();
        let mut drifting = part.clone();
        let mut text = new_words(100);
        for round in 0..8 {
            if round > 0 {
                drifting[(round * 37) % 70] = format!("d{round}");
            }
            text.extend(part.iter().chain(&drifting).cloned());
        }
        let at = fired(text.iter().map(String::as_str));
        assert!(at.is_some_and(|at| (100 + LEAST as usize - 5..400).contains(&at)), "{at:?}");
    }

    #[test]
    fn rulers_and_white_space_are_told_by_their_bytes() {
        let long = ".".repeat(64);
        let text = ["a", "b"].into_iter().chain(std::iter::repeat_n(&*long, 40));
        assert!(fired(text).is_some_and(|at| at < 30));
        let row = "-".repeat(80);
        let rows = (0..60).flat_map(|_| [&*row, "\n"]);
        assert!(fired(rows).is_some_and(|at| at < 50));
        // A ruler between paragraphs is no loop.
        let words = new_words(300);
        let text = words.chunks(20).flat_map(|words| words.iter().map(String::as_str).chain([&*row]));
        assert_eq!(fired(text), None);
    }

    #[test]
    fn what_is_said_twice_is_no_loop() {
        let part = new_words(400);
        assert_eq!(fired(part.iter().chain(&part).map(String::as_str)), None);
    }
}
