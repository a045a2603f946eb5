//! Bounds the size of requests more narrowly than the server does: their bodies, headers and targets.
//!
//! ```yaml
//! policies:
//!   - size_limit: { body: 64KiB }
//!   - size_limit: { body: 0, header: 4KiB, header_fields: 40, target: 1KiB }
//! ```
//!
//! What `server.limits` has for everyone holds before a route is known; what stands here holds besides, and is less. A body that says its length is refused
//! before anything of it is read, with 413; another one is counted as it comes and cut off, with 413 where the answer has not begun. A target gets 414, a
//! header 431.

use http::header;
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::ctx::{BodyLimit, Ctx};
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::{Kind, Problem};
use crate::types::{Size, is_grpc_call};

/// The settings of `size_limit`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes of the body; 0 for none at all. Of a gRPC call it bounds each message. Default: that of `server.limits`.
    pub body: Option<Size>,
    /// Bytes of the header, as it is over HTTP/1.1. Default: that of `server.limits`.
    pub header: Option<Size>,
    /// Number of header fields. Default: that of `server.limits`.
    #[schemars(range(min = 1))]
    pub header_fields: Option<usize>,
    /// Bytes of the target, the path with the query. Default: that of `server.limits`.
    pub target: Option<Size>,
}

/// What the server takes at most: a bound beyond it would change nothing.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Bytes of a body.
    pub body: Size,
    /// Of the header.
    pub header: HeaderBounds,
}

impl Config {
    /// Bounds that are wider than the server's, relative to these settings.
    pub fn beyond(&self, server: Server) -> Vec<BuildError> {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let bounds = [
            ("body", self.body.map(|size| size.0), server.body.0),
            ("header", self.header.map(|size| size.0), count(server.header.header)),
            ("header_fields", self.header_fields.map(count), count(server.header.fields)),
            ("target", self.target.map(|size| size.0), count(server.header.target)),
        ];
        let wider = bounds.into_iter().filter(|(_, own, most)| own.is_some_and(|own| own > *most));
        let error = |(key, _, most): (&'static str, _, u64)| {
            let unit = if key == "header_fields" { "fields" } else { "bytes" };
            let reason = format!("the server takes {most} {unit} at most, so this changes nothing");
            BuildError::new(reason, format!("write less, or raise `server.limits.{key}`")).at(key)
        };
        wider.map(error).collect()
    }
}

/// `size_limit`, ready to run.
#[derive(Debug)]
pub struct SizeLimit {
    body: Option<u64>,
    header: HeaderBounds,
}

impl Policy for SizeLimit {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST;

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        let header = [("header", config.header.map(|size| size.0), 256), ("target", config.target.map(|size| size.0), 1)];
        let fields = ("header_fields", config.header_fields.map(|count| count as u64), 1);
        for (key, size, least) in header.into_iter().chain([fields]) {
            if size.is_some_and(|size| size < least) {
                let error = BuildError::new("no request is so small", format!("write {least} or more, or take it out"));
                cx.mistakes.push(error.at(key));
            }
        }
        if config.body.is_none() && config.header.is_none() && config.header_fields.is_none() && config.target.is_none() {
            return Err(BuildError::new("this limits nothing", "write a bound, like `body: 64KiB`"));
        }
        let bytes = |size: Option<Size>| size.map_or(usize::MAX, Size::bytes);
        let header =
            HeaderBounds { header: bytes(config.header), fields: config.header_fields.unwrap_or(usize::MAX), target: bytes(config.target) };
        Ok(Self { body: config.body.map(|size| size.0), header })
    }

    async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        self.header.check(req)?;
        let Some(most) = self.body else { return Ok(Flow::Next) };
        let length = req.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        // The body of a call is as long as it lasts: the bound is for its messages.
        if length.is_some_and(|length| length > most) && !is_grpc_call(&req.method, req.version, &req.headers) {
            return Err(Problem::new(Kind::ContentTooLarge, format!("the request body is larger than {most} bytes")));
        }
        if cx.body_limit.is_none_or(|other| most < other.bytes) {
            cx.body_limit = Some(BodyLimit { bytes: most, policy: "size_limit" });
        }
        Ok(Flow::Next)
    }
}

/// What the header of a request may have at most.
#[derive(Clone, Copy, Debug)]
pub struct HeaderBounds {
    /// Bytes of all of it, as it is over HTTP/1.1.
    pub header: usize,
    /// Fields.
    pub fields: usize,
    /// Bytes of the target.
    pub target: usize,
}

