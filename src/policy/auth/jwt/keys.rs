//! From `keys:` to the keys themselves.

use std::path::Path;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::config::KeyConfig;
use crate::building::{BuildError, read_file};
use crate::policy::auth::jwks::{Key, KeySet, configured, read_jwks, read_pem};

/// Every key of the list.
///
/// # Errors
/// A key that is missing, ambiguous, unreadable or unsafe, at its place under `keys`.
pub(super) fn build(configs: &[KeyConfig], folder: &Path) -> Result<KeySet, BuildError> {
    if configs.is_empty() {
        let fix = "write `keys:` with at least one of `{ algorithm, secret }`, `{ algorithm, pem_file }` and `{ jwks_file }`";
        return Err(BuildError::new("there is no key to verify tokens with", fix).at("keys"));
    }
    let mut keys = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        keys.extend(read(config, folder).map_err(|error| error.at(index).at("keys"))?);
    }
    Ok(KeySet::new(keys))
}

fn read(config: &KeyConfig, folder: &Path) -> Result<Vec<Key>, BuildError> {
    let algorithm = config.algorithm.as_deref().map(configured).transpose().map_err(|error| error.at("algorithm"))?;
    let id = config.id.as_deref();
    let secret = |field, secret: &[u8]| {
        let needed = || BuildError::new("a secret needs its algorithm", "write `algorithm: HS256`, or what the issuer signs with");
        let algorithm = algorithm.ok_or_else(|| needed().at("algorithm"))?;
        Key::secret(id, algorithm, secret).map(|key| vec![key]).map_err(|error| error.at(field))
    };
    let pem = |field, pem: &str| {
        let key = read_pem(pem).and_then(|public| Key::public(id, algorithm, public));
        key.map(|key| vec![key]).map_err(|error| error.at(field))
    };
    match (&config.secret, &config.secret_base64, &config.pem, &config.pem_file, &config.jwks_file) {
        (Some(text), None, None, None, None) => secret("secret", text.reveal().as_bytes()),
        (None, Some(text), None, None, None) => {
            let wrong = || BuildError::new("this is not base64", "write it as base64, or the text itself as `secret`").at("secret_base64");
            secret("secret_base64", &decode(text.reveal()).ok_or_else(wrong)?)
        }
        (None, None, Some(text), None, None) => pem("pem", text),
        (None, None, None, Some(name), None) => {
            let text = String::from_utf8(read_file(folder, name).map_err(|error| error.at("pem_file"))?);
            pem(
                "pem_file",
                &text
                    .map_err(|_| BuildError::new("this is not PEM", "convert it with `openssl pkey -pubin -inform DER`").at("pem_file"))?,
            )
        }
        (None, None, None, None, Some(name)) => {
            if id.is_some() {
                return Err(BuildError::new("the keys of a JWKS file have ids of their own", "remove `id`").at("id"));
            }
            read_file(folder, name).and_then(|json| read_jwks(&json, algorithm)).map_err(|error| error.at("jwks_file"))
        }
        _ => Err(BuildError::new(
            "an entry gives exactly one key or file",
            "write one of `secret`, `secret_base64`, `pem`, `pem_file`, `jwks_file`",
        )),
    }
}

/// Bytes from base64 as issuers hand it out: either alphabet, padded or not.
fn decode(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, config).decode(text.trim()).ok()
}
