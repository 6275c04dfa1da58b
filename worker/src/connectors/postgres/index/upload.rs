//! A segment on its way: written to a local file beside the rows, sent in chunks when the stage ends.

use std::{fs::File, io::Read, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray},
    datatypes::Schema,
};
use bytes::Bytes;
use futures::SinkExt;
use tokio_postgres::CopyInSink;

use super::order_of;
use crate::{
    connector::{IndexColumns, Rows},
    connectors::postgres::{
        encode::{Encoder, Prepared},
        ledger::{Ledger, signed},
        link::Link,
        stage::Order,
    },
    diff::segment::SegmentWriter,
    error::{Error, Result},
    scratch::Scratch,
};

/// Bytes in one row of the table.
const CHUNK: usize = 1 << 20;

/// A segment on its way: a local file until the stage ends.
pub(in super::super) struct SegmentFile {
    writer: SegmentWriter,
    /// Removed with the file in it when this is dropped.
    scratch: Scratch,
    id: String,
    generation: i64,
    epoch: i64,
}

impl SegmentFile {
    /// Begins a segment. Its name puts it in the order of commits.
    pub(in super::super) fn create(columns: &IndexColumns, schema: &Schema, order: &Order) -> Result<Self> {
        let scratch = Scratch::new()?;
        let (generation, seq) = order.at;
        let random = uuid::Uuid::new_v4().simple().to_string();
        Ok(Self {
            writer: SegmentWriter::create(&scratch.path().join("segment"), schema, columns)?,
            scratch,
            id: format!("{}-{:04}-{}", order_of(generation, seq), order.lane, &random[..8]),
            generation: signed(generation)?,
            epoch: signed(order.epoch)?,
        })
    }

    /// Adds the entries of rows; `kept`: which of the hashes are theirs, where some rows are deletes.
    pub(in super::super) fn write(
        &mut self,
        batch: &RecordBatch,
        rows: &Rows,
        kept: Option<&BooleanArray>,
    ) -> Result<()> {
        let hashes = rows
            .hashes
            .as_deref()
            .ok_or_else(|| Error::bug("an index was given no hashes"))?;
        let identities = rows.identities.as_deref();
        let Some(kept) = kept else {
            return self.writer.write(batch, hashes, identities);
        };
        let pick = |hashes: &[u128]| -> Vec<u128> {
            hashes
                .iter()
                .zip(kept.values())
                .filter_map(|(hash, kept)| kept.then_some(*hash))
                .collect()
        };
        let identities = identities.map(pick);
        self.writer.write(batch, &pick(hashes), identities.as_deref())
    }

    /// Sends the segment: its id and chunks (`None` where it has no entry), and its bytes.
    pub(in super::super) async fn upload(
        self,
        link: &mut Link,
        ledger: &Ledger,
    ) -> Result<(Option<(String, u64)>, u64)> {
        let rows = self.writer.finish()?;
        if rows == 0 {
            return Ok((None, 0));
        }
        let sql = format!(
            "COPY {} (state_id, shard, segment, chunk, generation, epoch, live, rows, dead, bytes) \
             FROM STDIN (FORMAT binary)",
            ledger.index
        );
        let mut copy = Box::pin(link.copy_in(&sql).await?);
        let mut encoder = Encoder::new();
        let mut file = File::open(self.scratch.path().join("segment"))?;
        let (mut chunks, mut bytes) = (0, 0);
        loop {
            let mut content = Vec::with_capacity(CHUNK);
            (&mut file).take(CHUNK as u64).read_to_end(&mut content)?;
            if content.is_empty() {
                break;
            }
            bytes += content.len() as u64;
            let first = if chunks == 0 { signed(rows)? } else { 0 };
            let batch = row(
                ledger,
                &self.id,
                chunks,
                (self.generation, self.epoch),
                first,
                &content,
            )?;
            send(link, &mut copy, &mut encoder, &batch).await?;
            chunks += 1;
        }
        link.wait(copy.send(Bytes::from(encoder.finish()))).await?;
        let counted = link.wait(copy.as_mut().finish()).await?;
        let chunks = u64::try_from(chunks).unwrap_or(0);
        if counted != chunks {
            return Err(Error::bug(format!(
                "{chunks} chunks of the index were sent, the server counted {counted}"
            )));
        }
        Ok((Some((self.id, chunks)), bytes))
    }
}

async fn send(
    link: &mut Link,
    copy: &mut std::pin::Pin<Box<CopyInSink<Bytes>>>,
    encoder: &mut Encoder,
    batch: &RecordBatch,
) -> Result<()> {
    let prepared = Prepared::new(batch)?;
    let mut rows = prepared.rows(batch);
    while let Some(chunk) = encoder.fill(&mut rows) {
        link.wait(copy.send(Bytes::from(chunk))).await?;
    }
    Ok(())
}

fn row(
    ledger: &Ledger,
    segment: &str,
    chunk: i32,
    (generation, epoch): (i64, i64),
    rows: i64,
    bytes: &[u8],
) -> Result<RecordBatch> {
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let number = |number: i64| Arc::new(Int64Array::from(vec![number])) as ArrayRef;
    let binary = |bytes: &[u8]| Arc::new(BinaryArray::from_vec(vec![bytes])) as ArrayRef;
    Ok(RecordBatch::try_from_iter([
        ("state_id", text(&ledger.id.state)),
        ("shard", text(&ledger.id.stream)),
        ("segment", text(segment)),
        ("chunk", Arc::new(Int32Array::from(vec![chunk]))),
        ("generation", number(generation)),
        ("epoch", number(epoch)),
        ("live", Arc::new(BooleanArray::from(vec![false]))),
        ("rows", number(rows)),
        ("dead", binary(&[])),
        ("bytes", binary(bytes)),
    ])?)
}
