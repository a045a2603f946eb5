//! How a WebSocket begins (RFC 6455 §4), on both sides.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::deflate;
use crate::handler::Switch;
use crate::problem::{Kind, Problem};

/// What the accept value of a key is made with (RFC 6455 §1.3).
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a client asks for.
#[derive(Debug)]
pub struct Handshake {
    /// What a server that has understood says.
    accept: HeaderValue,
    /// The subprotocols to choose from.
    protocols: Vec<Box<str>>,
    /// The offers of permessage-deflate that go on.
    offers: Option<HeaderValue>,
}

/// Whether a request asks for a WebSocket. In HTTP/1.0 nobody can (RFC 9110 §7.8).
pub fn is_asked(req: &RequestHeader) -> bool {
    req.version == Version::HTTP_11
        && members(&req.headers, &header::UPGRADE).any(|member| member.eq_ignore_ascii_case("websocket"))
        && members(&req.headers, &header::CONNECTION).any(|member| member.eq_ignore_ascii_case("upgrade"))
}

impl Handshake {
    /// Reads what a request asks for.
    ///
    /// # Errors
    /// What is no handshake of the version that is spoken (RFC 6455 §4.1, §4.4).
    pub fn read(req: &RequestHeader, has_body: bool) -> Result<Self, Problem> {
        let bad = |detail| Err(told(Problem::new(Kind::BadRequest, detail)));
        if req.method != Method::GET {
            return bad("a WebSocket begins with GET");
        }
        if has_body {
            return bad("the request for a WebSocket has no body");
        }
        let mut versions = req.headers.get_all(header::SEC_WEBSOCKET_VERSION).iter();
        match (versions.next().map(HeaderValue::as_bytes), versions.next()) {
            (Some(b"13"), None) => {}
            (None, _) => return bad("the request for a WebSocket has no Sec-WebSocket-Version"),
            _ => {
                let problem = Problem::new(Kind::UpgradeRequired, "version 13 of the WebSocket protocol is spoken here");
                return Err(told(problem.header(header::UPGRADE, HeaderValue::from_static("websocket"))));
            }
        }
        let mut keys = req.headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
        let (key, None) = (keys.next(), keys.next()) else { return bad("there is more than one Sec-WebSocket-Key") };
        let key = key.map(|key| key.as_bytes().trim_ascii());
        let Some(key) = key.filter(|key| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)) else {
            return bad("the Sec-WebSocket-Key is not 16 bytes in Base64");
        };
        let protocols: Vec<Box<str>> = members(&req.headers, &header::SEC_WEBSOCKET_PROTOCOL).map(Into::into).collect();
        if protocols.iter().any(|protocol| !is_token(protocol)) {
            return bad("the Sec-WebSocket-Protocol is malformed");
        }
        Ok(Self { accept: accept(key), protocols, offers: deflate::offers(&req.headers) })
    }

    fn offers(&self, compression: bool) -> Option<&HeaderValue> {
        self.offers.as_ref().filter(|_| compression)
    }
}

impl Switch for Handshake {
    /// Extensions that are not known here are not offered to the service: what they do to frames could not be checked.
    fn ask(&self, req: &mut RequestHeader, compression: bool) {
        let _ = req.insert_header(header::CONNECTION, "Upgrade");
        let _ = req.insert_header(header::UPGRADE, "websocket");
        req.remove_header(&header::SEC_WEBSOCKET_EXTENSIONS);
        if let Some(offers) = self.offers(compression) {
            let _ = req.insert_header(header::SEC_WEBSOCKET_EXTENSIONS, offers.clone());
        }
    }

    fn check(&self, res: &ResponseHeader, compression: bool) -> Result<(), Cow<'static, str>> {
        if !members(&res.headers, &header::UPGRADE).any(|member| member.eq_ignore_ascii_case("websocket"))
            || !members(&res.headers, &header::CONNECTION).any(|member| member.eq_ignore_ascii_case("upgrade"))
        {
            return Err("the service switched to something else than WebSocket".into());
        }
        if single(res, &header::SEC_WEBSOCKET_ACCEPT)?.map(HeaderValue::as_bytes) != Some(self.accept.as_bytes()) {
            return Err("the service's Sec-WebSocket-Accept does not answer the key".into());
        }
        if let Some(protocol) = single(res, &header::SEC_WEBSOCKET_PROTOCOL)? {
            let known = self.protocols.iter().any(|offered| offered.as_bytes() == protocol.as_bytes());
            if !known {
                return Err("the service chose a subprotocol that was not offered".into());
            }
        }
        deflate::agreed(&res.headers, self.offers(compression)).map(|_| ()).map_err(Into::into)
    }
}

