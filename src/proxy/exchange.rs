use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use pingora_http::RequestHeader;
use smallvec::SmallVec;

use super::Pinned;
use super::busy::Turn;
use super::connection::around;
use super::encode::Encoding;
use super::grpc::Grpc;
use super::inside::Around;
use super::mirror::Copied;
use crate::ctx::Ctx;
use crate::handler::Relay;
use crate::observe::PartTold;
use crate::policy::Chain;
use crate::problem::Problem;
use crate::routing::{Destination, Route, Version, Way};
use crate::state::InFlight;
use crate::types::Reply;
use crate::upstream::{Backend, Pool, Probe, Ready, Service, Target, Targets};

/// One request and its answer. Pins the snapshot that the request started with, and splits what is shared from what is its own, so that hooks borrow
/// both at once.
pub struct Exchange {
    pub(super) pinned: Arc<Pinned>,
    /// The route by its number; none where no route matches.
    pub(super) route: Option<usize>,
    /// The version by its number; none until it is chosen, or where there is none to choose.
    pub(super) way: Option<usize>,
    pub(super) cx: Ctx,
    /// The request that it came inside of.
    pub(super) around: Option<Arc<Around>>,
    /// How many policies the request has entered: the way up starts there.
    pub(super) depth: usize,
    /// The host as the peer wrote it.
    pub(super) authority: HeaderValue,
    /// The same in the form that is matched. Proxies may tell of another in [`Ctx::host`]; routes go by this one.
    pub(super) host: Box<str>,
    /// Where it is a call of gRPC, what is known of that.
    pub(super) grpc: Option<Grpc>,
    /// Whether forwarding headers of the peer are believed.
    pub(super) trusted: bool,
    /// What to answer with once Pingora comes back with the error that was raised for it.
    pub(super) pending: Option<Problem>,
    pub(super) started: Instant,
    pub(super) time: SystemTime,
    pub(super) upstream_started: Option<Instant>,
    /// The place of the target, for the log.
    pub(super) target: Option<HeaderValue>,
    /// Counts the request at its target until it ends or another attempt takes its place.
    pub(super) in_flight: Option<InFlight>,
    /// The same, where only so many connections to it are kept.
    pub(super) turn: Option<Turn>,
    /// The targets that it chooses from: what it started with, though the service may have others by now.
    pub(super) pool: Option<Arc<Pool>>,
    /// The place of the target that the present attempt is sent to, until it is noted how that ended.
    pub(super) asked: Option<usize>,
    /// The status of its answer.
    pub(super) answered: Option<StatusCode>,
    /// The places of targets that this request was sent to in vain, and must not be again while there are others.
    pub(super) tried: SmallVec<[usize; 4]>,
    /// That this request finds out whether a failing service is well again.
    pub(super) probe: Option<Probe>,
    /// Who the gateway is to the service of the present attempt; none where it is nobody there.
    pub(super) ready: Option<Ready>,
    /// How often it was sent to a target.
    pub(super) attempts: u32,
    /// How many of these were at services that another stands in for by now.
    pub(super) spent: u32,
    /// How many of the others met a connection that was kept too long.
    pub(super) aged: u32,
    /// The service that stands in for the one that the request was meant for.
    pub(super) stand_in: Option<Arc<Service>>,
    /// That the answer was made here in the service's stead.
    pub(super) replied: bool,
    /// The answer that stands in for the service's, until it is given.
    pub(super) reply: Option<Reply>,
    /// How long it may take in all, from its start.
    pub(super) total: Option<Duration>,
    /// Whether the present attempt has less time than the service gives, for what those before it took, or others of the same batch.
    pub(super) hurried: bool,
    /// How long the service may be silent once it has the whole request, where the client still sends.
    pub(super) silence: Option<Duration>,
    /// Whether it asks for another protocol.
    pub(super) switches: bool,
    /// Whether its client waits for a word of the service before it sends its body (RFC 9110 §10.1.1).
    pub(super) expects: bool,
    /// How long to wait before it is sent again.
    pub(super) wait: Option<Duration>,
    /// What it waits for now.
    pub(super) step: Step,
    /// Why its answer was cut off, for the log.
    pub(super) cut: Option<Cow<'static, str>>,
    /// Whether the way was chosen by a split.
    pub(super) split: bool,
    /// The cookie that tells the client which service the split chose.
    pub(super) lane: Option<HeaderValue>,
    /// How far its copy for another service has come.
    pub(super) copied: Copied,
    /// The cookie that tells the client its target.
    pub(super) cookie: Option<HeaderValue>,
    /// What takes the connection over once the request is put away.
    pub(super) relay: Option<Box<Relay>>,
    /// The body of the answer, where it goes out in another form.
    pub(super) encoding: Option<Box<Encoding>>,
    /// What became of the parts of a composed answer.
    pub(super) parts_told: Vec<PartTold>,
    /// The request's body, where policies have read it.
    pub(super) held: Option<Bytes>,
    /// Bytes of the request's body so far.
    pub(super) received: u64,
    /// Whether the answer was made here.
    pub(super) own_answer: bool,
    pub(super) problem: Option<Told>,
    /// The method, once the request is looked at.
    pub(super) method: Option<Method>,
    /// The status of the answer that is on its way to the client.
    pub(super) shown: Option<StatusCode>,
    /// Bytes of the answer's body so far.
    pub(super) sent: usize,
    /// Whether it was written down how it ended.
    pub(super) told: bool,
}

