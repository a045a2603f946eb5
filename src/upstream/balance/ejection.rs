use std::sync::Arc;
use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::attempt::{Failure, FailureConfig, Measure, jitter, none_counts};
use crate::building::BuildError;
use crate::state::{Changes, Load, Shared, millis};
use crate::types::{Duration, Percent};

/// `ejection:` of a service: a target that fails too often gets no requests for a while. Then one at a time tries how it is, until one goes well.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EjectionConfig {
    /// How many requests in a row must fail; at least 1. Default: 5.
    #[schemars(range(min = 1))]
    pub failures: u32,
    /// Which share of the requests in `window` must fail instead; above 0%. Default: 50%.
    pub error_rate: Percent,
    /// The time over which that share is taken: 100ms to 5m. Default: 10s.
    pub window: Duration,
    /// How many requests there must be in `window` for a share to mean anything; at least 1. Default: 20.
    #[schemars(range(min = 1))]
    pub min_requests: u32,
    /// What counts as a failure: `connect`, `reset`, `malformed`, `timeout`, `5xx`, statuses, and those of gRPC like `grpc_internal`. Default: all of the
    /// first four, 502, 503, 504 and grpc_unavailable.
    pub on: Vec<FailureConfig>,
    /// How long the first ejection lasts, give or take a tenth; each further one twice as long, until the target has held as long as its last ejection
    /// lasted. At least 1ms. Default: 10s.
    pub r#for: Duration,
    /// The longest ejection; no less than `for`. Default: 5m.
    pub max_for: Duration,
    /// How much of a service's targets may be ejected at once, above 0%, rounded down; so of one target none is. Default: 50%.
    pub max_ejected: Percent,
}

impl Default for EjectionConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            error_rate: Percent::new(50),
            window: Duration::secs(10),
            min_requests: 20,
            on: FailureConfig::ill(),
            r#for: Duration::secs(10),
            max_for: Duration::secs(300),
            max_ejected: Percent::new(50),
        }
    }
}

/// Who ejects the targets of a service.
#[derive(Debug)]
pub struct Ejection {
    measure: Measure,
    on: Box<[FailureConfig]>,
    least: u64,
    most: u64,
    /// How many may be ejected at once.
    room: usize,
    changes: Arc<Changes>,
}

/// What became of a target.
#[derive(Debug)]
pub enum Turn {
    /// It is ejected for so long, and why.
    Ejected(time::Duration, String),
    /// The request that tried it failed too: it is ejected for so long again.
    Still(time::Duration),
    /// The request that tried it went well.
    Back,
}

