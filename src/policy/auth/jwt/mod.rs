//! Lets requests through that carry a JSON Web Token of the right issuer (RFC 7519, RFC 8725), as a bearer token (RFC 6750). Its claims are then known
//! to later policies as `{claims.NAME}`, and one of them can name the consumer.
//!
//! ```yaml
//! policies:
//!   - jwt:
//!       issuer: "https://id.example.com"
//!       audience: api
//!       keys:
//!         - { id: k1, algorithm: RS256, pem_file: keys/public.pem }
//!         - { jwks_file: keys/jwks.json }
//!       scopes: [orders.read]
//!       consumer: sub
//! ```

mod claims;
mod config;
mod keys;
mod source;
mod token;
#[cfg(test)]
mod vectors;

pub use config::{Audience, Config, Expiry, KeyConfig, Unknown};

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;
use serde_json::{Map, Value};

use crate::building::BuildError;
use crate::consumer::{Consumer, Consumers};
use crate::ctx::Ctx;
use crate::policy::auth::jwks::KeySet;
use crate::policy::transform::editable;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::{Kind, Problem};
use claims::Rules;
use source::Sources;
use token::{Refusal, shown};

/// The most that clocks may differ: RFC 7519 §4.1.4 allows "no more than a few minutes", and one is enough where clocks are kept.
const MOST_LEEWAY: Duration = Duration::from_secs(60);

/// `jwt`, ready to run.
#[derive(Debug)]
pub struct Jwt {
    sources: Sources,
    max_size: usize,
    keys: KeySet,
    rules: Rules,
    scopes: Vec<String>,
    consumer: Option<String>,
    unknown: Unknown,
    consumers: Arc<Consumers>,
    forward: bool,
    challenge: Challenge,
}

impl Policy for Jwt {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::UPSTREAM_REQUEST);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        if config.leeway.0 > MOST_LEEWAY {
            return Err(BuildError::new("the leeway is too long", "write at most `60s`, and keep the clocks in step").at("leeway"));
        }
        if config.max_size.bytes() == 0 {
            return Err(BuildError::new("no token fits into nothing", "write a size like `8KiB`").at("max_size"));
        }
        // What may stand in a challenge (RFC 6750 §3).
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
        for (name, words) in [("scopes", &config.scopes), ("required", &config.required)] {
            if let Some(index) = words.iter().position(|word| !is_word(word)) {
                let reason = "this is not one word of plain letters";
                return Err(BuildError::new(reason, "write one per entry, without spaces, quotes or backslashes").at(index).at(name));
            }
        }
        for (name, value) in [("typ", &config.typ), ("consumer", &config.consumer)] {
            if value.as_deref() == Some("") {
                return Err(BuildError::new(format!("`{name}` is empty"), format!("write a value, or leave `{name}` out")).at(name));
            }
        }
        if let Some(parameter) = &config.query {
            cx.told.credential(parameter);
        }
        cx.told.challenge(Challenge::new(&config.realm)?.0);
        Ok(Self {
            sources: sources(config)?,
            max_size: config.max_size.bytes(),
            keys: keys::build(&config.keys, cx.folder)?,
            rules: Rules {
                issuer: issuer(&config.issuer)?,
                audience: audience(&config.audience)?,
                expiry: config.expiry,
                required: config.required.clone(),
                typ: config.typ.as_deref().map(claims::media_type),
                leeway: config.leeway.0.as_secs_f64(),
            },
            scopes: config.scopes.clone(),
            consumer: config.consumer.clone(),
            unknown: config.unknown_consumer,
            consumers: cx.consumers.clone(),
            forward: config.forward,
            challenge: Challenge::new(&config.realm)?,
        })
    }

    async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        let token = match self.sources.find(req) {
            Ok(Some(token)) => token,
            Ok(None) => return Err(self.challenge.missing()),
            Err(source::Several) => return Err(self.challenge.several()),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let claims = self.verify(&token, now).map_err(|refusal| self.challenge.invalid(refusal))?;
        if !claims::grants(&claims, &self.scopes) {
            return Err(self.challenge.insufficient(&self.scopes));
        }
        if self.consumer.is_some() {
            // The token has the say: whom another policy has found is not whom it names.
            cx.consumer = self.consumer(&claims)?;
        }
        cx.claims = Some(Arc::new(Value::Object(claims)));
        Ok(Flow::Next)
    }

    fn upstream_request(&self, req: &mut RequestHeader, _cx: &mut Ctx) -> Result<(), Problem> {
        if self.forward { Ok(()) } else { self.sources.remove(req) }
    }
}

