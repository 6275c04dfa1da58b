mod coercing;
mod settling;

use std::collections::BTreeMap;

use arrow::{
    array::{Array, ArrayRef, Int64Array, StringArray},
    datatypes::{DataType, Field},
};
use millrace_crds::flow::WriteMode;
use serde_json::{Value, json};

use super::*;
use crate::connector::Op;

pub(super) fn mode(columns: ContractMode, data_type: ContractMode) -> SchemaContract {
    SchemaContract {
        tables: ContractMode::Evolve,
        columns,
        data_type,
    }
}

pub(super) fn stream(declared: Value, key: &[&str]) -> StreamSpec {
    StreamSpec {
        name: "users".to_owned(),
        primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
        cursor: Vec::new(),
        declared: serde_json::from_value(declared).unwrap(),
        discovered: None,
        partitions: None,
        write_mode: WriteMode::Append,
        delivered_key: Vec::new(),
    }
}

pub(super) fn schema(columns: &[(&str, DataType)]) -> Schema {
    Schema::new(
        columns
            .iter()
            .map(|(name, type_)| Field::new(*name, type_.clone(), true))
            .collect::<Vec<_>>(),
    )
}

pub(super) fn types(contract: &Contract) -> Vec<(String, DataType)> {
    contract
        .schema()
        .fields()
        .iter()
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect()
}

pub(super) fn named(columns: &[(&str, DataType)]) -> Vec<(String, DataType)> {
    columns
        .iter()
        .map(|(name, type_)| ((*name).to_owned(), type_.clone()))
        .collect()
}

pub(super) fn array(values: impl Array + 'static) -> ArrayRef {
    Arc::new(values)
}

#[test]
fn new_tables_follow_the_contract_unless_they_are_named() {
    assert_eq!(
        new_table("t", false, ContractMode::Evolve).unwrap(),
        NewTable::Load
    );
    assert_eq!(
        new_table("t", false, ContractMode::DiscardRow).unwrap(),
        NewTable::Skip
    );
    assert_eq!(
        new_table("t", true, ContractMode::Freeze).unwrap(),
        NewTable::Load
    );
    let error = new_table("t", false, ContractMode::Freeze).unwrap_err();
    assert_eq!(error.reason, "SchemaFrozen");
}

#[test]
fn null_and_partly_null_keys_are_refused() {
    let a = array(Int64Array::from(vec![Some(0), None, Some(1), Some(2)]));
    let b = array(StringArray::from(vec![Some(""), None, None, Some("x")]));
    let batch = RecordBatch::try_from_iter([("a", a), ("b", b)]).unwrap();
    let mut payload = Payload::new(batch);
    payload.ops = Some(vec![Op::Insert, Op::Delete, Op::Update, Op::Delete]);
    payload.watermarks = Some(array(Int64Array::from(vec![10, 11, 12, 13])));
    payload.metadata = BTreeMap::from([("line", json!(2))]);
    let reader = payload.batch.schema();
    let contract = Contract::settle(
        &stream(Value::Null, &["a", "b"]),
        &reader,
        None,
        SchemaContract::default(),
    );
    let coerced = contract
        .unwrap()
        .coercer(&reader)
        .unwrap()
        .coerce(payload)
        .unwrap();
    assert_eq!(coerced.rows, Some(vec![0, 3]));
    assert_eq!(coerced.refused_rows, [1, 2]);
    assert_eq!(coerced.refused.unwrap().num_rows(), 2);
    let payload = coerced.payload;
    assert_eq!(payload.batch.num_rows(), 2, "empty text and 0 are ordinary keys");
    assert_eq!(payload.ops, Some(vec![Op::Insert, Op::Delete]));
    assert_eq!(
        payload.watermarks.unwrap().as_ref(),
        &Int64Array::from(vec![10, 13])
    );
    let refused: Vec<_> = payload
        .refused
        .iter()
        .map(|row| (row.kind.as_str(), row.reason.as_str()))
        .collect();
    assert_eq!(
        refused,
        [
            ("null-key", "key column `a` is null; key column `b` is null"),
            ("null-key", "key column `b` is null")
        ]
    );
    assert_eq!(payload.refused[1].place["rowsAfter"], 2);
}
