//! Lets browsers use the API from other origins, and answers their preflights, which no service ever sees.
//!
//! ```yaml
//! policies:
//!   - cors: { origins: ["https://app.example.com", "https://*.example.com", '^https://pr-[0-9]+\.example\.dev$'], credentials: true }
//!   - jwt: { issuer: "https://id.example.com", audience: api }
//! ```
//!
//! Put it above authentication and limits: a preflight carries no credentials, and a script can read the 401 or 429 of a policy only where `cors`
//! stands above it. The service's own `Access-Control-*` headers are replaced. An origin that is not allowed is told nothing: its preflight gets 204
//! without a grant, which browsers refuse, and its requests are forwarded as those of any other client are, since CORS protects users, not services.
//!
//! A preflight is answered by the `cors` of the route that takes the request it asks about, whatever the `methods` of that route are. One without `cors`
//! there is answered with 405, unless the route takes OPTIONS too: then it goes to the service.

// Each uses only those above it.
mod pattern;
mod origins;

use std::collections::HashSet;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora_http::{RequestHeader, ResponseHeader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::transform::{header_name, set_response};
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::Problem;
use crate::types::{Duration, Reply};

use origins::Origins;

/// The settings of `cors`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who may use the API from a browser: `https://app.example.com`, `http://localhost:3000`, `https://*.example.com` (every subdomain at any depth,
    /// not the domain itself), a regex from `^` to `$` for whole origins in lower case, like `^https://pr-[0-9]+\.example\.dev$`, `null` (sandboxed pages and
    /// files, so anyone's: without credentials only), or `*` alone for everyone.
    pub origins: Vec<String>,
    /// Methods that a preflight allows; `*` allows whichever is asked for, `[]` only those that need no permission: GET, HEAD and POST. Default: GET, HEAD,
    /// POST, PUT, PATCH, DELETE.
    #[serde(default)]
    pub methods: Option<Vec<String>>,
    /// Request headers that a preflight allows; `[]` none. Default: `*`, whichever are asked for, with credentials too.
    #[serde(default)]
    pub headers: Option<Vec<String>>,
    /// Response headers that scripts may read, besides RateLimit, RateLimit-Policy, Retry-After, Deprecation, Sunset, Link, X-Request-Id and those
    /// that policies above this one write. `*` alone is for every header, without credentials only.
    #[serde(default)]
    pub expose: Vec<String>,
    /// Whether scripts may send cookies and other credentials of the user. Default: false.
    #[serde(default)]
    pub credentials: bool,
    /// How long a browser may remember a preflight, in whole seconds; browsers cut it to their own bound. Default: 10m.
    #[serde(default = "ten_minutes")]
    pub max_age: Duration,
    /// Whether a public page may reach the API in a private network (`Access-Control-Allow-Private-Network`). Default: false.
    #[serde(default)]
    pub private_network: bool,
}

fn ten_minutes() -> Duration {
    Duration::secs(600)
}

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const EXPOSED: &[&str] = &["RateLimit", "RateLimit-Policy", "Retry-After", "Deprecation", "Sunset", "Link", "X-Request-Id"];

/// What a preflight is told to be allowed.
#[derive(Debug)]
enum Allowed {
    /// Whatever it asks for.
    Asked,
    /// These.
    Listed(HeaderValue),
    /// Nothing, which is said by silence: an empty list is no value that all browsers read.
    Nothing,
}

/// `cors`, ready to run.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    methods: Allowed,
    headers: Allowed,
    expose: HeaderValue,
    credentials: bool,
    max_age: HeaderValue,
    private_network: bool,
    preflight_vary: HeaderValue,
    reply: Arc<Reply>,
}

