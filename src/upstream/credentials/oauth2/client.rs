//! What the gateway asks a token with, and how it shows who it is (RFC 6749 §2.3, RFC 7523 §2.2).

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::{Serializer, byte_serialize};
use http::{HeaderName, HeaderValue, header};
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::config::{ClientAuth, OAuth2Config};
use crate::building::BuildError;
use crate::signing::Signer;
use crate::state::Offload;
use crate::types::Secret;
use crate::upstream::Missed;
use crate::upstream::credentials::config::value;

/// The gateway, as the provider knows it.
#[derive(Debug)]
pub struct Client {
    pub id: Box<str>,
    proof: Proof,
    /// What its secret looks like wherever it goes.
    secrets: Secrets,
    /// What is asked for, of a form.
    wish: Box<[(&'static str, String)]>,
    /// The scopes of it.
    pub scope: Box<str>,
    /// The audience and the resource of it.
    pub audience: Box<str>,
    /// Whom a token that it signs is for.
    provider: Box<str>,
    offload: Arc<Offload>,
}

struct Secrets(Box<[Box<str>]>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Debug)]
enum Proof {
    Header(HeaderValue),
    Body(Secret),
    Signed(Arc<Signer>),
    /// The certificate.
    None,
}

impl Client {
    /// # Errors
    /// What proves who it is lacks, or is too much.
    pub(super) fn build(
        config: &OAuth2Config,
        provider: &str,
        signer: Option<&Arc<Signer>>,
        offload: &Arc<Offload>,
    ) -> Result<Self, BuildError> {
        let wants_secret = matches!(config.client_auth, ClientAuth::Basic | ClientAuth::Post);
        let secret = match &config.client_secret {
            Some(secret) if wants_secret && !secret.reveal().is_empty() => secret.clone(),
            Some(_) if wants_secret => {
                return Err(BuildError::new("there is nothing in it", "write it as `${NAME}` or `${file:…}`").at("client_secret"));
            }
            None if wants_secret => {
                let fix = "write it as `${NAME}` or `${file:…}`, or another `client_auth`";
                return Err(BuildError::new("the provider asks for a secret", fix).at("client_secret"));
            }
            Some(_) => return Err(BuildError::new("with this `client_auth` there is no secret", "remove it").at("client_secret")),
            None => Secret::from(""),
        };
        let proof = match config.client_auth {
            ClientAuth::Post => Proof::Body(secret.clone()),
            ClientAuth::Basic => {
                // Both are escaped before they are joined: a colon in the id would end it.
                let escaped = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", escaped(&config.client_id), escaped(secret.reveal()));
                Proof::Header(value(&format!("Basic {}", STANDARD.encode(pair))).map_err(|error| error.at("client_secret"))?)
            }
            ClientAuth::Signed => Proof::Signed(signer.cloned().ok_or_else(|| {
                let fix =
                    "write `signing: { issuer: https://gateway.example.com, keys: [{ pem_file: signing.pem }] }` at the top of the file";
                BuildError::new("the gateway has no keys to sign with", fix).at("client_auth")
            })?),
            ClientAuth::Certificate if config.client_certificate.is_none() => {
                let error = BuildError::new("there is no certificate that would show it", "write `client_certificate: { cert, key }`");
                return Err(error.at("client_auth"));
            }
            ClientAuth::Certificate => Proof::None,
        };
        let secrets = Secrets(forms(secret.reveal(), if let Proof::Header(value) = &proof { Some(value) } else { None }));
        let mut wish = vec![("grant_type", "client_credentials".to_owned())];
        let scope = config.scopes.join(" ");
        if !scope.is_empty() {
            wish.push(("scope", scope.clone()));
        }
        wish.extend(config.audience.iter().map(|audience| ("audience", audience.clone())));
        wish.extend(config.resource.iter().map(|resource| ("resource", resource.clone())));
        Ok(Self {
            id: config.client_id.as_str().into(),
            proof,
            secrets,
            wish: wish.into(),
            scope: scope.into(),
            audience: config.audience.iter().chain(&config.resource).map(String::as_str).collect::<Vec<_>>().join(" ").into(),
            provider: provider.into(),
            offload: offload.clone(),
        })
    }

