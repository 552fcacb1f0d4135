//! Which files of a repository make the model that is meant.

use super::error::HubError;
use super::listing::{Listing, RemoteFile};
use crate::store::folder::vision_of;
use crate::store::quant::{self, Purpose};
use std::collections::BTreeMap;

/// A model in a repository, and what comes along.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// The model: all of its parts, in order.
    pub model: Vec<RemoteFile>,
    /// Its vision file.
    pub mmproj: Option<RemoteFile>,
    /// Its block for drafting, where that is a file of its own.
    pub mtp: Option<RemoteFile>,
    /// How many models it was chosen from.
    pub among: usize,
}

impl Choice {
    /// All of its files, the first part of the model first.
    pub fn files(&self) -> impl Iterator<Item = &RemoteFile> {
        self.model.iter().chain(&self.mmproj).chain(&self.mtp)
    }

    /// Bytes of the model alone.
    pub fn model_bytes(&self) -> u64 {
        bytes(&self.model)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        bytes(self.files())
    }

    /// Its quantisation, as its name says it.
    pub fn quant(&self) -> Option<String> {
        self.model.first().and_then(|file| quant::of_name(&file.path))
    }
}

fn bytes<'f>(files: impl IntoIterator<Item = &'f RemoteFile>) -> u64 {
    files.into_iter().fold(0, |sum, file| sum.saturating_add(file.size))
}

/// Chooses the model of that quantisation, or where none is named the best that fits in `most` bytes.
///
/// # Errors
/// If there is none, or several go by the name.
pub fn choose(listing: &Listing, quant: Option<&str>, most: impl Fn(&str) -> u64) -> Result<Choice, HubError> {
    let repo = || listing.repo.clone();
    let mut models: BTreeMap<String, Vec<&RemoteFile>> = BTreeMap::new();
    for file in listing.files.iter().filter(|file| quant::purpose(&file.path) == Purpose::Model) {
        let whole = quant::split(&file.path).map_or_else(|| file.path.clone(), |(whole, _)| whole);
        models.entry(whole).or_default().push(file);
    }
    let among = models.len();
    let chosen = match quant {
        Some(quant) => {
            let is_exactly = |name: &&String| quant::of_name(name).is_some_and(|own| own.eq_ignore_ascii_case(quant));
            let mut found: Vec<&String> = models.keys().filter(is_exactly).collect();
            if found.is_empty() {
                found = models.keys().filter(|name| quant::is_of(name, quant)).collect();
            }
            if found.len() > 1 {
                let files = found.into_iter().cloned().collect();
                return Err(HubError::Ambiguous { repo: repo(), quant: quant.to_owned(), files });
            }
            found.pop().cloned()
        }
        None => {
            let sized = models.iter().map(|(name, parts)| {
                let bytes = bytes(parts.iter().copied());
                (name.clone(), quant::of_name(name), bytes, bytes <= most(name))
            });
            best(sized)
        }
    };
    let Some(name) = chosen else {
        let mut there: Vec<String> = models.keys().filter_map(|name| quant::of_name(name)).collect();
        there.sort();
        there.dedup();
        return Err(HubError::NoModel { repo: repo(), quant: quant.map(str::to_owned), there });
    };
    let by_path = |path: &str| listing.files.iter().find(|file| file.path == path).cloned();
    let parts = quant::siblings(&models[&name][0].path);
    let parts = parts.into_iter().map(|path| {
        by_path(&path).ok_or_else(|| HubError::Parts { repo: listing.repo.clone(), missing: path.clone() })
    });
    let model: Vec<RemoteFile> = parts.collect::<Result<_, _>>()?;
    let paths = || listing.files.iter().map(|file| file.path.as_str());
    let mmproj = vision_of(paths(), &model[0].path).and_then(by_path);
    let mtp = drafting_of(listing, &model[0].path).cloned();
    Ok(Choice { model, mmproj, mtp, among })
}

