use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, header};
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::header_name;
use super::mint::Mint;
use crate::building::BuildError;
use crate::ctx::{self, Ctx};
use crate::expr::{Template, Variables, variables};
use crate::signing::Signer;
use crate::types::{self, Size};
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
    /// Bytes of tokens that are kept for callers that come again, over reloads too, as long as neither the key nor anything here changes: about 1 KiB for each.
    /// 0 signs one for each request. Default: `8MiB`.
    #[serde(default = "cache")]
    pub cache: Size,
}

fn ttl() -> types::Duration {
    types::Duration::secs(60)
}

fn cache() -> Size {
    Size::kib(8 * 1024)
}

/// Claims that the gateway writes itself.
const OWN: [&str; 9] = ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "groups", "scope"];

/// `jwt`, ready to sign.
#[derive(Debug)]
pub struct Signed {
    pub header: HeaderName,
    pub(super) mint: Arc<Mint>,
    subject: Template,
    claims: Box<[(Box<str>, Source)]>,
}

/// Where a claim comes from.
#[derive(Debug)]
enum Source {
    /// The caller's token, as it is there.
    Claim(Box<str>),
    Text(Template),
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
        if !(Duration::from_secs(10)..=Duration::from_secs(3600)).contains(&config.ttl.0) {
            let reason = "a shorter one could be over on its way, and a longer one can be used for long by who has stolen it";
            return Err(BuildError::new(reason, "write `10s` to `1h`").at("ttl"));
        }
        let header = header.unwrap_or(header::AUTHORIZATION);
        Ok(Self { mint: Arc::new(Mint::new(config, &header, base, signer)), header, subject, claims: claims.into() })
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
}
