//! The settings of `jwt`: their docs are the user's reference.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::auth::jwks::FetchConfig;
use crate::types::{Duration, Secret, Size};

/// The settings of `jwt`. Either `issuer` names the one issuer, or `issuers` lists several; what is said of keys and claims beside `issuers` holds for
/// each of them that says nothing else.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["issuer", "audience"]}, {"required": ["issuers"]}]))]
pub struct Config {
    /// Who issues the tokens: exactly the claim `iss`. `any` accepts every issuer that signs with one of the keys. Without `keys` and `jwks` it must be the
    /// URL of an OpenID provider, which says where its keys are (`/.well-known/openid-configuration`).
    pub issuer: Option<String>,
    /// Whom the tokens are for: the claim `aud` names at least one of these. `any` accepts tokens for anyone.
    pub audience: Option<Audience>,
    /// The keys that tokens may be signed with.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    /// The URL of the issuer's keys (a JWK Set). They are fetched beside the requests, and again before their time is over.
    pub jwks: Option<String>,
    /// Several issuers, each with its own keys: a token is checked with those of the issuer that it names.
    #[serde(default)]
    pub issuers: Vec<IssuerConfig>,
    /// The algorithms that tokens may be signed with. Default: those that the keys are for; a fetched key of RSA that does not say it is for RS256.
    #[serde(default)]
    #[schemars(extend("items" = {"enum": ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519"]}))]
    pub algorithms: Vec<String>,
    /// How keys are fetched that come from `jwks` or an OpenID provider.
    #[serde(default, skip_serializing_if = "FetchConfig::is_default")]
    pub fetch: FetchConfig,
    /// The header that carries the token: `Authorization` after the word `Bearer`, any other with or without it. Default: `Authorization`, unless
    /// `query` or `cookie` is set. A request that carries more than one token is refused.
    pub header: Option<String>,
    /// The query parameter that may carry the token. Addresses end up in logs and histories: prefer a header.
    pub query: Option<String>,
    /// The cookie that may carry the token.
    pub cookie: Option<String>,
    /// How far the clocks of issuer and gateway may differ, at most `60s`. Default: `30s`.
    #[serde(default = "leeway")]
    pub leeway: Duration,
    /// Whether a token must say when it expires (`exp`). A time that it says always counts. Default: `required`.
    #[serde(default)]
    pub expiry: Expiry,
    /// Claims that a token must have, besides those that are checked anyway.
    #[serde(default)]
    pub required: Vec<String>,
    /// Values that claims must have, like `{ tenant: acme, roles: [admin, editor] }`: this one, or one of these. Of a claim that is a list, one entry is enough.
    /// `.` goes deeper, like `realm_access.roles`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Value>,
    /// The type that a token must have in its header (`typ`), like `at+jwt` for access tokens (RFC 9068). Default: any or none, but those that are no access
    /// tokens: `logout+jwt` and `dpop+jwt`.
    pub typ: Option<String>,
    /// Scopes that a token must have, all of them, in its claim `scope` or else `scp`; a token without them gets 403.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// The claim that names the consumer, in the place of one that a policy above has found: like `sub`; `.` goes deeper, like `act.sub`. Default: tokens
    /// name no consumer.
    pub consumer: Option<String>,
    /// What happens to a valid token that names no known consumer. Default: `refuse`, with 403.
    #[serde(default)]
    pub unknown_consumer: Unknown,
    /// A file with tokens that were taken back before their time: a line `jti ID` for one, `sub NAME` for all of a subject, `sub NAME before TIME`, a date or RFC 3339, for
    /// those of it that were issued before; `#` begins a comment. It is read again when it changes. Default: none. `redis.revoked` is for all policies.
    pub revoked: Option<String>,
    /// Whether the service gets the token too. Default: `true`.
    #[serde(default = "forward")]
    pub forward: bool,
    /// The longest token that is looked at. Default: `8KiB`.
    #[serde(default = "max_size")]
    pub max_size: Size,
    /// Bytes of tokens that were verified, with their claims, which are kept so that the next request with one is cheaper: until the token expires or the
    /// keys change. 0 keeps none. Default: `4MiB`.
    #[serde(default = "cache")]
    pub cache: Size,
    /// The protection space named in the `WWW-Authenticate` of refusals. Default: `tidegate`.
    #[serde(default = "realm")]
    pub realm: String,
}

