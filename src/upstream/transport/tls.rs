use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Arc;

use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{CertKey, WrappedX509, parse_x509};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::{BuildError, read_file};
use crate::tls::{PairConfig, certificates, pair, roots};

/// `tls:` of a service: whom to believe behind `https://`, and who we are to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A file with the certificates, in PEM, of those who may vouch for the targets. Default: those that the system believes.
    pub ca: Option<String>,
    /// What the gateway shows to targets that ask who it is.
    pub client_certificate: Option<PairConfig>,
    /// The name that is asked for (SNI), and that the certificate of a target must have. Default: the host of the target's URL.
    pub server_name: Option<String>,
    /// What of a target's certificate is looked at: `full`, `chain` for any name, which needs an own `ca`, or `off`, with which anyone on the way can
    /// read and change what is sent. Default: full.
    pub verify: Verify,
}

/// What of a target's certificate is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Who vouches for it, and its name.
    #[default]
    Full,
    /// Who vouches for it.
    Chain,
    /// Nothing.
    Off,
}

impl TlsConfig {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.ca.as_deref().into_iter().chain(self.client_certificate.iter().flat_map(PairConfig::files))
    }
}

/// The same, with the files read.
#[derive(Default)]
pub struct Tls {
    ca: Option<Arc<CaType>>,
    client: Option<Arc<CertKey>>,
    /// The name to ask for in the stead of the host's.
    pub server_name: Option<String>,
    verify: Verify,
    id: u64,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).field("verify", &self.verify).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files, from the folder of the config.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else, a key that is not the certificate's, a name that is none; below `tls`.
    pub fn build(config: &TlsConfig, folder: &Path) -> Result<Self, BuildError> {
        let mut hasher = DefaultHasher::new();
        let ca = config.ca.as_deref().map(|name| ca(folder, name, &mut hasher).map_err(|error| error.at("ca"))).transpose()?;
        let client = config.client_certificate.as_ref();
        let client = client.map(|client| own(folder, client, &mut hasher).map_err(|error| error.at("client_certificate"))).transpose()?;
        if let Some(name) = &config.server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            let error = BuildError::new(format!("`{name}` is no name of a host"), "write one like `users.internal`, without a port");
            return Err(error.at("server_name"));
        }
        if config.verify == Verify::Chain && ca.is_none() {
            let reason = "without a name to look for, the certificate of any site in the world would do";
            return Err(BuildError::new(reason, "name your own `ca`, or a `server_name` in the stead of `verify: chain`").at("verify"));
        }
        (&config.server_name, config.verify).hash(&mut hasher);
        Ok(Self { ca, client, server_name: config.server_name.clone(), verify: config.verify, id: hasher.finish() })
    }

    /// Stands for all of it, the content of the files included.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether certificates are not looked at.
    pub fn is_blind(&self) -> bool {
        self.verify == Verify::Off
    }

    /// Puts it into a peer.
    pub fn apply(&self, peer: &mut HttpPeer) {
        peer.options.ca.clone_from(&self.ca);
        peer.client_cert_key.clone_from(&self.client);
        peer.options.verify_cert = self.verify != Verify::Off;
        peer.options.verify_hostname = self.verify == Verify::Full;
    }
}

fn ca(folder: &Path, name: &str, hasher: &mut impl Hasher) -> Result<Arc<CaType>, BuildError> {
    let content = read_file(folder, name)?;
    content.hash(hasher);
    let certificates = certificates(&content, name)?;
    roots(&certificates, name)?;
    wrapped(&certificates, name).map(Into::into)
}

fn own(folder: &Path, config: &PairConfig, hasher: &mut impl Hasher) -> Result<Arc<CertKey>, BuildError> {
    let own = pair(folder, config)?;
    wrapped(&own.chain, &config.cert).map_err(|error| error.at("cert"))?;
    let bytes = own.key.secret_der().to_vec();
    // What a key is, is told from its bytes alone once more when a connection is made.
    PrivateKeyDer::try_from(bytes.clone()).map_err(|error| {
        BuildError::new(format!("{} cannot be used: {error}", config.key), "write it as PKCS #8: `openssl pkcs8 -topk8 -nocrypt`").at("key")
    })?;
    own.content.hash(hasher);
    Ok(Arc::new(CertKey::new(own.chain.iter().map(|certificate| certificate.to_vec()).collect(), bytes)))
}

/// As Pingora holds them. It gives up on a certificate that its parser cannot read.
fn wrapped(certificates: &[CertificateDer<'_>], name: &str) -> Result<Vec<WrappedX509>, BuildError> {
    let wrap = || certificates.iter().map(|certificate| WrappedX509::new(certificate.to_vec(), parse_x509)).collect();
    catch_unwind(wrap).map_err(|_| BuildError::new(format!("{name} holds a certificate that cannot be read"), "make it anew"))
}
