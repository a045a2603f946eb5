//! Bounds how often each caller may call: an exact token bucket for each consumer, address, header value, or for all together.
//!
//! ```yaml
//! policies:
//!   - rate_limit: { requests: 100, per: 1m }                                   # each consumer, else each address
//!   - rate_limit: { requests: 10, per: 1s, burst: 20, by: client_ip, name: burst }
//!   - rate_limit: { requests: 5000, per: 1h, by: { header: X-Tenant }, name: tenant }
//! ```
//!
//! A bucket holds `burst` requests and fills evenly, `requests` in `per`; so nobody waits for the end of a window, and none can be emptied twice around
//! it. A request over the limit gets 429 with `Retry-After` and takes nothing from this bucket, but has taken from those of limits above this one: put
//! the narrower first. An entry in the document's or a service's list counts all its routes together. A consumer may have a limit of its own under the
//! name of this one: `consumers: [{ name: partner, limits: { default: { requests: 1000, per: 1m } } }]`.
//!
//! Every answer, the 429 too, says how the caller stands (draft-ietf-httpapi-ratelimit-headers): `RateLimit: "default";r=99;t=1` and
//! `RateLimit-Policy: "default";q=100;w=60`, with one item for each limit that was asked. `t` is the time until the next request is added. Such fields
//! from the service are replaced: the limit of the gateway is the one that its clients meet.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use http::header::InvalidHeaderValue;
use http::{HeaderName, HeaderValue, header};
use pingora_http::{RequestHeader, ResponseHeader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::building::BuildError;
use crate::ctx::{Ctx, LimitState};
use crate::policy::transform::{header_name, set_response};
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::{Kind, Problem};
use crate::state::{Buckets, Limit};
use crate::types::{Duration, Rate};

/// The settings of `rate_limit`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many requests each bucket gets back in the time of `per`; at least 1.
    #[schemars(range(min = 1))]
    pub requests: u64,
    /// That time, in whole seconds: `1s`, `1m`, `1h`.
    pub per: Duration,
    /// Who shares a bucket. Default: `consumer`.
    #[serde(default)]
    pub by: By,
    /// How many requests a full bucket holds: those that may come at once after a pause; at least 1. Default: the number of `requests`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub burst: Option<u64>,
    /// What clients know the limit by, in the `RateLimit` headers and in the problem: 1 to 64 visible ASCII characters. Default: `default`.
    #[serde(default = "default_name")]
    pub name: String,
    /// Whether answers carry `RateLimit` and `RateLimit-Policy`. Default: true.
    #[serde(default = "yes")]
    pub headers: bool,
}

/// Who shares a bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Each identified consumer has its own; callers without one are counted by `client_ip`. Needs authentication above.
    #[default]
    Consumer,
    /// Each client address has its own; IPv6 clients by their /64 network, since one client has all of it.
    ClientIp,
    /// All requests that come by this entry share one.
    Route,
    /// Each value of that request header has its own; requests without it share one. Whoever chooses the value freely chooses the bucket, so use a
    /// header that something in front of the gateway vouches for, or a limit by `client_ip` beside this one.
    Header(String),
}

fn default_name() -> String {
    "default".to_owned()
}

fn yes() -> bool {
    true
}

/// `rate_limit`, ready to run.
#[derive(Debug)]
pub struct RateLimit {
    by: Partition,
    limit: Limit,
    buckets: Arc<Buckets>,
    slot: usize,
    name: Box<str>,
    fields: Option<Fields>,
}

#[derive(Debug)]
enum Partition {
    Consumer,
    Ip,
    Route,
    Header(HeaderName),
}

/// What of the two fields does not change.
#[derive(Debug)]
struct Fields {
    /// The whole item of `RateLimit-Policy`.
    policy: HeaderValue,
    /// The item of `RateLimit` up to the number of requests left.
    state: Box<str>,
}

