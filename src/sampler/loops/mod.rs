//! Tells when a text has fallen into a loop.
//!
//! The text is [aligned](align) with itself, moved by every lag from 1 to [`LAGS`]. An alignment that lasts for three periods
//! and [`LEAST`] tokens is a loop, and has to last longer for what it lost on the way.
//!
//! Prose is held to be a loop sooner than other text: that rows are alike but for a part is how lists, tables and sources are
//! made. There only what is nearly the same is a loop, or what goes on for very long. Numbers that fill the text from its first
//! token on may be a table that was asked for, and are given twice as long.
//!
//! A token takes about the same time wherever it stands, 4 microseconds, and the memory is 80 kB. Nothing is random.

mod align;
mod token;

use align::{Alignment, Text};
pub use token::{Count, Token};

/// Longest period that is looked for, in tokens.
pub const LAGS: usize = 1024;

/// Tokens that a loop has lasted at least when it is told, its first period included.
const LEAST: u32 = 276;

/// The same for numbers that fill the text from its beginning.
const LEAST_OF_TABLES: u32 = 600;

/// Tokens before such a table.
const BEGINNING: u32 = 4;

/// The same in text that is not prose, for what is the same in part.
const LEAST_OF_LISTS: u32 = 1000;

/// Hundredths of a period that a loop has lasted at least.
const PERIODS: u32 = 292;

/// Hundredths of a token that a loop lasts longer for each point that it lost.
const PER_LOSS: u32 = 30;

/// Hundredths of its points that a loop has kept in text that is not prose.
const KEPT: u32 = 92;

/// Tokens of a repeated part that is told by its bytes: tokens of white space and rulers are long.
const SHORT_LAGS: usize = 4;

/// Bytes of such a repetition.
const BYTES: usize = 1600;

/// Tokens by which it is judged whether a text is prose.
const JUDGED: usize = 128;

/// Hundredths of them that are words in prose.
const PROSE: usize = 50;

/// Hundredths of them that are digits in a table of numbers.
const TABLE: usize = 30;

/// Tokens among which one is looked for that was said before.
const SAID: usize = 1024;

/// Tokens that are looked back at.
const BACK: usize = align::look_back(LAGS);

/// Places for tokens. The newest is put before the others; when the front is reached, what is looked back at moves to the end.
const PLACES: usize = 2 * BACK;

/// Fills the text before its beginning.
const NO_TOKEN: u32 = u32::MAX;

/// Index of the first token: no difference is so near before it that it matters.
const FIRST: u32 = 4 * LAGS as u32;

/// What kind of text a token makes.
#[derive(Clone, Copy, Default)]
struct Kind {
    is_word: bool,
    is_digit: bool,
}

/// Follows a text token by token.
pub struct LoopDetector {
    /// Ids, counts and kinds, the newest token first from `head` on.
    ids: Vec<u32>,
    counts: Vec<Option<Count>>,
    kinds: Vec<Kind>,
    head: usize,
    /// Index of the next token.
    index: u32,
    /// Words and digits among the last [`JUDGED`] tokens.
    n_word: usize,
    n_digit: usize,
    /// Alignments by lag behind the newest token, and behind the one before.
    alignments: [Vec<Alignment>; 2],
    /// Bytes that agree without a gap, by lag, from 1.
    repeated: [usize; SHORT_LAGS],
}

impl Default for LoopDetector {
    fn default() -> Self {
        LoopDetector {
            ids: vec![NO_TOKEN; PLACES],
            counts: vec![None; PLACES],
            kinds: vec![Kind::default(); PLACES],
            head: PLACES - BACK,
            index: FIRST,
            n_word: 0,
            n_digit: 0,
            alignments: [vec![Alignment::default(); LAGS + 2], vec![Alignment::default(); LAGS + 2]],
            repeated: [0; SHORT_LAGS],
        }
    }
}

