//! A picture as the rest of the vision half sees it.

/// An 8-bit RGB picture.
#[derive(Clone, PartialEq, Debug)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// Samples `[height, width, 3]`.
    pub rgb: Vec<u8>,
}
