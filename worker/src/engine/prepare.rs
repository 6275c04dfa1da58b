//! From a payload to rows that can be delivered: null keys, contract, transforms, and the hidden input key.
//!
//! In: payloads in the reader's schema. Out: [`Prepared`] rows in the delivered schema, with what is needed to compare
//! them; every row that is not among them is in the dead letter, or was filtered, and its key is known where it can be.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, UInt32Array},
    compute::{take, take_record_batch},
    datatypes::SchemaRef,
    record_batch::RecordBatch,
    row::{RowConverter, Rows as OrderedRows, SortField},
};

use super::{contract::Contract, counts::Counts, dead_letter::DeadLetters, transform::Transform};
use crate::{
    connector::{Op, Payload, Refused},
    diff::hash,
    error::{Error, Result},
};

/// All that rows go through between reader and writer; made once a load, shared by its lanes.
pub struct Pipeline {
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
    /// Rows of the payload, refused ones included.
    pub read: u64,
}

/// What is known of a row that is not delivered.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// The hash of its key; 0 where the stream has none.
    pub identity: u128,
    /// Its cursor, as bytes that compare.
    pub cursor: Box<[u8]>,
    /// Its number within the partition.
    pub place: u64,
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

impl Pipeline {
    /// Takes one payload through. `row` is the number of its first row within the partition.
    ///
    /// # Errors
    /// What the contract stops on; what the dead letter's storage says.
    pub async fn prepare(&self, payload: Payload, partition: usize, row: u64, counts: &mut Counts) -> Result<Prepared> {
        let Payload { batch, ops, watermarks, metadata, refused: unread, .. } = payload;
        let read = (batch.num_rows() + unread.len()) as u64;
        counts.read += read;
        counts.refused += unread.len() as u64;
        self.dead_letters.add(unread).await?;

        let place = |number: u32| {
            let mut place = metadata.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<std::collections::BTreeMap<_, _>>();
            place.insert("partition".to_owned(), partition.into());
            place.insert("row".to_owned(), (row + u64::from(number)).into());
            place
        };
        let deletes = |number: u32| ops.as_ref().is_some_and(|ops| ops[number as usize] == Op::Delete);
        let checked = self.contract.apply(&batch, &self.key, deletes, place)?;
        counts.refused += checked.refused.len() as u64;
        let key = columns(&batch, &self.key)?;
        let order = match watermarks {
            Some(watermarks) => vec![watermarks],
            None => columns(&batch, &self.cursor)?,
        };
        let refused_rows: Vec<u32> = checked.refused.iter().map(|(number, _)| *number).collect();
        let refused: Vec<Refused> = checked.refused.into_iter().map(|(_, refused)| refused).collect();
        self.dead_letters.add(refused).await?;

        let mut filtered: Vec<u32> = Vec::new();
        let mut broken: Vec<(u32, Refused)> = Vec::new();
        let (mut batch, mut rows) = (checked.batch, checked.rows);
        for transform in &self.transforms {
            let output = transform.apply(&batch)?;
            if let Some(failed) = output.failed.into_iter().next() {
                return Err(Error::data(failed.reason));
            }
            if let Some(kept) = output.kept {
                let all = rows.unwrap_or_else(|| (0..u32::try_from(batch.num_rows()).unwrap_or(u32::MAX)).collect());
                let mut keep = vec![false; all.len()];
                kept.iter().for_each(|row| keep[*row as usize] = true);
                // A row that is gone has no values to filter by.
                filtered.extend(all.iter().zip(&keep).filter(|(_, keep)| !**keep).map(|(row, _)| *row));
                rows = Some(kept.iter().map(|row| all[*row as usize]).collect());
            }
            batch = output.batch;
        }
        broken.clear();
        let take_all = |columns: &[ArrayRef]| match &rows {
            Some(rows) => {
                let rows = UInt32Array::from(rows.clone());
                columns.iter().map(|column| Ok(take(column, &rows, None)?)).collect::<Result<Vec<_>>>()
            }
            None => Ok(columns.to_vec()),
        };
        Ok(Prepared {
            places: match &rows {
                Some(rows) => rows.iter().map(|number| row + u64::from(*number)).collect(),
                None => (row..row + batch.num_rows() as u64).collect(),
            },
            ops: ops.map(|ops| match &rows {
                Some(rows) => rows.iter().map(|row| ops[*row as usize]).collect(),
                None => ops,
            }),
            filtered: self.hidden(&key, &order, &filtered, row)?,
            refused: self.hidden(&key, &order, &refused_rows, row)?,
            key: take_all(&key)?,
            order: take_all(&order)?,
            batch,
            read,
        })
    }

