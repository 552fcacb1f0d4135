//! What is unusual about the file of a text model: what makes it worse or slower than it could be, in words.

use qwen_edge::chat::{BUILT_IN, Request, Template, is_published, source_of};
use qwen_edge::gguf::{Gguf, Tensor};
use qwen_edge::model::Config;
use qwen_edge::model::names::Role;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Tokens of the published vocabulary.
const TOKENS: usize = 248_077;

/// Something unusual.
#[derive(Debug, Serialize)]
pub(super) struct Warning {
    /// One word for the kind.
    pub code: &'static str,
    /// What it is, what it does, and what can be done.
    pub text: String,
    /// The tensor that it is about, the first of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
}

impl Warning {
    fn new(code: &'static str, text: impl Into<String>) -> Warning {
        Warning { code, text: text.into(), tensor: None }
    }

    fn about(self, tensor: &str) -> Warning {
        Warning { tensor: Some(tensor.to_owned()), ..self }
    }
}

/// All that is unusual about a text model.
pub(super) fn warnings(gguf: &Gguf, config: &Config) -> Vec<Warning> {
    let of_types = [gates(gguf, config), head(gguf, config), mixers(gguf, config)];
    let others = [vocabulary(gguf), template(gguf), floats(gguf)];
    draft_block(gguf, config).into_iter().chain(of_types.into_iter().chain(others).flatten()).collect()
}

fn draft_block(gguf: &Gguf, config: &Config) -> Option<Warning> {
    if config.n_mtp > 0 {
        return None;
    }
    let some = gguf.tensors().find(|tensor| Role::of(tensor.name, config.n_layer()) == Role::Drafting);
    let repository = ["general.repo_url", "general.source.url", "general.base_model.0.repo_url"]
        .into_iter()
        .find_map(|key| gguf.string(key).ok().flatten());
    let place = repository.map_or(String::new(), |url| format!(" (this file names {url})"));
    Some(match some {
        None => Warning::new(
            "draft_block_missing",
            format!(
                "no block for drafting, which makes writing faster; publishers have it in files whose names say MTP, or \
                 beside this one in mtp-NAME.gguf{place}: --draft-model takes that"
            ),
        ),
        Some(tensor) => Warning::new(
            "draft_block_partial",
            "only a part of a block for drafting, which is left unused; --draft-model takes a whole one from another file",
        )
        .about(tensor.name),
    })
}

/// Bits that a weight of a tensor takes.
fn bits(tensor: &Tensor<'_>) -> f64 {
    8.0 * tensor.bytes.len() as f64 / tensor.len().max(1) as f64
}

/// The projections to decay and write strength: what they are off by adds up over all later tokens.
fn gates(gguf: &Gguf, config: &Config) -> Option<Warning> {
    let is_gate = |name: &str| name.ends_with(".ssm_alpha.weight") || name.ends_with(".ssm_beta.weight");
    let of_trunk = |tensor: &Tensor<'_>| is_gate(tensor.name) && Role::of(tensor.name, config.n_layer()) == Role::Trunk;
    let coarse: Vec<Tensor<'_>> = gguf.tensors().filter(of_trunk).filter(|tensor| bits(tensor) < 8.0).collect();
    let first = coarse.first()?;
    let text = format!(
        "{} of ssm_alpha and ssm_beta are {} or the like: they steer what the recurrent layers forget, errors add up over \
         long texts, and in 8 bits or more they would take a thousandth of the file",
        coarse.len(),
        first.ty.name()
    );
    Some(Warning::new("coarse_gates", text).about(first.name))
}

/// The matrices of the trunk's layers.
fn matrices<'g>(gguf: &'g Gguf, config: &Config) -> impl Iterator<Item = Tensor<'g>> {
    let n_layer = config.n_layer();
    let of_layers = |tensor: &Tensor<'_>| tensor.shape.len() >= 2 && tensor.name.starts_with("blk.");
    gguf.tensors().filter(move |tensor| of_layers(tensor) && Role::of(tensor.name, n_layer) == Role::Trunk)
}

/// The type that most weights of the layers have, and its bits.
fn most_used<'g>(gguf: &'g Gguf, config: &Config) -> Option<(&'g str, f64)> {
    let mut by_type: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for tensor in matrices(gguf, config) {
        by_type.entry(tensor.ty.name()).or_insert((0, bits(&tensor))).0 += tensor.len();
    }
    by_type.into_iter().max_by_key(|(_, (n, _))| *n).map(|(most, (_, width))| (most, width))
}

