use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::oauth2::OAuth2Config;
use super::signed::SignedConfig;
use crate::building::BuildError;
use crate::types::{FRAMING, Secret};

/// `credentials:` of a service: who the gateway is to it, told with each request, copy, part of a composed answer and health check. What the client has sent
/// under the same names never goes along. For a certificate see `tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("anyOf" = [{"required": ["headers"]}, {"required": ["basic"]}, {"required": ["oauth2"]}, {"required": ["jwt"]}]))]
pub struct CredentialsConfig {
    /// Headers with fixed values, such as `{ X-API-Key: "${ORDERS_KEY}" }`.
    pub headers: BTreeMap<String, Secret>,
    /// A user and a password, in `Authorization`.
    pub basic: Option<BasicConfig>,
    /// A token that an OAuth 2 provider gives to the gateway, in `Authorization`.
    pub oauth2: Option<OAuth2Config>,
    /// A token for each caller that the gateway signs itself, with the keys of `signing`.
    pub jwt: Option<SignedConfig>,
    /// Whether the client's own `Authorization` goes along where none of these takes its place. Default: `false`.
    pub keep_authorization: bool,
}

/// `basic:`: RFC 7617.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicConfig {
    /// Without a colon.
    pub username: String,
    /// Such as `${ORDERS_PASSWORD}` or `${file:/run/secrets/orders}`.
    pub password: Secret,
}

impl CredentialsConfig {
    /// What nobody else knows of them.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let oauth2 = self.oauth2.iter().filter_map(|oauth2| oauth2.client_secret.as_ref());
        self.headers.values().chain(self.basic.iter().map(|basic| &basic.password)).chain(oauth2)
    }

    /// The files that they name.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.oauth2.iter().flat_map(OAuth2Config::files)
    }
}

/// Headers that credentials cannot be in: they say something else.
const TAKEN: [HeaderName; 8] = [
    header::HOST,
    header::EXPECT,
    header::FORWARDED,
    header::VIA,
    header::CONTENT_TYPE,
    header::ACCEPT_ENCODING,
    header::RANGE,
    header::PROXY_AUTHORIZATION,
];

/// The header of that name.
///
/// # Errors
/// There is none, or it is for something else.
pub(super) fn header_name(name: &str) -> Result<HeaderName, BuildError> {
    let known = HeaderName::try_from(name);
    let known = known.map_err(|_| BuildError::new(format!("`{name}` is not a header name"), "use letters, digits and `-`"))?;
    if FRAMING.contains(&known) || TAKEN.contains(&known) || known.as_str().starts_with("x-forwarded-") {
        return Err(BuildError::new(format!("`{name}` is no header for credentials"), "write one like `X-API-Key`"));
    }
    Ok(known)
}

/// A secret as the value of a header, which nobody shows.
///
/// # Errors
/// It is empty, or cannot stand there.
pub(super) fn value(text: &str) -> Result<HeaderValue, BuildError> {
    if text.trim().is_empty() {
        return Err(BuildError::new("there is nothing in it", "write it as `${NAME}` or `${file:…}`"));
    }
    let value = HeaderValue::try_from(text);
    let mut value = value
        .map_err(|_| BuildError::new("it cannot stand in a header", "look for a line break in it, or a character that is not ASCII"))?;
    value.set_sensitive(true);
    Ok(value)
}
