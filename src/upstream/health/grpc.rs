//! The gRPC health protocol (<https://github.com/grpc/grpc/blob/master/doc/health-checking.md>): two tiny messages, so no code is made for them.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version, header};
use pingora_core::protocols::http::v2::client::Http2Session;
use pingora_error::Error;
use pingora_http::RequestHeader;

use super::Ready;
use super::ask::{USER_AGENT, broken};
use crate::types::{GrpcStatus, grpc_timeout};
use crate::upstream::Failure;

/// What is called.
pub const METHOD: &str = "/grpc.health.v1.Health/Check";

/// Bytes of an answer: it is a handful.
const MOST: usize = 1024;

/// Asks the server of this conversation for the health of a service.
///
/// # Errors
/// Why it is ill.
pub async fn ask(mut session: Http2Session, uri: Uri, ready: Option<&Ready>, service: &str, patience: Duration) -> Result<(), String> {
    let wrong = |error: Box<Error>| broken(&error);
    let mut req = RequestHeader::build("POST", METHOD.as_bytes(), Some(4)).map_err(wrong)?;
    req.set_version(Version::HTTP_2);
    req.set_uri(uri);
    for (name, value) in [
        (header::CONTENT_TYPE.as_str(), HeaderValue::from_static("application/grpc")),
        (header::TE.as_str(), HeaderValue::from_static("trailers")),
        (header::USER_AGENT.as_str(), USER_AGENT),
        ("grpc-timeout", grpc_timeout::write(patience)),
    ] {
        req.insert_header(name, value).map_err(wrong)?;
    }
    if let Some(ready) = ready {
        ready.show(&mut req);
    }
    session.write_request_header(Box::new(req), false).map_err(wrong)?;
    session.write_request_body(request(service), true).await.map_err(wrong)?;
    session.read_response_header().await.map_err(wrong)?;
    let header = session.response_header().ok_or("it did not answer")?;
    if header.status != StatusCode::OK {
        judge(ready, Failure::Status(header.status));
        return Err(format!("it answered {}", header.status.as_u16()));
    }
    // An answer without a message has its status in the header.
    refused(&header.headers, ready)?;
    let mut answer = BytesMut::new();
    while let Some(piece) = session.read_response_body().await.map_err(wrong)? {
        if answer.len() + piece.len() > MOST {
            return Err("its answer is none of the health protocol".to_owned());
        }
        answer.extend_from_slice(&piece);
    }
    if let Some(trailers) = session.read_trailers().await.map_err(wrong)? {
        refused(&trailers, ready)?;
    }
    match status(&answer) {
        Some(1) => Ok(()),
        Some(0) => Err("it says UNKNOWN".to_owned()),
        Some(2) => Err("it says NOT_SERVING".to_owned()),
        Some(3) => Err("it says SERVICE_UNKNOWN".to_owned()),
        _ => Err("its answer is none of the health protocol".to_owned()),
    }
}

/// A `HealthCheckRequest`: the name as field 1, behind the five bytes that come before each message.
fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).unwrap_or_default());
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or_default());
    framed.unsplit(message);
    framed.freeze()
}

/// The status in a `HealthCheckResponse`: field 1; 0 where it is left out. None where this is none.
fn status(answer: &[u8]) -> Option<u8> {
    let (prefix, message) = answer.split_at_checked(5)?;
    let [0, length @ ..] = prefix else { return None };
    if u32::from_be_bytes(length.try_into().ok()?) as usize != message.len() {
        return None;
    }
    match message {
        [] => Some(0),
        [0x08, status] if *status < 0x80 => Some(*status),
        _ => None,
    }
}

/// One that does not know the gateway may know it by credentials of now.
fn judge(ready: Option<&Ready>, ended: Failure) {
    if let Some(ready) = ready {
        ready.judged(ended);
    }
}

/// The error of a gRPC status other than OK.
fn refused(fields: &HeaderMap, ready: Option<&Ready>) -> Result<(), String> {
    let Some(code) = fields.get("grpc-status").and_then(|code| code.to_str().ok()).filter(|code| *code != "0") else { return Ok(()) };
    let why = match code {
        "5" => "it knows no such service".to_owned(),
        "12" => "it does not know the health protocol".to_owned(),
        code => {
            if code == "16" {
                judge(ready, Failure::Grpc(GrpcStatus::Unauthenticated));
            }
            format!("it answered with gRPC status {code}")
        }
    };
    Err(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_are_those_of_the_protocol() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request("a.b")[..], b"\0\0\0\0\x05\x0a\x03a.b");
        let long = request(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(long.len(), 5 + 303);
        for (answer, expected) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(1)),
            (b"\0\0\0\0\x02\x08\x02", Some(2)),
            (b"\0\0\0\0\0", Some(0)),
            (b"", None),
            (b"\0\0\0\0\x02\x08", None),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x02\x10\x01", None),
            (b"\0\0\0\0\x02\x08\x81", None),
        ] {
            assert_eq!(status(answer), expected, "{answer:?}");
        }
    }
}
