use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};

use super::clients::Clients;
use super::resolver::Resolver;
use super::ticketer::Ticketer;
use super::{ListenerTlsConfig, MinVersion, pair};
use crate::building::{BuildError, Errors};
use crate::state::Tickets;
use crate::types::{Certificate, Protocol};

/// `tls:` of a listener, ready to shake hands: one for all workers.
pub struct Secure {
    /// For each handshake.
    pub handshake: Arc<ServerConfig>,
    /// The certificates, in the order of the file.
    pub shown: Box<[Shown]>,
    /// When a list of revoked certificates is to be made anew, in seconds since 1970.
    pub renewal: Option<i64>,
}

/// One of our own certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The file that it stands in, as the config names it.
    pub file: Box<str>,
    /// What it says.
    pub certificate: Certificate,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").field("shown", &self.shown).finish_non_exhaustive()
    }
}

/// Before its end an operator should have a new one.
const NOTICE: Duration = Duration::from_secs(14 * 24 * 3600);

impl Secure {
    /// Reads the files, from the folder of the config.
    ///
    /// # Errors
    /// All that is wrong with them, below `tls`.
    pub fn build(config: &ListenerTlsConfig, folder: &Path, tickets: &Arc<Tickets>) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        let mut resolver = Resolver::default();
        let mut shown = Vec::new();
        for (index, pair) in config.certificates.iter().enumerate() {
            let read = self::pair(folder, pair).and_then(|read| {
                let first = read.chain.first().map(|der| Certificate::read(der)).unwrap_or_else(|| Err("there is none".to_owned()));
                let wrong = |why| BuildError::new(format!("{} holds a certificate that cannot be read: {why}", pair.cert), "make it anew");
                Ok((first.map_err(|why| wrong(why).at("cert"))?, Arc::new(read.certified)))
            });
            let Some((certificate, key)) = errors.keep(&["certificates".into(), index.into()], read) else { continue };
            if index > 0 && certificate.hosts.is_empty() {
                let reason = format!("{} names no host, so no client could ask for it", pair.cert);
                let fix = "put it first, where those are shown it who ask for no host, or have the hosts put among its alternative names";
                errors.push(BuildError::new(reason, fix).at("cert").at(index).at("certificates"));
            }
            resolver.add(&certificate.hosts, &key);
            shown.push(Shown { file: pair.cert.as_str().into(), certificate });
        }
        if config.certificates.is_empty() {
            let fix = "name one, like `certificates: [{ cert: api.pem, key: api.key }]`";
            errors.push(BuildError::new("there is no certificate to show", fix).at("certificates"));
        }
        let provider = Arc::new(default_provider());
        let clients = errors.keep(&[], Clients::build(config, folder, &provider));
        let versions: &[_] = match config.min_version {
            MinVersion::Tls12 => &[&TLS13, &TLS12],
            MinVersion::Tls13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.map_err(|error| BuildError::new(error.to_string(), "report it: this is a defect of the gateway"));
        let (Some(clients), Some(builder)) = (clients, errors.keep(&[], builder)) else { return Err(errors) };
        let builder = match clients.verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut handshake = builder.with_cert_resolver(Arc::new(resolver));
        handshake.ticketer = Arc::new(Ticketer { tickets: tickets.clone(), context: clients.context });
        // Tickets need no memory here, and no lock between the workers.
        handshake.session_storage = Arc::new(NoServerSessionStorage {});
        errors.finish(Self { handshake: Arc::new(handshake), shown: shown.into(), renewal: clients.renewal })
    }

    /// The same, for clients that speak one of these.
    pub fn speaking(mut self, protocols: &[Protocol]) -> Self {
        Arc::make_mut(&mut self.handshake).alpn_protocols = protocols.iter().map(|protocol| protocol.alpn().to_vec()).collect();
        self
    }

    /// Certificates that end soon, or are not valid now, and lists of revoked ones that are old; at paths below `tls`.
    pub fn doubts(&self, now: SystemTime) -> Vec<BuildError> {
        let now = seconds(now);
        let doubts = self.shown.iter().enumerate().filter_map(|(index, shown)| {
            let Certificate { not_before, not_after, .. } = shown.certificate;
            let notice = i64::try_from(NOTICE.as_secs()).unwrap_or(i64::MAX);
            let reason = match () {
                () if now > not_after => format!("the certificate has expired on {}: clients refuse it", date(not_after)),
                () if now < not_before => format!("the certificate is not valid before {}: clients refuse it", date(not_before)),
                () if not_after - now < notice => format!("the certificate expires on {}", date(not_after)),
                () => return None,
            };
            let fix = "put a new one in its place: the files are read again when they change";
            Some(BuildError::new(reason, fix).at("cert").at(index).at("certificates"))
        });
        let old = self.renewal.filter(|renewal| now > *renewal).map(|renewal| {
            let reason =
                format!("a list of revoked certificates was to be made anew by {}: who was revoked since then is let in", date(renewal));
            BuildError::new(reason, "put a new one in its place: the file is read again when it changes").at("client_crl")
        });
        doubts.chain(old).collect()
    }
}

/// Since 1970.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn date(seconds: i64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_certificate_that_ends_soon_is_told_of_in_time() {
        let folder = std::env::temp_dir().join(format!("tidegate-secure-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2027, 1, 1));
        let lay = |name: &str, label: &str, der: &[u8]| {
            let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
            std::fs::write(folder.join(name), text).unwrap();
        };
        lay("a.pem", "CERTIFICATE", params.self_signed(&key).unwrap().der());
        lay("a.key", "PRIVATE KEY", &key.serialize_der());
        let pair = super::super::PairConfig { cert: "a.pem".to_owned(), key: "a.key".to_owned() };
        let config = ListenerTlsConfig {
            certificates: vec![pair],
            min_version: MinVersion::default(),
            client_ca: None,
            client_certificate: None,
            client_crl: None,
        };
        let secure = Secure::build(&config, &folder, &Arc::default()).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        let told = |time: &str| {
            let doubts = secure.doubts(humantime::parse_rfc3339(time).unwrap());
            doubts.first().map(|doubt| format!("{}: {}", doubt.path, doubt.reason)).unwrap_or_default()
        };
        assert_eq!(told("2026-06-01T00:00:00Z"), "");
        assert_eq!(told("2026-12-18T00:00:00Z"), "");
        assert_eq!(told("2026-12-18T00:00:01Z"), "certificates[0].cert: the certificate expires on 2027-01-01T00:00:00Z");
        assert!(told("2027-01-01T00:00:01Z").contains("has expired on 2027-01-01T00:00:00Z"));
        assert!(told("2025-12-31T00:00:00Z").contains("not valid before 2026-01-01T00:00:00Z"));
    }
}
