//! Who are you.

pub mod api_key;
