//! Folders of a user, as Windows has them.

use std::path::{Path, PathBuf};

pub(crate) const SERVICE_OF_OLLAMA: &[&str] = &[];

pub(crate) fn data(variable: &dyn Fn(&str) -> Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    variable("LOCALAPPDATA").or_else(|| Some(home?.join("AppData").join("Local")))
}

pub(crate) fn cache(variable: &dyn Fn(&str) -> Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    data(variable, home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_keep_their_data_in_the_users_local_folder() {
        let set = |name: &str| (name == "LOCALAPPDATA").then(|| PathBuf::from("L"));
        assert_eq!(data(&set, None), Some("L".into()));
        assert_eq!(cache(&|_| None, Some(Path::new("H"))), Some(Path::new("H").join("AppData").join("Local")));
        assert_eq!(data(&|_| None, None), None);
    }
}
