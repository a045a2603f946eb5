//! The way to where an issuer says that something of it is.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::state::Shared;
use crate::upstream::{Base, Missed, Names, Resource, TlsConfig};

/// Finds it, over the same TLS as the issuer itself.
#[derive(Debug)]
pub struct Ways {
    tls: TlsConfig,
    allow_http: bool,
    shared: Shared,
    folder: PathBuf,
    names: Arc<Names>,
    /// The last one.
    found: Mutex<Option<(String, Arc<Resource>)>>,
}

impl Ways {
    /// Nothing is found yet.
    pub fn new(tls: TlsConfig, allow_http: bool, base: &Base<'_>) -> Self {
        let (shared, folder, names) = (base.shared.clone(), base.folder.to_owned(), base.names.clone());
        Self { tls, allow_http, shared, folder, names, found: Mutex::default() }
    }

    /// The way to a URL; the same one again, where it has not changed.
    ///
    /// # Errors
    /// One that is none, or without TLS where that is needed.
    pub fn to(&self, url: &str) -> Result<Arc<Resource>, Missed> {
        if is_plain(url) && !self.allow_http {
            return Err(Missed::new("insecure", format!("it is said to be at {url:?}, without TLS")));
        }
        if let Some((_, known)) = self.found.lock().as_ref().filter(|(known, _)| known == url) {
            return Ok(known.clone());
        }
        let base = Base { shared: &self.shared, folder: &self.folder, names: &self.names };
        let resource = Resource::build(url, Some(&self.tls), &base);
        let resource =
            Arc::new(resource.map_err(|error| Missed::new("malformed", format!("it is said to be elsewhere: {}", error.reason)))?);
        *self.found.lock() = Some((url.to_owned(), resource.clone()));
        Ok(resource)
    }

    /// The names that the host of the last one goes by.
    pub fn hosts(&self) -> Vec<String> {
        self.found.lock().iter().flat_map(|(_, resource)| resource.names()).collect()
    }
}

/// Whether a URL is one without TLS.
pub fn is_plain(url: &str) -> bool {
    url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
}
