//! What every source must do: streams that are what they say, parts that make up the whole, and an end.

use std::sync::Arc;

use arrow::{
    array::{Int64Array, RecordBatch, StringArray},
    json::LineDelimitedWriter,
};
use millrace_crds::flow::WriteMode;
use serde_json::{Value, json};

use super::ground::{stream, system};
use crate::{
    connector::{Load, Range, Source, StreamInfo},
    connectors, engines,
    stream::StreamSpec,
};

fn source(type_: &str, connection: &Value) -> Arc<dyn Source> {
    engines::source(system(type_, connection.as_object().unwrap().clone())).unwrap()
}

fn spec(info: &StreamInfo, partitions: Option<usize>) -> StreamSpec {
    StreamSpec {
        primary_key: info.primary_key.clone(),
        delivered_key: info.primary_key.clone(),
        discovered: Some(info.schema.clone()),
        partitions,
        ..stream(&info.name, WriteMode::Append)
    }
}

/// The rows of each part, as text.
async fn parts(load: &dyn Load) -> Vec<Vec<String>> {
    let mut parts = Vec::new();
    for partition in 0..load.partitions() {
        let mut reader = load.read(partition).await.unwrap();
        let mut part = Vec::new();
        while let Some(payload) = reader.next().await.unwrap() {
            assert_eq!(payload.batch.schema(), load.schema());
            assert!(
                payload
                    .ops
                    .is_none_or(|ops| ops.len() == payload.batch.num_rows())
            );
            part.extend(lines(&payload.batch));
        }
        assert!(
            reader.next().await.unwrap().is_none(),
            "after its end a reader went on"
        );
        parts.push(part);
    }
    parts
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(batch).unwrap();
    let text = String::from_utf8(writer.into_inner()).unwrap();
    text.lines().map(str::to_owned).collect()
}

async fn keeps_the_contract(source: Arc<dyn Source>, rows: usize) {
    source.check().await.unwrap();
    let streams = source.discover().await.unwrap();
    assert!(!streams.is_empty());
    for info in &streams {
        let load = source.load(&spec(info, None), &Range::Full).await.unwrap();
        assert_eq!(load.schema().fields(), info.schema.fields());
        let whole = parts(load.as_ref()).await;
        let mut all: Vec<String> = whole.concat();
        assert_eq!(all.len(), rows, "{}", info.name);
        assert!(
            load.estimate()
                .rows
                .is_none_or(|estimate| estimate == rows as u64)
        );
        assert!(info.rows.is_none_or(|estimate| estimate == rows as u64));
        assert_eq!(
            parts(load.as_ref()).await,
            whole,
            "the same load was read twice and differs"
        );
        let again = source.load(&spec(info, None), &Range::Full).await.unwrap();
        assert_eq!(
            parts(again.as_ref()).await,
            whole,
            "the same range was loaded twice and differs"
        );
        all.sort();
        for partitions in [1, 2, 7] {
            let load = source
                .load(&spec(info, Some(partitions)), &Range::Full)
                .await
                .unwrap();
            assert!((1..=partitions).contains(&load.partitions()));
            let dealt = parts(load.as_ref()).await;
            if let Some(ticket) = load.ticket() {
                let joined = source.join(&spec(info, None), &Range::Full, &ticket).await;
                assert_eq!(
                    parts(joined.unwrap().as_ref()).await,
                    dealt,
                    "joined, it is another load"
                );
            }
            let mut dealt = dealt.concat();
            dealt.sort();
            assert_eq!(dealt, all, "{partitions} parts are not the whole");
        }
    }
    let unknown = source
        .load(&stream("no such stream", WriteMode::Append), &Range::Full)
        .await;
    assert!(unknown.is_err_and(|error| error.message.contains("no such stream")));
}

#[tokio::test]
async fn the_generator_keeps_the_contract() {
    let connection = json!({
        "rows": 10_000, "streams": ["a", "b.c"], "version": 3, "batchRows": 999,
        "updateFraction": 0.02, "deleteFraction": 0.1, "insertFraction": 0.05,
    });
    keeps_the_contract(source("generator", &connection), 10_000 + 3 * 500 - 3 * 1000).await;
}

#[tokio::test]
async fn a_generator_without_rows_keeps_the_contract() {
    keeps_the_contract(
        source("generator", &json!({ "rows": 0, "updateFraction": 0.5 })),
        0,
    )
    .await;
}

#[tokio::test]
async fn a_pushing_generator_that_ends_keeps_the_contract() {
    let connection = json!({ "mode": "push", "rows": 1000, "shards": 3, "batchRows": 64 });
    keeps_the_contract(source("generator", &connection), 1000).await;
}

#[tokio::test]
async fn tables_in_memory_keep_the_contract() {
    let store = uuid::Uuid::new_v4().to_string();
    let batch = |from: i64| {
        let ids = Int64Array::from_iter_values(from..from + 10);
        let names = StringArray::from_iter_values((from..from + 10).map(|id| format!("n{id}")));
        RecordBatch::try_from_iter([("id", Arc::new(ids) as _), ("name", Arc::new(names) as _)]).unwrap()
    };
    connectors::memory::put(&store, "people", [batch(0), batch(10), batch(20)]).unwrap();
    keeps_the_contract(source("memory", &json!({ "store": store })), 30).await;
    connectors::memory::clear(&store).unwrap();
}

#[tokio::test]
async fn tables_in_postgres_keep_the_contract() {
    let Some(database) = connectors::postgres::tests::ground::ground().await else {
        return;
    };
    database
        .sql(
            "CREATE TABLE people AS SELECT n::bigint AS id, 'n' || n AS name FROM generate_series(1, 5000) n; \
             ALTER TABLE people ADD PRIMARY KEY (id); ANALYZE people",
        )
        .await;
    keeps_the_contract(database.source(json!({ "batchRows": 999 })), 5000).await;
}