impl HeaderBounds {
    /// Holds a request to them.
    ///
    /// # Errors
    /// The first bound that it is beyond.
    pub fn check(&self, req: &RequestHeader) -> Result<(), Problem> {
        if req.uri.path_and_query().is_some_and(|target| target.as_str().len() > self.target) {
            return Err(Problem::new(Kind::UriTooLong, format!("the request target is longer than {} bytes", self.target)));
        }
        if req.headers.len() > self.fields {
            return Err(Problem::new(Kind::HeaderTooLarge, format!("the request has more than {} header fields", self.fields)));
        }
        if self.header == usize::MAX {
            return Ok(());
        }
        let fields: usize = req.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let line = req.method.as_str().len() + req.raw_path().len() + req.uri.authority().map_or(0, |authority| authority.as_str().len());
        if fields + line > self.header {
            return Err(Problem::new(Kind::HeaderTooLarge, format!("the request header is larger than {} bytes", self.header)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, mistakes};

    async fn told(kit: &mut Kit<SizeLimit>) -> Option<(Kind, String)> {
        kit.request().await.err().map(|problem| (problem.kind, problem.detail.into_owned()))
    }

    #[tokio::test]
    async fn a_body_is_refused_by_the_length_that_it_says_and_else_counted() {
        let kit = || Kit::<SizeLimit>::of(r#"{"body":"1KiB"}"#).method("POST");
        let mut over = kit().header("Content-Length", "1025");
        assert_eq!(told(&mut over).await.unwrap(), (Kind::ContentTooLarge, "the request body is larger than 1024 bytes".to_owned()));
        for mut within in [kit().header("Content-Length", "1024"), kit().header("Transfer-Encoding", "chunked"), kit()] {
            assert_eq!(told(&mut within).await, None);
            assert_eq!(within.cx.body_limit, Some(BodyLimit { bytes: 1024, policy: "size_limit" }));
        }
    }

    #[tokio::test]
    async fn of_two_bounds_the_narrower_holds() {
        for (first, second) in [("1KiB", "2KiB"), ("2KiB", "1KiB")] {
            let mut kit = Kit::<SizeLimit>::of(&format!(r#"{{"body":"{first}"}}"#));
            kit.request().await.unwrap();
            let cx = kit.cx;
            let mut kit = Kit { cx, ..Kit::<SizeLimit>::of(&format!(r#"{{"body":"{second}"}}"#)) };
            kit.request().await.unwrap();
            assert_eq!(kit.cx.body_limit.unwrap().bytes, 1024);
        }
    }

    #[tokio::test]
    async fn a_call_of_grpc_is_bounded_by_its_messages_and_nobody_else_can_pass_for_one() {
        let kit = || {
            Kit::<SizeLimit>::of(r#"{"body":10}"#).method("POST").header("Content-Length", "11").header("Content-Type", "application/grpc")
        };
        let mut call = kit();
        call.req.set_version(http::Version::HTTP_2);
        assert_eq!(told(&mut call).await, None);
        assert_eq!(call.cx.body_limit.unwrap().bytes, 10);
        assert!(told(&mut kit()).await.is_some(), "over HTTP/1.1 it is none");
    }

    #[tokio::test]
    async fn a_header_at_its_bounds_passes_and_beyond_them_does_not() {
        // `GET`, the target, and `Host: a` with its colon, space and end.
        let size = |target: usize| 3 + target + 4 + 1 + 4;
        for (config, target, kind) in [
            (r#"{"target":20}"#.to_owned(), 20, None),
            (r#"{"target":20}"#.to_owned(), 21, Some(Kind::UriTooLong)),
            (format!(r#"{{"header":{}}}"#, size(300)), 300, None),
            (format!(r#"{{"header":{}}}"#, size(300) - 1), 300, Some(Kind::HeaderTooLarge)),
            (r#"{"header_fields":1}"#.to_owned(), 9, None),
        ] {
            let mut kit = Kit::<SizeLimit>::of(&config).uri(&format!("/{}", "x".repeat(target - 1))).header("Host", "a");
            assert_eq!(told(&mut kit).await.map(|(kind, _)| kind), kind, "{config}");
            assert!(kit.cx.body_limit.is_none());
        }
        let mut kit = Kit::<SizeLimit>::of(r#"{"header_fields":1}"#).header("Host", "a").header("Host", "b");
        assert_eq!(told(&mut kit).await.unwrap().0, Kind::HeaderTooLarge);
    }

    #[test]
    fn bounds_that_cannot_be_meant_are_refused_all_at_once() {
        assert_eq!(mistakes::<SizeLimit>("{}"), [": this limits nothing (write a bound, like `body: 64KiB`)"]);
        let told = mistakes::<SizeLimit>(r#"{"header":10,"header_fields":0,"target":0}"#);
        let places: Vec<_> = told.iter().map(|told| told.split_once(": ").unwrap()).collect();
        assert_eq!(places.iter().map(|(place, _)| *place).collect::<Vec<_>>(), ["header", "target", "header_fields"]);
        assert!(places.iter().all(|(_, told)| told.starts_with("no request is so small")), "{told:?}");
    }

    #[test]
    fn what_is_wider_than_the_servers_bound_is_told() {
        let server = Server { body: Size::kib(64), header: HeaderBounds { header: 4096, fields: 50, target: 1024 } };
        let beyond = |config: &str| {
            let errors = serde_json::from_str::<Config>(config).unwrap().beyond(server);
            errors.iter().map(|error| error.path.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(beyond(r#"{"body":"64KiB","header":"4KiB","header_fields":50,"target":"1KiB"}"#), [""; 0]);
        let all = ["body", "header", "header_fields", "target"];
        assert_eq!(beyond(r#"{"body":"65KiB","header":"5KiB","header_fields":51,"target":1025}"#), all);
    }
}
