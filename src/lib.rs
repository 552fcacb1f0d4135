//! `qwen-edge` runs the Qwen3.5 small models (0.8B, 2B, 4B, 9B) from GGUF files on the CPU: text, pictures and clips, on
//! x86-64 and aarch64, in a memory that is planned before it is taken.
//!
//! A [`Session`] takes messages and gives answers:
//!
//! ```
//! use qwen_edge::{Event, Message, SamplerSettings, Session};
//!
//! let mut session = Session::open("models/demo-q8_0.gguf")?;
//! session.options.sampling = SamplerSettings::greedy();
//! let question = Message::user("Extract name, age as JSON: Mia is 31 years old and lives in Oslo.");
//! let outcome = session.answer(&[question], |event| {
//!     if let Event::Text(text) = event {
//!         print!("{text}");
//!     }
//! })?;
//! assert_eq!(outcome.text, r#"{"name": "Mia", "age": 31}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`ModelFile`] is the longer way: what is in the file, then [`StartOptions`] for memory, threads and a vision tower.
//! [`Session::canceller`] stops an answer from another thread. `examples/` has a chat, a picture, the logits of a text and
//! a batch of prompts. Nothing in the library prints, reads arguments or sets signal handlers.
//!
//! # The rooms
//!
//! Imports point upwards in this list; the names above are those of the last room, and of what it is told with.
//!
//! | module | what it is about |
//! |---|---|
//! | [`platform`] | the machine: cores, memory and its limits, mapped files, files that are whole or not there |
//! | [`compute`] | threads, batches of activations, and products of them with weights, by [`kernels`] |
//! | [`gguf`] | the container: keys and tensors, read and written, whatever the bytes are |
//! | [`tokenizer`] | text to tokens and back |
//! | [`sampler`] | logits to the next token |
//! | [`constrain`] | a schema to the tokens that may come next |
//! | [`chat`] | messages to a prompt by the model's template; where thinking ends |
//! | [`model`] | hyper-parameters and weights of a text model, and its forward pass |
//! | [`vision`] | pictures and clips to rows of a prompt |
//! | [`engine`] | a model at work: its plan, the runner, sequences that share its passes, answers, and the session |
//! | `serve` | the model over HTTP: requests, their queue, and answers as they are made |
//! | `fetch` | files over HTTP: bytes that come from elsewhere, in blocks that are never fetched twice |
//! | `store` | what a model is called, which ones are on this machine, and the hub that others come from |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `cli` (default) | the program; no library needs it |
//! | `pull` (default, with `cli`) | TLS for what is fetched, and the crates it needs; without it the system's `curl` does that |
//! | `vision` (default) | pictures and clips, and the crates that decode them |
//! | `serve` (default) | a server that speaks HTTP, and the crates it needs |
//! | `constrain` (with `cli` and `serve`) | answers that keep to a schema, and the crate that follows grammars |
//! | `synth` (with `cli`) | models of random weights, to measure and test with |
//!
//! `default-features = false` answers text alone.

#![deny(unsafe_code)]

pub mod chat;
pub mod compute;
#[cfg(feature = "constrain")]
pub mod constrain;
// As of vision: the names alone.
#[cfg(not(feature = "constrain"))]
#[path = "no_constrain.rs"]
pub mod constrain;
pub mod engine;
#[cfg(feature = "cli")]
pub mod fetch;
pub mod gguf;
mod hex;
pub mod model;
pub mod percent;
pub mod platform;
pub mod sampler;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(feature = "cli")]
pub mod store;
#[cfg(feature = "synth")]
pub mod synth;
pub mod tokenizer;
#[cfg(feature = "vision")]
pub mod vision;
// The names alone: what speaks of pictures needs to ask in no other place whether there are any.
#[cfg(not(feature = "vision"))]
#[path = "no_vision.rs"]
pub mod vision;

pub use engine::generate::{Outcome, Stop};
pub use engine::message::{Message, Part, Role};
pub use engine::model_file::{ModelFile, OpenError, Residence, StartError, StartOptions, Tower, TowerFile};
pub use engine::plan::{Plan, Wish};
pub use engine::session::{AnswerOptions, Canceller, Event, Session, SessionError};
pub use kernels::{Isa, Kernels};
pub use sampler::Settings as SamplerSettings;
pub use vision::Source;
