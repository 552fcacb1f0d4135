//! The dialect of OpenAI's API: chat and text completions.

pub(super) mod chat;
pub(super) mod chat_answer;
mod fields;
mod messages;
pub(super) mod models;
