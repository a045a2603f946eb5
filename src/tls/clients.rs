use std::path::Path;
use std::sync::Arc;

use ring::digest::{Context, SHA256};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::pem::blocks;
use super::{ClientCertificate, ListenerTlsConfig, certificates, roots};
use crate::building::{BuildError, read_file};

/// Which clients are believed.
pub struct Clients {
    /// Asks them, and looks at what they show; none where they are not asked.
    pub verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Stands for all of it, the content of the files included. A session is resumed without another look at the client's certificate, so a ticket is
    /// good only where its holder would be believed by the same rules.
    pub context: Vec<u8>,
    /// When the first of the lists of revoked certificates is to be made anew, in seconds since 1970.
    pub renewal: Option<i64>,
}

impl Clients {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else, and settings without the `client_ca` that they are about.
    pub fn build(config: &ListenerTlsConfig, folder: &Path, provider: &Arc<CryptoProvider>) -> Result<Self, BuildError> {
        let Some(name) = &config.client_ca else {
            let lost = [("client_certificate", config.client_certificate.is_some()), ("client_crl", config.client_crl.is_some())];
            return match lost.iter().find(|(_, is)| *is) {
                Some((key, _)) => {
                    let reason = "no client is asked for a certificate without a `client_ca`";
                    Err(BuildError::new(reason, "name the `client_ca` that vouches for clients, or take this out").at(*key))
                }
                None => Ok(Self { verifier: None, context: Vec::new(), renewal: None }),
            };
        };
        let mode = config.client_certificate.unwrap_or_default();
        let content = read_file(folder, name).map_err(|error| error.at("client_ca"))?;
        let store = certificates(&content, name).and_then(|found| roots(&found, name)).map_err(|error| error.at("client_ca"))?;
        let mut context = Context::new(&SHA256);
        context.update(&[u8::from(mode == ClientCertificate::Required)]);
        context.update(&content);
        let mut renewal = None;
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider.clone());
        if let Some(name) = &config.client_crl {
            let content = read_file(folder, name).map_err(|error| error.at("client_crl"))?;
            let lists: Vec<CertificateRevocationListDer<'static>> =
                blocks(&content, name, "list of revoked certificates", "X509 CRL").map_err(|error| error.at("client_crl"))?;
            renewal = lists.iter().filter_map(next_update).min();
            context.update(&[0]);
            context.update(&content);
            builder = builder.with_crls(lists);
        }
        if mode == ClientCertificate::Optional {
            builder = builder.allow_unauthenticated();
        }
        // Of the authorities there was at least one; what can still be wrong is a list.
        let verifier = builder.build().map_err(|error| {
            BuildError::new(format!("a list of revoked certificates cannot be used: {error}"), "have its issuer make it anew")
                .at("client_crl")
        })?;
        Ok(Self { verifier: Some(verifier), context: context.finish().as_ref().to_vec(), renewal })
    }
}

/// RFC 5280 §5.1.2.5.
fn next_update(list: &CertificateRevocationListDer<'_>) -> Option<i64> {
    let (_, list) = CertificateRevocationList::from_der(list).ok()?;
    Some(list.next_update()?.timestamp())
}
