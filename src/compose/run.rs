use std::time::{Duration, Instant};

use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use http::HeaderMap;

use super::ask::Ask;
use super::course::Course;
use super::each::Large;
use super::fetch::{Fetch, Fetched, Means};
use super::fill::Variable;
use super::outcome::{Got, Missing, Outcome, Source};
use super::part::{Make, Part};
use super::plan::Composition;
use super::same::Allowed;
use super::text::Facts;
use crate::body::json::{Bounds, Document, Out, Template, Value, Why};
use crate::handler::{Conversation, Failed};
use crate::problem::Kind;
use crate::state::Offload;
use crate::upstream::{Backend, CallError, Client, Haste};

/// So many times the longest answer are held of all its parts: shapes leave most of some out.
const HELD: usize = 4;

/// Which call it is: of which part, and for which element, where it is for one.
#[derive(Clone, Copy)]
pub(super) struct Of {
    pub part: usize,
    pub item: Option<usize>,
}

/// What has come of it.
enum Ended {
    Fetched(Fetched),
    Joined(Result<Got, Missing>),
    Read(Result<Got, Missing>),
}

/// What a call may take.
pub(super) struct Terms {
    pub time: Time,
    /// Bytes of its answer's body.
    pub most: usize,
}

/// How long a call may take.
pub(super) struct Time {
    pub within: Duration,
    /// What it would be, had others used up none of it.
    pub full: Duration,
}

impl Composition {
    /// Asks all parts, and answers with what they make.
    ///
    /// # Errors
    /// The problem to answer with instead, or a client that is gone.
    pub async fn answer(&self, talk: &mut impl Conversation) -> Result<(), Failed> {
        let ends = talk.bound(self.timeout);
        if !talk.is_bodiless() {
            // What is not read would hide that the client has left.
            while talk.read().await?.is_some() {}
        }
        let told = talk.introduction()?;
        let mut course = Course::new(self.parts.len(), self.most.saturating_mul(HELD), ends, told, talk.client(), talk.shard());
        let ran = self.run(talk, &mut course).await;
        course.stop();
        self.count(&course);
        talk.note(self.told(&course.outcomes, &course.times));
        ran?;
        let missing = self
            .parts
            .iter()
            .zip(&course.outcomes)
            .position(|(part, outcome)| part.is_required() && matches!(outcome, Outcome::Missing(_)));
        let reply = match missing.and_then(|place| Some((self.parts.get(place)?, place))) {
            None => self.whole(facts(talk, &course.outcomes, None), &course.times),
            Some((part, place)) => {
                let (standing, timing) = (self.standing(&course.outcomes), self.timing(&course.outcomes, &course.times));
                match course.outcomes.get_mut(place) {
                    Some(Outcome::Missing(missing)) => self.refusal(part, missing, standing, timing),
                    _ => return Ok(()),
                }
            }
        };
        talk.reply(&reply?).await
    }

    /// Asks each part as soon as all that it needs is there, until all are settled or the whole has failed.
    async fn run(&self, talk: &mut impl Conversation, course: &mut Course) -> Result<(), Failed> {
        let mut running = FuturesUnordered::new();
        loop {
            while let Some((of, ready)) = self.next(talk, course) {
                match ready {
                    Ok(fetch) => {
                        let fetched = fetch.run(course.shard.parts_running.with_label_values(&[&*self.route]), &self.offload);
                        // Large, and moved several times on its way to be waited for.
                        running.push(Either::Left(Box::pin(fetched).map(move |fetched| (of, Ended::Fetched(fetched)))));
                    }
                    Err(missing) => self.settle(of, Err(missing), course),
                }
            }
            for (part, large) in course.large.drain(..) {
                let (of, ended) = (Of { part, item: None }, self.beside(large, course.ends));
                running.push(Either::Right(Box::pin(async move { (of, ended.await) })));
            }
            let failed = |(part, outcome): (&Part, &Outcome)| part.is_required() && matches!(outcome, Outcome::Missing(_));
            // A call may be left of a part that is settled already.
            if course.outcomes.iter().all(Outcome::is_settled) || self.parts.iter().zip(&course.outcomes).any(failed) {
                return Ok(());
            }
            tokio::select! {
                biased;
                ended = running.next() => match ended {
                    Some((of, Ended::Fetched(fetched))) => {
                        let judged = self.judge(of, fetched, &course.told);
                        self.settle(of, judged, course);
                    }
                    // Its bytes were counted as they came.
                    Some((of, Ended::Joined(made))) => course.settle(of.part, Outcome::of(made)),
                    Some((of, Ended::Read(made))) => {
                        let made = made.and_then(|got| self.fits(of, got));
                        self.settle(of, made, course);
                    }
                    None => return Ok(()),
                },
                left = talk.left() => return Err(left),
            }
        }
    }