impl Ejection {
    /// For a service with so many targets that get requests.
    ///
    /// # Errors
    /// Settings that cannot be kept.
    pub fn build(config: &EjectionConfig, service: &str, targets: usize, shared: &Shared) -> Result<Self, BuildError> {
        let measure = Measure::build(config.failures, config.error_rate, config.window, config.min_requests)?;
        if config.on.is_empty() {
            return Err(none_counts());
        }
        if config.max_ejected.share() <= 0.0 {
            let error = BuildError::new("no target could ever be ejected", "write a share above `0%`, or remove `ejection`");
            return Err(error.at("max_ejected"));
        }
        let millis = |duration: Duration| u64::try_from(duration.0.as_millis()).unwrap_or(u64::MAX);
        let (least, most) = (millis(config.r#for), millis(config.max_for));
        if least == 0 {
            return Err(BuildError::new("an ejection must last", "write at least 1ms").at("for"));
        }
        if most < least {
            return Err(BuildError::new("the longest ejection is shorter than the first", "write no less than `for`").at("max_for"));
        }
        Ok(Self {
            measure,
            on: config.on.as_slice().into(),
            least,
            most,
            room: (targets as f64 * config.max_ejected.share()).floor() as usize,
            changes: shared.changes.get(service),
        })
    }

    /// Takes note of how a request to one of `all` ended, a `probe` or any: ejects the target where that was one too many, and takes it back.
    pub fn note(&self, load: &Load, all: &[Arc<Load>], ended: Failure, probe: bool) -> Option<Turn> {
        let failed = self.on.iter().any(|meant| meant.means(ended));
        let eject = || time::Duration::from_millis(load.eject(millis(), self.least, self.most, jitter));
        if probe {
            let turn = if failed {
                Turn::Still(eject())
            } else {
                load.come_back(millis());
                Turn::Back
            };
            self.changes.note();
            return Some(turn);
        }
        // Requests that were under way at an ejection are part of its reason; and what comes while too few are left says less than a probe.
        if load.until().is_some() {
            return None;
        }
        self.measure.count(&load.attempts, failed);
        if !failed {
            load.succeed();
            return None;
        }
        let why = self.measure.exceeded(load.fail(), &load.attempts)?;
        self.changes.decide(|| {
            let ejected = all.iter().filter(|load| load.until().is_some()).count();
            (load.until().is_none() && ejected < self.room).then(|| Turn::Ejected(eject(), why))
        })
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::super::{Asking, Balance, BalanceConfig, Rules, Standing, Weighed};
    use super::*;

    const ILL: Failure = Failure::Status(StatusCode::SERVICE_UNAVAILABLE);
    const WELL: Failure = Failure::Status(StatusCode::OK);

    fn built(config: &Value, shared: &Shared) -> Result<Ejection, BuildError> {
        Ejection::build(&serde_json::from_value(config.clone()).unwrap(), "users", 2, shared)
    }

    /// Targets by their priorities.
    fn balance(config: &Value, priorities: &[u8], shared: &Shared) -> Balance {
        let urls: Vec<_> = (0..priorities.len()).map(|index| format!("http://10.0.0.{index}")).collect();
        let targets: Vec<_> = urls.iter().zip(priorities).map(|(url, priority)| Weighed { url, weight: 1, priority: *priority }).collect();
        let ejection = Ejection::build(&serde_json::from_value(config.clone()).unwrap(), "users", targets.len(), shared).unwrap();
        let standing = Standing::new(Rules { ejection: true, min_available: 0.5, ..Rules::default() }, shared.changes.get("users"));
        Balance::build(&BalanceConfig::LeastRequests, Some(ejection), Some(standing), "users", &targets, shared).unwrap()
    }

    fn fail(balance: &Balance, index: usize, times: usize) -> bool {
        (0..times).filter(|_| balance.note(index, ILL, false).is_some()).count() > 0
    }

    /// All that are picked, by requests that are under way together.
    fn picked(balance: &Balance) -> Vec<usize> {
        let held: Vec<_> = (0..200).filter_map(|_| balance.pick(&Asking::default())).collect();
        let mut picked: Vec<_> = held.iter().map(|(index, _)| *index).collect();
        picked.sort_unstable();
        picked.dedup();
        picked
    }

    /// Waits for the request that tries this target.
    fn trial(balance: &Balance, index: usize) -> crate::state::InFlight {
        loop {
            if let Some((_, probe)) = balance.pick(&Asking::default()).filter(|(picked, probe)| *picked == index && probe.is_probe()) {
                return probe;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_target_that_fails_in_a_row_is_left_alone() {
        let balance = balance(&json!({"failures": 3}), &[0, 0], &Shared::default());
        assert!(!fail(&balance, 0, 2));
        assert!(balance.note(0, WELL, false).is_none());
        assert!(!fail(&balance, 0, 2), "not in a row");
        assert_eq!(picked(&balance), [0, 1]);
        assert!(fail(&balance, 0, 1));
        assert_eq!(picked(&balance), [1]);
        assert_eq!(balance.place(&Asking { tried: &[1], ..Asking::default() }), Some(0), "better than the one that was tried");
    }

    #[test]
    fn a_target_that_fails_too_often_is_left_alone() {
        let config = json!({"failures": 1000, "error_rate": "40%", "min_requests": 10, "on": ["timeout"]});
        let balance = balance(&config, &[0, 0], &Shared::default());
        for count in 0..9 {
            let ended = if count % 2 == 0 { Failure::Timeout } else { WELL };
            assert!(balance.note(0, ended, false).is_none());
        }
        assert!(balance.note(1, ILL, false).is_none(), "not one of `on`");
        let Some(Turn::Ejected(_, why)) = balance.note(0, Failure::Timeout, false) else { panic!() };
        assert_eq!(why, "6 of 10 attempts failed");
        assert_eq!(picked(&balance), [1]);
    }

    #[test]
    fn after_an_ejection_one_request_at_a_time_tries_the_target_until_one_goes_well() {
        let balance = balance(&json!({"failures": 1, "for": "1ms", "max_for": "4ms"}), &[0, 0], &Shared::default());
        assert!(fail(&balance, 0, 1));
        let probe = trial(&balance, 0);
        assert_eq!(picked(&balance), [1], "while it is tried");
        assert!(balance.note(0, WELL, false).is_none(), "an old one says nothing");
        drop(probe);
        let probe = trial(&balance, 0);
        let Some(Turn::Still(lasts)) = balance.note(0, ILL, true) else { panic!() };
        assert!(lasts <= time::Duration::from_millis(2), "{lasts:?}");
        drop(probe);
        let probe = trial(&balance, 0);
        assert!(matches!(balance.note(0, WELL, true), Some(Turn::Back)));
        drop(probe);
        assert_eq!(picked(&balance), [0, 1]);
    }

    #[test]
    fn a_request_that_failed_elsewhere_tries_no_target() {
        let balance = balance(&json!({"failures": 1, "for": "1ms", "max_ejected": "100%"}), &[0, 0, 0], &Shared::default());
        assert!(fail(&balance, 0, 1));
        drop(trial(&balance, 0));
        assert!((0..100).all(|_| balance.place(&Asking { tried: &[1], ..Asking::default() }) == Some(2)));
    }

    #[test]
    fn no_more_are_ejected_than_may_be() {
        let balance = balance(&json!({"failures": 1, "max_ejected": "50%"}), &[0; 5], &Shared::default());
        assert_eq!((0..5).filter(|index| fail(&balance, *index, 10)).count(), 2);
        assert_eq!(picked(&balance), [2, 3, 4]);
    }

    #[test]
    fn the_next_priority_takes_over_while_too_few_are_available() {
        let balance = balance(&json!({"failures": 1, "max_ejected": "80%"}), &[0, 0, 0, 1, 1], &Shared::default());
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
    fn a_priority_that_was_left_is_tried_all_the_same() {
        let balance = balance(&json!({"failures": 1, "for": "1ms", "max_ejected": "80%"}), &[0, 1], &Shared::default());
        fail(&balance, 0, 1);
        let _probe = trial(&balance, 0);
        assert_eq!(picked(&balance), [1]);
        balance.note(0, WELL, true);
        assert_eq!(picked(&balance), [0]);
    }

    #[test]
    fn an_ejection_outlives_a_reload() {
        let shared = Shared::default();
        let before = balance(&json!({"failures": 1}), &[0, 0], &shared);
        fail(&before, 1, 1);
        let after = balance(&json!({"failures": 9}), &[0, 0], &shared);
        drop(before);
        assert_eq!(picked(&after), [0]);
    }

    #[test]
    fn settings_that_cannot_be_kept_are_refused_with_their_place() {
        for (config, place) in [
            (json!({"failures": 0}), "failures"),
            (json!({"error_rate": "0%"}), "error_rate"),
            (json!({"window": "1h"}), "window"),
            (json!({"min_requests": 0}), "min_requests"),
            (json!({"on": []}), "on"),
            (json!({"max_ejected": "0%"}), "max_ejected"),
            (json!({"for": "0s"}), "for"),
            (json!({"for": "10m"}), "max_for"),
        ] {
            let error = built(&config, &Shared::default()).unwrap_err();
            assert_eq!(error.path.to_string().trim_start_matches('.'), place, "{config}");
        }
    }
}
