//! Why a model could not be had from the hub.

use crate::fetch::error::FetchError;
use crate::fetch::url::{NotAnAddress, Url};
use crate::store::name::Repo;
use std::io;
use std::path::PathBuf;

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Something could not be fetched.
    #[error("{what}: {reason}")]
    Fetch {
        /// The file, or what else was asked.
        what: String,
        /// Why.
        reason: FetchError,
    },

    /// The hub knows no such repository, or does not show it.
    #[error("there is no repository {repo} at {host}, or it is not for everybody: HF_TOKEN says who asks")]
    NoRepo {
        /// The repository.
        repo: Repo,
        /// The hub.
        host: String,
    },

    /// Its terms are to be accepted first.
    #[error("{repo} is for those who accepted its terms, at {page}: do that, and say who asks with HF_TOKEN")]
    Gated {
        /// The repository.
        repo: Repo,
        /// Where they are.
        page: String,
    },

    /// The token is not accepted.
    #[error("{host} does not accept the token in HF_TOKEN or in the hub's own file")]
    Token {
        /// The hub.
        host: String,
    },

    /// What the hub says of a repository makes no sense.
    #[error("what {host} says of {repo} makes no sense: {what}")]
    Listing {
        /// The hub.
        host: String,
        /// The repository.
        repo: Repo,
        /// What is wrong.
        what: String,
    },

    /// There is no such model in the repository.
    #[error("{repo} has no GGUF file{}{}", quant.as_ref().map_or(String::new(), |quant| format!(" of {quant}")), others(.there))]
    NoModel {
        /// The repository.
        repo: Repo,
        /// What was asked for.
        quant: Option<String>,
        /// What there is instead.
        there: Vec<String>,
    },

    /// Several models go by that name.
    #[error("several files of {repo} are {quant}: {}", files.join(", "))]
    Ambiguous {
        /// The repository.
        repo: Repo,
        /// What was asked for.
        quant: String,
        /// The files.
        files: Vec<String>,
    },

    /// Parts of a split file are missing at the hub.
    #[error("{repo} lacks {missing}, which is a part of the model")]
    Parts {
        /// The repository.
        repo: Repo,
        /// The part.
        missing: String,
    },

    /// Its bytes could not be checked.
    #[error("the hub does not say the SHA-256 of {file}: it is not fetched")]
    NoHash {
        /// The file.
        file: String,
    },

    /// No address.
    #[error(transparent)]
    Address(#[from] NotAnAddress),

    /// A file or folder of this machine.
    #[error("{}: {reason}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

fn others(there: &[String]) -> String {
    match there {
        [] => "; a checkpoint of another kind is to be converted first".to_owned(),
        _ => format!("; there are {}", there.join(", ")),
    }
}

impl HubError {
    /// The error that asking `endpoint` for something of a repository ended with.
    pub(super) fn of(repo: &Repo, endpoint: &Url, what: &str, reason: FetchError) -> HubError {
        let FetchError::Status { host, status, code, .. } = &reason else {
            return HubError::Fetch { what: what.to_owned(), reason };
        };
        let (repo, host) = (repo.clone(), host.clone());
        match (code.as_deref(), status) {
            (Some("GatedRepo"), _) => {
                let page = format!("{}/{repo}", endpoint.to_string().trim_end_matches('/'));
                HubError::Gated { repo, page }
            }
            (Some("RepoNotFound"), _) => HubError::NoRepo { repo, host },
            (None, 404) if what == repo.id() => HubError::NoRepo { repo, host },
            (None, 401) => HubError::Token { host },
            _ => HubError::Fetch { what: what.to_owned(), reason },
        }
    }
}
