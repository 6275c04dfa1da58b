//! Every value arrives as what it was, in a column of the type that holds it; what PostgreSQL cannot hold is refused.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, Date32Array, Date64Array, Int32Array, StringArray, StringViewArray,
        TimestampNanosecondArray, TimestampSecondArray,
    },
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
};
use millrace_crds::flow::WriteMode;
use serde_json::json;

use super::{
    ground::{Ground as Database, ground},
    values::{Cases, cases},
};
use crate::{
    connector::Rows,
    connectors::tests::ground::Ground,
    error::{Error, ErrorKind},
    types::PHYSICAL_TYPE,
};

fn formed(name: &str, form: &str, values: Vec<&str>) -> (Field, ArrayRef) {
    let metadata = HashMap::from([(PHYSICAL_TYPE.to_owned(), form.to_owned())]);
    let field = Field::new(name, DataType::Utf8, true).with_metadata(metadata);
    (field, Arc::new(StringArray::from(values)))
}

fn plain(batch: RecordBatch) -> Rows {
    Rows {
        batch,
        ops: None,
        hashes: None,
        identities: None,
    }
}

/// A flow of appended rows into the database.
async fn appending(database: &Database) -> Ground {
    let destination = super::super::destination(database.system(json!({}))).unwrap();
    Ground::open(destination, WriteMode::Append).await
}

async fn deliver(ground: &Ground, batch: RecordBatch) -> Result<(), Error> {
    let mut permit = ground.acquire().await?;
    let staged = ground
        .stage_rows(&permit, vec![plain(batch)], false, None)
        .await?;
    ground.commit(&mut permit, vec![staged], false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_arrives_in_a_column_of_its_type() {
    let Some(database) = ground().await else { return };
    let cases: Cases = cases();
    let mut columns: Vec<(Field, ArrayRef)> = cases
        .iter()
        .map(|(name, array, ..)| (Field::new(*name, array.data_type().clone(), true), array.clone()))
        .collect();
    columns.push(formed("j", "json", vec!["{\"b\":  1, \"a\": 2}", "null"]));
    columns.push(formed("jb", "jsonb", vec!["{\"b\":  1, \"a\": 2}", "[]"]));
    columns.push(formed(
        "u",
        "uuid",
        vec![
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "00000000000000000000000000000000",
        ],
    ));
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    // Once into a new table, once into the one that is there then.
    let ground = appending(&database).await;
    deliver(&ground, batch.clone()).await.unwrap();
    deliver(&ground, batch).await.unwrap();

    let mut expected: Vec<(&str, &str, Vec<&str>)> = cases
        .iter()
        .map(|(name, _, type_, texts)| (*name, *type_, texts.clone()))
        .collect();
    expected.push(("j", "json", vec!["{\"b\":  1, \"a\": 2}", "null"]));
    expected.push(("jb", "jsonb", vec!["{\"a\": 2, \"b\": 1}", "[]"]));
    expected.push((
        "u",
        "uuid",
        vec![
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "00000000-0000-0000-0000-000000000000",
        ],
    ));
    database
        .sql("SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'")
        .await;
    for (name, type_, texts) in expected {
        let found = database
            .one(&format!(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute \
                 WHERE attrelid = 'orders'::regclass AND attname = '{name}'"
            ))
            .await;
        assert_eq!(found, type_, "{name}");
        let rows: Vec<String> = database
            .rows(&format!("SELECT \"{name}\" FROM orders ORDER BY ctid"))
            .await
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(rows, [texts.clone(), texts].concat(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_postgres_cannot_hold_is_refused_by_name_and_nothing_is_written() {
    let Some(database) = ground().await else { return };
    let ground = appending(&database).await;
    let cases: Vec<(ArrayRef, &str)> = vec![
        (
            Arc::new(StringArray::from(vec!["fine", "nul \0 here"])),
            "zero byte",
        ),
        (
            Arc::new(StringViewArray::from(vec!["fine", "nul \0 here, in a view"])),
            "zero byte",
        ),
        (
            Arc::new(TimestampNanosecondArray::from(vec![0, 1])),
            "finer than microseconds",
        ),
        (
            Arc::new(TimestampSecondArray::from(vec![0, 9_223_371_331_200])),
            "beyond what PostgreSQL can hold",
        ),
        (
            Arc::new(Date32Array::from(vec![0, i32::MIN])),
            "beyond what PostgreSQL can hold",
        ),
        (Arc::new(Date64Array::from(vec![0, 1])), "no whole day"),
    ];
    for (array, reason) in cases {
        let field = Field::new("wrong", array.data_type().clone(), true);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).unwrap();
        let error = deliver(&ground, batch).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Data, "{error}");
        let text = error.to_string();
        assert!(text.contains("column wrong") && text.contains(reason), "{text}");
    }
    assert_eq!(database.one("SELECT to_regclass('orders') IS NULL").await, "t");
}

#[tokio::test(flavor = "multi_thread")]
async fn nulls_may_hide_values_that_postgres_cannot_hold() {
    let Some(database) = ground().await else { return };
    let ground = appending(&database).await;
    let array = Date32Array::new(vec![0, i32::MIN].into(), Some(vec![true, false].into()));
    let sliced = Int32Array::from(vec![9, 8, 7, 6]).slice(1, 2);
    let batch =
        RecordBatch::try_from_iter([("d", Arc::new(array) as ArrayRef), ("i", Arc::new(sliced))]).unwrap();
    deliver(&ground, batch).await.unwrap();
    assert_eq!(
        database.rows("SELECT d, i FROM orders ORDER BY ctid").await,
        [["1970-01-01", "8"], ["NULL", "7"]]
    );
}
