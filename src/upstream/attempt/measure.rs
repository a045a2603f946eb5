use std::time;

use crate::building::BuildError;
use crate::state::Window;
use crate::types::{Duration, Percent};

/// How much failing is too much: for a service, and for one of its targets.
#[derive(Debug)]
pub struct Measure {
    failures: u32,
    error_rate: Percent,
    window: time::Duration,
    min_requests: u32,
}

impl Measure {
    /// So many failures in a row, or this share of at least `min_requests` attempts within the window.
    ///
    /// # Errors
    /// What is met always or never.
    pub fn build(failures: u32, error_rate: Percent, window: Duration, min_requests: u32) -> Result<Self, BuildError> {
        if let Some((key, _)) = [("failures", failures), ("min_requests", min_requests)].iter().find(|(_, number)| *number == 0) {
            return Err(never_met().at(*key));
        }
        if error_rate.share() <= 0.0 {
            return Err(BuildError::new("no failure at all would do", "write a share above `0%`").at("error_rate"));
        }
        if !(time::Duration::from_millis(100)..=time::Duration::from_secs(300)).contains(&window.0) {
            return Err(BuildError::new("this cannot be counted over", "write `100ms` to `5m`").at("window"));
        }
        Ok(Self { failures, error_rate, window: window.0, min_requests })
    }

    /// Counts one attempt.
    pub fn count(&self, attempts: &Window, failed: bool) {
        attempts.count(self.window, failed);
    }

    /// Why so many failures in a row, or those among these attempts, are too much; none where they are not.
    pub fn exceeded(&self, in_a_row: u32, attempts: &Window) -> Option<String> {
        let (all, bad) = attempts.sums(self.window);
        if all >= u64::from(self.min_requests) && bad as f64 >= all as f64 * self.error_rate.share() {
            return Some(format!("{bad} of {all} attempts failed"));
        }
        (in_a_row >= self.failures).then(|| match in_a_row {
            1 => "an attempt failed".to_owned(),
            more => format!("{more} attempts in a row failed"),
        })
    }
}

/// The error of a number that must be reached and is zero.
pub fn never_met() -> BuildError {
    BuildError::new("zero can never be met", "write at least 1")
}

/// The error of a list of failures that is empty.
pub fn none_counts() -> BuildError {
    BuildError::new("no failure at all would count", "name some, like `[connect, timeout, 503]`, or remove it for the default").at("on")
}

/// Give or take a tenth, so that those who were sent away together do not come back together; at least a millisecond.
pub fn jitter(millis: u64) -> u64 {
    (millis / 10 * 9 + rand::random_range(0..=millis / 5)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_told_as_one() {
        let measure = Measure::build(1, Percent::new(50), Duration::secs(10), 20).unwrap();
        assert_eq!(measure.exceeded(1, &Window::default()).as_deref(), Some("an attempt failed"));
        assert_eq!(measure.exceeded(2, &Window::default()).as_deref(), Some("2 attempts in a row failed"));
    }
}
