//! Models by name, and those that lie in the folders of other programs. Nothing here speaks to the net, and nothing writes.

pub mod entry;
pub mod folder;
pub mod name;
pub mod places;
pub mod quant;