impl Policy for Cors {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::RESPONSE);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        let origins = Origins::build(&config.origins, config.credentials).map_err(|error| error.at("origins"))?;
        let methods = config.methods.clone().unwrap_or_else(|| METHODS.iter().map(ToString::to_string).collect());
        let methods = one_list(&methods, method).map_err(|error| error.at("methods"))?;
        let headers = config.headers.as_deref().map(|names| one_list(names, |name| header_name(name).map(|_| name.to_owned())));
        let headers = headers.transpose().map_err(|error| error.at("headers"))?.unwrap_or(Allowed::Asked);
        let mut vary = vec!["Access-Control-Request-Method"];
        vary.extend(matches!(origins, Origins::Listed { .. }).then_some("Origin"));
        vary.extend(matches!(headers, Allowed::Asked).then_some("Access-Control-Request-Headers"));
        vary.extend(config.private_network.then_some("Access-Control-Request-Private-Network"));
        Ok(Self {
            preflight_vary: value(&vary.join(", "))?,
            origins,
            methods,
            headers,
            expose: exposed(config, cx).map_err(|error| error.at("expose"))?,
            credentials: config.credentials,
            max_age: config.max_age.0.as_secs().into(),
            private_network: config.private_network,
            reply: Arc::new(Reply::empty(StatusCode::NO_CONTENT)),
        })
    }

    async fn request(&self, req: &mut RequestHeader, _cx: &mut Ctx) -> Result<Flow, Problem> {
        Ok(if is_preflight(req) { Flow::Reply(self.reply.clone()) } else { Flow::Next })
    }

    fn response(&self, res: &mut ResponseHeader, req: &RequestHeader, _cx: &mut Ctx) {
        remove_foreign(res);
        // A cache must tell origins apart also where one is refused or none was sent: that answer is not right for an allowed one.
        let preflight = is_preflight(req);
        if preflight {
            let _ = res.append_header("Vary", self.preflight_vary.clone());
        } else if matches!(self.origins, Origins::Listed { .. }) && !varies_by_origin(&res.headers) {
            let _ = res.append_header("Vary", HeaderValue::from_static("Origin"));
        }
        // Asked again here, not remembered: another `cors` of the chain may have allowed an origin that this one does not.
        let origin = req.headers.get(header::ORIGIN);
        if !self.origins.allow(origin) {
            return;
        }
        match (&self.origins, origin) {
            (Origins::Any, _) => set_response(res, "Access-Control-Allow-Origin", HeaderValue::from_static("*")),
            (Origins::Listed { .. }, Some(origin)) => set_response(res, "Access-Control-Allow-Origin", origin.clone()),
            (Origins::Listed { .. }, None) => return,
        }
        if self.credentials {
            set_response(res, "Access-Control-Allow-Credentials", HeaderValue::from_static("true"));
        }
        if preflight {
            self.permit(res, &req.headers);
        } else {
            set_response(res, "Access-Control-Expose-Headers", self.expose.clone());
        }
    }
}

impl Cors {
    /// What only the answer to a preflight says.
    fn permit(&self, res: &mut ResponseHeader, asked: &HeaderMap) {
        if let Some(methods) = self.methods.told(asked.get(header::ACCESS_CONTROL_REQUEST_METHOD)) {
            set_response(res, "Access-Control-Allow-Methods", methods.clone());
        }
        if let Some(headers) = self.headers.told(asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS)) {
            set_response(res, "Access-Control-Allow-Headers", headers.clone());
        }
        set_response(res, "Access-Control-Max-Age", self.max_age.clone());
        if self.private_network && asked.get("access-control-request-private-network").is_some_and(|asked| asked == "true") {
            set_response(res, "Access-Control-Allow-Private-Network", HeaderValue::from_static("true"));
        }
    }
}

