//! Files over HTTP/1.1. Whatever comes from the net is data of unknown origin: heads and bodies are bounded, nothing waits
//! forever, and a redirect cannot lead from a public place to a private one.

pub mod address;
mod body;
pub mod client;
mod connection;
pub mod download;
pub mod error;
pub mod part;
pub mod retry;
pub mod url;
