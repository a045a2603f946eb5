use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{Duration, Size};

/// The settings of `hmac`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The forms of signatures that are taken. Default: `[rfc9421]`.
    pub forms: Vec<Form>,
    /// What a signature has to cover at least, besides its time and, where `body` is `verify`, the digest of the body: derived components like `@method`
    /// and names of headers, which then have to be there. `@target-uri` covers `@scheme`, `@authority`, `@path` and `@query`; `@request-target` covers
    /// the last two; `@query` is wanted only where there is one. Of the older form `(request-target)` and `host` are read as `@method`,
    /// `@request-target` and `@authority`. Default: `["@method", "@authority", "@path", "@query"]`.
    pub components: Vec<String>,
    /// How old a signature may be. It is good once in that time. Default: `5m`.
    pub max_age: Duration,
    /// How far the clock of a client may be ahead. Default: `30s`.
    pub clock_skew: Duration,
    /// How many signatures are remembered, so that none is good twice: those of `max_age`, by this process, about 40 bytes each. With more than that the
    /// next one gets 503. 0 remembers none: until it is too old, whoever has seen a signature can use it again. Default: `500000`.
    pub remember: usize,
    /// What becomes of the body. Default: `verify`.
    pub body: Body,
    /// Bytes of a body that are read to verify it; a larger one gets 413. Default: `1MiB`.
    pub max_body: Size,
    /// The label of the signature that counts, where others add their own. Default: there is one, whatever its label.
    pub label: Option<String>,
    /// The `tag` of the signature that counts; those with another, or without, are passed over.
    pub tag: Option<String>,
    /// The realm of the challenge: what a refused client is told it needs a key for.
    pub realm: Option<String>,
    /// Whether the service gets the signature, too. Default: `false`.
    pub forward: bool,
}

/// A form of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// HTTP message signatures (RFC 9421): `Signature-Input` and `Signature`, with `Content-Digest` (RFC 9530) for the body.
    Rfc9421,
    /// The older `Authorization: Signature keyId="…",algorithm="hmac-sha256",headers="(request-target) host date digest",signature="…"` of
    /// draft-cavage-http-signatures, with `Digest` for the body; and the same as `Authorization: hmac username="…",…`. Of secrets alone.
    Cavage,
}

/// What becomes of the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// Where there is one, its digest has to be covered, and to be that of the body, which is read to its end before the service hears of the request.
    Verify,
    /// It is not looked at: whoever is between the client and the gateway can change it.
    Ignore,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            forms: vec![Form::Rfc9421],
            components: ["@method", "@authority", "@path", "@query"].map(Into::into).into(),
            max_age: Duration::secs(300),
            clock_skew: Duration::secs(30),
            remember: 500_000,
            body: Body::Verify,
            max_body: Size::kib(1024),
            label: None,
            tag: None,
            realm: None,
            forward: false,
        }
    }
}
