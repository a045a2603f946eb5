use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};
use x509_parser::x509::AttributeTypeAndValue;

/// What one certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is, as RFC 4514 writes it: `CN=app,O=Example`.
    pub subject: Box<str>,
    /// The last common name of the subject.
    pub common_name: Option<Box<str>>,
    /// The names of hosts among its alternative names, lower case.
    pub hosts: Box<[Box<str>]>,
    /// Its alternative names that can be told as text: hosts, URIs, e-mail addresses. Without those with white space in them.
    pub names: Box<[Box<str>]>,
    /// The URIs among them.
    pub uris: Box<[Box<str>]>,
    /// The e-mail addresses among them.
    pub emails: Box<[Box<str>]>,
    /// SHA-256 of the whole of it, in hex.
    pub fingerprint: Box<str>,
    /// The same as tokens name it that are bound to it, `x5t#S256` (RFC 8705 §3.1).
    pub thumbprint: Box<str>,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when, in seconds since 1970.
    pub not_after: i64,
}

impl Certificate {
    /// Reads one in DER.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(der: &[u8]) -> Result<Self, String> {
        let (_, read) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let alternative = read.subject_alternative_name().map_err(|error| error.to_string())?;
        let [mut hosts, mut uris, mut emails, mut names]: [Vec<Box<str>>; 4] = Default::default();
        for name in alternative.iter().flat_map(|names| &names.value.general_names) {
            let (text, kind): (Box<str>, _) = match name {
                GeneralName::DNSName(host) => (host.to_ascii_lowercase().into(), &mut hosts),
                GeneralName::URI(text) => ((*text).into(), &mut uris),
                GeneralName::RFC822Name(text) => ((*text).into(), &mut emails),
                _ => continue,
            };
            // Names are told in one line, apart from each other by a space.
            if !text.is_empty() && !text.contains(|char: char| char.is_whitespace() || char.is_control()) {
                kind.push(text.clone());
                names.push(text);
            }
        }
        let common_name = read.subject().iter_common_name().last().and_then(|name| name.as_str().ok()).map(Box::from);
        let digest = digest(&SHA256, der);
        let fingerprint = digest.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Ok(Self {
            subject: subject(read.subject()).into(),
            common_name,
            hosts: hosts.into(),
            names: names.into(),
            uris: uris.into(),
            emails: emails.into(),
            fingerprint: fingerprint.into(),
            thumbprint: URL_SAFE_NO_PAD.encode(digest.as_ref()).into(),
            not_before: read.validity().not_before.timestamp(),
            not_after: read.validity().not_after.timestamp(),
        })
    }
}

/// RFC 4514 §2.1: the last part first.
fn subject(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter().collect();
    let parts = parts.iter().rev().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"));
    parts.collect::<Vec<_>>().join(",")
}

/// RFC 4514 §2.3 and §2.4. What is no text is told in hex, so that two subjects never read alike.
fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let mut text = match oid2abbrev(attribute.attr_type(), oid_registry()) {
        Ok(name) => name.to_owned(),
        Err(_) => attribute.attr_type().to_id_string(),
    };
    text.push('=');
    let Ok(value) = attribute.as_str() else {
        text.push('#');
        for byte in attribute.as_slice() {
            let _ = write!(text, "{byte:02x}");
        }
        return text;
    };
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        match char {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', char]),
            '#' | ' ' if at == 0 => text.extend(['\\', char]),
            ' ' if at == last => text.extend(['\\', char]),
            char if char.is_ascii_control() => {
                let _ = write!(text, "\\{:02X}", u32::from(char));
            }
            char => text.push(char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_tells_whose_it_is_without_a_second_reading() {
        let mut params = CertificateParams::new(["API.example.com".to_owned(), "*.example.com".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://example.com/app".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("App@example.com".try_into().unwrap()));
        params.subject_alt_names.push(SanType::URI("urn:two words".try_into().unwrap()));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc. ");
        params.distinguished_name.push(DnType::CommonName, "#app\\CN=admin");
        let cert = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = Certificate::read(cert.der()).unwrap();
        assert_eq!(&*read.subject, "CN=\\#app\\\\CN=admin,O=Example\\, Inc.\\ ");
        assert_eq!(read.common_name.as_deref(), Some("#app\\CN=admin"));
        let words = |names: &[Box<str>]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(words(&read.hosts), ["api.example.com", "*.example.com"]);
        assert_eq!(words(&read.names), ["api.example.com", "*.example.com", "spiffe://example.com/app", "App@example.com"]);
        assert_eq!((words(&read.uris), words(&read.emails)), (vec!["spiffe://example.com/app".into()], vec!["App@example.com".into()]));
        assert_eq!((read.fingerprint.len(), read.thumbprint.len()), (64, 43));
        assert!(read.not_before < read.not_after);
        assert!(Certificate::read(b"nothing").is_err());
    }
}