impl Jwt {
    /// The claims of a token that keeps every rule at `now`, in seconds since 1970. Claims are read only once the signature is known to be good.
    fn verify(&self, token: &[u8], now: f64) -> Result<Map<String, Value>, Refusal> {
        if token.len() > self.max_size {
            return Err("the token is too long".into());
        }
        let signed = token::verify_signature(token, &self.keys)?;
        let claims =
            token::object(&signed.payload).ok_or("the token's claims are not a JSON object, have a member twice, or nest too deeply")?;
        self.rules.check(signed.typ.as_deref(), &claims, now)?;
        Ok(claims)
    }

    /// The consumer that the claims name.
    fn consumer(&self, claims: &Map<String, Value>) -> Result<Option<Arc<Consumer>>, Problem> {
        let Some(path) = &self.consumer else { return Ok(None) };
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

/// The claim of that name, or where a dot goes deeper: a name may hold dots itself, as URLs do, so the whole name comes first.
fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(claim) = claims.get(path) {
        return Some(claim);
    }
    let (first, rest) = path.split_once('.')?;
    at(claims.get(first)?.as_object()?, rest)
}

fn sources(config: &Config) -> Result<Sources, BuildError> {
    for (name, value) in [("query", &config.query), ("cookie", &config.cookie)] {
        if value.as_deref() == Some("") {
            return Err(BuildError::new(format!("a {name} needs a name"), "write its name, like `token`").at(name));
        }
    }
    let header: Option<HeaderName> = match &config.header {
        None if config.query.is_some() || config.cookie.is_some() => None,
        None => Some(header::AUTHORIZATION),
        Some(name) => Some(editable(name).map_err(|error| error.at("header"))?),
    };
    Ok(Sources { header, query: config.query.clone(), cookie: config.cookie.clone() })
}

fn issuer(issuer: &str) -> Result<Option<String>, BuildError> {
    match issuer {
        "" => Err(BuildError::new("an issuer is needed", "write the `iss` of the tokens, or `any`").at("issuer")),
        "any" => Ok(None),
        issuer => Ok(Some(issuer.to_owned())),
    }
}

fn audience(audience: &Audience) -> Result<Option<Vec<String>>, BuildError> {
    let names = match audience {
        Audience::One(name) if name == "any" => return Ok(None),
        Audience::One(name) => std::slice::from_ref(name),
        Audience::Several(names) => names,
    };
    if names.is_empty() || names.iter().any(String::is_empty) {
        return Err(BuildError::new("an audience is needed", "write what the tokens name as `aud`, or `any`").at("audience"));
    }
    if names.iter().any(|name| name == "any") {
        return Err(BuildError::new("`any` stands for every audience", "write `audience: any`, or take it off the list").at("audience"));
    }
    Ok(Some(names.to_vec()))
}

/// How a refusal tells the client what to do (RFC 6750 §3).
#[derive(Debug)]
struct Challenge(HeaderValue);

impl Challenge {
    fn new(realm: &str) -> Result<Self, BuildError> {
        let plain = realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        let value = HeaderValue::from_str(&format!("Bearer realm=\"{realm}\"")).ok().filter(|_| plain);
        value
            .map(Challenge)
            .ok_or_else(|| BuildError::new("this realm cannot stand in a header", "use plain letters, digits and spaces").at("realm"))
    }

    /// No token: the client learns what is asked for, and no error (RFC 6750 §3.1).
    fn missing(&self) -> Problem {
        Problem::new(Kind::Unauthorized, "a bearer token is required").header(header::WWW_AUTHENTICATE, self.0.clone())
    }

    fn several(&self) -> Problem {
        self.refuse(Kind::BadRequest, "invalid_request", "more than one token was sent".into(), "")
    }

    fn invalid(&self, refusal: Refusal) -> Problem {
        let problem = self.refuse(Kind::Unauthorized, "invalid_token", refusal.detail, "");
        Problem { cause: refusal.cause, ..problem }
    }

    fn insufficient(&self, scopes: &[String]) -> Problem {
        let scope = format!(", scope=\"{}\"", scopes.join(" "));
        self.refuse(Kind::Forbidden, "insufficient_scope", "the token lacks a scope that is needed here".into(), &scope)
    }

    fn refuse(&self, kind: Kind, error: &str, detail: Cow<'static, str>, more: &str) -> Problem {
        let bare = self.0.to_str().unwrap_or_default();
        let value = HeaderValue::from_str(&format!("{bare}, error=\"{error}\", error_description=\"{detail}\"{more}"));
        Problem::new(kind, detail).header(header::WWW_AUTHENTICATE, value.unwrap_or_else(|_| self.0.clone()))
    }
}

#[cfg(test)]
mod tests;
