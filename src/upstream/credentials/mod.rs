//! Who the gateway is to a service: what it shows with each request that goes there, whoever it is from and whichever way it goes.

mod config;
mod mint;
mod oauth2;
mod signed;
#[cfg(test)]
mod tests;

pub use config::{BasicConfig, CredentialsConfig};
pub use oauth2::{Grant, GrantStatus};

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora_http::RequestHeader;
use smallvec::SmallVec;

use self::config::{header_name, value};
use self::signed::Signed;
use super::{Base, Failure};
use crate::building::{BuildError, Errors, Step};
use crate::ctx::Ctx;
use crate::signing::Signer;
use crate::types::GrpcStatus;

/// `credentials`, ready to be shown.
#[derive(Debug)]
pub struct Credentials {
    fixed: Box<[(HeaderName, HeaderValue)]>,
    grant: Option<Arc<Grant>>,
    signed: Option<Signed>,
    /// The headers that all of them are in, and others of the client that must not go along.
    names: Box<[HeaderName]>,
}

/// What of one request they tell.
#[derive(Debug, Default)]
pub struct About(Option<Box<str>>);

/// As they are shown with one attempt.
#[derive(Debug)]
pub struct Ready {
    headers: SmallVec<[(HeaderName, HeaderValue); 2]>,
    credentials: Arc<Credentials>,
    /// The token among them, by its number.
    token: Option<u64>,
}

/// There are none to show: the service is not asked.
#[derive(Clone, Debug)]
pub struct Lacking {
    /// Why, for the log.
    pub cause: String,
    /// When there may be some.
    pub after: Duration,
}

impl Credentials {
    /// Prepares those of a service; nobody is asked.
    ///
    /// # Errors
    /// What is wrong, at its place below `credentials`.
    pub fn build(config: &CredentialsConfig, base: &Base<'_>, signer: Option<&Arc<Signer>>) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        let mut names: Vec<HeaderName> = Vec::new();
        let mut fixed = Vec::new();
        for (name, secret) in &config.headers {
            let read = header_name(name).and_then(|known| Ok((known, value(secret.reveal())?)));
            let place: [Step; 2] = ["headers".into(), name.as_str().into()];
            let Some((known, value)) = errors.keep(&place, read) else { continue };
            errors.keep(&place, take(&mut names, &known));
            fixed.push((known, value));
        }
        if let Some(basic) = &config.basic {
            let read = take(&mut names, &header::AUTHORIZATION).and_then(|()| basic.value());
            fixed.extend(errors.keep(&["basic".into()], read).map(|value| (header::AUTHORIZATION, value)));
        }
        let grant = config.oauth2.as_ref().map(|config| {
            take(&mut names, &header::AUTHORIZATION)?;
            Grant::build(config, base, signer).map(Arc::new)
        });
        let grant = grant.and_then(|grant| errors.keep(&["oauth2".into()], grant));
        let signed = config.jwt.as_ref().map(|config| {
            let signed = Signed::build(config, base, signer)?;
            take(&mut names, &signed.header)
                .map_err(|error| BuildError { fix: "write a `header` of its own, like `X-Identity`".into(), ..error })?;
            Ok(signed)
        });
        let signed = signed.and_then(|signed| errors.keep(&["jwt".into()], signed));
        if config.keep_authorization && names.contains(&header::AUTHORIZATION) {
            let error = BuildError::new("the gateway's own takes its place", "remove it");
            errors.push(error.at("keep_authorization"));
        }
        if config.headers.is_empty() && config.basic.is_none() && config.oauth2.is_none() && config.jwt.is_none() {
            errors.push(BuildError::new("there are no credentials", "write `headers`, `basic`, `oauth2` or `jwt`, or remove it"));
        }
        if !config.keep_authorization && !names.contains(&header::AUTHORIZATION) {
            names.push(header::AUTHORIZATION);
        }
        errors.finish(Self { fixed: fixed.into(), grant, signed, names: names.into() })
    }

