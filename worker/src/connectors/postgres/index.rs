//! The index of what was delivered, kept beside the rows: segments, as chunks of bytes in `millrace_index`.
//!
//! In: keys and hashes, beside the rows that a stage writes. Out: segments that nobody sees until the commit turns
//! them live in the same transaction as the rows; and their files, for the next load to compare with.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use roaring::RoaringBitmap;
use tokio_postgres::types::{ToSql, Type};

use super::{
    ledger::{Ledger, signed},
    link::Link,
    stage::Token,
};
use crate::{
    diff::segment::{SegmentRef, positions},
    error::{Error, Result},
    protocol::{Commit, Permit},
};

mod upload;

pub(super) use self::upload::SegmentFile;

/// Whether the index has rows that are delivered now: a segment without any is dropped.
pub(super) async fn has_entries(link: &mut Link, ledger: &Ledger) -> Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT FROM {} WHERE state_id = $1 AND shard = $2 AND chunk = 0 AND live AND rows > 0)",
        ledger.index
    );
    Ok(link.query_one(&sql, &ledger.names()).await?.get(0))
}

/// Drops all of it.
pub(super) async fn forget(link: &mut Link, ledger: &Ledger) -> Result<()> {
    let sql = format!("DELETE FROM {} WHERE state_id = $1 AND shard = $2", ledger.index);
    link.execute(&sql, &ledger.names()).await.map(drop)
}

/// The live segments, in the order in which they were committed.
pub(super) async fn list(link: &mut Link, ledger: &Ledger) -> Result<Vec<SegmentRef>> {
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
            "somebody has changed millrace_index; `millrace state reset --stream NAME` lets the next load compare anew",
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
        let mut all = positions(known)?;
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

/// Drops segments that were staged for a commit that is not made.
pub(super) async fn discard(link: &mut Link, ledger: &Ledger, tokens: &[Token]) -> Result<()> {
    let segments = tokens.iter().filter_map(|token| token.segment.clone());
    let segments: Vec<String> = segments.map(|(segment, _)| segment).collect();
    if segments.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "DELETE FROM {} WHERE state_id = $1 AND shard = $2 AND segment = ANY ($3) AND NOT live",
        ledger.index
    );
    let [state, shard] = ledger.names();
    link.execute(&sql, &[state, shard, (&segments, Type::TEXT_ARRAY)])
        .await
        .map(drop)
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
