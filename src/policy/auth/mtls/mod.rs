//! Identifies the consumer by the certificate that it has shown over TLS: by its subject, one of its names, or its SHA-256.
//!
//! ```yaml
//! server:
//!   listeners:
//!     - address: 0.0.0.0:8443
//!       tls: { certificates: [{ cert: api.pem, key: api.key }], client_ca: clients.pem, client_certificate: optional }
//! consumers: [{ name: billing }, { name: partner }]
//! policies:
//!   - mtls:
//!       certificates:
//!         - { consumer: billing, uri: "spiffe://example.com/billing" }
//!         - { consumer: partner, fingerprint: "3f:5e:…" }
//!       # consumer: common_name   # or: what the certificate says is the consumer's name
//! ```
//!
//! Whom a certificate is believed for is a matter of the listener: its `client_ca`, its `client_crl`.

mod config;
mod needs;

pub use config::{CertificateConfig, Config, Part};
pub use needs::Needs;

use std::sync::Arc;

use http::{HeaderValue, header};
use pingora_http::RequestHeader;

use super::Authenticates;
use super::caller::{Caller, Found};
use crate::building::BuildError;
use crate::consumer::Consumer;
use crate::ctx::Ctx;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::{Kind, Problem};
use crate::types::Certificate;

/// `mtls`, ready to run.
#[derive(Debug)]
pub struct Mtls {
    /// Certificates of which it is said whose they are.
    known: Box<[(Mark, Arc<Consumer>)]>,
    /// What of any other names the consumer.
    consumer: Option<Part>,
    caller: Caller,
    required: bool,
}

/// What a certificate is known by.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    part: Part,
    value: Box<str>,
}

impl Policy for Mtls {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST;

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        if config.certificates.is_empty() && config.consumer.is_none() {
            let fix = "write `consumer: common_name`, or `certificates:` with whose they are";
            return Err(BuildError::new("no certificate could name a consumer", fix));
        }
        if config.required {
            cx.told.challenge(CHALLENGE);
        }
        let mut known: Vec<(Mark, Arc<Consumer>)> = Vec::new();
        for (at, certificate) in config.certificates.iter().enumerate() {
            let (mark, consumer) = certificate.build(cx.consumers).map_err(|error| error.at(at).at("certificates"))?;
            if let Some(first) = known.iter().position(|(other, _)| *other == mark) {
                let error = BuildError::new("a certificate is somebody's once", "take one of the two off the list").at(mark.part.name());
                return Err(error.at(at).beside([first.into(), mark.part.name().into()]).at("certificates"));
            }
            known.push((mark, consumer));
        }
        let caller = Caller::new(cx, config.unknown_consumer);
        Ok(Self { known: known.into(), consumer: config.consumer, caller, required: config.required })
    }

    async fn request(&self, _req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        let Some(certificate) = &cx.client_cert else {
            return if self.required { Err(missing()) } else { Ok(Flow::Next) };
        };
        let found = self.find(certificate).await?;
        let cause = || format!("subject {}, SHA-256 {}", certificate.subject, certificate.fingerprint);
        // The certificate has the say: whom another policy has found is not whom it names.
        let consumer = self.caller.or_stranger(found, "the client certificate names no known consumer", cause)?;
        cx.identify(consumer, None);
        Ok(Flow::Next)
    }
}

impl Authenticates for Mtls {
    fn sees(&self, _req: &RequestHeader, cx: &Ctx) -> bool {
        cx.client_cert.is_some()
    }

    fn missing(&self) -> Option<Problem> {
        Some(missing())
    }
}

impl Mtls {
    async fn find(&self, certificate: &Certificate) -> Result<Found, Problem> {
        let has = |mark: &Mark| mark.part.of(certificate).any(|value| value == &*mark.value);
        if let Some((_, listed)) = self.known.iter().find(|(mark, _)| has(mark)) {
            return Ok(Found::Known(listed.clone()));
        }
        let names = || self.consumer.iter().flat_map(|part| part.of(certificate));
        if let Some(filed) = names().find_map(|name| self.caller.filed(name)) {
            return Ok(Found::Known(filed.clone()));
        }
        let mut found = Found::Nobody;
        for name in names() {
            match self.caller.named(name).await? {
                Found::Known(known) => return Ok(Found::Known(known)),
                Found::Untold => found = Found::Untold,
                Found::Nobody => {}
            }
        }
        Ok(found)
    }
}

/// RFC 9110 §11.6.1 wants a challenge on each 401; certificates have no registered scheme.
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"ClientCertificate realm="tidegate""#);

fn missing() -> Problem {
    Problem::new(Kind::Unauthorized, "a client certificate is required").header(header::WWW_AUTHENTICATE, CHALLENGE)
}

#[cfg(test)]
mod tests;
