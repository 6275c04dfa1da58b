//! A stage: rows and their index entries, which nobody sees before the commit.
//!
//! In: rows. Out: a token for what the table keeps until the commit names it.

use arrow::{
    array::{BooleanArray, RecordBatchOptions},
    compute::filter_record_batch,
    record_batch::RecordBatch,
};
use async_trait::async_trait;
use tempfile::TempPath;

use super::{
    Shared, lock,
    table::{Staging, Written, keys, size},
};
use crate::{
    connector::{Op, Rows, Stage, StageRequest, Staged},
    diff::segment::SegmentWriter,
    error::{Context, Error, Result},
    protocol::{Epoch, nonce},
};

pub(super) struct MemoryStage {
    table: Shared,
    epoch: Epoch,
    key: Vec<String>,
    request: StageRequest,
    /// Bytes that still may come.
    room: u64,
    index: Option<(SegmentWriter, TempPath)>,
    batches: Vec<Written>,
    rows: u64,
    bytes: u64,
}

impl MemoryStage {
    pub(super) fn new(
        table: Shared,
        epoch: Epoch,
        key: Vec<String>,
        request: StageRequest,
        room: u64,
    ) -> Result<Self> {
        let index = match &request.index {
            None => None,
            Some(columns) => {
                let path = tempfile::NamedTempFile::new()
                    .context("scratch file")?
                    .into_temp_path();
                Some((SegmentWriter::create(&path, &request.schema, columns)?, path))
            }
        };
        Ok(Self {
            table,
            epoch,
            key,
            request,
            room,
            index,
            batches: Vec::new(),
            rows: 0,
            bytes: 0,
        })
    }

    fn account(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.bytes += size(batch);
        if self.bytes <= self.room {
            return Ok(());
        }
        Err(
            Error::config("the table in memory would grow beyond connection.maxBytes")
                .advice("raise it, or write to a destination on disk"),
        )
    }
}

#[async_trait]
impl Stage for MemoryStage {
    async fn write(&mut self, rows: Rows) -> Result<()> {
        self.account(&rows.batch)?;
        if let Some((writer, _)) = &mut self.index {
            add_entries(writer, &rows)?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.batch.num_rows()));
        let columns = rows.batch.columns().to_vec();
        let batch = RecordBatch::try_new_with_options(self.request.schema.clone(), columns, &options)?;
        let keys = if self.key.is_empty() {
            Vec::new()
        } else {
            keys(&batch, &self.key)?
        };
        self.batches.push(Written {
            batch,
            ops: rows.ops,
            keys,
        });
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Staged> {
        let index = match self.index.take() {
            None => None,
            Some((writer, path)) => match writer.finish()? {
                0 => None,
                rows => Some((rows, std::fs::read(&path).context("index segment")?.into())),
            },
        };
        let token = nonce();
        let staging = Staging {
            epoch: self.epoch,
            schema: self.request.schema.clone(),
            key: self.key,
            batches: self.batches,
            index,
        };
        lock(&self.table)?.stage(token.clone(), staging);
        Ok(Staged {
            files: 0,
            bytes: self.bytes,
            rows: self.rows,
            token: token.into(),
        })
    }
}

/// Every row but the deletes has an entry.
fn add_entries(writer: &mut SegmentWriter, rows: &Rows) -> Result<()> {
    let hashes = rows.hashes.as_deref();
    let hashes = hashes.ok_or_else(|| Error::bug("an index is kept, and rows came without their hashes"))?;
    let identities = rows.identities.as_deref();
    let Some(ops) = rows.ops.as_ref().filter(|ops| ops.contains(&Op::Delete)) else {
        return writer.write(&rows.batch, hashes, identities);
    };
    let kept: BooleanArray = ops.iter().map(|op| Some(*op != Op::Delete)).collect();
    let pick = |values: &[u128]| -> Vec<u128> {
        let kept = values.iter().zip(ops).filter(|(_, op)| **op != Op::Delete);
        kept.map(|(value, _)| *value).collect()
    };
    let batch = filter_record_batch(&rows.batch, &kept)?;
    writer.write(&batch, &pick(hashes), identities.map(pick).as_deref())
}
