//! Rows on their way into a destination, which nobody sees until the commit.
//!
//! In: [`Rows`], all of them winners, one a key. Out: what was [`Staged`], as the commit names it.

use arrow::{
    array::UInt32Array, compute::take_record_batch, datatypes::SchemaRef, record_batch::RecordBatch,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Op;
use crate::error::Result;

/// What a stage is for.
#[derive(Clone, Debug)]
pub struct StageRequest {
    /// Columns of the batches to come, added columns included.
    pub schema: SchemaRef,
    /// A new generation begins: what is there now will be replaced as a whole.
    pub replace: bool,
    /// Which of the stages of this commit.
    pub lane: usize,
    /// The index entries to write beside the rows; `None`: no index is kept.
    pub index: Option<IndexColumns>,
}

/// What an index entry holds beside the row hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexColumns {
    /// Delivered key columns, by name.
    pub key: Vec<String>,
    /// The identity differs from the delivered key (a transform changed it) and is stored as a hash.
    pub identity: bool,
}

/// Rows to stage: all of them winners, one a key.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The rows. Of a delete only the key columns count.
    pub batch: RecordBatch,
    /// One operation a row; `None`: all inserts.
    pub ops: Option<Vec<Op>>,
    /// One row hash a row, where an index is kept. Deletes have no entry in it, whatever stands here.
    pub hashes: Option<Vec<u128>>,
    /// One identity hash a row, where the index stores it.
    pub identities: Option<Vec<u128>>,
}

impl Rows {
    /// Some of them, by number.
    ///
    /// # Errors
    /// `bug` where there is no such row.
    pub fn pick(&self, numbers: &[u32]) -> Result<Self> {
        let pick = |values: &Vec<u128>| numbers.iter().map(|number| values[*number as usize]).collect();
        let ops = self.ops.as_ref();
        Ok(Self {
            batch: take_record_batch(&self.batch, &UInt32Array::from(numbers.to_vec()))?,
            ops: ops.map(|ops| numbers.iter().map(|number| ops[*number as usize]).collect()),
            hashes: self.hashes.as_ref().map(pick),
            identities: self.identities.as_ref().map(pick),
        })
    }

    /// Those that are there afterwards.
    ///
    /// # Errors
    /// As [`Rows::pick`].
    pub fn without_deletes(self) -> Result<Self> {
        let Some(ops) = self.ops.as_ref().filter(|ops| ops.contains(&Op::Delete)) else {
            return Ok(self);
        };
        let stays = (0u32..).zip(ops).filter(|(_, op)| **op != Op::Delete);
        let numbers: Vec<u32> = stays.map(|(number, _)| number).collect();
        self.pick(&numbers)
    }
}

/// Rows on their way, invisible until the commit.
#[async_trait]
pub trait Stage: Send {
    /// Takes rows.
    async fn write(&mut self, rows: Rows) -> Result<()>;
    /// Everything is written and safe (synced, verified by size); gives what the commit needs.
    async fn finish(self: Box<Self>) -> Result<Staged>;
}

/// What one stage wrote: counts for people, a token for the destination.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Staged {
    /// Files written.
    pub files: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Rows written, by the destination's own count; those of deletes only where it writes them as rows. Checked against
    /// the counts of the load before its commit.
    pub rows: u64,
    /// What the destination needs to find them again; it alone understands this.
    pub token: Value,
}
