//! llama-server's own endpoints: what a model is, what its seats do, its tokens, its template, and texts that are continued.

pub(super) mod completion;
mod params;
pub(super) mod props;
pub(super) mod slots;
pub(super) mod tokens;
