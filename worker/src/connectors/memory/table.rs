//! One table: rows, index, offset and epoch, which change together or not at all.
//!
//! In: what stages hold, and commits. Out: the rows that are live, and the index of what was delivered. Whatever can
//! fail is done before the first change.

use std::collections::{BTreeMap, HashMap};

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatchOptions, new_null_array},
    compute::{cast, filter_record_batch},
    datatypes::SchemaRef,
    record_batch::RecordBatch,
};
use bytes::Bytes;
use roaring::RoaringBitmap;

use super::Snapshot;
use crate::{
    connector::{Op, Staged},
    diff::{hash, segment::SegmentRef},
    error::{Error, Result},
    protocol::{Commit, Committed, Epoch, ShardId},
};

/// A table of one stream.
#[derive(Default)]
pub(super) struct Table {
    owner: Option<ShardId>,
    /// The greatest epoch seen, and what was committed last.
    state: Option<Committed>,
    schema: Option<SchemaRef>,
    parts: Vec<Part>,
    key: Vec<String>,
    /// Where the row of a key is, once it was asked for.
    places: Option<HashMap<u128, Place>>,
    segments: Vec<Segment>,
    staged: HashMap<String, Staging>,
}

/// Rows that came together.
struct Part {
    batch: RecordBatch,
    gone: RoaringBitmap,
}

/// Part and row.
type Place = (usize, u32);

struct Segment {
    id: String,
    rows: u64,
    content: Bytes,
    dead: RoaringBitmap,
}

/// What one stage holds.
pub(super) struct Staging {
    pub(super) epoch: Epoch,
    pub(super) schema: SchemaRef,
    pub(super) key: Vec<String>,
    pub(super) batches: Vec<Written>,
    /// The number of index entries, and the file that holds them.
    pub(super) index: Option<(u64, Bytes)>,
}

/// Rows of one call to a stage.
pub(super) struct Written {
    pub(super) batch: RecordBatch,
    pub(super) ops: Option<Vec<Op>>,
    /// One key a row, where rows are held by key.
    pub(super) keys: Vec<u128>,
}

/// Why a commit was not applied.
pub(super) enum Refusal {
    Fenced,
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Table {
    /// What was committed last.
    pub(super) fn committed(&self, id: &ShardId) -> Result<Option<&Committed>> {
        self.owned_by(id)?;
        Ok(self.state.as_ref())
    }

    fn owned_by(&self, id: &ShardId) -> Result<()> {
        match &self.owner {
            Some(owner) if owner != id => Err(Error::config(format!(
                "the table in memory belongs to {owner}, and {id} asks for it"
            ))
            .advice("give one of them another `store`")),
            _ => Ok(()),
        }
    }

    /// Shuts out every lower epoch. A repeated fence changes nothing.
    pub(super) fn fence(&mut self, id: &ShardId, epoch: Epoch, nonce: &str) -> Result<Committed> {
        self.owned_by(id)?;
        self.owner = Some(id.clone());
        let state = self.state.get_or_insert_with(|| Committed::nothing(epoch, nonce));
        if state.epoch > epoch {
            return Err(Error::fenced(format!(
                "the table of {id} has epoch {}; this worker has {epoch}",
                state.epoch
            )));
        }
        state.epoch = epoch;
        Ok(state.clone())
    }

    /// The index of what was delivered.
    pub(super) fn index(&self) -> Result<Vec<SegmentRef>> {
        let segment = |segment: &Segment| {
            let mut dead = Vec::new();
            if !segment.dead.is_empty() {
                segment.dead.serialize_into(&mut dead)?;
            }
            Ok(SegmentRef {
                id: segment.id.clone(),
                rows: segment.rows,
                dead,
            })
        };
        self.segments.iter().map(segment).collect()
    }

    /// The content of one index segment.
    pub(super) fn segment(&self, id: &str) -> Result<Bytes> {
        let segment = self.segments.iter().find(|segment| segment.id == id);
        segment.map(|segment| segment.content.clone()).ok_or_else(|| {
            Error::state(
                "IndexDamaged",
                format!("there is no index segment {id} in memory"),
            )
        })
    }

    /// Bytes of the rows, those that are gone included.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| size(&part.batch)).sum()
    }

    /// Keeps what a stage holds until it is committed.
    pub(super) fn stage(&mut self, token: String, staging: Staging) {
        self.staged.insert(token, staging);
    }