impl Policy for RateLimit {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::RESPONSE);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        let by = match &config.by {
            By::Consumer => Partition::Consumer,
            By::ClientIp => Partition::Ip,
            By::Route => Partition::Route,
            By::Header(name) => Partition::Header(header_name(name).map_err(|error| error.at("header").at("by"))?),
        };
        let name = &config.name;
        let rate = Rate { requests: config.requests, per: config.per, burst: config.burst };
        // RFC 9651 §3.3.3: what would need a backslash is not worth it.
        let fit = (1..=64).contains(&name.len()) && name.bytes().all(|c| c.is_ascii_graphic() && !b"\"\\".contains(&c));
        let policy = policy(name, &rate).ok().filter(|_| fit);
        let wrong = || BuildError::new(format!("`{name}` cannot be the name of a limit"), "use 1 to 64 letters, digits and `-`").at("name");
        let policy = policy.ok_or_else(wrong)?;
        rate.check()?;
        Ok(Self {
            by,
            limit: limit(&rate),
            buckets: cx.shared.buckets.get(&cx.key),
            slot: cx.slot,
            name: name.as_str().into(),
            fields: config.headers.then(|| Fields { policy, state: format!("\"{name}\";r=").into() }),
        })
    }

    async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        let own = self.own(cx);
        let limit = own.as_ref().map_or(self.limit, limit);
        let decision = self.buckets.take(&self.key(req, cx), limit);
        let reset = decision.next.as_secs() + u64::from(decision.next.subsec_nanos() > 0);
        if self.fields.is_some() {
            cx.limits.push(LimitState { slot: self.slot, remaining: decision.remaining, reset, own });
        }
        if decision.allowed {
            return Ok(Flow::Next);
        }
        let problem = Problem::new(Kind::QuotaExceeded, "too many requests: wait for as many seconds as Retry-After says")
            .header(header::RETRY_AFTER, reset.max(1).into())
            .member("violated-policies", vec![&*self.name]);
        Err(problem)
    }

    fn response(&self, res: &mut ResponseHeader, _req: &RequestHeader, cx: &mut Ctx) {
        let Some(fields) = &self.fields else { return };
        let Some((place, state)) = cx.limits.iter().enumerate().find(|(_, state)| state.slot == self.slot) else { return };
        // The way up meets the last of the limits first: it replaces what the service wrote, and each one above puts its item in front.
        let last = place + 1 == cx.limits.len();
        let mut item = SmallVec::<[u8; 128]>::from_slice(fields.state.as_bytes());
        item.extend_from_slice(itoa::Buffer::new().format(state.remaining).as_bytes());
        item.extend_from_slice(b";t=");
        item.extend_from_slice(itoa::Buffer::new().format(state.reset).as_bytes());
        let policy = state.own.and_then(|own| policy(&self.name, &own).ok()).unwrap_or_else(|| fields.policy.clone());
        if last {
            set_response(res, "RateLimit-Policy", policy);
            put(res, "RateLimit", &item);
        } else {
            prepend(res, "RateLimit-Policy", policy.as_bytes());
            prepend(res, "RateLimit", &item);
        }
    }
}

/// What is counted together, in few bytes: the first says what the others are, so that no consumer can be named as an address.
type Key = SmallVec<[u8; 64]>;

impl RateLimit {
    /// The limit that the consumer has in the place of this one.
    fn own(&self, cx: &Ctx) -> Option<Rate> {
        let consumer = cx.consumer.as_ref().filter(|_| matches!(self.by, Partition::Consumer))?;
        consumer.limits.get(&*self.name).copied()
    }

    fn key(&self, req: &RequestHeader, cx: &Ctx) -> Key {
        match &self.by {
            Partition::Consumer => match &cx.consumer {
                Some(consumer) => named(b'c', consumer.name.as_bytes()),
                None => address(cx.client),
            },
            Partition::Ip => address(cx.client),
            Partition::Route => named(b'r', b""),
            Partition::Header(name) => match req.headers.get(name) {
                Some(value) => named(b'h', value.as_bytes()),
                None => named(b'-', b""),
            },
        }
    }
}

fn address(client: IpAddr) -> Key {
    match client.to_canonical() {
        IpAddr::V4(address) => named(b'4', &address.octets()),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            let network = Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).octets();
            named(b'6', network.get(..8).unwrap_or(&network))
        }
    }
}

