//! Small languages inside config values, and query strings.

mod query;
mod template;

pub use query::{query, without};
pub use template::{NOT_UNRESERVED, Template, Variables, variables};
