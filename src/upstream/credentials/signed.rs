use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foldhash::fast::RandomState;
use http::{HeaderName, HeaderValue, header};
use moka::sync::Cache;
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Lacking;
use super::config::{header_name, value};
use crate::building::BuildError;
use crate::ctx::{self, Ctx};
use crate::expr::{Template, Variables, variables};
use crate::signing::Signer;
use crate::state::Offload;
use crate::types;
use crate::upstream::Base;

/// `jwt:` of `credentials`: a token for each caller, signed by the gateway. It has the claims `iss` (the `issuer` of `signing`), `aud`, `sub`, `groups` (of
/// the consumer), `scope` (that the caller's own token grants), `iat`, `exp` and `jti`, those that have a value. A service that must know who calls insists on
/// `sub`: where nobody is known, there is none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedConfig {
    /// Whom the token is for, which is what the service must look for: the claim `aud`.
    pub audience: String,
    /// Who calls: the claim `sub`, with variables. A request that lacks one of them has no `sub`. Default: `{consumer.name}`.
    pub subject: Option<String>,
    /// More claims, with variables: `{ email: "{claims.email}", ip: "{client.ip}" }`. A value that is one claim alone of the caller's token stays what it is
    /// there: a number, a list. What has no value is left out.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// The header that carries the token: after the word `Bearer` in `Authorization`, in any other without it. Default: Authorization.
    pub header: Option<String>,
    /// For how long a token holds, from `10s` to `1h`. It is used again for the same caller until a fifth of that is left. Default: `1m`.
    #[serde(default = "ttl")]
    pub ttl: types::Duration,
    /// How many tokens are kept for callers that come again; 0 signs one for each request. Default: 10000.
    #[serde(default = "cache")]
    pub cache: u64,
}

fn ttl() -> types::Duration {
    types::Duration::secs(60)
}

fn cache() -> u64 {
    10_000
}

/// Claims that the gateway writes itself.
const OWN: [&str; 9] = ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "groups", "scope"];

/// Bytes of what is told of one caller.
const MOST: usize = 16 * 1024;

/// `jwt`, ready to sign.
pub struct Signed {
    pub header: HeaderName,
    signer: Arc<Signer>,
    offload: Arc<Offload>,
    audience: Box<str>,
    subject: Template,
    claims: Box<[(Box<str>, Source)]>,
    ttl: Duration,
    /// By what they tell.
    kept: Option<Cache<Box<str>, HeaderValue, RandomState>>,
}

/// Where a claim comes from.
#[derive(Debug)]
enum Source {
    /// The caller's token, as it is there.
    Claim(Box<str>),
    Text(Template),
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signed").field("header", &self.header).field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl Signed {
    /// # Errors
    /// What is wrong, at its place.
    pub fn build(config: &SignedConfig, base: &Base<'_>, signer: Option<&Arc<Signer>>) -> Result<Self, BuildError> {
        let Some(signer) = signer.cloned() else {
            let fix = "write `signing: { issuer: https://gateway.example.com, keys: [{ pem_file: signing.pem }] }` at the top of the file";
            return Err(BuildError::new("the gateway has no keys to sign with", fix));
        };
        if config.audience.trim().is_empty() {
            return Err(BuildError::new("a token for nobody would do for everybody", "write the name of the service").at("audience"));
        }
        let known = Variables { params: &[], only_params: false };
        let subject = config.subject.as_deref().unwrap_or("{consumer.name}");
        let subject = Template::parse(subject, known).map_err(|error| error.at("subject"))?;
        let mut claims = Vec::new();
        for (name, text) in &config.claims {
            let at = |error: BuildError| error.at(name.as_str()).at("claims");
            if OWN.contains(&name.as_str()) {
                return Err(at(BuildError::new(format!("`{name}` is written by the gateway itself"), "choose another name")));
            }
            let template = Template::parse(text, known).map_err(at)?;
            let alone = variables(text).first().and_then(|name| Some((format!("{{{name}}}"), name.strip_prefix("claims.")?)));
            let source = match alone {
                Some((whole, claim)) if whole == *text => Source::Claim(claim.into()),
                _ => Source::Text(template),
            };
            claims.push((name.as_str().into(), source));
        }
        let header = config.header.as_deref().map(header_name).transpose().map_err(|error| error.at("header"))?;
        let ttl = config.ttl.0;
        if !(Duration::from_secs(10)..=Duration::from_secs(3600)).contains(&ttl) {
            let reason = "a shorter one could be over on its way, and a longer one can be used for long by who has stolen it";
            return Err(BuildError::new(reason, "write `10s` to `1h`").at("ttl"));
        }
        let cache = || Cache::builder().max_capacity(config.cache).time_to_live(ttl.mul_f64(0.8)).build_with_hasher(RandomState::default());
        Ok(Self {
            header: header.unwrap_or(header::AUTHORIZATION),
            signer,
            offload: base.shared.offload.clone(),
            audience: config.audience.as_str().into(),
            subject,
            claims: claims.into(),
            ttl,
            kept: (config.cache > 0).then(cache),
        })
    }

