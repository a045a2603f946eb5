use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora_http::RequestHeader;

use super::fill::Variable;
use super::outcome::Missing;
use super::target::Target;
use super::text::{Facts, Text};
use crate::body::json::{self, Out};
use crate::building::BuildError;
use crate::problem::Kind;
use crate::types::FRAMING;

/// A call, to be filled in for each request.
#[derive(Debug)]
pub(super) struct Ask {
    pub method: Method,
    pub target: Target,
    pub headers: Box<[(HeaderName, Text)]>,
    pub body: Option<json::Template<Variable>>,
}

/// The call that a part is.
pub(super) struct Request {
    pub head: RequestHeader,
    pub body: Vec<Bytes>,
}

/// The longest body of a call.
const BODY: usize = 1024 * 1024;

impl Ask {
    /// The call for one request, which tells the service what stands in `told`.
    pub fn request(&self, told: &HeaderMap, facts: Facts<'_>) -> Result<Request, Missing> {
        let lacks = || match self.target.lacks_part(facts) {
            true => Missing::new(Kind::BadGateway, "asking", "value_missing", "was not asked: another part lacks a value that it needs"),
            false => Missing::new(Kind::BadRequest, "asking", "value_missing", "was not asked: the request lacks a value that it needs"),
        };
        let target = self.target.render(facts).ok_or_else(lacks)?;
        // Pingora's own ways to put headers in would read each name anew.
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = PathAndQuery::from_maybe_shared(target).map_err(|_| lacks())?.into();
        parts.headers = told.clone();
        let headers = &mut parts.headers;
        for (name, text) in &self.headers {
            if let Some(value) = text.header(facts) {
                headers.insert(name, value);
            }
        }
        if !headers.contains_key(header::ACCEPT) {
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, */*;q=0.5"));
        }
        let mut body = Vec::new();
        if let Some(template) = &self.body {
            let mut out = Out::new(BODY, 256);
            template.write(json::Missing::Null, &|variable| variable.fill(facts), &mut out);
            let too_long =
                |_| Missing::new(Kind::BadGateway, "asking", "value_missing", "was not asked: its request would be longer than 1 MiB");
            body.push(out.finish().map_err(too_long)?.into());
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        // One that has none says so where one could be expected (RFC 9110 §8.6).
        if !matches!(self.method, Method::GET | Method::DELETE) && body.is_empty() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        }
        Ok(Request { head: parts.into(), body })
    }
}

/// The name of a header that a part may have.
///
/// # Errors
/// None is, or one that is written by the gateway.
pub(super) fn header_name(name: &str) -> Result<HeaderName, BuildError> {
    const OWN: [HeaderName; 6] =
        [header::HOST, header::EXPECT, header::ACCEPT_ENCODING, header::CONTENT_TYPE, header::FORWARDED, header::VIA];
    let known = HeaderName::try_from(name);
    let known = known.map_err(|_| BuildError::new(format!("`{name}` is not a header name"), "use letters, digits and `-`"))?;
    if FRAMING.contains(&known) || OWN.contains(&known) || known.as_str().starts_with("x-forwarded-") {
        return Err(BuildError::new(format!("`{name}` is written by the gateway itself"), "remove it"));
    }
    Ok(known)
}
