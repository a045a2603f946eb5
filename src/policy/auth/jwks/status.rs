use std::time::Duration;

use serde::Serialize;

use super::Provider;

/// How it stands with keys that are fetched, for operators to read.
#[derive(Debug, Serialize)]
pub struct KeysStatus<'a> {
    /// The issuer, or the URL of the key set.
    source: &'a str,
    /// How many may be used; 0 where none are there, or they are too old.
    usable: usize,
    /// When they came last.
    #[serde(skip_serializing_if = "Option::is_none")]
    fetched: Option<String>,
    /// Why they could not be fetched, the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing: Option<String>,
}

impl<'a> KeysStatus<'a> {
    /// Where they come from.
    pub fn source(&self) -> &'a str {
        self.source
    }
}

impl Provider {
    /// How it stands.
    pub fn status(&self) -> KeysStatus<'_> {
        let known = self.known();
        KeysStatus {
            source: self.name(),
            usable: self.keys(&known).map_or(0, super::KeySet::len),
            fetched: known.fetched.map(|(_, at)| humantime::format_rfc3339_millis(at).to_string()),
            failing: known.cause.as_deref().map(ToOwned::to_owned),
        }
    }

    /// How long what is built waits for keys without which it is not used; none where it is.
    pub fn holds_up(&self) -> Option<Duration> {
        // Where the issuer says it, and there.
        (self.fetch.required && self.keys(&self.known()).is_none()).then(|| self.fetch.timeout.0.saturating_mul(2))
    }

    /// Why what is built cannot be used.
    pub fn lacks(&self) -> Option<String> {
        self.holds_up().map(|_| {
            let cause = self.known().cause.as_deref().map_or_else(|| "they have not come in time".to_owned(), ToOwned::to_owned);
            format!("the keys of {} are required, and are not there: {cause}", self.name())
        })
    }
}
