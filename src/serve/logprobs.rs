//! Log-probabilities of the tokens of an answer or a prompt, and of those that might have come instead.

use crate::tokenizer::Tokenizer;
use serde_json::{Value, json};

/// Likeliest tokens that may be wanted, at most.
pub(super) const MOST_LOGPROBS: i64 = 20;

/// Whose probabilities are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    /// Likeliest tokens beside each.
    pub n_top: usize,
    /// Whether those of the prompt are wanted too.
    pub of_prompt: bool,
    /// Whether that of the token is wanted too at which the model ends the answer.
    pub of_end: bool,
}

/// A token that was chosen, or read.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct TokenLogprob {
    /// Its number in the vocabulary.
    pub id: u32,
    /// Its bytes, which may be a part of a character.
    pub bytes: Vec<u8>,
    /// The logarithm of its probability at temperature 1, before penalties.
    pub logprob: f32,
    /// The likeliest tokens, the likeliest first.
    pub top: Vec<Likely>,
}

/// A token that might have come.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Likely {
    pub id: u32,
    pub bytes: Vec<u8>,
    pub logprob: f32,
}

/// Tokens with their probabilities, as most dialects say them.
pub(super) fn tokens_json(tokens: &[TokenLogprob]) -> Value {
    let entry = |bytes: &[u8], logprob: f32| {
        let token = String::from_utf8_lossy(bytes);
        json!({"token": token, "logprob": logprob, "bytes": bytes})
    };
    let one = |token: &TokenLogprob| {
        let mut said = entry(&token.bytes, token.logprob);
        said["top_logprobs"] = token.top.iter().map(|likely| entry(&likely.bytes, likely.logprob)).collect();
        said
    };
    tokens.iter().map(one).collect()
}

/// What is told of token `id` among `logits`, with the `n` likeliest beside it.
pub(super) fn token(tokenizer: &Tokenizer, logits: &[f32], id: u32, n: usize) -> TokenLogprob {
    let (logprob, top) = of(logits, id, n);
    let top = top.into_iter().map(|(id, logprob)| Likely { id, bytes: tokenizer.token_bytes(id), logprob }).collect();
    TokenLogprob { id, bytes: tokenizer.token_bytes(id), logprob, top }
}

/// The log-probability of `id` among `logits`, and the `n` likeliest ids with theirs: of equal ones the lowest.
pub(super) fn of(logits: &[f32], id: u32, n: usize) -> (f32, Vec<(u32, f32)>) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - most).exp()).sum();
    let logprob = |logit: f32| (f64::from(logit) - f64::from(most) - sum.ln()) as f32;
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let order = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    let n = n.min(ids.len());
    if n < ids.len() {
        ids.select_nth_unstable_by(n, order);
        ids.truncate(n);
    }
    ids.sort_unstable_by(order);
    (logprob(logits[id as usize]), ids.into_iter().map(|id| (id, logprob(logits[id as usize]))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_of_the_softmax() {
        let logits = [0.5, -1.0, 2.0, 1.5, 2.0, f32::NEG_INFINITY];
        let (logprob, top) = of(&logits, 3, 3);
        let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        assert!((f64::from(logprob) - (1.5 - sum.ln())).abs() < 1e-6);
        assert_eq!(top.iter().map(|&(id, _)| id).collect::<Vec<_>>(), [2, 4, 3]);
        assert_eq!((top[2].1, top[0].1), (logprob, top[1].1));
        let (_, all) = of(&logits, 0, 99);
        assert_eq!(all.len(), 6);
        assert!((all.iter().map(|&(_, x)| f64::from(x).exp()).sum::<f64>() - 1.0).abs() < 1e-6);
        assert_eq!(of(&logits, 0, 0).1, []);
    }
}
