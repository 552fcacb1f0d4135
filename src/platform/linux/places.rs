//! Folders of a user, as the XDG base directory specification has them.

pub(crate) use crate::platform::unix::places::{cache, data};

pub(crate) const SERVICE_OF_OLLAMA: &[&str] = &["/usr/share/ollama/.ollama/models"];
