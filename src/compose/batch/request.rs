use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora_http::RequestHeader;

use super::media::Form;
use super::read::{Asked, Body};
use crate::building::BuildError;
use crate::problem::{Kind, Problem};
use crate::types::FRAMING;

/// What belongs to a connection beside its framing, and what is said of who is at its other end.
const CONNECTION: [HeaderName; 7] = [
    header::HOST,
    header::EXPECT,
    header::FORWARDED,
    header::VIA,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
];

/// What says something of the request around them alone: how its answer may be encoded, under what conditions it is asked for, which part of it, and that
/// it is asked for once.
const ALONE: [HeaderName; 9] = [
    header::ACCEPT_ENCODING,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
    header::MAX_FORWARDS,
    HeaderName::from_static("idempotency-key"),
];

/// The alphabets of base64 that clients may use (RFC 4648 §4, §5), padded or not.
const ALPHABETS: [GeneralPurpose; 2] = {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [
        GeneralPurpose::new(&base64::alphabet::URL_SAFE, config),
        GeneralPurpose::new(&base64::alphabet::STANDARD, config.with_decode_allow_trailing_bits(false)),
    ]
};

/// Headers by which requests are told apart: that of the one around them is no name for theirs.
const IDS: [HeaderName; 2] = [HeaderName::from_static("x-request-id"), HeaderName::from_static("x-correlation-id")];

/// How bodies are written.
pub(super) const BASE64: GeneralPurpose = general_purpose::URL_SAFE_NO_PAD;

/// The headers of the request around them, which has that id, that are theirs too.
pub(super) fn inherited(outer: &RequestHeader, id: &HeaderValue) -> HeaderMap {
    let lines = outer.headers.get_all(header::CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let named: Vec<_> = lines.flat_map(|line| line.split(',')).filter_map(|name| HeaderName::try_from(name.trim()).ok()).collect();
    let stays = |name: &HeaderName| {
        let says_of_hops = matches!(*name, header::FORWARDED | header::VIA);
        let text = name.as_str();
        (CONNECTION.contains(name) && !says_of_hops)
            || FRAMING.contains(name)
            || ALONE.contains(name)
            || IDS.contains(name)
            || named.contains(name)
            || text.starts_with("content-")
            || text.starts_with("sec-websocket-")
            || matches!(text, "digest" | "repr-digest")
    };
    let goes = outer.headers.iter().filter(|(name, value)| !stays(name) && *value != id);
    let mut headers = HeaderMap::new();
    goes.for_each(|(name, value)| {
        headers.append(name, value.clone());
    });
    headers
}

/// What requests are held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    /// The headers that they may have of their own, where not any.
    pub own: Option<&'a [HeaderName]>,
    /// How many header fields they may have.
    pub most: usize,
}

/// One of them, made.
#[derive(Debug)]
pub(super) struct Made {
    pub head: RequestHeader,
    /// The headers that it has said itself.
    pub own: Vec<HeaderName>,
    pub body: Bytes,
}

/// What it takes to ask for what one asks.
///
/// # Errors
/// The problem of a request that is none.
pub(super) fn request(asked: &Asked, inherited: &HeaderMap, rules: Rules<'_>) -> Result<Made, Problem> {
    // No map of headers takes as many as a body has room for.
    if asked.headers.len() > rules.most {
        return Err(Problem::new(Kind::HeaderTooLarge, format!("the request has more than {} header fields", rules.most)));
    }
    let method = method(&asked.method)?;
    let target = target(&asked.url)?;
    let mut headers = headers(&asked.headers, rules.own)?;
    let own = headers.keys().cloned().collect();
    let body = match &asked.body {
        Some(body) => payload(body, &mut headers)?,
        None => Bytes::new(),
    };
    let takes_body = matches!(method, Method::POST | Method::PUT | Method::PATCH);
    let mut head = RequestHeader::build_no_case(method, target.as_bytes(), Some(inherited.len() + headers.len() + 2))
        .map_err(|error| bad("the url is malformed").cause(error))?;
    for (name, value) in inherited.iter().filter(|(name, _)| !headers.contains_key(*name)).chain(&headers) {
        let _ = head.append_header(name, value.clone());
    }
    if takes_body || !body.is_empty() {
        let _ = head.insert_header(header::CONTENT_LENGTH, body.len());
    }
    Ok(Made { head, own, body })
}

/// The method and the path that a request names, as far as they can stand in a log: without its query, which may be secret.
pub(super) fn named(asked: &Asked) -> (Option<Method>, String) {
    const MOST: usize = 1000;
    let path = asked.url.split(['?', '#']).next().filter(|path| path.starts_with('/')).unwrap_or_default();
    (method(&asked.method).ok().filter(|method| method.as_str().len() <= MOST), path.chars().take(MOST).collect())
}

fn bad(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Kind::BadRequest, detail)
}

