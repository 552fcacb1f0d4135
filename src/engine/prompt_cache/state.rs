//! What a kept state says of itself before the numbers: whose it is, and which rows and pages it stands for.
//!
//! ```text
//! key of no rows                 32 bytes
//! the model's name               u16, and so many bytes of UTF-8
//! rows behind the states         u16: rows of the last pass, which can be taken back
//! pages                          32 bytes each, as many as there are whole ones
//! rows                           for each a key u64, then for each the next position u32, then for each a byte, 0 for a
//!                                prompt row and 1 for a written one
//! ```
//!
//! Numbers are little-endian; the number of rows in the states is that of the file's name.

use crate::engine::sequence::{ways_from_bytes, ways_to_bytes};
use crate::model::state::LOG_ROWS;
use kernels::Way;
use kernels::attention::PAGE;

/// Bytes of a model's name that are kept at most.
const LONGEST_NAME: usize = 256;

/// See the top of this file.
pub(super) struct StateHead {
    pub base: [u8; 32],
    pub model: String,
    /// Of the rows the last ones, which are not in the states.
    pub n_logged: usize,
    pub pages: Vec<[u8; 32]>,
    pub row_keys: Vec<u64>,
    pub next: Vec<u32>,
    pub ways: Vec<Way>,
}

impl StateHead {
    /// Bytes of that of `n_base` rows in the states at most; sizes beyond the address space count as all of it.
    pub fn most_bytes(n_base: usize) -> usize {
        let n = n_base.saturating_add(LOG_ROWS);
        (n / PAGE).saturating_mul(32).saturating_add(n.saturating_mul(13)).saturating_add(36 + LONGEST_NAME)
    }

    pub fn to_bytes(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base);
        let end = self.model.floor_char_boundary(LONGEST_NAME);
        out.extend_from_slice(&(end as u16).to_le_bytes());
        out.extend_from_slice(&self.model.as_bytes()[..end]);
        out.extend_from_slice(&(self.n_logged as u16).to_le_bytes());
        self.pages.iter().for_each(|page| out.extend_from_slice(page));
        self.row_keys.iter().for_each(|key| out.extend_from_slice(&key.to_le_bytes()));
        self.next.iter().for_each(|next| out.extend_from_slice(&next.to_le_bytes()));
        out.extend(ways_to_bytes(&self.ways));
    }

    /// That of `n_base` rows in the states, taken from `bytes`; `None` if they begin with something else.
    pub fn take(bytes: &mut &[u8], n_base: usize) -> Option<StateHead> {
        let (base, mut rest) = bytes.split_first_chunk()?;
        let (len, after) = rest.split_first_chunk()?;
        rest = after;
        let mut part = |len: usize| rest.split_off(..len);
        let model = std::str::from_utf8(part(u16::from_le_bytes(*len).into())?).ok()?.to_owned();
        let n_logged = usize::from(u16::from_le_bytes(*part(2)?.as_array()?));
        let n = n_base.checked_add(n_logged).filter(|_| n_logged <= LOG_ROWS)?;
        let pages = part((n / PAGE).checked_mul(32)?)?.as_chunks().0.to_vec();
        let row_keys = part(n.checked_mul(8)?)?.as_chunks().0.iter().map(|&key| u64::from_le_bytes(key)).collect();
        let next = part(n.checked_mul(4)?)?.as_chunks().0.iter().map(|&next| u32::from_le_bytes(next)).collect();
        let ways = ways_from_bytes(part(n)?)?;
        *bytes = rest;
        Some(StateHead { base: *base, model, n_logged, pages, row_keys, next, ways })
    }
}
