//! Arguments that say how much of what was read of prompts is kept, and what is told of it.

use super::screen::Screen;
use clap::Args;
use qwen_edge::engine::byte_size::ByteSize;
use qwen_edge::engine::generate::Outcome;
use qwen_edge::engine::prompt_cache::{CacheFolder, PromptCache};
use qwen_edge::engine::session::Session;
use qwen_edge::gguf::Fingerprint;

/// How much is kept of prompts.
#[derive(Args, Debug, Clone)]
pub struct Kept {
    /// Bytes of prompts in the folder of --cache at most; what saves the least reading for a byte goes first, aged by use
    #[arg(long, value_name = "SIZE", default_value = "2G", requires = "cache")]
    pub cache_size: ByteSize,
}

impl Kept {
    /// The cache of a model in that folder.
    pub fn cache(&self, folder: CacheFolder, model: Fingerprint, name: String) -> PromptCache {
        PromptCache::new(folder, self.cache_size, model, name)
    }
}

/// Says what the cache did for an answer.
pub(super) fn tell(session: &mut Session, outcome: &Outcome, screen: &Screen) {
    let why = session.reuse().to_string();
    let Some(cache) = session.cache() else { return };
    let written = cache.written();
    let notes = cache.take_notes();
    screen.note(&format!(
        "[cache: {} of {} tokens were known, {why}; {written} written]",
        outcome.n_reused, outcome.n_prompt
    ));
    notes.iter().for_each(|note| screen.note(&format!("note: {note}")));
}
