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
    /// How old a signature may be. It is good once in that time, see `remember`. Default: `5m`.
    pub max_age: Duration,
    /// How far the clock of a client may be ahead. Default: `30s`.
    pub clock_skew: Duration,
    /// How many signatures are remembered, so that none is good twice, not even on another route: this process has one memory for every `hmac`, as large as
    /// the largest `remember` and as long as the longest `max_age` of them, by the keys that sign. No key has more of it than it leaves to others, so half
    /// of it at most; what a key signs beyond gets 503 with `Retry-After`. The default is enough, with a `max_age` of five minutes, for 1600 signed
    /// requests a second by one key, 3200 by all; with one of a minute for 7000 and 14000. It takes 40 bytes for each at most: 40 MB. 0 remembers none: until
    /// it is too old, whoever has seen a signature can use it again. Default: `1000000`.
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
    /// Whether the service gets the signature, too. Signatures beside the one that counts, by `label` or `tag`, it gets anyway. Default: `false`.
    pub forward: bool,
}

/// A form of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// HTTP message signatures (RFC 9421): `Signature-Input` and `Signature`, with `Content-Digest` (RFC 9530) for the body.
    Rfc9421,
    /// The older `Authorization: Signature keyId="…",algorithm="hmac-sha256",headers="(request-target) host date digest",signature="…"` of
    /// draft-cavage-http-signatures, with `Digest` for the body; and the same as `Authorization: hmac username="…",…`, as Kong's `hmac-auth` has it. Of
    /// secrets alone. It has no nonce, and of two equal requests in one second the signatures are the same, so that the second is refused as used before.
    /// Clients that send such let something differ that they cover: the query, or a header with an id. Where they cannot, `remember: 0` takes each as
    /// often as it comes while it is young enough, as Kong does: then keep `max_age` short.
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
            remember: 1_000_000,
            body: Body::Verify,
            max_body: Size::kib(1024),
            label: None,
            tag: None,
            realm: None,
            forward: false,
        }
    }
}
