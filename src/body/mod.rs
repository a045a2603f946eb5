//! What bodies are made of: read within bounds, changed where asked, and otherwise passed on byte by byte.

mod encode;
pub mod json;

pub use encode::{Encoder, Flush};
