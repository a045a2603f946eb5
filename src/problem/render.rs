use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value};

use super::Problem;
use crate::types::GrpcStatus;

/// A problem as it goes over the wire.
#[derive(Debug)]
pub struct Rendered {
    /// The status line's status.
    pub status: StatusCode,
    /// Every header, `Content-Type` among them; the length is the door's business.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body: `application/problem+json`, or none to a caller of gRPC.
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

    /// Renders the answer to a gRPC call that ends before it begins: the header alone, `Trailers-Only` in the specification, with the detail as the
    /// message. Clients that repeat calls by themselves wait as long as a `Retry-After` says.
    pub fn render_grpc(self, request_id: Option<&str>) -> Rendered {
        let trailers = self.trailers(request_id);
        let mut headers = self.headers;
        let seconds =
            headers.iter().find(|(name, _)| name == header::RETRY_AFTER).and_then(|(_, value)| value.to_str().ok()?.parse::<u64>().ok());
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")));
        headers.extend(seconds.map(|seconds| (GrpcStatus::PUSHBACK, HeaderValue::from(seconds.saturating_mul(1000)))));
        headers.extend(trailers.into_iter().filter_map(|(name, value)| Some((name?, value))));
        Rendered { status: StatusCode::OK, headers, body: Bytes::new() }
    }

    /// The trailers of a gRPC call that it ends after its answer has begun.
    pub fn trailers(&self, request_id: Option<&str>) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(3);
        trailers.insert(GrpcStatus::HEADER, self.grpc_status().value());
        trailers.insert(GrpcStatus::MESSAGE, GrpcStatus::message(&self.detail));
        if let Some(id) = request_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            trailers.insert(HeaderName::from_static("x-request-id"), id);
        }
        trailers
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Problem};
    use crate::types::GrpcStatus;

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

    #[test]
    fn a_caller_of_grpc_is_told_in_headers_alone() {
        let rendered = Problem::new(Kind::QuotaExceeded, "wait a little")
            .header(http::header::RETRY_AFTER, http::HeaderValue::from_static("3"))
            .render_grpc(Some("abc"));
        assert_eq!((rendered.status.as_u16(), rendered.body.len()), (200, 0));
        let headers: Vec<_> = rendered.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            headers,
            [
                ("retry-after", "3"),
                ("content-type", "application/grpc"),
                ("grpc-retry-pushback-ms", "3000"),
                ("grpc-status", "8"),
                ("grpc-message", "wait a little"),
                ("x-request-id", "abc"),
            ]
        );
        let late = Problem::new(Kind::GatewayTimeout, "late").grpc(GrpcStatus::DeadlineExceeded);
        assert_eq!(late.trailers(None)["grpc-status"], "4");
    }
}
