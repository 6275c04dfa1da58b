//! Messages that can be checked from outside.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use millrace_crds::flow::WriteMode;
use serde_json::Value;

use super::*;
use crate::{
    connector::Source,
    connectors::tests::ground::{stream, system},
    error::ErrorKind,
};

fn rows_stream() -> StreamSpec {
    stream("rows", WriteMode::Append)
}

/// Shard and seq of each message, once its seal is found right.
fn checked(batch: &RecordBatch) -> Vec<(i64, i64)> {
    let number = |column: usize| batch.column(column).as_primitive::<Int64Type>().values();
    let text = |column: usize, row: usize| batch.column(column).as_string::<i32>().value(row);
    let rows = (0..batch.num_rows()).map(|row| {
        let (shard, seq) = (number(0)[row], number(1)[row]);
        let seal = Sha256::digest(format!("{shard}/{seq}/{}", text(2, row)));
        let seal: String = seal.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(seal, text(3, row));
        (shard, seq)
    });
    rows.collect()
}

fn pushing(more: &Value) -> Generator {
    let mut connection = json!({ "mode": "push", "shards": 2, "batchRows": 5 });
    connection
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Generator::new(&system("generator", connection.as_object().unwrap().clone())).unwrap()
}

#[tokio::test]
async fn messages_are_numbered_sealed_and_sent_again_after_a_rewind() {
    let source = pushing(&json!({ "rows": 12 }));
    let push = source.push().unwrap();
    let mut reader = push.open(&rows_stream(), None).await.unwrap();
    let first = reader.next().await.unwrap().unwrap();
    let second = reader.next().await.unwrap().unwrap();
    assert_eq!(checked(&first.batch), [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]);
    assert_eq!(
        (second.position.clone(), &second.metadata["offset"]),
        (Some(json!({ "offset": 10 })), &json!(5))
    );
    reader.pause().await.unwrap();
    reader.rewind(&first.position.unwrap()).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap().batch, second.batch);
    assert_eq!(
        checked(&reader.next().await.unwrap().unwrap().batch),
        [(0, 6), (1, 6)]
    );
    assert!(reader.next().await.unwrap().is_none());
    reader.close().await.unwrap();
    assert_eq!(reader.next().await.unwrap_err().kind, ErrorKind::Bug);
    let mut again = push
        .open(&rows_stream(), Some(&json!({ "offset": 5 })))
        .await
        .unwrap();
    assert_eq!(again.next().await.unwrap().unwrap().batch, second.batch);
    assert!(push.open(&rows_stream(), Some(&Position::Null)).await.is_err());
}

#[test]
fn messages_come_at_their_rate_and_no_burst_makes_up_for_a_pause() {
    let mut sender = Sender::new(Messages::of(&pushing(&json!({})), "rows"), 100, Some(2.0));
    let begin = Instant::now();
    let mut due = |next, seconds| {
        let pace = sender.pace.as_mut().unwrap();
        pace.due(begin + Duration::from_secs_f64(seconds), next)
    };
    let seconds = Duration::from_secs_f64;
    assert_eq!(due(100, 0.0), (seconds(0.5), 1));
    assert_eq!(due(101, 0.5), (seconds(0.5), 1));
    assert_eq!(
        due(102, 10.0),
        (Duration::ZERO, 18),
        "what is overdue comes at once"
    );
    assert_eq!(due(120, 10.0), (seconds(0.5), 1));
    sender.restart();
    let mut due = |next, seconds| {
        let pace = sender.pace.as_mut().unwrap();
        pace.due(begin + Duration::from_secs_f64(seconds), next)
    };
    assert_eq!(due(121, 1000.0), (seconds(0.5), 1));
    let mut fast = Pace {
        per_second: 50_000.0,
        since: None,
    };
    assert_eq!(fast.due(begin, 0), (seconds(0.01), 500));
}

#[tokio::test]
async fn a_rate_is_kept_by_the_clock() {
    let source = pushing(&json!({ "ratePerSecond": 200.0, "rows": 20 }));
    let mut reader = source.push().unwrap().open(&rows_stream(), None).await.unwrap();
    let begin = Instant::now();
    while reader.next().await.unwrap().is_some() {}
    assert!(
        begin.elapsed() >= Duration::from_millis(95),
        "{:?}",
        begin.elapsed()
    );
}

#[tokio::test]
async fn messages_that_never_end_are_not_loaded_as_a_whole() {
    let error = pushing(&json!({}))
        .load(&rows_stream(), &Range::Full)
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("connection.rows"), "{error}");
    let rest = Range::Delta {
        after: Some(json!({ "offset": 8 })),
    };
    let load = pushing(&json!({ "rows": 10 }))
        .load(&rows_stream(), &rest)
        .await
        .unwrap();
    let batch = load.read(0).await.unwrap().next().await.unwrap().unwrap().batch;
    assert_eq!(
        (checked(&batch), load.watermark()),
        (vec![(0, 5), (1, 5)], Some(json!({ "offset": 10 })))
    );
}
