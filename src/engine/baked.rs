//! A beginning of conversations that was read once, as one file to be shipped with a model: the messages it was made of, so
//! that it can be read where it does not fit, and what the model remembers of them.
//!
//! ```text
//! "qwen-edge baked prompt 1\n"                 another way to write them has another number
//! length of the JSON                           u64, little-endian
//! {"system": TEXT or null, "tools": LIST or null}
//! SHA-256 of all before                        32 bytes
//! a sequence                                   see `snapshot`, with the fingerprint of the model's content
//! ```

use super::message::Message;
use super::session::{Session, SessionError};
use super::snapshot::SnapshotError;
use crate::chat::offer::Offer;
use crate::gguf::Fingerprint;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use std::sync::Arc;

/// What the bytes begin with.
const MAGIC: &[u8] = b"qwen-edge baked prompt 1\n";

const HASH: usize = 32;

/// What a baked beginning is made of.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beginning {
    /// The system message.
    pub system: Option<String>,
    /// Functions that the model may call.
    pub tools: Option<Offer>,
}

/// Why bytes are no baked beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BakedError {
    /// They are something else, or of another version.
    #[error("no baked prompt of this version: expected it to begin with \"qwen-edge baked prompt 1\"")]
    Magic,
    /// What it is made of is cut off or changed.
    #[error("the baked prompt is damaged or cut off")]
    Damaged,
}

/// Why nothing is baked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BakeError {
    /// It cannot be read.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// It makes no tokens that all conversations begin with.
    #[error("the chat template makes no beginning of it that conversations share")]
    Nothing,
    /// It cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Beginning {
    /// The messages that conversations begin with.
    pub fn messages(&self) -> Vec<Message> {
        self.system.iter().map(Message::system).collect()
    }

    /// Has a session read it, and writes it for [`Baked::parse`]; `model` is the [content's
    /// fingerprint](crate::gguf::Gguf::content_fingerprint). Returns the tokens read.
    ///
    /// # Errors
    /// [`BakeError`].
    pub fn bake(&self, session: &mut Session, model: &Fingerprint, out: &mut impl Write) -> Result<usize, BakeError> {
        session.offer = self.tools.clone().map(Arc::new);
        session.read_history(&self.messages(), || true)?;
        let n = session.context().n_past();
        if n == 0 {
            return Err(BakeError::Nothing);
        }
        let json = serde_json::to_vec(self).map_err(io::Error::other)?;
        let head = [MAGIC, &(json.len() as u64).to_le_bytes(), &json].concat();
        out.write_all(&head)?;
        out.write_all(&Sha256::digest(&head))?;
        session.save(model, out)?;
        Ok(n)
    }
}

/// A baked beginning, as bytes.
pub struct Baked {
    beginning: Beginning,
    bytes: Vec<u8>,
    /// Where the sequence begins in them.
    at: usize,
}

impl Baked {
    /// What [`Beginning::bake`] has written. The sequence in it is looked at by [`Baked::restore`].
    ///
    /// # Errors
    /// [`BakedError`].
    pub fn parse(bytes: Vec<u8>) -> Result<Baked, BakedError> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(BakedError::Magic)?;
        let mut take = |n: usize| rest.split_off(..n).ok_or(BakedError::Damaged);
        let len = u64::from_le_bytes(take(8)?.try_into().expect("eight bytes"));
        let json = take(usize::try_from(len).map_err(|_| BakedError::Damaged)?)?;
        let hash = take(HASH)?;
        let at = bytes.len() - rest.len();
        if Sha256::digest(&bytes[..at - HASH])[..] != *hash {
            return Err(BakedError::Damaged);
        }
        let beginning = serde_json::from_slice(json).map_err(|_| BakedError::Damaged)?;
        Ok(Baked { beginning, bytes, at })
    }

    /// What it is made of.
    pub fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    /// Bytes of it all.
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Has a session remember it.
    ///
    /// # Errors
    /// [`SnapshotError`] if it does not fit; the session is as good as new then, and reads it with the first prompt.
    pub fn restore(self, session: &mut Session, model: &Fingerprint) -> Result<(), SnapshotError> {
        session.restore(model, &self.bytes[self.at..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_no_baked_prompt() {
        let json = br#"{"system":"Be kind.","tools":null}"#;
        let head = [MAGIC, &(json.len() as u64).to_le_bytes(), json].concat();
        let whole = [&head[..], &Sha256::digest(&head), b"sequence"].concat();
        let baked = Baked::parse(whole.clone()).unwrap();
        assert_eq!(
            (baked.beginning().system.as_deref(), &baked.bytes[baked.at..]),
            (Some("Be kind."), &b"sequence"[..])
        );
        let refused = |bytes: &[u8]| Baked::parse(bytes.to_vec()).err();
        for n in 0..whole.len() - 8 {
            let error = if n < MAGIC.len() { BakedError::Magic } else { BakedError::Damaged };
            assert_eq!(refused(&whole[..n]), Some(error), "cut to {n}");
            let mut changed = whole.clone();
            changed[n] ^= 4;
            assert_eq!(refused(&changed), Some(error), "changed at {n}");
        }
    }
}
