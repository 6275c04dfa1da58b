//! From the frames of a host to payloads.
//!
//! In: `batch` frames with what was refused of them, and the columns of the load. Out: payloads. A batch whose columns are not
//! those of the load is laid out as they are: what it lacks is null, and a row that has more than they hold is unfit.

mod refused;

use std::{collections::BTreeMap, io::Cursor, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array},
    buffer::Buffer,
    compute::{CastOptions, cast_with_options, concat, concat_batches},
    datatypes::{DataType, FieldRef, Schema, SchemaRef},
    ipc::reader::{StreamDecoder, StreamReader},
};
use bytes::Bytes;
use serde_json::{Value, json};

pub(super) use self::refused::Refusals;
use super::super::{frame::Frame, host};
use crate::{
    connector::{Op, Payload, Refused, UnfitRow},
    error::{Error, Result},
    formats::{Place, ndjson, row_json},
    types::{arrow_schema, type_name},
};

/// The column that says what a row does.
pub(super) const OP: &str = "_millrace_op";
/// The column that orders the versions of a row.
const WATERMARK: &str = "_millrace_watermark";

/// The schema in an Arrow stream.
///
/// # Errors
/// `bug` where it is none.
pub(super) fn schema(bytes: &[u8]) -> Result<SchemaRef> {
    let reader = StreamReader::try_new(Cursor::new(bytes), None)
        .map_err(|error| Error::bug(format!("what should be an Arrow schema is none: {error}")))?;
    Ok(data(&reader.schema()))
}

/// The columns of a `schema` or a `batch` frame.
///
/// # Errors
/// `bug` where they cannot be read.
pub(super) fn schema_of(frame: &Frame) -> Result<SchemaRef> {
    match is_json(frame) {
        true => Ok(data(&*arrow_schema(&host::columns(&frame.header)?)?)),
        false => schema(&frame.body),
    }
}

/// Without the columns that are about rows.
fn data(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let own = fields.filter(|field| ![OP, WATERMARK].contains(&field.name().as_str()));
    Arc::new(Schema::new(own.map(in_utc).collect::<Vec<_>>()))
}

/// A moment is the same in every zone, and a column keeps one.
fn in_utc(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Timestamp(unit, Some(zone)) if **zone != *"UTC" => {
            let utc = DataType::Timestamp(*unit, Some("UTC".into()));
            Arc::new(field.as_ref().clone().with_data_type(utc))
        }
        _ => field.clone(),
    }
}

fn is_json(frame: &Frame) -> bool {
    frame.header["format"] == "json"
}

/// The payload of a `batch` frame, in the columns of its load, with those of its rows that were `refused`.
///
/// # Errors
/// `bug` where it cannot be read; `data` where an operation is none.
pub(super) fn payload(frame: &Frame, columns: &SchemaRef, refused: &mut Refusals) -> Result<Payload> {
    let mut payload = match is_json(frame) {
        // A position alone.
        _ if frame.body.is_empty() => Payload::new(RecordBatch::new_empty(columns.clone())),
        true => rows(frame)?,
        false => Payload::new(batch(&frame.body)?),
    };
    payload.ops = take(&mut payload.batch, OP)
        .map(|ops| operations(&ops))
        .transpose()?;
    payload.watermarks = take(&mut payload.batch, WATERMARK);
    payload.position = frame
        .header
        .get("position")
        .cloned()
        .filter(|position| !position.is_null());
    payload.bytes = frame.header["bytes"].as_u64().unwrap_or(frame.body.len() as u64);
    if let Some(metadata) = frame.header["metadata"]
        .as_object()
        .filter(|metadata| !metadata.is_empty())
    {
        payload.metadata = BTreeMap::from([("metadata", Value::Object(metadata.clone()))]);
    }
    let mut payload = fit(payload, columns)?;
    refused.mark(&mut payload)?;
    Ok(payload)
}

/// The rows in an Arrow stream, as one batch.
fn batch(bytes: &Bytes) -> Result<RecordBatch> {
    let broken = |error| Error::bug(format!("what should be an Arrow stream is none: {error}"));
    // The arrays lie in the frame itself.
    let (mut frame, mut decoder, mut batches) =
        (Buffer::from(bytes.clone()), StreamDecoder::new(), Vec::new());
    while !frame.is_empty() {
        batches.extend(decoder.decode(&mut frame).map_err(broken)?);
    }
    decoder.finish().map_err(broken)?;
    let schema = decoder.schema();
    let schema = schema.ok_or_else(|| Error::bug("what should be an Arrow stream has no schema"))?;
    match <[RecordBatch; 1]>::try_from(batches) {
        Ok([batch]) => Ok(batch),
        Err(batches) => Ok(concat_batches(&schema, &batches)?),
    }
}

/// Rows that come as JSON, one a line.
fn rows(frame: &Frame) -> Result<Payload> {
    let decoder = ndjson::Decoder::new(arrow_schema(&host::columns(&frame.header)?)?);
    let place = Place::new("batch", 0, Some(1));
    let (mut payload, mut at) = decoder.decode(&frame.body, &place)?;
    while at < frame.body.len() {
        let (more, read) = decoder.decode(&frame.body[at..], &place)?;
        at += read.max(1);
        payload = join(payload, more)?;
    }
    Ok(payload)
}

