//! What is decided before a row is read.

use DataType::{Decimal128, Float64, Int32, Int64, Utf8};

use super::*;

fn error(
    declared: Value,
    reader: &[(&str, DataType)],
    delivered: Option<&[(&str, DataType)]>,
    mode: SchemaContract,
) -> Error {
    let delivered = delivered.map(schema);
    Contract::settle(&stream(declared, &[]), &schema(reader), delivered.as_ref(), mode).unwrap_err()
}

fn settle(
    declared: Value,
    reader: &[(&str, DataType)],
    delivered: Option<&[(&str, DataType)]>,
    mode: SchemaContract,
) -> Contract {
    let delivered = delivered.map(schema);
    Contract::settle(&stream(declared, &[]), &schema(reader), delivered.as_ref(), mode).unwrap()
}

const ALL: [ContractMode; 4] = [
    ContractMode::Evolve,
    ContractMode::Freeze,
    ContractMode::DiscardRow,
    ContractMode::DiscardValue,
];

#[test]
fn a_first_load_takes_what_the_source_has() {
    let reader = [("id", Int64), ("name", DataType::LargeUtf8)];
    let contract = settle(
        Value::Null,
        &reader,
        None,
        mode(ContractMode::Freeze, ContractMode::Freeze),
    );
    assert_eq!(types(&contract), named(&[("id", Int64), ("name", Utf8)]));
    assert!(contract.notes().is_empty());
}

#[test]
fn declared_columns_come_first_and_in_their_types() {
    let declared = json!([
        { "name": "total", "physicalType": "decimal(10,2)" },
        { "name": "id", "logicalType": "integer", "required": true },
    ]);
    let reader = [("id", Utf8), ("note", Utf8), ("total", Float64)];
    let contract = settle(declared, &reader, None, SchemaContract::default());
    assert_eq!(
        types(&contract),
        named(&[("total", Decimal128(10, 2)), ("id", Int64), ("note", Utf8)])
    );
    assert!(
        contract.schema().fields().iter().all(|field| field.is_nullable()),
        "a deleted row has a key and nulls"
    );
}

#[test]
fn a_declared_column_that_is_not_there_is_told_with_what_is() {
    let declared = json!([{ "name": "emial", "logicalType": "string" }]);
    let error = error(declared, &[("email", Utf8)], None, SchemaContract::default());
    assert_eq!(error.kind, crate::error::ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        "stream `users`: the source has no column `emial`; did you mean email?"
    );
}

#[test]
fn a_key_that_is_not_there_is_told() {
    let error = Contract::settle(
        &stream(Value::Null, &["uid"]),
        &schema(&[("id", Int64)]),
        None,
        SchemaContract::default(),
    );
    assert!(error.unwrap_err().to_string().contains("no key column `uid`"));
}

#[test]
fn a_declared_type_with_nothing_in_common_is_refused_at_once() {
    let declared = json!([{ "name": "day", "logicalType": "date" }]);
    for data_type in ALL {
        let error = error(
            declared.clone(),
            &[("day", Int64)],
            None,
            mode(ContractMode::Evolve, data_type),
        );
        assert!(
            error
                .to_string()
                .contains("`day` is int64 at the source and cannot be read as date"),
            "{error}"
        );
    }
}

#[test]
fn a_new_column_follows_the_contract() {
    let (reader, delivered) = ([("id", Int64), ("x", Utf8)], [("id", Int64)]);
    let with = |columns| {
        settle(
            Value::Null,
            &reader,
            Some(&delivered),
            mode(columns, ContractMode::Freeze),
        )
    };
    assert_eq!(
        types(&with(ContractMode::Evolve)),
        named(&[("id", Int64), ("x", Utf8)])
    );
    assert_eq!(types(&with(ContractMode::DiscardRow)), named(&[("id", Int64)]));
    assert_eq!(types(&with(ContractMode::DiscardValue)), named(&[("id", Int64)]));
    let error = error(
        Value::Null,
        &reader,
        Some(&delivered),
        mode(ContractMode::Freeze, ContractMode::Evolve),
    );
    assert_eq!(error.reason, "SchemaFrozen");
    assert!(error.to_string().contains("column `x` is new"), "{error}");
}

#[test]
fn a_column_beside_the_declared_ones_is_new_too() {
    let declared = json!([{ "name": "id", "logicalType": "integer" }]);
    let error = error(
        declared,
        &[("id", Int64), ("x", Utf8)],
        None,
        mode(ContractMode::Freeze, ContractMode::Freeze),
    );
    assert!(error.to_string().contains("column `x` is new"), "{error}");
}

