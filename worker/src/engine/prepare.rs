//! From a payload to rows that can be delivered: null keys, contract, transforms, and the hidden input key.
//!
//! In: payloads in the reader's schema. Out: [`Prepared`] rows in the delivered schema, with what is needed to compare
//! them; every row that is not among them is in the dead letter, or was filtered, and its key is known where it can be.

mod hidden;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, UInt32Array},
    compute::{take, take_record_batch},
    datatypes::SchemaRef,
    record_batch::RecordBatch,
    row::{RowConverter, Rows as OrderedRows, SortField},
};
use serde_json::Value;

pub use self::hidden::Hidden;
use self::hidden::Rows;
use super::{
    contract::{Coercer, Contract},
    counts::Counts,
    dead_letter::DeadLetters,
    rows::{Misfit, NULL_KEY, place, refuse},
    transform::Transform,
};
use crate::{
    connector::{Op, Payload, Refused, Shard},
    diff::hash,
    error::{Error, Result},
};

/// All that rows go through between reader and writer; made once a load, shared by its lanes.
pub struct Pipeline {
    /// The columns that the reader yields.
    pub reader: SchemaRef,
    /// The schema contract, settled.
    pub contract: Contract,
    /// The transforms, in order.
    pub transforms: Vec<Transform>,
    /// The key columns at the source; empty: none.
    pub key: Vec<String>,
    /// The key columns as delivered; empty: none.
    pub delivered_key: Vec<String>,
    /// The cursor columns at the source; empty: none.
    pub cursor: Vec<String>,
    /// The delivered key is not the input key.
    pub rekeyed: bool,
    /// The columns that are delivered.
    pub schema: SchemaRef,
    /// The seed of the row hashes.
    pub seed: u64,
    /// The target, which may be unable to hold some rows.
    pub shard: Arc<dyn Shard>,
    /// Where refused rows go.
    pub dead_letters: Arc<DeadLetters>,
}

/// Rows that can be delivered.
pub struct Prepared {
    /// The rows, in the delivered schema.
    pub batch: RecordBatch,
    /// One operation a row, for change streams.
    pub ops: Option<Vec<Op>>,
    /// Each row's number within its partition.
    pub places: Vec<u64>,
    /// The input key columns of these rows.
    key: Vec<ArrayRef>,
    /// What orders versions of one key: the reader's watermarks, or the cursor columns.
    order: Vec<ArrayRef>,
    /// Rows that a filter dropped.
    pub filtered: Vec<Hidden>,
    /// Rows that were refused, where their key can be read.
    pub refused: Vec<Hidden>,
}

/// Hashes of keys, and what orders the versions of one key.
pub struct Keys {
    /// The hash of the input key; of the whole row where there is no key.
    pub identities: Vec<u128>,
    /// The hash of the delivered key, where it is another.
    pub delivered: Option<Vec<u128>>,
    /// Bytes that compare as the cursors do.
    pub cursors: Option<OrderedRows>,
}

/// One lane's way through a [`Pipeline`].
pub struct Preparer {
    pipeline: Arc<Pipeline>,
    coercer: Coercer,
    /// Rows of the partition at hand so far.
    row: u64,
}

impl Preparer {
    /// Starts before the first row.
    ///
    /// # Errors
    /// As [`Contract::coercer`].
    pub fn new(pipeline: &Arc<Pipeline>) -> Result<Self> {
        Ok(Self {
            coercer: pipeline.contract.coercer(&pipeline.reader)?,
            pipeline: pipeline.clone(),
            row: 0,
        })
    }

    /// The partition has ended: rows are counted from 0 again.
    pub fn end(&mut self) {
        self.row = 0;
    }

    /// Takes one payload through.
    ///
    /// # Errors
    /// What the contract stops on; what the dead letter's storage says.
    pub async fn prepare(&mut self, payload: Payload, counts: &mut Counts) -> Result<Prepared> {
        let first = self.row;
        let pipeline = &self.pipeline;
        let read = (payload.batch.num_rows() + payload.refused.len()) as u64;
        self.row += read;
        counts.read += read;

        let coerced = self.coercer.coerce(payload)?;
        let Payload {
            batch,
            ops,
            watermarks,
            metadata,
            refused,
            ..
        } = coerced.payload;
        let order = match watermarks {
            Some(watermarks) => vec![watermarks],
            None => columns(&batch, &pipeline.cursor)?,
        };
        let all = || (0u32..).take(batch.num_rows()).collect::<Vec<u32>>();
        let source = Rows {
            key: columns(&batch, &pipeline.key)?,
            order,
            first,
            numbers: coerced.rows.unwrap_or_else(all),
        };
        let mut prepared = Prepared {
            places: source
                .numbers
                .iter()
                .map(|number| first + u64::from(*number))
                .collect(),
            refused: pipeline.keys_of_refused(coerced.refused.as_ref(), first, coerced.refused_rows)?,
            filtered: Vec::new(),
            ops,
            key: source.key.clone(),
            order: source.order.clone(),
            batch,
        };
        let mut letters = refused;
        let mut rows: Vec<u32> = (0u32..).take(prepared.batch.num_rows()).collect();
        for transform in &pipeline.transforms {
            let output = transform.apply(&prepared.batch, &metadata)?;
            let picked = |numbers: &[u32]| {
                numbers
                    .iter()
                    .map(|number| rows[*number as usize])
                    .collect::<Vec<u32>>()
            };
            prepared
                .refused
                .extend(source.hidden(&picked(&output.refused_rows))?);
            prepared
                .filtered
                .extend(source.hidden(&picked(&output.filtered_rows))?);
            letters.extend(
                output
                    .refused
                    .into_iter()
                    .zip(&output.refused_rows)
                    .map(|(letter, row)| Refused {
                        place: place(&metadata, source.numbers[rows[*row as usize] as usize] as usize),
                        ..letter
                    }),
            );
            if let Some(kept) = output.kept {
                rows = picked(&kept);
                prepared = prepared.take_but_batch(&kept)?;
            }
            prepared.batch = output.batch;
        }
        let prepared = pipeline.held(prepared, &source, &rows, &metadata, &mut letters)?;
        counts.refused += letters.len() as u64;
        // A row that names no key by itself is nobody's; of one that could not be read, nobody knows whose it was.
        let unread = letters.iter().filter(|letter| letter.kind != NULL_KEY).count();
        counts.unknown += unread.saturating_sub(prepared.refused.len()) as u64;
        pipeline.dead_letters.add(letters).await?;
        Ok(prepared)
    }
}

