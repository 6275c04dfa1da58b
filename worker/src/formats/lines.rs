//! Rows as JSON, one object a line, in the forms that the JSON Schema of their columns declares.
//!
//! In: rows. Out: their lines. Decimals keep their digits, bytes are base64, what is held as JSON is written as JSON. Numbers
//! that JSON has no digits for are found by [`unfit`], before they come here.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, GenericBinaryArray, OffsetSizeTrait, RecordBatch, StringArray},
    datatypes::{DataType, FieldRef, Float16Type, Float32Type, Float64Type},
    error::ArrowError,
    json::{
        Encoder, EncoderFactory, EncoderOptions, WriterBuilder,
        writer::{LineDelimited, NullableEncoder},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::de::IgnoredAny;

use crate::{error::Result, types::physical_type};

/// The rows, one a line.
///
/// # Errors
/// Where a column has a type that JSON cannot hold.
pub(crate) fn lines(batch: &RecordBatch) -> Result<Vec<u8>> {
    let builder = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Forms));
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// The forms of what Arrow would write in another way.
#[derive(Debug)]
struct Forms;

impl EncoderFactory for Forms {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> std::result::Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Binary => Box::new(Base64(array.as_binary::<i32>())),
            DataType::LargeBinary => Box::new(Base64(array.as_binary::<i64>())),
            DataType::BinaryView => {
                let array = array.as_binary_view();
                Box::new(Bytes(move |row| array.value(row)))
            }
            DataType::FixedSizeBinary(_) => {
                let array = array.as_fixed_size_binary();
                Box::new(Bytes(move |row| array.value(row)))
            }
            DataType::Utf8 if matches!(physical_type(field), Some("json" | "jsonb")) => {
                Box::new(Json(array.as_string()))
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

struct Base64<'a, O: OffsetSizeTrait>(&'a GenericBinaryArray<O>);

impl<O: OffsetSizeTrait> Encoder for Base64<'_, O> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        base64(self.0.value(row), out);
    }
}

struct Bytes<F>(F);

impl<'a, F: Fn(usize) -> &'a [u8]> Encoder for Bytes<F> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        base64((self.0)(row), out);
    }
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

struct Json<'a>(&'a StringArray);

impl Encoder for Json<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = self.0.value(row);
        match serde_json::from_str::<IgnoredAny>(text) {
            // Within a text no line ends; between values it is room.
            Ok(_) => out.extend(text.bytes().map(|byte| match byte {
                b'\n' | b'\r' => b' ',
                other => other,
            })),
            Err(_) => out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes()),
        }
    }
}

/// The rows with numbers that JSON has no digits for, each with its column.
pub(crate) fn unfit(batch: &RecordBatch) -> Vec<(usize, String)> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    columns
        .filter(|(field, _)| has_floats(field.data_type()))
        .flat_map(|(field, column)| {
            let rows = (0..column.len()).filter(|row| is_endless(column, *row));
            rows.map(|row| (row, format!("{}: JSON has no such number", field.name())))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn has_floats(type_: &DataType) -> bool {
    match type_ {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => has_floats(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        _ => false,
    }
}

/// Whether a value is infinite or no number, or has one in it.
fn is_endless(array: &dyn Array, row: usize) -> bool {
    if array.is_null(row) {
        return false;
    }
    let within = |part: &dyn Array| (0..part.len()).any(|row| is_endless(part, row));
    match array.data_type() {
        DataType::Float16 => !array.as_primitive::<Float16Type>().value(row).is_finite(),
        DataType::Float32 => !array.as_primitive::<Float32Type>().value(row).is_finite(),
        DataType::Float64 => !array.as_primitive::<Float64Type>().value(row).is_finite(),
        DataType::List(_) => within(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => within(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => within(&array.as_fixed_size_list().value(row)),
        DataType::Map(..) => within(&array.as_map().value(row)),
        DataType::Struct(_) => array
            .as_struct()
            .columns()
            .iter()
            .any(|part| is_endless(part, row)),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