#[test]
fn a_new_part_of_an_object_follows_the_contract_of_columns() {
    let object = |parts: &[(&str, DataType)]| DataType::Struct(schema(parts).fields().clone());
    let reader = [("a", object(&[("b", Int64), ("c", Utf8)]))];
    let delivered = [("a", object(&[("b", Int64)]))];
    let with = |columns| {
        settle(
            Value::Null,
            &reader,
            Some(&delivered),
            mode(columns, ContractMode::Freeze),
        )
    };
    assert_eq!(types(&with(ContractMode::Evolve)), named(&reader));
    assert_eq!(types(&with(ContractMode::DiscardValue)), named(&delivered));
    let error = error(
        Value::Null,
        &reader,
        Some(&delivered),
        mode(ContractMode::Freeze, ContractMode::Freeze),
    );
    assert!(error.to_string().contains("`a.c`"), "{error}");
}

#[test]
fn a_column_that_went_away_becomes_null_or_stops_the_load() {
    let (reader, delivered) = ([("id", Int64)], [("id", Int64), ("x", Utf8)]);
    let contract = settle(Value::Null, &reader, Some(&delivered), SchemaContract::default());
    assert_eq!(types(&contract), named(&delivered));
    assert!(contract.notes()[0].contains("`x` is no longer there"));
    let error = error(
        Value::Null,
        &reader,
        Some(&delivered),
        mode(ContractMode::Freeze, ContractMode::Freeze),
    );
    assert_eq!(error.reason, "SchemaFrozen");
}

#[test]
fn a_column_of_nulls_has_no_type_yet() {
    let contract = settle(
        Value::Null,
        &[("id", Int64), ("x", DataType::Null)],
        None,
        SchemaContract::default(),
    );
    assert_eq!(types(&contract), named(&[("id", Int64)]));
    let known = settle(
        Value::Null,
        &[("id", DataType::Null)],
        Some(&[("id", Int64)]),
        SchemaContract::default(),
    );
    assert_eq!(types(&known), named(&[("id", Int64)]));
}

#[test]
fn a_wider_type_is_taken_where_the_contract_lets_it_grow() {
    let grow = mode(ContractMode::Evolve, ContractMode::Evolve);
    let widened = |from, to| {
        types(&settle(Value::Null, &[("x", to)], Some(&[("x", from)]), grow))[0]
            .1
            .clone()
    };
    assert_eq!(widened(Int32, Int64), Int64);
    assert_eq!(widened(Int64, Int32), Int64);
    assert_eq!(widened(Int64, Decimal128(10, 2)), Decimal128(21, 2));
    assert_eq!(widened(Float64, Int64), Float64);
    assert_eq!(widened(Utf8, Int64), Utf8);
}

#[test]
fn a_type_that_cannot_grow_stops_the_load_with_advice() {
    let grow = mode(ContractMode::Evolve, ContractMode::Evolve);
    for (from, to) in [
        (Int64, Utf8),
        (Int64, Float64),
        (DataType::Boolean, Int64),
        (Int64, DataType::Date32),
    ] {
        let error = error(Value::Null, &[("x", to)], Some(&[("x", from)]), grow);
        assert_eq!(error.reason, "SchemaFrozen");
        assert!(error.to_string().contains("declare the one you want"), "{error}");
    }
}

#[test]
fn a_frozen_type_stops_the_load_before_a_row_is_read() {
    let frozen = mode(ContractMode::Evolve, ContractMode::Freeze);
    let error = error(Value::Null, &[("x", Utf8)], Some(&[("x", Int64)]), frozen);
    assert!(
        error
            .to_string()
            .contains("column `x` was delivered as int64 and is text now"),
        "{error}"
    );
    let narrower = settle(Value::Null, &[("x", Int32)], Some(&[("x", Int64)]), frozen);
    assert_eq!(
        types(&narrower),
        named(&[("x", Int64)]),
        "every int32 is an int64"
    );
}

#[test]
fn a_discarding_contract_keeps_the_type() {
    for data_type in [ContractMode::DiscardRow, ContractMode::DiscardValue] {
        let mode = mode(ContractMode::Evolve, data_type);
        assert_eq!(
            types(&settle(Value::Null, &[("x", Utf8)], Some(&[("x", Int64)]), mode)),
            named(&[("x", Int64)])
        );
    }
}

#[test]
fn one_name_cannot_stand_for_two_columns() {
    let error = error(
        Value::Null,
        &[("x", Int64), ("x", Utf8)],
        None,
        SchemaContract::default(),
    );
    assert!(error.to_string().contains("column `x` is there twice"), "{error}");
}
