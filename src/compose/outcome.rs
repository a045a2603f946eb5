use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::cookies::Cookies;
use super::freshness::Freshness;
use crate::body::json::{Bounds, Document, Place, Value};
use crate::expr::Said;
use crate::problem::Kind;
use crate::types::Reply;
use crate::upstream::{Answer, CallError, Failure, Stage, retry_after};

/// How it stands with a part.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was not asked yet.
    Pending,
    /// It was asked.
    Running,
    /// It is here.
    Got(Box<Got>),
    /// It will not come.
    Missing(Box<Missing>),
    /// It was not to be asked.
    Skipped,
}

/// A part that is here.
#[derive(Debug)]
pub(super) struct Got {
    /// The status of its answer; none where it is a value, or made of several.
    pub status: Option<StatusCode>,
    pub body: Document,
    /// None where nothing was asked.
    pub freshness: Option<Freshness>,
    /// The calls that it is made of, where there is one for each element of an array.
    pub calls: Option<Calls>,
    /// Cookies for the client.
    pub cookies: Vec<HeaderValue>,
    pub source: Source,
}

/// How the calls of one part have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Calls {
    /// How many there were to make.
    pub of: usize,
    /// How many of them gave nothing.
    pub missing: usize,
}

/// Whether an answer was made for this request, or for one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A service has made it.
    Service,
    /// It was kept.
    Kept,
}

/// Why a part does not come.
#[derive(Debug)]
pub(super) struct Missing {
    /// What the whole is answered with where the part is required.
    pub kind: Kind,
    /// How far it had come: `asking`, `choosing`, `authenticating`, `connecting`, `waiting`, `reading`, `answering`, `shaping`.
    pub step: &'static str,
    /// The word for it, in the words of RFC 9209 §2.3 where it has one; none where the status says it.
    pub error: Option<&'static str>,
    /// The status of its answer.
    pub status: Option<StatusCode>,
    /// The element that it was asked for, where it was one.
    pub item: Option<usize>,
    /// The same for people, behind the part's name.
    pub detail: &'static str,
    /// How long its service wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Its answer, where that is to go to the client.
    pub pass: Option<Box<Reply>>,
}

impl Outcome {
    /// What a part has come to.
    pub fn of(made: Result<Got, Missing>) -> Self {
        match made {
            Ok(got) => Outcome::Got(Box::new(got)),
            Err(missing) => Outcome::Missing(Box::new(missing)),
        }
    }

    /// Whether it is decided.
    pub fn is_settled(&self) -> bool {
        matches!(self, Outcome::Got(_) | Outcome::Missing(_) | Outcome::Skipped)
    }

    /// Whether something lacks that was to be there.
    pub fn lacks(&self) -> bool {
        match self {
            Outcome::Missing(_) => true,
            Outcome::Got(_) => self.calls().is_some_and(|calls| calls.missing > 0),
            Outcome::Pending | Outcome::Running | Outcome::Skipped => false,
        }
    }

    /// The calls that it is made of, where there is one for each element of an array.
    pub fn calls(&self) -> Option<Calls> {
        if let Outcome::Got(got) = self { got.calls } else { None }
    }

    /// Whether its answer was kept from before.
    pub fn is_kept(&self) -> bool {
        matches!(self, Outcome::Got(got) if got.source == Source::Kept)
    }

    /// Its cookies for the client.
    pub fn cookies(&self) -> impl Iterator<Item = &HeaderValue> {
        let cookies = if let Outcome::Got(got) = self { got.cookies.as_slice() } else { &[] };
        cookies.iter()
    }

    /// The body of a part that is here.
    pub fn body(&self) -> Option<Value<'_>> {
        if let Outcome::Got(got) = self { Some(got.body.root()) } else { None }
    }

    /// A value of it.
    pub fn value(&self, place: &Place) -> Option<Value<'_>> {
        let body = self.body()?;
        if let Some(path) = &place.path { body.find(path) } else { Some(body) }
    }

    /// What conditions may ask of it.
    pub fn said(&self) -> Said<'_> {
        Said { status: self.status().map(|status| status.as_u16()), body: self.body() }
    }

    /// The word for it in metrics and in the log.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Pending => "not_asked",
            Outcome::Running => "cancelled",
            Outcome::Got(_) if self.lacks() => "items_missing",
            Outcome::Got(_) => "ok",
            Outcome::Skipped => "skipped",
            Outcome::Missing(missing) => missing.error.unwrap_or("http_response_status"),
        }
    }

    /// The status of its answer.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Outcome::Pending | Outcome::Running | Outcome::Skipped => None,
            Outcome::Got(got) => got.status,
            Outcome::Missing(missing) => missing.status,
        }
    }
}

impl Missing {
    /// Missing for a reason that is no answer of its service.
    pub fn new(kind: Kind, step: &'static str, error: &'static str, detail: &'static str) -> Self {
        Self { kind, step, error: Some(error), status: None, item: None, detail, retry_after: None, pass: None }
    }

    /// For an answer with a status that is no success.
    pub fn answered(status: StatusCode) -> Self {
        let kind = match status {
            StatusCode::SERVICE_UNAVAILABLE => Kind::Unavailable,
            StatusCode::GATEWAY_TIMEOUT => Kind::GatewayTimeout,
            _ => Kind::BadGateway,
        };
        let detail = if status.is_redirection() { "was redirected, and redirects are not followed" } else { "was answered with an error" };
        Self { kind, step: "answering", error: None, status: Some(status), item: None, detail, retry_after: None, pass: None }
    }

