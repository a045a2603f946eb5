//! Who calls, by the name that a token, a certificate or a service tells.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::jwt::Unknown;
use super::jwt::claims::at;
use super::jwt::token::shown;
use crate::consumer::{Consumer, Consumers};
use crate::ctx::name;
use crate::policy::PolicyCx;
use crate::problem::{Kind, Problem};
use crate::store::Directory;

/// What became of a name.
#[derive(Debug)]
pub(super) enum Found {
    /// It is this one's.
    Known(Arc<Consumer>),
    /// Nobody's.
    Nobody,
    /// Nobody can tell now, and such requests go on.
    Untold,
}

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
    /// It would be kept where nobody can look now, and such requests do not go on.
    pub(super) async fn named(&self, name: &str) -> Result<Found, Problem> {
        let known = match (self.consumers.named(name), &self.directory) {
            // Boxed: most are known, and every request would hold the room for the look.
            (None, Some(directory)) if !name.is_empty() => match Box::pin(directory.named(name)).await {
                Ok(found) => found,
                Err(away) => return directory.let_in(away).map(|()| Found::Untold),
            },
            (known, _) => known.cloned(),
        };
        Ok(known.map_or(Found::Nobody, Found::Known))
    }

    /// The one that the claim at `path` names.
    ///
    /// # Errors
    /// There is none of that name, and there must be; or nobody can tell now.
    pub(super) async fn of(&self, claims: &Map<String, Value>, path: &str) -> Result<Option<Arc<Consumer>>, Problem> {
        let name = at(claims, path).and_then(name).unwrap_or_default();
        let found = self.named(&name).await?;
        self.or_stranger(found, "the token names no known consumer", || format!("{path} is {}", shown(&name)))
    }

    /// The one that was found, or none where strangers may call, or where nobody can tell.
    ///
    /// # Errors
    /// There is none, and there must be; `cause` says more of it to the log.
    pub(super) fn or_stranger(
        &self,
        found: Found,
        detail: &'static str,
        cause: impl FnOnce() -> String,
    ) -> Result<Option<Arc<Consumer>>, Problem> {
        match found {
            Found::Known(known) => Ok(Some(known)),
            Found::Nobody if self.unknown == Unknown::Refuse => Err(Problem::new(Kind::Forbidden, detail).cause(cause())),
            Found::Nobody | Found::Untold => Ok(None),
        }
    }

    /// The one of this name that the config has.
    pub(super) fn filed(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.consumers.named(name)
    }
}
