//! What a model is called on the command line: a path, or one of three kinds of name.

use std::fmt;
use std::path::Path;

/// A model as the user named it, when it is no path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    /// `qwen3.5:0.8b`: an entry of this program's table.
    Table {
        /// The family: `qwen3.5`.
        family: String,
        /// Which of it: `0.8b`.
        tag: String,
    },
    /// `user/repo` or `user/repo:QUANT`: a repository of the hub.
    Hub(HubName),
    /// `ollama:NAME:TAG`: a model in Ollama's store.
    Ollama {
        /// `NAME`, or `USER/NAME`.
        model: String,
        /// The tag; `latest` where none is given.
        tag: String,
    },
}

/// A repository of the hub, and which of its files.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct HubName {
    /// The repository.
    pub repo: Repo,
    /// The quantisation, as the user wrote it.
    pub quant: Option<String>,
}

/// A repository of the hub: `user/repo`, both of letters, digits, `-`, `_` and `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Repo(String);

impl Repo {
    /// The repository of that id; `None` where that is none, or would leave its place in a path.
    pub fn new(id: &str) -> Option<Repo> {
        let (user, name) = id.split_once('/')?;
        let sound = |part: &str| {
            part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && !part.ends_with('.')
                && !part.contains("..")
                // Separates the parts of a folder's name in the cache.
                && !part.contains("--")
        };
        (sound(user) && sound(name) && id.len() <= 96).then(|| Repo(id.to_owned()))
    }

    /// `user/repo`.
    pub fn id(&self) -> &str {
        &self.0
    }

    /// The part before the slash, and the one behind it.
    pub fn parts(&self) -> (&str, &str) {
        // There is exactly one.
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.repo.id())?;
        self.quant.as_ref().map_or(Ok(()), |quant| write!(f, ":{quant}"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Table { family, tag } => write!(f, "{family}:{tag}"),
            Name::Hub(name) => name.fmt(f),
            Name::Ollama { model, tag } => write!(f, "ollama:{model}:{tag}"),
        }
    }
}

/// A word that looks like a name and is none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{text:?} is neither a file nor the name of a model: names are qwen3.5:0.8b, user/repo, user/repo:QUANT and ollama:NAME:TAG"
)]
#[non_exhaustive]
pub struct NotAName {
    /// The word.
    pub text: String,
}

/// Whether a word can only be a path, whatever is there: it ends in `.gguf`, begins as paths do, or has nothing of a name.
/// Nothing is looked at but the word.
pub fn is_path(word: &Path) -> bool {
    let Some(text) = word.to_str() else { return true };
    let ends = text.len() >= 5
        && text.is_char_boundary(text.len() - 5)
        && text[text.len() - 5..].eq_ignore_ascii_case(".gguf");
    let mut chars = text.chars();
    let drive = chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':');
    let separators = text.matches('/').count();
    let of_hub = separators == 1;
    let shaped = text.starts_with("ollama:") || of_hub || (separators == 0 && text.contains(':'));
    text.is_empty() || ends || text.starts_with(['.', '/', '~']) || text.contains('\\') || drive || !shaped
}

impl Name {
    /// The name that a word is.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Name, NotAName> {
        let not = || NotAName { text: text.to_owned() };
        if is_path(Path::new(text)) {
            return Err(not());
        }
        let sound = |part: &&str| {
            !part.is_empty()
                && part.len() <= 128
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && !part.contains("..")
                && !part.starts_with('.')
        };
        if let Some(rest) = text.strip_prefix("ollama:") {
            let (model, tag) = rest.split_once(':').unwrap_or((rest, "latest"));
            let parts: Vec<&str> = model.split('/').collect();
            if parts.len() > 3 || !parts.iter().all(sound) || !sound(&tag) {
                return Err(not());
            }
            return Ok(Name::Ollama { model: model.to_owned(), tag: tag.to_owned() });
        }
        let (front, back) = match text.split_once(':') {
            Some((front, back)) => (front, Some(back)),
            None => (text, None),
        };
        if !back.iter().all(sound) {
            return Err(not());
        }
        match back {
            _ if front.contains('/') => {
                let repo = Repo::new(front).ok_or_else(not)?;
                Ok(Name::Hub(HubName { repo, quant: back.map(str::to_owned) }))
            }
            Some(tag) if sound(&front) => {
                Ok(Name::Table { family: front.to_ascii_lowercase(), tag: tag.to_ascii_lowercase() })
            }
            _ => Err(not()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_path_is_never_a_name() {
        for path in [
            "m.gguf", "a/b.GGUF", "./a/b", "../a", "/a/b", "~/a", "c:model", "C:\\m", "model", "a/b/c", "a\\b:c", "",
            "-",
        ] {
            assert!(is_path(Path::new(path)), "{path}");
            assert!(Name::parse(path).is_err(), "{path}");
        }
        for name in ["qwen3.5:0.8b", "a/b", "a/b:Q4_K_M", "ollama:qwen3.5:4b", "ollama:user/m:t"] {
            assert!(!is_path(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn names_are_of_three_kinds() {
        let table = Name::Table { family: "qwen3.5".into(), tag: "0.8b".into() };
        assert_eq!(Name::parse("Qwen3.5:0.8B"), Ok(table));
        let Ok(Name::Hub(hub)) = Name::parse("unsloth/Qwen3.5-0.8B-GGUF:Q4_K_M") else { panic!() };
        assert_eq!((hub.repo.id(), hub.quant.as_deref()), ("unsloth/Qwen3.5-0.8B-GGUF", Some("Q4_K_M")));
        assert_eq!(Name::parse("ollama:m"), Ok(Name::Ollama { model: "m".into(), tag: "latest".into() }));
        for name in ["a/b", "a/b:Q8_0", "ollama:x/m:t", "qwen3.5:9b"] {
            assert_eq!(Name::parse(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_name_cannot_leave_its_place() {
        for name in [
            "a/..",
            "a/.b",
            "a/b..c",
            "a/b:..",
            "a/b:x/y",
            "ollama:../x:y",
            "ollama:a:..",
            "a/b:",
            ":x",
            "a b/c",
            "a/b\0",
            "a--b/c",
            "a/b?c",
            "x:y:z",
            "ollama:a/b/c/d:e",
            "ollama::x",
        ] {
            assert!(Name::parse(name).is_err(), "{name}");
        }
    }
}
