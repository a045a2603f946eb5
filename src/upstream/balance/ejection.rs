use std::sync::Arc;
use std::time;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::state::{Ejections, Load, Shared, millis};
use crate::types::{Duration, Percent};

/// `ejection:` of a service: a target that fails several times in a row gets no requests for a while.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EjectionConfig {
    /// How many requests in a row must fail: no connection, no answer in time, one that is malformed or breaks off, or one of `statuses`; at least 1.
    /// Default: 5.
    #[schemars(range(min = 1))]
    pub failures: u32,
    /// Answers that count as failures. Default: 502, 503 and 504.
    #[schemars(inner(range(min = 400, max = 599)))]
    pub statuses: Vec<u16>,
    /// How long the first ejection lasts; each further one twice as long, until the target has held as long as its last ejection lasted. At least
    /// 1ms. Default: 10s.
    pub r#for: Duration,
    /// The longest ejection; no less than `for`. Default: 5m.
    pub max_for: Duration,
    /// How much of a service's targets may be ejected at once, rounded down; so of one target none is. Default: 50%.
    pub max_ejected: Percent,
    /// While less of the targets with one priority is available, those of the next are used. Where none are left, all targets are, ejected or not: few
    /// would break down under the load of all. Default: 50%.
    pub min_available: Percent,
}

impl Default for EjectionConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            statuses: vec![502, 503, 504],
            r#for: Duration::secs(10),
            max_for: Duration::secs(300),
            max_ejected: Percent::new(50),
            min_available: Percent::new(50),
        }
    }
}

/// Who ejects the targets of a service.
#[derive(Debug)]
pub struct Ejection {
    failures: u32,
    statuses: Box<[StatusCode]>,
    least: u64,
    most: u64,
    /// How many may be ejected at once.
    room: usize,
    /// The share of a group that must be available.
    pub min_available: f64,
    ejections: Arc<Ejections>,
}

/// One target was ejected.
#[derive(Debug)]
pub struct Ejected {
    until: u64,
    ejections: Arc<Ejections>,
}

impl Ejected {
    /// How long it is.
    pub fn left(&self) -> time::Duration {
        time::Duration::from_millis(self.until.saturating_sub(millis()))
    }

    /// That time is over.
    pub fn end(self) {
        self.ejections.end(self.until);
    }
}

