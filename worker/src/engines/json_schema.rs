//! From a JSON Schema, as catalogs hold one, to columns; [`of`] goes the other way.
//!
//! In: the schema of a stream, and rows that were read already. Out: its columns, those that the rows have and the schema has
//! not among them. What may be of several types stays the JSON that it is; a moment has a zone where its texts have one.

mod of;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::Value;

pub(super) use self::of::of;
use crate::{
    formats::ndjson,
    types::{PHYSICAL_TYPE, UNTYPED},
};

/// The largest precision of a number whose digits all count.
const PRECISION: u8 = 38;
/// Digits behind the point of a number that says no more than that they count.
const LARGEST_SCALE: i8 = 30;

/// The columns of a stream.
pub(super) fn columns(schema: &Value, sample: &[u8]) -> SchemaRef {
    let shown = ndjson::infer(&[sample.to_vec()]);
    let seen = shown
        .iter()
        .filter(|field| !field.metadata().contains_key(UNTYPED));
    let seen: HashMap<&str, &Field> = seen.map(|field| (field.name().as_str(), field)).collect();
    let declared = schema["properties"].as_object().into_iter().flatten();
    let mut fields: Vec<Field> = declared
        .map(|(name, schema)| field(name, schema, seen.get(name.as_str()).copied()))
        .collect();
    let others: Vec<Field> = shown
        .iter()
        .filter(|field| !fields.iter().any(|known| known.name() == field.name()))
        .cloned()
        .collect();
    fields.extend(others);
    Arc::new(Schema::new(fields))
}

fn field(name: &str, schema: &Value, shown: Option<&Field>) -> Field {
    match data_type(schema, shown) {
        // What its texts look like nobody knows yet: a type that was settled by some stays.
        Some(type_ @ (DataType::Timestamp(..) | DataType::Date32)) if shown.is_none() => {
            Field::new(name, type_, true).with_metadata(HashMap::from([(UNTYPED.to_owned(), String::new())]))
        }
        Some(type_) => Field::new(name, type_, true),
        // Neither the schema nor a value says anything: likewise.
        None if shown.is_none() && types(schema).is_empty() => Field::new(name, DataType::Utf8, true)
            .with_metadata(HashMap::from([(UNTYPED.to_owned(), String::new())])),
        None => Field::new(name, DataType::Utf8, true)
            .with_metadata(HashMap::from([(PHYSICAL_TYPE.to_owned(), "json".to_owned())])),
    }
}

/// `None`: values of several types, or of any.
fn data_type(schema: &Value, shown: Option<&Field>) -> Option<DataType> {
    let types = types(schema);
    match types.as_slice() {
        ["boolean"] => Some(DataType::Boolean),
        ["integer"] => Some(integer(schema)),
        ["number"] | ["integer", "number"] => Some(number(schema)),
        ["string"] => Some(text(schema, shown)),
        _ => None,
    }
}

/// The types that values may have, but for null, in order.
fn types(schema: &Value) -> Vec<&str> {
    let mut found: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => ["anyOf", "oneOf"]
            .iter()
            .filter_map(|either| schema[either].as_array())
            .flatten()
            .flat_map(types)
            .collect(),
    };
    found.retain(|type_| *type_ != "null");
    found.sort_unstable();
    found.dedup();
    found
}

/// What a key says in a schema, or in one of those that it is one of.
fn said<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    let either = ["anyOf", "oneOf"]
        .iter()
        .filter_map(|either| schema[either].as_array())
        .flatten();
    schema
        .get(key)
        .or_else(|| either.into_iter().find_map(|one| said(one, key)))
}

fn integer(schema: &Value) -> DataType {
    let is = |key: &str, value: &str| said(schema, key).and_then(Value::as_str) == Some(value);
    // Bounds beyond 64 bits, as taps write those of a database's largest types.
    let beyond = |key: &str| {
        said(schema, key)
            .and_then(Value::as_f64)
            .is_some_and(|bound| bound.abs() > 9.3e18)
    };
    match is("airbyte_type", "big_integer") || beyond("maximum") || beyond("minimum") {
        true => DataType::Decimal128(PRECISION, 0),
        false => DataType::Int64,
    }
}

/// A number of which each digit counts where the schema says how many there are.
fn number(schema: &Value) -> DataType {
    let text = |key: &str| said(schema, key).map(Value::to_string);
    if said(schema, "airbyte_type").and_then(Value::as_str) == Some("integer") {
        return DataType::Int64;
    }
    match text("multipleOf").as_deref().and_then(scale) {
        Some(scale) => DataType::Decimal128(PRECISION, scale),
        None => DataType::Float64,
    }
}

/// Digits behind the point of `0.01`, `1e-7`.
fn scale(step: &str) -> Option<i8> {
    let (digits, exponent) = match step.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (step, 0),
    };
    let places = digits
        .split_once('.')
        .map_or(0, |(_, places)| places.trim_end_matches('0').len());
    let scale = i32::try_from(places).ok()? - exponent;
    i8::try_from(scale)
        .ok()
        .filter(|scale| (0..=LARGEST_SCALE).contains(scale))
}

fn text(schema: &Value, shown: Option<&Field>) -> DataType {
    let format = said(schema, "format").and_then(Value::as_str).unwrap_or_default();
    let zone = said(schema, "airbyte_type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let wanted = match format {
        "date-time" => DataType::Timestamp(
            TimeUnit::Microsecond,
            (zone != "timestamp_without_timezone").then(|| "UTC".into()),
        ),
        "date" => DataType::Date32,
        _ => return DataType::Utf8,
    };
    // Programs do not always write what they declare. Text loses nothing.
    match (shown.map(Field::data_type), &wanted) {
        (None, _) => wanted,
        (Some(shown @ DataType::Timestamp(..)), DataType::Timestamp(..)) => shown.clone(),
        (Some(DataType::Date32), DataType::Date32) => wanted,
        _ => DataType::Utf8,
    }
}
