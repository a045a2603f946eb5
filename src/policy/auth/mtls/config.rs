//! The settings of `mtls`: their docs are the user's reference.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Mark;
use crate::building::BuildError;
use crate::consumer::{Consumer, Consumers};
use crate::policy::auth::jwt::Unknown;
use crate::types::Certificate;

/// The settings of `mtls`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{"required": ["certificates"]}, {"required": ["consumer"]}]))]
pub struct Config {
    /// Whose certificates are: the first that fits.
    #[serde(default)]
    pub certificates: Vec<CertificateConfig>,
    /// What of a certificate is the name of its consumer, where it is none of `certificates`: `common_name`, `subject`, `dns`, `uri`, `email` or `fingerprint`.
    /// Default: only those of `certificates` name one.
    pub consumer: Option<Part>,
    /// What happens to a certificate that names no known consumer. Default: `refuse`, with 403.
    #[serde(default)]
    pub unknown_consumer: Unknown,
    /// Whether a request without a certificate is refused, with 401. In `any_of` it is for the others then. Default: `true`.
    #[serde(default = "required")]
    pub required: bool,
}

/// Whose a certificate is: a consumer, and exactly one of the others.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateConfig {
    /// The name of the consumer.
    pub consumer: String,
    /// The whole subject, as RFC 4514 writes it: `CN=app,O=Example`.
    pub subject: Option<String>,
    /// The last common name of the subject.
    pub common_name: Option<String>,
    /// A host among its alternative names, to the letter: a wildcard stands for itself.
    pub dns: Option<String>,
    /// A URI among its alternative names, such as a SPIFFE ID.
    pub uri: Option<String>,
    /// An e-mail address among its alternative names.
    pub email: Option<String>,
    /// The SHA-256 of the whole certificate, in hex, with or without colons: `openssl x509 -noout -fingerprint -sha256`.
    pub fingerprint: Option<String>,
}

/// A part of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The whole subject.
    Subject,
    /// The last common name of the subject.
    CommonName,
    /// The hosts among its alternative names.
    Dns,
    /// The URIs among its alternative names.
    Uri,
    /// The e-mail addresses among its alternative names.
    Email,
    /// Its SHA-256, in hex.
    Fingerprint,
}

fn required() -> bool {
    true
}

impl Part {
    /// The key in the config.
    pub(super) fn name(self) -> &'static str {
        match self {
            Part::Subject => "subject",
            Part::CommonName => "common_name",
            Part::Dns => "dns",
            Part::Uri => "uri",
            Part::Email => "email",
            Part::Fingerprint => "fingerprint",
        }
    }

    /// What a certificate says there.
    pub(super) fn of(self, certificate: &Certificate) -> impl Iterator<Item = &str> {
        let Certificate { subject, common_name, hosts, uris, emails, fingerprint, .. } = certificate;
        let (one, several): (Option<&str>, &[Box<str>]) = match self {
            Part::Subject => (Some(subject), &[]),
            Part::CommonName => (common_name.as_deref(), &[]),
            Part::Dns => (None, hosts),
            Part::Uri => (None, uris),
            Part::Email => (None, emails),
            Part::Fingerprint => (Some(fingerprint), &[]),
        };
        one.into_iter().chain(several.iter().map(|name| &**name))
    }
}

impl CertificateConfig {
    fn parts(&self) -> impl Iterator<Item = (Part, &str)> {
        let Self { subject, common_name, dns, uri, email, fingerprint, .. } = self;
        let all = [
            (Part::Subject, subject),
            (Part::CommonName, common_name),
            (Part::Dns, dns),
            (Part::Uri, uri),
            (Part::Email, email),
            (Part::Fingerprint, fingerprint),
        ];
        all.into_iter().filter_map(|(part, value)| Some((part, value.as_deref()?)))
    }

    /// # Errors
    /// A consumer that is not known, none or several parts, or one that no certificate has.
    pub(super) fn build(&self, consumers: &Consumers) -> Result<(Mark, Arc<Consumer>), BuildError> {
        let name = &self.consumer;
        let unknown = || BuildError::new(format!("there is no consumer `{name}`"), "add it to `consumers`, or name another").at("consumer");
        let consumer = consumers.named(name).ok_or_else(unknown)?.clone();
        let mut parts = self.parts();
        let (Some((part, value)), None) = (parts.next(), parts.next()) else {
            let fix = "write one of `subject`, `common_name`, `dns`, `uri`, `email` and `fingerprint`";
            return Err(BuildError::new("a certificate is known by one thing", fix));
        };
        let value = match part {
            Part::Dns => value.to_ascii_lowercase(),
            Part::Fingerprint => value.replace(':', "").to_ascii_lowercase(),
            _ => value.to_owned(),
        };
        if value.is_empty() {
            return Err(BuildError::new(format!("`{}` is empty", part.name()), "write what the certificate says").at(part.name()));
        }
        if part == Part::Fingerprint && (value.len() != 64 || !value.bytes().all(|byte| byte.is_ascii_hexdigit())) {
            let fix = "write 64 hex digits, as `openssl x509 -noout -fingerprint -sha256` prints them";
            return Err(BuildError::new("this is not a SHA-256 in hex", fix).at("fingerprint"));
        }
        Ok((Mark { part, value: value.into() }, consumer))
    }
}
