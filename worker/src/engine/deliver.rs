//! From prepared rows to staged rows: the plain way, and the way through the comparison.
//!
//! In: payloads of one lane. Out: what was staged and counted. [`Plain`] stages rows as they come. [`Keyed`] hashes
//! them, finds what is delivered already, and sets the rest aside; what is decided of it, [`stage_winners`] and [`stage_gone`]
//! stage.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, StringArray, TimestampMicrosecondArray, UInt32Array, new_null_array},
    compute::take_record_batch,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    record_batch::RecordBatch,
};
use async_trait::async_trait;

use tokio::runtime::Handle;

use super::{
    counts::Counts,
    lane::Work,
    offset::Sum,
    prepare::{Pipeline, Prepared, Preparer},
};
use crate::{
    connector::{Op, Payload, Rows, Stage, Staged},
    diff::{
        candidates::{Candidate, Candidates, Kept, Kind, ROW_BITS, SetAside},
        decide::Decisions,
        index::Index,
        matcher::Matcher,
    },
    error::{Error, Result},
};

/// The name of the column that tells the operation.
pub const OP_COLUMN: &str = "_millrace_op";
/// The name of the column that tells the time of the load.
pub const LOADED_AT_COLUMN: &str = "_millrace_loaded_at";

/// Which columns Millrace adds, and their values.
#[derive(Clone, Debug)]
pub struct Added {
    /// `_millrace_op`.
    pub op: bool,
    /// `_millrace_loaded_at`: microseconds since 1970 of this load.
    pub loaded_at: Option<i64>,
}

impl Added {
    /// The schema with the added columns. Everything may be null: a delete has nothing but its key.
    #[must_use]
    pub fn schema(&self, schema: &Schema) -> SchemaRef {
        let mut fields: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| Arc::new(field.as_ref().clone().with_nullable(true)))
            .collect();
        if self.op {
            fields.push(Arc::new(Field::new(OP_COLUMN, DataType::Utf8, true)));
        }
        if self.loaded_at.is_some() {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            fields.push(Arc::new(Field::new(LOADED_AT_COLUMN, utc, true)));
        }
        Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
    }

    /// Makes sure that the rows have no columns of these names themselves.
    ///
    /// # Errors
    /// `config`, naming the column.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        let added = [(OP_COLUMN, self.op), (LOADED_AT_COLUMN, self.loaded_at.is_some())];
        let mut twice = added.into_iter().filter(|(_, on)| *on).map(|(name, _)| name);
        match twice.find(|name| schema.field_with_name(name).is_ok()) {
            None => Ok(()),
            Some(name) => Err(Error::config(format!(
                "the rows have a column `{name}`, which the destination adds by itself"
            ))
            .advice(format!(
                "rename it in a transform, or set `options: {{ {name}: false }}` at the destination to keep theirs"
            ))),
        }
    }

    fn add(&self, mut rows: Rows, schema: &SchemaRef) -> Result<Rows> {
        let len = rows.batch.num_rows();
        let mut columns = rows.batch.columns().to_vec();
        if self.op {
            let ops: StringArray = match &rows.ops {
                Some(ops) => ops.iter().map(|op| Some(op.as_str())).collect(),
                None => std::iter::repeat_n(Some(Op::Insert.as_str()), len).collect(),
            };
            columns.push(Arc::new(ops));
        }
        if let Some(at) = self.loaded_at {
            columns.push(
                Arc::new(TimestampMicrosecondArray::from_value(at, len).with_timezone("UTC")) as ArrayRef,
            );
        }
        rows.batch = RecordBatch::try_new(schema.clone(), columns)?;
        Ok(rows)
    }
}

/// A stage, with the columns that are added on the way in.
pub struct Output {
    stage: Box<dyn Stage>,
    added: Added,
    schema: SchemaRef,
}

impl Output {
    /// Rows of `schema` (the added columns included) go to `stage`.
    #[must_use]
    pub fn new(stage: Box<dyn Stage>, added: Added, schema: SchemaRef) -> Self {
        Self { stage, added, schema }
    }

    async fn write(&mut self, rows: Rows) -> Result<()> {
        if rows.batch.num_rows() == 0 {
            return Ok(());
        }
        self.stage.write(self.added.add(rows, &self.schema)?).await
    }

    /// Ends the stage.
    ///
    /// # Errors
    /// What the destination says.
    pub async fn finish(self) -> Result<Staged> {
        self.stage.finish().await
    }
}

