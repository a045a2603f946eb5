use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use super::Problem;

/// A problem as it goes over the wire.
#[derive(Debug)]
pub struct Rendered {
    /// The status line's status.
    pub status: StatusCode,
    /// Every header, `Content-Type` among them; the length is the door's business.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, `application/problem+json`.
    pub body: Bytes,
}

impl Problem {
    /// Renders `application/problem+json` (RFC 9457 §3): `type`, `title`, `status`, `detail`, `request_id` where there is one, extensions.
    pub fn render(self, request_id: Option<&str>) -> Rendered {
        let status = self.kind.status();
        let mut body = Map::new();
        body.insert("type".into(), self.kind.type_uri().into());
        body.insert("title".into(), self.kind.title().into());
        body.insert("status".into(), status.as_u16().into());
        body.insert("detail".into(), self.detail.into());
        if let Some(id) = request_id {
            body.insert("request_id".into(), id.into());
        }
        body.extend(self.members.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let mut headers = self.headers;
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json")));
        Rendered { status, headers, body: Value::Object(body).to_string().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Problem};

    #[test]
    fn a_problem_shows_its_detail_and_never_its_cause() {
        let rendered = Problem::new(Kind::BadGateway, "the service did not answer")
            .cause("10.0.0.1 refused")
            .member("service", "users")
            .render(Some("abc"));
        let text = String::from_utf8(rendered.body.to_vec()).unwrap();
        assert_eq!(
            text,
            r#"{"type":"urn:tidegate:problem:bad-gateway","title":"Bad gateway","status":502,"detail":"the service did not answer","request_id":"abc","service":"users"}"#
        );
    }
}
