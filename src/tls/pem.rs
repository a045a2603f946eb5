use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::PairConfig;
use crate::building::{BuildError, read_file};

/// The certificates in a PEM file; at least one.
///
/// # Errors
/// That there is none.
pub fn certificates(pem: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    blocks(pem, name, "certificate", "CERTIFICATE")
}

/// All that is of one kind in a PEM file; at least one. `label` is what stands behind BEGIN and END.
///
/// # Errors
/// That there is none.
pub fn blocks<T: PemObject>(pem: &[u8], name: &str, what: &str, label: &str) -> Result<Vec<T>, BuildError> {
    let fix = || format!("name a file with blocks `-----BEGIN {label}-----` … `-----END {label}-----`");
    let found: Result<Vec<_>, _> = T::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(BuildError::new(format!("{name} holds no {what}"), fix())),
        Err(error) => Err(BuildError::new(format!("{name} is not PEM: {error}"), fix())),
    }
}

/// Those who vouch for others.
///
/// # Errors
/// A certificate that cannot.
pub fn roots(certificates: &[CertificateDer<'static>], name: &str) -> Result<RootCertStore, BuildError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        let added = store.add(certificate.clone());
        added.map_err(|error| BuildError::new(format!("{name} holds a certificate that cannot vouch for others: {error}"), "remove it"))?;
    }
    Ok(store)
}

/// A certificate with its chain and its key, as they were read.
pub struct Pair {
    /// The certificate, and behind it those that lead to its issuer.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key's bytes, as the file has them.
    pub key: PrivateKeyDer<'static>,
    /// Both, ready to use.
    pub certified: CertifiedKey,
    /// The content of both files.
    pub content: (Vec<u8>, Vec<u8>),
}

/// Reads a certificate and its key.
///
/// # Errors
/// A file that cannot be read or holds something else, a key that is not the certificate's; below `cert` or `key`.
pub fn pair(folder: &Path, config: &PairConfig) -> Result<Pair, BuildError> {
    let cert = read_file(folder, &config.cert).map_err(|error| error.at("cert"))?;
    let chain = certificates(&cert, &config.cert).map_err(|error| error.at("cert"))?;
    let text = read_file(folder, &config.key).map_err(|error| error.at("key"))?;
    let wrong =
        |why: String| BuildError::new(why, "name the file with the private key of `cert`, in PEM and without a passphrase").at("key");
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| wrong(format!("{} holds no private key: {error}", config.key)))?;
    let certified = CertifiedKey::from_der(chain.clone(), key.clone_key(), &default_provider())
        .map_err(|error| wrong(format!("{} does not fit {}: {error}", config.key, config.cert)))?;
    Ok(Pair { chain, key, certified, content: (cert, text) })
}
