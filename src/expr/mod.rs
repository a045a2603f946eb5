//! Small languages inside config values.

mod template;

pub use template::{Template, Variables, query, variables};
