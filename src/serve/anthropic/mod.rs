//! The dialect of Anthropic's API: messages, and the count of their tokens.

mod answer;
pub(super) mod error;
mod input;
pub(super) mod messages;
mod tools;
