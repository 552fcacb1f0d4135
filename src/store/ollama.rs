//! The models in Ollama's store: manifests that name blobs by their hash.
//!
//! ```text
//! manifests/REGISTRY/USER/NAME/TAG     JSON: {"layers": [{"mediaType", "digest": "sha256:HEX", "size"}, ..]}
//! blobs/sha256-HEX                     the model is a GGUF file
//! ```

use super::entry::{Entry, Source, facts};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of a manifest at most.
const LARGEST_MANIFEST: u64 = 1 << 20;

/// Whose models have no user in their names.
const LIBRARY: &str = "library";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    #[serde(default)]
    size: u64,
}

/// The models in the store at `root`.
pub fn models(root: &Path) -> Vec<Entry> {
    let mut found = Vec::new();
    for registry in folders(&root.join("manifests")) {
        for user in folders(&registry) {
            for model in folders(&user) {
                for tag in fs::read_dir(&model).into_iter().flatten().flatten() {
                    let names = [&user, &model, &tag.path()].map(|path| name(path));
                    if let [Some(user), Some(model), Some(tag_name)] = names {
                        let model = if user == LIBRARY { model } else { format!("{user}/{model}") };
                        found.extend(entry(root, &tag.path(), format!("ollama:{model}:{tag_name}")));
                    }
                }
            }
        }
    }
    found
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

fn entry(root: &Path, manifest: &Path, name: String) -> Option<Entry> {
    fs::metadata(manifest).ok().filter(|metadata| metadata.is_file() && metadata.len() <= LARGEST_MANIFEST)?;
    let manifest: Manifest = serde_json::from_slice(&fs::read(manifest).ok()?).ok()?;
    let blob = |kind: &str| {
        let kind = format!("application/vnd.ollama.image.{kind}");
        let layer = manifest.layers.iter().find(|layer| layer.media_type == kind)?;
        let hash = layer.digest.strip_prefix("sha256:")?;
        // A hash, and no way out of the folder.
        let sound = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        sound.then(|| (root.join("blobs").join(format!("sha256-{hash}")), layer.size))
    };
    let (path, size) = blob("model")?;
    let there = facts(&path);
    Some(Entry {
        name,
        repo: None,
        bytes: there.map_or(0, |(bytes, _)| bytes),
        quant: None,
        source: Source::Ollama,
        mmproj: blob("projector").map(|(path, _)| path).filter(|path| path.is_file()),
        complete: there.is_some_and(|(bytes, _)| size == 0 || bytes == size),
        last_used: there.and_then(|(_, read)| read),
        path,
    })
}
