//! Who is asked about tokens, each once for all policies of a config that ask for the same.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::Algorithm;

use super::introspection::Endpoint;
use super::jwks::{FetchConfig, Provider, Source};
use crate::building::BuildError;
use crate::upstream::Base;

/// Those of one config.
#[derive(Debug, Default)]
pub struct Providers {
    keys: HashMap<String, Arc<Provider>>,
    endpoints: HashMap<String, Arc<Endpoint>>,
}

impl Providers {
    /// Who has the keys of this source. `algorithms` are those that tokens may be signed with; none for all.
    ///
    /// # Errors
    /// What is wrong, at its place below `jwks`, `issuer` or `fetch`.
    pub fn get(
        &mut self,
        source: Source<'_>,
        algorithms: &[Algorithm],
        fetch: &FetchConfig,
        base: &Base<'_>,
    ) -> Result<Arc<Provider>, BuildError> {
        let key = format!("{source:?} {algorithms:?} {fetch:?}");
        if let Some(known) = self.keys.get(&key) {
            return Ok(known.clone());
        }
        let provider = Arc::new(Provider::build(source, algorithms, fetch, base)?);
        self.keys.insert(key, provider.clone());
        Ok(provider)
    }

    /// Who knows tokens, by all that is set of it.
    ///
    /// # Errors
    /// Those of `build`, where it is the first.
    pub fn endpoint(&mut self, key: String, build: impl FnOnce() -> Result<Endpoint, BuildError>) -> Result<Arc<Endpoint>, BuildError> {
        if let Some(known) = self.endpoints.get(&key) {
            return Ok(known.clone());
        }
        let endpoint = Arc::new(build()?);
        self.endpoints.insert(key, endpoint.clone());
        Ok(endpoint)
    }

    /// Who has keys.
    pub fn of_keys(&self) -> Box<[Arc<Provider>]> {
        self.keys.values().cloned().collect()
    }

    /// Who knows tokens.
    pub fn of_tokens(&self) -> Box<[Arc<Endpoint>]> {
        self.endpoints.values().cloned().collect()
    }
}