/// Those that everybody knows in any case, since OData has it so; others are what they are (RFC 9110 §9.1).
fn method(name: &str) -> Result<Method, Problem> {
    const KNOWN: [Method; 7] = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
    match KNOWN.iter().find(|known| known.as_str().eq_ignore_ascii_case(name)) {
        Some(known) => Ok(known.clone()),
        None => Method::from_bytes(name.as_bytes()).map_err(|_| bad("the method is malformed")),
    }
}

/// The path and query, with what no URI may hold (RFC 3986 §2) escaped as it is for others.
fn target(url: &str) -> Result<String, Problem> {
    if !url.starts_with('/') {
        return Err(bad("the url is no path: write it without scheme and host, with a slash in front"));
    }
    if let Some(char) = url.chars().find(|char| char.is_ascii_control() || matches!(char, ' ' | '#')) {
        return Err(bad(format!("the url has a {char:?} in it")));
    }
    let mut target = String::with_capacity(url.len());
    for char in url.chars() {
        match char {
            char if !char.is_ascii() || matches!(char, '"' | '<' | '>' | '`') => {
                let mut bytes = [0; 4];
                target.extend(char.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")));
            }
            char => target.push(char),
        }
    }
    PathAndQuery::try_from(target.as_str()).map_err(|_| bad("the url is malformed"))?;
    Ok(target)
}

/// Whether it belongs to a connection, or says for whom a proxy speaks: no request within a batch can have it of its own.
fn is_of_connection(name: &HeaderName) -> bool {
    let text = name.as_str();
    let starts = ["x-forwarded-", "sec-websocket-"].iter().any(|start| text.starts_with(start));
    FRAMING.contains(name) || CONNECTION.contains(name) || starts || text == "x-real-ip"
}

/// A header that the config lets them have.
///
/// # Errors
/// It is none, or one that they cannot have.
pub(super) fn allowed(name: &str) -> Result<HeaderName, BuildError> {
    let known = HeaderName::try_from(name)
        .map_err(|_| BuildError::new(format!("`{name}` is no name of a header"), "write one like `Accept-Language`"))?;
    if is_of_connection(&known) {
        return Err(BuildError::new(format!("`{name}` belongs to the connection, and is the same for all"), "remove it"));
    }
    Ok(known)
}

fn headers(fields: &[(String, String)], own: Option<&[HeaderName]>) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let shown: String = name.escape_debug().take(100).collect();
        let known = HeaderName::try_from(name).map_err(|_| bad(format!("`{shown}` is no name of a header")))?;
        // As the parser has it for others: no control characters but tabs (RFC 9110 §5.5).
        let value =
            HeaderValue::try_from(value.trim_matches([' ', '\t'])).map_err(|_| bad(format!("the header `{shown}` is malformed")))?;
        if is_of_connection(&known) {
            return Err(bad(format!("the header `{shown}` cannot be part of a batch: it belongs to the connection")));
        }
        if own.is_some_and(|own| !own.contains(&known)) {
            return Err(bad(format!("the header `{shown}` cannot be part of this batch")));
        }
        if headers.insert(known, value).is_some() {
            return Err(bad(format!("the header `{shown}` is there twice")));
        }
    }
    Ok(headers)
}

