//! Makes answers shorter for clients that can read them so: with Zstandard, Brotli or gzip.
//!
//! ```yaml
//! policies:
//!   - compress                                               # the defaults
//!   - compress: { with: [br, gzip], from: 4KiB, types: [application/json, "text/*"] }
//! ```
//!
//! This holds for every answer: forwarded ones, which go on piece by piece, composed ones, and the gateway's own. What the client likes best
//! (`Accept-Encoding`, RFC 9110 §12.5.3) is taken, and of what it likes equally the first of `with`. `Vary: Accept-Encoding` is said
//! wherever it might have been done. Left as they are: what the service has encoded already, parts of an answer (206), what says `no-transform`, gRPC,
//! answers to HTTP/1.0, and answers that announce trailers (`Trailer`); trailers that come unannounced are lost where an answer is encoded. So is
//! `text/event-stream`, unless `types` names it: a stream of events is open for hours, and would keep its encoder all the while. A client that refuses what
//! is not encoded (`identity;q=0`) gets the rest encoded, whatever its type and length.
//!
//! An answer under way takes 0.5 MiB (gzip), 1.1 MiB (zstd) or 2.7 MiB (br) meanwhile; one whose length is not known, such as a stream, 0.3, 0.3 or
//! 0.9 MiB, and becomes a little less short. So many are encoded at once as `server.limits.encoders` says, and others go out as they are; the metrics
//! `tidegate_encoders` and `tidegate_encoders_full_total` tell of both.
//!
//! The `ETag` of an encoded answer becomes weak and gets a mark, `W/"a~encoded"` of `"a"`, for its bytes are others and not always the same (RFC 9110 §8.8.1).
//! In `If-None-Match` and `If-Match` the service gets its own tag back, so both work as if nothing were encoded; a 304 has the tag that its 200 had. In
//! `If-Range` it stays as it is, and fits nothing: parts of what is encoded cannot be told from others.
//!
//! Do not use it where one answer has secrets beside text that others choose: its length tells of them.

mod tag;
mod wish;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::transform::set_response;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::Problem;
use crate::state::Encoders;
use crate::types::{Coding, Recoding, Reply, Size};
use wish::Wish;

/// The settings of `compress`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// With what, the best first. Default: `[zstd, br, gzip]`.
    pub with: Vec<Coding>,
    /// What is shorter is left as it is, where its length is known. Default: 1KiB.
    pub from: Size,
    /// The types of content that become shorter: `application/json`, `text/*`, or `*+json` for all that end so. `text/event-stream` does only where it is
    /// named itself. Default: text, JSON, XML, JavaScript, YAML and WebAssembly.
    pub types: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let types = [
            "text/*",
            "*+json",
            "*+xml",
            "application/json",
            "application/x-ndjson",
            "application/xml",
            "application/javascript",
            "application/yaml",
            "application/wasm",
        ];
        Self { with: vec![Coding::Zstd, Coding::Br, Coding::Gzip], from: Size::kib(1), types: types.map(str::to_owned).into() }
    }
}

/// `compress`, ready to run.
#[derive(Debug)]
pub struct Compress {
    with: Box<[Coding]>,
    from: u64,
    types: Box<[Kind]>,
    encoders: Arc<Encoders>,
}

/// Events as they happen, for as long as somebody listens (HTML §9.2).
const EVENTS: &str = "text/event-stream";

/// Some types of content.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// This one.
    One(Box<str>),
    /// All that start so.
    Start(Box<str>),
    /// All that end so.
    End(Box<str>),
}

