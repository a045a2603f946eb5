//! The question to the service, and what its answer means.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_http::RequestHeader;

use super::config::Config;
use super::names;
use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::observe::Shard;
use crate::policy::PolicyCx;
use crate::policy::auth::answers::{Answers, Asking, Keep, Key};
use crate::policy::auth::trouble::{Trouble, Turn};
use crate::policy::transform::editable;
use crate::problem::{Kind, Problem};
use crate::types::Reply;
use crate::upstream::{Allowance, Answer, Call, CallError, Client, Failure, Missed, Service};

/// Who is asked, and how.
#[derive(Debug)]
pub(super) struct Ask {
    service: Arc<Service>,
    method: Method,
    target: Box<str>,
    headers: Arc<[HeaderName]>,
    copy: Arc<[HeaderName]>,
    consumer: Option<HeaderName>,
    refusal_headers: Arc<[HeaderName]>,
    refusal_size: usize,
    timeout: Duration,
    waiting: usize,
    kept: Option<Kept>,
    memory: Arc<Memory>,
}

/// How answers are kept.
#[derive(Debug)]
struct Kept {
    time: Duration,
    /// The headers that they depend on; none for all that is told.
    by: Option<Arc<[HeaderName]>>,
}

/// What outlives a snapshot.
#[derive(Debug, Default)]
struct Memory {
    answers: Arc<Answers<Verdict>>,
    trouble: Trouble,
}

/// What the service has said.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// The request may go on, with this.
    Yes(Arc<Yes>),
    /// It may not: the client gets this.
    No(Arc<Reply>),
    /// It may not, and what was said of it is too long: the client gets a problem of our own, with these headers.
    Bare(Kind, Arc<[(HeaderName, HeaderValue)]>),
}

/// What is known of a request that may go on.
#[derive(Debug)]
pub(super) struct Yes {
    /// The headers that it goes on with.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Who calls.
    pub consumer: Option<String>,
}

/// What the service is told, and the key of its answer where that is kept.
pub(super) struct Question {
    head: Box<RequestHeader>,
    key: Option<Key>,
}

/// Bytes of an answer's body that are read.
const MOST: usize = 64 * 1024;

/// How soon others may be out of the way.
const CROWDED: Duration = Duration::from_secs(1);

const FORWARDED: [HeaderName; 5] = [
    HeaderName::from_static("x-forwarded-method"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-forwarded-for"),
];
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));

impl Ask {
    /// # Errors
    /// What is wrong, at its place in `config`.
    pub(super) fn build(config: &Config, copy: Arc<[HeaderName]>, cx: &PolicyCx<'_>) -> Result<Self, BuildError> {
        let service = cx.service(&config.service).map_err(|error| error.at("service"))?;
        let method = config.method.parse::<Method>().ok().filter(|method| *method != Method::CONNECT && *method != Method::TRACE);
        let no_method = || BuildError::new(format!("`{}` is no method to ask with", config.method), "write `GET`, or another").at("method");
        let method = method.ok_or_else(no_method)?;
        let is_path = config.path.starts_with('/') && !config.path.contains('#') && config.path.parse::<http::uri::PathAndQuery>().is_ok();
        if !is_path {
            return Err(BuildError::new(format!("`{}` is not a path", config.path), "write one like `/check`").at("path"));
        }
        config.timeout.not_zero().map_err(|error| error.at("timeout"))?;
        if config.waiting == 0 {
            return Err(BuildError::new("no request could wait", "write at least 1").at("waiting"));
        }
        if config.refusal_size.bytes() > MOST {
            return Err(BuildError::new("no more than 64KiB of an answer are read", "write at most `64KiB`").at("refusal_size"));
        }
        let consumer = config.consumer.as_deref().map(editable).transpose().map_err(|error| error.at("consumer"))?;
        let told = names(&config.headers).map_err(|error| error.at("headers"))?;
        if let Some(name) = told.iter().find(|name| service.withholds(name)) {
            let reason = format!("`{name}` does not come to the service: its `credentials` take it out");
            let fix = match *name {
                header::AUTHORIZATION => "set `keep_authorization` of these, let them be in a header of their own, or list other `headers`",
                _ => "list other `headers`",
            };
            return Err(BuildError::new(reason, fix).at("headers"));
        }
        let kept = config.cache.as_ref().map(|cache| -> Result<Kept, BuildError> {
            cache.time.not_zero().map_err(|error| error.at("time"))?;
            if service.knows_callers() {
                return Err(BuildError::new("the service is told who calls, and what it says of one is not so of all", "remove it"));
            }
            let by = cache.by.as_deref().map(names).transpose().map_err(|error| error.at("by"))?;
            if by.as_ref().is_some_and(|by| by.is_empty()) {
                let fix = "list the headers that it looks at, or leave `by` out";
                return Err(BuildError::new("the same answer would be for everyone", fix).at("by"));
            }
            Ok(Kept { time: cache.time.0, by })
        });
        let kept = kept.transpose().map_err(|error| error.at("cache"))?;
        let Config { path, headers, refusal_headers, refusal_size, cache, .. } = config;
        let key = format!(
            "external {} {} {method} {path} {headers:?} {copy:?} {consumer:?} {refusal_headers:?} {refusal_size:?} {cache:?}",
            service.name, service.source
        );
        let memory = cx.shared.slots.get::<Memory>(&key);
        if let Some(cache) = cache {
            memory.answers.bound(cache.size.0);
        }
        Ok(Self {
            service,
            method,
            target: path.as_str().into(),
            headers: told,
            copy,
            consumer,
            refusal_headers: names(refusal_headers).map_err(|error| error.at("refusal_headers"))?,
            refusal_size: refusal_size.bytes(),
            timeout: config.timeout.0,
            waiting: config.waiting,
            kept,
            memory,
        })
    }