impl Pipeline {
    /// Takes out the rows that the destination cannot hold. `numbers`: those of the rows in `source`.
    fn held(
        &self,
        mut prepared: Prepared,
        source: &Rows,
        numbers: &[u32],
        metadata: &BTreeMap<&'static str, Value>,
        letters: &mut Vec<Refused>,
    ) -> Result<Prepared> {
        let unfit = self.shard.unfit(&prepared.batch)?;
        if unfit.is_empty() {
            return Ok(prepared);
        }
        let gone: BTreeSet<usize> = unfit.iter().map(|(row, _)| *row).collect();
        let misfit = |(row, reason)| Misfit {
            row,
            kind: "destination",
            reason,
        };
        let refused = refuse(&prepared.batch, unfit.into_iter().map(misfit).collect(), metadata)?;
        let numbered = |row: &usize| numbers[*row];
        letters.extend(refused.into_iter().zip(&gone).map(|(letter, row)| Refused {
            place: place(metadata, source.numbers[numbered(row) as usize] as usize),
            ..letter
        }));
        let hidden = source.hidden(&gone.iter().map(numbered).collect::<Vec<_>>())?;
        prepared.refused.extend(hidden);
        let kept = (0u32..).zip(0..prepared.batch.num_rows());
        let kept: Vec<u32> = kept
            .filter(|(_, row)| !gone.contains(row))
            .map(|(row, _)| row)
            .collect();
        prepared.take(&kept)
    }

    fn keys_of_refused(
        &self,
        refused: Option<&RecordBatch>,
        first: u64,
        numbers: Vec<u32>,
    ) -> Result<Vec<Hidden>> {
        match refused {
            Some(batch) if !self.key.is_empty() => {
                let rows = Rows {
                    key: columns(batch, &self.key)?,
                    order: columns(batch, &self.cursor)?,
                    first,
                    numbers,
                };
                rows.hidden(&(0u32..).take(batch.num_rows()).collect::<Vec<_>>())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// One hash a row, over all delivered columns.
    ///
    /// # Errors
    /// `data` where a nested type cannot be hashed.
    pub fn hashes(&self, batch: &RecordBatch) -> Result<Vec<u128>> {
        let columns = self
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .zip(batch.columns());
        hash::rows(columns, batch.num_rows(), self.seed)
    }

    /// What rows are compared by.
    ///
    /// # Errors
    /// `data` where a nested type cannot be hashed.
    pub fn keys(&self, prepared: &Prepared, hashes: &[u128]) -> Result<Keys> {
        let len = prepared.batch.num_rows();
        if self.key.is_empty() {
            return Ok(Keys {
                identities: hashes.to_vec(),
                delivered: None,
                cursors: None,
            });
        }
        let delivered = if self.rekeyed {
            Some(hash::identities(
                &columns(&prepared.batch, &self.delivered_key)?,
                len,
            )?)
        } else {
            None
        };
        Ok(Keys {
            identities: hash::identities(&prepared.key, len)?,
            delivered,
            cursors: ordered(&prepared.order)?,
        })
    }
}

impl Prepared {
    /// Some of the rows.
    ///
    /// # Errors
    /// `bug` where a row does not exist.
    pub fn take(self, rows: &[u32]) -> Result<Self> {
        let batch = take_record_batch(&self.batch, &UInt32Array::from(rows.to_vec()))?;
        Ok(Self {
            batch,
            ..self.take_but_batch(rows)?
        })
    }

    fn take_but_batch(self, rows: &[u32]) -> Result<Self> {
        let picked = UInt32Array::from(rows.to_vec());
        let pick = |columns: Vec<ArrayRef>| {
            columns
                .iter()
                .map(|column| take(column, &picked, None))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            ops: self
                .ops
                .map(|ops| rows.iter().map(|row| ops[*row as usize]).collect()),
            places: rows.iter().map(|row| self.places[*row as usize]).collect(),
            key: pick(self.key)?,
            order: pick(self.order)?,
            ..self
        })
    }
}

/// Columns by name.
///
/// # Errors
/// `config` where one is missing.
pub fn columns(batch: &RecordBatch, names: &[String]) -> Result<Vec<ArrayRef>> {
    let column = |name: &String| {
        batch.column_by_name(name).cloned().ok_or_else(|| {
            let schema = batch.schema();
            let known: Vec<&str> = schema
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect();
            Error::config(format!("there is no column `{name}`"))
                .advice(format!("the columns are {}", known.join(", ")))
        })
    };
    names.iter().map(column).collect()
}

fn ordered(columns: &[ArrayRef]) -> Result<Option<OrderedRows>> {
    if columns.is_empty() {
        return Ok(None);
    }
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()))
        .collect();
    Ok(Some(RowConverter::new(fields)?.convert_columns(columns)?))
}
