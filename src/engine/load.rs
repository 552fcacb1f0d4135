//! Which tensors of a model's file come into memory: what every token reads, what is streamed, what stays on the disk.

use super::draft::Draft;
use super::plan::{DraftLoad, ExpertLayer, Load, Plan};
use crate::gguf::{Gguf, Tensor};
use crate::model::Config;
use crate::model::config::ExpertConfig;
use crate::model::names::Role;
use crate::model::stream::{self, StreamWay, Streaming};

/// What running a mapped model takes that streams nothing.
pub fn mapped_load<'a>(gguf: &Gguf, config: &'a Config, threads: usize) -> Load<'a> {
    let n_vocab = gguf.tensor("token_embd.weight").and_then(|t| t.shape.first().copied()).unwrap_or(0);
    Load {
        weights: read_by_tokens(gguf, config).map(|t| t.bytes.len() as u64).sum(),
        embedding: own_embedding(gguf).map_or(0, |t| t.bytes.len() as u64),
        ..Load::without_weights(config, n_vocab, threads)
    }
}

/// Bytes of the feed-forward of each layer of the trunk of a dense model.
pub fn feed_forwards(gguf: &Gguf, config: &Config) -> Vec<u64> {
    if config.experts.is_some() {
        return Vec::new();
    }
    let bytes = |name: String| gguf.tensor(&name).map_or(0, |tensor| tensor.bytes.len() as u64);
    (0..config.n_layer()).map(|il| stream::feed_forward(il).map(bytes).sum()).collect()
}

/// The experts of each layer of the trunk of a sparse model.
pub fn experts(gguf: &Gguf, config: &Config) -> Vec<ExpertLayer> {
    let Some(ExpertConfig { n_expert: n, .. }) = config.experts else { return Vec::new() };
    let bytes = |il: usize, name: &str| {
        gguf.tensor(&format!("blk.{il}.{name}.weight")).map_or(0, |tensor| tensor.bytes.len() / n)
    };
    let layer = |il| {
        let half = bytes(il, "ffn_gate_up_exps") / 2;
        let [gate, up, down] = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"].map(|name| bytes(il, name));
        ExpertLayer { n, matrices: [gate + half, up + half, down] }
    };
    (0..config.n_layer()).map(layer).collect()
}

/// The embedding, when it is not also the head.
pub fn own_embedding(gguf: &Gguf) -> Option<Tensor<'_>> {
    gguf.tensor("output.weight").and_then(|_| gguf.tensor("token_embd.weight"))
}

/// The tensors every token reads: those of the trunk, except for an embedding that is not also the head.
fn read_by_tokens<'g>(gguf: &'g Gguf, config: &Config) -> impl Iterator<Item = Tensor<'g>> {
    let n_layer = config.n_layer();
    let embedding = own_embedding(gguf).map_or("", |t| t.name);
    gguf.tensors().filter(move |t| Role::of(t.name, n_layer) == Role::Trunk && t.name != embedding)
}

/// The tensors of a block for drafting.
fn of_block<'g>(gguf: &'g Gguf, config: &Config) -> impl Iterator<Item = Tensor<'g>> {
    let n_layer = config.n_layer();
    gguf.tensors().filter(move |t| Role::of(t.name, n_layer) == Role::Drafting)
}

/// What can draft in a mode: copying, and a block that the file has.
pub fn draft_load(gguf: &Gguf, config: &Config, draft: Draft) -> DraftLoad {
    match draft {
        Draft::Off => DraftLoad::None,
        _ if config.n_mtp > 0 => DraftLoad::Block(of_block(gguf, config).map(|t| t.bytes.len() as u64).sum()),
        Draft::Auto => DraftLoad::Copies,
        Draft::Fixed(_) => DraftLoad::None,
    }
}

/// Names of the tensors that stay in memory, or in the system's page cache.
pub fn kept(gguf: &Gguf, config: &Config, plan: &Plan) -> Vec<String> {
    let Streaming { layers, uncached, way, experts, .. } = plan.streaming;
    let dropped = match experts {
        Some(_) => config.n_layer(),
        None if uncached || way == StreamWay::Read => layers,
        None => 0,
    };
    let dropped: Vec<String> = stream::spread(config.n_layer(), dropped).flat_map(stream::feed_forward).collect();
    let drafts = matches!(plan.drafting, DraftLoad::Block(_));
    let block = of_block(gguf, config).filter(|_| drafts);
    names(read_by_tokens(gguf, config).filter(|t| !dropped.iter().any(|name| name == t.name)).chain(block))
}

/// The names of tensors.
pub fn names<'g>(tensors: impl Iterator<Item = Tensor<'g>>) -> Vec<String> {
    tensors.map(|t| t.name.to_owned()).collect()
}