    /// Drops what was staged for a commit that is not made.
    pub(super) fn discard(&mut self, staged: &[Staged]) {
        for staged in staged {
            self.staged.remove(token(staged));
        }
    }

    /// Drops what older owners staged and never committed.
    pub(super) fn clean(&mut self, epoch: Epoch) {
        self.staged.retain(|_, staging| staging.epoch >= epoch);
    }

    /// Adds rows as they are.
    pub(super) fn push(&mut self, batch: RecordBatch) {
        self.schema = Some(batch.schema());
        self.places = None;
        self.parts.push(Part {
            batch,
            gone: RoaringBitmap::new(),
        });
    }

    /// Applies a commit, or nothing of it.
    pub(super) fn commit(&mut self, id: &ShardId, epoch: Epoch, commit: &Commit) -> Result<(), Refusal> {
        self.owned_by(id)?;
        let state = self
            .state
            .as_ref()
            .filter(|state| state.epoch == epoch)
            .ok_or(Refusal::Fenced)?;
        let at = (commit.generation, commit.seq);
        if state.nonce == commit.nonce && state.at() == at {
            return Ok(());
        }
        if at != state.next(commit.replace) {
            let (generation, seq) = state.at();
            let message = format!("commit {}.{} of {id} follows {generation}.{seq}", at.0, at.1);
            return Err(Error::bug(message).into());
        }
        let key = self.check(commit)?;
        self.compact()?;
        self.prepare(&key, commit.replace)?;
        self.apply(commit);
        self.state = Some(Committed {
            epoch,
            generation: commit.generation,
            seq: commit.seq,
            offset: commit.offset.clone(),
            nonce: commit.nonce.clone(),
        });
        Ok(())
    }

    /// All that was staged for a commit, and every index segment that it speaks of, must be there. Gives the key.
    fn check(&self, commit: &Commit) -> Result<Vec<String>> {
        let mut key = Vec::new();
        for staged in &commit.staged {
            let staging = self.staged.get(token(staged));
            let staging = staging.ok_or_else(|| Error::data("rows that were staged in memory are gone"))?;
            key.clone_from(&staging.key);
        }
        for id in commit.dead.keys() {
            self.segment(id)?;
        }
        Ok(key)
    }

    /// Leaves out the rows that are gone, once they are more than those that are not.
    fn compact(&mut self) -> Result<()> {
        let gone: u64 = self.parts.iter().map(|part| part.gone.len()).sum();
        let all: u64 = self.parts.iter().map(|part| part.batch.num_rows() as u64).sum();
        if gone * 2 <= all {
            return Ok(());
        }
        let live = self.parts.iter().map(|part| {
            Ok(Part {
                batch: part.live()?,
                gone: RoaringBitmap::new(),
            })
        });
        let live = live.collect::<Result<Vec<_>>>()?;
        self.parts = live
            .into_iter()
            .filter(|part| part.batch.num_rows() > 0)
            .collect();
        self.places = None;
        Ok(())
    }

    /// Finds the rows of all keys, where rows are held by key and their places are not known yet.
    fn prepare(&mut self, key: &[String], replace: bool) -> Result<()> {
        if key.is_empty() || replace || (*key == self.key && self.places.is_some()) {
            return Ok(());
        }
        let mut places = HashMap::new();
        let mut older = Vec::new();
        for (number, part) in self.parts.iter().enumerate() {
            let keys = keys(&part.batch, key)?;
            let live = (0..).zip(keys).filter(|(row, _)| !part.gone.contains(*row));
            older.extend(live.filter_map(|(row, key)| places.insert(key, (number, row))));
        }
        older.into_iter().for_each(|place| self.drop_row(place));
        self.places = Some(places);
        Ok(())
    }

    fn apply(&mut self, commit: &Commit) {
        let staged: Vec<Staging> = commit
            .staged
            .iter()
            .filter_map(|staged| self.staged.remove(token(staged)))
            .collect();
        if commit.replace {
            self.parts.clear();
            self.segments.clear();
            self.places = None;
        }
        for (id, dead) in &commit.dead {
            for segment in self.segments.iter_mut().filter(|segment| segment.id == *id) {
                segment.dead |= dead;
            }
        }
        self.segments.retain(|segment| segment.dead.len() < segment.rows);
        // A key that one row leaves and another takes is written once, whatever stage names it first.
        for (key, _) in staged
            .iter()
            .flat_map(|staging| &staging.batches)
            .flat_map(Written::deletes)
        {
            if let Some(place) = self.places.as_mut().and_then(|places| places.remove(&key)) {
                self.drop_row(place);
            }
        }
        for (number, staging) in staged.into_iter().enumerate() {
            let name = format!("{}-{}-{number}", commit.generation, commit.seq);
            self.add(name, staging);
        }
    }

