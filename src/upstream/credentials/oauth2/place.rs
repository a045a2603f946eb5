//! Where tokens are given: at a URL of the config, or where an issuer says.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::config::OAuth2Config;
use crate::building::BuildError;
use crate::observe::Metrics;
use crate::upstream::discovery::{Wanted, Ways, is_plain, place, place_of_oauth, told};
use crate::upstream::{Base, Client, Missed, Resource};

/// Where to ask.
#[derive(Debug)]
pub(super) struct Place {
    name: Box<str>,
    at: At,
}

#[derive(Debug)]
enum At {
    /// Here.
    Here(Arc<Resource>),
    /// Where the issuer says in one of these, in the order in which they are asked for.
    Told { documents: Box<[Resource; 2]>, ways: Box<Ways>, found: Mutex<Option<Arc<Resource>>> },
}

/// Bytes of what an issuer tells of itself.
const MOST: usize = 512 * 1024;

impl Place {
    /// # Errors
    /// There is none, or one that cannot be, at its place.
    pub fn build(config: &OAuth2Config, base: &Base<'_>) -> Result<Self, BuildError> {
        let (at, url) = match (&config.url, &config.issuer) {
            (Some(_), Some(_)) => {
                return Err(BuildError::new("the `url` says already where tokens are given", "remove it, or `url`").at("issuer"));
            }
            (Some(url), None) => ("url", url),
            (None, Some(issuer)) if issuer.contains(['?', '#']) => {
                let reason = format!("`{issuer}` has a query or a fragment, which no issuer has that says where tokens are given");
                return Err(BuildError::new(reason, "write the `url` of its token endpoint").at("issuer"));
            }
            (None, Some(issuer)) => ("issuer", issuer),
            (None, None) => {
                let fix = "write the `url` of its token endpoint, or an `issuer` that says where it is";
                return Err(BuildError::new("there is nobody to give a token", fix));
            }
        };
        if is_plain(url) && !config.allow_http {
            let reason = format!("`{url}` would be asked without TLS: who is on the way could see the secret and the tokens");
            return Err(BuildError::new(reason, "write `https://`, or set `allow_http: true`").at(at));
        }
        let tls = config.tls();
        let resource = |url: &str| {
            // What is wrong with `ca` and `client_certificate` has its place already.
            Resource::build(url, Some(&tls), base).map_err(|error| if error.path.0.is_empty() { error.at(at) } else { error })
        };
        let name = url.as_str().into();
        let at = match at {
            "url" => At::Here(Arc::new(resource(url)?)),
            _ => {
                let documents = Box::new([resource(&place(url))?, resource(&place_of_oauth(url))?]);
                At::Told { documents, ways: Box::new(Ways::new(tls, config.allow_http, base)), found: Mutex::default() }
            }
        };
        Ok(Self { name, at })
    }

    /// What it is called in the log and the metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names that its hosts go by.
    pub fn hosts(&self) -> Vec<String> {
        match &self.at {
            At::Here(resource) => resource.names(),
            At::Told { documents: all, ways, .. } => all.iter().flat_map(Resource::names).chain(ways.hosts()).collect(),
        }
    }

    /// The way to it.
    ///
    /// # Errors
    /// The issuer does not say it.
    pub async fn endpoint(&self, client: &Client, within: Duration, metrics: &Metrics) -> Result<Arc<Resource>, Missed> {
        let (documents, ways, found) = match &self.at {
            At::Here(resource) => return Ok(resource.clone()),
            At::Told { documents, ways, found } => (documents, ways, found),
        };
        if let Some(known) = found.lock().clone() {
            return Ok(known);
        }
        let [openid, oauth] = &**documents;
        let answer = match openid.get(client, MOST, within, metrics).await {
            Err(missed) if missed.word == "status" => oauth.get(client, MOST, within, metrics).await?,
            answer => answer?,
        };
        let endpoint = ways.to(&told(&answer.body, &self.name, Wanted::Tokens)?)?;
        *found.lock() = Some(endpoint.clone());
        Ok(endpoint)
    }

    /// It may be elsewhere: the issuer is asked again.
    pub fn forget(&self) {
        if let At::Told { found, .. } = &self.at {
            *found.lock() = None;
        }
    }
}