    /// For the end of a call without an answer.
    pub fn of(error: &CallError) -> Self {
        use Kind::{BadGateway, GatewayTimeout, Unavailable};
        match error {
            CallError::LeftAlone(left) => {
                let detail = "was not asked: its service fails too often and is left alone for a while";
                Self { retry_after: Some(*left), ..Self::new(Unavailable, "choosing", "destination_unavailable", detail) }
            }
            CallError::NoTarget => {
                Self::new(Unavailable, "choosing", "destination_unavailable", "was not asked: its service has no target")
            }
            CallError::Lacking => {
                let detail = "was not asked: the gateway has no credentials to show to its service";
                Self::new(Unavailable, "authenticating", "credentials_missing", detail)
            }
            CallError::TooLarge(_) => Self::new(BadGateway, "reading", "http_response_body_size", "is larger than it may be"),
            CallError::Failed(Failure::Timeout, Stage::Connecting) => {
                Self::new(GatewayTimeout, "connecting", "connection_timeout", "did not come in time: its service could not be reached")
            }
            CallError::Failed(Failure::Timeout, stage) => {
                Self::new(GatewayTimeout, step(*stage), "http_response_timeout", "did not come in time")
            }
            CallError::Failed(Failure::Connect, _) => {
                Self::new(BadGateway, "connecting", "destination_unavailable", "did not come: its service could not be reached")
            }
            CallError::Failed(Failure::Malformed, stage) => {
                Self::new(BadGateway, step(*stage), "http_protocol_error", "did not come: the answer of its service is malformed")
            }
            CallError::Failed(_, Stage::Reading) => {
                Self::new(BadGateway, "reading", "http_response_incomplete", "did not come whole: its service broke off the connection")
            }
            CallError::Failed(_, stage) => {
                Self::new(BadGateway, step(*stage), "connection_terminated", "did not come: its service broke off the connection")
            }
        }
    }
}

fn step(stage: Stage) -> &'static str {
    match stage {
        Stage::Connecting => "connecting",
        Stage::Waiting => "waiting",
        Stage::Reading => "reading",
    }
}

/// A body that was read, or why it cannot be used.
pub(super) type Read = Result<Document, &'static str>;

/// What becomes of an answer, whose body may have been read already; with one of the statuses in `pass` it goes to the client.
pub(super) fn judge(answer: Answer, read: Option<Read>, pass: &[StatusCode], most: usize, cookies: &Cookies) -> Result<Got, Missing> {
    let status = answer.head.status;
    if !status.is_success() {
        let retry_after = retry_after(&answer.head.headers);
        let pass = pass.contains(&status).then(|| Box::new(passed(answer)));
        return Err(Missing { retry_after, pass, ..Missing::answered(status) });
    }
    let freshness = Some(Freshness::of(&answer.head.headers));
    let cookies = cookies.of(&answer.head.headers);
    match read.unwrap_or_else(|| document(&answer.head.headers, &answer.body, most)) {
        Ok(body) => Ok(Got { status: Some(status), body, freshness, calls: None, cookies, source: Source::Service }),
        Err(detail) => Err(Missing { status: Some(status), ..Missing::new(Kind::BadGateway, "reading", "body_unusable", detail) }),
    }
}

/// An answer that goes on in the place of the whole, with what belongs to its status and its body.
fn passed(answer: Answer) -> Reply {
    const ALONG: [HeaderName; 5] =
        [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE, header::WWW_AUTHENTICATE, header::RETRY_AFTER];
    let mut headers = Vec::new();
    for name in ALONG {
        headers.extend(answer.head.headers.get_all(&name).iter().map(|value| (name.clone(), value.clone())));
    }
    Reply { status: answer.head.status, headers, body: answer.body }
}

/// The body as JSON; else why it has no place in any.
pub(super) fn document(headers: &HeaderMap, body: &Bytes, most: usize) -> Read {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err("came encoded, though nobody asked for that");
    }
    let bounds = Bounds { bytes: most, ..Bounds::default() };
    if body.is_empty() {
        return Document::parse("null", Bounds::default()).map_err(|_| "has no content");
    }
    let (essence, charset) = media_type(headers);
    if essence.is_empty() || matches!(&*essence, "application/json" | "text/json") || essence.ends_with("+json") {
        return Document::parse(body.clone(), bounds).map_err(|fault| match fault.is_bound() {
            true => "has more or deeper JSON than is taken",
            false => "is not JSON, though it says so",
        });
    }
    if essence.starts_with("text/") || essence.ends_with("/xml") || essence.ends_with("+xml") {
        let is_utf8 = charset.is_none_or(|charset| matches!(&*charset, "utf-8" | "us-ascii"));
        let text = is_utf8.then(|| std::str::from_utf8(body).ok()).flatten();
        return text.map(Document::string).ok_or("is text that is not UTF-8");
    }
    Err("is neither JSON nor text")
}

/// The type of a body without its parameters, and its `charset`, both in lower case (RFC 9110 §8.3).
pub(super) fn media_type(headers: &HeaderMap) -> (String, Option<String>) {
    let text = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str).and_then(Result::ok).unwrap_or_default().to_ascii_lowercase();
    let mut parameters = text.split(';').map(str::trim);
    let essence = parameters.next().unwrap_or_default().to_owned();
    let charset = parameters.find_map(|parameter| parameter.strip_prefix("charset=")).map(|charset| charset.trim_matches('"').to_owned());
    (essence, charset)
}
