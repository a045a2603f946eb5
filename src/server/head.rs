//! The header of one HTTP/1.1 request, found and checked before anything else sees it: bounds, framing, and whatever two parsers could read in two
//! ways (RFC 9112 §2.2, §3, §5, §6).

use std::mem::MaybeUninit;

use bytes::{BufMut, BytesMut};

use super::framing::{Chunks, Framing};
use crate::problem::{Kind, Problem};
use crate::routing::host;

/// What a header may have at most.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of the whole header.
    pub bytes: usize,
    /// Number of fields; at most [`FIELDS`].
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

/// The number of header fields that can be allowed at all.
pub const FIELDS: usize = 256;

/// The start of an HTTP/2 connection (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What lies at the front of the bytes read so far.
#[derive(Debug)]
pub enum Front {
    /// Not yet a whole header.
    Partial,
    /// A header of `length` bytes, and how its body is framed.
    Request {
        /// Its length in bytes, with the empty line.
        length: usize,
        /// How its body is framed.
        framing: Framing,
        /// Whether the client waits to be told before it sends its body.
        expects: bool,
        /// The header to go on with, where it is not the one that came.
        rewritten: Option<BytesMut>,
    },
    /// An HTTP/2 client that needs no upgrade.
    Http2,
}

/// Looks for a whole header at the front of `bytes`. `seen` bytes were looked at before without finding its end; it is moved on.
///
/// # Errors
/// The problem to answer with; the connection cannot go on after it.
pub fn front(bytes: &[u8], seen: &mut usize, bounds: &Bounds) -> Result<Front, Problem> {
    let Some(length) = end(bytes, seen)? else {
        if bytes.len() > bounds.bytes {
            return Err(too_large(bytes, bounds));
        }
        return Ok(Front::Partial);
    };
    if length > bounds.bytes {
        return Err(too_large(bytes, bounds));
    }
    if PREFACE.starts_with(bytes.get(..length).unwrap_or_default()) {
        return match bytes.len() >= PREFACE.len() {
            true if bytes.starts_with(PREFACE) => Ok(Front::Http2),
            true => Err(bad("an HTTP/2 preface was expected")),
            false => Ok(Front::Partial),
        };
    }
    let (framing, expects, rewritten) = check(bytes.get(..length).unwrap_or_default(), bounds)?;
    Ok(Front::Request { length, framing, expects, rewritten })
}

/// The length of the header: up to and with the first empty line. Lines end with CR LF and nothing else, or one parser's line is another's half.
fn end(bytes: &[u8], seen: &mut usize) -> Result<Option<usize>, Problem> {
    let mut from = *seen;
    while let Some(at) = memchr::memchr(b'\n', bytes.get(from..).unwrap_or_default()).map(|at| from + at) {
        match bytes.get(..at) {
            Some([.., b'\r', b'\n', b'\r']) => return Ok(Some(at + 1)),
            Some([.., b'\r']) => from = at + 1,
            _ => return Err(bad("a line of the header does not end with CR LF")),
        }
    }
    *seen = from;
    Ok(None)
}

fn too_large(bytes: &[u8], bounds: &Bounds) -> Problem {
    let line = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    if line > bounds.target + 64 {
        return Problem::new(Kind::UriTooLong, format!("the request target is longer than {} bytes", bounds.target));
    }
    Problem::new(Kind::HeaderTooLarge, format!("the request header is larger than {} bytes", bounds.bytes))
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(Kind::BadRequest, detail)
}

