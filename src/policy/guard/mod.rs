//! May you.

pub mod cors;
pub mod ip_filter;
