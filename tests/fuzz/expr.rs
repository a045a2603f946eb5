//! Templates and query strings.

#[path = "../../src/expr/query.rs"]
mod query;
#[path = "../../src/expr/template.rs"]
mod template;

pub use query::query;
pub use template::{NOT_UNRESERVED, Template, Variables};