    /// The service's name.
    pub(super) fn service(&self) -> &str {
        &self.service.name
    }

    /// What the service is told of a request.
    ///
    /// # Errors
    /// More than a header can hold.
    pub(super) fn question(&self, req: &RequestHeader, cx: &Ctx) -> Result<Question, Problem> {
        let internal = |error| Problem::new(Kind::Internal, "the service that decides cannot be asked").cause(error);
        let mut head = RequestHeader::build(self.method.clone(), self.target.as_bytes(), Some(16)).map_err(internal)?;
        for name in &*self.headers {
            for value in req.headers.get_all(name) {
                head.append_header(name.clone(), value.clone()).map_err(internal)?;
            }
        }
        let uri = req.uri.query().map_or_else(|| cx.path.to_string(), |query| format!("{}?{query}", cx.path));
        let client = cx.client.to_string();
        for (name, value) in FORWARDED.into_iter().zip([req.method.as_str(), cx.scheme, &cx.host, &uri, &client]) {
            let value = HeaderValue::from_bytes(value.as_bytes());
            let value = value.map_err(|_| Problem::new(Kind::BadRequest, "the address cannot be told to the service that decides"))?;
            head.insert_header(name, value).map_err(internal)?;
        }
        let key = self.kept.as_ref().map(|kept| key(&head, kept.by.as_deref(), req));
        head.insert_header(REQUEST_ID, cx.request_id.clone()).map_err(internal)?;
        if !self.headers.contains(&header::USER_AGENT) {
            head.insert_header(header::USER_AGENT, USER_AGENT).map_err(internal)?;
        }
        if self.method != Method::GET && self.method != Method::HEAD {
            head.insert_header(header::CONTENT_LENGTH, HeaderValue::from_static("0")).map_err(internal)?;
        }
        Ok(Question { head: Box::new(head), key })
    }

    /// What was said of a request like that a moment ago.
    pub(super) fn known(&self, question: &Question, shard: &Shard) -> Option<Verdict> {
        let verdict = self.memory.answers.find(question.key.as_ref()?)?;
        self.count(shard, "kept");
        Some(verdict)
    }

    /// What the service says.
    ///
    /// # Errors
    /// It says nothing that could be understood.
    pub(super) async fn verdict(
        self: &Arc<Self>,
        question: Question,
        (req, cx): (&RequestHeader, &Ctx),
        client: &Arc<Client>,
    ) -> Result<Verdict, Missed> {
        let Some(_place) = self.memory.answers.waiting.enter(self.waiting) else {
            self.count(client.shard(), "crowded");
            return Err(Missed::new("crowded", "too many requests wait for it").after(CROWDED));
        };
        let Question { head, key } = question;
        let Some(key) = key else {
            let call = self.begin(req, cx, client.shard())?;
            return self.hear(call, *head, client).await;
        };
        let ask = |asking: Asking<Verdict>| {
            let (own, client, call) = (self.clone(), client.clone(), self.begin(req, cx, client.shard()));
            async move {
                match call {
                    Ok(call) => own.hear_for_all(call, *head, &client, asking).await,
                    Err(missed) => asking.miss(missed),
                }
            }
        };
        self.memory.answers.told(key, self.timeout, ask).await
    }

    fn begin(&self, req: &RequestHeader, cx: &Ctx, shard: &Shard) -> Result<Call, Missed> {
        Client::begin(&self.service, req, cx).map_err(|error| {
            let missed = Missed::of(error, &self.service, None);
            self.note(shard, Err(&missed));
            missed
        })
    }

    async fn hear_for_all(&self, call: Call, head: RequestHeader, client: &Client, asking: Asking<Verdict>) {
        match self.hear(call, head, client).await {
            Ok(verdict) => {
                let holds = self.kept.as_ref().map_or(Duration::ZERO, |kept| kept.time);
                let keep = Keep { good: matches!(verdict, Verdict::Yes(_)), bytes: verdict.bytes(), holds };
                asking.end(verdict, keep);
            }
            Err(missed) => asking.miss(missed),
        }
    }

