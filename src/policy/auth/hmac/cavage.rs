//! The older form: draft-cavage-http-signatures-12, and what the clients of other gateways make of it.

use std::time::UNIX_EPOCH;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Version, header};
use pingora_http::RequestHeader;

use super::component::{host, joined, target};
use super::{Signed, Times, Wrong, digest};
use crate::consumer::SigningAlgorithm;
use crate::ctx::Ctx;

/// The words in front of such a credential. Kong's clients say `hmac`.
const SCHEMES: [&str; 2] = ["signature", "hmac"];

/// How many headers a signature may cover.
const MOST: usize = 32;

/// What follows the word, where `Authorization` carries a signature.
pub(super) fn credential(req: &RequestHeader) -> Option<&str> {
    let value = req.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)).then(|| rest.trim())
}

/// The signature of a request, with the text that it signs; none where there is none.
///
/// # Errors
/// It is malformed, or covers what the request does not have.
pub(super) fn read(req: &RequestHeader, cx: &Ctx) -> Result<Option<Signed>, Wrong> {
    let Some(credential) = credential(req) else { return Ok(None) };
    if req.headers.get_all(header::AUTHORIZATION).iter().nth(1).is_some() {
        return Err("there is more than one `Authorization`".into());
    }
    let params = params(credential).ok_or_else(|| Wrong::from("`Authorization` is malformed"))?;
    let param = |name: &str| params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let missing = |name: &str| Wrong::from(format!("the signature has no `{name}`"));
    let key = param("keyid").or_else(|| param("username")).ok_or_else(|| missing("keyId"))?;
    let named = param("algorithm").ok_or_else(|| missing("algorithm"))?.to_ascii_lowercase();
    let algorithm = match named.as_str() {
        "hmac-sha256" => SigningAlgorithm::HmacSha256,
        "hmac-sha384" => SigningAlgorithm::HmacSha384,
        // `hs2019` leaves it to the key, and proposes this hash (appendix E.2).
        "hmac-sha512" | "hs2019" => SigningAlgorithm::HmacSha512,
        _ => return Err("`algorithm` is none of `hmac-sha256`, `hmac-sha384`, `hmac-sha512` and `hs2019`".into()),
    };
    let malformed = || Wrong::from("`signature` is no base64");
    let signature = STANDARD.decode(param("signature").ok_or_else(|| missing("signature"))?).map_err(|_| malformed())?;
    let time =
        |name: &str| param(name).map(|value| value.parse::<u64>().map_err(|_| Wrong::from(format!("`{name}` is no time")))).transpose();
    let (created, expires) = (time("created")?, time("expires")?);
    let names = param("headers").unwrap_or("date").to_ascii_lowercase();
    let (mut base, mut covered, mut body) = (Vec::new(), Vec::new(), Vec::new());
    for name in names.split_ascii_whitespace() {
        if covered.len() == MOST {
            return Err(format!("the signature covers more than {MOST} headers").into());
        }
        if covered.iter().any(|known| known == name) {
            return Err(format!("the signature covers `{name}` twice").into());
        }
        covered.push(name.to_owned());
        if !base.is_empty() {
            base.push(b'\n');
        }
        // Section 2.3: with the names of old the times are not signed.
        let timed = |value: Option<u64>| {
            let value =
                value.filter(|_| named == "hs2019").ok_or_else(|| Wrong::from(format!("`{name}` is covered, and cannot be here")))?;
            Ok::<_, Wrong>(value.to_string().into_bytes())
        };
        let value = match name {
            "request-line" => {
                let version = if req.version == Version::HTTP_2 { "HTTP/2.0".to_owned() } else { format!("{:?}", req.version) };
                base.extend_from_slice(format!("{} {} {version}", req.method, target(req)).as_bytes());
                continue;
            }
            "(request-target)" => format!("{} {}", req.method.as_str().to_ascii_lowercase(), target(req)).into_bytes(),
            "(created)" => timed(created)?,
            "(expires)" => timed(expires)?,
            "host" => host(req, cx)?.into_owned().into_bytes(),
            name if name.starts_with(['(', '@']) => return Err(format!("`{name}` is not supported").into()),
            name => {
                joined(req, name).ok_or_else(|| Wrong::from(format!("the signature covers `{name}`, which the request does not have")))?
            }
        };
        base.extend_from_slice(format!("{name}: ").as_bytes());
        base.extend_from_slice(&value);
        if name == "digest" {
            body = digest::of_instance(req)?;
        }
    }
    let times =
        Times { signed: signed(req, &covered, created)?, expires: expires.filter(|_| covered.iter().any(|name| name == "(expires)")) };
    Ok(Some(Signed { key: key.to_owned(), algorithm: Some(algorithm), base, signature, times, covered: components(covered), body }))
}

/// When it was signed: what of that is covered counts.
fn signed(req: &RequestHeader, covered: &[String], created: Option<u64>) -> Result<u64, Wrong> {
    let covers = |name: &str| covered.iter().any(|known| known == name);
    if let Some(created) = created.filter(|_| covers("(created)")) {
        return Ok(created);
    }
    // Browsers set `Date` themselves; clients there have the other one.
    let name = ["x-date", "date"].into_iter().find(|name| covers(name));
    let name = name.ok_or_else(|| Wrong::from("the signature covers none of `date`, `x-date` and `(created)`"))?;
    let malformed = || Wrong::from(format!("`{name}` is no date"));
    let date = joined(req, name).and_then(|date| String::from_utf8(date).ok()).ok_or_else(malformed)?;
    let date = httpdate::parse_http_date(&date).map_err(|_| malformed())?;
    date.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).map_err(|_| malformed())
}

/// What the names of this form cover, in the names of the other.
fn components(mut covered: Vec<String>) -> Vec<String> {
    let covers = |name: &str| covered.iter().any(|known| known == name);
    let target = covers("(request-target)") || covers("request-line");
    let more = [("@method", target), ("@request-target", target), ("@authority", covers("host")), ("content-digest", covers("digest"))];
    covered.extend(more.into_iter().filter(|(_, covers)| *covers).map(|(name, _)| name.to_owned()));
    covered
}

/// Parameters like `keyId="a", created=1`, their names in lower case; none where they are malformed, or one stands twice.
fn params(text: &str) -> Option<Vec<(String, String)>> {
    let mut params: Vec<(String, String)> = Vec::new();
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) || params.iter().any(|(known, _)| *known == name) {
            return None;
        }
        let (value, after) = match after.trim_start().strip_prefix('"') {
            // Nothing that may stand in one needs a backslash.
            Some(quoted) => quoted.split_once('"').filter(|(value, _)| !value.contains('\\'))?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                after.split_at_checked(end)?
            }
        };
        params.push((name, value.trim().to_owned()));
        match after.trim_start() {
            "" => return Some(params),
            more => rest = more.strip_prefix(',')?,
        }
    }
}
