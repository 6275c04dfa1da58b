//! The index of what was delivered, kept beside the rows: segments, as chunks of bytes in `millrace_index`.
//!
//! In: keys and hashes, beside the rows that a stage writes. Out: segments that nobody sees until the commit turns
//! them live in the same transaction as the rows; and their files, for the next load to compare with.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray},
    datatypes::Schema,
};
use bytes::Bytes;
use futures::SinkExt;
use roaring::RoaringBitmap;
use tokio_postgres::{
    CopyInSink,
    types::{ToSql, Type},
};

use super::{
    connect::Link,
    encode::{Encoder, Prepared},
    ledger::{Ledger, signed},
    stage::{Order, Token},
};
use crate::{
    connector::{IndexColumns, Rows},
    diff::segment::{SegmentRef, SegmentWriter},
    error::{Error, Result},
    protocol::{Commit, Permit},
};

/// Bytes in one row of the table.
const CHUNK: usize = 1 << 20;

/// A segment on its way: a local file until the stage ends.
pub(super) struct SegmentFile {
    writer: SegmentWriter,
    /// Removed with the file in it when this is dropped.
    scratch: tempfile::TempDir,
    id: String,
    generation: i64,
    epoch: i64,
}

impl SegmentFile {
    /// Begins a segment. Its name puts it in the order of commits.
    pub(super) fn create(columns: &IndexColumns, schema: &Schema, order: &Order) -> Result<Self> {
        let mut scratch = tempfile::Builder::new();
        scratch.prefix("millrace-index-");
        let scratch = match std::env::var_os("MILLRACE_SCRATCH_DIR") {
            Some(base) => scratch.tempdir_in(base)?,
            None => scratch.tempdir()?,
        };
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
    pub(super) fn write(
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
    pub(super) async fn upload(
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

/// The live segments, in the order in which they were committed.
pub(super) async fn list(link: &mut Link, ledger: &Ledger) -> Result<Vec<SegmentRef>> {
    if ledger.last(link).await?.is_none() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT segment, rows, dead FROM {} WHERE state_id = $1 AND shard = $2 AND chunk = 0 AND live ORDER BY segment COLLATE \"C\"",
        ledger.index
    );
    let rows = link.query(&sql, &ledger.names()).await?;
    Ok(rows
        .iter()
        .map(|row| SegmentRef {
            id: row.get(0),
            rows: u64::try_from(row.get::<_, i64>(1)).unwrap_or(0),
            dead: row.get(2),
        })
        .collect())
}

/// Brings one segment into a local file, chunk by chunk.
pub(super) async fn fetch(
    link: &mut Link,
    ledger: &Ledger,
    segment: &str,
    scratch: &Path,
) -> Result<PathBuf> {
    let path = scratch.join(format!("{segment}.parquet"));
    let mut file = File::create(&path)?;
    let sql = format!(
        "SELECT bytes FROM {} WHERE state_id = $1 AND shard = $2 AND segment = $3 AND chunk = $4 AND live",
        ledger.index
    );
    let [state, shard] = ledger.names();
    for chunk in 0_i32.. {
        let params = [
            state.clone(),
            shard.clone(),
            (&segment as &(dyn ToSql + Sync), Type::TEXT),
            (&chunk, Type::INT4),
        ];
        let rows = link.query(&sql, &params).await?;
        let Some(row) = rows.first() else { break };
        file.write_all(row.get(0))?;
    }
    if file.metadata()?.len() == 0 {
        return Err(Error::state(
            "StateDiverged",
            format!("segment {segment} of the index of {} is gone", ledger.id),
        )
        .advice(
            "somebody has changed millrace_index; `millrace state reset` lets the next load compare anew",
        ));
    }
    Ok(path)
}

/// Within the commit: turns the staged segments live, and counts out what is no longer delivered.
pub(super) async fn publish(
    link: &mut Link,
    ledger: &Ledger,
    commit: &Commit,
    tokens: &[Token],
) -> Result<()> {
    let (segments, chunks): (Vec<String>, Vec<u64>) =
        tokens.iter().filter_map(|token| token.segment.clone()).unzip();
    let [state, shard] = ledger.names();
    let names = (&segments as &(dyn ToSql + Sync), Type::TEXT_ARRAY);
    if commit.replace {
        let sql = format!(
            "DELETE FROM {} WHERE state_id = $1 AND shard = $2 AND live",
            ledger.index
        );
        link.execute(&sql, &ledger.names()).await?;
    }
    if !segments.is_empty() {
        let sql = format!(
            "UPDATE {} SET live = true WHERE state_id = $1 AND shard = $2 AND segment = ANY ($3) AND NOT live",
            ledger.index
        );
        let turned = link.execute(&sql, &[state, shard, names]).await?;
        let expected: u64 = chunks.iter().sum();
        if turned != expected {
            return Err(Error::transient(format!(
                "{expected} chunks of the index were staged, and {turned} are there"
            )));
        }
    }
    if commit.replace {
        Ok(())
    } else {
        bury(link, ledger, &commit.dead).await
    }
}

/// Adds to the entries that are dead; a segment with no other is dropped.
async fn bury(link: &mut Link, ledger: &Ledger, dead: &BTreeMap<String, RoaringBitmap>) -> Result<()> {
    for (segment, more) in dead {
        let [state, shard] = ledger.names();
        let name = (segment as &(dyn ToSql + Sync), Type::TEXT);
        let here = format!(
            "FROM {} WHERE state_id = $1 AND shard = $2 AND segment = $3 AND live",
            ledger.index
        );
        let sql = format!("SELECT rows, dead {here} AND chunk = 0");
        let rows = link
            .query(&sql, &[state.clone(), shard.clone(), name.clone()])
            .await?;
        let row = rows
            .first()
            .ok_or_else(|| Error::bug(format!("the index of {} has no segment {segment}", ledger.id)))?;
        let (entries, known): (i64, &[u8]) = (row.get(0), row.get(1));
        let mut all = if known.is_empty() {
            RoaringBitmap::new()
        } else {
            RoaringBitmap::deserialize_from(known)?
        };
        all |= more;
        if i64::try_from(all.len()) == Ok(entries) {
            link.execute(&format!("DELETE {here}"), &[state, shard, name])
                .await?;
            continue;
        }
        let mut bytes = Vec::with_capacity(all.serialized_size());
        all.serialize_into(&mut bytes)?;
        let sql = format!(
            "UPDATE {} SET dead = $4 WHERE state_id = $1 AND shard = $2 AND segment = $3 AND chunk = 0 AND live",
            ledger.index
        );
        link.execute(&sql, &[state, shard, name, (&bytes, Type::BYTEA)])
            .await?;
    }
    Ok(())
}

/// Drops segments that older epochs, or attempts of this one that were given up, have staged and never committed.
pub(super) async fn sweep(link: &mut Link, ledger: &Ledger, permit: &Permit) -> Result<()> {
    let sql = format!(
        "DELETE FROM {} WHERE state_id = $1 AND shard = $2 AND NOT live \
           AND (epoch < $3 OR epoch = $3 AND segment < $4 COLLATE \"C\")",
        ledger.index
    );
    let [state, shard] = ledger.names();
    let (generation, seq) = permit.last().at();
    let next = order_of(generation, seq + 1);
    let params = [
        state,
        shard,
        (&signed(permit.epoch())?, Type::INT8),
        (&next, Type::TEXT),
    ];
    link.execute(&sql, &params).await.map(drop)
}

/// How the names of a commit's segments begin, which puts them in the order of commits.
fn order_of(generation: u64, seq: u64) -> String {
    format!("{generation:010}-{seq:010}")
}
