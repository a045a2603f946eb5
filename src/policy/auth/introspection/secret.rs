//! How the gateway shows a provider who it is (RFC 6749 §2.3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::{Serializer, byte_serialize};
use http::{HeaderName, HeaderValue, header};

use super::config::{ClientAuth, Config};
use crate::building::BuildError;
use crate::types::Secret;

/// The id and the secret of the gateway.
#[derive(Debug)]
pub(super) struct Own {
    /// The header that carries them, where one does.
    header: Option<(HeaderName, HeaderValue)>,
    /// Otherwise the fields of the form that do.
    fields: Option<(String, Secret)>,
}

impl Own {
    /// # Errors
    /// One of them is missing, at its place.
    pub(super) fn build(config: &Config) -> Result<Self, BuildError> {
        if config.client_id.is_empty() {
            return Err(
                BuildError::new("the provider answers only those whom it knows", "write the id of the gateway there").at("client_id")
            );
        }
        if config.client_secret.reveal().is_empty() {
            return Err(BuildError::new("the secret is empty", "write it as `${NAME}` or `${file:…}`").at("client_secret"));
        }
        Ok(match config.client_auth {
            ClientAuth::ClientSecretPost => Self { header: None, fields: Some((config.client_id.clone(), config.client_secret.clone())) },
            ClientAuth::ClientSecretBasic => {
                // Both are escaped before they are joined: a colon in the id would end it.
                let escaped = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", escaped(&config.client_id), escaped(config.client_secret.reveal()));
                let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)));
                let too_long = |_| BuildError::new("the secret cannot stand in a header", "write a shorter one").at("client_secret");
                let mut value = value.map_err(too_long)?;
                value.set_sensitive(true);
                Self { header: Some((header::AUTHORIZATION, value)), fields: None }
            }
        })
    }

    /// The headers that say who asks.
    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        self.header.as_slice()
    }

    /// The form that asks about a token (RFC 7662 §2.1).
    pub(super) fn form(&self, token: &str) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("token", token).append_pair("token_type_hint", "access_token");
        if let Some((id, secret)) = &self.fields {
            form.append_pair("client_id", id).append_pair("client_secret", secret.reveal());
        }
        form.finish()
    }
}
