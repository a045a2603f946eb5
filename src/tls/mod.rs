//! Who we are and whom we believe, over TLS.

// Each uses only those above it.
mod config;
mod pem;
mod resolver;
mod clients;
mod ticketer;
mod secure;

pub use config::{ClientCertificate, ListenerTlsConfig, MinVersion, PairConfig};
pub use pem::{certificates, pair, roots};
pub use secure::{Secure, Shown};
