//! What one answer may go on with, token by token, and how it is brought to its end in the room there is.

use super::landing::{self, Strings, Witnesses};
use super::vocabulary::Vocabulary;
use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;
use std::sync::Arc;

/// Bytes of a way to the end at most.
pub(super) const LONGEST_WAY: usize = 16_384;

/// Searches for a way that may fail before no more are made.
const MOST_FAILURES: usize = 4;

/// Follows one answer.
///
/// It is asked what may come next ([`Constraint::allowed`]), and told what was chosen ([`Constraint::take`]). At every place it
/// knows a way to the end. A token behind which that would be longer than the room that is left is not taken, and the way is gone
/// from there: an answer whose room holds the shortest way from its beginning always comes to its end.
pub struct Constraint {
    matcher: Matcher,
    vocabulary: Arc<Vocabulary>,
    strings: Strings,
    witnesses: Arc<Witnesses>,
    /// The bytes to the end; empty where the answer may end here. `None` where none was found.
    way: Option<Vec<u8>>,
    /// The tokens to the end, once there is room for nothing else.
    landing: Option<Vec<u32>>,
    failures: usize,
    /// Whether the answer can only end here.
    is_complete: bool,
    /// A token that may come in place of the answer's first.
    way_out: Option<u32>,
    /// Whether it came.
    is_left: bool,
}

/// What may come next.
pub enum Allowed {
    /// This token.
    One(u32),
    /// One of several.
    Set(TokenSet),
}

/// Tokens of a vocabulary.
pub struct TokenSet(SimpleVob);

impl TokenSet {
    /// Whether it has this token.
    pub fn has(&self, id: u32) -> bool {
        (id as usize) < self.0.len() && self.0.is_allowed(id)
    }

    /// Takes all other tokens out of `logits [n_vocab]`.
    pub fn keep(&self, logits: &mut [f32]) {
        let words = self.0.as_slice().iter().copied().chain(std::iter::repeat(0));
        for (logits, word) in logits.chunks_mut(32).zip(words) {
            match word {
                0 => logits.fill(f32::NEG_INFINITY),
                u32::MAX => {}
                _ => {
                    for (i, logit) in logits.iter_mut().enumerate() {
                        if word >> i & 1 == 0 {
                            *logit = f32::NEG_INFINITY;
                        }
                    }
                }
            }
        }
    }
}

/// An answer has come to a place where the grammar cannot be followed any further, and no way to its end is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the schema became too much work within the answer, which cannot go on")]
pub struct Lost;

impl Constraint {
    /// At the beginning of an answer, where `way` leads to its end.
    pub(super) fn new(
        matcher: Matcher,
        vocabulary: Arc<Vocabulary>,
        witnesses: Arc<Witnesses>,
        way: Vec<u8>,
    ) -> Constraint {
        Constraint {
            matcher,
            vocabulary,
            strings: Strings::default(),
            witnesses,
            way: Some(way),
            landing: None,
            failures: 0,
            is_complete: false,
            way_out: None,
            is_left: false,
        }
    }

    /// Allows `id` too in place of the answer's first token; what comes behind it is [free](Constraint::is_left).
    pub fn leave_by(&mut self, id: u32) {
        self.way_out = Some(id);
    }

    /// Whether the answer has gone another way, and keeps to nothing.
    pub fn is_left(&self) -> bool {
        self.is_left
    }