impl LoopDetector {
    /// Takes the next token, and says whether the text stands in a loop.
    pub fn push(&mut self, token: Token) -> bool {
        self.put(token);
        let ids = &self.ids[self.head..];
        let mut repeats = false;
        for (bytes, before) in self.repeated.iter_mut().zip(&ids[1..]) {
            *bytes = if *before == token.id { *bytes + token.n_bytes } else { 0 };
            repeats |= *bytes >= BYTES;
        }
        let n_token = self.index - FIRST;
        let n_judged = JUDGED.min(n_token as usize);
        let is_prose = self.n_word * 100 >= PROSE * n_judged;
        let is_table = self.n_digit * 100 >= TABLE * n_judged;
        let text = Text {
            ids,
            counts: &self.counts[self.head..],
            index: self.index,
            is_digit: token.is_digit(),
            is_fresh: !ids[1..SAID].contains(&token.id),
            is_prose,
        };
        let [now, before] = &mut self.alignments;
        std::mem::swap(now, before);
        // Of what fills the text from its beginning, other lags may take a part for the whole.
        let (mut longest, mut fills) = (0, false);
        for lag in 1..=LAGS {
            now[lag] = text.align(lag, [before[lag - 1], before[lag], before[lag + 1]]);
            if let Some(lasted) = loop_length(lag as u32, now[lag], self.index, is_prose) {
                longest = longest.max(lasted);
                fills |= lasted + BEGINNING >= n_token;
            }
        }
        repeats || longest >= if fills && is_table { LEAST_OF_TABLES } else { LEAST }
    }

    /// Puts a token before the others.
    fn put(&mut self, token: Token) {
        if self.head == 0 {
            self.head = PLACES - BACK;
            self.ids.copy_within(..BACK, self.head);
            self.counts.copy_within(..BACK, self.head);
            self.kinds.copy_within(..BACK, self.head);
        }
        self.head -= 1;
        self.index += 1;
        self.ids[self.head] = token.id;
        self.counts[self.head] = token.count;
        let (new, old) = (Kind { is_word: token.is_word, is_digit: token.is_digit() }, self.kinds[self.head + JUDGED]);
        self.kinds[self.head] = new;
        self.n_word = self.n_word + usize::from(new.is_word) - usize::from(old.is_word);
        self.n_digit = self.n_digit + usize::from(new.is_digit) - usize::from(old.is_digit);
    }
}

