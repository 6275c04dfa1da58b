use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use serde_json::{Value, json};

use super::Refusals;
use crate::{
    connector::{Payload, Refused, UnfitRow},
    engines::frame::Frame,
    error::ErrorKind,
};

fn told(rows: &Value) -> Refusals {
    let mut refusals = Refusals::default();
    let header = json!({ "type": "refused", "rows": rows });
    let frame = Frame {
        kind: "refused".to_owned(),
        header,
        body: bytes::Bytes::new(),
    };
    refusals.take(&frame).unwrap();
    refusals
}

fn batch(rows: i64) -> Payload {
    let schema = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
    let ids = Int64Array::from_iter_values(0..rows);
    Payload::new(RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids)]).unwrap())
}

fn row(at: usize, columns: &[&str], reason: &str) -> Value {
    json!({ "row": { "id": at }, "reason": reason, "kind": "type", "at": at, "columns": columns })
}

#[test]
fn rows_of_the_batch_are_unfit_and_others_are_lost() {
    let mut payload = batch(3);
    payload.metadata = BTreeMap::from([
        ("batch", json!(5)),
        ("row", json!(100)),
        ("metadata", json!({ "page": 7 })),
    ]);
    let mut refusals =
        told(&json!([{ "row": 5, "reason": "no row" }, row(2, &["a"], "a: x"), row(0, &["b"], "b: y")]));

    refusals.mark(&mut payload).unwrap();

    let marked: Vec<_> = payload
        .unfit
        .iter()
        .map(|unfit| (unfit.row, unfit.columns.clone()))
        .collect();
    assert_eq!(marked, [(0, vec!["b".to_owned()]), (2, vec!["a".to_owned()])]);
    let letter = &payload.unfit[1].letter;
    assert_eq!(
        (letter.reason.as_str(), &letter.row),
        ("a: x", &json!({ "id": 2 }))
    );
    let place = json!({ "batch": 5, "row": 102, "metadata": { "page": 7 } });
    assert_eq!(json!(letter.place), place);
    let [lost] = payload.refused.as_slice() else {
        panic!("{:?}", payload.refused)
    };
    assert_eq!(lost.kind, "type");
    assert_eq!(
        json!(lost.place),
        json!({ "batch": 5, "metadata": { "page": 7 } })
    );
    // Told once.
    assert!(refusals.rest(&payload.batch.schema()).unwrap().is_none());
}

#[test]
fn a_row_is_marked_once_with_all_that_is_wrong_and_as_the_plugin_gave_it() {
    let mut payload = batch(1);
    let letter = Refused {
        reason: "c: z".to_owned(),
        kind: "type".to_owned(),
        place: BTreeMap::new(),
        row: Value::Null,
    };
    payload.unfit = vec![UnfitRow {
        row: 0,
        columns: vec!["c".to_owned()],
        letter,
    }];

    told(&json!([row(0, &["a"], "a: x")])).mark(&mut payload).unwrap();

    let [unfit] = payload.unfit.try_into().unwrap();
    assert_eq!(
        (unfit.columns, unfit.letter.reason.as_str()),
        (vec!["a".to_owned(), "c".to_owned()], "a: x; c: z")
    );
    assert_eq!(unfit.letter.row, json!({ "id": 0 }));
}

#[test]
fn a_row_without_its_operation_is_not_delivered_at_all() {
    let mut payload = batch(1);
    told(&json!([row(0, &["a", "_millrace_op"], "")]))
        .mark(&mut payload)
        .unwrap();
    assert!(payload.unfit[0].columns.is_empty());
}

#[test]
fn a_row_that_the_batch_does_not_have_is_a_bug() {
    let error = told(&json!([row(3, &["a"], "")]))
        .mark(&mut batch(3))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Bug);
    let error = told(&json!([row(0, &["a"], "")]))
        .rest(&batch(0).batch.schema())
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Bug);
}

#[test]
fn what_is_in_no_batch_is_told_where_none_follows() {
    let schema = batch(0).batch.schema();
    let payload = told(&json!([{ "row": 5, "reason": "no row", "kind": "parse" }]))
        .rest(&schema)
        .unwrap()
        .unwrap();
    assert_eq!(
        (payload.batch.num_rows(), payload.refused[0].kind.as_str()),
        (0, "parse")
    );
}
