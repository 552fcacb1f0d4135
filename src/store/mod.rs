//! Models by name, and those that lie in the folders of other programs. Nothing but the hub speaks to the net, and nothing
//! but the hub's cache and this program's own folder is written to.

pub mod entry;
pub mod fit;
pub mod folder;
pub mod found;
pub mod hub;
pub mod hub_cache;
pub mod name;
pub mod ollama;
pub mod own;
pub mod places;
pub mod quant;
pub mod table;
