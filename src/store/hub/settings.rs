//! How the hub is reached, as the environment says it to all of its clients.

use crate::fetch::client;
use crate::fetch::url::{NotAnAddress, Url};
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The hub, unless the user names another.
const HUB: &str = "https://huggingface.co";

/// How long nothing may come, unless the user says it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a token at most.
const LONGEST_TOKEN: usize = 4 << 10;

/// How the hub is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `HF_ENDPOINT`.
    pub endpoint: Url,
    /// `HF_TOKEN`, or what its client keeps in a file.
    pub token: Option<String>,
    /// `HF_HUB_OFFLINE`: nothing is asked.
    pub offline: bool,
    /// `HF_HUB_DOWNLOAD_TIMEOUT`, in seconds.
    pub patience: Duration,
}

/// What the environment says and makes no sense.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadSettings {
    /// `HF_ENDPOINT` is no address.
    #[error("HF_ENDPOINT: {0}")]
    Endpoint(#[from] NotAnAddress),
    /// A token has characters that no token has.
    #[error("the token in {0} has characters that no token has")]
    Token(&'static str),
}

impl Settings {
    /// The settings of this process's environment.
    ///
    /// # Errors
    /// If they make no sense.
    pub fn of_environment() -> Result<Settings, BadSettings> {
        Settings::of(|name| env::var_os(name))
    }

    /// The settings of an environment.
    ///
    /// # Errors
    /// As [`Settings::of_environment`].
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Result<Settings, BadSettings> {
        let value = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| value(name).map(|value| value.to_string_lossy().trim().to_owned());
        let truth = |name: &str| {
            let word = text(name).map(|word| word.to_ascii_uppercase());
            word.is_some_and(|word| ["1", "ON", "YES", "TRUE"].contains(&word.as_str()))
        };
        let path = |name: &str| value(name).map(PathBuf::from);
        let home = || {
            let cache =
                path("XDG_CACHE_HOME").or_else(|| Some(path("HOME").or_else(|| path("USERPROFILE"))?.join(".cache")));
            path("HF_HOME").or_else(|| Some(cache?.join("huggingface")))
        };
        let kept = || {
            let file = path("HF_TOKEN_PATH").or_else(|| Some(home()?.join("token")));
            let file = file.filter(|_| !truth("HF_HUB_DISABLE_IMPLICIT_TOKEN"))?;
            let metadata = std::fs::metadata(&file).ok()?;
            let small = metadata.is_file() && metadata.len() <= LONGEST_TOKEN as u64;
            let text = if small { std::fs::read_to_string(&file).ok() } else { None };
            text.map(|text| text.trim().to_owned()).filter(|token| !token.is_empty())
        };
        let (token, whose) = match text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")) {
            Some(token) => (Some(token), "HF_TOKEN"),
            None => (kept(), "the hub's own file"),
        };
        let sound = |token: &String| token.len() <= LONGEST_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !token.iter().all(sound) {
            return Err(BadSettings::Token(whose));
        }
        let seconds = text("HF_HUB_DOWNLOAD_TIMEOUT").and_then(|text| text.parse::<u32>().ok()).filter(|&n| n > 0);
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned());
        Ok(Settings {
            endpoint: Url::parse(endpoint.trim_end_matches('/'))?,
            token,
            offline: truth("HF_HUB_OFFLINE"),
            patience: seconds.map_or(PATIENCE, |n| Duration::from_secs(n.into())),
        })
    }

    /// What a client is told.
    pub fn of_client(&self) -> client::Settings {
        client::Settings { endpoint: self.endpoint.clone(), token: self.token.clone(), patience: self.patience }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, BadSettings> {
        Settings::of(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_environment_says_how_the_hub_is_reached() {
        let usual = settings(&[]).unwrap();
        assert_eq!(
            (usual.endpoint.to_string().as_str(), usual.token, usual.offline),
            ("https://huggingface.co/", None, false)
        );
        let variables = [
            ("HF_ENDPOINT", "http://127.0.0.1:8/"),
            ("HF_TOKEN", "hf_x"),
            ("HF_HUB_OFFLINE", "yes"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "3"),
        ];
        let other = settings(&variables).unwrap();
        assert_eq!((other.endpoint.origin.port, other.token.as_deref(), other.offline), (8, Some("hf_x"), true));
        assert_eq!(other.patience, Duration::from_secs(3));
        // A line of its own would be a header of its own.
        assert!(settings(&[("HF_TOKEN", "a\r\nb: c")]).is_err());
        assert!(settings(&[("HF_ENDPOINT", "hub")]).is_err());
    }
}
