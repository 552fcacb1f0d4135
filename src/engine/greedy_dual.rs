//! What goes first where there is no room for all that was kept: what saves the fewest rows of reading for a byte, aged by use
//! (GreedyDual-Size; Cao and Irani, USENIX 1997).
//!
//! What is kept is worth the level of its last use and, above that, the rows it saves for each byte. The level is what the most
//! valuable thing was worth that had to go: what is of no use for long sinks below what comes.

/// A level of worth.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(super) struct Level(pub f64);

impl Level {
    /// What something of so many bytes is worth that saves the reading of `n_row` rows and was last of use at this level.
    pub fn worth(self, n_row: f64, bytes: u64) -> f64 {
        self.0 + n_row / bytes.max(1) as f64
    }

    /// Something has gone that was worth so much.
    pub fn rise(&mut self, worth: f64) {
        self.0 = self.0.max(worth);
    }
}
