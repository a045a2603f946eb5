//! What a signature covers, as the request has it (RFC 9421 §2).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, Version};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use pingora_http::RequestHeader;
use sfv::{BareItem, Item, ListEntry, Parameters, Parser, SerializeValue};

use super::Wrong;
use crate::ctx::Ctx;

/// The derived components of a request.
pub(super) const DERIVED: [&str; 8] =
    ["@method", "@target-uri", "@authority", "@scheme", "@request-target", "@path", "@query", "@query-param"];

/// What the URL standard does not encode in a query of a form, which RFC 9421 §2.2.8 goes by.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// The fields whose structure is known, all dictionaries: RFC 9421, RFC 9530, RFC 9218.
const DICTIONARIES: [&str; 8] = [
    "accept-signature",
    "content-digest",
    "priority",
    "repr-digest",
    "signature",
    "signature-input",
    "want-content-digest",
    "want-repr-digest",
];

/// The value of a component.
///
/// # Errors
/// The request does not have it, or it is of a sort that is not supported.
pub(super) fn value(name: &str, params: &Parameters, req: &RequestHeader, cx: &Ctx) -> Result<Vec<u8>, Wrong> {
    if let Some(param) = params.keys().find(|param| matches!(param.as_str(), "req" | "tr")) {
        return Err(format!("`{name};{param}` cannot be signed in a request here").into());
    }
    if !name.starts_with('@') {
        return field(name, params, req);
    }
    if name == "@query-param" {
        return parameter(params, req);
    }
    if let Some(param) = params.keys().next() {
        return Err(format!("`{name}` knows no `{param}`").into());
    }
    let path = || if req.uri.path().is_empty() { "/" } else { req.uri.path() };
    let query = || req.uri.query().map_or("?".to_owned(), |query| format!("?{query}"));
    Ok(match name {
        "@method" => req.method.as_str().into(),
        "@authority" => authority(req, cx)?.into_bytes(),
        "@scheme" => cx.scheme.into(),
        "@path" => path().into(),
        "@query" => query().into_bytes(),
        "@request-target" => target(req).into_owned().into_bytes(),
        "@target-uri" => {
            let query = req.uri.query().map_or(String::new(), |query| format!("?{query}"));
            format!("{}://{}{}{query}", cx.scheme, authority(req, cx)?, path()).into_bytes()
        }
        _ => return Err(format!("`{name}` is not supported").into()),
    })
}

/// What the request line asks for (RFC 9112 §3.2), or `:path`.
pub(super) fn target(req: &RequestHeader) -> Cow<'_, str> {
    match req.uri.path_and_query() {
        Some(_) if req.version != Version::HTTP_2 && req.uri.scheme().is_some() => req.uri.to_string().into(),
        Some(target) => target.as_str().into(),
        None => "/".into(),
    }
}

/// The host as the client wrote it, of which trusted proxies tell where they wrote another.
pub(super) fn host<'a>(req: &'a RequestHeader, cx: &'a Ctx) -> Result<Cow<'a, str>, Wrong> {
    let sent = match req.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => req.headers.get(http::header::HOST).and_then(|host| host.to_str().ok()),
    };
    let sent = sent.ok_or_else(|| Wrong::from("there is no host"))?;
    let bare = sent.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())).map_or(sent, |(host, _)| host);
    // What is not as it was sent may lack its brackets or its last dot: then it is the same.
    let plain = |host: &str| host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    if plain(bare) == plain(&cx.host) {
        return Ok(sent.into());
    }
    Ok(if usual(cx) == cx.port { (&*cx.host).into() } else { format!("{}:{}", cx.host, cx.port).into() })
}

/// The same in lower case, without the usual port (RFC 9421 §2.2.3).
fn authority(req: &RequestHeader, cx: &Ctx) -> Result<String, Wrong> {
    let host = host(req, cx)?.to_ascii_lowercase();
    Ok(host.strip_suffix(&format!(":{}", usual(cx))).map_or_else(|| host.clone(), ToOwned::to_owned))
}

