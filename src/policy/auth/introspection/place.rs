//! Where a provider is asked: at a URL of the config, or where an issuer says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::config::Config;
use super::endpoint::Memory;
use crate::building::BuildError;
use crate::observe::Metrics;
use crate::upstream::discovery::{self, Wanted, Ways, is_plain};
use crate::upstream::{Base, Client, Missed, Resource};

/// Where to ask.
#[derive(Debug)]
pub(super) enum Place {
    /// Here.
    Here(Box<Resource>),
    /// Where this one says.
    Told(Box<Issuer>),
}

/// An issuer that says where.
#[derive(Debug)]
pub(super) struct Issuer {
    name: Box<str>,
    /// Where it may tell of itself, in the order in which these are asked for.
    documents: [Resource; 2],
    ways: Ways,
    known: ArcSwapOption<Resource>,
}

/// Bytes of what it tells of itself.
const MOST: usize = 512 * 1024;

/// How long it may take: nobody waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Between two looks at what it tells.
const SELDOM: Duration = Duration::from_secs(3600);

/// Between the first look that fails and the next, doubled with each; and at most.
const SOON: Duration = Duration::from_millis(500);
const LATEST: Duration = Duration::from_secs(15);

impl Place {
    /// # Errors
    /// What is wrong, at its place in `config`.
    pub(super) fn build(config: &Config, memory: &Memory, base: &Base<'_>) -> Result<Self, BuildError> {
        let (at, url) = match (&config.url, &config.issuer) {
            (Some(url), _) => ("url", url),
            (None, Some(issuer)) if issuer.contains(['?', '#']) => {
                let reason = format!("`{issuer}` has a query or a fragment, which no issuer has that says where it is asked");
                return Err(BuildError::new(reason, "write the `url` of its introspection endpoint").at("issuer"));
            }
            (None, Some(issuer)) => ("issuer", issuer),
            (None, None) => {
                let fix = "write the `url` of its introspection endpoint, or an `issuer` that says where it is";
                return Err(BuildError::new("there is nobody to ask about tokens", fix));
            }
        };
        if is_plain(url) && !config.allow_http {
            let reason = format!("`{url}` would be asked without TLS: who is on the way could say that any token is good");
            return Err(BuildError::new(reason, "write `https://`, or set `allow_http: true`").at(at));
        }
        let tls = config.tls();
        let resource = |url: &str| {
            // What is wrong with `ca` and `client_certificate` has its place already.
            Resource::build(url, Some(&tls), base).map_err(|error| if error.path.0.is_empty() { error.at(at) } else { error })
        };
        if at == "url" {
            return Ok(Place::Here(Box::new(resource(url)?)));
        }
        let documents = [resource(&discovery::place(url))?, resource(&discovery::place_of_oauth(url))?];
        let issuer =
            Issuer { name: url.as_str().into(), documents, ways: Ways::new(tls, config.allow_http, base), known: ArcSwapOption::default() };
        // Before a reload it was there.
        let before = memory.url.load().as_ref().and_then(|url| issuer.ways.to(url).ok());
        issuer.known.store(before);
        Ok(Place::Told(Box::new(issuer)))
    }

    /// The way there; none as long as it is not known.
    pub(super) fn resource(&self) -> Option<Known<'_>> {
        match self {
            Place::Here(resource) => Some(Known::Here(resource)),
            Place::Told(issuer) => issuer.known.load_full().map(Known::Told),
        }
    }

    /// The names that its hosts go by.
    pub(super) fn hosts(&self) -> Vec<String> {
        match self {
            Place::Here(resource) => resource.names(),
            Place::Told(issuer) => issuer.documents.iter().flat_map(Resource::names).chain(issuer.ways.hosts()).collect(),
        }
    }

    /// Whether it is known without asking anybody.
    pub(super) fn is_known(&self) -> bool {
        self.resource().is_some()
    }
}

/// A way that is known.
pub(super) enum Known<'a> {
    Here(&'a Resource),
    Told(Arc<Resource>),
}

impl std::ops::Deref for Known<'_> {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        match self {
            Known::Here(resource) => resource,
            Known::Told(resource) => resource,
        }
    }
}

/// When to look again at what an issuer tells, and what went wrong before.
pub(super) struct Looks {
    next: Instant,
    failures: u32,
    word: Option<&'static str>,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self { next: Instant::now(), failures: 0, word: None }
    }
}

impl Issuer {
    /// Looks at what it tells, unless that was done not long ago. When to do it again.
    pub(super) async fn look(&self, memory: &Memory, looks: &mut Looks, client: &Client, metrics: &Metrics) -> Instant {
        if looks.next > Instant::now() {
            return looks.next;
        }
        let wait = match self.found(client, metrics).await {
            Ok((url, resource)) => {
                if memory.url.load().as_ref().is_none_or(|known| **known != url) {
                    log::info!("{} is asked about tokens at {url}", self.name);
                }
                memory.url.store(Some(Arc::new(url)));
                self.known.store(Some(resource));
                (looks.failures, looks.word) = (0, None);
                SELDOM
            }
            Err(missed) => {
                if looks.word != Some(missed.word) {
                    let stays = if self.known.load().is_some() { "it is asked where it was" } else { "tokens get 503" };
                    log::warn!("{} does not say where it is asked about tokens, {stays}: {}", self.name, missed.text);
                }
                (looks.failures, looks.word) = (looks.failures.saturating_add(1), Some(missed.word));
                SOON.saturating_mul(1 << looks.failures.saturating_sub(1).min(16)).min(LATEST)
            }
        };
        // Another moment for each gateway, so that not all come at once.
        looks.next = Instant::now() + wait.mul_f64(rand::random_range(0.7..0.8));
        looks.next
    }

    /// Where it says that it is asked.
    async fn found(&self, client: &Client, metrics: &Metrics) -> Result<(String, Arc<Resource>), Missed> {
        let [usual, other] = &self.documents;
        let answer = match usual.get(client, MOST, TIMEOUT, metrics).await {
            Err(missed) if missed.word == "status" => other.get(client, MOST, TIMEOUT, metrics).await.map_err(|_| missed)?,
            answer => answer?,
        };
        let url = discovery::told(&answer.body, &self.name, Wanted::Introspection)?;
        let resource = self.ways.to(&url)?;
        Ok((url, resource))
    }
}