/// Tokens of a loop, if an alignment behind the token at `index` is one.
fn loop_length(lag: u32, Alignment { score, begin, .. }: Alignment, index: u32, is_prose: bool) -> Option<u32> {
    let lasted = index + 1 - begin;
    if score == 0 || lasted < LEAST || lasted * 100 < PERIODS * lag {
        return None;
    }
    let length = lasted - lag;
    let lost = length.saturating_sub(score as u32);
    let is_loop = lasted * 100 >= PERIODS * lag + PER_LOSS * lost
        && (is_prose || score as u32 * 100 >= KEPT * length || lasted >= LEAST_OF_LISTS);
    is_loop.then_some(lasted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The token at which a text of words would be stopped. A word stands behind a space, a mark and a digit alone.
    fn fired<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<usize> {
        let mut detector = LoopDetector::default();
        let mut known: Vec<&str> = Vec::new();
        words.into_iter().position(|word| {
            let id = known.iter().position(|&w| w == word).unwrap_or_else(|| {
                known.push(word);
                known.len() - 1
            });
            let text = if word.chars().all(char::is_alphabetic) { format!(" {word}") } else { word.to_owned() };
            detector.push(Token::new(id as u32, &text, text.len()))
        })
    }

    /// Words of no order, each different from the ones before.
    fn new_words(n: usize) -> Vec<String> {
        (0..n).map(|i| named("w", i)).collect()
    }

    /// A word for a number.
    fn named(word: &str, i: usize) -> String {
        i.to_string().bytes().fold(word.to_owned(), |text, digit| format!("{text}{}", (digit - b'0' + b'a') as char))
    }

    /// Where the loop behind some words is told, in tokens of it.
    fn told(rows: impl IntoIterator<Item = String>) -> Option<usize> {
        let before = new_words(300);
        let rows: Vec<String> = rows.into_iter().collect();
        fired(before.iter().map(String::as_str).chain(rows.iter().flat_map(|row| row.split(' ')))).map(|at| at - 300)
    }

    #[test]
    fn a_loop_is_told_within_300_tokens_or_three_periods_and_not_before() {
        let before = new_words(400);
        for period in [1, 2, 3, 7, 20, 64, 99, 150, 300, 700, 1024] {
            for prose in [true, false] {
                let part = (0..period).map(|i| if prose { named("p", i) } else { format!("p{i}") });
                let part: Vec<String> = part.collect();
                let text = before.iter().chain(part.iter().cycle().take(4 * period + 400));
                let at = fired(text.map(String::as_str)).unwrap_or_else(|| panic!("period {period}")) - before.len();
                let due = 300.max(3 * period);
                assert!(at < due && at >= due * 17 / 20, "period {period}: after {at} tokens");
            }
        }
        assert_eq!(fired(before.iter().map(String::as_str)), None);
    }

    #[test]
    fn a_table_of_numbers_from_the_beginning_is_given_longer() {
        let at = |n_before: usize, row: &str| {
            let words = new_words(n_before);
            fired(words.iter().map(String::as_str).chain(row.split(' ').cycle().take(1000)))
        };
        assert!(at(0, "7 , 7 ,").is_some_and(|at| (590..=600).contains(&at)), "{:?}", at(0, "7 , 7 ,"));
        for (before, row) in [(20, "7 , 7 ,"), (0, "we go on in this way")] {
            assert!(at(before, row).is_some_and(|at| (270..=300).contains(&at)), "{row} {:?}", at(before, row));
        }
    }

    #[test]
    fn a_loop_that_counts_its_rounds_is_told_and_a_list_is_not() {
        let digits = |i: usize| i.to_string().bytes().map(|digit| format!(" {}", digit as char)).collect::<String>();
        let row = |count: &str, noun: &str| {
            format!("Step{count} : we check the {noun} again and it is still not the {noun} that we wanted .")
        };
        let numbers =
            ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
        let words = numbers.map(|word| format!(" {word}"));
        let letters = ('A'..='Z').map(|letter| format!(" {letter}"));
        let counted = |counts: Vec<String>| told(counts.iter().map(|count| row(count, "engine")));
        for counts in [(7..60).map(digits).collect(), [words.clone(), words].concat(), letters.collect()] {
            let at = counted(counts);
            assert!(at.is_some_and(|at| at < 300), "{at:?}");
        }
        // Something new in each row.
        assert_eq!(told((0..60).map(|i| row(&digits(i), &named("part", i)))), None);
    }

    #[test]
    fn a_loop_whose_words_change_now_and_then_is_told_in_prose() {
        // Every second round is as the first one was, the others have words changed, to such as were said before.
        let round = |prose: bool, changed: usize| -> String {
            let word = |i| if prose { named("p", i) } else { format!("p{i}") };
            let words = (0..70).map(|i| match (1..=changed).any(|change| change * 37 % 70 == i) {
                true => named("w", i),
                false => word(i),
            });
            words.collect::<Vec<_>>().join(" ")
        };
        let rounds = |prose| told((0..12).map(|i| round(prose, if i % 2 == 0 { 0 } else { i / 2 + 1 })));
        assert!(rounds(true).is_some_and(|at| (270..300).contains(&at)), "{:?}", rounds(true));
        assert_eq!(rounds(false), None);
    }

    #[test]
    fn rows_that_are_alike_but_for_one_place_are_a_list() {
        for (length, prose) in [(8, true), (30, true), (8, false), (60, false), (90, false)] {
            let word = |i| if prose { named("p", i) } else { format!("p{i}") };
            let row = |new: usize| {
                let words = (0..length).map(|i| if i == length / 2 { named("new", new) } else { word(i) });
                words.collect::<Vec<_>>().join(" ")
            };
            assert_eq!(told((0..400 / length + 4).map(row)), None, "rows of {length} tokens, prose: {prose}");
        }
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
