//! How long to wait before an object is reconciled again after a failure: longer each time, and never in step.
//!
//! In: the object's UID, that it failed or went well. Out: a delay. The controller's own error policy gets no count
//! of attempts, so it is kept here, one number an object, only while the object fails.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_mins(2);

/// The failures in a row of each object.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
}

impl Backoff {
    /// One more failure of an object: how long to wait now.
    pub fn failed(&self, key: &str) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.to_owned()).or_default();
        let delay = delay(*count);
        *count = count.saturating_add(1);
        delay
    }

    /// The object is well, or gone.
    pub fn forget(&self, key: &str) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

/// The wait after so many failures before this one: doubled each time, up to a limit, and half of it by chance.
#[must_use]
pub fn delay(failures: u32) -> Duration {
    let whole = FIRST.saturating_mul(1 << failures.min(16)).min(LONGEST);
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_limit_and_start_anew_after_a_success() {
        let backoff = Backoff::default();
        let waits: Vec<Duration> = (0..20).map(|_| backoff.failed("a")).collect();
        assert!(waits[0] <= FIRST && waits[0] >= FIRST / 2);
        assert!(waits[5] > waits[0] * 8);
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(backoff.failed("b") <= FIRST);
        backoff.forget("a");
        assert!(backoff.failed("a") <= FIRST);
    }
}
