//! What the gateway itself asks for at a URL, such as the keys of an issuer: over the client of the house, beside the requests or on their way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri, header};
use pingora_http::RequestHeader;

use super::follow::find;
use super::{
    Allowance, Answer, Backend, Base, CallError, Client, Failure, Service, ServiceConfig, Stage, TargetConfig, TimeoutsConfig, TlsConfig,
};
use crate::building::{BuildError, Step};
use crate::ctx::Ctx;
use crate::observe::Metrics;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));

/// One URL, and the way there.
#[derive(Debug)]
pub struct Resource {
    service: Arc<Service>,
    /// Path and query.
    target: Box<str>,
}

/// Why it did not come: a word for the metrics, a text for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The word.
    pub word: &'static str,
    /// The text.
    pub text: String,
    /// When it may come, where that is known.
    pub after: Option<Duration>,
}

/// Until then it may come, where nobody knows better.
const AFTER: Duration = Duration::from_secs(5);

impl Missed {
    /// For this reason.
    pub fn new(word: &'static str, text: impl Into<String>) -> Self {
        Self { word, text: text.into(), after: None }
    }

    /// The same, where it may come after that time.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { after: Some(time), ..self }
    }

    /// What clients are told of when to come again.
    pub fn retry_after(&self) -> HeaderValue {
        let time = self.after.unwrap_or(AFTER);
        // Rounded up: who comes a moment too early comes twice.
        HeaderValue::from(time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1))
    }

    /// Why a call to a service brought nothing; `refusal` is why no connection came about.
    pub fn of(error: CallError, service: &Service, refusal: Option<String>) -> Self {
        let unreached = |text: String| Missed::new("unreachable", text);
        match error {
            CallError::NoTarget => {
                let cause = if let Backend::Targets(targets) = &service.backend { targets.cause() } else { None };
                unreached(cause.unwrap_or_else(|| "it has no address".to_owned()))
            }
            CallError::LeftAlone(time) => Missed::new("left_alone", "it is left alone for its failures").after(time),
            CallError::Lacking => unreached("there are no credentials for it".to_owned()),
            CallError::TooLarge(_) => Missed::new("too_large", "it is larger than it may be"),
            CallError::Failed(Failure::Timeout, stage) => {
                let what = match stage {
                    Stage::Connecting => "no connection came about in time",
                    Stage::Waiting => "no answer began in time",
                    Stage::Reading => "the answer did not end in time",
                };
                Missed::new("timeout", what)
            }
            CallError::Failed(Failure::Connect, _) => {
                unreached(format!("no connection came about: {}", refusal.unwrap_or_else(|| "nobody says why".to_owned())))
            }
            CallError::Failed(Failure::Malformed, _) => Missed::new("malformed", "what it answered is not HTTP"),
            CallError::Failed(..) => unreached("it broke off the connection".to_owned()),
        }
    }
}

