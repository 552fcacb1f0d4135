//! Pictures of requests, until they are looked at: data URLs in parts of messages, and their places in a prompt.
//!
//! They wait as the files that they came as, whose memory is that of the bodies; of a prompt with pictures, all tokens
//! are counted from the headers.

use super::error::ApiError;
use crate::vision::data_url;
use crate::vision::picture_reader::PictureReader;
use crate::vision::positions::{Insert, VisionIds, expand};
use std::collections::VecDeque;
use tokio::sync::OwnedSemaphorePermit;

/// Pictures of a request at most.
const MOST: usize = 64;

/// How pictures are taken.
pub(super) struct PictureDesk {
    pub reader: PictureReader,
    pub ids: VisionIds,
    /// Tokens of all pictures of a request at most.
    pub most_tokens: usize,
}

/// A picture as it came.
pub(super) struct PictureFile {
    bytes: Vec<u8>,
    /// The part of a message that it is.
    at: String,
}

/// The pictures of a prompt, in its order.
#[derive(Default)]
pub(super) struct Pictures {
    pub files: VecDeque<PictureFile>,
    /// Tokens of all of them.
    pub n_token: usize,
    /// What the files take of the memory for bodies.
    pub memory: Option<OwnedSemaphorePermit>,
}

impl PictureFile {
    /// That of a data URL, in the part `at`.
    ///
    /// # Errors
    /// It is none: nothing is fetched, and no file opened.
    pub fn of(url: &str, at: String) -> Result<PictureFile, ApiError> {
        if !url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
            let message = "pictures come in the request, as data:image/TYPE;base64,DATA: this server fetches nothing";
            return Err(ApiError::unsupported(&at, message));
        }
        match data_url::decode(url) {
            Ok(bytes) => Ok(PictureFile { bytes, at }),
            Err(error) => Err(ApiError::field(at, error.to_string())),
        }
    }

    /// The bytes, and the part of a message that they were.
    pub fn into_parts(self) -> (Vec<u8>, String) {
        (self.bytes, self.at)
    }
}

impl Pictures {
    /// Puts pictures in the places that a prompt has for them; the prompt with a placeholder for each of their tokens.
    ///
    /// # Errors
    /// They cannot be looked at, or are too many.
    pub fn place(
        desk: Option<&PictureDesk>,
        prompt: Vec<u32>,
        files: Vec<PictureFile>,
    ) -> Result<(Vec<u32>, Pictures), ApiError> {
        let Some(first) = files.first() else { return Ok((prompt, Pictures::default())) };
        let Some(PictureDesk { reader, ids, most_tokens }) = desk else {
            return Err(ApiError::unsupported(&first.at, "this server has no vision file"));
        };
        if files.len() > MOST {
            return Err(ApiError::field("messages", format!("{} pictures, and at most {MOST} are taken", files.len())));
        }
        let insert = |file: &PictureFile| {
            reader.insert(&file.bytes).map_err(|error| ApiError::field(&*file.at, error.to_string()))
        };
        let inserts = files.iter().map(insert).collect::<Result<Vec<Insert>, ApiError>>()?;
        let n_token = inserts.iter().map(|insert| insert.grid.tokens()).sum();
        if n_token > *most_tokens {
            let message = format!("the pictures take {n_token} tokens, and at most {most_tokens} are looked at");
            return Err(ApiError::field("messages", message));
        }
        let ids = expand(&prompt, *ids, &inserts, |_| Vec::new());
        let ids = ids.map_err(|error| ApiError::field("messages", error.to_string()))?;
        Ok((ids, Pictures { files: files.into(), n_token, memory: None }))
    }
}