    /// What is known of `rows`, whose key may hold nulls: those are left out.
    fn hidden(&self, key: &[ArrayRef], order: &[ArrayRef], rows: &[u32], first: u64) -> Result<Vec<Hidden>> {
        let rows: Vec<u32> = rows.iter().copied().filter(|row| key.iter().all(|column| column.is_valid(*row as usize))).collect();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let picked = UInt32Array::from(rows.clone());
        let key = key.iter().map(|column| take(column, &picked, None)).collect::<Result<Vec<_>, _>>()?;
        let order = order.iter().map(|column| take(column, &picked, None)).collect::<Result<Vec<_>, _>>()?;
        let identities = if key.is_empty() { vec![0; rows.len()] } else { hash::identities(&key, rows.len())? };
        let cursors = ordered(&order)?;
        let hidden = rows.iter().enumerate().map(|(at, row)| Hidden {
            identity: identities[at],
            cursor: cursors.as_ref().map_or_else(Box::default, |cursors| cursors.row(at).as_ref().into()),
            place: first + u64::from(*row),
        });
        Ok(hidden.collect())
    }

    /// One hash a row, over all delivered columns.
    ///
    /// # Errors
    /// `data` where a nested type cannot be hashed.
    pub fn hashes(&self, batch: &RecordBatch) -> Result<Vec<u128>> {
        let columns = self.schema.fields().iter().map(|field| field.name().as_str()).zip(batch.columns());
        hash::rows(columns, batch.num_rows(), self.seed)
    }

    /// What rows are compared by.
    ///
    /// # Errors
    /// `data` where a nested type cannot be hashed.
    pub fn keys(&self, prepared: &Prepared, hashes: &[u128]) -> Result<Keys> {
        let len = prepared.batch.num_rows();
        if self.key.is_empty() {
            return Ok(Keys { identities: hashes.to_vec(), delivered: None, cursors: None });
        }
        let delivered = if self.rekeyed {
            Some(hash::identities(&columns(&prepared.batch, &self.delivered_key)?, len)?)
        } else {
            None
        };
        Ok(Keys { identities: hash::identities(&prepared.key, len)?, delivered, cursors: ordered(&prepared.order)? })
    }
}

impl Prepared {
    /// Some of the rows.
    ///
    /// # Errors
    /// `bug` where a row does not exist.
    pub fn take(self, rows: &[u32]) -> Result<Self> {
        let picked = UInt32Array::from(rows.to_vec());
        let pick = |columns: Vec<ArrayRef>| columns.iter().map(|column| take(column, &picked, None)).collect::<Result<Vec<_>, _>>();
        Ok(Self {
            batch: take_record_batch(&self.batch, &picked)?,
            ops: self.ops.map(|ops| rows.iter().map(|row| ops[*row as usize]).collect()),
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
            let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            Error::config(format!("there is no column `{name}`")).advice(format!("the columns are {}", known.join(", ")))
        })
    };
    names.iter().map(column).collect()
}

fn ordered(columns: &[ArrayRef]) -> Result<Option<OrderedRows>> {
    if columns.is_empty() {
        return Ok(None);
    }
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    Ok(Some(RowConverter::new(fields)?.convert_columns(columns)?))
}