    /// A next call, ready to be made, or why it cannot be. What needs none is settled on the way.
    fn next(&self, talk: &impl Conversation, course: &mut Course) -> Option<(Of, Result<Fetch, Missing>)> {
        if let Some(next) = self.next_item(talk, course) {
            return Some(next);
        }
        while let Some(place) = self.ready(course) {
            let part = self.parts.get(place)?;
            if let Some(outcome) = left_out(part, talk, course) {
                course.settle(place, outcome);
                continue;
            }
            course.start(place);
            let of = Of { part: place, item: None };
            match &part.make {
                Make::Value(value) => match self.value(value, talk, course) {
                    Ok(text) if text.len() >= Offload::LARGE => course.large.push((place, Large::Read(text))),
                    made => {
                        let made = made.and_then(read).and_then(|got| self.fits(of, got));
                        self.settle(of, made, course);
                    }
                },
                Make::Call(ask) => {
                    let ready = time(self.full(part, ask), course.ends)
                        .and_then(|time| self.prepare(of, ask, Terms { time, most: part.most }, talk, course));
                    return Some((of, ready));
                }
                Make::Each(ask, each) => match self.open(part, ask, each, course) {
                    Ok(fan) => {
                        if let Some(place) = course.fans.get_mut(place) {
                            *place = Some(fan);
                        }
                        self.close(place, course);
                        if let Some(next) = self.next_item(talk, course) {
                            return Some(next);
                        }
                    }
                    Err(missing) => self.settle(of, Err(missing), course),
                },
            }
        }
        None
    }

    /// A part that was not asked, and whose needs are settled.
    fn ready(&self, course: &Course) -> Option<usize> {
        let settled = |place: &usize| course.outcomes.get(*place).is_some_and(Outcome::is_settled);
        let all = self.parts.iter().zip(&course.outcomes);
        let mut ready = all.map(|(part, outcome)| matches!(outcome, Outcome::Pending) && part.waits.iter().all(settled));
        ready.position(|ready| ready)
    }

    /// How long a part may take, had others used up none of it.
    pub(super) fn full(&self, part: &Part, ask: &Ask) -> Duration {
        let own = match &ask.target.service.backend {
            Backend::Targets(targets) => targets.timeouts.total,
            Backend::Mock(_) => None,
        };
        [part.timeout, own].into_iter().flatten().fold(self.timeout, Duration::min)
    }

    /// What a part is that asks nobody, as text.
    fn value(&self, value: &Template<Variable>, talk: &impl Conversation, course: &Course) -> Result<Vec<u8>, Missing> {
        let facts = facts(talk, &course.outcomes, None);
        let mut out = Out::new(self.most, 256);
        value.write(self.missing, &|variable| variable.fill(facts), &mut out);
        let long = |_| Missing::new(Kind::BadGateway, "shaping", "http_response_body_size", "would be longer than the answer may be");
        out.finish().map_err(long)
    }

    /// Does beside the worker what would hold it up, within the time of the whole.
    async fn beside(&self, large: Large, ends: Instant) -> Ended {
        let done = async {
            let work = move || match large {
                Large::Join(fan) => Ended::Joined(fan.close()),
                Large::Read(text) => Ended::Read(read(text)),
            };
            self.offload.run(work).await.unwrap_or_else(|work| work())
        };
        let late = || Missing::new(Kind::GatewayTimeout, "shaping", "http_response_timeout", "did not come in time");
        tokio::time::timeout_at(ends.into(), done).await.unwrap_or_else(|_| Ended::Joined(Err(late())))
    }

