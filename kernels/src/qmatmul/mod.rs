//! To be filled.

use crate::Isa;

/// The functions of this family at one level.
pub(crate) struct Table {}

impl Table {
    pub(crate) fn of(_isa: Isa) -> Table {
        Table {}
    }
}
