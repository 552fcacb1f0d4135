//! A model in the layout that Ollama's converter writes, made from one in llama.cpp's by renaming its tensors and cutting
//! them anew.

use super::rewrite::{Rewrite, Tensor};
use qwen_edge::gguf::Gguf;
use qwen_edge::model::{Config, LayerKind};

/// What such a file has.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// A chat template.
    pub template: bool,
    /// The block for drafting.
    pub drafting: bool,
    /// Value heads grouped by their key heads rather than in tiles, and no key that says so.
    pub grouped: bool,
}

impl Layout {
    /// What the files of Ollama's library have.
    pub const LIBRARY: Layout = Layout { template: false, drafting: true, grouped: false };
}

/// The file of a text model, and of its vision tower if there is one.
pub fn file(text: &Gguf, tower: Option<&Gguf>, layout: Layout) -> Vec<u8> {
    let mut file = text_model(text, layout);
    if let Some(tower) = tower {
        add_tower(&mut file, text, tower);
    }
    file.bytes()
}

/// The file of a text model.
pub fn text_model(gguf: &Gguf, layout: Layout) -> Rewrite {
    let config = Config::from_gguf(gguf).unwrap();
    let template = if layout.template { "" } else { "tokenizer.chat_template" };
    let skip = [
        "qwen35.attention.head_count_kv",
        "qwen35.attention.recurrent_layers",
        "qwen35.block_count",
        "qwen35.nextn_predict_layers",
        "qwen35.rope.dimension_sections",
        template,
    ];
    let mut file = Rewrite::of(gguf, &skip);
    let heads = |kind: &LayerKind| if *kind == LayerKind::Attention { config.n_head_kv as u32 } else { 0 };
    let sections = config.rope.sections.map(|n| n as i32);
    file.keys
        .u32s("qwen35.attention.head_count_kv", &config.layers.iter().map(heads).collect::<Vec<_>>())
        .u32("qwen35.block_count", config.n_layer() as u32)
        .i32s("qwen35.rope.dimension_sections", &sections)
        .i32s("qwen35.mrope_sections", &sections)
        .i32s("qwen35.rope.mrope_section", &sections)
        .boolean("qwen35.rope.mrope_interleaved", true);
    if layout.grouped {
        group_value_heads(&mut file, &config);
    } else {
        file.keys.boolean("qwen35.ssm.v_head_reordered", true);
    }
    let behind = format!("blk.{}.", config.n_layer());
    file.tensors.retain(|t| layout.drafting || !t.name.starts_with(&behind));
    for tensor in &mut file.tensors {
        if let Some(ending) = tensor.name.strip_prefix(&behind).map(str::to_owned) {
            let joint = match &*ending {
                "nextn.eh_proj.weight" => Some("mtp.fc.weight"),
                "nextn.enorm.weight" => Some("mtp.pre_fc_norm_embedding.weight"),
                "nextn.hnorm.weight" => Some("mtp.pre_fc_norm_hidden.weight"),
                "nextn.shared_head_norm.weight" => Some("mtp.norm.weight"),
                _ => None,
            };
            // Of these norms the 1 is left out.
            if joint.is_some_and(|name| name.contains("norm")) {
                let values: Vec<f32> = tensor.values().iter().map(|value| value - 1.0).collect();
                *tensor = Tensor::f32(&tensor.name, &tensor.shape, &values);
            }
            tensor.name = joint.map_or_else(|| format!("mtp.layers.0.{ending}"), str::to_owned);
        } else if let Some(block) = tensor.name.strip_suffix(".ssm_dt.bias") {
            tensor.name = format!("{block}.ssm_dt");
        }
    }
    file
}

/// Puts the value heads of each key head together, in every tensor that has them.
fn group_value_heads(file: &mut Rewrite, config: &Config) {
    let (n, keys) = (config.n_v_head, config.n_k_head);
    let ratio = n / keys;
    let from = |v: usize| v % ratio * keys + v / ratio;
    let recurrent = (0..config.n_layer()).filter(|&il| config.layers[il] == LayerKind::DeltaNet);
    for il in recurrent {
        for ending in ["attn_gate.weight", "ssm_alpha.weight", "ssm_beta.weight", "ssm_a", "ssm_dt.bias"] {
            file.tensor(&format!("blk.{il}.{ending}")).permute(1, n, from);
        }
        file.tensor(&format!("blk.{il}.ssm_out.weight")).permute(config.n_embd, n, from);
        // Here value heads follow queries and keys, whose rows stay: all is counted in rows.
        let (front, dim) = (2 * config.key_dim(), config.head_v_dim);
        let from_row = |row: usize| match row.checked_sub(front) {
            None => row,
            Some(row) => front + from(row / dim) * dim + row % dim,
        };
        for ending in ["attn_qkv.weight", "ssm_conv1d.weight"] {
            file.tensor(&format!("blk.{il}.{ending}")).permute(1, config.conv_channels(), from_row);
        }
    }
}

