//! What a connector is: the traits that every system is read and written through.
//!
//! In: a resolved [`SystemPlan`] and its secrets. Out: a [`Source`] that lists streams and opens loads, or a
//! [`Destination`] that stages batches and commits them under the protocol of [`crate::protocol`]. Retry, limits,
//! differences, dead letters, metrics and checkpoints belong to the engine, never to a connector.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, BooleanArray, UInt32Array},
    compute::{filter, filter_record_batch, take_record_batch},
    datatypes::{Schema, SchemaRef},
    record_batch::RecordBatch,
};
use async_trait::async_trait;
use millrace_crds::{
    flow::WriteMode,
    plan::{FlowRef, Plan, SourcePlan, StreamSelect, SystemPlan},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    diff::segment::SegmentRef,
    error::{Error, Result},
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId},
    rate::RateLimiter,
    secrets::{LocalSecrets, Secrets},
    stream::StreamSpec,
};

/// A place in a source, after some data: small JSON that the reader alone understands.
pub type Position = Value;

/// All that a connector is made from.
#[derive(Clone)]
pub struct System {
    /// The merged configuration.
    pub plan: SystemPlan,
    /// The values of its credentials, read anew at each connection.
    pub secrets: Secrets,
    /// Requests a second, held across all streams of the Flow; waits where the plan has a limit.
    pub limiter: RateLimiter,
    /// The Flow, for templates.
    pub flow: FlowRef,
    /// The exact stream names in the manifest; empty at a destination.
    pub streams: Vec<String>,
    /// What the Source says beside its system; `None` at a destination.
    pub source: Option<Arc<SourcePlan>>,
    /// How rows are written; `None` at a source.
    pub write_mode: Option<WriteMode>,
    /// Where a connector's own changes of its configuration outlive a pod; `None` at a desk, and at a destination.
    pub note: Option<Arc<dyn Note>>,
}

/// A text that outlives the process. Others can read it: what is secret is sealed before it comes here.
#[async_trait]
pub trait Note: Send + Sync {
    /// What was written last.
    ///
    /// # Errors
    /// Where the place does not answer.
    async fn read(&self) -> Result<Option<String>>;

    /// Writes it in place of what is there.
    ///
    /// # Errors
    /// Where it cannot be kept.
    async fn write(&self, text: String) -> Result<()>;
}

impl System {
    /// The reading end of a plan.
    #[must_use]
    pub fn of_source(flow: FlowRef, source: &SourcePlan, local: &Arc<LocalSecrets>) -> Self {
        let names = source.streams.iter().filter_map(|rule| match &rule.select {
            StreamSelect::Name(name) => Some(name.clone()),
            StreamSelect::Match(_) => None,
        });
        Self {
            streams: names.collect(),
            source: Some(Arc::new(source.clone())),
            ..Self::new(flow, &source.system, local)
        }
    }

    /// The writing end of a plan.
    #[must_use]
    pub fn of_destination(plan: &Plan, local: &Arc<LocalSecrets>) -> Self {
        Self {
            write_mode: Some(plan.destination.write_mode),
            ..Self::new(plan.flow.clone(), &plan.destination.system, local)
        }
    }

    fn new(flow: FlowRef, plan: &SystemPlan, local: &Arc<LocalSecrets>) -> Self {
        let base = PathBuf::from(plan.base_dir.as_deref().unwrap_or("."));
        Self {
            secrets: Secrets::new(plan.credentials.clone(), local.clone(), base),
            limiter: RateLimiter::new(plan.rate_limit),
            plan: plan.clone(),
            flow,
            streams: Vec::new(),
            source: None,
            write_mode: None,
            note: None,
        }
    }
}

/// What discovery tells of one stream.
#[derive(Clone, Debug)]
pub struct StreamInfo {
    /// The exact name, as manifests and triggers use it.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// The key that the source itself declares; empty: none.
    pub primary_key: Vec<String>,
    /// Columns that could serve as a cursor, best first.
    pub cursors: Vec<String>,
    /// Rows, where the source knows without reading.
    pub rows: Option<u64>,
    /// Why nothing but its name can be told: its load will meet the same, and no other stream's.
    pub trouble: Option<Error>,
}

impl StreamInfo {
    /// A stream of which nothing but the name is known.
    #[must_use]
    pub fn named(name: String) -> Self {
        Self {
            name,
            schema: Arc::new(Schema::empty()),
            primary_key: Vec::new(),
            cursors: Vec::new(),
            rows: None,
            trouble: None,
        }
    }
}

/// Which rows a load wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Range {
    /// All rows.
    Full,
    /// Rows after a watermark; `None`: from the beginning, and no deletes are found.
    Delta {
        /// Where the last load ended.
        after: Option<Position>,
    },
    /// Rows with `from <= cursor < to`, as text in the cursor's own type.
    Backfill {
        /// The first value.
        from: String,
        /// The first value that is not wanted.
        to: String,
    },
}

