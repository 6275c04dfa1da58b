//! What a connector said of itself, believed for a while: to ask takes seconds.
//!
//! In: a way to ask. Out: what it gave the last time, or gives now; who asks meanwhile waits for the same answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::error::Result;

/// How long it is believed.
const LONG: Duration = Duration::from_mins(5);

/// An answer, once there is one.
pub(in crate::engines) struct Believed<T>(Mutex<Option<(Instant, Arc<T>)>>);

impl<T> Default for Believed<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Believed<T> {
    /// The answer; asks where there is none, or one that is too old.
    ///
    /// # Errors
    /// What asking gives; the next call asks again.
    pub(in crate::engines) async fn or_ask(&self, ask: impl AsyncFnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut told = self.0.lock().await;
        if let Some((at, told)) = told.as_ref()
            && at.elapsed() < LONG
        {
            return Ok(told.clone());
        }
        let new = Arc::new(ask().await?);
        *told = Some((Instant::now(), new.clone()));
        Ok(new)
    }
}
