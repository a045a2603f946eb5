//! The client of the house: one request to a service, from its admission and the choice of a target to the end of the answer. Attempts are made, told
//! and repeated as those of a proxied request are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use pingora_http::{RequestHeader, ResponseHeader};
use smallvec::SmallVec;

use super::allowance::{Allowance, Charge};
use super::lent::Connections;
use super::stage::Stage;
use super::talk::{Broken, Told, prepare, talk};
use super::{
    About, Asking, Attempted, Backend, Breaker, Credentials, Failure, Picked, Pool, Probe, Ready, Service, Targets, is_keyed, retry_after,
};
use crate::ctx::Ctx;
use crate::observe::Shard;
use crate::state::InFlight;

/// The connections of one worker that calls are made over.
pub struct Client {
    connections: Connections,
    shard: Arc<Shard>,
}

/// A request that a service has admitted.
#[derive(Debug)]
pub struct Call {
    service: Arc<Service>,
    probe: Option<Probe>,
    /// None where the service answers by itself.
    to: Option<Chosen>,
    haste: Haste,
    /// What the service is told of it, where the gateway shows it credentials.
    about: Option<About>,
}

/// Whether a call has the time that it should have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Haste {
    /// It has.
    #[default]
    None,
    /// Others have used up some of it: that it is late says nothing of its target.
    Hurried,
}

impl Call {
    /// Whom it goes to.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The same in haste.
    #[must_use]
    pub fn with(self, haste: Haste) -> Self {
        Self { haste, ..self }
    }
}

#[derive(Debug)]
struct Chosen {
    pool: Arc<Pool>,
    index: usize,
    /// Until the answer is there.
    in_flight: InFlight,
    /// What another choice goes by.
    key: Option<u64>,
}

/// What is sent, as often as it is.
pub(super) struct Sent<'a> {
    pub head: &'a RequestHeader,
    pub body: &'a [Bytes],
    haste: Haste,
    about: Option<&'a About>,
    pub allowed: &'a Allowance,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its header.
    pub head: Box<ResponseHeader>,
    /// Its whole body.
    pub body: Bytes,
    /// What the body takes of a budget, until nobody has it any more or it is kept.
    pub charge: Option<Arc<Charge>>,
}

/// Why nothing came back.
#[derive(Clone, Copy, Debug)]
pub enum CallError {
    /// The service's breaker is open for so long.
    LeftAlone(Duration),
    /// The service has no target.
    NoTarget,
    /// The last attempt failed, when it had come so far.
    Failed(Failure, Stage),
    /// The gateway has no credentials to show to the service.
    Lacking,
    /// The body of the answer with this status is larger than it may be.
    TooLarge(StatusCode),
}

impl Client {
    /// Without a connection yet; so many idle ones are kept.
    pub fn new(shard: Arc<Shard>, kept: usize) -> Self {
        Self { connections: Connections::new(kept), shard }
    }

    /// What the worker counts.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Makes what the first call would wait for.
    pub async fn prepare(&self) {
        self.connections.prepare().await;
    }

    /// Asks the service for admission and chooses the target. By `req`, the client's own request: what is sent of it, or in its place, may be another one.
    ///
    /// # Errors
    /// The service is left alone, or has no target.
    pub fn begin(service: &Arc<Service>, req: &RequestHeader, cx: &Ctx) -> Result<Call, CallError> {
        let call = |probe, to, about| Call { service: service.clone(), probe, to, haste: Haste::None, about };
        let Backend::Targets(targets) = &service.backend else { return Ok(call(None, None, None)) };
        let probe = targets.breaker.as_ref().map_or(Ok(None), Breaker::admit).map_err(CallError::LeftAlone)?;
        let pool = targets.pool();
        let asking = pool.asking(req, cx, &[]);
        let chosen = Chosen::of(&pool, &asking).ok_or(CallError::NoTarget)?;
        targets.retry.begin();
        let about = targets.credentials.as_ref().map(|credentials| credentials.about(req, cx));
        Ok(call(probe, Some(chosen), about))
    }

    /// Sends it and waits for the whole answer, for at most so long. `most` are the bytes of its body that are held. Names the `Host` where the service does,
    /// and how long the body is.
    ///
    /// # Errors
    /// There is no answer, or it is too large.
    pub async fn send(&self, call: Call, head: RequestHeader, body: &[Bytes], most: usize, within: Duration) -> Result<Answer, CallError> {
        self.send_allowed(call, head, body, &Allowance::new(most, within)).await
    }