    /// Makes a call ready: fills it in, finds whether the same was asked for before, and else has it admitted by its service.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub(super) fn prepare(&self, of: Of, ask: &Ask, terms: Terms, talk: &impl Conversation, course: &mut Course) -> Result<Fetch, Missing> {
        let Some(part) = self.parts.get(of.part) else { return Err(Missing::of(&CallError::NoTarget)) };
        let Course { outcomes, told, client, shard, calls, .. } = course;
        let element = of.item.zip(part.each()).and_then(|(item, each)| outcomes.get(each.over.part)?.value(&each.over)?.items().nth(item));
        let facts = facts(talk, outcomes, element);
        let Time { within, full } = terms.time;
        let request = ask.request(told, facts)?;
        // Its client may have been slow, or in haste, or other parts: else any client could have a sound service left alone.
        let haste = if within < full / 4 * 3 { Haste::Hurried } else { Haste::None };
        let admit = || {
            let call = Client::begin(&ask.target.service, facts.req, facts.cx).map_err(|error| Missing::of(&error))?;
            Ok(call.with(haste))
        };
        let means = Means { client, shard, kept: &self.kept, ids: &self.ids, route: &self.route, calls };
        Fetch::new((part, ask), request, (of.part, Allowed { within, most: terms.most }), means, admit)
    }

    fn judge(&self, of: Of, fetched: Fetched, told: &HeaderMap) -> Result<Got, Missing> {
        let Some(part) = self.parts.get(of.part) else { return Err(Missing::of(&CallError::NoTarget)) };
        self.fits(of, fetched.judge(part, told)?)
    }

    /// Whether its shape finds something in it that has a place.
    fn fits(&self, of: Of, got: Got) -> Result<Got, Missing> {
        let fits = match of.item {
            Some(_) => self.assembly.fits_item(of.part, got.body.root()),
            None => self.assembly.fits(of.part, got.body.root()),
        };
        let Err(unfit) = fits else { return Ok(got) };
        let detail = match unfit.why {
            Why::Nothing => "has nothing of what its shape takes",
            Why::NotAnObject => "is no object, and parts are merged",
        };
        Err(Missing { status: got.status, ..Missing::new(Kind::BadGateway, "shaping", "body_unusable", detail) })
    }

    /// Takes in what has become of a call.
    fn settle(&self, of: Of, judged: Result<Got, Missing>, course: &mut Course) {
        if let Some(item) = of.item {
            return self.settle_item(of.part, item, judged, course);
        }
        let held = judged.and_then(|got| match course.hold(got.body.text().len()) {
            Ok(()) => Ok(got),
            Err(missing) => Err(Missing { status: got.status, ..missing }),
        });
        course.settle(of.part, Outcome::of(held));
    }

    fn count(&self, course: &Course) {
        for ((part, outcome), time) in self.parts.iter().zip(&course.outcomes).zip(&course.times) {
            course.shard.parts.with_label_values(&[&*self.route, &*part.name, outcome.word()]).inc();
            if !matches!(outcome, Outcome::Pending | Outcome::Skipped) {
                course.shard.part_duration.with_label_values(&[&*self.route, &*part.name]).observe(time.as_secs_f64());
            }
        }
    }
}

/// The part that asks nobody, of its text.
fn read(text: Vec<u8>) -> Result<Got, Missing> {
    // What stands in it is nested as deep as it may be.
    let bounds = Bounds { bytes: text.len(), depth: Bounds::default().depth * 2, ..Bounds::default() };
    let body = Document::parse(text, bounds)
        .map_err(|_| Missing::new(Kind::BadGateway, "shaping", "body_unusable", "is more or deeper JSON than is taken"))?;
    Ok(Got { status: None, body, freshness: None, calls: None, cookies: Vec::new(), source: Source::Service })
}

/// What becomes of a part that is not to be asked.
fn left_out(part: &Part, talk: &impl Conversation, course: &Course) -> Option<Outcome> {
    let of = |place: usize| course.outcomes.get(place).map(Outcome::said).unwrap_or_default();
    let needed = || part.needs.iter().filter_map(|place| course.outcomes.get(*place));
    let holds = part.when.as_ref().is_none_or(|when| when.holds(talk.request(), talk.cx(), &of));
    if !holds || needed().any(|outcome| matches!(outcome, Outcome::Skipped)) {
        return Some(Outcome::Skipped);
    }
    let kind = needed().find_map(|outcome| if let Outcome::Missing(missing) = outcome { Some(missing.kind) } else { None })?;
    let missing = Missing::new(kind, "asking", "part_missing", "was not asked: another part that it needs is missing");
    Some(Outcome::Missing(Box::new(missing)))
}

/// What variables stand for now.
pub(super) fn facts<'a>(talk: &'a impl Conversation, outcomes: &'a [Outcome], item: Option<Value<'a>>) -> Facts<'a> {
    Facts { req: talk.request(), cx: talk.cx(), outcomes, item }
}

/// What is left of the time that a call would have.
///
/// # Errors
/// Nothing.
pub(super) fn time(full: Duration, ends: Instant) -> Result<Time, Missing> {
    let within = ends.saturating_duration_since(Instant::now()).min(full);
    if within.is_zero() {
        let detail = "was not asked: the time was up";
        return Err(Missing::new(Kind::GatewayTimeout, "asking", "http_response_timeout", detail));
    }
    Ok(Time { within, full })
}
