//! The folders that models lie in, as the environment and the system name them.

use crate::platform::places::{self, SERVICE_OF_OLLAMA};
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// Where models are looked for. A folder need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// This program's own folder.
    pub own: Option<PathBuf>,
    /// The cache of the Hugging Face hub.
    pub hub: Option<PathBuf>,
    /// Ollama's stores: that of `OLLAMA_MODELS` alone, else the user's and that of the system's service.
    pub ollama: Vec<PathBuf>,
    /// LM Studio's folders, by publisher and repository.
    pub lm_studio: Vec<PathBuf>,
    /// The flat folder of older llama.cpp.
    pub llama_cpp: Option<PathBuf>,
}

impl Places {
    /// The places of this process's environment.
    pub fn of_environment() -> Places {
        Places::of(|name| env::var_os(name))
    }

    /// The places by an environment.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Places {
        // As is usual, a variable that is empty is as good as none.
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME").or_else(|| path("USERPROFILE"));
        let in_home = |parts: &str| home.as_ref().map(|home| home.join(parts));
        let cache = path("XDG_CACHE_HOME").or_else(|| in_home(".cache"));
        let data = places::data(&path, home.as_deref());
        let own = path("QWEN_EDGE_HOME").or_else(|| Some(data?.join("qwen-edge")));
        let hub = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let hub_home = || path("HF_HOME").or_else(|| Some(cache.as_ref()?.join("huggingface")));
        let ollama = match path("OLLAMA_MODELS") {
            Some(named) => vec![named],
            None => in_home(".ollama/models").into_iter().chain(SERVICE_OF_OLLAMA.iter().map(PathBuf::from)).collect(),
        };
        Places {
            own: own.map(|own| own.join("models")),
            hub: hub.or_else(|| Some(hub_home()?.join("hub"))),
            ollama,
            lm_studio: [".lmstudio/models", ".cache/lm-studio/models"].into_iter().filter_map(in_home).collect(),
            llama_cpp: path("LLAMA_CACHE").or_else(|| Some(places::cache(&path, home.as_deref())?.join("llama.cpp"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Places {
        Places::of(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn places_are_those_of_the_programs_they_belong_to() {
        let usual = places(&[("HOME", "/h")]);
        let variables = |name: &str| [("HOME", "/h")].iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
        let home = Some(std::path::Path::new("/h"));
        assert_eq!(
            usual.own,
            crate::platform::places::data(&variables, home).map(|data| data.join("qwen-edge/models"))
        );
        assert_eq!(usual.hub, Some("/h/.cache/huggingface/hub".into()));
        assert_eq!(usual.ollama[0], PathBuf::from("/h/.ollama/models"));
        assert_eq!(usual.ollama.len(), 1 + SERVICE_OF_OLLAMA.len());
        let xdg = places(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c"), ("HF_HOME", "")]);
        assert_eq!(xdg.hub, Some("/c/huggingface/hub".into()));
        let named = [
            ("HOME", "/h"),
            ("HF_HOME", "/f"),
            ("QWEN_EDGE_HOME", "/q"),
            ("OLLAMA_MODELS", "/o"),
            ("LLAMA_CACHE", "/l"),
        ];
        let named = places(&named);
        assert_eq!((named.own, named.hub), (Some("/q/models".into()), Some("/f/hub".into())));
        assert_eq!((named.ollama, named.llama_cpp), (vec!["/o".into()], Some("/l".into())));
        assert_eq!(places(&[("HF_HUB_CACHE", "/x"), ("HF_HOME", "/f")]).hub, Some("/x".into()));
        assert_eq!(places(&[]).hub, None);
    }
}
