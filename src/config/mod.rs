//! From a file to plain data: YAML with places, `${ENV}` and `${file:…}`, and every mistake told at once.

// in order: each file uses only those above it
mod located;
mod scalar;
mod tree;

mod parse;
mod substitute;

mod fault;
mod filler;

mod de;
mod gather;

mod load;

pub use load::{Loaded, load, load_str, process_env};
pub use located::{ConfigErrors, Located};
pub use substitute::Env;
pub use tree::{Entry, Node, Place, Tree, Value};
