//! A model at work: the plan of its memory, the timeline it reads into, and the answers it writes.

pub mod byte_size;
pub mod context;
pub mod context_error;
pub mod generate;
pub mod load;
pub mod message;
pub mod model_file;
pub mod plan;
pub mod session;
pub mod shortage;