    /// What of this request they tell.
    pub fn about(&self, req: &RequestHeader, cx: &Ctx) -> About {
        About(self.signed.as_ref().map(|signed| signed.about(req, cx).into()))
    }

    /// What they are, for operators.
    pub fn told(&self) -> String {
        let mut told: Vec<_> = self.fixed.iter().map(|(name, _)| format!("`{name}`")).collect();
        told.extend(self.grant.as_ref().map(|grant| format!("token of {}", grant.source())));
        told.extend(self.signed.as_ref().map(|signed| format!("signed `{}`", signed.header)));
        told.join(" and ")
    }

    /// Whether what a client sends under this name goes no further.
    pub fn withhold(&self, name: &HeaderName) -> bool {
        self.names.contains(name)
    }

    /// Whether the service is told who calls.
    pub fn tell_who(&self) -> bool {
        self.signed.is_some()
    }

    /// Who gives the gateway a token.
    pub fn grant(&self) -> Option<&Arc<Grant>> {
        self.grant.as_ref()
    }

    /// Waits until they can be shown, within the bounds of their config.
    ///
    /// # Errors
    /// They cannot.
    pub async fn ready(self: &Arc<Self>, about: &About) -> Result<Ready, Lacking> {
        let mut headers: SmallVec<[_; 2]> = self.fixed.iter().cloned().collect();
        let mut number = None;
        if let Some(grant) = &self.grant {
            let token = match grant.at_hand() {
                Some(token) => token,
                // A rare way, whose future is large.
                None => Box::pin(grant.token()).await?,
            };
            headers.push((header::AUTHORIZATION, token.value.clone()));
            number = Some(token.number);
        }
        if let Some(signed) = &self.signed {
            let claims = about.0.as_deref().unwrap_or("{}");
            let value = match signed.mint.at_hand(claims) {
                Some(value) => value,
                None => Box::pin(signed.mint.token(claims)).await?,
            };
            headers.push((signed.header.clone(), value));
        }
        Ok(Ready { headers, credentials: self.clone(), token: number })
    }

    /// Takes out of a header what is theirs, for one that goes elsewhere.
    pub fn withdraw(&self, head: &mut RequestHeader) {
        for name in &self.names {
            head.remove_header(name);
        }
    }
}

impl Ready {
    /// Puts them into the header that goes out, in the place of whatever stands there.
    pub fn show(&self, head: &mut RequestHeader) {
        self.credentials.withdraw(head);
        for (name, value) in &self.headers {
            // It cannot fail: both were read before.
            let _ = head.insert_header(name.clone(), value.clone());
        }
    }

    /// Takes note of how the service answered: one that does not know us may know a token that is given now.
    pub fn judged(&self, ended: Failure) {
        let refused = matches!(ended, Failure::Status(StatusCode::UNAUTHORIZED) | Failure::Grpc(GrpcStatus::Unauthenticated));
        if let (true, Some(grant), Some(number)) = (refused, &self.credentials.grant, self.token) {
            grant.doubt(number);
        }
    }
}

impl BasicConfig {
    /// RFC 7617 §2, in UTF-8.
    fn value(&self) -> Result<HeaderValue, BuildError> {
        if self.username.is_empty() || self.username.contains(':') {
            return Err(BuildError::new("a user's name has no colon, and is not empty", "write another").at("username"));
        }
        if self.password.reveal().is_empty() {
            return Err(BuildError::new("there is nothing in it", "write it as `${NAME}` or `${file:…}`").at("password"));
        }
        let pair = format!("{}:{}", self.username, self.password.reveal());
        value(&format!("Basic {}", STANDARD.encode(pair))).map_err(|error| error.at("password"))
    }
}

/// Notes that this header is used.
fn take(names: &mut Vec<HeaderName>, name: &HeaderName) -> Result<(), BuildError> {
    if names.contains(name) {
        return Err(BuildError::new(format!("there are two credentials for one header, `{name}`"), "remove one of them"));
    }
    names.push(name.clone());
    Ok(())
}