    async fn hear(&self, call: Call, head: RequestHeader, client: &Client) -> Result<Verdict, Missed> {
        let (began, shard) = (Instant::now(), client.shard());
        let allowed = Allowance::new(MOST, self.timeout);
        let answer = tokio::time::timeout(self.timeout, client.send_allowed(call, head, &[], &allowed)).await;
        let said = match answer.unwrap_or(Err(CallError::Failed(Failure::Timeout, allowed.stage()))) {
            Ok(answer) => self.read(answer),
            Err(CallError::TooLarge(status)) if is_no(status) => Ok(Verdict::Bare(kind(status), [].into())),
            Err(error) => Err(Missed::of(error, &self.service, allowed.refusal())),
        };
        shard.auth.external_duration.with_label_values(&[self.service()]).observe(began.elapsed().as_secs_f64());
        self.note(shard, said.as_ref());
        said
    }

    /// What an answer means.
    fn read(&self, answer: Answer) -> Result<Verdict, Missed> {
        let Answer { head, body, .. } = answer;
        let some = |names: &[HeaderName]| -> Vec<_> {
            let values = names.iter().flat_map(|name| head.headers.get_all(name).iter().map(move |value| (name.clone(), value.clone())));
            values.collect()
        };
        if head.status.is_success() {
            let consumer = self.consumer.as_ref().map(|name| named(head.headers.get_all(name).iter())).transpose()?.flatten();
            return Ok(Verdict::Yes(Arc::new(Yes { headers: some(&self.copy), consumer })));
        }
        if !is_no(head.status) {
            return Err(Missed::new("status", format!("it answered {}", head.status.as_u16())));
        }
        let mut headers = some(&self.refusal_headers);
        if body.len() > self.refusal_size {
            return Ok(Verdict::Bare(kind(head.status), headers.into()));
        }
        headers
            .extend(head.headers.get(header::CONTENT_TYPE).filter(|_| !body.is_empty()).map(|kind| (header::CONTENT_TYPE, kind.clone())));
        Ok(Verdict::No(Arc::new(Reply { status: head.status, headers, body })))
    }

    fn count(&self, shard: &Shard, word: &str) {
        shard.auth.external.with_label_values(&[self.service(), word]).inc();
    }

    fn note(&self, shard: &Shard, said: Result<&Verdict, &Missed>) {
        self.count(
            shard,
            match said {
                Ok(Verdict::Yes(_)) => "allowed",
                Ok(Verdict::No(_) | Verdict::Bare(..)) => "refused",
                Err(missed) => missed.word,
            },
        );
        match (self.memory.trouble.note(said.err()), said) {
            (Some(Turn::Bad), Err(missed)) => {
                log::warn!("service {} cannot be asked whether requests may go on: {}", self.service(), missed.text)
            }
            (Some(Turn::Good), _) => log::info!("service {} says again whether requests may go on", self.service()),
            _ => {}
        }
    }
}

#[cfg(test)]
impl Question {
    pub(super) fn key(&self) -> Option<Key> {
        self.key
    }
}

impl Verdict {
    /// What it takes to keep it.
    fn bytes(&self) -> usize {
        let of = |headers: &[(HeaderName, HeaderValue)]| -> usize {
            headers.iter().map(|(name, value)| 64 + name.as_str().len() + value.len()).sum()
        };
        match self {
            Verdict::Yes(yes) => of(&yes.headers) + yes.consumer.as_ref().map_or(0, String::len),
            Verdict::No(reply) => of(&reply.headers) + reply.body.len(),
            Verdict::Bare(_, headers) => of(headers),
        }
    }
}

fn is_no(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// What a refusal is.
fn kind(status: StatusCode) -> Kind {
    if status == StatusCode::FORBIDDEN { Kind::Forbidden } else { Kind::Unauthorized }
}

/// The one name that is said, if one is.
fn named<'v>(mut values: impl Iterator<Item = &'v HeaderValue>) -> Result<Option<String>, Missed> {
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Missed::new("malformed", "it names more than one consumer")),
        (Some(value), None) => match str::from_utf8(value.as_bytes()) {
            Ok(name) => Ok(Some(name.to_owned())),
            Err(_) => Err(Missed::new("malformed", "the name of the consumer is no text")),
        },
        (None, None) => Ok(None),
    }
}

/// Of all that the service is told, or of these headers of the request.
fn key(head: &RequestHeader, by: Option<&[HeaderName]>, req: &RequestHeader) -> Key {
    let Some(by) = by else {
        return Key::of_parts(head.headers.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]));
    };
    // How many there are of each, so that a value is never taken for one of the next.
    let counts: Vec<_> = by.iter().map(|name| req.headers.get_all(name).iter().count().to_be_bytes()).collect();
    let parts = by.iter().zip(&counts).flat_map(|(name, count)| {
        let values = req.headers.get_all(name).iter().map(HeaderValue::as_bytes);
        std::iter::once(count.as_slice()).chain(values)
    });
    Key::of_parts(parts)
}