    /// Another for each other client, secret and wish; it tells no secret.
    pub(super) fn key(&self) -> String {
        let secret = match &self.proof {
            Proof::Header(value) => value.as_bytes(),
            Proof::Body(secret) => secret.reveal().as_bytes(),
            Proof::Signed(signer) => return format!("{} {} {:?}", self.id, signer.id(), self.wish),
            Proof::None => b"",
        };
        format!("{} {} {:?}", self.id, STANDARD.encode(digest(&SHA256, secret)), self.wish)
    }

    /// The headers and the form that ask for a token.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) async fn request(&self) -> Result<(Option<(HeaderName, HeaderValue)>, String), Missed> {
        let (mut header, mut more) = (None, Vec::new());
        match &self.proof {
            Proof::Header(value) => header = Some((header::AUTHORIZATION, value.clone())),
            Proof::Body(secret) => more.extend([("client_id", self.id.to_string()), ("client_secret", secret.reveal().to_owned())]),
            Proof::Signed(signer) => {
                let signed = signer.sign(&self.assertion(), &self.offload).await.ok();
                let signed = signed.ok_or_else(|| Missed::new("unsigned", "the request for it could not be signed"))?;
                more.extend([
                    ("client_id", self.id.to_string()),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned()),
                    ("client_assertion", signed),
                ]);
            }
            Proof::None => more.push(("client_id", self.id.to_string())),
        }
        let mut form = Serializer::new(String::new());
        form.extend_pairs(self.wish.iter().chain(&more));
        Ok((header, form.finish()))
    }

    /// RFC 7523 §3.
    fn assertion(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let jti = format!("{:032x}", rand::random::<u128>());
        json!({"iss": &*self.id, "sub": &*self.id, "aud": &*self.provider, "iat": now, "exp": now + 60, "jti": jti}).to_string()
    }

    /// A text of the provider without the secret, should it repeat it in one of the forms in which it got it.
    pub(super) fn conceal(&self, text: &str) -> String {
        self.secrets.0.iter().fold(text.to_owned(), |text, secret| text.replace(&**secret, "***"))
    }
}

/// The forms that a secret has on its way, and as it is quoted in a text.
fn forms(secret: &str, header: Option<&HeaderValue>) -> Box<[Box<str>]> {
    let escaped: String = byte_serialize(secret.as_bytes()).collect();
    let quoted = format!("{secret:?}");
    let header = header.and_then(|value| value.to_str().ok()?.strip_prefix("Basic ")).map(|text| text.trim_end_matches('='));
    let forms = [Some(secret), Some(&*escaped), quoted.get(1..quoted.len() - 1), header].into_iter().flatten();
    forms.filter(|form| !form.is_empty()).map(Box::from).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn client(auth: &str) -> Client {
        let config =
            json!({"client_id": "a b", "client_secret": "s3cret:\"of %", "client_auth": auth, "scopes": ["x", "y"], "resource": "urn:z"});
        Client::build(&serde_json::from_value(config).unwrap(), "https://id.test", None, &Arc::default()).unwrap()
    }

    #[tokio::test]
    async fn the_provider_gets_the_secret_as_the_standard_has_it_and_nobody_hears_it_again() {
        let wish = "grant_type=client_credentials&scope=x+y&resource=urn%3Az";
        let (header, form) = client("client_secret_basic").request().await.unwrap();
        let header = header.unwrap().1;
        let basic = header.to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
        assert_eq!((STANDARD.decode(&basic).unwrap().as_slice(), &*form), (&b"a+b:s3cret%3A%22of+%25"[..], wish));
        let (header, form) = client("client_secret_post").request().await.unwrap();
        assert_eq!((header, form), (None, format!("{wish}&client_id=a+b&client_secret=s3cret%3A%22of+%25")));
        for text in ["it: s3cret:\"of %.", "it: s3cret%3A%22of+%25.", "it: s3cret:\\\"of %."] {
            assert_eq!(client("client_secret_post").conceal(text), "it: ***.");
        }
        assert!(!client("client_secret_basic").conceal(&format!("it: Basic {basic}.")).contains(basic.trim_end_matches('=')));
        assert!(!client("client_secret_basic").key().contains(&basic));
    }
}