/// One of several issuers. What it leaves out is as it is said beside `issuers`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// Who it is: exactly the claim `iss`. Without `keys` and `jwks` it must be the URL of an OpenID provider.
    pub issuer: String,
    /// Whom its tokens are for.
    pub audience: Option<Audience>,
    /// The keys that its tokens may be signed with.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    /// The URL of its keys (a JWK Set).
    pub jwks: Option<String>,
    /// The algorithms that its tokens may be signed with.
    #[schemars(extend("items" = {"enum": ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519"]}))]
    pub algorithms: Option<Vec<String>>,
    /// How its keys are fetched: the whole of it, in the place of that beside `issuers`.
    pub fetch: Option<FetchConfig>,
    /// Claims that its tokens must have.
    pub required: Option<Vec<String>>,
    /// Values that claims of its tokens must have.
    pub claims: Option<BTreeMap<String, Value>>,
    /// The type that its tokens must have.
    pub typ: Option<String>,
    /// Scopes that its tokens must have.
    pub scopes: Option<Vec<String>>,
    /// The claim of its tokens that names the consumer.
    pub consumer: Option<String>,
}

/// One audience or several.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged, expecting = "an audience must be text, like `api`, or a list of texts")]
pub enum Audience {
    /// This one, or `any`.
    One(String),
    /// One of these.
    Several(Vec<String>),
}

/// Whether tokens must expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// A token without `exp` is refused.
    #[default]
    Required,
    /// A token without `exp` is good for ever.
    Optional,
}

/// What happens to a caller that is no known consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// It is refused.
    #[default]
    Refuse,
    /// It goes on without a consumer, even where a policy above has found one.
    Allow,
}

/// One key, or the keys of one file: exactly one of `secret`, `secret_base64`, `pem`, `pem_file` and `jwks_file`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyConfig {
    /// The key's id, as tokens name it (`kid`). A key without id is tried for tokens that name no known key.
    pub id: Option<String>,
    /// What the key signs with, and nothing else is accepted with it. Needed for a secret and an RSA key; a curve tells it. For a JWKS file: what keys
    /// sign with that do not say it.
    #[schemars(extend("enum" = [null, "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA", "Ed25519"]))]
    pub algorithm: Option<String>,
    /// A shared secret as text, at least 32 bytes for HS256, 48 for HS384, 64 for HS512.
    pub secret: Option<Secret>,
    /// A shared secret in base64, standard or for URLs, with or without padding.
    pub secret_base64: Option<Secret>,
    /// A public key or certificate in PEM.
    pub pem: Option<String>,
    /// A file with a public key or certificate in PEM. It is read again when it changes.
    pub pem_file: Option<String>,
    /// A file with a JWK Set. Keys for encryption and of unknown kinds are passed over. It is read again when it changes.
    pub jwks_file: Option<String>,
}

impl Config {
    /// Each issuer, and where it stands: none for what stands in `jwt` itself.
    pub(super) fn all(&self) -> Vec<(Option<usize>, IssuerConfig)> {
        let place = |place| (!self.issuers.is_empty()).then_some(place);
        let alone = || IssuerConfig {
            issuer: self.issuer.clone().unwrap_or_default(),
            keys: self.keys.clone(),
            jwks: self.jwks.clone(),
            ..IssuerConfig::default()
        };
        let listed = if self.issuers.is_empty() { vec![alone()] } else { self.issuers.clone() };
        let complete = |issuer: IssuerConfig| IssuerConfig {
            audience: issuer.audience.or_else(|| self.audience.clone()),
            algorithms: issuer.algorithms.or_else(|| Some(self.algorithms.clone())),
            fetch: issuer.fetch.or_else(|| Some(self.fetch.clone())),
            required: issuer.required.or_else(|| Some(self.required.clone())),
            claims: issuer.claims.or_else(|| Some(self.claims.clone())),
            typ: issuer.typ.or_else(|| self.typ.clone()),
            scopes: issuer.scopes.or_else(|| Some(self.scopes.clone())),
            consumer: issuer.consumer.or_else(|| self.consumer.clone()),
            ..issuer
        };
        listed.into_iter().enumerate().map(|(at, issuer)| (place(at), complete(issuer))).collect()
    }

    /// Whether any token names the consumer.
    pub fn identifies(&self) -> bool {
        self.consumer.is_some() || self.issuers.iter().any(|issuer| issuer.consumer.is_some())
    }

    /// The files that it names.
    pub(super) fn files(&self) -> Vec<&str> {
        let keys = self.keys.iter().chain(self.issuers.iter().flat_map(|issuer| &issuer.keys));
        let fetches = std::iter::once(&self.fetch).chain(self.issuers.iter().filter_map(|issuer| issuer.fetch.as_ref()));
        let of_keys = keys.flat_map(|key| key.pem_file.as_deref().into_iter().chain(key.jwks_file.as_deref()));
        of_keys.chain(fetches.flat_map(FetchConfig::files)).chain(self.revoked.as_deref()).collect()
    }
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

fn cache() -> Size {
    Size::kib(4096)
}

fn realm() -> String {
    "tidegate".to_owned()
}