/// A long name counts by its SHA-256, so that clients cannot fill the memory with long values.
fn named(sort: u8, name: &[u8]) -> Key {
    let mut key = Key::new();
    if name.len() < 64 {
        key.push(sort);
        key.extend_from_slice(name);
    } else {
        key.push(sort.to_ascii_uppercase());
        key.extend_from_slice(ring::digest::digest(&ring::digest::SHA256, name).as_ref());
    }
    key
}

/// The same as buckets know it.
fn limit(rate: &Rate) -> Limit {
    Limit::new(rate.requests, rate.per.0, rate.most())
}

/// The item of `RateLimit-Policy`.
fn policy(name: &str, rate: &Rate) -> Result<HeaderValue, InvalidHeaderValue> {
    HeaderValue::try_from(format!("\"{name}\";q={};w={}", rate.requests, rate.per.0.as_secs()))
}

/// Writes an item in front of those that are there.
fn prepend(res: &mut ResponseHeader, name: &'static str, item: &[u8]) {
    let mut list = SmallVec::<[u8; 256]>::from_slice(item);
    if let Some(rest) = res.headers.get(name) {
        list.extend_from_slice(b", ");
        list.extend_from_slice(rest.as_bytes());
    }
    put(res, name, &list);
}

fn put(res: &mut ResponseHeader, name: &'static str, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        set_response(res, name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::Consumer;
    use crate::policy::kit::{Kit, build};
    use crate::state::Shared;

    const ONE: &str = r#"{"requests":1,"per":"1m"}"#;

    async fn allowed(kit: &mut Kit<RateLimit>) -> bool {
        kit.request().await.is_ok()
    }

    #[tokio::test]
    async fn a_request_over_the_limit_is_told_when_to_come_again() {
        let mut kit = Kit::<RateLimit>::of(r#"{"requests":1,"per":"90s","name":"daily"}"#);
        kit.request().await.unwrap();
        let problem = kit.request().await.unwrap_err();
        assert_eq!(problem.kind, Kind::QuotaExceeded);
        assert_eq!(problem.headers, [(header::RETRY_AFTER, HeaderValue::from_static("90"))]);
        assert_eq!(problem.members, [("violated-policies", serde_json::json!(["daily"]))]);
        kit.cx.limits.remove(0);
        assert_eq!(kit.response(429).headers["ratelimit"], r#""daily";r=0;t=90"#);
    }

    #[tokio::test]
    async fn every_answer_says_how_the_caller_stands() {
        let mut kit = Kit::<RateLimit>::of(r#"{"requests":100,"per":"1m","burst":20}"#);
        kit.request().await.unwrap();
        let res = kit.response(200);
        assert_eq!(res.headers["ratelimit-policy"], r#""default";q=100;w=60"#);
        assert_eq!(res.headers["ratelimit"], r#""default";r=19;t=1"#);
        let mut kit = Kit::<RateLimit>::of(r#"{"requests":100,"per":"1m","headers":false}"#);
        kit.request().await.unwrap();
        assert!(kit.response(200).headers.is_empty());
    }

    #[tokio::test]
    async fn several_limits_stand_in_one_list_in_their_order_in_place_of_the_services() {
        let mut first = Kit::<RateLimit>::of(r#"{"requests":5,"per":"1s","name":"burst"}"#);
        let mut second = build::<RateLimit>(r#"{"requests":100,"per":"1h","name":"hourly"}"#, "[]", &Shared::default()).unwrap();
        second.slot = 1;
        first.request().await.unwrap();
        second.request(&mut first.req, &mut first.cx).await.unwrap();
        let mut res = ResponseHeader::build(200, None).unwrap();
        res.append_header("RateLimit", "\"upstream\";r=1").unwrap();
        second.response(&mut res, &first.req, &mut first.cx);
        first.policy.response(&mut res, &first.req, &mut first.cx);
        assert_eq!(res.headers.get_all("ratelimit").iter().collect::<Vec<_>>(), [r#""burst";r=4;t=1, "hourly";r=99;t=36"#]);
        assert_eq!(res.headers["ratelimit-policy"], r#""burst";q=5;w=1, "hourly";q=100;w=3600"#);
    }

    #[tokio::test]
    async fn each_consumer_has_its_bucket_and_others_count_by_address() {
        let mut kit = Kit::<RateLimit>::of(ONE);
        for name in ["a", "b", &"long".repeat(100), &"longer".repeat(100)] {
            kit.cx.consumer = Some(Arc::new(Consumer { name: name.to_owned(), ..Consumer::default() }));
            assert_eq!((allowed(&mut kit).await, allowed(&mut kit).await), (true, false), "{name}");
        }
        kit.cx.consumer = None;
        assert_eq!((allowed(&mut kit).await, allowed(&mut kit).await), (true, false));
    }

    #[tokio::test]
    async fn a_consumer_with_a_limit_of_its_own_is_held_to_that() {
        let own = |name: &str| {
            let rate = Rate { requests: 2, per: Duration::secs(3600), burst: None };
            Some(Arc::new(Consumer { name: "vip".to_owned(), limits: [(name.to_owned(), rate)].into(), ..Consumer::default() }))
        };
        let mut kit = Kit::<RateLimit>::of(ONE);
        kit.cx.consumer = own("default");
        assert_eq!((allowed(&mut kit).await, allowed(&mut kit).await, allowed(&mut kit).await), (true, true, false));
        kit.cx.limits.truncate(1);
        let res = kit.response(200);
        assert_eq!(
            (&res.headers["ratelimit-policy"], &res.headers["ratelimit"]),
            (&r#""default";q=2;w=3600"#.parse().unwrap(), &r#""default";r=1;t=1800"#.parse().unwrap())
        );
        for config in [r#"{"requests":1,"per":"1m","name":"other"}"#, r#"{"requests":1,"per":"1m","by":"client_ip"}"#] {
            let mut kit = Kit::<RateLimit>::of(config);
            kit.cx.consumer = own("default");
            assert_eq!((allowed(&mut kit).await, allowed(&mut kit).await), (true, false), "{config}");
        }
    }

    #[tokio::test]
    async fn an_ipv6_client_is_its_network_and_a_mapped_one_is_ipv4() {
        let mut kit = Kit::<RateLimit>::of(r#"{"requests":1,"per":"1m","by":"client_ip"}"#);
        for (client, new) in
            [("2001:db8::1", true), ("2001:db8::ffff:2", false), ("2001:db8:0:1::1", true), ("::ffff:10.0.0.1", true), ("10.0.0.1", false)]
        {
            kit.cx.client = client.parse().unwrap();
            assert_eq!(allowed(&mut kit).await, new, "{client}");
        }
    }

    #[tokio::test]
    async fn requests_without_the_header_share_one_bucket() {
        let mut kit = Kit::<RateLimit>::of(r#"{"requests":1,"per":"1m","by":{"header":"X-Tenant"}}"#);
        assert_eq!((allowed(&mut kit).await, allowed(&mut kit).await), (true, false));
        kit = kit.header("X-Tenant", "acme");
        assert_eq!((allowed(&mut kit).await, allowed(&mut kit).await), (true, false));
    }

    #[test]
    fn the_settings_read_as_yaml() {
        for (by, expected) in [("client_ip", By::ClientIp), ("{ header: X-Tenant }", By::Header("X-Tenant".to_owned()))] {
            let config: Config = crate::policy::kit::yaml(&format!("{{ requests: 1, per: 1m, by: {by} }}")).unwrap();
            assert_eq!(config.by, expected);
        }
    }

    #[test]
    fn limits_that_cannot_work_are_refused() {
        for (config, place) in [
            (r#"{"requests":0,"per":"1m"}"#, "requests"),
            (r#"{"requests":1,"per":"1500ms"}"#, "per"),
            (r#"{"requests":1,"per":"1m","burst":0}"#, "burst"),
            (r#"{"requests":2000000000,"per":"1s"}"#, "requests"),
            (r#"{"requests":1,"per":"1day","burst":1000}"#, "burst"),
            (r#"{"requests":1,"per":"1m","name":"a\"b"}"#, "name"),
            (r#"{"requests":1,"per":"1m","by":{"header":"X Y"}}"#, "by.header"),
        ] {
            assert_eq!(build::<RateLimit>(config, "[]", &Shared::default()).unwrap_err().path.to_string(), place, "{config}");
        }
    }
}