/// Fetch §3.3.2: these three together make a preflight; any other OPTIONS is the service's.
fn is_preflight(req: &RequestHeader) -> bool {
    req.method == Method::OPTIONS
        && req.headers.contains_key(header::ORIGIN)
        && req.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Two answers to one question make a browser refuse both: the service's goes.
fn remove_foreign(res: &mut ResponseHeader) {
    while let Some(name) = res.headers.keys().find(|name| name.as_str().starts_with("access-control-")).cloned() {
        res.remove_header(&name);
    }
}

fn varies_by_origin(headers: &HeaderMap) -> bool {
    let names = headers.get_all(header::VARY).iter().filter_map(|names| names.to_str().ok()).flat_map(|names| names.split(','));
    names.map(str::trim).any(|name| name == "*" || name.eq_ignore_ascii_case("origin"))
}

impl Allowed {
    fn told<'a>(&'a self, asked: Option<&'a HeaderValue>) -> Option<&'a HeaderValue> {
        match self {
            Allowed::Asked => asked,
            Allowed::Listed(list) => Some(list),
            Allowed::Nothing => None,
        }
    }
}

/// A list in one header value.
fn one_list(items: &[String], check: impl Fn(&str) -> Result<String, BuildError>) -> Result<Allowed, BuildError> {
    if items.is_empty() {
        return Ok(Allowed::Nothing);
    }
    if items.iter().any(|item| item == "*") {
        return Ok(Allowed::Asked);
    }
    let items = items.iter().enumerate().map(|(place, item)| check(item).map_err(|error| error.at(place)));
    value(&items.collect::<Result<Vec<_>, _>>()?.join(", ")).map(Allowed::Listed)
}

fn method(name: &str) -> Result<String, BuildError> {
    let name = name.to_ascii_uppercase();
    let wrong = |_| BuildError::new(format!("`{name}` is not a method"), "write one like `GET`");
    Method::from_bytes(name.as_bytes()).map_err(wrong).map(|method| method.to_string())
}

fn exposed(config: &Config, cx: &mut PolicyCx<'_>) -> Result<HeaderValue, BuildError> {
    if let Some(place) = config.expose.iter().position(|name| name == "*") {
        if config.credentials {
            // Fetch §3.3.5: with credentials the star is a header of that name.
            return Err(BuildError::new("`*` means nothing to browsers with credentials", "list the headers").at(place));
        }
        return Ok(HeaderValue::from_static("*"));
    }
    let mut names: Vec<&str> = EXPOSED.to_vec();
    for (place, name) in config.expose.iter().enumerate() {
        header_name(name).map_err(|error| error.at(place))?;
        names.push(name);
    }
    names.extend(cx.told.exposed().iter().map(http::HeaderName::as_str));
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.to_ascii_lowercase()));
    value(&names.join(", "))
}

