//! Identifies the consumer by a key that it sends. The config holds only hashes of keys, and the service never sees the key.
//!
//! ```yaml
//! consumers:
//!   - name: mobile-app
//!     api_keys: ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
//! policies:
//!   - api_key: { header: X-API-Key, query: api_key }   # from either; `- api_key` alone reads the header
//! ```
//!
//! Exactly one key is wanted, wherever it may stand. Two entries of `api_key` in a list ask for two keys.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Authenticates;
use crate::building::BuildError;
use crate::consumer::{Consumers, KeyHash};
use crate::ctx::Ctx;
use crate::expr;
use crate::policy::transform::editable;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::{Kind, Problem};

/// The settings of `api_key`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The header that carries the key. Default: `X-API-Key`, unless `query` is set.
    pub header: Option<String>,
    /// The query parameter that may carry the key.
    pub query: Option<String>,
}

/// `api_key`, ready to run.
#[derive(Debug)]
pub struct ApiKey {
    header: Option<HeaderName>,
    query: Option<String>,
    consumers: Arc<Consumers>,
}

impl Policy for ApiKey {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::UPSTREAM_REQUEST);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        let header = match (&config.header, &config.query) {
            (None, Some(_)) => None,
            (name, _) => Some(editable(name.as_deref().unwrap_or("X-API-Key")).map_err(|error| error.at("header"))?),
        };
        if config.query.as_deref() == Some("") {
            return Err(BuildError::new("a query parameter needs a name", "write its name, like `api_key`").at("query"));
        }
        if let Some(parameter) = &config.query {
            cx.told.credential(parameter);
        }
        cx.told.challenge(CHALLENGE);
        Ok(Self { header, query: config.query.clone(), consumers: cx.consumers.clone() })
    }

    async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        let Some(hash) = self.key(req)? else { return Err(refuse("an API key is required")) };
        let consumer = self.consumers.by_key(&hash).ok_or_else(|| refuse("the API key is not valid"))?;
        cx.consumer = Some(consumer.clone());
        Ok(Flow::Next)
    }

    fn upstream_request(&self, req: &mut RequestHeader, _cx: &mut Ctx) -> Result<(), Problem> {
        if let Some(name) = &self.header {
            req.remove_header(name);
        }
        if let Some(name) = &self.query {
            without(req, name)?;
        }
        Ok(())
    }
}

impl Authenticates for ApiKey {
    fn sees(&self, req: &RequestHeader, _cx: &Ctx) -> bool {
        !matches!(self.key(req), Ok(None))
    }

    fn missing(&self) -> Option<Problem> {
        Some(refuse("an API key is required"))
    }
}

impl ApiKey {
    /// The hash of the one key that the request carries.
    fn key(&self, req: &RequestHeader) -> Result<Option<KeyHash>, Problem> {
        let headers = self.header.iter().flat_map(|name| req.headers.get_all(name)).map(|key| Cow::Borrowed(key.as_bytes()));
        let pairs = self.query.iter().flat_map(|name| {
            let pairs = form_urlencoded::parse(req.uri.query().unwrap_or_default().as_bytes());
            pairs.filter(move |(key, _)| key == name).map(|(_, key)| Cow::Owned(key.into_owned().into_bytes()))
        });
        // A field that is there and empty carries nothing.
        let mut sent = headers.chain(pairs).filter(|key: &Cow<'_, [u8]>| !key.is_empty()).map(|key| KeyHash::of(&key));
        match (sent.next(), sent.next()) {
            // Two keys could be read as one here and as the other behind us.
            (_, Some(_)) => Err(refuse("more than one API key was sent")),
            (key, None) => Ok(key),
        }
    }
}

/// RFC 9110 §11.6.1 wants a challenge on each 401; API keys have no registered scheme.
const CHALLENGE: HeaderValue = HeaderValue::from_static("ApiKey");

fn refuse(detail: &'static str) -> Problem {
    Problem::new(Kind::Unauthorized, detail).header(header::WWW_AUTHENTICATE, CHALLENGE)
}

/// Takes every parameter of that name out of the query; the others stay as they were sent, to the byte.
pub(super) fn without(req: &mut RequestHeader, name: &str) -> Result<(), Problem> {
    let Some(query) = req.uri.query() else { return Ok(()) };
    let Cow::Owned(rest) = expr::without(query, |key| key == name) else { return Ok(()) };
    let path = req.uri.path();
    let target = if rest.is_empty() { path.to_owned() } else { format!("{path}?{rest}") };
    let uri = target.parse().map_err(|error| Problem::new(Kind::BadRequest, "the query cannot be forwarded").cause(error))?;
    req.set_uri(uri);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, build};
    use crate::state::Shared;

    fn kit(config: &str) -> Kit<ApiKey> {
        Kit::<ApiKey>::with_consumers(
            config,
            r#"[{"name":"app","api_keys":["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]}]"#,
        )
    }

    #[tokio::test]
    async fn a_known_key_names_the_consumer_and_stays_hidden_from_the_service() {
        let mut kit = kit("{}").header("X-API-Key", "test");
        kit.request().await.unwrap();
        assert_eq!(kit.cx.consumer.as_ref().unwrap().name, "app");
        assert!(kit.upstream_request().unwrap().headers.get("x-api-key").is_none());
    }

    #[tokio::test]
    async fn a_missing_a_wrong_and_a_doubled_key_are_refused() {
        for sent in [&[][..], &["wrong"], &["test", "test"], &[""]] {
            let mut kit = sent.iter().fold(kit("{}"), |kit, key| kit.header("X-API-Key", key));
            assert_eq!(kit.request().await.unwrap_err().kind, Kind::Unauthorized);
        }
    }

    #[tokio::test]
    async fn an_empty_field_is_no_key() {
        let mut kit = kit("{}").header("X-API-Key", "");
        assert_eq!(kit.request().await.unwrap_err().detail, "an API key is required");
        let mut kit = self::kit(r#"{"header":"X-Key","query":"key"}"#).header("X-Key", "").uri("/?key=test");
        kit.request().await.unwrap();
    }

    #[test]
    fn a_header_of_the_connection_carries_no_key() {
        for name in ["Host", "Content-Length", "Connection", "X Key"] {
            let config = format!(r#"{{"header":"{name}"}}"#);
            assert_eq!(build::<ApiKey>(&config, "[]", &Shared::default()).unwrap_err().path.to_string(), "header", "{name}");
        }
    }

    #[tokio::test]
    async fn a_key_in_the_query_is_taken_out_of_it() {
        let mut kit = kit(r#"{"query":"key"}"#).uri("/a?x=%41&k%65y=test&y=2");
        kit.request().await.unwrap();
        assert_eq!(kit.upstream_request().unwrap().uri, "/a?x=%41&y=2");
    }
}
