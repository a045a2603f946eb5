//! Who are you.

pub mod api_key;
pub mod introspection;
pub mod jwks;
pub mod jwt;
mod providers;

pub use providers::Providers;
