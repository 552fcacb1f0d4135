//! All models that are on this machine, and the one that a name means.

use super::entry::{Entry, Source};
use super::name::{HubName, Name};
use super::places::Places;
use super::{folder, hub_cache, ollama, table};
use std::collections::HashSet;
use std::fs;

/// The models in all places, by name; each file once.
pub fn models(places: &Places) -> Vec<Entry> {
    let mut found = Vec::new();
    if let Some(own) = &places.own {
        found.extend(folder::by_publisher(own, Source::Own));
    }
    found.extend(places.hub.iter().flat_map(|root| hub_cache::models(root)));
    found.extend(places.ollama.iter().flat_map(|root| ollama::models(root)));
    found.extend(places.lm_studio.iter().flat_map(|root| folder::by_publisher(root, Source::LmStudio)));
    found.extend(places.llama_cpp.iter().flat_map(|root| folder::of_llama_cpp(root)));
    let mut seen = HashSet::new();
    found.retain(|entry| seen.insert((entry.name.clone(), fs::canonicalize(&entry.path).ok())));
    found.sort_by(|a, b| (&a.name, a.source).cmp(&(&b.name, b.source)));
    found
}

/// Those of `models` that a name means, whole or not.
pub fn named<'m>(models: &'m [Entry], name: &Name) -> Vec<&'m Entry> {
    let is = |entry: &Entry| match name {
        Name::Hub(name) => entry.is(name),
        Name::Ollama { .. } => entry.source == Source::Ollama && entry.name == name.to_string(),
        Name::Table { .. } => {
            let name = name.to_string();
            let of_ollama = entry.source == Source::Ollama && entry.name == format!("ollama:{name}");
            of_ollama || table::repos(&name).into_iter().any(|repo| entry.is(&HubName { repo, quant: None }))
        }
    };
    models.iter().filter(|entry| is(entry)).collect()
}

/// Of several models the one to take: the largest of at most `most` bytes, for more bits are better; the smallest where
/// all are larger.
pub fn best<'m>(models: &[&'m Entry], most: u64) -> Option<&'m Entry> {
    let whole = || models.iter().copied().filter(|entry| entry.complete);
    let fitting = whole().filter(|entry| entry.bytes <= most).max_by_key(|entry| entry.bytes);
    fitting.or_else(|| whole().min_by_key(|entry| entry.bytes))
}
