//! Identifies the consumer by a key that it sends. The config holds only hashes of keys, and the service never sees the key.
//!
//! ```yaml
//! consumers:
//!   - name: mobile-app
//!     api_keys:
//!       - "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//!       - { hash: "sha256:…", id: tg_live_3fZk9QpX, expires: 2027-01-01 }   # several are good at once: that is how to change one
//! policies:
//!   - api_key                                            # in X-API-Key
//!   - api_key: { header: Authorization }                 # as `Authorization: Bearer KEY`
//!   - api_key: { header: X-API-Key, query: api_key, cookie: key }   # from any of these
//! ```
//!
//! Exactly one key is wanted, wherever it may stand. Two entries of `api_key` in a list ask for two keys. `tidegate new-key` makes a key whose beginning
//! tells what it is, such as `tg_live_3fZk9QpX_…`: people and secret scanners recognise it, and the access log names it by the `id` that it has here. A key
//! is found by its hash, so neither its beginning nor the number of keys changes how long that takes.

use std::sync::Arc;

use http::header;
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Authenticates;
use super::challenge::Challenge;
use super::source::{Named, Scheme, Sources};
use crate::building::BuildError;
use crate::consumer::{Consumers, KeyHash};
use crate::ctx::Ctx;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::Problem;
use crate::store::Directory;
use crate::types::{Moment, Size};

/// The settings of `api_key`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The header that carries the key. Default: `X-API-Key`, unless `query` or `cookie` is set.
    pub header: Option<String>,
    /// The word before the key in that header, like `ApiKey`. Default: `Bearer` in `Authorization`, and none in others.
    pub scheme: Option<String>,
    /// The query parameter that may carry the key. Addresses end up in logs and histories: prefer a header.
    pub query: Option<String>,
    /// The cookie that may carry the key.
    pub cookie: Option<String>,
    /// The longest key that is looked at. Default: `1KiB`.
    pub max_size: Option<Size>,
    /// The protection space named in the `WWW-Authenticate` of refusals. Default: none is named.
    pub realm: Option<String>,
}

/// `api_key`, ready to run.
#[derive(Debug)]
pub struct ApiKey {
    sources: Sources,
    longest: usize,
    challenge: Challenge,
    consumers: Arc<Consumers>,
    directory: Option<Arc<Directory>>,
}

impl Policy for ApiKey {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::UPSTREAM_REQUEST);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        let Config { header, query, cookie, .. } = config;
        let named =
            Named { header: header.as_deref(), query: query.as_deref(), cookie: cookie.as_deref(), usual: "X-API-Key", example: "key" };
        let word = |name: &http::HeaderName| match &config.scheme {
            Some(word) => Scheme::Always(word.as_str().into()),
            None if *name == header::AUTHORIZATION => Scheme::Always("Bearer".into()),
            None => Scheme::None,
        };
        let sources = named.places(word)?;
        if config.scheme.is_some() && sources.header.is_none() {
            return Err(
                BuildError::new("a scheme stands in a header, and no header is read", "name the `header`, or remove it").at("scheme")
            );
        }
        let longest = config.max_size.map_or(1024, |size| size.bytes());
        if longest == 0 {
            return Err(BuildError::new("no key fits into nothing", "write a size like `1KiB`").at("max_size"));
        }
        if let Some(parameter) = &config.query {
            cx.told.credential(parameter);
        }
        // API keys have no registered scheme; RFC 9110 §11.6.1 wants a challenge all the same.
        let scheme = if let Scheme::Always(word) = &sources.scheme { word } else { "ApiKey" };
        let challenge = Challenge::new(scheme, config.realm.as_deref())?;
        cx.told.challenge(challenge.bare());
        Ok(Self { sources, longest, challenge, consumers: cx.consumers.clone(), directory: cx.directory.cloned() })
    }

    async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        let hash = self.hash(req)?;
        let elsewhere;
        let key = match (self.consumers.by_key(&hash), &self.directory) {
            (Some(key), _) => Some(key),
            (None, None) => None,
            (None, Some(directory)) => match Box::pin(directory.key(hash, &self.consumers)).await {
                Ok(found) => {
                    elsewhere = found;
                    elsewhere.as_ref()
                }
                Err(away) => {
                    directory.let_in(away)?;
                    cx.identify(None, None);
                    return Ok(Flow::Next);
                }
            },
        };
        let key = key.ok_or_else(|| self.challenge.invalid("the API key is not valid"))?;
        if key.expires.is_some_and(Moment::is_over) {
            return Err(self.challenge.invalid("the API key has expired"));
        }
        cx.identify(Some(key.consumer.clone()), key.id.clone());
        Ok(Flow::Next)
    }

    fn upstream_request(&self, req: &mut RequestHeader, _cx: &mut Ctx) -> Result<(), Problem> {
        self.sources.remove(req)
    }
}

impl Authenticates for ApiKey {
    fn sees(&self, req: &RequestHeader, _cx: &Ctx) -> bool {
        self.sources.all(req).map_or(true, |mut sent| sent.any(|key| !key.is_empty()))
    }

    fn missing(&self) -> Option<Problem> {
        Some(self.challenge.missing(MISSING))
    }
}

const MISSING: &str = "an API key is required";

