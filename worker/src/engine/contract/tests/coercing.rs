//! What becomes of rows.

use arrow::{
    array::{Array, AsArray, Float64Array, Int32Array, ListBuilder, StringBuilder, StructArray},
    buffer::NullBuffer,
    datatypes::Int64Type,
};

use super::*;
use crate::connector::Op;

fn coerce(
    stream: &StreamSpec,
    mode: SchemaContract,
    delivered: Option<&Schema>,
    payload: Payload,
) -> Coerced {
    let reader = payload.batch.schema();
    let contract = Contract::settle(stream, &reader, delivered, mode).unwrap();
    let coerced = contract.coercer(&reader).unwrap().coerce(payload).unwrap();
    assert_eq!(coerced.payload.batch.schema_ref(), contract.schema());
    coerced
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .unwrap()
}

fn numbers(coerced: &Coerced, column: usize) -> Vec<Option<i64>> {
    coerced
        .payload
        .batch
        .column(column)
        .as_primitive::<Int64Type>()
        .iter()
        .collect()
}

fn reasons(coerced: &Coerced) -> Vec<(&str, &str)> {
    coerced
        .payload
        .refused
        .iter()
        .map(|row| (row.kind.as_str(), row.reason.as_str()))
        .collect()
}

const LENIENT: SchemaContract = SchemaContract {
    tables: ContractMode::Evolve,
    columns: ContractMode::DiscardValue,
    data_type: ContractMode::DiscardValue,
};

const STRICT: SchemaContract = SchemaContract {
    tables: ContractMode::Evolve,
    columns: ContractMode::DiscardRow,
    data_type: ContractMode::DiscardRow,
};

#[test]
fn equal_schemas_cost_nothing() {
    let batch = batch(vec![("a", array(Int64Array::from(vec![1])))]);
    let (column, reader) = (batch.column(0).clone(), batch.schema());
    let contract = Contract::settle(
        &stream(Value::Null, &[]),
        &reader,
        None,
        SchemaContract::default(),
    )
    .unwrap();
    let mut coercer = contract.coercer(&reader).unwrap();
    let payload = coercer.coerce(Payload::new(batch)).unwrap().payload;
    assert!(Arc::ptr_eq(payload.batch.column(0), &column));
    assert!(
        Arc::ptr_eq(payload.batch.schema_ref(), contract.schema()),
        "compared once, then by its address"
    );
}

#[test]
fn only_the_bad_row_is_refused_with_path_kind_place_and_row() {
    let declared =
        json!([{ "name": "id", "logicalType": "integer" }, { "name": "ok", "logicalType": "boolean" }]);
    let words = array(StringArray::from(vec!["12", "35.2", "x", "7"]));
    let flags = array(StringArray::from(vec![
        Some("true"),
        Some("false"),
        Some("yes"),
        None,
    ]));
    let mut payload = Payload::new(batch(vec![("id", words), ("ok", flags)]));
    payload.metadata = BTreeMap::from([("file", json!("a.csv")), ("row", json!(100))]);
    let coerced = coerce(&stream(declared, &[]), SchemaContract::default(), None, payload);
    assert_eq!(numbers(&coerced, 0), [Some(12), Some(7)]);
    assert_eq!(
        reasons(&coerced),
        [
            ("parse", "column `id`: \"35.2\" is not exactly one value of int64"),
            (
                "parse",
                "column `id`: \"x\" is not exactly one value of int64; \
                 column `ok`: \"yes\" is not exactly one value of boolean"
            ),
        ]
    );
    assert_eq!(coerced.payload.refused[0].place["row"], 101);
    assert_eq!(
        coerced.payload.refused[0].row,
        json!({ "id": "35.2", "ok": "false" })
    );
}

#[test]
fn operations_and_watermarks_stay_with_their_rows() {
    let declared = json!([{ "name": "id", "logicalType": "integer" }]);
    let mut payload = Payload::new(batch(vec![(
        "id",
        array(Float64Array::from(vec![1.0, 1.5, 2.0])),
    )]));
    payload.ops = Some(vec![Op::Insert, Op::Update, Op::Delete]);
    payload.watermarks = Some(array(Int64Array::from(vec![7, 8, 9])));
    let coerced = coerce(&stream(declared, &[]), SchemaContract::default(), None, payload);
    assert_eq!(
        reasons(&coerced),
        [("type", "column `id`: 1.5 is not exactly one value of int64")]
    );
    assert_eq!(coerced.payload.ops, Some(vec![Op::Insert, Op::Delete]));
    assert_eq!(
        coerced.payload.watermarks.unwrap().as_ref(),
        &Int64Array::from(vec![7, 9])
    );
}

