//! Who are you.

pub mod api_key;
pub mod basic;
mod challenge;
pub mod jwks;
pub mod jwt;
mod source;
