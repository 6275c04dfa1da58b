//! `null`: a destination that counts rows and drops them, to measure a source, or to try a Flow without writing.
//!
//! In: staged rows. Out: their number. It holds nothing, so the state store alone decides what has been delivered.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Connector, Side, config};
use crate::{
    connector::{Authority, Destination, Rows, Shard, Stage, StageRequest, Staged},
    error::Result,
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId},
    stream::StreamSpec,
};

/// The table's line.
pub const CONNECTOR: Connector = Connector {
    name: "null",
    summary: "Counts rows and drops them",
    source: None,
    destination: Some(Side::new::<NullConfig>("{}", |system| {
        config::<NullConfig>(&system)?;
        Ok(Arc::new(Null))
    })),
    credentials: &[],
};

/// There is nothing to set.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NullConfig {}

struct Null;

#[async_trait]
impl Destination for Null {
    fn authority(&self) -> Authority {
        Authority::Store
    }

    async fn shard(&self, _id: &ShardId, _stream: &StreamSpec) -> Result<Arc<dyn Shard>> {
        Ok(Arc::new(Null))
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Shard for Null {
    async fn last_committed(&self) -> Result<Option<Committed>> {
        Ok(None)
    }

    // Nothing is ever applied, so there is nobody to shut out.
    async fn fence(&self, _epoch: Epoch, _nonce: &str) -> Result<Option<Committed>> {
        Ok(None)
    }

    async fn stage(&self, _permit: &Permit, _request: StageRequest) -> Result<Box<dyn Stage>> {
        Ok(Box::new(Count(0)))
    }

    async fn commit(&self, _permit: &Permit, _commit: &Commit) -> Outcome {
        Outcome::Done
    }
}

/// Rows so far.
struct Count(u64);

#[async_trait]
impl Stage for Count {
    async fn write(&mut self, rows: Rows) -> Result<()> {
        self.0 += rows.batch.num_rows() as u64;
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Staged> {
        Ok(Staged {
            rows: self.0,
            ..Staged::default()
        })
    }
}
