//! Small languages inside config values: templates and conditions. And query strings.

// Each uses only those above it.
mod query;
mod template;
mod condition;

pub use condition::{Condition, Names, Parts, Said};
pub use query::{query, without};
pub use template::{NOT_UNRESERVED, Template, Variables, variables};
