//! Why something could not be fetched.

use super::url::{NotAnAddress, Origin, Url};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No address.
    #[error(transparent)]
    Address(#[from] NotAnAddress),

    /// The name of the host has no address.
    #[error("cannot find {host}: {reason}")]
    Resolve {
        /// The host.
        host: String,
        /// What the system said.
        reason: io::Error,
    },

    /// No connection to the host.
    #[error("cannot connect to {host}: {reason}")]
    Connect {
        /// The host.
        host: String,
        /// What the system or TLS said.
        reason: io::Error,
    },

    /// A redirect, or the name it leads to, ends in a private network.
    #[error("{url} is at the private address {address}: a public server may not lead there")]
    Private {
        /// Where it leads.
        url: Origin,
        /// The address.
        address: IpAddr,
    },

    /// What comes over plain HTTP from a public address cannot be trusted.
    #[error("{url} is not encrypted: plain http is taken from this machine and private networks alone")]
    Insecure {
        /// Where that is.
        url: Origin,
    },

    /// The program was built without TLS.
    #[error("{url} needs TLS, which this program was built without (feature pull)")]
    NoTls {
        /// Where that is.
        url: Origin,
    },

    /// The connection ended, or nothing came for too long.
    #[error("{host}: {reason}")]
    Connection {
        /// The host.
        host: String,
        /// What happened.
        reason: io::Error,
    },

    /// An answer that is none of HTTP, or does not go with what was asked.
    #[error("{host} answers with {what}")]
    Answer {
        /// The host.
        host: String,
        /// What is wrong.
        what: String,
    },

    /// The server refuses, or cannot.
    #[error("{host} answers {status}{}", detail(.message))]
    Status {
        /// The host.
        host: String,
        /// The status.
        status: u16,
        /// The server's own code for it, as the hub sends it: `RepoNotFound`.
        code: Option<String>,
        /// What the server said; one line of visible characters, or empty.
        message: String,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },

    /// The file has another size than was announced.
    #[error("{host} sends a file of {found} bytes, expected {expected}")]
    Length {
        /// The host.
        host: String,
        /// Bytes that were announced.
        expected: u64,
        /// Bytes of the answer.
        found: u64,
    },

    /// The bytes are not those that were announced.
    #[error(
        "what came is not the file that was announced: its SHA-256 is {found}, expected {expected}; it was removed"
    )]
    Hash {
        /// The announced hash.
        expected: String,
        /// That of what came.
        found: String,
    },

    /// There is no room on the disk.
    #[error("{} bytes are needed in {}, and {} are free", .need, .folder.display(), .free)]
    NoSpace {
        /// Bytes that are still to come.
        need: u64,
        /// Bytes that are free.
        free: u64,
        /// Where.
        folder: PathBuf,
    },

    /// A file of this machine could not be written or read.
    #[error("{}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl FetchError {
    /// Whether another try may go better.
    pub fn may_pass(&self) -> bool {
        match self {
            FetchError::Resolve { .. } | FetchError::Connection { .. } => true,
            // Not a certificate that does not hold.
            FetchError::Connect { reason, .. } => reason.kind() != io::ErrorKind::InvalidData,
            FetchError::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502..=504),
            _ => false,
        }
    }

    /// Whether a link that was good for a while is good no more.
    pub(super) fn is_expired(&self, asked: &Url, link: &Url) -> bool {
        let status = matches!(self, FetchError::Status { status: 400 | 401 | 403 | 404 | 410, .. });
        status && asked != link
    }

    pub(super) fn answer(host: &Origin, what: impl Into<String>) -> FetchError {
        FetchError::Answer { host: host.host.clone(), what: what.into() }
    }

    pub(super) fn connection(host: &Origin, reason: io::Error) -> FetchError {
        let reason = match reason.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                io::Error::new(io::ErrorKind::TimedOut, "nothing came for too long")
            }
            io::ErrorKind::UnexpectedEof => io::Error::new(reason.kind(), "the connection ended too early"),
            _ => reason,
        };
        FetchError::Connection { host: host.host.clone(), reason }
    }
}