impl Policy for Compress {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::RESPONSE);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        if config.with.is_empty() {
            return Err(BuildError::new("there is nothing to do it with", "name `zstd`, `br` or `gzip`").at("with"));
        }
        for (place, coding) in config.with.iter().enumerate() {
            if config.with.iter().take(place).any(|before| before == coding) {
                return Err(BuildError::new(format!("`{}` stands here twice", coding.name()), "remove one").at(place).at("with"));
            }
        }
        if config.types.is_empty() {
            return Err(BuildError::new("no answer is of these types", "name one, like `application/json`").at("types"));
        }
        let types = config.types.iter().enumerate().map(|(place, text)| Kind::parse(text).map_err(|error| error.at(place).at("types")));
        let types = types.collect::<Result<_, _>>()?;
        Ok(Self { with: config.with.clone().into(), from: config.from.0, types, encoders: cx.shared.encoders.clone() })
    }

    async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        tag::restore(req, &header::IF_MATCH);
        // A client that wants another form now gets that, and not the word that it has one.
        if req.headers.contains_key(header::IF_NONE_MATCH) && self.form(req).is_some() {
            cx.encoded_tags.extend(tag::restore(req, &header::IF_NONE_MATCH));
        }
        Ok(Flow::Next)
    }

    fn response(&self, res: &mut ResponseHeader, req: &RequestHeader, cx: &mut Ctx) {
        // A 304 tells of an answer that it does not show.
        let told = res.status == StatusCode::NOT_MODIFIED;
        let never = res.status.is_informational() || res.status == StatusCode::PARTIAL_CONTENT || Reply::has_no_body(res.status) && !told;
        let encoded = res.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
        if never || encoded || cx.trailers || keeps_form(&req.headers) || keeps_form(&res.headers) {
            return;
        }
        if !told && !self.takes(&res.headers, Wish::of(&req.headers, &self.with).insists) {
            return;
        }
        if !varies(&res.headers) {
            let _ = res.append_header(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if told {
            // Which of its forms it is about is seen by the tag that the client has asked with (RFC 9110 §15.4.5, RFC 9111 §4.3.4).
            if res.headers.get(header::ETAG).is_some_and(|tag| cx.encoded_tags.contains(tag)) {
                mark(res);
            }
            return;
        }
        let Some(coding) = self.form(req) else { return };
        let Some(place) = self.encoders.enter() else {
            cx.recoding = Some(Recoding::Crowded);
            return;
        };
        mark(res);
        cx.recoding = Some(Recoding::To { coding, length: length(&res.headers), place });
        for name in ABOUT_BYTES {
            res.remove_header(&name);
        }
        set_response(res, header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
}

/// What is said of the bytes that would have gone out.
const ABOUT_BYTES: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

impl Compress {
    /// The form in which the client gets what is encoded; none where it gets nothing so.
    fn form(&self, req: &RequestHeader) -> Option<Coding> {
        let takes = req.version != Version::HTTP_10 && !keeps_form(&req.headers);
        Wish::of(&req.headers, &self.with).coding.filter(|_| takes)
    }

    /// Whether an answer of this type and length becomes shorter.
    fn takes(&self, headers: &HeaderMap, insists: bool) -> bool {
        let text = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        // Without a type there may be no content either.
        if essence.is_empty() || essence.starts_with("application/grpc") {
            return false;
        }
        if essence == EVENTS {
            return self.types.iter().any(|kind| matches!(kind, Kind::One(one) if **one == *EVENTS));
        }
        let length = length(headers);
        let worth = length.is_none_or(|length| length >= self.from) && self.types.iter().any(|kind| kind.has(&essence));
        worth || insists && length != Some(0)
    }
}

/// Bytes of the body, where that is said.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether nobody on the way may change the form of the content (RFC 9111 §5.2.1.6, §5.2.2.6).
fn keeps_form(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

fn varies(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).any(|name| name == "*" || name.eq_ignore_ascii_case("accept-encoding"))
}

/// Gives an answer the tag of its encoded form.
fn mark(res: &mut ResponseHeader) {
    if let Some(tag) = res.headers.get(header::ETAG).and_then(tag::marked) {
        set_response(res, header::ETAG, tag);
    }
}

impl Kind {
    fn parse(text: &str) -> Result<Self, BuildError> {
        let wrong = || {
            let reason = format!("`{text}` is no type of content");
            BuildError::new(reason, "write one like `application/json`, `text/*` or `*+json`")
        };
        let text = text.to_ascii_lowercase();
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte));
        if let Some(end) = text.strip_prefix("*+") {
            return if is_name(end) { Ok(Self::End(format!("+{end}").into())) } else { Err(wrong()) };
        }
        match text.split_once('/') {
            Some((kind, "*")) if is_name(kind) => Ok(Self::Start(format!("{kind}/").into())),
            Some((kind, name)) if is_name(kind) && is_name(name) => Ok(Self::One(text.into())),
            _ => Err(wrong()),
        }
    }

    fn has(&self, essence: &str) -> bool {
        match self {
            Self::One(one) => **one == *essence,
            Self::Start(start) => essence.starts_with(&**start),
            Self::End(end) => essence.ends_with(&**end),
        }
    }
}

#[cfg(test)]
mod tests;
