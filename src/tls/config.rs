use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `tls:` of a listener: TLS 1.3 and 1.2, with HTTP/2 and HTTP/1.1 as the client prefers (ALPN). The files are read again when they change; what is wrong
/// with new ones is told, and the old ones stay.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerTlsConfig {
    /// What the gateway shows. Each is for the hosts it names itself, a wildcard like `*.example.com` for one label in its place; a client that asks for
    /// another host, or for none, is shown the first. Of several for one host the first is taken whose kind of key the client knows.
    #[schemars(length(min = 1))]
    pub certificates: Vec<PairConfig>,
    /// The oldest version that is spoken: `1.2` or `1.3`. Default: 1.2.
    #[serde(default)]
    pub min_version: MinVersion,
    /// A file with the certificates, in PEM, of those who may vouch for clients. Default: clients are not asked who they are.
    pub client_ca: Option<String>,
    /// With `client_ca`: `required` takes only clients that show a certificate, `optional` those too that show none. Default: required.
    pub client_certificate: Option<ClientCertificate>,
    /// With `client_ca`: a file with lists of revoked certificates, in PEM; one of each issuer between a client and the `client_ca`.
    pub client_crl: Option<String>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PairConfig {
    /// A file with the certificate, in PEM, and behind it those that lead to its issuer.
    pub cert: String,
    /// A file with its private key, in PEM.
    pub key: String,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum MinVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    /// It must.
    #[default]
    Required,
    /// It may.
    Optional,
}

impl PairConfig {
    /// The files that it names.
    pub fn files(&self) -> [&str; 2] {
        [&self.cert, &self.key]
    }
}

impl ListenerTlsConfig {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.certificates.iter().flat_map(PairConfig::files).chain(self.client_ca.as_deref()).chain(self.client_crl.as_deref())
    }
}