impl ApiKey {
    /// The hash of the one key that the request carries.
    fn hash(&self, req: &RequestHeader) -> Result<KeyHash, Problem> {
        // Two keys could be read as one here and as the other behind us.
        let several = || self.challenge.invalid("more than one API key was sent");
        // A field that is there and empty carries nothing.
        let mut sent = self.sources.all(req).map_err(|_| several())?.filter(|key| !key.is_empty());
        match (sent.next(), sent.next()) {
            (_, Some(_)) => Err(several()),
            (Some(key), None) if key.len() > self.longest => Err(self.challenge.invalid("the API key is too long")),
            (Some(key), None) => Ok(KeyHash::of(&key)),
            (None, None) => Err(self.challenge.missing(MISSING)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, build};
    use crate::problem::Kind;
    use crate::state::Shared;

    const TEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    fn kit(config: &str) -> Kit<ApiKey> {
        Kit::<ApiKey>::with_consumers(config, &format!(r#"[{{"name":"app","api_keys":["{TEST}"]}}]"#))
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

    #[tokio::test]
    async fn a_key_is_good_until_it_expires_and_has_a_name_for_the_log() {
        for (expires, refused) in [("2000-01-01", Some("the API key has expired")), ("9000-01-01", None)] {
            let consumers = format!(r#"[{{"name":"app","api_keys":[{{"hash":"{TEST}","id":"tg_1","expires":"{expires}"}}]}}]"#);
            let mut kit = Kit::<ApiKey>::with_consumers("{}", &consumers).header("X-API-Key", "test");
            assert_eq!(kit.request().await.err().map(|problem| problem.detail).as_deref(), refused);
            assert_eq!(kit.cx.credential.as_deref(), if refused.is_none() { Some("tg_1") } else { None });
        }
    }

    #[tokio::test]
    async fn a_key_follows_its_scheme_and_challenges_name_it() {
        let challenge = |problem: &Problem| problem.headers[0].1.to_str().unwrap().to_owned();
        for (config, right, missing, invalid) in [
            (r#"{"header":"Authorization"}"#, "bearer  test", "Bearer", "Bearer error=\"invalid_token\""),
            (
                r#"{"header":"Authorization","realm":"a b"}"#,
                "Bearer test",
                "Bearer realm=\"a b\"",
                "Bearer realm=\"a b\", error=\"invalid_token\"",
            ),
            (r#"{"header":"Authorization","scheme":"ApiKey"}"#, "ApiKey test", "ApiKey", "ApiKey"),
            (r#"{"header":"X-Key","scheme":"Token"}"#, "Token test", "Token", "Token"),
        ] {
            let name = if config.contains("X-Key") { "X-Key" } else { "Authorization" };
            let mut kit = self::kit(config).header(name, right);
            kit.request().await.unwrap();
            assert!(kit.upstream_request().unwrap().headers.get(name).is_none());
            for other in ["test", "Basic dGVzdA==", "Bearertest"] {
                let mut kit = self::kit(config).header(name, other);
                let problem = kit.request().await.unwrap_err();
                assert_eq!((&*problem.detail, challenge(&problem)), ("an API key is required", missing.to_owned()), "{config} {other}");
            }
            let (word, _) = right.split_once(' ').unwrap();
            let problem = self::kit(config).header(name, &format!("{word} wrong")).request().await.unwrap_err();
            assert_eq!(challenge(&problem), invalid, "{config}");
        }
        let mut kit =
            self::kit(r#"{"header":"Authorization"}"#).header("Authorization", "Bearer test").header("Authorization", "Basic Og==");
        assert_eq!(kit.request().await.unwrap_err().detail, "more than one API key was sent");
    }

    #[tokio::test]
    async fn a_key_in_a_cookie_is_taken_out_of_it() {
        let mut kit = kit(r#"{"cookie":"key"}"#).header("Cookie", "a=1; key=test; b=2");
        kit.request().await.unwrap();
        assert_eq!(kit.upstream_request().unwrap().headers["cookie"], "a=1; b=2");
    }

    #[tokio::test]
    async fn a_key_in_two_places_is_two_keys() {
        let config = r#"{"header":"X-Key","query":"key","cookie":"key"}"#;
        for (uri, cookie) in [("/?key=test", ""), ("/", "key=test"), ("/?key=test", "key=other")] {
            let mut kit = kit(config).header("X-Key", "test").uri(uri).header("Cookie", cookie);
            assert_eq!(kit.request().await.unwrap_err().detail, "more than one API key was sent");
        }
    }

    #[tokio::test]
    async fn a_key_that_is_too_long_is_not_looked_at() {
        let mut kit = kit(r#"{"max_size":4}"#).header("X-API-Key", "test");
        kit.request().await.unwrap();
        for (config, sent) in [(r#"{"max_size":3}"#, "test".to_owned()), ("{}", "x".repeat(1025))] {
            let mut kit = self::kit(config).header("X-API-Key", &sent);
            assert_eq!(kit.request().await.unwrap_err().detail, "the API key is too long");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for name in ["Host", "Content-Length", "Connection", "X Key"] {
            let config = format!(r#"{{"header":"{name}"}}"#);
            assert_eq!(build::<ApiKey>(&config, "[]", &Shared::default()).unwrap_err().path.to_string(), "header", "{name}");
        }
        for (config, place) in [
            (r#"{"query":""}"#, "query"),
            (r#"{"cookie":""}"#, "cookie"),
            (r#"{"query":"key","scheme":"ApiKey"}"#, "scheme"),
            (r#"{"scheme":"a b"}"#, "scheme"),
            (r#"{"realm":"a\"b"}"#, "realm"),
            (r#"{"max_size":0}"#, "max_size"),
        ] {
            assert_eq!(build::<ApiKey>(config, "[]", &Shared::default()).unwrap_err().path.to_string(), place, "{config}");
        }
    }

    #[tokio::test]
    async fn a_key_in_the_query_is_taken_out_of_it() {
        let mut kit = kit(r#"{"query":"key"}"#).uri("/a?x=%41&k%65y=test&y=2");
        kit.request().await.unwrap();
        assert_eq!(kit.upstream_request().unwrap().uri, "/a?x=%41&y=2");
    }
}
