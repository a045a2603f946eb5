//! The settings of `introspection`: their docs are the user's reference.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::auth::jwt::{Audience, IssuerConfig, Unknown};
use crate::tls::PairConfig;
use crate::types::{Duration, Secret, Size};
use crate::upstream::TlsConfig;

/// The settings of `introspection`. The provider is asked at `url`, or where `issuer` says that it is to be asked.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{"required": ["url"]}, {"required": ["issuer"]}]))]
pub struct Config {
    /// The URL of the provider's introspection endpoint (RFC 7662).
    pub url: Option<String>,
    /// Who issues the tokens: exactly the `iss` that the provider tells. Without `url` it must be the URL of the issuer, which says where it is to be asked
    /// (`introspection_endpoint` in `/.well-known/openid-configuration` or `/.well-known/oauth-authorization-server`). Default: what the provider tells
    /// of the issuer is not looked at.
    pub issuer: Option<String>,
    /// Who the gateway is to the provider.
    pub client_id: String,
    /// What proves it.
    pub client_secret: Secret,
    /// How it is shown: `client_secret_basic`, in the header, or `client_secret_post`, in the body. Default: client_secret_basic.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// Whom the tokens are for: the provider's `aud` names at least one of these. `any` accepts tokens for anyone, and those of which it is not told.
    pub audience: Audience,
    /// Scopes that a token must have, all of them; a token without them gets 403.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What the provider must tell of a token, such as `sub`, besides what is checked anyway.
    #[serde(default)]
    pub required: Vec<String>,
    /// Values that must be among what it tells, like `{ tenant: acme, roles: [admin, editor] }`: this one, or one of these. Of a list one entry is enough. `.`
    /// goes deeper.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Value>,
    /// What names the consumer, in the place of one that a policy above has found: like `client_id` or `sub`; `.` goes deeper. Default: tokens name no consumer.
    pub consumer: Option<String>,
    /// What happens to a good token that names no known consumer. Default: `refuse`, with 403.
    #[serde(default)]
    pub unknown_consumer: Unknown,
    /// For how long at most the provider is believed without being asked again: so long may a token still be good that was taken back. Its own end (`exp`)
    /// comes first. `0s` asks for each request. What was told is kept over reloads. Default: `1m`.
    #[serde(default = "cache")]
    pub cache: Duration,
    /// The same for a token that is not good. Default: `10s`.
    #[serde(default = "cache_inactive")]
    pub cache_inactive: Duration,
    /// Bytes of what is kept: of good tokens so many, of others an eighth. Tokens are known by their SHA-256 alone. Default: `4MiB`.
    #[serde(default = "cache_size")]
    pub cache_size: Size,
    /// How long the provider may take. A token that it has said nothing of by then gets 503. Default: `2s`.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// How many requests wait for the provider at once; others get 503. Default: 256.
    #[serde(default = "waiting")]
    #[schemars(range(min = 1))]
    pub waiting: usize,
    /// A file with the certificates, in PEM, of those who may vouch for the provider's host. Default: those that the system believes.
    pub ca: Option<String>,
    /// What the gateway shows to a provider that asks who it is over TLS.
    pub client_certificate: Option<PairConfig>,
    /// Whether the provider may be asked without TLS: who is on the way then sees tokens and the secret, and can say that any token is good. For one on the same
    /// machine. Default: `false`.
    #[serde(default)]
    pub allow_http: bool,
    /// The header that carries the token: `Authorization` after the word `Bearer`, any other with or without it. Default: `Authorization`, unless
    /// `query` or `cookie` is set. A request that carries more than one token is refused.
    pub header: Option<String>,
    /// The query parameter that may carry the token. Addresses end up in logs and histories: prefer a header.
    pub query: Option<String>,
    /// The cookie that may carry the token.
    pub cookie: Option<String>,
    /// How far the clocks of provider and gateway may differ, at most `60s`. Default: `30s`.
    #[serde(default = "leeway")]
    pub leeway: Duration,
    /// A file with tokens that were taken back before their time: a line `jti ID` for one, `sub NAME` for all of a subject, `sub NAME before TIME`, a date or RFC 3339, for
    /// those of it that were issued before; `#` begins a comment. It is read again when it changes. Default: none. `redis.revoked` is for all policies.
    pub revoked: Option<String>,
    /// Whether the service gets the token too. Default: `true`.
    #[serde(default = "forward")]
    pub forward: bool,
    /// The longest token that is asked about. Default: `8KiB`.
    #[serde(default = "max_size")]
    pub max_size: Size,
    /// The protection space named in the `WWW-Authenticate` of refusals. Default: `tidegate`.
    #[serde(default = "realm")]
    pub realm: String,
}

/// How the gateway shows the provider who it is (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// In the header `Authorization`.
    #[default]
    ClientSecretBasic,
    /// In the body.
    ClientSecretPost,
}

impl Config {
    /// What must be told of a token, as it is written for one issuer of `jwt`.
    pub(super) fn rules(&self) -> IssuerConfig {
        IssuerConfig {
            audience: Some(self.audience.clone()),
            required: Some(self.required.clone()),
            claims: Some(self.claims.clone()),
            scopes: Some(self.scopes.clone()),
            consumer: self.consumer.clone(),
            ..IssuerConfig::default()
        }
    }

    /// Whether any token names the consumer.
    pub fn identifies(&self) -> bool {
        self.consumer.is_some()
    }

    /// Who is asked, and how: policies that say the same ask together.
    pub(super) fn asking(&self) -> String {
        let Self { url, issuer, client_id, client_auth, timeout, waiting, cache, cache_inactive, cache_size, .. } = self;
        let (secret, tls, plain) = (self.secret(), self.tls(), self.allow_http);
        format!(
            "{url:?} {issuer:?} {client_id:?} {secret} {client_auth:?} {tls:?} {plain} {timeout:?} {waiting} {cache:?} {cache_inactive:?} {cache_size:?}"
        )
    }

    /// Tells secrets apart, and does not show them.
    pub(super) fn secret(&self) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(self.client_secret.reveal())
    }

    /// The files that it names.
    pub(super) fn files(&self) -> Vec<&str> {
        let files = [self.ca.as_deref(), self.revoked.as_deref()].into_iter().flatten();
        files.chain(self.client_certificate.iter().flat_map(PairConfig::files)).collect()
    }

    /// Whom to believe, and who we are.
    pub(super) fn tls(&self) -> TlsConfig {
        TlsConfig { ca: self.ca.clone(), client_certificate: self.client_certificate.clone(), ..TlsConfig::default() }
    }
}

fn cache() -> Duration {
    Duration::secs(60)
}

fn cache_inactive() -> Duration {
    Duration::secs(10)
}

fn cache_size() -> Size {
    Size::kib(4096)
}

fn timeout() -> Duration {
    Duration::secs(2)
}

fn waiting() -> usize {
    256
}

fn leeway() -> Duration {
    Duration::secs(30)
}

fn forward() -> bool {
    true
}

fn max_size() -> Size {
    Size::kib(8)
}

fn realm() -> String {
    "tidegate".to_owned()
}