/// One load, fixed before it is read: what one attempt sees, another attempt of the same load may see again.
#[async_trait]
pub trait Load: Send + Sync {
    /// The columns of every payload.
    fn schema(&self) -> SchemaRef;
    /// How many parts can be read side by side; at least 1. Parts are numbered in source order.
    fn partitions(&self) -> usize;
    /// Where the next delta starts once this load is committed. Taken before reading, and never past a row that
    /// may still appear; `None`: no delta can follow, or each payload carries its own.
    fn watermark(&self) -> Option<Position> {
        None
    }
    /// Rows of earlier loads may come again, as where a changed file is read anew: those without a key are compared
    /// with what was delivered. `false`: equal rows are rows of their own.
    fn repeats(&self) -> bool {
        true
    }
    /// A part can be read a second time, and gives the same rows.
    fn rereads(&self) -> bool {
        true
    }
    /// Rows and bytes to come, where known.
    fn estimate(&self) -> Estimate {
        Estimate::default()
    }
    /// It was read to a position in its middle; the rest comes in a load of its own.
    fn goes_on(&self) -> bool {
        false
    }
    /// Opens one part.
    async fn read(&self, partition: usize) -> Result<Box<dyn Reader>>;
    /// What another process needs to read parts of this same load ([`Source::join`]), for as long as it is held here.
    /// `None`: none can.
    fn ticket(&self) -> Option<Value> {
        None
    }
}

/// How often a source wants to be loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intervals {
    /// Between full loads.
    pub full: Option<std::time::Duration>,
    /// Between delta loads.
    pub delta: Option<std::time::Duration>,
}

/// What is known of a load before it is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    /// Rows.
    pub rows: Option<u64>,
    /// Bytes as read from the source.
    pub bytes: Option<u64>,
}

/// Yields payloads in order. `Ok(None)` is the explicit end: a failed read is never an empty one.
#[async_trait]
pub trait Reader: Send {
    /// The next payload.
    async fn next(&mut self) -> Result<Option<Payload>>;
}

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

/// A system that can be read.
#[async_trait]
pub trait Source: Send + Sync {
    /// Finds out what it is, where only it can tell: whether it pushes, whether its rows can be read again.
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }
    /// Every stream that can be read now. One whose data are damaged keeps no other from being found.
    async fn discover(&self) -> Result<Vec<StreamInfo>>;
    /// Fixes one load of one stream.
    async fn load(&self, stream: &StreamSpec, range: &Range) -> Result<Arc<dyn Load>>;
    /// Opens a load that another process holds, to read parts of it: the same parts under the same numbers, with the same
    /// rows. A joined load has no watermark; that is whose it is.
    ///
    /// # Errors
    /// `transient` where the load is not there any more.
    async fn join(&self, stream: &StreamSpec, _range: &Range, _ticket: &Value) -> Result<Arc<dyn Load>> {
        Err(Error::bug(format!(
            "loads of stream {} cannot be joined",
            stream.name
        )))
    }
    /// Tries the connection and the rights, and reads nothing.
    async fn check(&self) -> Result<()> {
        let trouble = self.discover().await?.into_iter().find_map(|info| info.trouble);
        trouble.map_or(Ok(()), Err)
    }
    /// Tells the source that everything up to `position` is safe at the destination. Always the last step.
    async fn acknowledge(&self, _stream: &StreamSpec, _position: &Position) -> Result<()> {
        Ok(())
    }
    /// The pushing side, where the system has one.
    fn push(&self) -> Option<&dyn PushSource> {
        None
    }
    /// Streams may have a key of their own, which discovery tells.
    fn declares_keys(&self) -> bool {
        true
    }
    /// The times between full and between delta loads, where the system itself has an opinion and the manifest has none.
    fn intervals(&self) -> Intervals {
        Intervals::default()
    }
    /// A position tells it what is new, with no cursor column: after a load that left one, the next is a delta.
    fn resumes(&self) -> bool {
        false
    }
    /// A second read of the same range yields the same rows.
    fn replayable(&self) -> bool {
        true
    }
    /// Rows that are committed late cannot be missed by a delta of this stream, as far as the last discovery tells.
    fn late_commits_safe(&self, _stream: &StreamSpec) -> bool {
        true
    }
}

/// A source that sends by itself (broker, webhook, change log).
#[async_trait]
pub trait PushSource: Send + Sync {
    /// Opens a stream; it sends from `from` on, or from its beginning.
    async fn open(&self, stream: &StreamSpec, from: Option<&Position>) -> Result<Box<dyn PushReader>>;
}

