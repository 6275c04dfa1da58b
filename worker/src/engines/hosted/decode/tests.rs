use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, Int64Array, NullArray, RecordBatch, StringArray},
    ipc::writer::StreamWriter,
};
use serde_json::{Value, json};

use super::{Refusals, join, payload, schema_of};
use crate::{connector::Payload, engine::rows::place, engines::frame::Frame};

fn frame(kind: &str, header: Value, rows: Option<&RecordBatch>) -> Frame {
    let mut body = Vec::new();
    if let Some(rows) = rows {
        let mut writer = StreamWriter::try_new(&mut body, &rows.schema()).unwrap();
        writer.write(rows).unwrap();
        writer.finish().unwrap();
    }
    Frame {
        kind: kind.to_owned(),
        header,
        body: body.into(),
    }
}

fn rows(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter(columns.iter().map(|(name, array)| (*name, array.clone()))).unwrap()
}

fn ids(count: i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(0..count))
}

/// What a batch becomes in a load whose only column is `id`, after what was told of its rows.
fn decoded(header: Value, told: Value, rows: &RecordBatch) -> Payload {
    let columns = schema_of(&frame("schema", json!({}), Some(&self::rows(&[("id", ids(0))])))).unwrap();
    let mut refused = Refusals::default();
    refused
        .take(&frame("refused", json!({ "rows": told }), None))
        .unwrap();
    payload(&frame("batch", header, Some(rows)), &columns, &mut refused).unwrap()
}

#[test]
fn a_row_that_is_refused_for_two_reasons_keeps_the_text_that_did_not_fit() {
    let late: ArrayRef = Arc::new(StringArray::from(vec![None, Some("late")]));
    let batch = rows(&[
        ("id", Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("more", late),
    ]);
    let told =
        json!([{ "at": 1, "columns": ["id"], "reason": "id: x", "row": { "id": "x", "more": "late" } }]);

    let payload = decoded(json!({}), told, &batch);

    let [unfit] = payload.unfit.as_slice() else {
        panic!("{:?}", payload.unfit)
    };
    assert_eq!((unfit.row, unfit.columns.len()), (1, 0));
    assert_eq!(unfit.letter.row, json!({ "id": "x", "more": "late" }));
    assert!(
        unfit.letter.reason.starts_with("id: x; `more`: "),
        "{}",
        unfit.letter.reason
    );
}

#[test]
fn a_batch_in_which_a_column_has_no_value_and_no_type_is_whole() {
    let nulls: ArrayRef = Arc::new(NullArray::new(2));

    let payload = decoded(
        json!({}),
        json!([]),
        &rows(&[("id", nulls.clone()), ("more", nulls)]),
    );

    assert_eq!((payload.batch.num_rows(), payload.unfit.len()), (2, 0));
}

#[test]
fn a_column_that_a_plugin_says_to_be_without_nulls_holds_those_of_refused_rows() {
    let told = json!([{ "at": 0, "columns": ["id"], "reason": "id: x", "row": {} }]);
    let batch = rows(&[("id", Arc::new(Int64Array::from(vec![None::<i64>])))]);
    assert_eq!(decoded(json!({}), told, &batch).unfit.len(), 1);
}

#[test]
fn what_a_batch_says_of_its_columns_beside_their_types_is_nothing_to_a_load() {
    let batch = rows(&[("id", ids(2))]);
    let metadata = [("pandas".to_owned(), "{}".to_owned())].into();
    let told = Arc::new(batch.schema().as_ref().clone().with_metadata(metadata));
    let payload = decoded(json!({}), json!([]), &batch.with_schema(told).unwrap());
    assert_eq!((payload.batch.num_rows(), payload.unfit.len()), (2, 0));
}

#[test]
fn the_place_of_a_row_is_its_number_in_the_batch_that_the_plugin_gave() {
    let batch = rows(&[("id", Arc::new(Float64Array::from(vec![1.0, 1.5])))]);
    let header = json!({ "batch": 3, "row": 8192, "metadata": { "page": 7 } });

    let payload = decoded(header, json!([]), &batch);

    let letter = &payload.unfit[0].letter;
    let expected = json!({ "batch": 3, "row": 8193, "metadata": { "page": 7 } });
    assert_eq!(json!(letter.place), expected);
    // So is that of a row that the contract refuses later.
    assert_eq!(json!(place(&payload.metadata, 1)), expected);
}

#[test]
fn rows_of_several_batches_are_placed_from_the_first_of_them_on() {
    let of = |batch: u64, row: u64| {
        decoded(
            json!({ "batch": batch, "row": row }),
            json!([]),
            &rows(&[("id", ids(2))]),
        )
    };
    let of_one = join(of(1, 0), of(1, 2)).unwrap();
    assert_eq!(json!(place(&of_one.metadata, 3)), json!({ "batch": 1, "row": 3 }));
    let of_two = join(of_one, of(2, 0)).unwrap();
    assert_eq!(
        json!(place(&of_two.metadata, 5)),
        json!({ "batch": 1, "rowsAfter": 5 })
    );
}

#[test]
fn a_column_of_nulls_alone_takes_what_comes_after_it() {
    let first = rows(&[("id", ids(1)), ("v", Arc::new(NullArray::new(1)))]);
    let columns = schema_of(&frame("schema", json!({}), Some(&first))).unwrap();
    let text: ArrayRef = Arc::new(StringArray::from(vec!["hello"]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![5]));

    let given = [
        first,
        rows(&[("id", ids(1)), ("v", text)]),
        rows(&[("id", ids(1)), ("v", number)]),
    ];
    let given = given.map(|batch| {
        let frame = frame("batch", json!({}), Some(&batch));
        payload(&frame, &columns, &mut Refusals::default()).unwrap()
    });

    let found = given.iter().map(|payload| {
        assert!(payload.unfit.is_empty(), "{:?}", payload.unfit);
        let texts = payload.batch.column(1).as_string::<i32>();
        texts.iter().next().flatten()
    });
    assert_eq!(found.collect::<Vec<_>>(), [None, Some("hello"), Some("5")]);
}
