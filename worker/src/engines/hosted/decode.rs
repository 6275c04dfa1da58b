//! From the frames of a host to payloads.
//!
//! In: `batch` frames with what was refused of them, and the columns of the load. Out: payloads. A batch whose columns are not
//! those of the load is laid out as they are: what it lacks is null, and a row that has more than they hold is unfit.

mod exact;
mod refused;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    io::Cursor,
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array},
    buffer::Buffer,
    compute::{CastOptions, cast_with_options, concat, concat_batches},
    datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef},
    ipc::reader::{StreamDecoder, StreamReader},
};
use bytes::Bytes;
use serde_json::{Value, json};

use self::exact::{exact, there};
pub(super) use self::refused::Refusals;
use super::super::{frame::Frame, host};
use crate::{
    connector::{Op, Payload, UnfitRow},
    engine::rows::{Misfit, refuse},
    error::{Error, Result},
    formats::{Place, ndjson},
    types::{UNTYPED, arrow_schema, type_name},
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
    let schema = match is_json(frame) {
        true => data(&*arrow_schema(&host::columns(&frame.header)?)?),
        false => schema(&frame.body)?,
    };
    Ok(nullable(&schema))
}

/// The columns of a load: whatever a plugin says of them, a value that is refused leaves a null.
pub(super) fn nullable(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let nullable = fields.map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(nullable.collect::<Vec<_>>()))
}

/// Without the columns that are about rows.
fn data(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let own = fields.filter(|field| ![OP, WATERMARK].contains(&field.name().as_str()));
    Arc::new(Schema::new(own.map(kept).collect::<Vec<_>>()))
}

/// The column that a load keeps: a moment is the same in every zone, and one of nulls alone is text that takes what comes.
fn kept(field: &FieldRef) -> FieldRef {
    let type_ = match field.data_type() {
        DataType::Null => {
            let untyped = HashMap::from([(UNTYPED.to_owned(), String::new())]);
            return Arc::new(Field::new(field.name(), DataType::Utf8, true).with_metadata(untyped));
        }
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("UTC".into())),
        DataType::List(item) => DataType::List(kept(item)),
        DataType::Struct(parts) => DataType::Struct(parts.iter().map(kept).collect()),
        _ => return field.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(type_))
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
    payload.metadata = place(&frame.header);
    let mut payload = fit(payload, columns)?;
    refused.mark(&mut payload)?;
    Ok(payload)
}

/// Where the first row of a frame stands: the batch that the plugin gave, and the number in it.
fn place(header: &Value) -> BTreeMap<&'static str, Value> {
    let first = json!(header["row"].as_u64().unwrap_or_default());
    let batch = header["batch"].as_u64().map(|batch| ("batch", json!(batch)));
    let metadata = header["metadata"].as_object().filter(|own| !own.is_empty());
    let metadata = metadata.map(|own| ("metadata", Value::Object(own.clone())));
    [("row", first)]
        .into_iter()
        .chain(batch)
        .chain(metadata)
        .collect()
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
    if one.metadata.get("batch") != other.metadata.get("batch") {
        // Rows are counted from the first on: those of another batch have other numbers there.
        one.metadata.remove("row");
    }
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
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    if alike(batch.schema().fields(), columns.fields()) {
        let arrays = batch.columns().to_vec();
        payload.batch = RecordBatch::try_new_with_options(columns.clone(), arrays, &options)?;
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
        let (fitting, there) = (exact(array, field)?, there(array));
        for row in 0..array.len() {
            if fitting.is_null(row) && there(row) {
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
            let there = there(batch.column(index));
            for row in (0..batch.num_rows()).filter(|row| there(*row)) {
                let why = "a column that was not foreseen; declare it in the schema of the stream".to_owned();
                note(row, field.name(), why);
            }
        }
    }
    payload
        .unfit
        .extend(unfit(&batch, wrong, columns, &payload.metadata)?);
    payload.batch = RecordBatch::try_new_with_options(columns.clone(), arrays, &options)?;
    Ok(payload)
}

/// Whether columns are the same, whatever else is said of them.
fn alike(one: &Fields, other: &Fields) -> bool {
    let same = |(one, other): (&FieldRef, &FieldRef)| {
        one.name() == other.name() && one.data_type() == other.data_type()
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// The rows with something `wrong`; one that has a column beyond those of its load is never delivered.
fn unfit(
    batch: &RecordBatch,
    wrong: BTreeMap<usize, Vec<(String, String)>>,
    columns: &SchemaRef,
    metadata: &BTreeMap<&'static str, Value>,
) -> Result<Vec<UnfitRow>> {
    let misfit = |(row, whys): (&usize, &Vec<(String, String)>)| {
        let reasons: Vec<_> = whys
            .iter()
            .map(|(column, why)| format!("`{column}`: {why}"))
            .collect();
        Misfit {
            row: *row,
            kind: "type",
            reason: reasons.join("; "),
        }
    };
    let letters = refuse(batch, wrong.iter().map(misfit).collect(), metadata)?;
    let unfit = wrong.into_iter().zip(letters).map(|((row, whys), letter)| {
        let foreseen = whys.iter().all(|(column, _)| columns.index_of(column).is_ok());
        let of_values = whys.into_iter().filter(|_| foreseen);
        UnfitRow {
            row,
            columns: of_values.map(|(column, _)| column).collect(),
            letter,
        }
    });
    Ok(unfit.collect())
}
