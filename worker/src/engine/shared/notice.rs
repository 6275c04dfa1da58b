//! What leader and helpers say to each other, as JSON.

use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    connector::Range,
    engine::{counts::Counts, offset::Offset},
    protocol::Epoch,
};

/// A load that others may help with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notice {
    /// The run that it belongs to.
    pub run: String,
    /// The pod that leads it.
    pub leader: u32,
    /// The version of the leader: another one might prepare rows in another way.
    pub version: String,
    /// The stream.
    pub stream: String,
    /// What of it is read.
    pub range: Range,
    /// The leader's epoch: the destination has the same for as long as the leader may commit.
    pub epoch: Epoch,
    /// Generation and number of the last commit: the index is that of this commit.
    pub at: (u64, u64),
    /// By what the source joins the load.
    pub ticket: Value,
    /// How many parts it has.
    pub partitions: usize,
    /// Rows are looked for in the index on the way.
    pub matching: bool,
    /// Seed and schema, by which rows are prepared.
    pub offset: Offset,
    /// The columns as they are read and as they are delivered, as a hash: what a helper makes must be the same.
    pub columns: String,
}

impl Notice {
    /// The hash of both schemas.
    pub(super) fn columns(read: &Schema, delivered: &Schema) -> String {
        let text = format!("{:?}\n{:?}", read.fields(), delivered.fields());
        format!("{:032x}", xxh3_128(text.as_bytes()))
    }
}

/// One part, read by a helper.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Announced {
    /// The helper's mark: its objects bear it in their names.
    pub nonce: String,
    /// The pod, for people.
    pub pod: u32,
    /// What became of its rows so far; `None`: the part could not be read, and whoever can may read it.
    pub counts: Option<Counts>,
    /// Rows that were set aside, in `NONCE.rows`.
    pub rows: u64,
    /// Bytes of that object.
    pub row_bytes: u64,
    /// The bytes of each bucket of candidates, by the hash of their keys, one after the other in `NONCE.keys`.
    pub buckets: Vec<u64>,
    /// Bytes of the positions in the index that were found, in `NONCE.seen`.
    pub seen_bytes: u64,
    /// Rows in the dead letter.
    pub refused: u64,
    /// Bytes of these, in `NONCE.refused`.
    pub refused_bytes: u64,
}
