//! Rows of a binary COPY into Arrow columns.
//!
//! In: the bytes that the server sends, a row in each message. Out: record batches, and the rows that hold a
//! value which Arrow cannot (an infinite date, a numeric that is no number), refused one by one. No value is
//! allocated by itself: each column grows its own buffers.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    datatypes::{Schema, SchemaRef},
    util::display::{ArrayFormatter, FormatOptions},
};
use serde_json::{Map, Value, json};

use self::column::{Builder, Unfit};
use super::types::Column;
use crate::{
    connector::{Refused, UnfitRow},
    error::{Error, Result},
};

mod bytes;
pub(super) mod column;
mod list;

/// What a binary COPY begins with.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Decodes one COPY.
pub(super) struct Decoder {
    columns: Arc<[Column]>,
    schema: SchemaRef,
    builders: Vec<Builder>,
    rows: usize,
    wire_bytes: u64,
    bad: Vec<Bad>,
    started: bool,
    /// Rows in earlier batches, for the place of refused ones.
    before: u64,
}

/// A value that does not fit.
struct Bad {
    row: usize,
    column: usize,
    unfit: Unfit,
}

/// A batch that is complete.
pub(super) struct Decoded {
    pub(super) batch: RecordBatch,
    pub(super) unfit: Vec<UnfitRow>,
    /// Bytes on the wire.
    pub(super) bytes: u64,
}

impl Decoder {
    /// A decoder of these columns.
    pub(super) fn new(columns: Arc<[Column]>, schema: SchemaRef) -> Self {
        let builders = columns.iter().map(|column| Builder::new(&column.kind)).collect();
        Self {
            columns,
            schema,
            builders,
            rows: 0,
            wire_bytes: 0,
            bad: Vec::new(),
            started: false,
            before: 0,
        }
    }

    /// Rows taken since the last batch.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes taken since the last batch.
    pub(super) fn bytes(&self) -> u64 {
        self.wire_bytes
    }

    /// Takes one message.
    ///
    /// # Errors
    /// `bug` where the bytes are not what the protocol promises.
    pub(super) fn take(&mut self, message: &[u8]) -> Result<()> {
        self.wire_bytes += message.len() as u64;
        let mut rest = message;
        if !self.started {
            rest = header(rest).ok_or_else(broken)?;
            self.started = true;
        }
        while !rest.is_empty() {
            let (count, fields) = rest.split_first_chunk::<2>().ok_or_else(broken)?;
            let count = i16::from_be_bytes(*count);
            if count == -1 {
                return Ok(());
            }
            if usize::try_from(count) != Ok(self.builders.len()) {
                return Err(broken());
            }
            rest = self.row(fields).ok_or_else(broken)?;
        }
        Ok(())
    }

    /// Takes one row; `None` where it is cut off.
    #[inline]
    fn row<'a>(&mut self, mut rest: &'a [u8]) -> Option<&'a [u8]> {
        for (column, builder) in self.builders.iter_mut().enumerate() {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let length = i32::from_be_bytes(*length);
            if length == -1 {
                builder.push_null();
                rest = after;
                continue;
            }
            let (value, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
            rest = after;
            if let Err(unfit) = builder.push(value) {
                builder.push_null();
                self.bad.push(Bad {
                    row: self.rows,
                    column,
                    unfit,
                });
            }
        }
        self.rows += 1;
        Some(rest)
    }

    /// The rows taken so far, as a batch; the next one begins empty.
    ///
    /// # Errors
    /// `bug` where the columns do not agree.
    pub(super) fn finish(&mut self) -> Result<Decoded> {
        let rows = std::mem::take(&mut self.rows);
        let mut bad = std::mem::take(&mut self.bad);
        let mut arrays = Vec::with_capacity(self.builders.len());
        for (column, builder) in self.builders.iter_mut().enumerate() {
            let (array, unfit) = builder.finish()?;
            bad.extend(unfit.into_iter().map(|(row, unfit)| Bad { row, column, unfit }));
            arrays.push(array);
        }
        let decoded = self.assemble(arrays, rows, &mut bad)?;
        self.before += rows as u64;
        Ok(decoded)
    }

    fn assemble(&mut self, arrays: Vec<ArrayRef>, rows: usize, bad: &mut [Bad]) -> Result<Decoded> {
        let bytes = std::mem::take(&mut self.wire_bytes);
        bad.sort_by_key(|bad| (bad.row, bad.column));
        let unfit = bad.chunk_by(|a, b| a.row == b.row);
        let unfit = unfit.map(|bad| self.unfit(&arrays, bad)).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        // The nulls in place of bad values may stand in columns that have none.
        let schema = if bad.is_empty() {
            self.schema.clone()
        } else {
            loose(&self.schema)
        };
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options)
            .map_err(|error| Error::bug(format!("the columns of a COPY: {error}")))?;
        Ok(Decoded { batch, unfit, bytes })
    }

    fn unfit(&self, arrays: &[ArrayRef], bad: &[Bad]) -> UnfitRow {
        let columns = bad.iter().map(|bad| self.columns[bad.column].name.clone());
        UnfitRow {
            row: bad.first().map_or(0, |bad| bad.row),
            columns: columns.collect(),
            letter: self.refuse(arrays, bad),
        }
    }

    fn refuse(&self, arrays: &[ArrayRef], bad: &[Bad]) -> Refused {
        let row = bad.first().map_or(0, |bad| bad.row);
        let mut values: Map<String, Value> = self
            .columns
            .iter()
            .zip(arrays)
            .map(|(column, array)| (column.name.clone(), cell(array, row)))
            .collect();
        for bad in bad {
            values.insert(
                self.columns[bad.column].name.clone(),
                Value::String(bad.unfit.value.clone()),
            );
        }
        let reasons: Vec<String> = bad
            .iter()
            .map(|bad| {
                format!(
                    "{}: {} {}",
                    self.columns[bad.column].name, bad.unfit.value, bad.unfit.reason
                )
            })
            .collect();
        Refused {
            reason: reasons.join("; "),
            kind: "type".to_owned(),
            place: BTreeMap::from([("row".to_owned(), json!(self.before + row as u64))]),
            row: Value::Object(values),
        }
    }
}

/// The same columns, all of which may be null.
fn loose(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// One value for people and dead letters: exact, numbers beyond 53 bits as text.
fn cell(array: &ArrayRef, row: usize) -> Value {
    use arrow::{array::AsArray, datatypes as a};
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        a::DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        a::DataType::Int16 => json!(array.as_primitive::<a::Int16Type>().value(row)),
        a::DataType::Int32 => json!(array.as_primitive::<a::Int32Type>().value(row)),
        a::DataType::Int64 => json!(array.as_primitive::<a::Int64Type>().value(row)),
        _ => ArrayFormatter::try_new(array, &FormatOptions::default()).map_or(Value::Null, |formatter| {
            Value::String(formatter.value(row).to_string())
        }),
    }
}

/// What follows the header of a COPY.
fn header(message: &[u8]) -> Option<&[u8]> {
    let rest = message.strip_prefix(SIGNATURE)?;
    let (_flags, rest) = rest.split_first_chunk::<4>()?;
    let (extension, rest) = rest.split_first_chunk::<4>()?;
    rest.get(usize::try_from(u32::from_be_bytes(*extension)).ok()?..)
}

fn broken() -> Error {
    Error::bug("the server's binary COPY is not what its protocol promises")
        .advice("is a proxy between that changes it?")
}

#[cfg(test)]
mod tests;
