//! The record of one shard, canonical and with a digest.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::{Committed, Epoch};

/// All that is known of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The version of this layout; a newer one is refused.
    pub v: u32,
    /// The Flow that owns it.
    pub flow_uid: String,
    /// The greatest epoch handed out.
    pub epoch: Epoch,
    /// The worker that holds it: host and process, for people.
    pub owner: String,
    /// What was committed last, as the worker knows it.
    pub committed: Committed,
    /// What was about to be committed, for destinations that cannot hold the offset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Value>,
    /// The ledger of triggers and what else the engine keeps outside a commit.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub ledger: Value,
    /// The random mark of the write that made this record.
    pub nonce: String,
    /// The last revisions, newest first.
    #[serde(default)]
    pub history: Vec<Revision>,
}

/// One earlier state of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// When it was written, RFC 3339.
    pub at: String,
    /// The run and the cause.
    pub run: Run,
    /// What was committed then.
    pub committed: Committed,
}

/// Why a record was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The run's id.
    pub id: String,
    /// `acquire`, `full`, `delta`, `backfill`, `set`, `restore`, `reset`, ...
    pub cause: String,
}
