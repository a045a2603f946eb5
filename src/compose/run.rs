use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::HeaderMap;

use super::fetch::{Fetch, Fetched, Means};
use super::outcome::{Missing, Outcome};
use super::part::Part;
use super::plan::Composition;
use super::same::Calls;
use super::text::Facts;
use crate::body::json::Why;
use crate::handler::{Conversation, Failed};
use crate::observe::Shard;
use crate::problem::Kind;
use crate::upstream::{Backend, Client, Haste};

/// So many times the longest answer are held of all its parts: shapes leave most of some out.
const HELD: usize = 4;

/// How far the parts of one answer have come.
struct Course {
    outcomes: Vec<Outcome>,
    started: Vec<Option<Instant>>,
    times: Vec<Duration>,
    /// Bytes of the bodies that are here.
    held: usize,
    /// When the time of the whole is up.
    ends: Instant,
    /// What every service is told.
    told: HeaderMap,
    client: Arc<Client>,
    shard: Arc<Shard>,
    /// Those that may be made again.
    calls: Calls,
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
        let count = self.parts.len();
        let mut course = Course {
            outcomes: (0..count).map(|_| Outcome::Pending).collect(),
            started: vec![None; count],
            times: vec![Duration::ZERO; count],
            held: 0,
            ends,
            told,
            client: talk.client(),
            shard: talk.shard(),
            calls: Calls::default(),
        };
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
            None => self.whole(Facts { req: talk.request(), cx: talk.cx(), outcomes: &course.outcomes }, &course.times),
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
            while let Some(place) = self.ready(course) {
                let Some(part) = self.parts.get(place) else { break };
                course.start(place);
                match self.begin(part, talk, course) {
                    Ok(fetch) => {
                        let fetched = fetch.run(course.shard.parts_running.with_label_values(&[&*self.route]));
                        // Each is large, and would be moved several times.
                        running.push(Box::pin(async move { (place, fetched.await) }));
                    }
                    Err(missing) => course.settle(place, Outcome::Missing(Box::new(missing))),
                }
            }
            let failed = |(part, outcome): (&Part, &Outcome)| part.is_required() && matches!(outcome, Outcome::Missing(_));
            if running.is_empty() || self.parts.iter().zip(&course.outcomes).any(failed) {
                return Ok(());
            }
            tokio::select! {
                biased;
                ended = running.next() => if let Some((place, fetched)) = ended {
                    let outcome = course.hold(self.judge(place, fetched), self.most.saturating_mul(HELD));
                    course.settle(place, outcome);
                },
                left = talk.left() => return Err(left),
            }
        }
    }

    /// A part that was not asked, and whose needs are settled.
    fn ready(&self, course: &Course) -> Option<usize> {
        let settled = |place: &usize| course.outcomes.get(*place).is_some_and(Outcome::is_settled);
        let all = self.parts.iter().zip(&course.outcomes);
        let mut ready = all.map(|(part, outcome)| matches!(outcome, Outcome::Pending) && part.needs.iter().all(settled));
        ready.position(|ready| ready)
    }

    fn begin(&self, part: &Part, talk: &impl Conversation, course: &mut Course) -> Result<Fetch, Missing> {
        let needed = part.needs.iter().filter_map(|place| course.outcomes.get(*place));
        for outcome in needed {
            if let Outcome::Missing(missing) = outcome {
                return Err(Missing::new(missing.kind, "asking", "part_missing", "was not asked: another part that it needs is missing"));
            }
        }
        let own = match &part.target.service.backend {
            Backend::Targets(targets) => targets.timeouts.total,
            Backend::Mock(_) => None,
        };
        let left = course.ends.saturating_duration_since(Instant::now());
        let full = [part.timeout, own].into_iter().flatten().fold(self.timeout, Duration::min);
        let within = left.min(full);
        if within.is_zero() {
            return Err(Missing::new(
                Kind::GatewayTimeout,
                "asking",
                "http_response_timeout",
                "was not asked: the time of the whole was up",
            ));
        }
        let facts = Facts { req: talk.request(), cx: talk.cx(), outcomes: &course.outcomes };
        let request = part.request(&course.told, facts, within)?;
        // Its client may have been slow, or in haste, or other parts: else any client could have a sound service left alone.
        let haste = if within < full / 4 * 3 { Haste::Hurried } else { Haste::None };
        let admit = || {
            let call = Client::begin(&part.target.service, talk.request(), talk.cx()).map_err(|error| Missing::of(&error))?;
            Ok(call.with(haste))
        };
        let means = Means { client: &course.client, shard: &course.shard, kept: &self.kept, route: &self.route, calls: &mut course.calls };
        Fetch::new(part, request, within, talk.cx(), means, admit)
    }

    fn judge(&self, place: usize, fetched: Fetched) -> Outcome {
        let Some(part) = self.parts.get(place) else { return Outcome::Pending };
        let judged = fetched.judge(part).and_then(|got| match self.assembly.fits(place, got.body.root()) {
            Ok(()) => Ok(got),
            Err(unfit) => {
                let detail = match unfit.why {
                    Why::Nothing => "has nothing of what its shape takes",
                    Why::NotAnObject => "is no object, and parts are merged",
                };
                Err(Missing { status: Some(got.status), ..Missing::new(Kind::BadGateway, "shaping", "body_unusable", detail) })
            }
        });
        match judged {
            Ok(got) => Outcome::Got(Box::new(got)),
            Err(missing) => Outcome::Missing(Box::new(missing)),
        }
    }

    fn count(&self, course: &Course) {
        for ((part, outcome), time) in self.parts.iter().zip(&course.outcomes).zip(&course.times) {
            course.shard.parts.with_label_values(&[&*self.route, &*part.name, outcome.word()]).inc();
            if !matches!(outcome, Outcome::Pending) {
                course.shard.part_duration.with_label_values(&[&*self.route, &*part.name]).observe(time.as_secs_f64());
            }
        }
    }
}

impl Course {
    /// Takes a part in, unless all together would be more than is held.
    fn hold(&mut self, outcome: Outcome, most: usize) -> Outcome {
        let Outcome::Got(got) = &outcome else { return outcome };
        self.held = self.held.saturating_add(got.body.text().len());
        if self.held <= most {
            return outcome;
        }
        let detail = "is more than is held beside the other parts";
        let missing = Missing::new(Kind::BadGateway, "reading", "http_response_body_size", detail);
        Outcome::Missing(Box::new(Missing { status: Some(got.status), ..missing }))
    }

    fn start(&mut self, place: usize) {
        if let (Some(started), Some(outcome)) = (self.started.get_mut(place), self.outcomes.get_mut(place)) {
            (*started, *outcome) = (Some(Instant::now()), Outcome::Running);
        }
    }

    fn settle(&mut self, place: usize, outcome: Outcome) {
        if let (Some(time), Some(Some(started))) = (self.times.get_mut(place), self.started.get(place)) {
            *time = started.elapsed();
        }
        if let Some(settled) = self.outcomes.get_mut(place) {
            *settled = outcome;
        }
    }

    /// What is under way has come to its end.
    fn stop(&mut self) {
        for ((outcome, started), time) in self.outcomes.iter().zip(&self.started).zip(&mut self.times) {
            if let (Outcome::Running, Some(started)) = (outcome, started) {
                *time = started.elapsed();
            }
        }
    }
}