#[test]
fn a_discarded_value_becomes_null_and_is_counted_but_never_in_a_key() {
    let declared = json!([
        { "name": "id", "logicalType": "integer" },
        { "name": "n", "logicalType": "integer" },
        { "name": "r", "logicalType": "integer", "required": true },
    ]);
    let column = |values: [&str; 4]| array(StringArray::from(values.to_vec()));
    let batch = batch(vec![
        ("id", column(["1", "x", "3", "4"])),
        ("n", column(["1", "2", "x", "4"])),
        ("r", column(["1", "2", "3", "x"])),
    ]);
    let coerced = coerce(&stream(declared, &["id"]), LENIENT, None, Payload::new(batch));
    assert_eq!(numbers(&coerced, 1), [Some(1), None]);
    assert_eq!(coerced.discarded, 1);
    assert_eq!(coerced.payload.refused.len(), 2);
    assert!(reasons(&coerced)[0].1.contains("`id`"));
    assert!(reasons(&coerced)[1].1.contains("`r`"));
}

#[test]
fn a_required_value_that_is_missing_is_refused_except_in_a_delete() {
    let declared = json!([{ "name": "id", "logicalType": "integer" }, { "name": "n", "logicalType": "integer", "required": true }]);
    let id = array(Int64Array::from(vec![1, 2, 3]));
    let n = array(Int64Array::from(vec![Some(1), None, None]));
    let mut payload = Payload::new(batch(vec![("id", id), ("n", n)]));
    payload.ops = Some(vec![Op::Insert, Op::Insert, Op::Delete]);
    let coerced = coerce(
        &stream(declared, &["id"]),
        SchemaContract::default(),
        None,
        payload,
    );
    assert_eq!(
        reasons(&coerced),
        [("contract", "column `n` is required and has no value")]
    );
    assert_eq!(numbers(&coerced, 0), [Some(1), Some(3)]);
}

#[test]
fn a_value_in_an_unwanted_column_refuses_the_row_or_is_left_out() {
    let known = schema(&[("id", DataType::Int64)]);
    let rows = || {
        let extra = array(StringArray::from(vec![None, Some("x"), None]));
        Payload::new(batch(vec![
            ("extra", extra),
            ("id", array(Int64Array::from(vec![1, 2, 3]))),
        ]))
    };
    let coerced = coerce(&stream(Value::Null, &[]), STRICT, Some(&known), rows());
    assert_eq!(numbers(&coerced, 0), [Some(1), Some(3)]);
    assert_eq!(
        reasons(&coerced),
        [(
            "contract",
            "column `extra` is not in the schema and has the value \"x\""
        )]
    );
    let coerced = coerce(&stream(Value::Null, &[]), LENIENT, Some(&known), rows());
    assert_eq!(numbers(&coerced, 0), [Some(1), Some(2), Some(3)]);
    assert_eq!(coerced.discarded, 1);
}

#[test]
fn a_type_with_nothing_in_common_refuses_every_value() {
    let known = schema(&[("id", DataType::Int64), ("x", DataType::Int64)]);
    let id = array(Int64Array::from(vec![1, 2]));
    let flags = array(arrow::array::BooleanArray::from(vec![Some(true), None]));
    let rows = || Payload::new(batch(vec![("id", id.clone()), ("x", flags.clone())]));
    let coerced = coerce(&stream(Value::Null, &[]), STRICT, Some(&known), rows());
    assert_eq!(numbers(&coerced, 0), [Some(2)]);
    let coerced = coerce(&stream(Value::Null, &[]), LENIENT, Some(&known), rows());
    assert_eq!(numbers(&coerced, 1), [None, None]);
    assert_eq!(coerced.discarded, 1);
}

fn address(street: ArrayRef, number: ArrayRef, nulls: Option<Vec<bool>>) -> ArrayRef {
    let fields = schema(&[
        ("street", street.data_type().clone()),
        ("number", number.data_type().clone()),
    ]);
    array(StructArray::new(
        fields.fields().clone(),
        vec![street, number],
        nulls.map(NullBuffer::from),
    ))
}