/// The best of several models, each with its quantisation, its bytes and whether it fits: the largest that does, for more
/// bits are better, of those of at most 8 bits, as more only take longer to read; the smallest where none fits.
pub fn best<T>(models: impl Iterator<Item = (T, Option<String>, u64, bool)>) -> Option<T> {
    let wide =
        |quant: &Option<String>| quant.as_ref().and_then(|quant| quant::bits(quant)).is_some_and(|bits| bits > 8);
    let key = |(_, quant, bytes, fits): &(T, Option<String>, u64, bool)| {
        let order = i128::from(*bytes) * if *fits && !wide(quant) { 1 } else { -1 };
        (*fits, *fits && !wide(quant), order)
    };
    models.max_by_key(key).map(|(model, ..)| model)
}

/// The block for drafting of a model in its repository: in the same quantisation, else the smallest.
fn drafting_of<'l>(listing: &'l Listing, model: &str) -> Option<&'l RemoteFile> {
    let blocks = || listing.files.iter().filter(|file| quant::purpose(&file.path) == Purpose::Drafting);
    let own = quant::of_name(model);
    let same = blocks().find(|file| own.is_some() && quant::of_name(&file.path) == own);
    same.or_else(|| blocks().min_by_key(|file| file.size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::name::Repo;

    fn listing(files: &[(&str, u64)]) -> Listing {
        let file = |&(path, size): &(&str, u64)| RemoteFile { path: path.into(), size, sha256: None };
        let files = files.iter().map(file).collect();
        Listing { repo: Repo::new("a/b").unwrap(), renamed: None, commit: "0".repeat(40), files }
    }

    fn paths(choice: &Choice) -> Vec<&str> {
        choice.files().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn the_model_that_is_meant_comes_with_all_that_belongs_to_it() {
        let listing = listing(&[
            ("BF16/m-BF16-00001-of-00002.gguf", 90),
            ("BF16/m-BF16-00002-of-00002.gguf", 70),
            ("imatrix.gguf", 1),
            ("m-Q4_K_M.gguf", 50),
            ("m-Q8_0.gguf", 80),
            ("m-UD-Q4_K_XL.gguf", 52),
            ("m-UD-Q8_0.gguf", 85),
            ("mmproj-BF16.gguf", 5),
            ("mmproj-F16.gguf", 5),
            ("mtp-m-Q8_0.gguf", 3),
            ("mtp-m-Q4_0.gguf", 2),
        ]);
        let choose = |quant, most| choose(&listing, quant, |_| most);
        let split = [
            "BF16/m-BF16-00001-of-00002.gguf",
            "BF16/m-BF16-00002-of-00002.gguf",
            "mmproj-F16.gguf",
            "mtp-m-Q4_0.gguf",
        ];
        assert_eq!(paths(&choose(Some("bf16"), 0).unwrap()), split);
        assert_eq!(paths(&choose(Some("Q8_0"), 0).unwrap()), ["m-Q8_0.gguf", "mmproj-F16.gguf", "mtp-m-Q8_0.gguf"]);
        for (quant, most, model) in [
            (Some("Q4_K_XL"), 0, "m-UD-Q4_K_XL.gguf"),
            (None, 1000, "m-UD-Q8_0.gguf"),
            (None, 60, "m-UD-Q4_K_XL.gguf"),
            (None, 10, "m-Q4_K_M.gguf"),
        ] {
            assert_eq!(choose(quant, most).unwrap().model[0].path, model);
        }
        assert!(
            choose(Some("Q4_K"), 0)
                .unwrap_err()
                .to_string()
                .ends_with("; there are BF16, Q4_K_M, Q8_0, UD-Q4_K_XL, UD-Q8_0")
        );
    }

    #[test]
    fn what_is_not_clear_or_not_whole_is_told() {
        let two = listing(&[("x/m-Q8_0.gguf", 1), ("y/m-Q8_0.gguf", 1)]);
        assert!(matches!(choose(&two, Some("Q8_0"), |_| 0), Err(HubError::Ambiguous { .. })));
        let part = listing(&[("m-Q8_0-00002-of-00002.gguf", 1)]);
        assert!(matches!(choose(&part, None, |_| 9), Err(HubError::Parts { .. })));
        assert!(matches!(choose(&listing(&[]), None, |_| 9), Err(HubError::NoModel { .. })));
        // Of wide ones the narrowest that fits.
        let wide = listing(&[("m-F32.gguf", 40), ("m-BF16.gguf", 20)]);
        assert_eq!(choose(&wide, None, |_| 100).unwrap().model[0].path, "m-BF16.gguf");
    }
}
