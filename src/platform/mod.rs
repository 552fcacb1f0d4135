//! What depends on the system: facts about the machine, mapped files, files that appear whole, and for a
//! program its signals and terminals. The only room that asks which system it is built for.

pub mod atomic_file;
#[cfg(feature = "cli")]
pub mod disk;
pub(crate) mod file_bytes;
pub mod machine;
pub mod page_cache;
pub mod paths;
#[cfg(feature = "cli")]
pub mod program;
pub(crate) mod told_writer;
