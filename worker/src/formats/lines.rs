//! Rows as JSON, one object a line, in the forms that the JSON Schema of their columns declares.
//!
//! In: rows. Out: their lines. Decimals keep their digits, bytes are base64, what is held as JSON is written as JSON. What
//! has no form is found by [`unfit`], before it comes here.

use std::{ops::RangeInclusive, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, GenericBinaryArray, OffsetSizeTrait, RecordBatch, StringArray},
    compute::{cast, max, min},
    datatypes::{DataType, FieldRef, Float16Type, Float32Type, Float64Type, Int64Type, TimeUnit},
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

/// The rows with what a line of JSON has no form for, each with its column: numbers without an end, times without a date.
pub(crate) fn unfit(batch: &RecordBatch) -> Vec<(usize, String)> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let numbers = columns
        .filter(|(field, _)| holds(field.data_type(), DataType::is_floating))
        .flat_map(|(field, column)| {
            let rows = (0..column.len()).filter(|row| is_endless(column, *row));
            rows.map(|row| (row, format!("`{}`: JSON has no such number", field.name())))
                .collect::<Vec<_>>()
        });
    numbers
        .chain(out_of_calendar(batch, DataType::is_temporal))
        .collect()
}

/// The rows with times of these types that no calendar has, each with its column.
pub(crate) fn out_of_calendar(batch: &RecordBatch, of: fn(&DataType) -> bool) -> Vec<(usize, String)> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    columns
        .filter(|(field, column)| holds(field.data_type(), of) && has_far_off(column))
        .flat_map(|(field, column)| {
            let rows = (0..column.len()).filter(|row| has_far_off(&column.slice(*row, 1)));
            rows.map(|row| (row, format!("`{}`: a time that no calendar has", field.name())))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn holds(type_: &DataType, leaf: fn(&DataType) -> bool) -> bool {
    match type_ {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => holds(item.data_type(), leaf),
        DataType::Struct(fields) => fields.iter().any(|field| holds(field.data_type(), leaf)),
        type_ => leaf(type_),
    }
}

/// Whether a time is in it that cannot be written as a date or a time of day.
fn has_far_off(array: &dyn Array) -> bool {
    // What chrono can show, in seconds since 1970: the years -262143 to 262142.
    const DATES: RangeInclusive<i64> = -8_334_601_228_800..=8_210_266_876_799;
    let lists = |part: &dyn Fn(usize) -> ArrayRef| {
        (0..array.len()).any(|row| array.is_valid(row) && has_far_off(&part(row)))
    };
    let (range, in_second) = match array.data_type() {
        DataType::List(_) => return lists(&|row| array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => return lists(&|row| array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => return lists(&|row| array.as_fixed_size_list().value(row)),
        DataType::Map(..) => return lists(&|row| Arc::new(array.as_map().value(row))),
        DataType::Struct(_) => return array.as_struct().columns().iter().any(|part| has_far_off(part)),
        DataType::Date32 => (DATES.start() / 86_400..=DATES.end() / 86_400, 1),
        DataType::Date64 => (DATES, 1000),
        DataType::Timestamp(unit, _) => (DATES, in_second(unit)),
        DataType::Time32(unit) | DataType::Time64(unit) => (0..=86_399, in_second(unit)),
        DataType::Duration(TimeUnit::Second) => (-i64::MAX / 1000..=i64::MAX / 1000, 1),
        _ => return false,
    };
    let Ok(values) = cast(array, &DataType::Int64) else {
        return false;
    };
    let values = values.as_primitive::<Int64Type>();
    [min(values), max(values)]
        .into_iter()
        .flatten()
        .any(|value| !range.contains(&value.div_euclid(in_second)))
}

const fn in_second(unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
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