fn check(head: &[u8], bounds: &Bounds) -> Result<(Framing, bool, Option<BytesMut>), Problem> {
    let mut fields = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, head, &mut fields) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("the request header is malformed")),
        Err(httparse::Error::TooManyHeaders) => return Err(too_many(bounds)),
        Err(httparse::Error::Version) => return Err(version(head)),
        Err(_) => return Err(bad("the request header is malformed")),
    }
    if request.headers.len() > bounds.fields {
        return Err(too_many(bounds));
    }
    let target = request.path.unwrap_or_default();
    if target.len() > bounds.target {
        return Err(Problem::new(Kind::UriTooLong, format!("the request target is longer than {} bytes", bounds.target)));
    }
    match request.method {
        Some("CONNECT") => return Err(Problem::new(Kind::NotImplemented, "CONNECT is not supported")),
        // RFC 9113 §11.6: never a real request's.
        Some("PRI") => return Err(bad("the method `PRI` is reserved")),
        _ => {}
    }
    let mut facts = Facts::default();
    for field in request.headers.iter() {
        facts.note(field.name, field.value)?;
    }
    facts.authority(target, request.version == Some(1))?;
    Ok((facts.framing(request.version == Some(1))?, facts.expects, escaped(head, request.method.unwrap_or_default(), target)))
}

/// The header with what no URI may hold (RFC 3986 §2) escaped in its target, where there is any: browsers and other proxies let it pass, and parsers
/// behind this one would disagree on it.
fn escaped(head: &[u8], method: &str, target: &str) -> Option<BytesMut> {
    let foreign = |byte: u8| !byte.is_ascii() || matches!(byte, b'"' | b'<' | b'>' | b'`');
    if !target.bytes().any(foreign) {
        return None;
    }
    let (line, rest) = head.split_at_checked(method.len() + 1)?;
    let mut out = BytesMut::with_capacity(head.len() + 64);
    out.extend_from_slice(line);
    for byte in target.bytes() {
        match foreign(byte) {
            true => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            false => out.put_u8(byte),
        }
    }
    out.extend_from_slice(rest.strip_prefix(target.as_bytes())?);
    Some(out)
}

fn too_many(bounds: &Bounds) -> Problem {
    Problem::new(Kind::HeaderTooLarge, format!("the request has more than {} header fields", bounds.fields))
}

fn version(head: &[u8]) -> Problem {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let last = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match last {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Problem::new(Kind::VersionNotSupported, "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here")
        }
        _ => bad("the request line is malformed"),
    }
}

/// The fields that decide where the request ends and whom it is for.
#[derive(Default)]
struct Facts<'a> {
    hosts: usize,
    host: &'a [u8],
    length: Option<&'a [u8]>,
    codings: usize,
    chunked: bool,
    expects: bool,
}

impl<'a> Facts<'a> {
    fn note(&mut self, name: &str, value: &'a [u8]) -> Result<(), Problem> {
        let value = value.trim_ascii();
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                self.hosts += 1;
                self.host = value;
            }
            6 if name.eq_ignore_ascii_case("expect") => self.expects = true,
            // Equal repetitions may be allowed (RFC 9110 §8.6), and no honest client sends them.
            14 if name.eq_ignore_ascii_case("content-length") && self.length.replace(value).is_some() => {
                return Err(bad("there is more than one Content-Length"));
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                self.codings += 1;
                self.chunked = value.eq_ignore_ascii_case(b"chunked");
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112 §3.2: one Host, and none that contradicts the target.
    fn authority(&self, target: &str, http_11: bool) -> Result<(), Problem> {
        if self.hosts > 1 {
            return Err(bad("there is more than one Host"));
        }
        if self.hosts == 0 && http_11 {
            return Err(bad("there is no Host"));
        }
        if !std::str::from_utf8(self.host).is_ok_and(|host| host::normalise(host).is_some()) {
            return Err(bad("the Host is malformed"));
        }
        if target.starts_with('/') || target == "*" {
            return Ok(());
        }
        let rest = ["http://", "https://"].iter().find_map(|scheme| {
            let (start, rest) = target.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)
        });
        let Some(rest) = rest else { return Err(bad("the request target is not a path and not an http or https URI")) };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() || host::normalise(authority).is_none() {
            return Err(bad("the request target has no plain host"));
        }
        if self.hosts == 1 && !authority.as_bytes().eq_ignore_ascii_case(self.host) {
            return Err(bad("the Host is not the one of the request target"));
        }
        Ok(())
    }