impl Ejection {
    /// For a service with so many targets that get requests.
    ///
    /// # Errors
    /// Settings that cannot be kept.
    pub fn build(config: &EjectionConfig, service: &str, targets: usize, shared: &Shared) -> Result<Self, BuildError> {
        if config.failures == 0 {
            return Err(BuildError::new("a target that never failed cannot be ejected for it", "write at least 1").at("failures"));
        }
        let status = |(index, status): (usize, &u16)| {
            let known = StatusCode::from_u16(*status).ok().filter(|status| status.is_client_error() || status.is_server_error());
            let wrong = || BuildError::new(format!("`{status}` is not the status of a failure"), "write one from 400 to 599");
            known.ok_or_else(|| wrong().at(index).at("statuses"))
        };
        let millis = |duration: Duration| u64::try_from(duration.0.as_millis()).unwrap_or(u64::MAX);
        let (least, most) = (millis(config.r#for), millis(config.max_for));
        if least == 0 {
            return Err(BuildError::new("an ejection must last", "write at least 1ms").at("for"));
        }
        if most < least {
            return Err(BuildError::new("the longest ejection is shorter than the first", "write no less than `for`").at("max_for"));
        }
        Ok(Self {
            failures: config.failures,
            statuses: config.statuses.iter().enumerate().map(status).collect::<Result<_, _>>()?,
            least,
            most,
            room: (targets as f64 * config.max_ejected.share()).floor() as usize,
            min_available: config.min_available.share(),
            ejections: shared.ejections.get(service),
        })
    }

    /// The time by which targets are ejected or not; none while nobody is, which costs no look at the clock.
    pub fn now(&self) -> Option<u64> {
        self.ejections.are_there().then(millis)
    }

    /// Whether this answer of a target is a failure.
    pub fn fails(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status)
    }

    /// Takes note of how a request ended, and ejects the target where it was one too many.
    pub fn note(&self, load: &Load, all: &[Arc<Load>], failed: bool) -> Option<Ejected> {
        if !failed {
            load.succeed();
            return None;
        }
        // Requests that were under way at an ejection are part of its reason, and must not be held against the target when it is back.
        if load.is_ejected(millis()) || load.fail() < self.failures {
            return None;
        }
        let until = self.ejections.decide(|| {
            let now = millis();
            let ejected = all.iter().filter(|load| load.is_ejected(now)).count();
            (!load.is_ejected(now) && ejected < self.room).then(|| load.eject(now, self.least, self.most))
        });
        until.map(|until| Ejected { until, ejections: self.ejections.clone() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Asking, Balance, BalanceConfig, Weighed};
    use super::*;

    /// Targets by their priorities.
    fn balance(config: Value, priorities: &[u8], shared: &Shared) -> Balance {
        let urls: Vec<_> = (0..priorities.len()).map(|index| format!("http://10.0.0.{index}")).collect();
        let targets: Vec<_> = urls.iter().zip(priorities).map(|(url, priority)| Weighed { url, weight: 1, priority: *priority }).collect();
        let ejection = Ejection::build(&serde_json::from_value(config.clone()).unwrap(), "users", targets.len(), shared).unwrap();
        Balance::build(&BalanceConfig::LeastRequests, Some(ejection), "users", &targets, shared).unwrap()
    }

    fn fail(balance: &Balance, index: usize, times: usize) -> bool {
        (0..times).filter(|_| balance.note(index, true).is_some()).count() > 0
    }

    /// All that are picked.
    fn picked(balance: &Balance) -> Vec<usize> {
        let mut picked: Vec<_> = (0..200).filter_map(|_| balance.pick(&Asking::default())).collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    }

    #[test]
    fn a_target_that_fails_in_a_row_is_left_alone() {
        let balance = balance(json!({"failures": 3}), &[0, 0], &Shared::default());
        assert!(!fail(&balance, 0, 2));
        assert!(balance.note(0, false).is_none());
        assert!(!fail(&balance, 0, 2), "not in a row");
        assert_eq!(picked(&balance), [0, 1]);
        assert!(fail(&balance, 0, 1));
        assert_eq!(picked(&balance), [1]);
        assert_eq!(balance.pick(&Asking { tried: &[1], ..Asking::default() }), Some(0), "better than the one that was tried");
    }

    #[test]
    fn an_ejection_ends() {
        let balance = balance(json!({"failures": 1, "for": "1ms"}), &[0, 0], &Shared::default());
        let ejected = balance.note(0, true).unwrap();
        while !ejected.left().is_zero() {
            std::thread::yield_now();
        }
        assert_eq!(picked(&balance), [0, 1]);
        ejected.end();
        assert_eq!(picked(&balance), [0, 1]);
    }

    #[test]
    fn no_more_are_ejected_than_may_be() {
        let balance = balance(json!({"failures": 1, "max_ejected": "50%"}), &[0; 5], &Shared::default());
        assert_eq!((0..5).filter(|index| fail(&balance, *index, 10)).count(), 2);
        assert_eq!(picked(&balance), [2, 3, 4]);
    }

    #[test]
    fn the_next_priority_takes_over_while_too_few_are_available() {
        let balance = balance(json!({"failures": 1, "max_ejected": "80%", "min_available": "50%"}), &[0, 0, 0, 1, 1], &Shared::default());
        fail(&balance, 0, 1);
        assert_eq!(picked(&balance), [1, 2]);
        fail(&balance, 1, 1);
        assert_eq!(picked(&balance), [3, 4]);
        fail(&balance, 3, 1);
        assert_eq!(picked(&balance), [4]);
        fail(&balance, 4, 1);
        assert_eq!(picked(&balance), [0, 1, 2], "too few are left anywhere: all of the first are used");
    }

    #[test]
    fn an_ejection_outlives_a_reload() {
        let shared = Shared::default();
        let before = balance(json!({"failures": 1}), &[0, 0], &shared);
        fail(&before, 1, 1);
        let after = balance(json!({"failures": 9}), &[0, 0], &shared);
        drop(before);
        assert_eq!(picked(&after), [0]);
    }

    #[test]
    fn settings_that_cannot_be_kept_are_refused_with_their_place() {
        for (config, place) in [
            (json!({"failures": 0}), "failures"),
            (json!({"statuses": [503, 200]}), "statuses[1]"),
            (json!({"for": "0s"}), "for"),
            (json!({"for": "10m"}), "max_for"),
        ] {
            let error = Ejection::build(&serde_json::from_value(config.clone()).unwrap(), "users", 2, &Shared::default()).unwrap_err();
            assert_eq!(error.path.to_string().trim_start_matches('.'), place, "{config}");
        }
    }
}
