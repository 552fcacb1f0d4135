//! The dialect of OpenAI's Responses. Nothing is kept of one: a client sends its conversation with every request.

mod answer;
mod input;
mod items;
pub(super) mod request;
