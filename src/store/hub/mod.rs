//! The Hugging Face hub: what is in a repository, which of its files make a model, and the cache that its client shares with
//! other programs.

pub mod cache;
pub mod choice;
pub mod error;
pub mod listing;
pub mod lock;
pub mod pull;
pub mod removal;
pub mod settings;
