use std::sync::Arc;

use arrow::{
    array::{BinaryArray, Decimal128Array, Int64Array, IntervalYearMonthArray, StringArray, StructArray},
    datatypes::{Field, Schema},
};
use serde_json::json;

use super::*;

fn batch() -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MAX)]));
    let money: ArrayRef = Arc::new(
        Decimal128Array::from(vec![1, 2, 12_345_678_901_234_567_890_123])
            .with_precision_and_scale(38, 2)
            .unwrap(),
    );
    let name: ArrayRef = Arc::new(StringArray::from(vec!["a", "b\"", "c"]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"\x00\xff", b"", b"z"]));
    let parts = StructArray::from(vec![(
        Arc::new(Field::new("money", money.data_type().clone(), true)),
        money.clone(),
    )]);
    RecordBatch::try_from_iter([
        ("id", id),
        ("money", money),
        ("name", name),
        ("bytes", bytes),
        ("in", Arc::new(parts) as ArrayRef),
    ])
    .unwrap()
}

#[test]
fn rows_become_json_without_loss() {
    assert_eq!(
        to_json(&batch(), &[2, 1]).unwrap(),
        vec![
            json!({ "id": i64::MAX, "money": "123456789012345678901.23", "name": "c", "bytes": "7a",
                "in": { "money": "123456789012345678901.23" } }),
            json!({ "id": null, "money": "0.02", "name": "b\"", "bytes": "", "in": { "money": "0.02" } }),
        ]
    );
    assert!(to_json(&batch(), &[]).unwrap().is_empty());
}

#[test]
fn a_type_without_json_is_shown_as_text() {
    let months: ArrayRef = Arc::new(IntervalYearMonthArray::from(vec![Some(13), None]));
    let union = arrow::array::UnionArray::try_new(
        [(0, Arc::new(Field::new("a", DataType::Int64, true)))]
            .into_iter()
            .collect(),
        vec![0, 0].into(),
        None,
        vec![Arc::new(Int64Array::from(vec![1, 2]))],
    )
    .unwrap();
    let schema = Schema::new(vec![
        Field::new("m", months.data_type().clone(), true),
        Field::new("u", union.data_type().clone(), true),
    ]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![months, Arc::new(union)]).unwrap();
    let rows = to_json(&batch, &[0, 1]).unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows[0]["u"].is_string(), "{rows:?}");
}

#[test]
fn shown_values_are_quoted_and_cut() {
    let words: ArrayRef = Arc::new(StringArray::from(vec!["ä".repeat(200)]));
    let text = shown(&words, 0);
    assert!(text.starts_with("\"ää") && text.ends_with("…\""), "{text}");
    assert_eq!(text.chars().count(), SHOWN + 3);
}

#[test]
fn a_row_is_refused_once_with_all_its_reasons_and_its_place() {
    let misfit = |row, reason: &str| Misfit {
        row,
        kind: "type",
        reason: reason.to_owned(),
    };
    let metadata = BTreeMap::from([("file", json!("a.csv")), ("row", json!(10))]);
    let refused = refuse(
        &batch(),
        vec![misfit(2, "x"), misfit(0, "y"), misfit(2, "z")],
        &metadata,
    )
    .unwrap();
    assert_eq!(refused.len(), 2);
    assert_eq!(refused[0].reason, "y");
    assert_eq!(refused[1].reason, "x; z");
    assert_eq!(
        refused[1].place,
        BTreeMap::from([("file".into(), json!("a.csv")), ("row".into(), json!(12))])
    );
    assert_eq!(refused[1].row["name"], "c");
    let refused = refuse(
        &batch(),
        vec![misfit(1, "x")],
        &BTreeMap::from([("line", json!(7))]),
    )
    .unwrap();
    assert_eq!(
        refused[0].place,
        BTreeMap::from([("line".into(), json!(7)), ("rowsAfter".into(), json!(1))])
    );
}
