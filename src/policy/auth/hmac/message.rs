//! HTTP message signatures (RFC 9421): which signature counts, and what it signs.

use pingora_http::RequestHeader;
use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser, SerializeValue};

use super::component::{identifier, joined, value, written};
use super::{Signed, Times, Wrong, digest};
use crate::consumer::SigningAlgorithm;
use crate::ctx::Ctx;

/// Which of several signatures counts.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// The one of this label.
    pub label: Option<String>,
    /// One with this tag.
    pub tag: Option<String>,
}

impl Choice {
    fn is_any(&self) -> bool {
        self.label.is_none() && self.tag.is_none()
    }

    fn takes(&self, label: &str, input: &ListEntry) -> bool {
        let tagged = |wanted: &str| matches!(input, ListEntry::InnerList(list) if text(list, "tag") == Some(wanted));
        self.label.as_deref().is_none_or(|wanted| wanted == label) && self.tag.as_deref().is_none_or(tagged)
    }
}

const INPUT: &str = "signature-input";
const SIGNATURE: &str = "signature";

/// How many components a signature may cover.
const MOST: usize = 32;

/// The signature of a request, with the text that it signs; none where there is none that counts.
///
/// # Errors
/// It is malformed, there are several, or it covers what the request does not have.
pub(super) fn read(req: &RequestHeader, cx: &Ctx, choice: &Choice) -> Result<Option<Signed>, Wrong> {
    let (inputs, signatures) = match (joined(req, INPUT), joined(req, SIGNATURE)) {
        (None, None) => return Ok(None),
        (Some(inputs), Some(signatures)) => (inputs, signatures),
        _ => return Err("`Signature-Input` and `Signature` belong together".into()),
    };
    let inputs = Parser::parse_dictionary(&inputs).map_err(|_| Wrong::from("`Signature-Input` is malformed"))?;
    let signatures = Parser::parse_dictionary(&signatures).map_err(|_| Wrong::from("`Signature` is malformed"))?;
    let mut counting = inputs.iter().filter(|(label, input)| choice.takes(label, input));
    let (label, input) = match (counting.next(), counting.next()) {
        (Some(input), None) => input,
        (None, _) => return Ok(None),
        // Which of them is meant could be read in two ways.
        (_, Some(_)) => return Err("there is more than one signature".into()),
    };
    let ListEntry::InnerList(input) = input else { return Err("`Signature-Input` is malformed".into()) };
    let signature = match signatures.get(label) {
        Some(ListEntry::Item(item)) => item.bare_item.as_byte_seq().ok_or_else(|| Wrong::from("`Signature` is malformed"))?,
        _ => return Err(format!("`Signature` has no `{label}`").into()),
    };
    signed(req, cx, input, signature.clone()).map(Some)
}

/// Whether there is one that counts, good or bad.
pub(super) fn is_there(req: &RequestHeader, choice: &Choice) -> bool {
    let Some(inputs) = joined(req, INPUT) else { return req.headers.contains_key(SIGNATURE) };
    // What is malformed may be meant.
    choice.is_any()
        || Parser::parse_dictionary(&inputs).map_or(true, |inputs| inputs.iter().any(|(label, input)| choice.takes(label, input)))
}

/// Takes out the signature that counts, and leaves what others have signed for whoever comes behind.
pub(super) fn remove(req: &mut RequestHeader, choice: &Choice) {
    let others = |req: &RequestHeader, name: &str, labels: &[String]| {
        let mut members = Parser::parse_dictionary(&joined(req, name)?).ok()?;
        members.retain(|label, _| !labels.contains(label));
        members.serialize_value().ok()
    };
    let inputs = joined(req, INPUT).filter(|_| !choice.is_any()).and_then(|inputs| Parser::parse_dictionary(&inputs).ok());
    let counts =
        |inputs: Dictionary| inputs.iter().filter(|(label, input)| choice.takes(label, input)).map(|(label, _)| label.clone()).collect();
    let labels: Option<Vec<String>> = inputs.map(counts);
    for name in [INPUT, SIGNATURE] {
        let left = labels.as_ref().and_then(|labels| others(req, name, labels));
        req.remove_header(name);
        if let Some(left) = left {
            let _ = req.insert_header(name, left);
        }
    }
}

fn signed(req: &RequestHeader, cx: &Ctx, input: &InnerList, signature: Vec<u8>) -> Result<Signed, Wrong> {
    for name in ["keyid", "alg", "nonce", "tag"] {
        if input.params.contains_key(name) && text(input, name).is_none() {
            return Err(format!("`{name}` of the signature is no string").into());
        }
    }
    let key = text(input, "keyid").ok_or_else(|| Wrong::from("the signature has no `keyid`"))?;
    let algorithm = text(input, "alg").map(|name| algorithm(name).ok_or_else(|| Wrong::from("`alg` of the signature is not supported")));
    let times = Times {
        signed: time(input, "created")?.ok_or_else(|| Wrong::from("the signature has no `created`"))?,
        expires: time(input, "expires")?,
    };
    // Each is looked for, and anybody may ask for that.
    if input.items.len() > MOST {
        return Err(format!("the signature covers more than {MOST} components").into());
    }
    let mut base = Vec::new();
    let (mut identifiers, mut covered, mut body) = (Vec::new(), Vec::new(), Vec::new());
    for item in &input.items {
        let name = item.bare_item.as_str().ok_or_else(|| Wrong::from("`Signature-Input` is malformed"))?;
        let identifier = identifier(item)?;
        base.extend_from_slice(identifier.as_bytes());
        base.extend_from_slice(b": ");
        base.extend_from_slice(&value(name, &item.params, req, cx)?);
        base.push(b'\n');
        if identifiers.contains(&identifier) {
            return Err(format!("the signature covers {identifier} twice").into());
        }
        identifiers.push(identifier);
        let member = item.params.get("key").and_then(BareItem::as_str);
        if name == "content-digest" {
            body.extend(digest::of_content(req, member)?);
        }
        // A parameter of a query, or a member of a field, is not the whole.
        if member.is_none() && name != "@query-param" {
            covered.push(name.to_owned());
        }
    }
    base.extend_from_slice(b"\"@signature-params\": ");
    base.extend_from_slice(written(ListEntry::InnerList(input.clone()))?.as_bytes());
    Ok(Signed { key: key.to_owned(), algorithm: algorithm.transpose()?, base, signature, times, covered, body })
}

fn text<'a>(input: &'a InnerList, name: &str) -> Option<&'a str> {
    match input.params.get(name) {
        Some(BareItem::String(text)) => Some(text),
        _ => None,
    }
}

fn time(input: &InnerList, name: &str) -> Result<Option<u64>, Wrong> {
    let Some(value) = input.params.get(name) else { return Ok(None) };
    let seconds = value.as_int().and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map(Some).ok_or_else(|| format!("`{name}` of the signature is no time").into())
}

/// By its name in the registry of RFC 9421 §6.2.
fn algorithm(name: &str) -> Option<SigningAlgorithm> {
    Some(match name {
        "hmac-sha256" => SigningAlgorithm::HmacSha256,
        "rsa-pss-sha512" => SigningAlgorithm::RsaPssSha512,
        "rsa-v1_5-sha256" => SigningAlgorithm::RsaV15Sha256,
        "ecdsa-p256-sha256" => SigningAlgorithm::EcdsaP256Sha256,
        "ecdsa-p384-sha384" => SigningAlgorithm::EcdsaP384Sha384,
        "ed25519" => SigningAlgorithm::Ed25519,
        _ => return None,
    })
}
