//! Who are you.

pub mod api_key;
pub mod jwks;
pub mod jwt;
