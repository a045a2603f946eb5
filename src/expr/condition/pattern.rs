use std::any::Any;

use cel::ExecutionError;
use cel::common::types::{CelBool, CelString, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use regex_automata::meta::Regex;

use crate::building::BuildError;

/// The second argument of `matches`.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

/// Its type.
pub(super) const PATTERN: Type = Type::new_unspecified_type("pattern");

static TYPE: Type = PATTERN;

/// Bytes of the largest, compiled.
const LARGEST: usize = 256 * 1024;

impl Pattern {
    /// Compiles a regex.
    ///
    /// # Errors
    /// It is none, or too large.
    pub fn parse(text: &str) -> Result<Self, BuildError> {
        let built = Regex::builder().configure(Regex::config().nfa_size_limit(Some(LARGEST)).hybrid_cache_capacity(LARGEST)).build(text);
        built.map(Self).map_err(|error| BuildError::new(format!("`{text}` is no regex: {error}"), "write a regex, like `^/api/`"))
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &TYPE
    }

    fn cel_type() -> &'static Type {
        &TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

/// `matches`, in linear time.
pub(super) fn matches<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = arguments.first().and_then(|text| text.downcast_ref::<CelString<'_>>());
    let pattern = arguments.get(1).and_then(|pattern| pattern.downcast_ref::<Pattern>());
    let (Some(text), Some(Pattern(regex))) = (text, pattern) else { return Err(ExecutionError::missing_argument_or_target()) };
    Ok(CowVal::owned(CelBool::from(regex.is_match(text.inner()))))
}
