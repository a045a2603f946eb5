//! Certificates for the peers of the tests, made anew each time.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, date_time_ymd,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// Somebody who vouches for others.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub struct Identity {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// What makes others believe it.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// A certificate for a host, which is its common name too.
    pub fn issue(&self, host: &str) -> Identity {
        self.issue_with(host, |_| {})
    }

    /// The same with a number, by which it can be revoked.
    pub fn issue_numbered(&self, host: &str, number: u64) -> Identity {
        self.issue_with(host, |params| params.serial_number = Some(number.into()))
    }

    /// The same with something changed.
    pub fn issue_with(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Identity { cert: pem("CERTIFICATE", cert.der()), key: pem("PRIVATE KEY", &key.serialize_der()) }
    }
}

impl Authority {
    /// The list that takes these numbers back.
    pub fn revoked(&self, numbers: &[u64]) -> String {
        self.revoked_until(4000, numbers)
    }

    /// The same, to be made anew in that year.
    pub fn revoked_until(&self, year: i32, numbers: &[u64]) -> String {
        let (this_update, next_update) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 1, 1));
        let one = |number: &u64| RevokedCertParams {
            serial_number: (*number).into(),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: numbers.iter().map(one).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        pem("X509 CRL", list.signed_by(&self.0).unwrap().der())
    }

    /// What a client believes, and shows: whom this one vouches for, and the protocols it asks for.
    pub fn client(&self, own: Option<&Identity>, protocols: &[&str]) -> Arc<ClientConfig> {
        self.client_of(own, protocols, rustls::DEFAULT_VERSIONS)
    }

    /// The same, of these versions of TLS.
    pub fn client_of(
        &self,
        own: Option<&Identity>,
        protocols: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            Some(own) => {
                let chain = CertificateDer::pem_slice_iter(own.cert.as_bytes()).collect::<Result<_, _>>().unwrap();
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

/// A new key to sign with, in PEM.
pub fn signing_key() -> String {
    pem("PRIVATE KEY", &KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_der())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}