fn value(text: &str) -> Result<HeaderValue, BuildError> {
    HeaderValue::from_str(text).map_err(|_| BuildError::new(format!("`{text}` is not a header value"), "use visible ASCII characters"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, build};
    use crate::state::Shared;

    const LISTED: &str = r#"{"origins":["https://app.example.com","https://*.example.org:8443"],"credentials":true}"#;

    fn preflight(config: &str, origin: &str) -> Kit<Cors> {
        Kit::<Cors>::of(config).method("OPTIONS").header("Origin", origin).header("Access-Control-Request-Method", "PUT")
    }

    #[tokio::test]
    async fn a_preflight_is_answered_here_with_what_is_allowed() {
        let mut kit = preflight(LISTED, "https://app.example.com").header("Access-Control-Request-Headers", "x-tenant");
        let Flow::Reply(reply) = kit.request().await.unwrap() else { panic!("the preflight went on") };
        assert_eq!(reply.status, 204);
        let res = kit.response(204);
        for (name, value) in [
            ("access-control-allow-origin", "https://app.example.com"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
            ("access-control-allow-headers", "x-tenant"),
            ("access-control-max-age", "600"),
            ("vary", "Access-Control-Request-Method, Origin, Access-Control-Request-Headers"),
        ] {
            assert_eq!(res.headers[name], value);
        }
    }

    #[tokio::test]
    async fn lists_of_the_config_are_told_whatever_a_preflight_asks_for() {
        let config = r#"{"origins":["*"],"methods":["get","PUT"],"headers":["X-Tenant"],"max_age":"1h","private_network":true}"#;
        let mut kit = preflight(config, "https://a.example").header("Access-Control-Request-Headers", "x-other");
        kit = kit.header("Access-Control-Request-Private-Network", "true");
        kit.request().await.unwrap();
        let res = kit.response(204);
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "GET, PUT"),
            ("access-control-allow-headers", "X-Tenant"),
            ("access-control-max-age", "3600"),
            ("access-control-allow-private-network", "true"),
            ("vary", "Access-Control-Request-Method, Access-Control-Request-Private-Network"),
        ] {
            assert_eq!(res.headers[name], value);
        }
    }

    #[tokio::test]
    async fn a_preflight_of_another_origin_is_answered_without_a_grant() {
        let mut kit = preflight(LISTED, "https://evil.example");
        assert!(matches!(kit.request().await.unwrap(), Flow::Reply(_)));
        assert_eq!(kit.response(204).headers.keys().collect::<Vec<_>>(), ["vary"]);
    }

    #[tokio::test]
    async fn an_answer_that_depends_on_the_origin_says_so_even_where_there_is_none() {
        for origin in [None, Some("https://evil.example"), Some("https://app.example.com")] {
            let kit = Kit::<Cors>::of(LISTED);
            let mut kit = if let Some(origin) = origin { kit.header("Origin", origin) } else { kit };
            kit.request().await.unwrap();
            assert_eq!(kit.response(200).headers["vary"], "Origin");
        }
        let mut kit = Kit::<Cors>::of(r#"{"origins":["*"]}"#);
        kit.request().await.unwrap();
        let res = kit.response(200);
        assert_eq!((res.headers["access-control-allow-origin"].to_str().unwrap(), res.headers.get("vary")), ("*", None));
    }

    #[tokio::test]
    async fn the_services_own_words_are_replaced_and_its_vary_is_kept() {
        let mut kit = Kit::<Cors>::of(LISTED).header("Origin", "https://app.example.com");
        kit.request().await.unwrap();
        let mut res = ResponseHeader::build(200, None).unwrap();
        res.append_header("Access-Control-Allow-Origin", "*").unwrap();
        res.append_header("Access-Control-Allow-Methods", "TRACE").unwrap();
        res.append_header("Vary", "Accept, origin").unwrap();
        kit.policy.response(&mut res, &kit.req, &mut kit.cx);
        assert_eq!(res.headers.get_all("access-control-allow-origin").iter().collect::<Vec<_>>(), ["https://app.example.com"]);
        assert!(!res.headers.contains_key("access-control-allow-methods"));
        assert_eq!(res.headers.get_all("vary").iter().collect::<Vec<_>>(), ["Accept, origin"]);
        assert!(res.headers["access-control-expose-headers"].to_str().unwrap().starts_with("RateLimit, RateLimit-Policy, Retry-After"));
    }

    #[tokio::test]
    async fn an_empty_list_permits_nothing_and_says_nothing() {
        let mut kit = preflight(r#"{"origins":["*"],"methods":[],"headers":[]}"#, "https://a.example");
        kit = kit.header("Access-Control-Request-Headers", "x-a");
        kit.request().await.unwrap();
        let res = kit.response(204);
        assert_eq!(res.headers["access-control-allow-origin"], "*");
        assert!(!res.headers.contains_key("access-control-allow-methods") && !res.headers.contains_key("access-control-allow-headers"));
    }

    #[tokio::test]
    async fn what_another_cors_below_allows_is_not_allowed_here() {
        let mut kit = Kit::<Cors>::of(LISTED).header("Origin", "https://evil.example");
        kit.request().await.unwrap();
        let below = build::<Cors>(r#"{"origins":["*"]}"#, "[]", &Shared::default()).unwrap();
        below.request(&mut kit.req, &mut kit.cx).await.unwrap();
        let mut res = ResponseHeader::build(200, None).unwrap();
        below.response(&mut res, &kit.req, &mut kit.cx);
        kit.policy.response(&mut res, &kit.req, &mut kit.cx);
        assert_eq!(res.headers.keys().collect::<Vec<_>>(), ["vary"]);
    }

    #[test]
    fn settings_that_no_browser_would_heed_are_refused() {
        for (config, place) in [
            (r#"{"origins":["*"],"credentials":true}"#, "origins[0]"),
            (r#"{"origins":["https://a.example"],"expose":["*"],"credentials":true}"#, "expose[0]"),
            (r#"{"origins":["https://a.example"],"methods":["GET","P UT"]}"#, "methods[1]"),
            (r#"{"origins":["https://a.example","null"],"credentials":true}"#, "origins[1]"),
        ] {
            assert_eq!(build::<Cors>(config, "[]", &Shared::default()).unwrap_err().path.to_string(), place, "{config}");
        }
    }
}
