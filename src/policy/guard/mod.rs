//! May you.

pub mod acl;
pub mod bot;
pub mod cors;
pub mod ip_filter;
pub mod size_limit;
