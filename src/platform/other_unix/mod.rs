//! Unix systems that nobody has looked at: what they do not say in the common words is unknown.

pub(crate) mod machine;
#[cfg(feature = "cli")]
pub(crate) mod program;

pub(crate) use super::unix::{files, maps, page_cache};

#[cfg(feature = "cli")]
pub(crate) mod places {
    //! Folders of a user.
    pub(crate) use crate::platform::unix::places::{cache, data};

    pub(crate) const SERVICE_OF_OLLAMA: &[&str] = &[];
}