/// Takes rows and keeps none: what a dry run writes to.
pub struct Nowhere;

#[async_trait]
impl Stage for Nowhere {
    async fn write(&mut self, _rows: Rows) -> Result<()> {
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Staged> {
        Ok(Staged::default())
    }
}

/// A lane that stages rows as they come.
pub struct Plain {
    /// What rows go through first.
    pub pipeline: Arc<Pipeline>,
    /// This lane's way through it.
    pub preparer: Preparer,
    /// Where they go.
    pub output: Output,
    /// Hashes are wanted: for a digest, and for an index.
    pub hashed: bool,
    /// The index wants hashes beside the rows.
    pub indexed: bool,
    /// The checksum of what was staged.
    pub sum: Sum,
    /// The counts.
    pub counts: Counts,
}

impl Work for Plain {
    fn take(&mut self, _partition: usize, payload: Payload, runtime: &Handle) -> Result<()> {
        let prepared = runtime.block_on(self.preparer.prepare(payload, &mut self.counts))?;
        self.counts.filtered += prepared.filtered.len() as u64;
        let hashes = if self.hashed {
            Some(self.pipeline.hashes(&prepared.batch)?)
        } else {
            None
        };
        if let Some(hashes) = &hashes {
            self.sum.add(hashes);
        }
        let deleted = prepared
            .ops
            .iter()
            .flatten()
            .filter(|op| **op == Op::Delete)
            .count() as u64;
        self.counts.deleted += deleted;
        self.counts.inserted += prepared.batch.num_rows() as u64 - deleted;
        let hashes = hashes.filter(|_| self.indexed);
        runtime.block_on(self.output.write(Rows {
            batch: prepared.batch,
            ops: prepared.ops,
            hashes,
            identities: None,
        }))
    }

    fn end(&mut self, _partition: usize) -> Result<()> {
        self.preparer.end();
        Ok(())
    }
}

/// A lane that compares rows with what was delivered.
pub struct Keyed {
    /// What rows go through first.
    pub pipeline: Arc<Pipeline>,
    /// This lane's way through it.
    pub preparer: Preparer,
    /// The place in the index, for full loads.
    pub matcher: Option<Matcher>,
    /// What was not found there.
    pub candidates: Candidates,
    /// The counts.
    pub counts: Counts,
}

impl Work for Keyed {
    fn take(&mut self, partition: usize, payload: Payload, runtime: &Handle) -> Result<()> {
        let mut prepared = runtime.block_on(self.preparer.prepare(payload, &mut self.counts))?;
        let hashes = self.pipeline.hashes(&prepared.batch)?;
        let place = (partition as u64) << ROW_BITS;
        self.note(&prepared, place)?;
        let rows: Option<Vec<u32>> = match (&mut self.matcher, &prepared.ops) {
            // A row that was read as a delete must not be taken for the row that is delivered.
            (Some(matcher), None) => {
                let matches = matcher.find(&hashes)?;
                self.counts.unchanged += matches.unchanged;
                self.counts.superseded += matches.repeated;
                (matches.unmatched.len() < hashes.len()).then_some(matches.unmatched)
            }
            _ => None,
        };
        let hashes = match &rows {
            Some(rows) => {
                prepared = prepared.take(rows)?;
                rows.iter().map(|row| hashes[*row as usize]).collect()
            }
            None => hashes,
        };
        if prepared.batch.num_rows() == 0 {
            return Ok(());
        }
        let keys = self.pipeline.keys(&prepared, &hashes)?;
        let candidates = (0..prepared.batch.num_rows()).map(|row| Candidate {
            identity: keys.identities[row],
            delivered: keys
                .delivered
                .as_ref()
                .map_or(keys.identities[row], |delivered| delivered[row]),
            row: hashes[row],
            cursor: keys
                .cursors
                .as_ref()
                .map_or_else(Box::default, |cursors| cursors.row(row).as_ref().into()),
            place: place | prepared.places[row],
            number: 0,
            kind: match prepared.ops.as_ref().map(|ops| ops[row]) {
                Some(Op::Delete) => Kind::Delete,
                _ => Kind::Upsert,
            },
        });
        let candidates = candidates.collect();
        self.candidates.add(SetAside {
            batch: prepared.batch,
            hashes,
            candidates,
        })
    }