    fn add(&mut self, name: String, staging: Staging) {
        self.schema = Some(staging.schema);
        for written in staging.batches {
            self.write(written, !staging.key.is_empty());
        }
        self.key = staging.key;
        if let Some((rows, content)) = staging.index {
            self.segments.push(Segment {
                id: name,
                rows,
                content,
                dead: RoaringBitmap::new(),
            });
        }
    }

    fn write(&mut self, written: Written, keyed: bool) {
        let number = self.parts.len();
        let mut gone = RoaringBitmap::new();
        if keyed {
            gone.extend(written.deletes().map(|(_, row)| row));
            let places = self.places.get_or_insert_default();
            let rows = (0..).zip(&written.keys).filter(|(row, _)| !gone.contains(*row));
            let older: Vec<Place> = rows
                .filter_map(|(row, key)| places.insert(*key, (number, row)))
                .collect();
            gone.extend(
                older
                    .iter()
                    .filter(|(part, _)| *part == number)
                    .map(|(_, row)| *row),
            );
            older
                .into_iter()
                .filter(|(part, _)| *part < number)
                .for_each(|place| self.drop_row(place));
        } else {
            self.places = None;
        }
        self.parts.push(Part {
            batch: written.batch,
            gone,
        });
    }

    fn drop_row(&mut self, (part, row): Place) {
        self.parts[part].gone.insert(row);
    }

    /// What is live now; `None`: nothing was ever written.
    pub(super) fn snapshot(&self) -> Result<Option<Snapshot>> {
        let Some(schema) = &self.schema else {
            return Ok(None);
        };
        let live = self.parts.iter().map(|part| fit(&part.live()?, schema));
        let mut batches = live.collect::<Result<Vec<_>>>()?;
        batches.retain(|batch| batch.num_rows() > 0);
        Ok(Some(Snapshot {
            schema: schema.clone(),
            batches,
            key: self.key.clone(),
            committed: self.state.clone(),
        }))
    }
}

impl Part {
    fn live(&self) -> Result<RecordBatch> {
        if self.gone.is_empty() {
            return Ok(self.batch.clone());
        }
        let rows = u32::try_from(self.batch.num_rows()).map_err(|_| Error::bug("a batch is too long"))?;
        let live: BooleanArray = (0..rows).map(|row| Some(!self.gone.contains(row))).collect();
        Ok(filter_record_batch(&self.batch, &live)?)
    }
}

impl Written {
    /// Key and row of each delete, where rows are held by key.
    fn deletes(&self) -> impl Iterator<Item = (u128, u32)> {
        let ops = self.ops.iter().flatten();
        let rows = (0..).zip(&self.keys).zip(ops);
        rows.filter(|(_, op)| **op == Op::Delete)
            .map(|((row, key), _)| (*key, row))
    }
}

fn token(staged: &Staged) -> &str {
    staged.token.as_str().unwrap_or_default()
}

/// One key a row.
pub(super) fn keys(batch: &RecordBatch, key: &[String]) -> Result<Vec<u128>> {
    let column = |name: &String| {
        let column = batch.column_by_name(name);
        column.ok_or_else(|| Error::bug(format!("key column `{name}` is not among the delivered columns")))
    };
    let columns = key.iter().map(column).collect::<Result<Vec<&ArrayRef>>>()?;
    hash::identities(columns, batch.num_rows())
}

/// Bytes that the rows of a batch take, without what other slices of the same buffers hold.
pub(super) fn size(batch: &RecordBatch) -> u64 {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or_default() as u64;
    batch.columns().iter().map(bytes).sum()
}

/// Rows in other columns: what is missing is null.
fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns: BTreeMap<&str, &ArrayRef> = batch
        .schema_ref()
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .zip(batch.columns())
        .collect();
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| match columns.get(field.name().as_str()) {
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    };
    let columns = schema
        .fields()
        .iter()
        .map(column)
        .collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        schema.clone(),
        columns,
        &options,
    )?)
}
