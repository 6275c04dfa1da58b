//! From columns to a JSON Schema, as targets and destinations are given one.
//!
//! In: columns. Out: an object of draft 4 with a property for each, all of which may be null. What types cannot say
//! is in annotations: `multipleOf` (the digits of a decimal), `format`, `airbyte_type` (zones), `contentEncoding`.

use arrow::datatypes::{DataType, Field, Fields, Schema};
use serde_json::{Map, Value, json};

use crate::types::physical_type;

/// The schema of rows with these columns, as [`crate::formats::lines`] writes them.
pub(in crate::engines) fn of(schema: &Schema) -> Value {
    // The row itself is never null.
    with(object(schema.fields()), &[("type", "object".into())])
}

fn object(fields: &Fields) -> Value {
    let properties = fields.iter().map(|field| (field.name().clone(), property(field)));
    json!({ "type": ["null", "object"], "properties": properties.collect::<Map<_, _>>() })
}

fn property(field: &Field) -> Value {
    match field.data_type() {
        DataType::Boolean => typed("boolean"),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => typed("integer"),
        DataType::UInt64 => with(typed("integer"), &[("maximum", u64::MAX.into())]),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => typed("number"),
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => with(typed("number"), &[("multipleOf", step(*scale))]),
        DataType::Date32 | DataType::Date64 => with(typed("string"), &[("format", "date".into())]),
        DataType::Timestamp(_, zone) => {
            let zone = match zone {
                Some(_) => "timestamp_with_timezone",
                None => "timestamp_without_timezone",
            };
            let more = [("format", "date-time".into()), ("airbyte_type", zone.into())];
            with(typed("string"), &more)
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let more = [
                ("format", "time".into()),
                ("airbyte_type", "time_without_timezone".into()),
            ];
            with(typed("string"), &more)
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            with(typed("string"), &[("contentEncoding", "base64".into())])
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item) => with(typed("array"), &[("items", property(item))]),
        DataType::Struct(fields) => object(fields),
        DataType::Map(entries, _) => map(entries),
        DataType::Dictionary(_, value) => property(&field.clone().with_data_type(value.as_ref().clone())),
        _ => text(field),
    }
}

fn typed(type_: &str) -> Value {
    json!({ "type": ["null", type_] })
}

fn with(mut schema: Value, more: &[(&str, Value)]) -> Value {
    for (key, value) in more {
        schema[*key] = value.clone();
    }
    schema
}

/// Text, and what is held as text.
fn text(field: &Field) -> Value {
    match physical_type(field) {
        Some("json" | "jsonb") => {
            json!({ "type": ["null", "object", "array", "string", "number", "boolean"] })
        }
        Some("uuid") => with(typed("string"), &[("format", "uuid".into())]),
        _ => typed("string"),
    }
}

fn map(entries: &Field) -> Value {
    let value = match entries.data_type() {
        DataType::Struct(fields) => fields.get(1).map(|field| property(field)),
        _ => None,
    };
    let any = || json!({});
    with(
        typed("object"),
        &[("additionalProperties", value.unwrap_or_else(any))],
    )
}

/// The step between two decimals of a scale: `0.01`.
fn step(scale: i8) -> Value {
    let text = match usize::try_from(scale) {
        Ok(0) | Err(_) => "1".to_owned(),
        Ok(scale) => format!("0.{}1", "0".repeat(scale - 1)),
    };
    serde_json::from_str(&text).unwrap_or(Value::Null)
}
