//! Linux and Android, which is a Linux whose apps may not make every system call: one that is not allowed ends the process.

pub(crate) mod machine;
pub(crate) mod maps;
pub(crate) mod page_cache;
#[cfg(feature = "cli")]
pub(crate) mod places;
#[cfg(feature = "cli")]
pub(crate) mod program;

pub(crate) use super::unix::files;
