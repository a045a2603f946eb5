//! May you.

pub mod cors;
