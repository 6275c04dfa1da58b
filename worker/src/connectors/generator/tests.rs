//! Versions that differ by exactly what they say.

use std::collections::{BTreeMap, BTreeSet};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Int64Type, TimestampMicrosecondType},
    json::LineDelimitedWriter,
};
use millrace_crds::flow::WriteMode;
use serde_json::{Value, json};

use super::*;
use crate::{
    connector::Op,
    connectors::tests::ground::{stream, system},
    error::ErrorKind,
};

fn generator(connection: &Value) -> Generator {
    Generator::new(&system("generator", connection.as_object().unwrap().clone())).unwrap()
}

fn at(version: u64) -> Value {
    json!({
        "rows": 2000, "version": version, "seed": 7, "batchRows": 333, "deltaDeletes": true,
        "updateFraction": 0.05, "deleteFraction": 0.03, "insertFraction": 0.02,
    })
}

fn rows_stream() -> StreamSpec {
    stream("rows", WriteMode::Upsert)
}

struct Read {
    id: i64,
    updated_at: i64,
    op: Option<Op>,
    line: String,
}

async fn read(load: &dyn Load) -> Vec<Read> {
    let mut rows = Vec::new();
    for partition in 0..load.partitions() {
        let mut reader = load.read(partition).await.unwrap();
        while let Some(payload) = reader.next().await.unwrap() {
            let ids = payload.batch.column(0).as_primitive::<Int64Type>().values();
            let updated = payload
                .batch
                .column(4)
                .as_primitive::<TimestampMicrosecondType>()
                .values();
            for (row, line) in lines(&payload.batch).into_iter().enumerate() {
                let op = payload.ops.as_ref().map(|ops| ops[row]);
                rows.push(Read {
                    id: ids[row],
                    updated_at: updated[row],
                    op,
                    line,
                });
            }
        }
    }
    assert!(
        load.estimate()
            .rows
            .is_none_or(|estimate| estimate == rows.len() as u64)
    );
    rows
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(batch).unwrap();
    String::from_utf8(writer.into_inner())
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

async fn load(connection: &Value, range: &Range, partitions: usize) -> Arc<dyn Load> {
    let spec = StreamSpec {
        partitions: Some(partitions),
        ..rows_stream()
    };
    generator(connection).load(&spec, range).await.unwrap()
}

async fn full(version: u64) -> BTreeMap<i64, String> {
    let rows = read(load(&at(version), &Range::Full, 3).await.as_ref()).await;
    let count = rows.len();
    let table: BTreeMap<i64, String> = rows.into_iter().map(|row| (row.id, row.line)).collect();
    assert_eq!(table.len(), count, "an id came twice");
    table
}

fn after(version: u64) -> Range {
    Range::Delta {
        after: Some(json!({ "version": version })),
    }
}

#[tokio::test]
async fn a_version_and_a_delta_make_the_next_version() {
    for (from, to) in [(0, 1), (1, 2), (0, 9), (3, 40), (33, 34), (5, 60)] {
        let mut table = full(from).await;
        let delta = load(&at(to), &after(from), 4).await;
        assert_eq!(delta.watermark(), Some(json!({ "version": to })));
        for row in read(delta.as_ref()).await {
            let before = match row.op {
                Some(Op::Delete) => table.remove(&row.id),
                _ => table.insert(row.id, row.line.clone()),
            };
            match row.op {
                Some(Op::Delete) => assert!(before.is_some(), "deleted what was not there"),
                Some(Op::Insert) => assert_eq!(before, None, "inserted what was there"),
                // A batch without deletes leaves the operation open.
                Some(Op::Update) | None => assert_ne!(before, Some(row.line), "nothing changed"),
            }
        }
        assert_eq!(table, full(to).await, "{from} to {to}");
    }
}

#[tokio::test]
async fn each_version_changes_exactly_its_share() {
    for version in [1, 2, 20] {
        let rows = read(load(&at(version), &after(version - 1), 1).await.as_ref()).await;
        let count = |op| rows.iter().filter(|row| row.op == Some(op)).count();
        assert_eq!(
            (count(Op::Update), count(Op::Delete), count(Op::Insert)),
            (100, 60, 40),
            "version {version}"
        );
        let ids: BTreeSet<i64> = rows.iter().map(|row| row.id).collect();
        assert_eq!(ids.len(), rows.len());
        assert!(
            ids.iter().max().unwrap() - ids.iter().min().unwrap() > 1500,
            "the changes lie together"
        );
    }
    assert_eq!(full(10).await.len(), 2000 - 10 * 20);
}

#[tokio::test]
async fn the_cursor_grows_with_the_version_and_a_backfill_finds_rows_by_it() {
    let before = read(load(&at(4), &Range::Full, 1).await.as_ref()).await;
    let newest = before.iter().map(|row| row.updated_at).max().unwrap();
    let delta = read(load(&at(5), &after(4), 1).await.as_ref()).await;
    assert!(delta.iter().all(|row| row.updated_at > newest));
    let range = Range::Backfill {
        from: "2024-01-04".into(),
        to: "2024-01-05T12:00:00".into(),
    };
    let found: BTreeSet<i64> = read(load(&at(4), &range, 2).await.as_ref())
        .await
        .iter()
        .map(|row| row.id)
        .collect();
    let (from, to) = (1_704_326_400_000_000, 1_704_456_000_000_000);
    let wanted = before
        .iter()
        .filter(|row| (from..to).contains(&row.updated_at))
        .map(|row| row.id);
    assert_eq!(found, wanted.collect());
    assert!(!found.is_empty());
}

#[tokio::test]
async fn deltas_without_deletes_are_plain_rows() {
    let mut connection = at(2);
    connection["deltaDeletes"] = false.into();
    let rows = read(load(&connection, &after(1), 1).await.as_ref()).await;
    assert_eq!(rows.len(), 140);
    assert!(rows.iter().all(|row| row.op.is_none()));
    assert_eq!(
        read(load(&connection, &after(2), 1).await.as_ref()).await.len(),
        0
    );
    let lower = load(&connection, &after(9), 1).await;
    assert_eq!(
        (read(lower.as_ref()).await.len(), lower.watermark()),
        (0, Some(json!({ "version": 9 })))
    );
}

#[tokio::test]
async fn seeds_and_streams_differ_and_every_kind_of_value_comes() {
    let other = |connection: Value| async move {
        let spec = stream(connection["streams"][0].as_str().unwrap(), WriteMode::Append);
        read(
            generator(&connection)
                .load(&spec, &Range::Full)
                .await
                .unwrap()
                .as_ref(),
        )
        .await
    };
    let text = |rows: Vec<Read>| rows.into_iter().map(|row| row.line).collect::<Vec<_>>();
    let one = text(other(json!({ "streams": ["a"] })).await);
    assert_eq!(one, text(other(json!({ "streams": ["a"] })).await));
    assert_ne!(one, text(other(json!({ "streams": ["b"] })).await));
    assert_ne!(one, text(other(json!({ "streams": ["a"], "seed": 1 })).await));
    for part in [
        "\"tags\":[]",
        "\"tags\":[\"",
        "\"note\":\"\"",
        "\"active\":false",
        "\"amount\":-",
        "ö",
        "\\\"",
    ] {
        assert!(one.iter().any(|line| line.contains(part)), "{part}");
    }
    assert!(one.iter().any(|line| !line.contains("note")));
}

#[tokio::test]
async fn everything_can_be_deleted_and_one_row_be_all() {
    for connection in [
        json!({ "rows": 1, "version": 1, "deleteFraction": 1.0 }),
        json!({ "rows": 100, "version": 7, "deleteFraction": 1.0, "updateFraction": 1.0 }),
        json!({ "rows": 10, "version": 2, "deleteFraction": 0.6 }),
    ] {
        assert_eq!(
            read(load(&connection, &Range::Full, 2).await.as_ref())
                .await
                .len(),
            0,
            "{connection}"
        );
    }
    let renewed = json!({ "rows": 10, "version": 30, "deleteFraction": 1.0, "insertFraction": 0.5, "updateFraction": 1.0 });
    assert_eq!(
        read(load(&renewed, &Range::Full, 1).await.as_ref()).await.len(),
        5
    );
    assert_eq!(
        read(
            load(
                &json!({ "rows": 1, "version": 5, "updateFraction": 1.0 }),
                &after(4),
                1
            )
            .await
            .as_ref()
        )
        .await
        .len(),
        1
    );
}

#[test]
fn wrong_settings_are_named() {
    for (connection, word) in [
        (json!({ "updateFraction": 1.5 }), "updateFraction"),
        (json!({ "streams": [] }), "streams"),
        (json!({ "streams": ["a", "a"] }), "streams"),
        (json!({ "ratePerSecond": 0 }), "ratePerSecond"),
        (json!({ "rows": "many" }), "expected u64"),
        (json!({ "mode": "pull me" }), "expected `"),
    ] {
        let result = Generator::new(&system("generator", connection.as_object().unwrap().clone()));
        let error = result.err().unwrap();
        assert!(
            error.kind == ErrorKind::Config && error.message.contains(word),
            "{connection}: {error}"
        );
    }
}

#[tokio::test]
async fn another_cursor_and_a_foreign_watermark_are_refused() {
    let spec = StreamSpec {
        cursor: vec!["id".into()],
        ..rows_stream()
    };
    assert!(
        generator(&at(1))
            .load(&spec, &Range::Full)
            .await
            .is_err_and(|error| error.message.contains("`id`"))
    );
    let foreign = Range::Delta {
        after: Some(json!({ "offset": 1 })),
    };
    assert!(generator(&at(1)).load(&rows_stream(), &foreign).await.is_err());
    let range = Range::Backfill {
        from: "yesterday".into(),
        to: "2024-01-05".into(),
    };
    let error = generator(&at(1))
        .load(&rows_stream(), &range)
        .await
        .err()
        .unwrap();
    assert!(error.message.contains("yesterday"), "{error}");
}