    /// RFC 9112 §6.3. Where the rules leave a choice, the answer is no.
    fn framing(&self, http_11: bool) -> Result<Framing, Problem> {
        match (self.codings, self.length) {
            (0, None) => Ok(Framing::Length(0)),
            (0, Some(digits)) => {
                let number = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
                number.and_then(|text| text.parse().ok()).map(Framing::Length).ok_or_else(|| bad("the Content-Length is not a number"))
            }
            (_, Some(_)) => Err(bad("there is a Content-Length beside a Transfer-Encoding")),
            (_, None) if !http_11 => Err(bad("HTTP/1.0 has no Transfer-Encoding")),
            (1, None) if self.chunked => Ok(Framing::Chunked(Chunks::default())),
            (1, None) => Err(Problem::new(Kind::NotImplemented, "the only Transfer-Encoding taken here is `chunked`")),
            (_, None) => Err(bad("there is more than one Transfer-Encoding")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 1024, fields: 10, target: 256 };

    fn look(text: &str) -> Result<Front, Problem> {
        front(text.as_bytes(), &mut 0, &BOUNDS)
    }

    fn kind(text: &str) -> Kind {
        look(text).unwrap_err().kind
    }

    #[test]
    fn a_header_is_found_however_it_is_cut() {
        let text = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        let mut seen = 0;
        for cut in 0..text.len() - 3 {
            assert!(matches!(front(&text.as_bytes()[..cut], &mut seen, &BOUNDS), Ok(Front::Partial)));
        }
        let found = front(text.as_bytes(), &mut seen, &BOUNDS).unwrap();
        assert!(
            matches!(found, Front::Request { length, framing: Framing::Length(3), expects: false, rewritten: None } if length == text.len() - 3)
        );
    }

    #[test]
    fn what_is_over_a_bound_is_told_apart() {
        assert_eq!(kind(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(300))), Kind::UriTooLong);
        assert_eq!(kind(&format!("GET /{}", "x".repeat(2000))), Kind::UriTooLong);
        assert_eq!(kind(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(2000))), Kind::HeaderTooLarge);
        assert_eq!(kind(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(10))), Kind::HeaderTooLarge);
    }

    #[test]
    fn the_preface_of_http_2_is_no_request() {
        assert!(matches!(look("PRI * HTTP/2.0\r\n\r\nSM\r\n"), Ok(Front::Partial)));
        assert!(matches!(look("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Ok(Front::Http2)));
        assert_eq!(kind("PRI * HTTP/1.1\r\nHost: a\r\n\r\nSM\r\n\r\n"), Kind::BadRequest);
    }

    #[test]
    fn the_host_is_one_and_agrees_with_the_target() {
        assert_eq!(kind("GET / HTTP/1.1\r\n\r\n"), Kind::BadRequest);
        assert_eq!(kind("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), Kind::BadRequest);
        assert_eq!(kind("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), Kind::BadRequest);
        assert_eq!(kind("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"), Kind::BadRequest);
        assert!(look("GET http://a/ HTTP/1.1\r\nHost: A\r\n\r\n").is_ok());
        assert!(look("GET / HTTP/1.0\r\n\r\n").is_ok());
    }

    #[test]
    fn what_no_uri_may_hold_is_escaped() {
        let rewritten = |text: &str| match look(text).unwrap() {
            Front::Request { rewritten, .. } => rewritten.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()),
            other => panic!("{other:?}"),
        };
        assert_eq!(rewritten("GET /a?b={|}^%22#c HTTP/1.1\r\nHost: a\r\n\r\n"), None);
        let text = "GET /\"é\"?<b>=`\" HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(rewritten(text).unwrap(), "GET /%22%C3%A9%22?%3Cb%3E=%60%22 HTTP/1.1\r\nHost: a\r\n\r\n");
    }

    #[test]
    fn an_unknown_version_or_coding_is_named_as_such() {
        assert_eq!(kind("GET / HTTP/3.0\r\nHost: a\r\n\r\n"), Kind::VersionNotSupported);
        assert_eq!(kind("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"), Kind::NotImplemented);
        assert_eq!(kind("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"), Kind::BadRequest);
    }
}
