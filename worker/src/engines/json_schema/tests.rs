use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use serde_json::{Value, json};

use super::{columns, of};
use crate::types::PHYSICAL_TYPE;

fn there_and_back(field: Field) -> (Value, DataType, bool) {
    let schema = of(&Schema::new(vec![field]));
    let back = columns(&schema, &[]);
    let json = back.field(0).metadata().contains_key(PHYSICAL_TYPE);
    (
        schema["properties"]["x"].clone(),
        back.field(0).data_type().clone(),
        json,
    )
}

fn column(type_: DataType) -> Field {
    Field::new("x", type_, true)
}

#[test]
fn scalars_come_back_as_they_went() {
    let utc = || Some("UTC".into());
    for type_ in [
        DataType::Boolean,
        DataType::Int64,
        DataType::Float64,
        DataType::Utf8,
        DataType::Date32,
        DataType::Decimal128(38, 0),
        DataType::Decimal128(38, 2),
        DataType::Decimal128(38, 18),
        DataType::Timestamp(TimeUnit::Microsecond, utc()),
        DataType::Timestamp(TimeUnit::Microsecond, None),
    ] {
        let (schema, back, json) = there_and_back(column(type_.clone()));
        assert_eq!((back, json), (type_, false), "{schema}");
    }
}

#[test]
fn narrow_types_come_back_wide_enough() {
    let wide = [
        (DataType::Int8, DataType::Int64),
        (DataType::UInt32, DataType::Int64),
        (DataType::UInt64, DataType::Decimal128(38, 0)),
        (DataType::Float32, DataType::Float64),
        (DataType::Decimal128(10, 2), DataType::Decimal128(38, 2)),
        (DataType::Binary, DataType::Utf8),
        (DataType::Time64(TimeUnit::Microsecond), DataType::Utf8),
        (
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            DataType::Timestamp(TimeUnit::Microsecond, None),
        ),
    ];
    for (type_, wanted) in wide {
        let (schema, back, json) = there_and_back(column(type_));
        assert_eq!((back, json), (wanted, false), "{schema}");
    }
}

#[test]
fn what_has_parts_comes_back_as_json() {
    let item = Arc::new(Field::new("item", DataType::Decimal128(10, 3), true));
    let parts = vec![
        Field::new("number", DataType::Int32, true),
        column(DataType::Date32),
    ];
    let json = column(DataType::Utf8).with_metadata(HashMap::from([(PHYSICAL_TYPE.into(), "json".into())]));
    for (field, wanted) in [
        (
            column(DataType::List(item)),
            json!({ "type": ["null", "array"], "items": { "type": ["null", "number"], "multipleOf": 0.001 } }),
        ),
        (
            column(DataType::Struct(parts.into())),
            json!({ "type": ["null", "object"], "properties": {
                "number": { "type": ["null", "integer"] },
                "x": { "type": ["null", "string"], "format": "date" },
            } }),
        ),
        (
            json,
            json!({ "type": ["null", "object", "array", "string", "number", "boolean"] }),
        ),
    ] {
        let (schema, back, json) = there_and_back(field);
        assert_eq!(schema.to_string(), wanted.to_string());
        assert_eq!((back, json), (DataType::Utf8, true), "{schema}");
    }
}