/// Two payloads as one, with the position of the second.
///
/// # Errors
/// `bug` where their columns differ.
pub(super) fn join(mut one: Payload, other: Payload) -> Result<Payload> {
    let rows = one.batch.num_rows();
    if one.ops.is_some() || other.ops.is_some() {
        let ops = |payload: &Payload| {
            let inserts = vec![Op::Insert; payload.batch.num_rows()];
            payload.ops.clone().unwrap_or(inserts)
        };
        one.ops = Some(ops(&one).into_iter().chain(ops(&other)).collect());
    }
    one.watermarks = match (&one.watermarks, &other.watermarks) {
        (Some(one), Some(other)) => {
            let arrays: [&dyn Array; 2] = [one, other];
            Some::<ArrayRef>(concat(&arrays)?)
        }
        _ => None,
    };
    one.batch = concat_batches(&one.batch.schema(), [&one.batch, &other.batch])?;
    one.position = other.position.or(one.position);
    one.unfit.extend(other.unfit.into_iter().map(|mut unfit| {
        unfit.row += rows;
        unfit
    }));
    one.refused.extend(other.refused);
    one.bytes += other.bytes;
    Ok(one)
}

/// Takes a column out of a batch.
fn take(batch: &mut RecordBatch, name: &str) -> Option<ArrayRef> {
    let at = batch.schema().index_of(name).ok()?;
    Some(batch.remove_column(at))
}

fn operations(ops: &ArrayRef) -> Result<Vec<Op>> {
    let texts = cast_with_options(ops, &DataType::Utf8, &CastOptions::default())?;
    let texts = texts.as_string::<i32>();
    let op = |text: Option<&str>| match text {
        None | Some("insert") => Ok(Op::Insert),
        Some("update") => Ok(Op::Update),
        Some("delete") => Ok(Op::Delete),
        Some(other) => Err(Error::data(format!(
            "{OP}: `{other}` is none of insert, update, delete"
        ))),
    };
    texts.iter().map(op).collect()
}

/// Lays a payload out in the columns of its load.
fn fit(mut payload: Payload, columns: &SchemaRef) -> Result<Payload> {
    let batch = payload.batch;
    if batch.schema().fields() == columns.fields() {
        payload.batch = batch.with_schema(columns.clone())?;
        return Ok(payload);
    }
    let mut arrays = Vec::with_capacity(columns.fields().len());
    let mut wrong: BTreeMap<usize, Vec<(String, String)>> = BTreeMap::new();
    let mut note = |row: usize, column: &str, why: String| {
        wrong.entry(row).or_default().push((column.to_owned(), why));
    };
    for field in columns.fields() {
        let Some(array) = batch.column_by_name(field.name()) else {
            arrays.push(new_null_array(field.data_type(), batch.num_rows()));
            continue;
        };
        let fitting = exact(array, field.data_type())?;
        for row in 0..array.len() {
            if fitting.is_null(row) && !array.is_null(row) {
                let why = format!(
                    "a value of {} is not {}",
                    type_name(array.data_type()),
                    type_name(field.data_type())
                );
                note(row, field.name(), why);
            }
        }
        arrays.push(fitting);
    }
    for (index, field) in batch.schema().fields().iter().enumerate() {
        if columns.index_of(field.name()).is_err() {
            let array = batch.column(index);
            for row in (0..array.len()).filter(|row| !array.is_null(*row)) {
                let why = "a column that was not foreseen; declare it in the schema of the stream".to_owned();
                note(row, field.name(), why);
            }
        }
    }
    for (row, whys) in wrong {
        payload.unfit.push(unfit(&batch, row, &whys, columns)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    payload.batch = RecordBatch::try_new_with_options(columns.clone(), arrays, &options)?;
    Ok(payload)
}

/// A column of another type, where each value is one of it, too; null where it is not.
fn exact(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    let options = CastOptions::default();
    if !arrow::compute::can_cast_types(array.data_type(), wanted) {
        return Ok(new_null_array(wanted, array.len()));
    }
    let there = cast_with_options(array, wanted, &options)?;
    // A value that comes back as another has lost something on its way.
    let back = cast_with_options(&there, array.data_type(), &options)?;
    let same = arrow::compute::kernels::cmp::not_distinct(&back, array);
    Ok(match same {
        Ok(same) => arrow::compute::nullif(&there, &arrow::compute::not(&same)?)?,
        // Nested columns cannot be compared as a whole.
        Err(_) => there,
    })
}

fn unfit(
    batch: &RecordBatch,
    row: usize,
    whys: &[(String, String)],
    columns: &SchemaRef,
) -> Result<UnfitRow> {
    let reasons: Vec<String> = whys
        .iter()
        .map(|(column, why)| format!("`{column}`: {why}"))
        .collect();
    let foreseen = whys.iter().all(|(column, _)| columns.index_of(column).is_ok());
    Ok(UnfitRow {
        row,
        columns: match foreseen {
            true => whys.iter().map(|(column, _)| column.clone()).collect(),
            false => Vec::new(),
        },
        letter: Refused {
            reason: reasons.join("; "),
            kind: "type".to_owned(),
            place: BTreeMap::from([("row".to_owned(), json!(row))]),
            row: Value::Object(row_json(batch, row)?),
        },
    })
}
