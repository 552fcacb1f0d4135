//! What clients of this API ask of the models there are: `/api/tags`, `/api/show`, `/api/ps` and `/api/version`.

use crate::hex::Hex;
use crate::serve::ask::fields::{object, read};
use crate::serve::clock::rfc3339;
use crate::serve::error::ApiError;
use crate::serve::models::{Listed, Models};
use crate::serve::served::ModelCard;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The version of Ollama whose API this is: clients ask for a least one.
const VERSION: &str = "0.13.0";

/// When a model leaves: nobody knows, for that depends on what is asked until then.
const LATER: &str = "2318-01-01T00:00:00Z";

/// The tag of a name that has none.
const LATEST: &str = ":latest";

/// The name of a model: in this API it has a tag.
pub(super) fn name_of(about: &ModelCard) -> String {
    let tag = if about.id.contains(':') { "" } else { LATEST };
    format!("{}{tag}", about.id)
}

/// The version.
pub(in crate::serve) fn version() -> Value {
    json!({"version": VERSION, "qwen_edge": env!("CARGO_PKG_VERSION")})
}

/// The models that there are, loaded or not.
///
/// # Errors
/// The first one is being loaded.
pub(in crate::serve) fn tags(models: &Models) -> Result<Value, ApiError> {
    models.check_ready()?;
    let tag = |Listed { about, .. }: &Listed| {
        let mut tag = model(about);
        tag["modified_at"] = modified_at(about).into();
        tag
    };
    Ok(json!({"models": models.list().iter().map(tag).collect::<Value>()}))
}

/// The models that are loaded.
///
/// # Errors
/// The first one is being loaded.
pub(in crate::serve) fn running(models: &Models) -> Result<Value, ApiError> {
    models.check_ready()?;
    let running = |Listed { about, served }: &Listed| {
        let mut running = model(about);
        running["expires_at"] = LATER.into();
        running["size_vram"] = 0.into();
        running["context_length"] = served.as_ref()?.n_ctx.into();
        Some(running)
    };
    Ok(json!({"models": models.list().iter().filter_map(running).collect::<Value>()}))
}

#[derive(Deserialize)]
struct Show {
    model: Option<String>,
    name: Option<String>,
}

/// What there is to know of a model; of one that is loaded, how it is used too.
///
/// # Errors
/// There is none of that name, or the first one is being loaded.
pub(in crate::serve) fn show(body: Vec<u8>, models: &Models) -> Result<Value, ApiError> {
    models.check_ready()?;
    let Show { model, name } = read(object(body)?)?;
    let named = model.or(name).filter(|name| !name.is_empty());
    let named = named.ok_or_else(|| ApiError::field("model", "expected the name of a model"))?;
    let found = models.list().into_iter().find(|listed| listed.about.is_called(&named));
    let absent = || ApiError::not_found(format!("model {named:?} not found: see /api/tags"));
    let Listed { about, served } = found.ok_or_else(absent)?;
    let mut capabilities = vec!["completion", "tools", "thinking"];
    if served.as_ref().map_or(about.sees, |served| served.pictures.is_some()) {
        capabilities.push("vision");
    }
    // What a conversation holds here, if that is known: clients cut theirs by it.
    let n_ctx = served.as_ref().map_or(about.n_ctx_train, |served| served.n_ctx);
    let info = [
        ("general.architecture".to_owned(), about.architecture.as_str().into()),
        ("general.parameter_count".to_owned(), about.n_param.into()),
        (format!("{}.context_length", about.architecture), n_ctx.into()),
        (format!("{}.vocab_size", about.architecture), about.n_vocab.into()),
    ];
    let parameters = served.as_ref().map(|served| {
        let sampling = &served.sampling[usize::from(served.thinking.unwrap_or(served.thinks_by_default))];
        let parameters = [
            format!("num_ctx {n_ctx}"),
            format!("temperature {}", sampling.temperature),
            format!("top_k {}", sampling.top_k),
            format!("top_p {}", sampling.top_p),
            format!("min_p {}", sampling.min_p),
            format!("presence_penalty {}", sampling.presence_penalty),
            format!("repeat_penalty {}", sampling.repetition_penalty),
        ];
        parameters.join("\n")
    });
    Ok(json!({
        "modelfile": format!("FROM {}\n", about.id),
        "parameters": parameters.unwrap_or_default(),
        "template": served.as_ref().map_or("", |served| served.template.source()),
        "details": details(&about),
        "model_info": Map::from_iter(info),
        "capabilities": capabilities,
        "modified_at": modified_at(&about),
    }))
}

/// The model as lists have it.
fn model(about: &ModelCard) -> Value {
    let name = name_of(about);
    // Tells this model from others, and is no hash of its file, which nobody has read.
    let digest = Hex(&Sha256::digest(&about.fingerprint)).to_string();
    json!({"name": name, "model": name, "size": about.size, "digest": digest, "details": details(about)})
}

fn details(about: &ModelCard) -> Value {
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": about.architecture,
        "families": [about.architecture],
        "parameter_size": size_label(about.n_param),
        "quantization_level": about.quant.as_deref().unwrap_or("unknown"),
    })
}

fn modified_at(about: &ModelCard) -> String {
    rfc3339(Duration::from_secs(about.created))
}

/// A number of parameters as names of models have it: 0.8B, 6.4M.
fn size_label(n: u64) -> String {
    let in_units = |unit: f64| format!("{:.1}", n as f64 / unit);
    if n >= 500_000_000 { in_units(1e9) + "B" } else { in_units(1e6) + "M" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_as_names_say_them() {
        for (n, label) in [(752_393_024, "0.8B"), (4_205_751_296, "4.2B"), (6_412_345, "6.4M"), (0, "0.0M")] {
            assert_eq!(size_label(n), label);
        }
    }

    #[test]
    fn a_name_has_a_tag() {
        let about = |id: &str| ModelCard { id: id.to_owned(), ..ModelCard::default() };
        assert_eq!((name_of(&about("m")), name_of(&about("m:4b"))), ("m:latest".to_owned(), "m:4b".to_owned()));
    }
}
