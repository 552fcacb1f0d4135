//! The dialect of OpenAI's API: chat and text completions.

pub(super) mod chat;
mod chat_answer;
pub(super) mod completion;
pub(super) mod envelope;
mod messages;
pub(super) mod models;
mod text_logprobs;
