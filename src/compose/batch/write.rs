use std::borrow::Cow;

use base64::Engine;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::cookies::placed;
use super::media::Form;
use super::request::BASE64;
use crate::body::json::{Bounds, check};
use crate::handler::Answered;
use crate::types::FRAMING;
use crate::upstream::Charge;

/// One answer as it stands in that to the batch, and the cookies that it sets.
#[derive(Debug)]
pub(super) struct Written {
    pub json: Vec<u8>,
    pub cookies: Vec<HeaderValue>,
    /// What its body took while it was not written yet.
    pub charge: Option<Charge>,
}

/// Writes an answer to the request of that id, as JSON, with that method and path.
pub(super) fn write(id: &[u8], method: &Method, path: &str, answered: Answered) -> Written {
    let Answered { status, headers, body, charge } = answered;
    let mut json = Vec::with_capacity(body.len() + 256);
    json.extend_from_slice(b"{\"id\":");
    json.extend_from_slice(id);
    json.extend_from_slice(format!(",\"status\":{},\"headers\":{{", status.as_u16()).as_bytes());
    let mut first = true;
    for name in headers.keys().filter(|name| is_shown(name, method, status)) {
        let values: Vec<Cow<'_, str>> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        json.extend_from_slice(if first { b"" } else { b"," });
        string(name.as_str(), &mut json);
        json.push(b':');
        // RFC 9110 §5.3: several lines are one list.
        string(&values.join(", "), &mut json);
        first = false;
    }
    json.push(b'}');
    if !body.is_empty() {
        json.extend_from_slice(b",\"body\":");
        let coded = headers.get(header::CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        let form = if coded { Form::Binary } else { Form::of(&headers) };
        match (form, std::str::from_utf8(&body)) {
            (Form::Json, _) if check(&body, Bounds { bytes: body.len(), ..Bounds::default() }).is_ok() => {
                json.extend_from_slice(body.trim_ascii());
            }
            (Form::Text, Ok(text)) => string(text, &mut json),
            _ => {
                string(&BASE64.encode(&body), &mut json);
                json.extend_from_slice(b",\"encoding\":\"base64url\"");
            }
        }
    }
    json.push(b'}');
    let cookies = headers.get_all(header::SET_COOKIE).iter().filter_map(|cookie| placed(cookie, path)).collect();
    Written { json, cookies, charge }
}

/// Whether a header stands in the answer: not what belongs to a connection, nor a cookie, which no script may read that could not otherwise. The length of a body
/// is its own business, but for one that is not here.
fn is_shown(name: &HeaderName, method: &Method, status: StatusCode) -> bool {
    if *name == header::CONTENT_LENGTH {
        return *method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
    }
    !FRAMING.contains(name) && *name != header::SET_COOKIE
}

fn string(text: &str, json: &mut Vec<u8>) {
    // Nothing can be wrong with a string, nor with memory to write to.
    let _ = serde_json::to_writer(json, text);
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn written(headers: &[(&'static str, &'static str)], body: &[u8]) -> Written {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        write(b"\"1\"", &Method::GET, "/a/b", Answered { status: StatusCode::OK, headers: map, body: body.to_vec(), charge: None })
    }

    fn body(kind: &'static str, body: &[u8]) -> String {
        let text = String::from_utf8(written(&[("content-type", kind)], body).json).unwrap();
        check(text.as_bytes(), Bounds::default()).unwrap();
        text.split_once(&format!("{{\"content-type\":\"{kind}\"}}")).unwrap().1.to_owned()
    }

    #[test]
    fn a_body_stands_there_as_its_type_says_and_else_in_base64() {
        assert_eq!(body("application/json", b" {\"n\":1e400}\n"), ",\"body\":{\"n\":1e400}}");
        assert_eq!(body("text/plain", "ä\"\n".as_bytes()), ",\"body\":\"ä\\\"\\n\"}");
        assert_eq!(body("image/png", b"\xff"), ",\"body\":\"_w\",\"encoding\":\"base64url\"}");
        assert_eq!(body("application/json", b"{"), ",\"body\":\"ew\",\"encoding\":\"base64url\"}");
        assert_eq!(body("text/plain", b"\xff"), ",\"body\":\"_w\",\"encoding\":\"base64url\"}");
        assert_eq!(body("text/plain", b""), "}");
    }

    #[test]
    fn headers_are_lists_and_cookies_are_set_around_them() {
        let headers = [
            ("vary", "a"),
            ("vary", "b"),
            ("connection", "close"),
            ("content-length", "1"),
            ("set-cookie", "a=b; HttpOnly"),
            ("set-cookie", "c=d; path=/x"),
            ("content-encoding", "gzip"),
        ];
        let Written { json, cookies, .. } = written(&headers, b"x");
        assert_eq!(
            String::from_utf8(json).unwrap(),
            "{\"id\":\"1\",\"status\":200,\"headers\":{\"vary\":\"a, b\",\"content-encoding\":\"gzip\"},\"body\":\"eA\",\"encoding\":\"base64url\"}"
        );
        assert_eq!(cookies, ["a=b; HttpOnly; Path=/a", "c=d; path=/x"]);
    }
}
