use std::time::{Duration, SystemTime};

use pingora_core::upstreams::peer::Peer;
use serde::Serialize;

use super::balance::Stand;
use super::credentials::GrantStatus;
use super::{Target, Targets};
use crate::state::{Load, millis};

/// How a service stands, for operators to read.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ServiceStatus {
    /// It answers by itself.
    #[serde(serialize_with = "mock")]
    Mock,
    /// It asks targets.
    Targets {
        /// How many of them are available.
        available: String,
        /// Its breaker; none where it has none.
        #[serde(skip_serializing_if = "Option::is_none")]
        breaker: Option<BreakerStatus>,
        /// The token that the gateway shows to them; none where there is none to fetch.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<Box<GrantStatus>>,
        /// Each of them.
        targets: Vec<TargetStatus>,
    },
}

fn mock<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map([("mock", true)])
}

/// How a breaker stands.
#[derive(Debug, Serialize)]
pub struct BreakerStatus {
    /// `closed`, `open`, or `tried` while requests find out how the service is.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

/// How a target stands.
#[derive(Debug, Serialize)]
pub struct TargetStatus {
    target: String,
    address: String,
    /// `healthy`, `slow_start`, `unhealthy` for its checks, `ejected` for its failures, or `tried` after that.
    state: &'static str,
    since: String,
    /// Which part of its share it gets, in slow start.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ejected_until: Option<String>,
    weight: u32,
    priority: u8,
    in_flight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_check: Option<CheckStatus>,
}

/// How a check ended.
#[derive(Debug, Serialize)]
pub struct CheckStatus {
    at: String,
    /// `passed`, or why it failed.
    result: String,
}

impl ServiceStatus {
    pub(super) fn of(targets: &Targets) -> Self {
        let (now, clock) = (millis(), SystemTime::now());
        let breaker = targets.breaker.as_ref().map(|breaker| match breaker.left() {
            None => BreakerStatus { state: "closed", until: None },
            Some(Duration::ZERO) => BreakerStatus { state: "tried", until: None },
            Some(left) => BreakerStatus { state: "open", until: Some(told(clock + left)) },
        });
        let pool = targets.pool();
        let (mut available, mut all) = (0, Vec::new());
        for (target, load, stand) in pool.stands(now) {
            available += usize::from(stand.is_available() && target.weight > 0);
            all.push(TargetStatus::of(target, load, stand, (now, clock)));
        }
        Self::Targets {
            available: format!("{available} of {}", all.len()),
            breaker,
            token: targets.grant().map(|grant| Box::new(grant.status())),
            targets: all,
        }
    }
}

impl TargetStatus {
    fn of(target: &Target, load: &Load, stand: Stand, (now, clock): (u64, SystemTime)) -> Self {
        let until = load.until().filter(|until| *until > now);
        let state = match stand {
            Stand::Full => "healthy",
            Stand::Part(_) => "slow_start",
            Stand::Away if load.checks.is_ill() => "unhealthy",
            Stand::Away if until.is_some() => "ejected",
            Stand::Away | Stand::Trial => "tried",
        };
        Self {
            target: target.name().to_owned(),
            address: target.peer().address().to_string(),
            state,
            since: told(clock - Duration::from_millis(now.saturating_sub(load.since()))),
            share: match stand {
                Stand::Part(share) => Some(format!("{:.0}%", share * 100.0)),
                _ => None,
            },
            ejected_until: until.filter(|_| state == "ejected").map(|until| told(clock + Duration::from_millis(until - now))),
            weight: target.weight,
            priority: target.priority,
            in_flight: load.in_flight(),
            last_check: load
                .checks
                .last()
                .map(|last| CheckStatus { at: told(last.at), result: last.failure.unwrap_or_else(|| "passed".to_owned()) }),
        }
    }
}

fn told(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
