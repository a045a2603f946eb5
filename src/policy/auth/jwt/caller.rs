//! Who calls, as the claims of a token tell.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::claims::at;
use super::config::Unknown;
use super::token::shown;
use crate::consumer::{Consumer, Consumers};
use crate::problem::{Kind, Problem};

/// Finds the consumer of a token.
#[derive(Debug)]
pub(crate) struct Caller {
    consumers: Arc<Consumers>,
    unknown: Unknown,
}

impl Caller {
    /// Among these; `unknown` says what becomes of others.
    pub(crate) fn new(consumers: &Arc<Consumers>, unknown: Unknown) -> Self {
        Self { consumers: consumers.clone(), unknown }
    }

    /// The one that the claim at `path` names.
    ///
    /// # Errors
    /// There is none of that name, and there must be.
    pub(crate) fn of(&self, claims: &Map<String, Value>, path: &str) -> Result<Option<Arc<Consumer>>, Problem> {
        let name = match at(claims, path) {
            Some(Value::String(name)) => Cow::Borrowed(name.as_str()),
            Some(Value::Number(number)) => Cow::Owned(number.to_string()),
            _ => Cow::Borrowed(""),
        };
        match self.consumers.named(&name) {
            None if self.unknown == Unknown::Refuse => {
                Err(Problem::new(Kind::Forbidden, "the token names no known consumer").cause(format!("{path} is {}", shown(&name))))
            }
            known => Ok(known.cloned()),
        }
    }
}
