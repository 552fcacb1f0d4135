//! The dialect of Ollama's API: chats, texts, and what its clients ask of a server before they send any.

mod answer;
pub(super) mod chat;
pub(super) mod error;
pub(super) mod generate;
mod messages;
pub(super) mod models;
mod options;