impl Handshake {
    /// Whether an answer that was found right agrees to compression.
    pub fn is_deflated(&self, res: &ResponseHeader, compression: bool) -> bool {
        deflate::agreed(&res.headers, self.offers(compression)).unwrap_or_default()
    }
}

/// A refusal says which version would do (RFC 6455 §4.4).
fn told(problem: Problem) -> Problem {
    problem.header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
}

/// The value that answers a key (RFC 6455 §4.2.2).
fn accept(key: &[u8]) -> HeaderValue {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, MAGIC].concat());
    HeaderValue::try_from(STANDARD.encode(hash)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn single<'a>(res: &'a ResponseHeader, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Cow<'static, str>> {
    let mut values = res.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(format!("the service sent more than one {name}").into()),
    }
}

/// The members of a list header, over all its lines.
pub fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("\u{7f}"));
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

/// Whether it is one (RFC 9110 §5.6.2).
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "websocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn request(method: &str, headers: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut req = RequestHeader::build(method, b"/", None).unwrap();
        headers.iter().for_each(|(name, value)| req.append_header(*name, *value).map(|_| ()).unwrap());
        req
    }

    fn answer(headers: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut res = ResponseHeader::build(101, None).unwrap();
        let usual = [("upgrade", "WebSocket"), ("connection", "Upgrade")];
        usual.iter().chain(headers).for_each(|(name, value)| res.append_header(*name, *value).map(|_| ()).unwrap());
        res
    }

    #[test]
    fn the_example_of_the_standard_is_accepted() {
        let req = request("GET", &GOOD);
        assert!(is_asked(&req));
        let handshake = Handshake::read(&req, false).unwrap();
        assert_eq!(handshake.check(&answer(&[("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")]), true), Ok(()));
    }

    #[test]
    fn what_is_malformed_is_refused_with_the_version_that_would_do() {
        let with = |name: &str, value: Option<&'static str>| {
            let kept = GOOD.iter().filter(|(known, _)| *known != name).copied();
            kept.chain(value.and_then(|value| GOOD.iter().find(|(known, _)| *known == name).map(|(known, _)| (*known, value))))
                .collect::<Vec<_>>()
        };
        for (method, headers, status) in [
            ("POST", GOOD.to_vec(), 400),
            ("GET", with("sec-websocket-key", None), 400),
            ("GET", with("sec-websocket-key", Some("c2hvcnQ=")), 400),
            ("GET", with("sec-websocket-key", Some("dGhlIHNhbXBsZSBub25jZQ")), 400),
            ("GET", [&GOOD[..], &GOOD[3..]].concat(), 400),
            ("GET", with("sec-websocket-version", None), 400),
            ("GET", with("sec-websocket-version", Some("8")), 426),
            ("GET", [&GOOD[..], &[("sec-websocket-protocol", "a b")]].concat(), 400),
        ] {
            let problem = Handshake::read(&request(method, &headers), false).unwrap_err();
            assert_eq!(problem.kind.status().as_u16(), status, "{method} {headers:?}");
            assert!(problem.headers.iter().any(|(name, value)| name == header::SEC_WEBSOCKET_VERSION && value == "13"));
        }
        assert!(Handshake::read(&request("GET", &GOOD), true).is_err());
        assert!(
            !is_asked(&request("GET", &with("connection", Some("keep-alive"))))
                && !is_asked(&request("GET", &with("upgrade", Some("h2c"))))
        );
    }

    #[test]
    fn an_answer_agrees_to_what_was_asked_for_and_to_nothing_else() {
        let asked = [
            &GOOD[..],
            &[("sec-websocket-protocol", "chat, v2"), ("sec-websocket-extensions", "x-own, permessage-deflate; client_max_window_bits")],
        ]
        .concat();
        let handshake = Handshake::read(&request("GET", &asked), false).unwrap();
        let mut out = request("GET", &asked);
        handshake.ask(&mut out, true);
        assert_eq!(out.headers[header::SEC_WEBSOCKET_EXTENSIONS], "permessage-deflate; client_max_window_bits");
        let mut plain = request("GET", &asked);
        handshake.ask(&mut plain, false);
        assert!(!plain.headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS), "the service wants none");
        let right = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for headers in [
            vec![right],
            vec![right, ("sec-websocket-protocol", "v2")],
            vec![right, ("sec-websocket-extensions", "permessage-deflate; client_max_window_bits=12")],
        ] {
            assert_eq!(handshake.check(&answer(&headers), true), Ok(()), "{headers:?}");
        }
        for headers in [
            vec![],
            vec![("sec-websocket-accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")],
            vec![right, right],
            vec![right, ("sec-websocket-protocol", "other")],
            vec![right, ("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", "v2")],
            vec![right, ("sec-websocket-extensions", "x-own")],
        ] {
            assert!(handshake.check(&answer(&headers), true).is_err(), "{headers:?}");
        }
    }
}