/// The problem that was answered with, for the log.
pub(super) struct Told {
    pub kind: &'static str,
    pub policy: Option<&'static str>,
    pub cause: Option<String>,
}

/// What a request waits for, on its way to a service and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// What comes before a service is asked: policies, and bodies that they read.
    Arriving,
    /// Credentials of the gateway's own.
    Authenticating,
    /// A connection to a target.
    Connecting,
    /// The rest of the request's body, and that the target takes it.
    Sending,
    /// The header of the answer.
    Waiting,
    /// The rest of the answer.
    Reading,
    /// The time of another attempt.
    Retrying,
}

impl Step {
    /// The stable word for it, in problems.
    pub(super) fn name(self) -> &'static str {
        match self {
            Step::Arriving => "arriving",
            Step::Authenticating => "authenticating",
            Step::Connecting => "connecting",
            Step::Sending => "sending",
            Step::Waiting => "waiting",
            Step::Reading => "reading",
            Step::Retrying => "retrying",
        }
    }

    /// What to tell where it used up the time of the whole request.
    pub(super) fn late(self) -> &'static str {
        match self {
            Step::Arriving => "the time of the request was used up before the service was asked",
            Step::Authenticating => "the time of the request was used up while waiting for the gateway's own credentials",
            Step::Connecting => "the time of the request was used up while connecting to the service",
            Step::Sending => "the time of the request was used up while sending it to the service",
            Step::Waiting => "the time of the request was used up while waiting for the service's answer",
            Step::Reading => "the time of the request was used up while reading the service's answer",
            Step::Retrying => "the time of the request was used up before another attempt",
        }
    }
}

impl Exchange {
    pub(super) fn new(pinned: Arc<Pinned>) -> Self {
        Self {
            pinned,
            route: None,
            way: None,
            cx: Ctx::new(request_id()),
            around: around(),
            depth: 0,
            authority: HeaderValue::from_static(""),
            host: Box::default(),
            grpc: None,
            trusted: false,
            pending: None,
            started: Instant::now(),
            time: SystemTime::now(),
            upstream_started: None,
            target: None,
            in_flight: None,
            turn: None,
            pool: None,
            asked: None,
            answered: None,
            tried: SmallVec::new(),
            probe: None,
            ready: None,
            attempts: 0,
            spent: 0,
            aged: 0,
            stand_in: None,
            replied: false,
            reply: None,
            total: None,
            hurried: false,
            silence: None,
            switches: false,
            expects: false,
            wait: None,
            step: Step::Arriving,
            cut: None,
            split: false,
            lane: None,
            copied: Copied::default(),
            cookie: None,
            relay: None,
            encoding: None,
            parts_told: Vec::new(),
            held: None,
            received: 0,
            own_answer: false,
            problem: None,
            method: None,
            shown: None,
            sent: 0,
            told: false,
        }
    }

