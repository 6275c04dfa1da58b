//! Where the ledger of a Flow is kept: in a record of its own in the Flow's state store, under the stream of no name.
//!
//! In: a change of the ledger. Out: the same change, made to what is there, by compare-and-swap; `millrace trigger`
//! posts a token while another process runs the Flow.

use std::sync::Arc;

use jiff::Timestamp;
use millrace_crds::ledger::{Annotated, Ledger};
use serde_json::Value;

use crate::{
    backoff::Backoff,
    error::{Error, Result},
    protocol::{ShardId, nonce},
    state::{Record, Store, Version, Written, write},
};

/// How often a change is made again to what another process wrote meanwhile.
const TRIES: u32 = 20;

/// The ledger of one Flow in its store.
pub struct Books {
    store: Arc<dyn Store>,
    shard: ShardId,
    flow_uid: String,
}

impl Books {
    /// The ledger of the Flow of this UID.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, state: &str, flow_uid: &str) -> Self {
        let shard = ShardId {
            state: state.to_owned(),
            stream: String::new(),
        };
        Self {
            store,
            shard,
            flow_uid: flow_uid.to_owned(),
        }
    }

    /// The ledger as it is; `None`: it was never born.
    ///
    /// # Errors
    /// What the store says; `StateCorrupt` where the ledger cannot be read.
    pub async fn read(&self) -> Result<Option<Ledger>> {
        Ok(self.load().await?.map(|(_, ledger, _)| ledger))
    }

    /// Makes a change, to the ledger as it is. Where there is none yet, it is born with what is annotated now.
    ///
    /// # Errors
    /// What the store says; transient where others keep writing.
    pub async fn change<T>(
        &self,
        annotated: &[Annotated],
        mut change: impl FnMut(&mut Ledger) -> T,
    ) -> Result<T> {
        for attempt in 0..TRIES {
            let loaded = self.load().await?;
            let before = loaded.as_ref().map(|(_, ledger, _)| ledger.clone());
            let (record, version, mut ledger) = match loaded {
                Some((record, ledger, version)) => (record, Some(version), ledger),
                None => (
                    Record::first(&self.flow_uid, "ledger", 0),
                    None,
                    Ledger::born(annotated, Timestamp::now()),
                ),
            };
            let answer = change(&mut ledger);
            if before.as_ref() == Some(&ledger) {
                return Ok(answer);
            }
            let ledger = serde_json::to_value(&ledger)
                .map_err(|error| Error::bug(format!("a ledger cannot be serialised: {error}")))?;
            let record = Record {
                ledger,
                nonce: nonce(),
                flow_uid: self.flow_uid.clone(),
                ..record
            };
            match write(
                self.store.as_ref(),
                &self.shard,
                &record,
                version.as_ref(),
                &Backoff::default(),
            )
            .await?
            {
                Written::Ours(_) => return Ok(answer),
                Written::Other(_) | Written::Gone => Backoff::default().pause(attempt.min(3)).await,
            }
        }
        Err(Error::transient(format!(
            "the ledger of {} is written by others all the time",
            self.shard.state
        )))
    }

    async fn load(&self) -> Result<Option<(Record, Ledger, Version)>> {
        let Some((record, version)) = self.store.load(&self.shard).await? else {
            return Ok(None);
        };
        let ledger = match &record.ledger {
            Value::Null => Ledger::default(),
            ledger => serde_json::from_value(ledger.clone()).map_err(|error| {
                Error::state(
                    "StateCorrupt",
                    format!("the ledger of {} cannot be read: {error}", self.shard.state),
                )
            })?,
        };
        Ok(Some((record, ledger, version)))
    }
}

#[cfg(test)]
mod tests;