    /// The same within bounds that may be widened meanwhile.
    ///
    /// # Errors
    /// There is no answer, or it is too large.
    pub async fn send_allowed(&self, call: Call, head: RequestHeader, body: &[Bytes], allowed: &Allowance) -> Result<Answer, CallError> {
        match (&call.service.backend, call.to) {
            (Backend::Targets(targets), Some(to)) => {
                let about = call.about.as_ref();
                let sent = Sent { head: &head, body, haste: call.haste, about, allowed };
                self.attempts(&call.service.name, targets, to, call.probe, &sent).await
            }
            (Backend::Mock(mock), _) => {
                let body = body.concat();
                allowed.progress.come_to(Stage::Waiting);
                let reply = allowed.limit(mock.answer(&head, &body)).await;
                let reply = reply.ok_or(CallError::Failed(Failure::Timeout, Stage::Waiting))?;
                let mut head = ResponseHeader::build_no_case(reply.status, Some(reply.headers.len())).map_err(|_| malformed())?;
                for (name, value) in reply.headers {
                    head.append_header(name, value).map_err(|_| malformed())?;
                }
                Ok(Answer { head: Box::new(head), body: reply.body, charge: None })
            }
            (Backend::Targets(_), None) => Err(CallError::NoTarget),
        }
    }

    /// One attempt after the other, until one is good enough or there is no other.
    async fn attempts(
        &self,
        service: &Arc<str>,
        targets: &Targets,
        mut to: Chosen,
        mut probe: Option<Probe>,
        sent: &Sent<'_>,
    ) -> Result<Answer, CallError> {
        let (mut count, mut aged) = (0, 0);
        let mut tried = SmallVec::<[usize; 4]>::new();
        loop {
            count += 1;
            let ready = match (&targets.credentials, sent.about) {
                // It is large too, and most calls need none.
                (Some(credentials), Some(about)) => Some(Box::pin(self.ready(service, credentials, about, sent.allowed)).await?),
                _ => None,
            };
            let left = sent.allowed.left();
            // It is large, and would be moved several times.
            let attempt = Box::pin(self.attempt(targets, &to, ready.as_ref(), sent));
            let told = sent.allowed.limit(attempt).await.unwrap_or(Err(Failure::Timeout));
            let (ended, wish) = match &told {
                Ok(told) => (Failure::Status(told.head.status), retry_after(&told.head.headers)),
                Err(failure) => (*failure, None),
            };
            if let Some(ready) = &ready {
                ready.judged(ended);
            }
            // One that had less time than the service gives says nothing of its target; nor does one that was told so, and gave up by itself.
            let hurried = (count > 1 || sent.haste == Haste::Hurried) && left < targets.timeouts.response && targets.is_late(ended);
            if !ended.is_of_age() && !hurried {
                if let Some(breaker) = &targets.breaker {
                    breaker.note(probe.take(), breaker.minds(ended), &self.shard);
                }
                to.pool.note(service, to.index, ended, to.in_flight.is_probe(), &self.shard);
            }
            let attempted = Attempted {
                method: &sent.head.method,
                keyed: is_keyed(&sent.head.headers),
                replayable: true,
                count: count - aged,
                aged,
                tried: tried.len() + usize::from(!tried.contains(&to.index)),
                targets: to.pool.takers(),
                left: sent.allowed.left(),
                retry_after: wish,
            };
            let is_open = !ended.is_of_age() && targets.breaker.as_ref().is_some_and(|breaker| !breaker.is_closed());
            let Some(wait) = (if is_open { None } else { targets.retry.next(ended, &attempted) }) else {
                return match told {
                    Ok(Told { head, body: Some(body), charge }) => Ok(Answer { head, body, charge: charge.map(Arc::new) }),
                    Ok(Told { head, .. }) => Err(CallError::TooLarge(head.status)),
                    Err(failure) => Err(CallError::Failed(failure, sent.allowed.progress.stage())),
                };
            };
            self.shard.retries.with_label_values(&[&**service, ended.reason()]).inc();
            if ended.is_of_age() {
                aged += 1;
            } else if !tried.contains(&to.index) {
                tried.push(to.index);
            }
            let Chosen { pool, key, in_flight, .. } = to;
            // An attempt that is over weighs on nobody's choice.
            drop(in_flight);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let asking = Asking { key, tried: &tried, ..Asking::default() };
            to = Chosen::of(&pool, &asking).ok_or(CallError::NoTarget)?;
        }
    }

    /// Waits until the credentials of a service can be shown.
    async fn ready(&self, service: &str, credentials: &Arc<Credentials>, about: &About, allowed: &Allowance) -> Result<Ready, CallError> {
        let ready = allowed.limit(credentials.ready(about)).await;
        if !matches!(ready, Some(Ok(_))) {
            self.shard.credentials_missing.with_label_values(&[service]).inc();
        }
        match ready {
            Some(ready) => ready.map_err(|_| CallError::Lacking),
            None => Err(CallError::Failed(Failure::Timeout, Stage::Connecting)),
        }
    }

