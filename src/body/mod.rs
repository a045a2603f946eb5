//! What bodies are made of: read within bounds, changed where asked, and otherwise passed on byte by byte.

pub mod json;