impl Resource {
    /// Prepares the way to a URL. No name is looked up.
    ///
    /// # Errors
    /// A URL that is none, without a path; or what is wrong with `tls`, at its place below that.
    pub fn build(url: &str, tls: Option<&TlsConfig>, base: &Base<'_>) -> Result<Self, BuildError> {
        let wrong = || BuildError::new(format!("`{url}` is not a URL"), "write one like `https://id.example.com/keys`");
        if url.contains('#') {
            return Err(BuildError::new(format!("`{url}` has a fragment"), "remove the `#` and what stands behind it"));
        }
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(wrong()) };
        if authority.as_str().contains('@') {
            return Err(BuildError::new("a URL that the gateway asks for has no user", "remove what stands before the `@`"));
        }
        let origin = format!("{scheme}://{authority}");
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str).into();
        let config = ServiceConfig::<()> {
            targets: vec![TargetConfig { url: origin.clone(), srv: false, weight: 1, priority: 0 }],
            tls: tls.filter(|_| scheme == "https").cloned(),
            timeouts: Some(TimeoutsConfig { connect: CONNECT, ..TimeoutsConfig::default() }),
            ..ServiceConfig::default()
        };
        let service = Service::build(&origin, &config, base).map_err(|errors| {
            let error = errors.0.into_iter().next().unwrap_or_else(wrong);
            // Of `services.<origin>.tls.ca` only what is below `tls` stands in the config.
            let place = error.path.0.iter().skip_while(|step| **step != Step::from("tls")).skip(1).cloned();
            let place: Vec<_> = place.collect();
            let error = BuildError { path: Default::default(), ..error };
            place.into_iter().rev().fold(error, BuildError::at)
        })?;
        Ok(Self { service: Arc::new(service), target })
    }

    /// The names that its host goes by.
    pub fn names(&self) -> Vec<String> {
        self.service.names()
    }

    /// Looks its host up, unless what is known of that still holds. When to do it again; none where it has no name.
    pub async fn locate(&self, metrics: &Metrics) -> Option<Instant> {
        find(&self.service, metrics).await
    }

    /// Asks for it, and waits for the whole of it for at most so long. `most` are the bytes that are taken.
    ///
    /// # Errors
    /// What comes is no 200, too large, or not in time.
    pub async fn get(&self, client: &Client, most: usize, within: Duration, metrics: &Metrics) -> Result<Answer, Missed> {
        let allowed = Allowance::new(most, within);
        let asked = async {
            let head = self.head("GET")?;
            self.locate(metrics).await;
            self.ask(client, head, &[], &allowed).await
        };
        self.answer(asked, &allowed, within).await
    }

    /// Posts a form to it on a request's way, with these headers, and waits likewise. Somebody else sees to it that its host is looked up.
    ///
    /// # Errors
    /// Those of [`Resource::get`].
    pub async fn post(
        &self,
        client: &Client,
        headers: &[(HeaderName, HeaderValue)],
        form: String,
        most: usize,
        within: Duration,
    ) -> Result<Answer, Missed> {
        let allowed = Allowance::new(most, within);
        let asked = async { self.ask(client, self.form(headers)?, &[form.into()], &allowed).await };
        self.answer(asked, &allowed, within).await
    }

    /// Posts a form to it beside the requests, with these headers, and waits likewise for an answer of whatever status.
    ///
    /// # Errors
    /// None comes, or it is too large, or not in time.
    pub async fn submit(
        &self,
        client: &Client,
        headers: &[(HeaderName, HeaderValue)],
        form: String,
        most: usize,
        within: Duration,
        metrics: &Metrics,
    ) -> Result<Answer, Missed> {
        let allowed = Allowance::new(most, within);
        let asked = async {
            let head = self.form(headers)?;
            self.locate(metrics).await;
            self.ask(client, head, &[form.into()], &allowed).await
        };
        self.come(asked, &allowed, within).await
    }

    fn form(&self, headers: &[(HeaderName, HeaderValue)]) -> Result<RequestHeader, CallError> {
        let mut head = self.head("POST")?;
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        for (name, value) in headers.iter().chain([&kind]) {
            head.insert_header(name.clone(), value.clone()).map_err(malformed)?;
        }
        Ok(head)
    }

    fn head(&self, method: &str) -> Result<RequestHeader, CallError> {
        let mut head = RequestHeader::build(method, self.target.as_bytes(), Some(5)).map_err(malformed)?;
        head.insert_header(header::ACCEPT, HeaderValue::from_static("application/json")).map_err(malformed)?;
        head.insert_header(header::USER_AGENT, USER_AGENT).map_err(malformed)?;
        Ok(head)
    }

    async fn ask(&self, client: &Client, head: RequestHeader, body: &[Bytes], allowed: &Allowance) -> Result<Answer, CallError> {
        let call = Client::begin(&self.service, &head, &Ctx::new(HeaderValue::from_static("-")))?;
        client.send_allowed(call, head, body, allowed).await
    }

    async fn answer(
        &self,
        asked: impl Future<Output = Result<Answer, CallError>>,
        allowed: &Allowance,
        within: Duration,
    ) -> Result<Answer, Missed> {
        let answer = self.come(asked, allowed, within).await?;
        match answer.head.status.as_u16() {
            200 => Ok(answer),
            status @ 300..400 => Err(Missed::new("status", format!("it answered {status}, and redirects are not followed"))),
            status => Err(Missed::new("status", format!("it answered {status}"))),
        }
    }

    async fn come(
        &self,
        asked: impl Future<Output = Result<Answer, CallError>>,
        allowed: &Allowance,
        within: Duration,
    ) -> Result<Answer, Missed> {
        let asked = tokio::time::timeout(within, asked).await;
        let asked = asked.unwrap_or(Err(CallError::Failed(Failure::Timeout, allowed.stage())));
        asked.map_err(|error| Missed::of(error, &self.service, allowed.refusal()))
    }
}

fn malformed<E>(_: E) -> CallError {
    CallError::Failed(Failure::Malformed, Stage::Connecting)
}

/// A provider may be far; who waits for one has a bound of its own.
const CONNECT: crate::types::Duration = crate::types::Duration::secs(5);
