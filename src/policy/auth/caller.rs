//! Who calls, by the name that a token, a certificate or a service tells.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::jwt::Unknown;
use super::jwt::claims::at;
use super::jwt::token::shown;
use crate::consumer::{Consumer, Consumers};
use crate::policy::PolicyCx;
use crate::problem::{Kind, Problem};
use crate::store::Directory;

/// Finds consumers by their names.
#[derive(Debug)]
pub(super) struct Caller {
    consumers: Arc<Consumers>,
    directory: Option<Arc<Directory>>,
    unknown: Unknown,
}

impl Caller {
    /// Among those of the config, and those that are kept elsewhere; `unknown` says what becomes of others.
    pub(super) fn new(cx: &PolicyCx<'_>, unknown: Unknown) -> Self {
        Self { consumers: cx.consumers.clone(), directory: cx.directory.cloned(), unknown }
    }

    /// The one of this name; of two the config has the say.
    ///
    /// # Errors
    /// It would be kept where nobody can look now.
    pub(super) async fn named(&self, name: &str) -> Result<Option<Arc<Consumer>>, Problem> {
        match (self.consumers.named(name), &self.directory) {
            // Boxed: most are known, and every request would hold the room for the look.
            (None, Some(directory)) if !name.is_empty() => match Box::pin(directory.named(name)).await {
                Ok(found) => Ok(found),
                Err(away) => directory.let_in(away).map(|()| None),
            },
            (known, _) => Ok(known.cloned()),
        }
    }

    /// The one that the claim at `path` names.
    ///
    /// # Errors
    /// There is none of that name, and there must be; or nobody can tell now.
    pub(super) async fn of(&self, claims: &Map<String, Value>, path: &str) -> Result<Option<Arc<Consumer>>, Problem> {
        let name = match at(claims, path) {
            Some(Value::String(name)) => Cow::Borrowed(name.as_str()),
            Some(Value::Number(number)) => Cow::Owned(number.to_string()),
            _ => Cow::Borrowed(""),
        };
        let known = self.named(&name).await?;
        self.or_stranger(known, "the token names no known consumer", || format!("{path} is {}", shown(&name)))
    }

    /// The same one, or none where strangers may call.
    ///
    /// # Errors
    /// There is none, and there must be; `cause` says more of it to the log.
    pub(super) fn or_stranger(
        &self,
        known: Option<Arc<Consumer>>,
        detail: &'static str,
        cause: impl FnOnce() -> String,
    ) -> Result<Option<Arc<Consumer>>, Problem> {
        if known.is_none() && self.unknown == Unknown::Refuse {
            return Err(Problem::new(Kind::Forbidden, detail).cause(cause()));
        }
        Ok(known)
    }

    /// The one of this name that the config has.
    pub(super) fn filed(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.consumers.named(name)
    }
}