    /// What is told of this request's caller: a JSON object.
    pub fn about(&self, req: &RequestHeader, cx: &Ctx) -> String {
        let mut about = Map::new();
        if let Some(subject) = self.subject.render(req, cx).filter(|subject| !subject.is_empty()) {
            about.insert("sub".to_owned(), subject.into());
        }
        if let Some(consumer) = cx.consumer.as_ref().filter(|consumer| !consumer.groups.is_empty()) {
            about.insert("groups".to_owned(), consumer.groups.clone().into());
        }
        let claims = cx.claims.as_deref().and_then(Value::as_object);
        let scopes: Vec<_> = ctx::scopes(|name| claims?.get(name)).collect();
        if !scopes.is_empty() {
            about.insert("scope".to_owned(), scopes.join(" ").into());
        }
        for (name, source) in &self.claims {
            let value = match source {
                Source::Claim(path) => claims.and_then(|claims| ctx::claim(claims, path)).filter(|value| !value.is_null()).cloned(),
                Source::Text(template) => template.render(req, cx).map(|text| text.into_owned().into()),
            };
            if let Some(value) = value {
                about.insert(name.to_string(), value);
            }
        }
        Value::Object(about).to_string()
    }

    /// The token that tells this, where there is one.
    pub fn at_hand(&self, about: &str) -> Option<HeaderValue> {
        self.kept.as_ref()?.get(about)
    }

    /// Signs one that does. RSA does so beside the worker.
    ///
    /// # Errors
    /// There is too much to tell, or the system has no random numbers.
    pub async fn sign(&self, about: &str) -> Result<HeaderValue, Lacking> {
        let lacking = |cause: &str| Lacking { cause: cause.to_owned(), after: Duration::from_secs(1) };
        if about.len() > MOST {
            return Err(lacking("a token about this caller would be longer than 16 KiB"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut claims = serde_json::json!({
            "iss": self.signer.issuer(),
            "aud": &*self.audience,
            "iat": now,
            "exp": now + self.ttl.as_secs(),
            "jti": format!("{:032x}", rand::random::<u128>()),
        })
        .to_string();
        if let Some(more) = about.strip_prefix('{').filter(|more| *more != "}") {
            claims.pop();
            claims.push(',');
            claims.push_str(more);
        }
        let token = self.signer.sign("JWT", &claims, &self.offload).await.ok_or_else(|| lacking("a token could not be signed"))?;
        let text = if self.header == header::AUTHORIZATION { format!("Bearer {token}") } else { token };
        let value = value(&text).map_err(|error| lacking(&error.reason))?;
        if let Some(kept) = &self.kept {
            kept.insert(about.into(), value.clone());
            // What has to go for it goes now: there is nobody else to see to that.
            kept.run_pending_tasks();
        }
        Ok(value)
    }
}
