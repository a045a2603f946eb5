//! How much.

pub mod rate_limit;
