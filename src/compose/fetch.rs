use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName};
use prometheus::IntGauge;

use super::ask::{Ask, Request};
use super::freshness::varies;
use super::keep::{Keep, Keeping, in_nobodys_name};
use super::outcome::{Got, Missing, Read, Source, document, judge};
use super::part::{Part, Twins};
use super::same::{Allowed, Calls, Joined, Key};
use crate::observe::Shard;
use crate::state::{Kept, Offload};
use crate::upstream::{Allowance, Answer, Call, CallError, Client, Failure, Stage, within};

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
    /// See [`in_nobodys_name`].
    pub ids: &'a [HeaderName],
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
        means: Means<'_>,
        admit: impl FnOnce() -> Result<Call, Missing>,
    ) -> Result<Self, Missing> {
        let Means { client, shard, kept, ids, route, calls } = means;
        let Allowed { within, most } = allowed;
        let ends = Instant::now() + within;
        let service = &ask.target.service;
        let keep = Keep::of(part, route, kept);
        if keep.is_some() {
            in_nobodys_name(&mut request.head, ids);
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
                match within(ends.saturating_duration_since(Instant::now()), read).await {
                    Some(read) => fetched.read = Some(read),
                    None => fetched.answer = Err(CallError::Failed(Failure::Timeout, Stage::Reading)),
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
    /// What the part makes of it, when the service was told this. An answer that is of use is kept, where it may be.
    pub fn judge(self, part: &Part, told: &HeaderMap) -> Result<Got, Missing> {
        let Self { answer, source, keeping, read } = self;
        let answer = match answer {
            // What is wrong is not its length.
            Err(CallError::TooLarge(status)) if !status.is_success() => return Err(Missing::answered(status)),
            answer => answer.map_err(|error| Missing::of(&error))?,
        };
        let (charge, of_one) = (answer.charge.clone(), varies(&answer.head.headers, told));
        let kept = keeping.and_then(|keeping| keeping.prepare(&answer).map(|kept| (keeping, kept)));
        let got = judge(answer, read, part.pass(), part.most, &part.cookies)?;
        if let Some((keeping, kept)) = kept {
            keeping.keep(kept);
        }
        charge.inspect(|charge| charge.keep());
        Ok(Got { source, freshness: got.freshness.map(|freshness| freshness.of_one(of_one)), ..got })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use futures_util::StreamExt;
    use futures_util::stream::FuturesUnordered;
    use pingora_http::ResponseHeader;

    use super::*;

    #[tokio::test]
    async fn a_part_does_not_wait_for_the_json_of_others_longer_than_it_has() {
        let (offload, (go, waits)) = (Offload::default(), mpsc::channel::<()>());
        let waits = Arc::new(Mutex::new(waits));
        let busy = || {
            let waits = waits.clone();
            offload.run(move || drop(waits.lock().map(|waits| waits.recv())))
        };
        let mut others: FuturesUnordered<_> = (0..15).map(|_| busy()).collect();
        assert!(others.next().now_or_never().is_none());
        let body = Bytes::from(format!("\"{}\"", "x".repeat(Offload::LARGE)));
        let answer = Answer { head: Box::new(ResponseHeader::build(200, None).unwrap()), body, charge: None };
        let ends = Instant::now() + Duration::from_millis(20);
        let fetch = Fetch { way: Way::Kept(answer), keeping: None, most: usize::MAX, bound: usize::MAX, ends };
        let fetched = fetch.run(IntGauge::new("running", "-").unwrap(), &offload).await;
        assert!(matches!(fetched.answer, Err(CallError::Failed(Failure::Timeout, Stage::Reading))));
        drop(go);
        assert_eq!(others.filter(|done| std::future::ready(done.is_ok())).count().await, 15);
    }
}