    /// How long its caller is ready to wait in all, where that was said, or what it came inside of.
    pub(super) fn asks_for(&self) -> Option<Duration> {
        let left = self.around.as_ref().map(|around| around.ends.saturating_duration_since(self.started));
        let said = self.grpc.as_ref().and_then(|call| call.deadline);
        said.into_iter().chain(left).min()
    }

    /// How long it may take in all: by its route, by its caller, and by where it goes.
    pub(super) fn least(&self, own: Option<Duration>) -> Option<Duration> {
        [self.route().timeout, own, self.asks_for()].into_iter().flatten().min()
    }

    /// How long it may take where it goes first.
    pub(super) fn own_total(&self) -> Option<Duration> {
        match self.destination() {
            Destination::Composition(composition) => Some(composition.timeout),
            Destination::Batch(batch) => Some(batch.timeout),
            _ => self.targets()?.timeouts.total,
        }
    }

    /// Where the way comes to several services: goes on to one of them. False where it does not.
    pub(super) fn fork(&mut self, req: &RequestHeader) -> bool {
        let Destination::Split(split) = self.destination() else { return false };
        let choice = split.choose(req, &self.cx);
        (self.way, self.lane, self.split) = (Some(choice.way), choice.cookie, true);
        true
    }

    /// What is shared and what is this request's own.
    pub(super) fn parts(&mut self) -> (&Chain, &mut Ctx, &mut usize) {
        let route = route(&self.pinned, self.route);
        let way = self.way.and_then(|way| route.ways.get(way));
        (way.map_or(&route.chain, |way| &way.chain), &mut self.cx, &mut self.depth)
    }

    pub(super) fn route(&self) -> &Route {
        route(&self.pinned, self.route)
    }

    pub(super) fn way(&self) -> Option<&Way> {
        self.way.and_then(|way| self.route().ways.get(way))
    }

    pub(super) fn destination(&self) -> &Destination {
        self.way().map_or(&Destination::Nowhere, |way| &way.destination)
    }

    /// The service that it is sent to now.
    pub(super) fn service(&self) -> Option<&Arc<Service>> {
        match (&self.stand_in, self.destination()) {
            (Some(service), _) | (None, Destination::Service { service, .. }) => Some(service),
            _ => None,
        }
    }

    /// The targets of that service.
    pub(super) fn targets(&self) -> Option<&Targets> {
        match &self.service()?.backend {
            Backend::Targets(targets) => Some(targets),
            Backend::Mock(_) => None,
        }
    }

    /// What answered in the stead of the service that it was meant for.
    pub(super) fn fallback(&self) -> Option<&str> {
        if self.replied { Some("reply") } else { self.stand_in.as_ref().map(|service| &*service.name) }
    }

    /// The target that the present attempt is sent to.
    pub(super) fn picked(&self) -> Option<&Target> {
        self.pool.as_ref()?.targets().get(self.asked?)
    }

    /// The version that was chosen, with the facts to tell its caller.
    pub(super) fn version(&self) -> Option<&Version> {
        self.route().versions.as_ref()?.get(self.way()?.version)
    }
}

fn route(pinned: &Pinned, index: Option<usize>) -> &Route {
    index.and_then(|index| pinned.snapshot.routes.get(index)).unwrap_or(&pinned.snapshot.unmatched)
}

/// 128 random bits in hex.
fn request_id() -> HeaderValue {
    let bytes = rand::random::<u128>();
    let digits = b"0123456789abcdef";
    let mut text = [0; 32];
    for (at, byte) in text.iter_mut().enumerate() {
        let digit = usize::try_from(bytes >> (at * 4) & 0xf).unwrap_or_default();
        *byte = digits.get(digit).copied().unwrap_or(b'0');
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}