    fn end(&mut self, _partition: usize) -> Result<()> {
        self.preparer.end();
        Ok(())
    }
}

impl Keyed {
    /// Keys of rows that were refused or filtered: the delivered row of the first stays, of the second goes.
    fn note(&mut self, prepared: &Prepared, place: u64) -> Result<()> {
        if self.pipeline.key.is_empty() {
            self.counts.filtered += prepared.filtered.len() as u64;
            return Ok(());
        }
        let candidate = |hidden: &super::prepare::Hidden, kind| Candidate {
            identity: hidden.identity,
            delivered: hidden.identity,
            row: 0,
            cursor: hidden.cursor.clone(),
            place: place | hidden.place,
            number: 0,
            kind,
        };
        let mut notes: Vec<Candidate> = prepared
            .refused
            .iter()
            .map(|hidden| candidate(hidden, Kind::Keep))
            .collect();
        notes.extend(
            prepared
                .filtered
                .iter()
                .map(|hidden| candidate(hidden, Kind::Filtered)),
        );
        self.candidates.note(&notes)
    }
}

/// Stages the winners of one lane; gives their checksum.
///
/// # Errors
/// What the scratch file or the destination says.
pub async fn stage_winners(kept: &Kept, decisions: &Decisions, output: &mut Output) -> Result<Sum> {
    let mut sum = Sum::default();
    for batch in kept.read()? {
        let (first, rows) = batch?;
        let numbers = first..first + rows.batch.num_rows() as u64;
        let winners: Vec<u32> = (0u32..)
            .zip(numbers.clone())
            .filter(|(_, number)| !decisions.drops.contains(*number))
            .map(|(row, _)| row)
            .collect();
        let ops = winners.iter().map(|row| {
            let number = first + u64::from(*row);
            if decisions.updates.contains(number) {
                Op::Update
            } else if decisions.deletes.contains(number) {
                Op::Delete
            } else {
                Op::Insert
            }
        });
        let ops = Some(ops.collect());
        let rows = pick(&rows, &winners, ops)?;
        sum.add(rows.hashes.as_deref().unwrap_or_default());
        output.write(rows).await?;
    }
    Ok(sum)
}

fn pick(rows: &Rows, winners: &[u32], ops: Option<Vec<Op>>) -> Result<Rows> {
    let pick = |values: &Vec<u128>| winners.iter().map(|row| values[*row as usize]).collect();
    Ok(Rows {
        batch: take_record_batch(&rows.batch, &UInt32Array::from(winners.to_vec()))?,
        ops,
        hashes: rows.hashes.as_ref().map(pick),
        identities: rows.identities.as_ref().map(pick),
    })
}

/// Stages a delete for every index entry that is gone, made from the key in the index.
///
/// # Errors
/// What the index or the destination says.
pub async fn stage_gone(
    index: &Index,
    decisions: &Decisions,
    schema: &SchemaRef,
    output: &mut Output,
) -> Result<()> {
    for group in index.chosen(&decisions.gone) {
        let (entries, rows) = group?;
        let len = rows.len();
        let key = take_record_batch(&entries.key, &UInt32Array::from(rows))?;
        let columns = schema
            .fields()
            .iter()
            .map(|field| match key.column_by_name(field.name()) {
                Some(column) => Ok(arrow::compute::cast(column, field.data_type())?),
                None => Ok(new_null_array(field.data_type(), len)),
            });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let rows = Rows {
            batch: RecordBatch::try_new(schema.clone(), columns)?,
            ops: Some(vec![Op::Delete; len]),
            hashes: Some(vec![0; len]),
            identities: Some(vec![0; len]),
        };
        output.write(rows).await?;
    }
    Ok(())
}

/// Refuses a full load that would delete too much.
///
/// # Errors
/// `data` (`MassDelete`).
pub fn guard(absent: u64, live: u64, fraction: f64, allowed: bool) -> Result<()> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction of rows needs no more than 52 bits"
    )]
    let too_many = absent as f64 > live as f64 * fraction || (absent == live && live > 100);
    if !too_many || allowed || absent == 0 {
        return Ok(());
    }
    Err(Error::data(format!("this full load would delete {absent} of {live} delivered rows; nothing was changed"))
        .reason("MassDelete")
        .advice("if that is right, run it once more with `--allow-deletes`, or with the trigger `full_load=\"TOKEN;allow-deletes\"`; otherwise look at the source, or raise maxDeleteFraction"))
}