#[test]
fn the_path_leads_into_objects() {
    let declared = json!([{ "name": "address", "logicalType": "object", "properties": [
        { "name": "number", "logicalType": "integer", "required": true },
        { "name": "street", "logicalType": "string" },
    ]}]);
    let street = array(StringArray::from(vec!["a", "b", "c", "d"]));
    let number = array(Float64Array::from(vec![Some(1.0), Some(35.2), None, None]));
    let column = address(street, number, Some(vec![true, true, true, false]));
    let coerced = coerce(
        &stream(declared, &[]),
        SchemaContract::default(),
        None,
        Payload::new(batch(vec![("address", column)])),
    );
    assert_eq!(
        reasons(&coerced),
        [
            (
                "type",
                "column `address.number`: 35.2 is not exactly one value of int64"
            ),
            ("contract", "column `address.number` is required and has no value"),
        ]
    );
    let column = coerced.payload.batch.column(0).as_struct();
    assert_eq!(column.column(0).as_primitive::<Int64Type>().value(0), 1);
    assert_eq!(column.column(1).as_string::<i32>().value(0), "a");
    assert!(
        column.is_null(1),
        "an object that is not there has no parts that could be required"
    );
}

#[test]
fn the_path_leads_into_arrays_also_when_they_are_sliced() {
    let declared = json!([{ "name": "tags", "logicalType": "array", "items": { "logicalType": "integer" } }]);
    let mut builder = ListBuilder::new(StringBuilder::new());
    for tags in [
        Some(vec!["x"]),
        Some(vec!["1", "2"]),
        Some(vec![]),
        None,
        Some(vec!["3", "x"]),
        Some(vec!["4"]),
    ] {
        match tags {
            None => builder.append_null(),
            Some(tags) => builder.append_value(tags.into_iter().map(Some)),
        }
    }
    let whole = batch(vec![("tags", array(builder.finish()))]);
    let coerced = coerce(
        &stream(declared, &[]),
        SchemaContract::default(),
        None,
        Payload::new(whole.slice(1, 5)),
    );
    assert_eq!(
        reasons(&coerced),
        [(
            "parse",
            "column `tags[]`: \"x\" is not exactly one value of int64"
        )]
    );
    assert_eq!(coerced.payload.refused[0].place["rowsAfter"], 3);
    assert_eq!(coerced.payload.refused[0].row, json!({ "tags": ["3", "x"] }));
    let tags = coerced.payload.batch.column(0).as_list::<i32>();
    assert_eq!(tags.len(), 4);
    assert_eq!(tags.value(0).as_primitive::<Int64Type>().values(), &[1, 2]);
    assert_eq!(tags.value(3).as_primitive::<Int64Type>().values(), &[4]);
}

#[test]
fn a_reader_may_change_to_a_narrower_schema_but_not_to_another() {
    let reader = schema(&[("id", DataType::Int64), ("x", DataType::Utf8)]);
    let contract = Contract::settle(
        &stream(Value::Null, &[]),
        &reader,
        None,
        SchemaContract::default(),
    )
    .unwrap();
    let mut coercer = contract.coercer(&Arc::new(reader)).unwrap();
    let second = batch(vec![("id", array(Int32Array::from(vec![5])))]);
    let narrow = coercer.coerce(Payload::new(second)).unwrap();
    assert_eq!(numbers(&narrow, 0), [Some(5)]);
    assert!(narrow.payload.batch.column(1).is_null(0));
    let third = batch(vec![
        ("id", array(Int64Array::from(vec![5]))),
        ("y", array(Int64Array::from(vec![5]))),
    ]);
    let error = coercer.coerce(Payload::new(third)).unwrap_err();
    assert_eq!(error.reason, "SchemaChanged");
    let fourth = batch(vec![("id", array(StringArray::from(vec!["5"])))]);
    assert!(coercer.coerce(Payload::new(fourth)).is_err());
}

#[test]
fn rows_without_columns_are_still_rows() {
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let empty = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let coerced = coerce(
        &stream(Value::Null, &[]),
        SchemaContract::default(),
        None,
        Payload::new(empty),
    );
    assert_eq!(coerced.payload.batch.num_rows(), 3);
}
