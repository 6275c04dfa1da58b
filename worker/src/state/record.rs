//! The record of one shard, and its last revisions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::{Committed, Epoch, nonce};

/// Revisions that a record keeps.
pub const HISTORY: usize = 20;

/// The cause of the record that a new owner writes.
pub(crate) const ACQUIRE: &str = "acquire";

/// The version of the layout that this program writes.
pub(super) const LAYOUT: u32 = 1;

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
    /// What a person wants in place of the committed offset; counts until the next commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<Edit>,
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

/// A person's change of the offset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edit {
    /// `set`, `restore` or `reset`.
    pub cause: String,
    /// The offset to go on from; null: from the beginning.
    pub offset: Value,
    /// For `restore`: generation and number of the commit that the offset was stored with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<(u64, u64)>,
}

impl Edit {
    /// The offset is forgotten, whatever the destination holds.
    #[must_use]
    pub fn is_reset(&self) -> bool {
        self.offset.is_null()
    }
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

impl Record {
    /// The first record of a shard, owned and with nothing committed.
    #[must_use]
    pub fn first(flow_uid: &str, owner: &str, epoch: Epoch) -> Self {
        let nonce = nonce();
        Self {
            v: LAYOUT,
            flow_uid: flow_uid.to_owned(),
            epoch,
            owner: owner.to_owned(),
            committed: Committed::nothing(epoch, &nonce),
            edit: None,
            intent: None,
            ledger: Value::Null,
            nonce,
            history: Vec::new(),
        }
    }

    /// Notes a revision. Owners that came and committed nothing share one, so that idle runs do not push out what
    /// a person may want back.
    pub(crate) fn revise(&mut self, run: &Run, committed: Committed) {
        let revision = Revision {
            at: jiff::Timestamp::now().to_string(),
            run: run.clone(),
            committed,
        };
        match self.history.first_mut() {
            Some(newest) if run.cause == ACQUIRE && newest.run.cause == ACQUIRE => *newest = revision,
            _ => self.history.insert(0, revision),
        }
        self.history.truncate(HISTORY);
    }
}
