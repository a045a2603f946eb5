//! What the gateway itself asks for at a URL, such as the keys of an issuer: over the client of the house, beside the requests.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Uri, header};
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
}

impl Missed {
    /// For this reason.
    pub fn new(word: &'static str, text: impl Into<String>) -> Self {
        Self { word, text: text.into() }
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

    /// Asks for it, and waits for the whole of it for at most so long. `most` are the bytes that are taken.
    ///
    /// # Errors
    /// What comes is no 200, too large, or not in time.
    pub async fn get(&self, client: &Client, most: usize, within: Duration, metrics: &Metrics) -> Result<Answer, Missed> {
        let allowed = Allowance::new(most, within);
        let asked = tokio::time::timeout(within, self.ask(client, &allowed, metrics)).await;
        let asked = asked.unwrap_or(Err(CallError::Failed(Failure::Timeout, allowed.stage())));
        let answer = asked.map_err(|error| self.missed(error, &allowed))?;
        match answer.head.status.as_u16() {
            200 => Ok(answer),
            status @ 300..400 => Err(Missed::new("status", format!("it answered {status}, and redirects are not followed"))),
            status => Err(Missed::new("status", format!("it answered {status}"))),
        }
    }

    async fn ask(&self, client: &Client, allowed: &Allowance, metrics: &Metrics) -> Result<Answer, CallError> {
        let malformed = |_| CallError::Failed(Failure::Malformed, Stage::Connecting);
        let mut head = RequestHeader::build("GET", self.target.as_bytes(), Some(3)).map_err(malformed)?;
        head.insert_header(header::ACCEPT, HeaderValue::from_static("application/json")).map_err(malformed)?;
        head.insert_header(header::USER_AGENT, USER_AGENT).map_err(malformed)?;
        find(&self.service, metrics).await;
        let call = Client::begin(&self.service, &head, &Ctx::new(HeaderValue::from_static("-")))?;
        client.send_allowed(call, head, &[], allowed).await
    }

    fn missed(&self, error: CallError, allowed: &Allowance) -> Missed {
        let unreached = |text: String| Missed::new("unreachable", text);
        match error {
            CallError::NoTarget => {
                let cause = if let Backend::Targets(targets) = &self.service.backend { targets.cause() } else { None };
                unreached(cause.unwrap_or_else(|| "it has no address".to_owned()))
            }
            CallError::LeftAlone(_) => unreached("it is left alone".to_owned()),
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
                unreached(format!("no connection came about: {}", allowed.refusal().unwrap_or_else(|| "nobody says why".to_owned())))
            }
            CallError::Failed(Failure::Malformed, _) => Missed::new("malformed", "what it answered is not HTTP"),
            CallError::Failed(..) => unreached("it broke off the connection".to_owned()),
        }
    }
}

/// Nobody waits for it on a request's way, so a provider may be far.
const CONNECT: crate::types::Duration = crate::types::Duration::secs(5);
