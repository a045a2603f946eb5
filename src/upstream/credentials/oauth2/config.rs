use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::tls::PairConfig;
use crate::types::{Duration, Secret};
use crate::upstream::TlsConfig;

/// `oauth2:` of `credentials`: the gateway is a client of an OAuth 2 provider (client credentials, RFC 6749 §4.4). Its token is fetched beside the requests, once
/// for all services that say the same, and again when three quarters of its time are over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{"required": ["url"]}, {"required": ["issuer"]}]))]
pub struct OAuth2Config {
    /// The URL of the provider's token endpoint.
    pub url: Option<String>,
    /// The provider that says where it is (`token_endpoint` in `/.well-known/openid-configuration` or `/.well-known/oauth-authorization-server`).
    pub issuer: Option<String>,
    /// Who the gateway is to the provider.
    pub client_id: String,
    /// What proves it, such as `${CLIENT_SECRET}`.
    pub client_secret: Option<Secret>,
    /// How that is shown: `client_secret_basic`, in the header; `client_secret_post`, in the body; `private_key_jwt`, signed with the first key of `signing` (the
    /// provider reads the public ones where the handler `jwks` shows them); `tls_client_auth`, by the `client_certificate`. Default: client_secret_basic.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// What the token shall be good for. Default: what the provider gives by itself.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Whom it shall be for, at providers that want an `audience`.
    pub audience: Option<String>,
    /// Whom it shall be for, at providers that want a `resource` (RFC 8707): the URL of the service.
    pub resource: Option<String>,
    /// How long a token holds of which the provider does not say it (`expires_in`). Default: `5m`.
    #[serde(default = "ttl")]
    pub ttl: Duration,
    /// How long each answer of the provider may take, as a whole. Default: `5s`.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// How long a request waits for a token, where there is none yet or a service did not take the last one; without one it gets 503. Default: `2s`.
    #[serde(default = "wait")]
    pub wait: Duration,
    /// How many requests wait at once; others get 503. Default: 1000.
    #[serde(default = "waiting")]
    #[schemars(range(min = 1))]
    pub waiting: usize,
    /// The least time between two tokens that are fetched because a service answered with 401. Default: `30s`.
    #[serde(default = "cooldown")]
    pub cooldown: Duration,
    /// A file with the certificates, in PEM, of those who may vouch for the provider's host. Default: those that the system believes.
    pub ca: Option<String>,
    /// What the gateway shows to a provider that asks who it is over TLS.
    pub client_certificate: Option<PairConfig>,
    /// Whether the provider may be asked without TLS: who is on the way then sees the secret and the tokens. For one on the same machine. Default: `false`.
    #[serde(default)]
    pub allow_http: bool,
}

/// How the gateway shows the provider who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ClientAuth {
    /// By its secret, in the header `Authorization` (RFC 6749 §2.3.1).
    #[default]
    #[serde(rename = "client_secret_basic")]
    Basic,
    /// By its secret, in the body (RFC 6749 §2.3.1).
    #[serde(rename = "client_secret_post")]
    Post,
    /// By a token that it signs (RFC 7523 §2.2).
    #[serde(rename = "private_key_jwt")]
    Signed,
    /// By its certificate (RFC 8705 §2).
    #[serde(rename = "tls_client_auth")]
    Certificate,
}

impl OAuth2Config {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.ca.as_deref().into_iter().chain(self.client_certificate.iter().flat_map(PairConfig::files))
    }

    /// Whom to believe, and who we are.
    pub(super) fn tls(&self) -> TlsConfig {
        TlsConfig { ca: self.ca.clone(), client_certificate: self.client_certificate.clone(), ..TlsConfig::default() }
    }

    /// # Errors
    /// What cannot work, at its place.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        for (name, time) in [("ttl", self.ttl), ("timeout", self.timeout), ("wait", self.wait), ("cooldown", self.cooldown)] {
            time.not_zero().map_err(|error| error.at(name))?;
        }
        if self.waiting == 0 {
            return Err(BuildError::new("no request could wait", "write at least 1").at("waiting"));
        }
        if self.client_id.is_empty() {
            let error = BuildError::new("the provider gives tokens to those whom it knows", "write the id that the gateway has there");
            return Err(error.at("client_id"));
        }
        let is_scope =
            |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if let Some(place) = self.scopes.iter().position(|scope| !is_scope(scope)) {
            let error = BuildError::new("this is not one scope (RFC 6749 §3.3)", "write each as an entry of its own, without spaces");
            return Err(error.at(place).at("scopes"));
        }
        Ok(())
    }
}

fn ttl() -> Duration {
    Duration::secs(300)
}

fn timeout() -> Duration {
    Duration::secs(5)
}

fn wait() -> Duration {
    Duration::secs(2)
}

fn waiting() -> usize {
    1000
}

fn cooldown() -> Duration {
    Duration::secs(30)
}