/// The body as it goes out.
fn payload(body: &Body, headers: &mut HeaderMap) -> Result<Bytes, Problem> {
    if !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    match (Form::of(headers), &body.text) {
        (Form::Json, _) => Ok(body.raw.clone()),
        (_, None) => Err(bad("the body is no string, and its type is not JSON")),
        (Form::Text, Some(text)) => Ok(text.clone().into()),
        (Form::Binary, Some(text)) => {
            let decoded = ALPHABETS.iter().find_map(|alphabet| alphabet.decode(text).ok());
            decoded.map(Bytes::from).ok_or_else(|| bad("the body is not in base64, and its type is neither JSON nor text"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&'static str>) -> Asked {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let body = body.map(|raw| Body { raw: raw.into(), text: serde_json::from_str(raw).ok() });
        Asked { id: Bytes::new(), method: method.to_owned(), url: url.to_owned(), headers, body }
    }

    const ANY: Rules<'static> = Rules { own: None, most: 100 };

    #[test]
    fn what_is_told_of_one_that_is_refused_is_no_secret_and_no_longer_than_a_line() {
        for (method, url, told) in [
            ("get", "/a b?key=secret", (Some(Method::GET), "/a b")),
            ("G T", "https://ann:secret@a.test/", (None, "")),
            ("GET", "/a#secret", (Some(Method::GET), "/a")),
        ] {
            let (method, path) = named(&asked(method, url, &[], None));
            assert_eq!((method, path.as_str()), told);
        }
        let (method, path) = named(&asked(&"A".repeat(5000), &format!("/{}", "a".repeat(5000)), &[], None));
        assert_eq!((method, path.len()), (None, 1000));
    }

    fn outer() -> RequestHeader {
        let mut req = RequestHeader::build_no_case("POST", b"/batch", None).unwrap();
        for (name, value) in [
            ("host", "a"),
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("accept-language", "en"),
            ("content-type", "application/json"),
            ("content-length", "2"),
            ("content-digest", "x"),
            ("accept-encoding", "gzip"),
            ("if-none-match", "x"),
            ("range", "bytes=0-1"),
            ("connection", "keep-alive, X-Mine"),
            ("x-mine", "1"),
            ("expect", "100-continue"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("idempotency-key", "x"),
            ("x-forwarded-for", "192.0.2.9"),
            ("x-request-id", "8"),
            ("x-correlation-id", "9"),
            ("x-trace", "7"),
        ] {
            req.append_header(name, value).unwrap();
        }
        req
    }

    #[test]
    fn what_says_who_asks_goes_along_and_what_says_how_does_not() {
        let mut names: Vec<_> = inherited(&outer(), &HeaderValue::from_static("7")).keys().map(ToString::to_string).collect();
        names.sort();
        assert_eq!(names, ["accept-language", "authorization", "cookie", "x-forwarded-for"]);
    }

    #[test]
    fn its_own_headers_stand_in_the_place_of_others() {
        let asked = asked("post", "/a?b=ä", &[("Accept-Language", " de "), ("X", "y")], Some("{ }"));
        let Made { head, own, body } = request(&asked, &inherited(&outer(), &HeaderValue::from_static("7")), ANY).unwrap();
        assert_eq!(own, ["accept-language", "x"]);
        assert_eq!((head.method.as_str(), head.uri.to_string().as_str(), &body[..]), ("POST", "/a?b=%C3%A4", &b"{ }"[..]));
        let mut lines: Vec<_> = head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "accept-language: de",
                "authorization: Bearer x",
                "content-length: 3",
                "content-type: application/json",
                "cookie: a=b",
                "x-forwarded-for: 192.0.2.9",
                "x: y"
            ]
        );
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (asked, told) in [
            (asked("G T", "/", &[], None), "the method is malformed"),
            (asked("GET", "http://other.example/", &[], None), "the url is no path"),
            (asked("GET", "a", &[], None), "the url is no path"),
            (asked("GET", "/a b", &[], None), "the url has a ' '"),
            (asked("GET", "/ HTTP/1.1\r\nHost: b\r\n\r\n", &[], None), "the url has a"),
            (asked("GET", "/a#b", &[], None), "the url has a '#'"),
            (asked("GET", "/", &[("a b", "c")], None), "`a b` is no name of a header"),
            (asked("GET", "/", &[("a\r\nb", "c")], None), "`a\\r\\nb` is no name of a header"),
            (asked("GET", "/", &[("a", "b\r\nHost: c")], None), "the header `a` is malformed"),
            (asked("GET", "/", &[("A", "b"), ("a", "b")], None), "the header `a` is there twice"),
            (asked("GET", "/", &[("Host", "b")], None), "the header `Host` cannot be"),
            (asked("GET", "/", &[("Content-Length", "9")], None), "the header `Content-Length` cannot be"),
            (asked("GET", "/", &[("Transfer-Encoding", "chunked")], None), "cannot be part of a batch"),
            (asked("GET", "/", &[("Connection", "authorization")], None), "cannot be part of a batch"),
            (asked("GET", "/", &[("Upgrade", "websocket")], None), "cannot be part of a batch"),
            (asked("GET", "/", &[("X-Forwarded-For", "192.0.2.8")], None), "cannot be part of a batch"),
            (asked("GET", "/", &[("Forwarded", "for=192.0.2.8")], None), "cannot be part of a batch"),
            (asked("POST", "/", &[("Content-Type", "text/plain")], Some("{}")), "the body is no string"),
            (asked("POST", "/", &[("Content-Type", "image/png")], Some("\"%\"")), "the body is not in base64"),
        ] {
            let problem = request(&asked, &HeaderMap::new(), ANY).unwrap_err();
            assert!(problem.detail.contains(told), "{asked:?}: {}", problem.detail);
        }
        let only = Rules { own: Some(&[header::ACCEPT]), ..ANY };
        assert!(request(&asked("GET", "/", &[("Accept", "b")], None), &HeaderMap::new(), only).is_ok());
        assert!(request(&asked("GET", "/", &[("X-User", "b")], None), &HeaderMap::new(), only).is_err());
        let none = Rules { most: 0, ..ANY };
        assert_eq!(request(&asked("GET", "/", &[("X", "b")], None), &HeaderMap::new(), none).unwrap_err().kind, Kind::HeaderTooLarge);
    }

    #[test]
    fn a_body_goes_out_as_its_type_says() {
        for (kind, body, sent) in [
            ("application/vnd.a+json", "\"a\"", &b"\"a\""[..]),
            ("text/plain", "\"\\u0061\\n\"", b"a\n"),
            ("application/x-www-form-urlencoded", "\"a=b\"", b"a=b"),
            ("image/png", "\"_w\"", b"\xff"),
            ("image/png", "\"/w==\"", b"\xff"),
        ] {
            let Made { head, body, .. } =
                request(&asked("POST", "/", &[("Content-Type", kind)], Some(body)), &HeaderMap::new(), ANY).unwrap();
            assert_eq!((&body[..], head.headers["content-length"].to_str().unwrap()), (sent, sent.len().to_string().as_str()), "{kind}");
        }
    }
}
