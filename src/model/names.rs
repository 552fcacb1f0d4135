//! The names of a text model's tensors: what each is for, and how other writers spell it.
//!
//! The names of this program's fields are those of llama.cpp's converter. A tensor that is not there by that name is
//! looked for by the other one; nothing else knows that there are two.
//!
//! | llama.cpp | Ollama's converter |
//! |---|---|
//! | `blk.N.ssm_dt.bias` | `blk.N.ssm_dt` |
//! | `blk.L.nextn.eh_proj.weight` | `mtp.fc.weight` |
//! | `blk.L.nextn.enorm.weight` | `mtp.pre_fc_norm_embedding.weight`, without the 1 of this model's norms |
//! | `blk.L.nextn.hnorm.weight` | `mtp.pre_fc_norm_hidden.weight`, without the 1 |
//! | `blk.L.nextn.shared_head_norm.weight` | `mtp.norm.weight`, without the 1 |
//! | `blk.L.…` | `mtp.layers.0.…` |
//!
//! N is a layer of the trunk, L its depth: the number of the block behind it.

/// Endings in a block of the trunk: ours, the other.
const IN_TRUNK: &[(&str, &str)] = &[("ssm_dt.bias", "ssm_dt")];

/// What joins the block behind the trunk to it: our ending, the other name, and whether that lacks the 1.
const JOINT: &[(&str, &str, bool)] = &[
    ("nextn.eh_proj.weight", "mtp.fc.weight", false),
    ("nextn.enorm.weight", "mtp.pre_fc_norm_embedding.weight", true),
    ("nextn.hnorm.weight", "mtp.pre_fc_norm_hidden.weight", true),
    ("nextn.shared_head_norm.weight", "mtp.norm.weight", true),
];

/// What a tensor of a text model's file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Embedding, layers and head: every answer depends on it.
    Trunk,
    /// A block behind the trunk, which guesses tokens ahead: no answer depends on it.
    Drafting,
    /// A vision tower in the same file.
    Vision,
}

impl Role {
    /// What the tensor of a name in the file is for, in a model of `n_layer` layers.
    pub fn of(name: &str, n_layer: usize) -> Role {
        let behind = || name.starts_with("mtp.") || split_block(name).is_some_and(|(il, _)| il >= n_layer);
        if is_vision(name) {
            Role::Vision
        } else if behind() {
            Role::Drafting
        } else {
            Role::Trunk
        }
    }
}

/// Whether a name is that of a tensor of a vision tower.
pub fn is_vision(name: &str) -> bool {
    ["v.", "mm."].iter().any(|prefix| name.starts_with(prefix))
}

/// Another writer's name of a tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spelling {
    /// The name.
    pub name: String,
    /// Whether its values are one less than ours.
    pub lacks_one: bool,
}

impl Spelling {
    /// Another name for the same values.
    pub fn new(name: String) -> Spelling {
        Spelling { name, lacks_one: false }
    }

    /// How another writer spells one of our names, in a model of `n_layer` layers.
    pub fn in_text(ours: &str, n_layer: usize) -> Option<Spelling> {
        let (il, ending) = split_block(ours)?;
        if il == n_layer {
            let joint = JOINT.iter().find(|(ours, ..)| *ours == ending);
            return Some(match joint {
                Some(&(_, name, lacks_one)) => Spelling { name: name.to_owned(), lacks_one },
                None => Spelling::new(format!("mtp.layers.0.{ending}")),
            });
        }
        let (_, other) = IN_TRUNK.iter().find(|(ours, _)| *ours == ending)?;
        Some(Spelling::new(format!("blk.{il}.{other}")))
    }
}

/// Our names, and the other writer's, of what joins block `il` to the trunk.
pub(super) fn joints(il: usize) -> impl Iterator<Item = (String, &'static str)> {
    JOINT.iter().map(move |(ours, other, _)| (format!("blk.{il}.{ours}"), *other))
}

/// The number of a block and the rest of the name.
pub(super) fn split_block(name: &str) -> Option<(usize, &str)> {
    let (il, ending) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((il.parse().ok()?, ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_a_tensor_is_for() {
        for (name, role) in [
            ("token_embd.weight", Role::Trunk),
            ("blk.23.ffn_up.weight", Role::Trunk),
            ("blk.24.ffn_up.weight", Role::Drafting),
            ("blk.24.nextn.enorm.weight", Role::Drafting),
            ("mtp.layers.0.attn_q.weight", Role::Drafting),
            ("v.blk.0.attn_q.weight", Role::Vision),
            ("mm.0.bias", Role::Vision),
            ("blk.x.ffn_up.weight", Role::Trunk),
        ] {
            assert_eq!(Role::of(name, 24), role, "{name}");
        }
    }

    #[test]
    fn each_name_has_at_most_one_other_spelling() {
        let other = |name: &str| Spelling::in_text(name, 4).map(|s| (s.name, s.lacks_one));
        assert_eq!(other("blk.0.ssm_dt.bias"), Some(("blk.0.ssm_dt".to_owned(), false)));
        assert_eq!(other("blk.4.attn_q.weight"), Some(("mtp.layers.0.attn_q.weight".to_owned(), false)));
        assert_eq!(other("blk.4.nextn.hnorm.weight"), Some(("mtp.pre_fc_norm_hidden.weight".to_owned(), true)));
        assert_eq!(other("blk.0.ssm_a"), None);
        assert_eq!(other("output_norm.weight"), None);
    }
}
