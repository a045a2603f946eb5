//! Digests of bodies, as signatures cover them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pingora_http::RequestHeader;
use sfv::{ListEntry, Parser};

use super::Wrong;
use super::component::joined;
use crate::types::SignedBody;

const NONE_KNOWN: &str = "has no digest that is known here: `sha-256` and `sha-512` are";

/// What `Content-Digest` (RFC 9530 §2) says, or one member of it.
///
/// # Errors
/// It is malformed, or has none of a known algorithm.
pub(super) fn of_content(req: &RequestHeader, member: Option<&str>) -> Result<Vec<SignedBody>, Wrong> {
    let malformed = || Wrong::from("`Content-Digest` is malformed");
    let sent = joined(req, "content-digest").unwrap_or_default();
    let sent = Parser::parse_dictionary(&sent).map_err(|_| malformed())?;
    let mut digests = Vec::new();
    for (name, value) in sent.iter().filter(|(name, _)| member.is_none_or(|member| member == *name)) {
        let ListEntry::Item(item) = value else { return Err(malformed()) };
        let value = item.bare_item.as_byte_seq().ok_or_else(malformed)?.clone().into_boxed_slice();
        digests.extend(digest(name, value));
    }
    if digests.is_empty() { Err(format!("`Content-Digest` {NONE_KNOWN}").into()) } else { Ok(digests) }
}

/// What `Digest` (RFC 3230) says.
///
/// # Errors
/// It is malformed, or has none of a known algorithm.
pub(super) fn of_instance(req: &RequestHeader) -> Result<Vec<SignedBody>, Wrong> {
    let malformed = || Wrong::from("`Digest` is malformed");
    let sent = joined(req, "digest").and_then(|sent| String::from_utf8(sent).ok()).ok_or_else(malformed)?;
    let mut digests = Vec::new();
    for one in sent.split(',') {
        let (name, value) = one.trim().split_once('=').ok_or_else(malformed)?;
        let name = name.to_ascii_lowercase();
        if matches!(name.as_str(), "sha-256" | "sha-512") {
            digests.extend(digest(&name, STANDARD.decode(value).map_err(|_| malformed())?.into()));
        }
    }
    if digests.is_empty() { Err(format!("`Digest` {NONE_KNOWN}").into()) } else { Ok(digests) }
}

fn digest(name: &str, value: Box<[u8]>) -> Option<SignedBody> {
    match name {
        "sha-256" => Some(SignedBody::Sha256(value)),
        "sha-512" => Some(SignedBody::Sha512(value)),
        _ => None,
    }
}
