//! All models that are on this machine, and the one that a name means.

use super::entry::{Entry, Source};
use super::hub::choice;
use super::name::Name;
use super::places::Places;
use super::table::Table;
use super::{folder, hub_cache, ollama, own};
use std::collections::HashSet;
use std::fs;

/// The models in all places, by name; each file once.
pub fn models(places: &Places) -> Vec<Entry> {
    let mut found = Vec::new();
    if let Some(own) = &places.own {
        found.extend(own::models(own));
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
pub fn named<'m>(models: &'m [Entry], name: &Name, table: &Table) -> Vec<&'m Entry> {
    let is = |entry: &Entry| match name {
        Name::Hub(name) => entry.is(name),
        Name::Ollama { .. } => entry.source == Source::Ollama && entry.name == name.to_string(),
        Name::Table { .. } => {
            let of_ollama = entry.source == Source::Ollama && entry.name == format!("ollama:{name}");
            of_ollama || table.models(name).iter().any(|model| entry.is(model))
        }
    };
    models.iter().filter(|entry| is(entry)).collect()
}

/// Of several whole models the one to take, by [`choice::best`]; `most` says how many bytes the weights of one of a name may
/// take.
pub fn best<'m>(models: &[&'m Entry], most: impl Fn(&str) -> u64) -> Option<&'m Entry> {
    let fits = |entry: &Entry| entry.bytes <= most(&entry.said_name());
    choice::best(models.iter().copied().map(|entry| (entry, entry.quant.clone(), entry.bytes, fits(entry))))
}
