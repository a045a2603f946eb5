//! May you.

pub mod acl;
pub mod bot;
pub mod cors;
pub mod ip_filter;
pub mod security_headers;
pub mod size_limit;
