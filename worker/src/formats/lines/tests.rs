use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BinaryArray, Date32Array, Decimal128Array, Float64Array, ListArray, RecordBatch,
        StringArray, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampSecondArray,
    },
    datatypes::{DataType, Field, Float64Type, Schema, TimestampSecondType},
};

use super::{lines, unfit};
use crate::types::PHYSICAL_TYPE;

fn batch(columns: Vec<(Field, ArrayRef)>) -> RecordBatch {
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn column(name: &str, array: impl arrow::array::Array + 'static) -> (Field, ArrayRef) {
    (Field::new(name, array.data_type().clone(), true), Arc::new(array))
}

#[test]
fn each_type_has_its_form() {
    let digits = Decimal128Array::from(vec![Some(110), None])
        .with_precision_and_scale(38, 2)
        .unwrap();
    let moment = TimestampMicrosecondArray::from(vec![Some(1_700_000_000_123_456), None]);
    let json = Field::new("json", DataType::Utf8, true)
        .with_metadata(HashMap::from([(PHYSICAL_TYPE.to_owned(), "json".to_owned())]));
    let texts = StringArray::from(vec!["{\"a\":\n [1.10]}", "not {json"]);
    let rows = batch(vec![
        column("digits", digits),
        column("local", moment.clone()),
        column("moment", moment.with_timezone("UTC")),
        column("bytes", BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None])),
        (json, Arc::new(texts)),
        column("text", StringArray::from(vec!["a\nb", "\"\u{2028}"])),
    ]);
    let found = String::from_utf8(lines(&rows).unwrap()).unwrap();
    let wanted = concat!(
        r#"{"digits":1.10,"local":"2023-11-14T22:13:20.123456","moment":"2023-11-14T22:13:20.123456Z","#,
        r#""bytes":"AP8=","json":{"a":  [1.10]},"text":"a\nb"}"#,
        "\n",
        r#"{"digits":null,"local":null,"moment":null,"bytes":null,"json":"not {json","text":"\""#,
        "\u{2028}\"}\n",
    );
    assert_eq!(found, wanted);
}

#[test]
fn numbers_without_digits_are_found_wherever_they_are() {
    let list = ListArray::from_iter_primitive::<Float64Type, _, _>(vec![
        Some(vec![Some(1.0)]),
        Some(vec![None, Some(f64::NAN)]),
        None,
    ]);
    let rows = batch(vec![
        column(
            "score",
            Float64Array::from(vec![Some(f64::INFINITY), Some(1.5), None]),
        ),
        column("scores", list),
    ]);
    let found: Vec<_> = unfit(&rows)
        .into_iter()
        .map(|(row, why)| (row, why.split(':').next().unwrap().to_owned()))
        .collect();
    assert_eq!(found, [(0, "`score`".to_owned()), (1, "`scores`".to_owned())]);
}

#[test]
fn times_that_no_calendar_has_are_found_wherever_they_are() {
    let far = [Some(vec![Some(0)]), None, Some(vec![Some(1), Some(i64::MAX)])];
    let rows = batch(vec![
        column(
            "second",
            TimestampSecondArray::from(vec![Some(0), Some(i64::MAX), None]),
        ),
        column(
            "micro",
            TimestampMicrosecondArray::from(vec![Some(i64::MIN), Some(-1), None]),
        ),
        column("day", Date32Array::from(vec![0, 19_000, i32::MAX])),
        column("hour", Time64MicrosecondArray::from(vec![0, -1, 86_399_999_999])),
        column(
            "list",
            ListArray::from_iter_primitive::<TimestampSecondType, _, _>(far),
        ),
    ]);

    let mut found = unfit(&rows);

    found.sort();
    let why = |name: &str| format!("`{name}`: a time that no calendar has");
    let wanted = [(0, "micro"), (1, "hour"), (1, "second"), (2, "day"), (2, "list")];
    assert_eq!(found, wanted.map(|(row, name)| (row, why(name))));
    // All that is found, and nothing else, would be written as an error.
    let told = String::from_utf8(lines(&rows).unwrap()).unwrap();
    assert_eq!(told.matches("ERROR").count(), found.len(), "{told}");
}