/// Projections that are small, and coarser than most of the rest all the same.
fn mixers(gguf: &Gguf, config: &Config) -> Option<Warning> {
    let (most, width) = most_used(gguf, config)?;
    let is_small = |name: &str| [".attn_k.weight", ".attn_v.weight"].iter().any(|end| name.ends_with(end));
    let coarse = |tensor: &Tensor<'_>| is_small(tensor.name) && bits(tensor) + 0.5 < width;
    let coarse: Vec<Tensor<'_>> = matrices(gguf, config).filter(coarse).collect();
    let first = coarse.first()?;
    let text = format!(
        "an odd mix of types: {} of attn_k and attn_v are {} or the like, and most of the layers {most}; all that is \
         remembered of a text passes through these, and quantisers give them as many bits or more",
        coarse.len(),
        first.ty.name()
    );
    Some(Warning::new("coarse_keys_values", text).about(first.name))
}

/// A head that is coarser than most of the rest.
fn head(gguf: &Gguf, config: &Config) -> Option<Warning> {
    let head = gguf.tensor("output.weight").or_else(|| gguf.tensor("token_embd.weight"))?;
    let (most, width) = most_used(gguf, config)?;
    let text = format!(
        "an odd mix of types: the head is {}, and most of the layers {most}; quantisers give the head as many bits or more",
        head.ty.name()
    );
    (bits(&head) + 0.5 < width).then(|| Warning::new("coarse_head", text).about(head.name))
}

/// Matrices in 32 bits: the published weights have 16.
fn floats(gguf: &Gguf) -> Option<Warning> {
    let is_large = |tensor: &Tensor<'_>| tensor.shape.len() == 2 && tensor.ty.name() == "F32" && tensor.len() > 1 << 22;
    let mut large = gguf.tensors().filter(is_large);
    let first = large.next()?;
    let text = format!(
        "{} matrices are F32: the published weights are BF16, which takes half the memory and time for the same values",
        1 + large.count()
    );
    Some(Warning::new("wide_floats", text).about(first.name))
}

fn vocabulary(gguf: &Gguf) -> Option<Warning> {
    let n = gguf.strings("tokenizer.ggml.tokens").ok().flatten()?.len();
    let rows = gguf.tensor("token_embd.weight").and_then(|tensor| tensor.shape.first().copied()).unwrap_or(n);
    // Files count the filling of the embedding among the tokens, or do not.
    let is_published = (TOKENS..=TOKENS + 512).contains(&n) && (TOKENS..=TOKENS + 512).contains(&rows);
    let text =
        format!("a vocabulary of its own: {n} tokens and {rows} rows, where the published one has {TOKENS} tokens");
    (!is_published).then(|| Warning::new("vocabulary_size", text).about("token_embd.weight"))
}

/// A conversation by which templates are told apart, and what it shows.
struct Probe {
    shows: &'static str,
    request: Request,
}

/// Conversations that a template must render as the published one does.
fn probes() -> Vec<Probe> {
    let user = |text: &str| json!({"role": "user", "content": text});
    let call = json!({"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo", "days": 2}}}]});
    let offer = json!([{"type": "function", "function": {"name": "weather", "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]);
    let thought = json!({"role": "assistant", "content": "4", "reasoning_content": "2 and 2"});
    let probe = |shows, messages: Vec<Value>, tools: Option<&Value>, thinking| Probe {
        shows,
        request: Request { tools: tools.cloned(), ..Request::new(messages, thinking) },
    };
    let system = json!({"role": "system", "content": "Be brief."});
    let result = json!({"role": "tool", "content": "rain"});
    vec![
        probe("a question", vec![user("Hi")], None, true),
        probe("a question without thinking", vec![user("Hi")], None, false),
        probe("a system message", vec![system, user("Hi")], None, true),
        probe("an earlier answer with thinking", vec![user("2+2?"), thought, user("Sure?")], None, true),
        probe("functions on offer", vec![user("Rain?")], Some(&offer), true),
        probe("a call and its result", vec![user("Rain?"), call, result], Some(&offer), true),
    ]
}

/// A template that is not the published one: where the two differ.
fn template(gguf: &Gguf) -> Option<Warning> {
    let source = source_of(gguf).ok().flatten()?;
    if is_published(source) {
        return None;
    }
    let (own, published) = (Template::from_gguf(gguf).ok()?, Template::new(BUILT_IN).ok()?);
    let (mut other, mut broken) = (Vec::new(), Vec::new());
    for Probe { shows, request } in probes() {
        match (own.render(&request), published.render(&request)) {
            (Ok(own), Ok(published)) if own == published => {}
            (Ok(_), _) => other.push(shows),
            (Err(error), _) => broken.push(format!("{shows} ({error})")),
        }
    }
    if !broken.is_empty() {
        let text = format!("the template cannot render {}", broken.join(", "));
        return Some(Warning::new("template_broken", text));
    }
    let what = match own.efforts() {
        [] => "the template is not the published one of Qwen3.5".to_owned(),
        levels => {
            format!("the template is a later one than that of Qwen3.5, with levels of thinking ({})", levels.join(", "))
        }
    };
    Some(match other.is_empty() {
        true => Warning::new("template_other", format!("{what}, and renders the same")),
        false => Warning::new("template_differs", format!("{what}, and renders otherwise: {}", other.join(", "))),
    })
}
