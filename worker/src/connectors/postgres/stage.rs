//! Rows on their way: one connection that copies them into a table which nobody looks at yet.
//!
//! In: batches, operations, hashes. Out: a table with the rows, a segment of the index beside it, and a [`Token`]
//! by which the commit finds and counts both.

use std::{pin::Pin, sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{DataType, Field, Schema},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::SinkExt;
use serde::{Deserialize, Serialize};
use tokio_postgres::CopyInSink;

use super::{
    connect::set_local,
    encode::{Encoder, Prepared},
    ident::list,
    index::SegmentFile,
    ledger::Ledger,
    link::Link,
    shard::Build,
    target::{GONE, Target, Wanted, definitions},
};
use crate::{
    connector::{Op, Rows, Stage, StageRequest, Staged},
    error::{Context, Error, Result},
    failpoint,
    protocol::Epoch,
};

/// What one stage wrote.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token {
    pub(super) stage: String,
    pub(super) table: String,
    /// The table is to become the target, or to be poured into it.
    pub(super) build: bool,
    pub(super) columns: Vec<Wanted>,
    /// Rows in the table that are to be there.
    pub(super) live: u64,
    /// Rows in it that tell what is to be deleted.
    pub(super) gone: u64,
    /// The transaction that wrote them, as row headers have it.
    pub(super) transaction: String,
    /// The index segment, and its chunks.
    pub(super) segment: Option<(String, u64)>,
}

/// What a stage is to do.
pub(super) struct Order {
    pub(super) table: String,
    /// The table is filled by several stages; otherwise it is this one's own.
    pub(super) build: Option<Arc<Build>>,
    pub(super) columns: Vec<Wanted>,
    pub(super) by_key: bool,
    pub(super) ledger: Ledger,
    /// Generation and number of the commit.
    pub(super) at: (u64, u64),
    pub(super) epoch: Epoch,
    pub(super) lane: usize,
    pub(super) idle: Duration,
}

/// One open COPY.
pub(super) struct PostgresStage {
    link: Link,
    copy: Pin<Box<CopyInSink<Bytes>>>,
    encoder: Encoder,
    order: Order,
    token: Token,
    bytes: u64,
    index: Option<SegmentFile>,
}

impl PostgresStage {
    /// Makes the staging table where it is its own, and starts the COPY in a transaction.
    pub(super) async fn open(
        mut link: Link,
        order: Order,
        target: &Target,
        request: &StageRequest,
    ) -> Result<Self> {
        let table = target.beside(&order.table);
        let mut names: Vec<&str> = order.columns.iter().map(|column| column.name.as_str()).collect();
        if order.build.is_none() {
            let gone = if order.by_key {
                format!(", {GONE} boolean NOT NULL")
            } else {
                String::new()
            };
            let columns = definitions(&order.columns);
            link.run(&format!(
                "CREATE UNLOGGED TABLE {table} ({columns}{gone}) WITH (autovacuum_enabled = false)"
            ))
            .await?;
            if order.by_key {
                names.push(GONE);
            }
        }
        link.run(&format!(
            "BEGIN; {}",
            set_local("idle_in_transaction_session_timeout", order.idle)
        ))
        .await?;
        let row = link
            .query_one("SELECT mod(txid_current(), 4294967296)::text", &[])
            .await?;
        let copy = link
            .copy_in(&format!(
                "COPY {table} ({}) FROM STDIN (FORMAT binary)",
                list(names)
            ))
            .await?;
        let index = request
            .index
            .as_ref()
            .map(|columns| SegmentFile::create(columns, &request.schema, &order))
            .transpose()?;
        let token = Token {
            stage: uuid::Uuid::new_v4().simple().to_string(),
            table: order.table.clone(),
            build: order.build.is_some(),
            columns: order.columns.clone(),
            live: 0,
            gone: 0,
            transaction: row.get(0),
            segment: None,
        };
        Ok(Self {
            link,
            copy: Box::pin(copy),
            encoder: Encoder::new(),
            order,
            token,
            bytes: 0,
            index,
        })
    }