    async fn attempt(&self, targets: &Targets, to: &Chosen, ready: Option<&Ready>, sent: &Sent<'_>) -> Result<Told, Failure> {
        let target = to.pool.targets().get(to.index).ok_or(Failure::Connect)?;
        let mut head = sent.head.clone();
        prepare(&mut head, targets, &target.authority, sent).map_err(|_| Failure::Malformed)?;
        if let Some(ready) = ready {
            ready.show(&mut head);
        }
        sent.allowed.progress.come_to(Stage::Connecting);
        let alike = targets.kept().unwrap_or(usize::MAX);
        let (mut lent, reused) = self.connections.take(target.peer(), alike).await.map_err(|error| {
            sent.allowed.note_refusal(&error);
            Failure::Connect
        })?;
        sent.allowed.progress.come_to(Stage::Waiting);
        let session = lent.session().ok_or(Failure::Connect)?;
        let told = talk(session, target.peer(), head, sent).await;
        lent.give_back();
        told.map_err(|Broken { error, begun }| Failure::of(&error, reused && !begun))
    }
}

impl Chosen {
    fn of(pool: &Arc<Pool>, asking: &Asking<'_>) -> Option<Self> {
        let Picked { index, in_flight, .. } = pool.pick(asking)?;
        Some(Self { pool: pool.clone(), index, in_flight, key: asking.key })
    }
}

fn malformed() -> CallError {
    CallError::Failed(Failure::Malformed, Stage::Connecting)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::ctx::testing;
    use crate::observe::Metrics;
    use crate::state::Shared;
    use crate::upstream::{Base, DnsConfig, Names, ServiceConfig};

    fn service(config: Value) -> Arc<Service> {
        let config: ServiceConfig<()> = serde_json::from_value(config).unwrap();
        let names = Arc::new(Names::new(&DnsConfig::default()));
        let base = Base { shared: &Shared::default(), folder: std::path::Path::new(""), names: &names };
        Arc::new(Service::build("a", &config, &base).unwrap())
    }

    async fn call(service: &Arc<Service>, most: usize) -> Result<Answer, CallError> {
        let client = Client::new(Metrics::new(1).unwrap().shards()[0].clone(), 8);
        let head = RequestHeader::build("GET", b"/", None).unwrap();
        let call = Client::begin(service, &head, &testing::ctx("/", &[])).unwrap();
        client.send(call, head, &[], most, Duration::from_secs(5)).await
    }

    #[test]
    fn an_attempt_is_small_enough_to_be_moved() {
        let service = service(json!({"targets": ["http://127.0.0.1:9"]}));
        let client = Client::new(Metrics::new(1).unwrap().shards()[0].clone(), 8);
        let head = RequestHeader::build("GET", b"/", None).unwrap();
        let call = Client::begin(&service, &head, &testing::ctx("/", &[])).unwrap();
        let allowed = Allowance::new(1, Duration::from_secs(1));
        let (Backend::Targets(targets), Some(to)) = (&service.backend, &call.to) else { panic!("it has targets") };
        let sent = Sent { head: &head, body: &[], haste: Haste::None, about: None, allowed: &allowed };
        let size = size_of_val(&client.attempt(targets, to, None, &sent));
        assert!(size < 2560, "an attempt is {size} bytes");
    }

    #[tokio::test]
    async fn an_answer_is_given_whole_or_not_at_all() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for mut stream in listener.incoming().take(2).map(Result::unwrap) {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone");
            }
        });
        let service = service(json!({"targets": [format!("http://{address}")]}));
        let answer = call(&service, 4).await.unwrap();
        assert_eq!((answer.head.status, &answer.body[..]), (StatusCode::NOT_FOUND, &b"gone"[..]));
        assert!(matches!(call(&service, 3).await, Err(CallError::TooLarge(StatusCode::NOT_FOUND))));
        server.join().unwrap();
    }

    #[tokio::test]
    async fn a_mock_is_called_as_any_service() {
        let answer = call(&service(json!({"mock": {"text": "hi"}})), 0).await.unwrap();
        assert_eq!((answer.head.status, &answer.body[..]), (StatusCode::OK, &b"hi"[..]));
    }

    #[tokio::test]
    async fn a_target_that_is_not_there_is_a_failure_that_the_breaker_minds() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let service = service(json!({"targets": [format!("http://{address}")], "breaker": {"failures": 1}}));
        assert!(matches!(call(&service, 0).await, Err(CallError::Failed(Failure::Connect, Stage::Connecting))));
        let head = RequestHeader::build("GET", b"/", None).unwrap();
        assert!(matches!(Client::begin(&service, &head, &testing::ctx("/", &[])), Err(CallError::LeftAlone(_))));
    }
}
