use arrow::datatypes::IntervalUnit;
use serde_json::json;

use super::*;

fn field(value: serde_json::Value) -> Field {
    serde_json::from_value(value).unwrap()
}

fn type_of(value: serde_json::Value) -> DataType {
    arrow_field(&field(value)).unwrap().data_type().clone()
}

fn error_of(value: serde_json::Value) -> String {
    arrow_field(&field(value)).unwrap_err().to_string()
}

#[test]
fn logical_types_have_sensible_defaults() {
    let expected = [
        ("string", DataType::Utf8),
        ("integer", DataType::Int64),
        ("number", DataType::Float64),
        ("boolean", DataType::Boolean),
        ("date", DataType::Date32),
        ("time", DataType::Time64(TimeUnit::Microsecond)),
        ("timestamp", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ];
    for (logical, type_) in expected {
        assert_eq!(
            type_of(json!({ "name": "x", "logicalType": logical })),
            type_,
            "{logical}"
        );
    }
}

#[test]
fn physical_types_are_exact() {
    let expected = [
        ("decimal(15,2)", DataType::Decimal128(15, 2)),
        ("NUMERIC(50, 10)", DataType::Decimal256(50, 10)),
        ("decimal(9)", DataType::Decimal128(9, 0)),
        ("int32", DataType::Int32),
        ("double  precision", DataType::Float64),
        ("varchar(20)", DataType::Utf8),
        ("character varying(20)", DataType::Utf8),
        ("timestamp(ns)", DataType::Timestamp(TimeUnit::Nanosecond, None)),
        (
            "timestamp(3) with time zone",
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        ),
        (
            "timestamptz",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        ),
        ("time(s)", DataType::Time32(TimeUnit::Second)),
        ("bytea", DataType::Binary),
        ("binary(16)", DataType::FixedSizeBinary(16)),
        ("varbinary(16)", DataType::Binary),
        ("uuid", DataType::Utf8),
    ];
    for (physical, type_) in expected {
        assert_eq!(
            type_of(json!({ "name": "x", "physicalType": physical })),
            type_,
            "{physical}"
        );
    }
}

#[test]
fn formats_and_time_zones_choose_the_width() {
    let with = |logical: &str, options: serde_json::Value| {
        type_of(json!({ "name": "x", "logicalType": logical, "logicalTypeOptions": options }))
    };
    for format in LogicalType::INTEGER_FORMATS {
        assert!(name::integer_format(format).is_some(), "{format}");
    }
    for format in LogicalType::NUMBER_FORMATS {
        assert!(name::number_format(format).is_some(), "{format}");
    }
    assert_eq!(with("integer", json!({ "format": "i16" })), DataType::Int16);
    assert_eq!(with("number", json!({ "format": "f32" })), DataType::Float32);
    assert_eq!(
        with("timestamp", json!({ "timezone": true })),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    );
}

#[test]
fn a_wrong_type_says_where_and_what_to_write() {
    assert!(
        error_of(json!({ "name": "x", "physicalType": "money" }))
            .contains("`x`: physicalType money is not known")
    );
    assert!(error_of(json!({ "name": "x", "physicalType": "decimal" })).contains("write decimal(15,2)"));
    assert!(error_of(json!({ "name": "x", "physicalType": "decimal(77,2)" })).contains("at most 76"));
    assert!(error_of(json!({ "name": "x", "physicalType": "decimal(2,4)" })).contains("decimal"));
    assert!(error_of(json!({ "name": "x" })).contains("no type"));
    assert!(error_of(json!({ "name": "x", "logicalType": "array" })).contains("items"));
    assert!(
        error_of(json!({ "name": "x", "logicalType": "integer", "physicalType": "text" }))
            .contains("does not hold integer values")
    );
    let nested = json!({ "name": "a", "logicalType": "object", "properties": [{ "name": "b", "physicalType": "zip" }] });
    assert!(error_of(nested).contains("`a.b`"));
}

#[test]
fn a_column_cannot_be_declared_twice() {
    let x = field(json!({ "name": "x", "logicalType": "string" }));
    let error = arrow_schema(&[x.clone(), x]).unwrap_err().to_string();
    assert!(error.contains("`x` is declared twice"), "{error}");
}

#[test]
fn nested_columns_keep_their_shape() {
    let address = json!({ "name": "address", "logicalType": "object", "properties": [
        { "name": "street", "logicalType": "string" },
        { "name": "number", "logicalType": "integer", "required": true },
        { "name": "phones", "logicalType": "array", "items": { "logicalType": "string" } },
    ]});
    let DataType::Struct(parts) = type_of(address) else {
        panic!("an object is a struct")
    };
    assert_eq!(parts[1].data_type(), &DataType::Int64);
    assert!(!parts[1].is_nullable());
    assert_eq!(parts[2].data_type(), &DataType::new_list(DataType::Utf8, true));
}

#[test]
fn an_object_without_properties_is_json_text() {
    let arrow = arrow_field(&field(json!({ "name": "x", "logicalType": "object" }))).unwrap();
    assert_eq!(arrow.data_type(), &DataType::Utf8);
    assert_eq!(physical_type(&arrow), Some("json"));
}

#[test]
fn what_discover_writes_is_read_back() {
    let map = DataType::Map(
        Arc::new(ArrowField::new(
            "entries",
            DataType::Struct(
                vec![
                    ArrowField::new("key", DataType::Utf8, false),
                    ArrowField::new("value", DataType::Int32, true),
                ]
                .into(),
            ),
            false,
        )),
        false,
    );
    let uuid = ArrowField::new("uuid", DataType::Utf8, true)
        .with_metadata(HashMap::from([(PHYSICAL_TYPE.to_owned(), "uuid".to_owned())]));
    let types = [
        DataType::Boolean,
        DataType::Int8,
        DataType::UInt64,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(15, 2),
        DataType::Decimal256(60, 6),
        DataType::Utf8,
        DataType::Binary,
        DataType::FixedSizeBinary(16),
        DataType::Date32,
        DataType::Time64(TimeUnit::Nanosecond),
        DataType::Time32(TimeUnit::Millisecond),
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::Interval(IntervalUnit::YearMonth),
        DataType::Interval(IntervalUnit::DayTime),
        DataType::Duration(TimeUnit::Millisecond),
        DataType::new_list(DataType::Decimal128(9, 3), true),
        DataType::Struct(vec![ArrowField::new("a", DataType::Int16, false)].into()),
        map,
    ];
    let mut fields: Vec<_> = types
        .into_iter()
        .enumerate()
        .map(|(i, t)| ArrowField::new(format!("c{i}"), t, i % 2 == 0))
        .collect();
    fields.push(uuid);
    let schema = Schema::new(fields);
    let declared = odcs_fields(&schema);
    let text = serde_json::to_string(&declared).unwrap();
    let declared: Vec<Field> = serde_json::from_str(&text).unwrap();
    assert_eq!(arrow_schema(&declared).unwrap().as_ref(), &schema);
}

#[test]
fn encodings_are_not_types() {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let declared = odcs_field(&ArrowField::new("x", dictionary, true));
    assert_eq!(arrow_field(&declared).unwrap().data_type(), &DataType::Utf8);
    let declared = odcs_field(&ArrowField::new("x", DataType::LargeUtf8, true));
    assert_eq!(declared.physical_type, None);
}
