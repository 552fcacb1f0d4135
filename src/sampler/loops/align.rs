//! A text aligned with itself, moved by a number of tokens.
//!
//! A token is compared with the one that stands `lag` tokens before it. A score runs along: a token that agrees raises it by
//! one, one that differs lowers it by a cost, and an alignment whose score is used up is over. An alignment may pass
//! to the next lag where a token is put in or left out: it is a local alignment (Smith and Waterman), of which only the last
//! row is kept.
//!
//! What a difference costs tells loops from lists. In a list every row brings something new at the same place: a second
//! difference one or two periods behind the first ends the alignment. In a loop that drifts the differences are strewn,
//! many of them come back, and what is put in was said before.

use super::token::Count;

/// What a token costs that was at this place two or three periods before.
const RETURNS: i32 = 2;

/// What a token costs that was said before, somewhere.
const STRAY: i32 = 4;

/// What a digit costs.
const DIGIT: i32 = 6;

/// What a token costs that was not said before.
const FRESH: i32 = 20;

/// What any of these costs but the first in text that is not prose.
const STRICT: i32 = 40;

/// What a token costs that goes on counting.
const COUNT: i32 = 13;

/// What a token costs that is left out, and was there two periods before.
const LEFT_OUT: i32 = 12;

/// Longest period whose rounds may be counted.
const COUNTED_LAGS: usize = 40;

/// Tokens by which a place may be missed.
const NEAR: usize = 5;

/// Tokens by which differences in one place of a row may stand apart.
const IN_PLACE: u32 = 2;

/// Score from which on an alignment remembers where it differed.
const ALIVE: i32 = 8;

/// An alignment, behind a token.
#[derive(Clone, Copy, Default, Debug)]
pub struct Alignment {
    /// What is left of it; 0 where there is none.
    pub score: i32,
    /// Index of the token at which its first period begins.
    pub begin: u32,
    /// Index of the token that began the last row of differences; stays when it ends.
    miss: u32,
}

/// The text behind which alignments stand, the newest token first.
pub struct Text<'a> {
    pub ids: &'a [u32],
    pub counts: &'a [Option<Count>],
    /// Index of the newest token.
    pub index: u32,
    /// Whether the newest token is a digit.
    pub is_digit: bool,
    /// Whether the newest token was not said before.
    pub is_fresh: bool,
    /// Whether this is running text.
    pub is_prose: bool,
}

/// What it costs that the newest token differs.
enum Cost {
    /// It may.
    Known(i32),
    /// It is new in this place.
    New(i32),
    /// It is the next entry of a list.
    End,
}

/// Tokens that are looked back at for alignments up to this lag.
pub const fn look_back(lags: usize) -> usize {
    3 * lags + NEAR + 1
}

impl Text<'_> {
    /// The alignment at `lag` behind the newest token, from those behind the token before it: at the lag below, at this one,
    /// and at the lag above.
    #[inline]
    pub fn align(&self, lag: usize, [below, here, above]: [Alignment; 3]) -> Alignment {
        let agrees = self.ids[lag] == self.ids[0];
        if !agrees && below.score | here.score | above.score == 0 {
            return here;
        }
        if agrees { self.agree(lag, here, above) } else { self.differ(lag, below, here, above) }
    }

    fn agree(&self, lag: usize, here: Alignment, above: Alignment) -> Alignment {
        let begin = if here.score > 0 { here.begin } else { self.index - lag as u32 };
        let straight = Alignment { score: here.score + 1, begin, ..here };
        if above.score == 0 {
            return straight;
        }
        // What was put in once may be left out again.
        let left_out = self.ids[lag + 1];
        let cost = if self.ids[2 * lag..2 * lag + 4].contains(&left_out) { LEFT_OUT } else { RETURNS };
        better(Alignment { score: above.score + 1 - cost, ..above }, straight)
    }

    fn differ(&self, lag: usize, below: Alignment, here: Alignment, above: Alignment) -> Alignment {
        let above = Alignment { score: above.score - LEFT_OUT, ..above };
        let known = self.known(lag);
        let pay = |from: Alignment| match known.map_or_else(|| self.novelty(lag, from.miss), Cost::Known) {
            Cost::Known(cost) => Alignment { score: from.score - cost, ..from },
            Cost::New(cost) => Alignment { score: from.score - cost, ..self.remember(lag, from) },
            Cost::End => Alignment { score: 0, ..self.remember(lag, from) },
        };
        let straight = pay(here);
        let best = better(pay(above), better(pay(below), straight));
        match best.score > 0 {
            true => best,
            false => Alignment { score: 0, ..if here.score > 0 { straight } else { here } },
        }
    }

    /// What the newest token costs if it is what may be expected here.
    fn known(&self, lag: usize) -> Option<i32> {
        if lag <= COUNTED_LAGS
            && let (Some(now), Some(before)) = (self.counts[0], self.counts[lag])
            && now.goes_on(before, self.counts[2 * lag - 1..=2 * lag + 1].iter().flatten().copied())
        {
            return Some(COUNT);
        }
        let near = NEAR.min(lag);
        let was_at = |place: usize| self.ids[place - near..=place + near].contains(&self.ids[0]);
        (self.is_prose && !self.is_digit && (was_at(2 * lag) || was_at(3 * lag))).then_some(RETURNS)
    }

    /// What the newest token costs that is new here, if the last difference was at token `miss`.
    fn novelty(&self, lag: usize, miss: u32) -> Cost {
        let (since, lag) = (self.index - miss, lag as u32);
        if since.abs_diff(lag) <= IN_PLACE || since.abs_diff(2 * lag) <= IN_PLACE {
            return Cost::End;
        }
        Cost::New(match self {
            Text { is_prose: false, .. } => STRICT,
            Text { is_fresh: true, .. } => FRESH,
            Text { is_digit: true, .. } => DIGIT,
            _ => STRAY,
        })
    }

    /// An alignment that differs here, with what it remembers of that: where a row of differences begins.
    fn remember(&self, lag: usize, from: Alignment) -> Alignment {
        let since = self.index - from.miss;
        let begins = from.score >= ALIVE.min(lag as i32 / 2) && since + IN_PLACE.min(lag as u32 - 1) >= lag as u32;
        Alignment { miss: if begins { self.index } else { from.miss }, ..from }
    }
}

/// The one with the higher score, the older one of two that are equal; the second where they are both.
fn better(a: Alignment, b: Alignment) -> Alignment {
    if (a.score, b.begin) > (b.score, a.begin) { a } else { b }
}
