//! Shows the public keys of `signing`, for those who verify what the gateway signs (RFC 7517 §5).
//!
//! ```yaml
//! routes:
//!   - name: keys
//!     match: { path: /.well-known/jwks.json, methods: [GET] }
//!     jwks: {}
//! ```

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::signing::Signer;
use crate::types::{Duration, Reply};

/// `jwks:` of a route: all keys of `signing`, each known by its thumbprint (RFC 7638).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JwksConfig {
    /// For how long others may keep them (`Cache-Control`): so long before it signs a new key should be among them. Default: `10m`.
    pub max_age: Duration,
}

impl Default for JwksConfig {
    fn default() -> Self {
        Self { max_age: Duration::secs(600) }
    }
}

/// The answer.
///
/// # Errors
/// There are no keys to show.
pub fn build(config: &JwksConfig, signer: Option<&Signer>) -> Result<Arc<Reply>, BuildError> {
    let Some(signer) = signer else {
        let fix = "write `signing: { issuer: https://gateway.example.com, keys: [{ pem_file: signing.pem }] }` at the top of the file";
        return Err(BuildError::new("the gateway has no keys to show", fix));
    };
    let cache = HeaderValue::try_from(format!("public, max-age={}", config.max_age.0.as_secs()));
    let headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json")),
        (header::CACHE_CONTROL, cache.unwrap_or_else(|_| HeaderValue::from_static("no-store"))),
    ];
    Ok(Arc::new(Reply { status: StatusCode::OK, headers, body: signer.published() }))
}