/// Adds a vision tower, and the ids of its tokens in the vocabulary of `text`.
fn add_tower(file: &mut Rewrite, text: &Gguf, tower: &Gguf) {
    let number = |key: &str| tower.uint(&format!("clip.vision.{key}")).unwrap().unwrap() as u32;
    for key in ["block_count", "embedding_length", "attention.head_count"] {
        file.keys.u32(&format!("qwen35.vision.{key}"), number(key));
    }
    let eps = tower.float("clip.vision.attention.layer_norm_epsilon").unwrap().unwrap();
    file.keys
        .u32("qwen35.vision.num_channels", 3)
        .u32("qwen35.vision.patch_size", 16)
        .u32("qwen35.vision.spatial_merge_size", 2)
        .u32("qwen35.vision.temporal_patch_size", 2)
        .u32("qwen35.vision.shortest_edge", 65_536)
        .u32("qwen35.vision.longest_edge", 16_777_216)
        .f32("qwen35.vision.attention.layer_norm_epsilon", eps as f32)
        .f32("qwen35.vision.rope.freq_base", 10_000.0)
        .f32s("qwen35.vision.image_mean", &[0.5; 3])
        .f32s("qwen35.vision.image_std", &[0.5; 3])
        .i32s("qwen35.vision.deepstack_visual_indexes", &[]);
    for (key, token) in [
        ("image_token_id", "<|image_pad|>"),
        ("vision_start_token_id", "<|vision_start|>"),
        ("vision_end_token_id", "<|vision_end|>"),
    ] {
        let tokens = text.strings("tokenizer.ggml.tokens").unwrap();
        if let Some(id) = tokens.and_then(|mut tokens| tokens.position(|text| text == token.as_bytes())) {
            file.keys.u32(&format!("qwen35.{key}"), id as u32);
        }
    }
    let h = number("embedding_length") as usize;
    let given = Rewrite::of(tower, &[]).tensors;
    let second = given.iter().find(|t| t.name == "v.patch_embd.weight.1").unwrap();
    for tensor in &given {
        match &*tensor.name {
            "v.patch_embd.weight" => file.tensors.push(joined(tensor, second, h)),
            "v.patch_embd.weight.1" => {}
            name if name.contains("attn_qkv") => file.tensors.extend(apart(tensor)),
            _ => file.tensors.push(Tensor { name: published(&tensor.name), ..tensor.clone() }),
        }
    }
}

/// The kernels of two frames `[h, 3, 16, 16]` as one, its first axes joined: `[h·3, 2, 16, 16]`.
fn joined(first: &Tensor, second: &Tensor, h: usize) -> Tensor {
    let plane = first.bytes.len() / (h * 3);
    let planes = first.bytes.chunks(plane).zip(second.bytes.chunks(plane));
    Tensor {
        name: "v.patch_embed.weight".to_owned(),
        ty: first.ty,
        shape: vec![h * 3, 2, 16, 16],
        bytes: planes.flat_map(|(a, b)| [a, b]).flatten().copied().collect(),
    }
}

/// Queries, keys and values as three tensors.
fn apart(tensor: &Tensor) -> [Tensor; 3] {
    let third = tensor.bytes.len() / 3;
    let shape = [&[tensor.shape[0] / 3], &tensor.shape[1..]].concat();
    [("attn_q", 0), ("attn_k", 1), ("attn_v", 2)].map(|(part, i)| Tensor {
        name: tensor.name.replace("attn_qkv", part),
        ty: tensor.ty,
        shape: shape.clone(),
        bytes: tensor.bytes[i * third..(i + 1) * third].to_vec(),
    })
}

/// The name that the published checkpoint has for a tensor of a vision file, less its first words.
fn published(name: &str) -> String {
    let mut name = name.to_owned();
    for (ours, theirs) in [
        ("v.patch_embd", "v.patch_embed"),
        ("v.position_embd", "v.pos_embed"),
        ("v.post_ln", "v.merger.norm"),
        ("mm.0", "v.merger.linear_fc1"),
        ("mm.2", "v.merger.linear_fc2"),
        (".ln1.", ".norm1."),
        (".ln2.", ".norm2."),
        (".ffn_up.", ".mlp.linear_fc1."),
        (".ffn_down.", ".mlp.linear_fc2."),
    ] {
        name = name.replace(ours, theirs);
    }
    name
}
