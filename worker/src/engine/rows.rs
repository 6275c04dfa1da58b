//! Rows as JSON, one value a row: for dead letters and for people. Never on the path of rows that are delivered.
//!
//! In: a batch and the numbers of some of its rows. Out: one JSON object each; decimals as text, since a JSON number
//! would lose digits, and binary as hexadecimal text.

use std::{collections::BTreeMap, fmt::Write as _};

use arrow::{
    array::{Array, ArrayRef, UInt64Array},
    compute::take_record_batch,
    datatypes::{DataType, FieldRef},
    error::ArrowError,
    json::{
        Encoder, EncoderFactory, EncoderOptions, WriterBuilder,
        writer::{JsonArray, NullableEncoder},
    },
    record_batch::RecordBatch,
    util::display::{ArrayFormatter, FormatOptions},
};
use serde_json::{Map, Value};

use crate::{connector::Refused, error::Result};

/// The longest text of a value that an error or a reason repeats.
const SHOWN: usize = 80;

/// One JSON object for each of `rows`, in that order; nulls are written out.
///
/// # Errors
/// `bug` where a row number lies beyond the batch.
pub fn to_json(batch: &RecordBatch, rows: &[usize]) -> Result<Vec<Value>> {
    let indices = UInt64Array::from_iter_values(rows.iter().map(|row| *row as u64));
    let picked = take_record_batch(batch, &indices)?;
    match encode(&picked) {
        Ok(rows) => Ok(rows),
        // A type that JSON has no form for must not keep a row out of the dead letter: its text will do.
        Err(_) => Ok((0..picked.num_rows()).map(|row| as_texts(&picked, row)).collect()),
    }
}

fn encode(batch: &RecordBatch) -> Result<Vec<Value>> {
    let mut bytes = Vec::new();
    let builder = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(std::sync::Arc::new(DecimalsAsText));
    let mut writer = builder.build::<_, JsonArray>(&mut bytes);
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    Ok(serde_json::from_slice(&bytes)?)
}

fn as_texts(batch: &RecordBatch, row: usize) -> Value {
    let schema = batch.schema();
    let cells = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            let value = if column.is_null(row) {
                Value::Null
            } else {
                Value::String(text(column, row))
            };
            (field.name().clone(), value)
        });
    Value::Object(cells.collect::<Map<_, _>>())
}

fn text(column: &ArrayRef, row: usize) -> String {
    let options = FormatOptions::default().with_display_error(false);
    match ArrayFormatter::try_new(column, &options) {
        Ok(formatter) => formatter
            .value(row)
            .try_to_string()
            .unwrap_or_else(|error| format!("({error})")),
        Err(_) => format!("({})", column.data_type()),
    }
}

/// A value as a reason shows it: text in quotes, cut where it is long.
#[must_use]
pub fn shown(column: &ArrayRef, row: usize) -> String {
    let mut text = text(column, row);
    if let Some((cut, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(cut);
        text.push('…');
    }
    match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => format!("\"{text}\""),
        _ => text,
    }
}

/// The kind of a row that is refused because its key is null.
pub const NULL_KEY: &str = "null-key";

/// A row that is to be refused: its number in the batch, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The row.
    pub row: usize,
    /// `parse`, `type`, `null-key`, `contract`, `destination`.
    pub kind: &'static str,
    /// Why, with the column's path.
    pub reason: String,
}

/// Makes dead letters of misfits, one a row: what else is wrong with the same row is added to its reason.
/// `metadata` is that of the payload, which places its first row.
///
/// # Errors
/// `bug` where a row number lies beyond the batch.
pub fn refuse(
    batch: &RecordBatch,
    mut misfits: Vec<Misfit>,
    metadata: &BTreeMap<&'static str, Value>,
) -> Result<Vec<Refused>> {
    misfits.sort_by_key(|misfit| misfit.row);
    let mut merged: Vec<Misfit> = Vec::new();
    for misfit in misfits {
        match merged.last_mut() {
            Some(last) if last.row == misfit.row => {
                // Writing to a String cannot fail.
                let _ = write!(last.reason, "; {}", misfit.reason);
            }
            _ => merged.push(misfit),
        }
    }
    let rows: Vec<usize> = merged.iter().map(|misfit| misfit.row).collect();
    let values = to_json(batch, &rows)?;
    let refused = merged.into_iter().zip(values).map(|(misfit, row)| Refused {
        reason: misfit.reason,
        kind: misfit.kind.to_owned(),
        place: place(metadata, misfit.row),
        row,
    });
    Ok(refused.collect())
}

/// The place of one row: that of the payload, and how far after its first row. Where the reader numbers rows, the
/// number itself.
#[must_use]
pub fn place(metadata: &BTreeMap<&'static str, Value>, row: usize) -> BTreeMap<String, Value> {
    let mut place: BTreeMap<String, Value> = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    match metadata.get("row").and_then(Value::as_u64) {
        Some(first) => place.insert("row".to_owned(), Value::from(first + row as u64)),
        None => place.insert("rowsAfter".to_owned(), Value::from(row as u64)),
    };
    place
}

/// Writes decimals as JSON text.
#[derive(Debug)]
struct DecimalsAsText;

struct Quoted<'a>(ArrayFormatter<'a>);

impl Encoder for Quoted<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.0.value(index).to_string().as_bytes());
        out.push(b'"');
    }
}

impl EncoderFactory for DecimalsAsText {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> std::result::Result<Option<NullableEncoder<'a>>, ArrowError> {
        if !array.data_type().is_decimal() {
            return Ok(None);
        }
        let formatter = ArrayFormatter::try_new(array, &FormatOptions::new())?;
        Ok(Some(NullableEncoder::new(
            Box::new(Quoted(formatter)),
            array.nulls().cloned(),
        )))
    }
}

#[cfg(test)]
mod tests;
