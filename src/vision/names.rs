//! How other writers spell the names of a vision tower's tensors. A tensor that is not there by its name in `mmproj` files
//! is looked for by the other one; nothing else knows that there are two.
//!
//! What Ollama's converter cuts in another way (queries, keys and values apart, both patch kernels in one) is put together
//! where it is bound, see [`super::weights`].

use crate::model::names::Spelling;

/// Parts of names: ours, and Ollama's, who keeps those of the published checkpoints.
const PARTS: &[(&str, &str)] = &[
    ("v.patch_embd.", "v.patch_embed."),
    ("v.position_embd.", "v.pos_embed."),
    ("v.post_ln.", "v.merger.norm."),
    ("mm.0.", "v.merger.linear_fc1."),
    ("mm.2.", "v.merger.linear_fc2."),
    (".ln1.", ".norm1."),
    (".ln2.", ".norm2."),
    (".ffn_up.", ".mlp.linear_fc1."),
    (".ffn_down.", ".mlp.linear_fc2."),
];

/// The other spelling of one of our names.
pub fn other_spelling(ours: &str) -> Option<Spelling> {
    let (part, other) = PARTS.iter().find(|(part, _)| ours.contains(part))?;
    Some(Spelling::new(ours.replacen(part, other, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_published_checkpoints_are_known() {
        for (ours, other) in [
            ("v.blk.11.ln1.bias", Some("v.blk.11.norm1.bias")),
            ("v.blk.0.ffn_down.weight", Some("v.blk.0.mlp.linear_fc2.weight")),
            ("mm.2.weight", Some("v.merger.linear_fc2.weight")),
            ("v.post_ln.weight", Some("v.merger.norm.weight")),
            ("v.blk.0.attn_out.weight", None),
        ] {
            assert_eq!(other_spelling(ours).map(|s| s.name).as_deref(), other, "{ours}");
        }
    }
}
