//! From a file to plain data: YAML with places, `${ENV}` and `${file:…}`, and every mistake told at once.

// Each uses only those above it.
mod scalar;
mod sources;
mod located;
mod tree;
mod syntax;
mod fault;
mod filler;
mod parse;
mod substitute;
mod include;
mod de;
mod gather;

mod cache;
mod listener;
mod upgrade;
mod server;
mod document;
mod load;
mod schema;

pub use document::Config;
pub use listener::{ListenerConfig, Mode, RedirectHttps};
#[cfg(test)]
pub(crate) use load::load_str;
pub use load::{Loaded, load, process_env};
pub use located::{ConfigErrors, Located};
pub use scalar::{Hidden, Kind, Scalar};
pub use schema::schema;
pub use server::{AdminConfig, ClientTimeouts, Limits, ServerConfig, Workers};
pub use sources::Sources;
pub use substitute::Env;
pub use tree::{Entry, Node, Place, Tree, Value};
pub use upgrade::UpgradeConfig;