/// The port that is not written.
fn usual(cx: &Ctx) -> u16 {
    if cx.scheme == "https" { 443 } else { 80 }
}

/// A parameter of the query, decoded and encoded again (RFC 9421 §2.2.8).
fn parameter(params: &Parameters, req: &RequestHeader) -> Result<Vec<u8>, Wrong> {
    let Some(name) = params.get("name").and_then(BareItem::as_str).filter(|_| params.len() == 1) else {
        return Err("`@query-param` needs a `name` and nothing else".into());
    };
    let encode = |text: &str| utf8_percent_encode(text, FORM).to_string();
    let plain = percent_decode_str(name).decode_utf8().ok().filter(|plain| encode(plain) == name);
    let plain = plain.ok_or_else(|| Wrong::from(format!("the name `{name}` is not encoded as it has to be")))?;
    let pairs = form_urlencoded::parse(req.uri.query().unwrap_or_default().as_bytes());
    let mut found = pairs.filter(|(key, _)| *key == plain).map(|(_, value)| encode(&value));
    match (found.next(), found.next()) {
        (Some(value), None) => Ok(value.into_bytes()),
        (None, _) => Err(format!("the query has no `{name}`").into()),
        (_, Some(_)) => Err(format!("the query has more than one `{name}`: sign `@query`").into()),
    }
}

/// The values of a header, without the white space around them, as one (RFC 9421 §2.1); none where it is not there.
pub(super) fn joined(req: &RequestHeader, name: &str) -> Option<Vec<u8>> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let values: Vec<_> = req.headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii()).collect();
    (!values.is_empty()).then(|| values.join(&b", "[..]))
}

fn field(name: &str, params: &Parameters, req: &RequestHeader) -> Result<Vec<u8>, Wrong> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("`{name}` is not in lower case").into());
    }
    let sent = joined(req, name).ok_or_else(|| Wrong::from(format!("the signature covers `{name}`, which the request does not have")))?;
    let yes = |param: &str| params.get(param).is_some_and(|value| *value == BareItem::Boolean(true));
    let malformed = |what: &str| Wrong::from(format!("`{name}` is no {what}"));
    match (params.len(), params.get("key").and_then(BareItem::as_str)) {
        (0, _) => Ok(sent),
        (1, _) if yes("bs") => {
            let values = req.headers.get_all(name).iter().map(|value| format!(":{}:", STANDARD.encode(value.as_bytes().trim_ascii())));
            Ok(values.collect::<Vec<_>>().join(", ").into_bytes())
        }
        (1, _) if yes("sf") => {
            if !DICTIONARIES.contains(&name) {
                return Err(format!("`{name};sf` is not supported: the structure of the field is not known here").into());
            }
            let dictionary = Parser::parse_dictionary(&sent).map_err(|_| malformed("dictionary"))?;
            Ok(dictionary.serialize_value().map_err(|_| malformed("dictionary"))?.into_bytes())
        }
        (count, Some(key)) if count == 1 || count == 2 && yes("sf") => {
            let dictionary = Parser::parse_dictionary(&sent).map_err(|_| malformed("dictionary"))?;
            let member = dictionary.get(key).ok_or_else(|| Wrong::from(format!("`{name}` has no `{key}`")))?;
            Ok(written(member.clone())?.into_bytes())
        }
        _ => Err(format!("`{name}` is covered in a way that is not supported: `bs`, `sf` or `key` are").into()),
    }
}

/// A member of a dictionary, or of a list, by itself.
pub(super) fn written(member: ListEntry) -> Result<String, Wrong> {
    let text = match member {
        ListEntry::Item(item) => item.serialize_value(),
        list @ ListEntry::InnerList(_) => vec![list].serialize_value(),
    };
    text.map_err(|_| "a structured field is malformed".into())
}

/// The name of a component with its parameters, as it stands in the text that is signed.
pub(super) fn identifier(item: &Item) -> Result<String, Wrong> {
    item.serialize_value().map_err(|_| "`Signature-Input` is malformed".into())
}
