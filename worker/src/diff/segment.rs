//! Index segments: for each delivered row, in order, a 128-bit hash and its key, as a Parquet file that anybody can read.

use serde::{Deserialize, Serialize};

/// One segment of the index, as the destination lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentRef {
    /// Unique within the shard.
    pub id: String,
    /// Entries, dead ones included.
    pub rows: u64,
    /// Positions of entries that are no longer delivered, as a serialized roaring bitmap; empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead: Vec<u8>,
}
