//! The names and numbers of the types that columns get.

use arrow::datatypes::{DataType, Field};

use super::normal::{form, json};
use crate::types::physical_type;

/// The PostgreSQL type that a column gets.
pub(in super::super) fn sql_type(field: &Field) -> String {
    match form(field.data_type()) {
        DataType::Boolean => "boolean".into(),
        DataType::Int16 => "smallint".into(),
        DataType::Int32 => "integer".into(),
        DataType::Int64 => "bigint".into(),
        DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("numeric({precision},{scale})")
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea".into()
        }
        DataType::Date32 => "date".into(),
        DataType::Time64(_) => "time without time zone".into(),
        DataType::Timestamp(_, None) => "timestamp without time zone".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".into(),
        DataType::Interval(_) => "interval".into(),
        DataType::List(item) => format!("{}[]", sql_type(&item)),
        other if other == json() => "jsonb".into(),
        _ => text_form(field).unwrap_or("text").into(),
    }
}

/// What a text column is a form of.
pub(super) fn text_form(field: &Field) -> Option<&str> {
    let text = matches!(
        form(field.data_type()),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    physical_type(field).filter(|form| text && matches!(*form, "uuid" | "json" | "jsonb"))
}

/// The number of that type, as arrays carry it.
pub(super) fn type_id(field: &Field) -> u32 {
    match form(field.data_type()) {
        DataType::Boolean => 16,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => 17,
        DataType::Int64 => 20,
        DataType::Int16 => 21,
        DataType::Int32 => 23,
        DataType::Float32 => 700,
        DataType::Float64 => 701,
        DataType::Date32 => 1082,
        DataType::Time64(_) => 1083,
        DataType::Timestamp(_, None) => 1114,
        DataType::Timestamp(_, Some(_)) => 1184,
        DataType::Interval(_) => 1186,
        DataType::Decimal128(..) | DataType::Decimal256(..) => 1700,
        _ => match text_form(field) {
            Some("uuid") => 2950,
            Some("json") => 114,
            Some(_) => 3802,
            None => 25,
        },
    }
}
