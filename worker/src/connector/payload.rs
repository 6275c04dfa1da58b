//! What a source gives: rows, what each of them does, and where the source stands after them.
//!
//! In: what a reader has read. Out: a [`Payload`], with the rows that could not be read as they are.

use std::collections::BTreeMap;

use arrow::{
    array::{ArrayRef, BooleanArray},
    compute::{filter, filter_record_batch},
    record_batch::RecordBatch,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Result;

/// A place in a source, after some data: small JSON that the reader alone understands.
pub type Position = Value;

/// Data, metadata and the state after it.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The rows.
    pub batch: RecordBatch,
    /// For change streams: one [`Op`] a row. `None`: every row is an upsert.
    pub ops: Option<Vec<Op>>,
    /// A watermark per row, of any type that orders: the last version of a key is the one with the greatest.
    /// `None`: the cursor columns serve.
    pub watermarks: Option<ArrayRef>,
    /// The position after these rows, once all of them are delivered.
    pub position: Option<Position>,
    /// What a person needs to find the first row again: `file`, `line`, `offset`, `page`.
    pub metadata: BTreeMap<&'static str, Value>,
    /// Rows of the batch with values that could not be read, in order; the contract decides what becomes of them.
    pub unfit: Vec<UnfitRow>,
    /// Rows that the reader could not make sense of at all: they are not in the batch.
    pub refused: Vec<Refused>,
    /// Bytes read from the source for this payload.
    pub bytes: u64,
}

impl Payload {
    /// Rows and nothing else.
    #[must_use]
    pub fn new(batch: RecordBatch) -> Self {
        Self {
            batch,
            ops: None,
            watermarks: None,
            position: None,
            metadata: BTreeMap::new(),
            unfit: Vec::new(),
            refused: Vec::new(),
            bytes: 0,
        }
    }

    /// The rows for which `mask` holds.
    ///
    /// # Errors
    /// `bug` where the mask is of another length.
    pub fn keep(self, mask: &BooleanArray) -> Result<Self> {
        let stays = |row: usize| mask.value(row);
        let ops = self.ops.map(|ops| {
            let ops = ops.into_iter().enumerate();
            ops.filter(|(row, _)| stays(*row)).map(|(_, op)| op).collect()
        });
        let watermarks = self.watermarks.map(|watermarks| filter(&watermarks, mask));
        let unfit = self.unfit.into_iter().filter(|unfit| stays(unfit.row));
        Ok(Self {
            batch: filter_record_batch(&self.batch, mask)?,
            ops,
            watermarks: watermarks.transpose()?,
            unfit: unfit
                .map(|unfit| UnfitRow {
                    row: mask.slice(0, unfit.row).true_count(),
                    ..unfit
                })
                .collect(),
            ..self
        })
    }
}

#[cfg(test)]
impl Payload {
    /// As under a contract that refuses every unfit row.
    pub(crate) fn strict(mut self) -> Self {
        let mut mask = vec![true; self.batch.num_rows()];
        for unfit in std::mem::take(&mut self.unfit) {
            mask[unfit.row] = false;
            self.refused.push(unfit.letter);
        }
        self.keep(&mask.into()).unwrap()
    }
}

/// A row with values that could not be read: in the batch they are null, or text with the bad bytes masked.
#[derive(Clone, Debug, PartialEq)]
pub struct UnfitRow {
    /// Its number in the batch.
    pub row: usize,
    /// The columns of these values; empty: the row is never delivered, and only its key counts.
    pub columns: Vec<String>,
    /// What the dead letter gets if the row is refused.
    pub letter: Refused,
}

/// What a row of a change stream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Op {
    /// A new row.
    Insert,
    /// A new version of a row.
    Update,
    /// The row of this key is gone; only its key columns count.
    Delete,
}

impl Op {
    /// The word in `_millrace_op`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A row that cannot be delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// Why, naming the column's path (`address.number`).
    pub reason: String,
    /// `parse`, `type`, `null-key`, `contract`, `transform`, `destination`.
    pub kind: String,
    /// Where the row stands in the source.
    pub place: BTreeMap<String, Value>,
    /// The row, as far as it could be read.
    pub row: Value,
}
