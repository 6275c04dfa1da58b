//! `memory`: tables in the memory of this process, by name, for tests and for programs that embed the worker.
//!
//! In: staged rows. Out: [`read`] gives what is committed. A table holds its rows, its index, the offset and the epoch
//! under one lock, so a commit is whole or nothing, and an older owner is refused by it. [`put`] fills a table that is
//! read as a source. All of it is gone with the process.

mod source;
mod stage;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use async_trait::async_trait;
use millrace_crds::flow::WriteMode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    source::MemorySource,
    stage::MemoryStage,
    table::{Refusal, Table},
};
use super::{Connector, Side, config};
use crate::{
    connector::{Authority, Destination, Shard, Stage, StageRequest, Staged},
    diff::segment::SegmentRef,
    error::{Context, Error, Result},
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId},
    stream::StreamSpec,
};

/// The table's line.
pub const CONNECTOR: Connector = Connector {
    name: "memory",
    summary: "Tables in the memory of this process, for tests and embedding",
    source: Some(Side::new::<MemoryConfig>("{ store: scratch }", |system| {
        Ok(Arc::new(MemorySource::new(config(&system)?)))
    })),
    destination: Some(Side::new::<MemoryConfig>("{ store: scratch }", |system| {
        Ok(Arc::new(Memory {
            config: config(&system)?,
        }))
    })),
    credentials: &[],
};

/// Which tables, and how large they may become.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryConfig {
    /// The name of a set of tables, one a stream, that all Flows of this process share.
    #[serde(default = "default_store")]
    #[schemars(length(min = 1))]
    pub store: String,
    /// Bytes that one table may hold; a load that would exceed them stops.
    #[serde(default = "max_bytes")]
    pub max_bytes: u64,
}

fn default_store() -> String {
    "default".to_owned()
}

fn max_bytes() -> u64 {
    4 << 30
}

type Shared = Arc<Mutex<Table>>;

/// By store and stream.
static TABLES: Mutex<BTreeMap<(String, String), Shared>> = Mutex::new(BTreeMap::new());

fn tables() -> Result<MutexGuard<'static, BTreeMap<(String, String), Shared>>> {
    TABLES.lock().map_err(|_| broken())
}

fn lock(table: &Shared) -> Result<MutexGuard<'_, Table>> {
    table.lock().map_err(|_| broken())
}

fn broken() -> Error {
    Error::bug("a table in memory broke in another thread")
}

fn open(store: &str, stream: &str) -> Result<Shared> {
    let key = (store.to_owned(), stream.to_owned());
    Ok(tables()?.entry(key).or_default().clone())
}

fn find(store: &str, stream: &str) -> Result<Option<Shared>> {
    let key = (store.to_owned(), stream.to_owned());
    Ok(tables()?.get(&key).cloned())
}

/// A table at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its columns: those of the rows that came last.
    pub schema: SchemaRef,
    /// Its rows, in the order in which they came; rows of older schemas in the columns of the last.
    pub batches: Vec<RecordBatch>,
    /// The columns by which it holds one row a key; empty: none.
    pub key: Vec<String>,
    /// What was committed last.
    pub committed: Option<Committed>,
}

impl Snapshot {
    /// Rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.batches.iter().map(|batch| batch.num_rows() as u64).sum()
    }
}

/// What a table holds now; `None`: it was never written.
///
/// # Errors
/// `data` where older rows do not fit into the columns of later ones.
pub fn read(store: &str, stream: &str) -> Result<Option<Snapshot>> {
    match find(store, stream)? {
        Some(table) => lock(&table)?.snapshot(),
        None => Ok(None),
    }
}

/// Adds rows to a table, outside any Flow: what a source is to read.
///
/// # Errors
/// `bug` where the table broke in another thread.
pub fn put(store: &str, stream: &str, batches: impl IntoIterator<Item = RecordBatch>) -> Result<()> {
    let table = open(store, stream)?;
    let mut table = lock(&table)?;
    batches.into_iter().for_each(|batch| table.push(batch));
    Ok(())
}

/// Drops all tables of a store, their offsets and epochs included.
///
/// # Errors
/// `bug` where a table broke in another thread.
pub fn clear(store: &str) -> Result<()> {
    tables()?.retain(|(of, _), _| of != store);
    Ok(())
}

struct Memory {
    config: MemoryConfig,
}

#[async_trait]
impl Destination for Memory {
    fn authority(&self) -> Authority {
        Authority::Destination
    }

    async fn shard(&self, id: &ShardId, stream: &StreamSpec) -> Result<Arc<dyn Shard>> {
        Ok(Arc::new(MemoryShard {
            id: id.clone(),
            table: open(&self.config.store, &stream.name)?,
            upsert: stream.write_mode == WriteMode::Upsert,
            key: stream.delivered_key.clone(),
            max_bytes: self.config.max_bytes,
        }))
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

struct MemoryShard {
    id: ShardId,
    table: Shared,
    upsert: bool,
    key: Vec<String>,
    max_bytes: u64,
}

#[async_trait]
impl Shard for MemoryShard {
    fn keeps_index(&self) -> bool {
        true
    }

    async fn last_committed(&self) -> Result<Option<Committed>> {
        Ok(lock(&self.table)?.committed(&self.id)?.cloned())
    }

    async fn fence(&self, epoch: Epoch, nonce: &str) -> Result<Option<Committed>> {
        lock(&self.table)?.fence(&self.id, epoch, nonce).map(Some)
    }

    async fn index(&self) -> Result<Vec<SegmentRef>> {
        lock(&self.table)?.index()
    }

    async fn segment(&self, segment: &SegmentRef, scratch: &Path) -> Result<PathBuf> {
        let content = lock(&self.table)?.segment(&segment.id)?;
        let path = scratch.join(format!("{}.index", segment.id));
        std::fs::write(&path, content).context("index segment")?;
        Ok(path)
    }

    async fn stage(&self, permit: &Permit, request: StageRequest) -> Result<Box<dyn Stage>> {
        let key = match (self.upsert, &request.index) {
            (false, _) => Vec::new(),
            (true, Some(index)) => index.key.clone(),
            (true, None) => self.key.clone(),
        };
        if self.upsert && key.is_empty() {
            let message = format!("stream {}: writeMode upsert needs a key", self.id.stream);
            return Err(Error::config(message).advice("name its primaryKey, or choose append or overwrite"));
        }
        let held = if request.replace {
            0
        } else {
            lock(&self.table)?.bytes()
        };
        let room = self.max_bytes.saturating_sub(held);
        Ok(Box::new(MemoryStage::new(
            self.table.clone(),
            permit.epoch(),
            key,
            request,
            room,
        )?))
    }

    async fn discard(&self, _permit: &Permit, staged: &[Staged]) -> Result<()> {
        lock(&self.table)?.discard(staged);
        Ok(())
    }

    async fn commit(&self, permit: &Permit, commit: &Commit) -> Outcome {
        let table = lock(&self.table);
        match table
            .map_err(Refusal::from)
            .and_then(|mut table| table.commit(&self.id, permit.epoch(), commit))
        {
            Ok(()) => Outcome::Done,
            Err(Refusal::Fenced) => Outcome::Fenced,
            Err(Refusal::Failed(error)) => Outcome::Failed(error),
        }
    }

    async fn clean(&self, permit: &Permit) -> Result<()> {
        lock(&self.table)?.clean(permit.epoch());
        Ok(())
    }
}
