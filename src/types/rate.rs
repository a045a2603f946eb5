use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Duration;
use crate::building::BuildError;

/// So many requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many requests come back in the time of `per`; at least 1.
    #[schemars(range(min = 1))]
    pub requests: u64,
    /// That time, in whole seconds: `1s`, `1m`, `1h`.
    pub per: Duration,
    /// How many requests may come at once after a pause; at least 1. Default: the number of `requests`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub burst: Option<u64>,
}

/// The longest time that it may take until all may come at once again: such times are nanoseconds in 64 bits.
const FILL: time::Duration = time::Duration::from_secs(366 * 24 * 3600);

impl Rate {
    /// How many may come at once.
    pub fn most(&self) -> u64 {
        self.burst.unwrap_or(self.requests)
    }

    /// Whether it can be counted by.
    ///
    /// # Errors
    /// Why not, at the member that is wrong.
    pub fn check(&self) -> Result<(), BuildError> {
        let (requests, per, burst) = (self.requests, self.per.0, self.most());
        if requests == 0 {
            return Err(BuildError::new("a limit of no requests lets nothing through", "write at least 1").at("requests"));
        }
        if burst == 0 {
            return Err(BuildError::new("a bucket that holds nothing lets nothing through", "write at least 1").at("burst"));
        }
        if per.is_zero() || per.subsec_nanos() > 0 || per > FILL {
            let reason = "this is not a whole number of seconds, from 1s to 366 days";
            return Err(BuildError::new(reason, "write it like `1s`, `1m` or `1h`").at("per"));
        }
        if u128::from(requests) > per.as_nanos() {
            return Err(BuildError::new("this is more than one request per nanosecond", "write a smaller number").at("requests"));
        }
        if per.as_nanos() / u128::from(requests) * u128::from(burst) > FILL.as_nanos() {
            let reason = "a bucket of this size takes more than 366 days to fill";
            return Err(BuildError::new(reason, "write a smaller number").at("burst"));
        }
        Ok(())
    }
}
