//! A long read in portions: what a source has told the position of is committed while the rest is still to come.
//!
//! In: a load whose payloads carry positions. Out: one load after another of the same reader, each of which ends at a
//! position once it has lasted a while, so that a crash late in a read of hours costs minutes.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millrace_crds::flow::WriteMode;

use crate::{
    connector::{Estimate, Load, Payload, Position, Range, Reader},
    error::Result,
    settings,
    stream::StreamSpec,
};

/// How long rows are gathered for one commit; `MILLRACE_COMMIT_INTERVAL` (seconds) says otherwise.
#[must_use]
pub fn interval() -> Duration {
    settings::seconds("MILLRACE_COMMIT_INTERVAL").unwrap_or(Duration::from_mins(1))
}

/// A load that is committed in portions.
pub(super) struct Portions {
    load: Arc<dyn Load>,
    interval: Duration,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Opened by the first portion.
    reader: tokio::sync::Mutex<Option<Box<dyn Reader>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// After the last row of this portion.
    position: Option<Position>,
    ended: bool,
}

impl Portions {
    /// The portions of a load, where it can have some. `first`: nothing was ever delivered. What finds deletes by absence
    /// must see all rows before it commits; rows without a key may come twice in one load, and would be compared with
    /// their own.
    pub(super) fn of(load: &Arc<dyn Load>, stream: &StreamSpec, range: &Range, first: bool) -> Option<Self> {
        let adds = matches!(range, Range::Delta { .. }) || first && *range == Range::Full;
        let fits = adds
            && load.partitions() == 1
            && !stream.delivered_key.is_empty()
            && stream.write_mode != WriteMode::Overwrite;
        fits.then(|| Self {
            load: load.clone(),
            interval: interval(),
            shared: Arc::default(),
        })
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Load for Portions {
    fn schema(&self) -> SchemaRef {
        self.load.schema()
    }

    fn partitions(&self) -> usize {
        1
    }

    /// Known once the portion has been read, which is when the engine asks.
    fn watermark(&self) -> Option<Position> {
        let state = self.shared.state();
        match state.ended {
            true => self.load.watermark(),
            false => state.position.clone(),
        }
    }

    fn repeats(&self) -> bool {
        self.load.repeats()
    }

    fn rereads(&self) -> bool {
        // What is committed is behind the reader.
        false
    }

    fn estimate(&self) -> Estimate {
        self.load.estimate()
    }

    fn goes_on(&self) -> bool {
        !self.shared.state().ended
    }

    async fn read(&self, _partition: usize) -> Result<Box<dyn Reader>> {
        let mut reader = self.shared.reader.lock().await;
        if reader.is_none() {
            *reader = Some(self.load.read(0).await?);
        }
        Ok(Box::new(Portion {
            shared: self.shared.clone(),
            until: Instant::now() + self.interval,
            full: false,
        }))
    }
}

/// Reads to the first position after its time.
struct Portion {
    shared: Arc<Shared>,
    until: Instant,
    full: bool,
}

#[async_trait]
impl Reader for Portion {
    async fn next(&mut self) -> Result<Option<Payload>> {
        if self.full {
            return Ok(None);
        }
        let mut reader = self.shared.reader.lock().await;
        let next = match reader.as_mut() {
            Some(reader) => reader.next().await?,
            None => None,
        };
        let mut state = self.shared.state();
        match &next {
            None => state.ended = true,
            Some(payload) if payload.position.is_some() => {
                state.position.clone_from(&payload.position);
                self.full = Instant::now() >= self.until;
            }
            Some(_) => (),
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests;
