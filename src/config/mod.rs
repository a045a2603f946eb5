//! From a file to plain data: YAML with places, `${ENV}` and `${file:…}`, and every mistake told at once.

mod de;
mod fault;
mod filler;
mod gather;
mod load;
mod located;
mod parse;
mod scalar;
mod substitute;
mod syntax;
mod tree;

mod document;
mod server;

pub use document::Config;
#[cfg(test)]
pub(crate) use load::load_str;
pub use load::{Loaded, load, process_env};
pub use located::{ConfigErrors, Located};
pub use scalar::{Hidden, Kind, Scalar};
pub use server::{AdminConfig, ClientTimeouts, Limits, ListenerConfig, ServerConfig, Workers};
pub use substitute::Env;
pub use tree::{Entry, Node, Place, Tree, Value};