/// One open pushing stream. `next` of [`Reader`] waits for what is pushed, and is safe to cancel: a call that is given
/// up while it waits has taken nothing, and the next call gives what it would have given. What a reader takes in over
/// more than one `await` it keeps in itself.
#[async_trait]
pub trait PushReader: Reader {
    /// Its columns.
    fn schema(&self) -> SchemaRef;
    /// Stops sending until `next` is called again.
    async fn pause(&mut self) -> Result<()>;
    /// Goes back: what follows `position` is sent again.
    async fn rewind(&mut self, position: &Position) -> Result<()>;
    /// Hears that all up to `position` is safe at the destination: it will never be asked for again.
    ///
    /// # Errors
    /// Where it cannot be told; nothing depends on it.
    async fn acknowledge(&mut self, _position: &Position) -> Result<()> {
        Ok(())
    }
    /// Ends the stream and gives back its resources.
    async fn close(&mut self) -> Result<()>;
}

/// Who decides what has been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The destination holds the offset and takes it in the same commit as the data.
    Destination,
    /// The state store does; a commit may be repeated by key without harm.
    StoreKeyed,
    /// The state store does; a repeated commit shows twice.
    Store,
}

/// A system that can be written.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Finds out what it is, where only it can tell: whether a repeated commit does harm.
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }
    /// Who decides what has been delivered.
    fn authority(&self) -> Authority;
    /// Rows stay there, and it keeps no index of them: one is kept beside the state, where that has room for it.
    fn lacks_index(&self) -> bool {
        false
    }
    /// Opens the target of one stream; makes nothing yet.
    async fn shard(&self, id: &ShardId, stream: &StreamSpec) -> Result<Arc<dyn Shard>>;
    /// Tries the connection, the rights and the conditional writes, and leaves nothing behind.
    async fn check(&self) -> Result<()>;
}

/// The target of one stream: where its rows go, and the serialization point of its commits.
#[async_trait]
pub trait Shard: Send + Sync {
    /// What was last committed; `None`: nothing ever was.
    async fn last_committed(&self) -> Result<Option<Committed>>;
    /// Makes every later commit with a lower epoch fail, and tells what was last committed.
    /// [`crate::error::ErrorKind::Fenced`] where a greater epoch is there already. Where this epoch is there already,
    /// nothing changes: a repeated fence that arrives late must not take the mark of a commit away.
    async fn fence(&self, epoch: Epoch, nonce: &str) -> Result<Option<Committed>>;
    /// Whether all that was committed is still there, as far as can be told without reading it. A load that compares
    /// would never bring back what is gone: `state` where something is.
    async fn whole(&self) -> Result<()> {
        Ok(())
    }
    /// An index of what was delivered is committed with the data.
    fn keeps_index(&self) -> bool {
        false
    }
    /// The index of what was delivered, in order; empty: nothing was, or none is kept.
    async fn index(&self) -> Result<Vec<SegmentRef>> {
        Ok(Vec::new())
    }
    /// A local file with the content of one index segment; remote ones are fetched to `scratch`.
    async fn segment(&self, segment: &SegmentRef, _scratch: &Path) -> Result<PathBuf> {
        Err(Error::bug(format!(
            "no index is kept, and segment {} of it was asked for",
            segment.id
        )))
    }
    /// Rows that this system cannot hold, by number, each with the column and the reason; a row may be named more than
    /// once. They are refused before anything is compared or staged. Every row that is read comes by here.
    ///
    /// # Errors
    /// Where a column cannot be looked at.
    fn unfit(&self, _batch: &RecordBatch) -> Result<Vec<(usize, String)>> {
        Ok(Vec::new())
    }
    /// Begins to stage rows for the next commit; several stages of one commit may be open at once.
    /// Rows staged are not visible to anybody.
    async fn stage(&self, permit: &Permit, request: StageRequest) -> Result<Box<dyn Stage>>;
    /// Takes back what was staged for a commit that is not made after all. What stays behind is a matter of
    /// [`Shard::clean`].
    async fn discard(&self, _permit: &Permit, _staged: &[Staged]) -> Result<()> {
        Ok(())
    }
    /// The last step before a commit is announced: what its index needs is written down, and taken out of it.
    async fn seal(&self, _commit: &mut Commit) -> Result<()> {
        Ok(())
    }
    /// Makes all that was staged visible, together with the offset, or nothing at all.
    /// Refused where the permit's epoch is no longer the destination's.
    async fn commit(&self, permit: &Permit, commit: &Commit) -> Outcome;
    /// What the last commit had to write beside what was staged.
    fn rewritten(&self) -> Rewritten {
        Rewritten::default()
    }
    /// Drops what was staged and never committed by older epochs, and what is no longer referenced.
    async fn clean(&self, _permit: &Permit) -> Result<()> {
        Ok(())
    }
    /// The current files, for readers that want a list.
    async fn files(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

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

/// What a commit wrote again, since rows within it are no longer delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
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
