//! The settings of `jwt`: their docs are the user's reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{Duration, Secret, Size};

/// The settings of `jwt`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who issues the tokens: exactly the claim `iss`. `any` accepts every issuer that signs with one of the `keys`.
    pub issuer: String,
    /// Whom the tokens are for: the claim `aud` names at least one of these. `any` accepts tokens for anyone.
    pub audience: Audience,
    /// The keys that tokens may be signed with.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
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
    /// Whether the service gets the token too. Default: `true`.
    #[serde(default = "forward")]
    pub forward: bool,
    /// The longest token that is looked at. Default: `8KiB`.
    #[serde(default = "max_size")]
    pub max_size: Size,
    /// The protection space named in the `WWW-Authenticate` of refusals. Default: `tidegate`.
    #[serde(default = "realm")]
    pub realm: String,
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
    /// A file with a public key or certificate in PEM.
    pub pem_file: Option<String>,
    /// A file with a JWK Set. Keys for encryption and of unknown kinds are passed over.
    pub jwks_file: Option<String>,
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
