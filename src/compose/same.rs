//! Identical calls inside one answer are made once: who asks for what is asked for already waits for the same, and who comes later finds it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use http::{HeaderName, header};
use pingora_http::RequestHeader;

use super::ask::Request;
use crate::upstream::{Allowance, Answer, Backend, Budget, Call, CallError, Client, Failure, Service, within};

/// What a part allows a call.
#[derive(Clone, Copy)]
pub(super) struct Allowed {
    pub within: Duration,
    /// Bytes of its answer's body.
    pub most: usize,
}

/// The calls of one answer that may be made again.
pub(super) struct Calls {
    known: HashMap<Key, Known, RandomState>,
    /// Bytes that the answers of all calls may have together.
    pub budget: Arc<Budget>,
}

/// What makes calls the same: service, method, target and headers, but for what hops write and what says how much time is left.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(pub Box<[u8]>);

type Ended = Result<Arc<Answer>, CallError>;
type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// A call that was begun.
struct Known {
    /// The part that began it.
    part: usize,
    allowed: Arc<Allowance>,
    /// Until when its service believes that it has time, where it is told.
    told: Option<Instant>,
    /// Ends with the last that waits for it.
    running: WeakShared<Running>,
    /// What it has brought. One that failed is made again.
    answer: Arc<OnceLock<Arc<Answer>>>,
}

/// One part's share in a call.
pub(super) struct Joined {
    call: Shared<Running>,
    allowed: Arc<Allowance>,
    /// Bytes of the answer's body that this part takes.
    most: usize,
    ends: Instant,
}

impl Key {
    /// Of a call to this service.
    pub fn of(service: &Service, head: &RequestHeader) -> Self {
        let own = deadline(service);
        let mut headers: Vec<_> = head.headers.iter().filter(|(name, _)| **name != header::VIA && Some(*name) != own).collect();
        // Several of one name keep their order.
        headers.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let target = head.raw_path();
        let mut key = Vec::with_capacity(service.name.len() + target.len() + 64 * headers.len());
        // It has a fixed length, and no text can have a zero byte inside.
        key.extend_from_slice(&service.source.to_be_bytes());
        for text in [service.name.as_bytes(), head.method.as_str().as_bytes(), target] {
            key.extend_from_slice(text);
            key.push(0);
        }
        for (name, value) in headers {
            key.extend_from_slice(name.as_str().as_bytes());
            key.push(0);
            key.extend_from_slice(value.as_bytes());
            key.push(0);
        }
        Self(key.into())
    }
}

/// The header that tells a service how much time it has.
pub(super) fn deadline(service: &Service) -> Option<&HeaderName> {
    if let Backend::Targets(targets) = &service.backend { targets.deadline_header.as_ref() } else { None }
}

impl Calls {
    /// None yet.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { known: HashMap::default(), budget }
    }

    /// Forgets the answers of a part that has what it needs of them.
    pub fn forget(&mut self, part: usize) {
        self.known.retain(|_, known| known.part != part);
    }

    /// The answer of a call that was made, or a share in one that is under way, which may take as much and as long as the part wants.
    pub fn join(&self, key: &Key, allowed: Allowed) -> Option<Joined> {
        let Allowed { within, most } = allowed;
        let Known { allowed, told, running, answer, .. } = self.known.get(key)?;
        let ends = Instant::now() + within;
        // It would give up before this part does.
        let is_short = told.is_some_and(|told| ends.saturating_duration_since(told) > within / 10);
        let call = match (answer.get(), running.upgrade()) {
            (Some(answer), _) => (Box::pin(std::future::ready(Ok(answer.clone()))) as Running).shared(),
            // One that has failed a moment ago was not for this part.
            (None, Some(call)) if call.peek().is_none() && !is_short => call,
            _ => return None,
        };
        allowed.widen(most, within);
        Some(Joined { call, allowed: allowed.clone(), most, ends })
    }

    /// Makes a call that others may join.
    pub fn begin(&mut self, part: usize, key: Key, client: Arc<Client>, call: Call, request: Request, allowed: Allowed) -> Joined {
        let Allowed { within, most } = allowed;
        let allowed = Arc::new(Allowance::new(most, within).shared().of(self.budget.clone()));
        let (ends, answer) = (Instant::now() + within, Arc::new(OnceLock::new()));
        let told = deadline(call.service()).map(|_| ends);
        let (given, kept) = (allowed.clone(), answer.clone());
        let running = async move {
            let Request { head, body } = request;
            let ended = client.send_allowed(call, head, &body, &given).await.map(Arc::new)?;
            // An error may be as long as an answer, and nobody counts it.
            if ended.head.status.is_success() {
                let _ = kept.set(ended.clone());
            }
            Ok(ended)
        };
        let call = (Box::pin(running) as Running).shared();
        if let Some(running) = call.downgrade() {
            self.known.insert(key, Known { part, allowed: allowed.clone(), told, running, answer });
        }
        Joined { call, allowed, most, ends }
    }
}

/// A call that is as late as the part that waits for it ends by itself, and says how far it had come.
const GRACE: Duration = Duration::from_millis(5);

impl Joined {
    /// Waits for the answer, for as long as the part has.
    ///
    /// # Errors
    /// There is none, or it is larger than the part takes.
    pub async fn answer(self) -> Result<Answer, CallError> {
        let Self { mut call, allowed, most, ends } = self;
        let left = ends.saturating_duration_since(Instant::now());
        let ended = match within(left, &mut call).await {
            None if allowed.left() < GRACE => within(GRACE, &mut call).await,
            ended => ended,
        };
        let answer = ended.unwrap_or_else(|| Err(CallError::Failed(Failure::Timeout, allowed.stage())))?;
        if answer.body.len() > most {
            return Err(CallError::TooLarge(answer.head.status));
        }
        Ok(Answer::clone(&answer))
    }
}
