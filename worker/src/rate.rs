//! A rate limit held across all streams of a Flow: a token bucket.
//!
//! In: the recipe's `rateLimit`. Out: [`RateLimiter::wait`], which every request to the system goes through.

use std::{fmt, sync::Arc, time::Duration};

use millrace_crds::plan::RateLimit;
use tokio::{sync::Mutex, time::Instant};

/// Requests a second and burst; clones share one bucket.
#[derive(Clone, Default)]
pub struct RateLimiter(Option<Arc<(RateLimit, Mutex<Bucket>)>>);

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RateLimiter")
            .field(&self.0.as_ref().map(|shared| shared.0))
            .finish()
    }
}

impl RateLimiter {
    /// A bucket, full at first; `None`: no limit.
    #[must_use]
    pub fn new(limit: Option<RateLimit>) -> Self {
        Self(limit.map(|limit| {
            let bucket = Bucket {
                tokens: f64::from(limit.burst.max(1)),
                filled: Instant::now(),
            };
            Arc::new((limit, Mutex::new(bucket)))
        }))
    }

    /// Waits until one request may be sent.
    pub async fn wait(&self) {
        let Some(shared) = &self.0 else { return };
        let (limit, bucket) = &**shared;
        // Held across the sleep on purpose: those who wait are served in the order in which they came.
        let mut bucket = bucket.lock().await;
        let now = Instant::now();
        let earned = now.duration_since(bucket.filled).as_secs_f64() * limit.requests_per_second;
        bucket.tokens = (bucket.tokens + earned).min(f64::from(limit.burst.max(1)));
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - bucket.tokens) / limit.requests_per_second);
            tokio::time::sleep(wait).await;
            bucket.tokens = 1.0;
            bucket.filled = Instant::now();
        }
        bucket.tokens -= 1.0;
    }
}