    /// What may come next. Ends of the vocabulary are among it where the answer may end.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn allowed(&mut self) -> Result<Allowed, Lost> {
        if self.is_complete {
            return Ok(Allowed::One(self.end()));
        }
        if self.landing.is_none() {
            match self.matcher.compute_mask_or_eos() {
                Ok(mut set) => {
                    if let Some(id) = self.way_out.filter(|&id| (id as usize) < set.len()) {
                        set.allow_token(id);
                    }
                    let mut ids = set.iter();
                    if let (Some(id), None) = (ids.next(), ids.next()) {
                        return Ok(Allowed::One(id));
                    }
                    return Ok(Allowed::Set(TokenSet(set)));
                }
                Err(_) => self.land()?,
            }
        }
        let next = self.landing.as_ref().and_then(|landing| landing.first());
        Ok(Allowed::One(next.copied().unwrap_or(self.end())))
    }

    /// Takes `id`, which was chosen of what is allowed, where there is room for `room` tokens, it included. Returns what comes in
    /// its place: itself, or the first token of the way to the end where that would not fit behind it.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn take(&mut self, id: u32, room: usize) -> Result<u32, Lost> {
        if let Some(way_out) = self.way_out.take()
            && way_out == id
        {
            self.is_left = true;
            return Ok(id);
        }
        if let Some(landing) = &mut self.landing {
            let next = if landing.is_empty() { self.end() } else { landing.remove(0) };
            self.is_complete = self.landing.as_ref().is_some_and(Vec::is_empty);
            return Ok(next);
        }
        let tokenizer = self.vocabulary.tokenizer();
        if tokenizer.is_end(id) && self.may_end() {
            self.is_complete = true;
            return Ok(id);
        }
        let bytes = tokenizer.token_bytes(id);
        let fits_now = self.way.as_ref().is_some_and(|way| fits(way, room, &self.vocabulary));
        // One that is not allowed comes only where every one that is has no number for a logit.
        if !self.matcher.validate_tokens(&[id]).is_ok_and(|n| n == 1) {
            self.land()?;
            return self.take(id, room);
        }
        let (before, strings) = (self.way.clone(), self.strings);
        if self.matcher.consume_token(id).is_err() {
            self.land()?;
            return self.take(id, room);
        }
        self.strings.follow(&bytes);
        self.follow_way(&bytes);
        let fits_then = self.way.as_ref().is_some_and(|way| fits(way, room - 1, &self.vocabulary));
        if fits_now && !fits_then {
            (self.way, self.strings) = (before, strings);
            self.land()?;
            return self.take(id, room);
        }
        self.is_complete = self.matcher.is_stopped() && self.matcher.stop_reason().is_ok();
        Ok(id)
    }

    /// The tokens that must come next, as far as that is known without the model.
    pub fn forced(&mut self) -> Vec<u32> {
        match &self.landing {
            _ if self.is_complete || self.way_out.is_some() => Vec::new(),
            Some(landing) => landing.clone(),
            None => self.matcher.compute_ff_tokens(),
        }
    }

    /// Whether the answer can only end here.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether the answer may end here.
    pub fn may_end(&self) -> bool {
        self.is_complete || self.way.as_ref().is_some_and(Vec::is_empty)
    }

    /// Goes the way to the end from here on.
    fn land(&mut self) -> Result<(), Lost> {
        let way = self.way.as_ref().ok_or(Lost)?;
        self.landing = Some(self.vocabulary.tokenizer().encode_bytes(way));
        Ok(())
    }

    /// Goes on with a way to the end behind `bytes`.
    fn follow_way(&mut self, bytes: &[u8]) {
        let tokenizer = self.vocabulary.tokenizer();
        let old = self.way.take();
        if let Some(rest) = old.as_ref().and_then(|way| way.strip_prefix(bytes)) {
            self.way = Some(rest.to_vec());
            return;
        }
        if let Some(way) = old.filter(|way| !way.is_empty()) {
            let mut ids = tokenizer.encode_bytes(&way);
            ids.push(self.end());
            if self.matcher.validate_tokens(&ids).is_ok_and(|n| n == ids.len()) {
                self.way = Some(way);
                return;
            }
        }
        if self.failures < MOST_FAILURES {
            self.way = landing::search(&self.matcher, self.strings, LONGEST_WAY, &self.witnesses, tokenizer);
            self.failures += usize::from(self.way.is_none());
        }
    }

    /// A token that ends an answer.
    fn end(&self) -> u32 {
        self.vocabulary.tokenizer().ends()[0]
    }
}

/// Whether a way has at most `room` tokens.
fn fits(way: &[u8], room: usize, vocabulary: &Vocabulary) -> bool {
    way.len() <= room || vocabulary.tokenizer().encode_bytes(way).len() <= room
}