    async fn send(&mut self, chunk: Vec<u8>) -> Result<()> {
        self.bytes += chunk.len() as u64;
        self.link.wait(self.copy.send(Bytes::from(chunk))).await
    }

    async fn copy(&mut self, batch: &RecordBatch) -> Result<()> {
        let prepared = Prepared::new(batch)?;
        let mut rows = prepared.rows(batch);
        while let Some(chunk) = self.encoder.fill(&mut rows) {
            self.send(chunk).await?;
        }
        Ok(())
    }

    /// Ends the COPY; the server's own count must be ours.
    async fn end_copy(&mut self) -> Result<()> {
        let last = std::mem::replace(&mut self.encoder, Encoder::new()).finish();
        self.send(last).await?;
        let rows = self.link.wait(self.copy.as_mut().finish()).await?;
        let sent = self.token.live + self.token.gone;
        if rows == sent {
            return Ok(());
        }
        Err(Error::bug(format!(
            "{sent} rows were sent to {}, and the server counted {rows}",
            self.token.table
        )))
    }
}

#[async_trait]
impl Stage for PostgresStage {
    async fn write(&mut self, rows: Rows) -> Result<()> {
        failpoint::hit("stage.write")?;
        let Some(ops) = rows.ops.as_deref().filter(|ops| ops.contains(&Op::Delete)) else {
            self.token.live += rows.batch.num_rows() as u64;
            if self.token.build || !self.order.by_key {
                self.copy(&rows.batch).await?;
            } else {
                let gone = BooleanArray::from(vec![false; rows.batch.num_rows()]);
                self.copy(&with_gone(&rows.batch, gone)?).await?;
            }
            return match &mut self.index {
                Some(index) => index.write(&rows.batch, &rows, None),
                None => Ok(()),
            };
        };
        let gone: BooleanArray = ops.iter().map(|op| Some(*op == Op::Delete)).collect();
        let deletes = gone.true_count() as u64;
        let kept = arrow::compute::not(&gone)?;
        let live = filter_record_batch(&rows.batch, &kept)?;
        match (self.order.by_key, self.token.build) {
            // A log of changes: the row of a delete is a row.
            (false, _) => {
                self.token.live += rows.batch.num_rows() as u64;
                self.copy(&rows.batch).await?;
            }
            // A new table: there is nothing to delete.
            (true, true) => {
                self.token.live += live.num_rows() as u64;
                self.copy(&live).await?;
            }
            (true, false) => {
                self.token.live += live.num_rows() as u64;
                self.token.gone += deletes;
                self.copy(&with_gone(&rows.batch, gone)?).await?;
            }
        }
        match &mut self.index {
            Some(index) => index.write(&live, &rows, Some(&kept)),
            None => Ok(()),
        }
    }

    async fn finish(mut self: Box<Self>) -> Result<Staged> {
        failpoint::hit("stage.finish")?;
        let context = format!("staging table {}", self.token.table);
        self.end_copy().await.context(&context)?;
        if let Some(index) = self.index.take() {
            let (segment, bytes) = index
                .upload(&mut self.link, &self.order.ledger)
                .await
                .context(&context)?;
            self.bytes += bytes;
            self.token.segment = segment;
        }
        self.link.run("COMMIT").await.context(&context)?;
        if let Some(build) = &self.order.build {
            build
                .done
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push(self.token.stage.clone());
        }
        Ok(Staged {
            files: 0,
            bytes: self.bytes,
            rows: self.token.live + self.token.gone,
            token: serde_json::to_value(&self.token)?,
        })
    }
}

/// The batch with one more column. Of a deleted row only the key counts, so that any other column may be null.
fn with_gone(batch: &RecordBatch, gone: BooleanArray) -> Result<RecordBatch> {
    let schema = batch.schema();
    let mut fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    fields.push(Field::new(GONE, DataType::Boolean, false));
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    columns.push(Arc::new(gone));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
