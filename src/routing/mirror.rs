//! Copies of requests for another service, whose answers nobody reads.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::building::BuildError;
use crate::state::{Room, Shared};
use crate::types::{Percent, Size};
use crate::upstream::{RetryMethods, Service};

/// `mirror:` of a route — copies of what goes to its service are sent to another, whose answers are thrown away: to see how a new version bears real
/// requests. The original neither waits for its copy nor learns what became of it. A copy has the same path, headers and body, and says by the header
/// `Tidegate-Mirror`, with the route's name, that it is one; what has that header already is not copied again. Balance, retries,
/// breaker, ejection and timeouts are those of its service, whose policies do not run; nobody waits for a `fallback`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MirrorConfig {
    /// The service that gets the copies.
    pub to: String,
    /// How many of the requests are copied, drawn by lot. Default: 100%.
    #[serde(default = "all")]
    pub share: Percent,
    /// Which requests are copied: `safe` (GET, HEAD, OPTIONS, TRACE), `idempotent` (PUT and DELETE too), `any`, or a list of methods. A copy of an order is
    /// a second order where both services write to the same place. Default: safe.
    #[serde(default)]
    pub methods: RetryMethods,
    /// Requests with a larger body are not copied. Default: 64KiB.
    #[serde(default = "body")]
    pub body: Size,
    /// How many copies may be under way at once, over all workers, those included whose body is still coming; the others are left out. At least 1.
    /// Default: 100.
    #[serde(default = "in_flight")]
    #[schemars(range(min = 1))]
    pub in_flight: u32,
}

fn all() -> Percent {
    Percent::new(100)
}

fn body() -> Size {
    Size::kib(64)
}

fn in_flight() -> u32 {
    100
}

/// The header of a copy.
pub const MARK: HeaderName = HeaderName::from_static("tidegate-mirror");

/// Who copies, ready to run.
#[derive(Debug)]
pub struct Mirror {
    /// Who gets the copies.
    pub service: Arc<Service>,
    /// The value of their header.
    pub mark: HeaderValue,
    /// Bytes of a body at most.
    pub body: u64,
    share: f64,
    methods: RetryMethods,
    most: usize,
    room: Arc<Room>,
}

impl Mirror {
    /// For the route of this name.
    ///
    /// # Errors
    /// No copy could ever be under way.
    pub fn build(config: &MirrorConfig, route: &str, service: Arc<Service>, shared: &Shared) -> Result<Self, BuildError> {
        if config.in_flight == 0 {
            return Err(BuildError::new("no copy could be under way", "write at least 1, or remove `mirror`").at("in_flight"));
        }
        let mark = HeaderValue::from_bytes(route.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static("mirror"));
        Ok(Self {
            service,
            mark,
            body: config.body.0,
            share: config.share.share(),
            methods: config.methods.clone(),
            most: usize::try_from(config.in_flight).unwrap_or(usize::MAX),
            // What is under way at a reload is under way after it.
            room: shared.mirrors.get(route),
        })
    }

    /// Whether a request is one of those to copy.
    pub fn wants(&self, method: &Method) -> bool {
        let share = self.share(method);
        share >= 1.0 || (share > 0.0 && rand::random::<f64>() < share)
    }

    /// Room for one more copy, until it is dropped.
    pub fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.room.enter(self.most)
    }

    /// How many of the requests with this method it copies, of 1.
    pub fn share(&self, method: &Method) -> f64 {
        if self.methods.has(method) { self.share } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::upstream::{Base, DnsConfig, Names, ServiceConfig};

    fn mirror(config: serde_json::Value) -> Mirror {
        within(config, &Shared::default())
    }

    fn within(config: serde_json::Value, shared: &Shared) -> Mirror {
        let service: ServiceConfig<()> = serde_json::from_value(json!({"mock": {}})).unwrap();
        let names = Arc::new(Names::new(&DnsConfig::default()));
        let base = Base { shared, folder: std::path::Path::new(""), names: &names };
        let service = Service::build("next", &service, &base).unwrap();
        Mirror::build(&serde_json::from_value(config).unwrap(), "a", Arc::new(service), shared).unwrap()
    }

    #[test]
    fn a_share_of_the_requests_with_the_right_methods_is_wanted() {
        let mirror = mirror(json!({"to": "next", "share": "10%", "methods": ["POST"]}));
        let wanted = (0..100_000).filter(|_| mirror.wants(&Method::POST)).count();
        assert!((9_500..10_500).contains(&wanted), "{wanted}");
        assert!(!(0..1_000).any(|_| mirror.wants(&Method::GET)));
    }

    #[test]
    fn without_settings_every_safe_request_is_wanted() {
        let mirror = mirror(json!({"to": "next"}));
        assert!(mirror.wants(&Method::GET) && !mirror.wants(&Method::POST));
    }

    #[test]
    fn there_is_room_for_so_many_copies_at_once() {
        let mirror = mirror(json!({"to": "next", "in_flight": 2}));
        let (one, two) = (mirror.enter(), mirror.enter());
        assert!(one.is_some() && two.is_some() && mirror.enter().is_none());
        drop(one);
        assert!(mirror.enter().is_some());
    }

    #[test]
    fn copies_under_way_at_a_reload_count_after_it() {
        let shared = Shared::default();
        let before = within(json!({"to": "next", "in_flight": 2}), &shared);
        let held = [before.enter(), before.enter()];
        let after = within(json!({"to": "next", "in_flight": 2}), &shared);
        drop(before);
        assert!(after.enter().is_none());
        drop(held);
        assert!(after.enter().is_some());
    }
}
