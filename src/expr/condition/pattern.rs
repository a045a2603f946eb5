use std::any::Any;
use std::sync::Arc;

use cel::ExecutionError;
use cel::common::types::{CelBool, CelString, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use regex_automata::meta::Regex;
use regex_automata::nfa::thompson::{self, NFA};

use super::toll::{Left, Size};
use crate::building::BuildError;

/// A regex, ready to run.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Arc<Regex>,
    /// States of its automaton: each may be looked at for each byte of a text.
    states: usize,
}

/// The second argument of `matches`.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    pattern: Pattern,
    left: Arc<Left>,
}

/// Its type.
pub(super) const PATTERN: Type = Type::new_unspecified_type("pattern");

static TYPE: Type = PATTERN;

/// The function that takes it.
pub(super) const MATCHES: &str = "matches";

/// Bytes of the largest, compiled.
const LARGEST: usize = 256 * 1024;

/// So many states are looked at in the time of a step.
const STEP: usize = 4;

impl Pattern {
    /// Compiles a regex.
    ///
    /// # Errors
    /// It is none, or too large.
    pub fn parse(text: &str) -> Result<Self, BuildError> {
        let wrong = |why: String| BuildError::new(format!("`{text}` is no regex: {why}"), "write a regex, like `^/api/`");
        let built = Regex::builder().configure(Regex::config().nfa_size_limit(Some(LARGEST)).hybrid_cache_capacity(LARGEST)).build(text);
        let regex = built.map_err(|error| wrong(error.to_string()))?;
        let limit = thompson::Config::new().nfa_size_limit(Some(LARGEST));
        let nfa = NFA::compiler().configure(limit).build(text).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { regex: Arc::new(regex), states: nfa.states().len() })
    }
}

impl Matcher {
    /// Of this pattern, at the cost of what is left.
    pub fn new(pattern: Pattern, left: Arc<Left>) -> Self {
        Self { pattern, left }
    }

    /// Mostly a byte takes no longer than a state, but a text can be made for which each takes its time: so the most is what it costs.
    fn cost(&self, text: &str) -> Size {
        Size { values: text.len().saturating_mul(self.pattern.states) / STEP, bytes: 0 }
    }
}

impl Val for Matcher {
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

impl StaticVal for Matcher {}

/// `matches`, in linear time.
pub(super) fn matches<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = arguments.first().and_then(|text| text.downcast_ref::<CelString<'_>>());
    let matcher = arguments.get(1).and_then(|matcher| matcher.downcast_ref::<Matcher>());
    let (Some(text), Some(matcher)) = (text, matcher) else { return Err(ExecutionError::missing_argument_or_target()) };
    let Matcher { pattern, left } = matcher;
    left.take(matcher.cost(text)).ok_or_else(|| ExecutionError::function_error(MATCHES, "it takes too much"))?;
    Ok(CowVal::owned(CelBool::from(pattern.regex.is_match(text.inner()))))
}
