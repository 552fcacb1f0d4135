//! Answers that keep to a schema.
//!
//! A [`Grammar`] is made of a schema, and of it a [`Constraint`] for each answer, which says of every token which may come next.
//! Both look tokens up in the model's [`Vocabulary`]. The work of grammars is that of the crate `llguidance`.

mod constraint;
mod keywords;
mod landing;
mod schema;
mod vocabulary;
mod witness;

pub use constraint::{Allowed, Constraint, Lost, TokenSet};
pub use schema::{Grammar, Place, SchemaError, Strictness, check};
pub use vocabulary::{SharedVocabulary, Vocabulary, VocabularyError};
