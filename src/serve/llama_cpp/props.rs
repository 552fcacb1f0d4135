//! `GET /props`: what a model is, and how it is served.

use super::params::params;
use crate::serve::models::Listed;
use serde_json::{Value, json};

/// What is known of a model: all of it once it is loaded.
pub(in crate::serve) fn props(Listed { about, served }: &Listed) -> Value {
    let sees = served.as_ref().map_or(about.sees, |served| served.pictures.is_some());
    let mut said = json!({
        "model_alias": about.id,
        "model_path": about.file_name,
        "modalities": {"vision": sees, "audio": false, "video": false},
        "build_info": concat!("qwen-edge ", env!("CARGO_PKG_VERSION")),
        "is_sleeping": served.is_none(),
    });
    let Some(served) = served else { return said };
    let thinks = served.thinking.unwrap_or(served.thinks_by_default);
    let mut params = params(&served.sampling[usize::from(thinks)]);
    params.insert("n_predict".to_owned(), (-1).into());
    params.insert("seed".to_owned(), (-1).into());
    said["default_generation_settings"] = json!({"n_ctx": served.n_ctx, "params": params});
    said["total_slots"] = served.n_seat.into();
    said["chat_template"] = served.template.source().into();
    said["chat_template_caps"] = json!({
        "supports_tools": true, "supports_tool_calls": true, "supports_parallel_tool_calls": true,
        "supports_system_role": true, "supports_preserve_reasoning": true, "supports_string_content": true,
        "supports_typed_content": true, "supports_object_arguments": true,
    });
    // There is no token that begins a text.
    said["bos_token"] = "".into();
    said["eos_token"] = served.tokenizer.eos().and_then(|id| served.tokenizer.token_text(id)).into();
    said["thinking"] = json!({"default": thinks, "budget": served.think_budget, "efforts": served.template.efforts()});
    said
}
