use std::sync::Arc;
use std::time::Instant;

use prometheus::IntGauge;

use super::ask::{Ask, Request};
use super::keep::{Keep, Keeping, in_nobodys_name};
use super::outcome::{Got, Missing, Read, Source, document, judge};
use super::part::{Part, Twins};
use super::same::{Allowed, Calls, Joined, Key};
use crate::ctx::Ctx;
use crate::observe::Shard;
use crate::state::{Kept, Offload};
use crate::upstream::{Allowance, Answer, Call, CallError, Client, Failure, Stage};

/// One call under way, for as long as it is.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How the answer of a part comes about.
pub(super) struct Fetch {
    way: Way,
    keeping: Option<Keeping>,
    /// Bytes of the answer's body at most.
    most: usize,
    /// The same of the part, where this is one of its calls.
    bound: usize,
    /// When its time is over.
    ends: Instant,
}

enum Way {
    /// By a call of its own.
    Call(Box<Own>),
    /// With others.
    Joined(Joined),
    /// It is here.
    Kept(Answer),
}

/// A call of one part alone.
struct Own {
    call: Call,
    request: Request,
    client: Arc<Client>,
    allowed: Allowance,
}

/// What has come.
pub(super) struct Fetched {
    answer: Result<Answer, CallError>,
    source: Source,
    keeping: Option<Keeping>,
    /// Its body, where it was read already.
    read: Option<Read>,
}

/// What calls are made with.
pub(super) struct Means<'a> {
    pub client: &'a Arc<Client>,
    pub shard: &'a Arc<Shard>,
    pub kept: &'a Arc<Kept>,
    pub route: &'a Arc<str>,
    pub calls: &'a mut Calls,
}

impl Fetch {
    /// Decides it for one request, which has so long, for so many bytes. `admit` asks the service for admission, where there is a call to make.
    ///
    /// # Errors
    /// The service has not admitted it.
    pub fn new(
        (part, ask): (&Part, &Ask),
        mut request: Request,
        (place, allowed): (usize, Allowed),
        cx: &Ctx,
        means: Means<'_>,
        admit: impl FnOnce() -> Result<Call, Missing>,
    ) -> Result<Self, Missing> {
        let Means { client, shard, kept, route, calls } = means;
        let Allowed { within, most } = allowed;
        let ends = Instant::now() + within;
        let service = &ask.target.service;
        let keep = Keep::of(part, route, kept);
        if keep.is_some() {
            in_nobodys_name(&mut request.head, &cx.request_id);
        }
        let key = (keep.is_some() || part.twins == Twins::Possible).then(|| Key::of(service, &request.head));
        let made = |way, keeping| Self { way, keeping, most, bound: part.most, ends };
        let mut keeping = None;
        if let (Some(keep), Some(key)) = (keep, &key) {
            if let Some(answer) = keep.find(key, shard) {
                return Ok(made(Way::Kept(answer), None));
            }
            keeping = Some(keep.keeping(key.clone(), service, &request.head, shard.clone()));
        }
        let client = client.clone();
        let way = match key.filter(|_| part.twins == Twins::Possible) {
            Some(key) => match calls.join(&key, allowed) {
                Some(joined) => Way::Joined(joined),
                None => Way::Joined(calls.begin(place, key, client, admit()?, request, allowed)),
            },
            None => {
                let allowed = Allowance::new(most, within).of(calls.budget.clone());
                Way::Call(Box::new(Own { call: admit()?, request, client, allowed }))
            }
        };
        Ok(made(way, keeping))
    }

    /// Waits for the answer, counted in `running` meanwhile. A large one is read beside the worker.
    pub fn run(self, running: IntGauge, offload: &Offload) -> impl Future<Output = Fetched> + Send {
        let counted = Counted::new(running);
        async move {
            let (most, ends) = (self.bound, self.ends);
            let mut fetched = self.fetch().await;
            drop(counted);
            if let Ok(answer) = &fetched.answer
                && answer.head.status.is_success()
                && answer.body.len() >= Offload::LARGE
            {
                let (headers, body) = (answer.head.headers.clone(), answer.body.clone());
                let read = offload.of_bytes(body.len(), move || document(&headers, &body, most));
                match tokio::time::timeout_at(ends.into(), read).await {
                    Ok(read) => fetched.read = Some(read),
                    Err(_) => fetched.answer = Err(CallError::Failed(Failure::Timeout, Stage::Reading)),
                }
            }
            fetched
        }
    }

    async fn fetch(self) -> Fetched {
        let Self { way, keeping, most, .. } = self;
        let (answer, source) = match way {
            Way::Call(own) => {
                let Own { call, request, client, allowed } = *own;
                (client.send_allowed(call, request.head, &request.body, &allowed).await, Source::Service)
            }
            Way::Joined(joined) => (joined.answer().await, Source::Service),
            Way::Kept(answer) if answer.body.len() > most => (Err(CallError::TooLarge(answer.head.status)), Source::Kept),
            Way::Kept(answer) => (Ok(answer), Source::Kept),
        };
        Fetched { answer, source, keeping, read: None }
    }
}

impl Fetched {
    /// What the part makes of it. An answer that is of use is kept, where it may be.
    pub fn judge(self, part: &Part) -> Result<Got, Missing> {
        let Self { answer, source, keeping, read } = self;
        let answer = match answer {
            // What is wrong is not its length.
            Err(CallError::TooLarge(status)) if !status.is_success() && !part.pass().contains(&status) => {
                return Err(Missing::answered(status));
            }
            answer => answer.map_err(|error| Missing::of(&error))?,
        };
        let charge = answer.charge.clone();
        let kept = keeping.and_then(|keeping| keeping.prepare(&answer).map(|kept| (keeping, kept)));
        let got = judge(answer, read, part.pass(), part.most, &part.cookies)?;
        if let Some((keeping, kept)) = kept {
            keeping.keep(kept);
        }
        charge.inspect(|charge| charge.keep());
        Ok(Got { source, ..got })
    }
}
