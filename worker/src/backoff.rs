//! How often something is tried again, and how long is waited in between.
//!
//! In: an attempt's number, or a call that may fail for a while. Out: a pause that doubles, has a limit, and is
//! drawn at random, so that workers that failed together do not come back together.

use std::time::Duration;

use crate::error::{ErrorKind, Result};

/// A limit of attempts and the pauses between them.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Attempts in all, at least 1.
    pub tries: u32,
    /// The longest first pause; zero: never pause.
    pub first: Duration,
    /// The longest pause of all.
    pub most: Duration,
}

impl Default for Backoff {
    /// Eight attempts over about twenty seconds.
    fn default() -> Self {
        Self {
            tries: 8,
            first: Duration::from_millis(100),
            most: Duration::from_secs(8),
        }
    }
}

impl Backoff {
    /// Waits after the attempt of this number, the first being 0.
    pub async fn pause(&self, attempt: u32) {
        let pause = self.after(attempt);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Calls until it succeeds, fails for good, or the attempts are used up. Only transient errors are tried again,
    /// so what is called must bear being called twice.
    ///
    /// # Errors
    /// The last one of the call.
    pub async fn retry<T, F: Future<Output = Result<T>> + Send>(
        &self,
        mut call: impl FnMut() -> F + Send,
    ) -> Result<T> {
        let mut attempt = 0;
        loop {
            match call().await {
                Err(error) if error.kind == ErrorKind::Transient && attempt + 1 < self.tries => {
                    tracing::debug!(%error, attempt, "trying again");
                    self.pause(attempt).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Between a half and the whole of the doubled pause.
    fn after(&self, attempt: u32) -> Duration {
        let doubled = self
            .first
            .saturating_mul(2_u32.saturating_pow(attempt.min(16)))
            .min(self.most);
        let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
        let part = f64::from(u32::try_from(random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        doubled.mul_f64(0.5 + part / 2.0)
    }
}
