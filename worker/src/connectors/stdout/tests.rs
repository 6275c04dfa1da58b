//! What is printed, and when.

use std::sync::Mutex;

use arrow::{
    array::{Decimal128Array, Int64Array, TimestampMicrosecondArray},
    datatypes::TimeUnit,
};

use super::*;
use crate::connectors::tests::ground::Ground;

fn sink() -> (Arc<Mutex<Vec<u8>>>, Print) {
    let printed = Arc::new(Mutex::new(Vec::new()));
    let into = printed.clone();
    (
        printed,
        Arc::new(move |files| print(files, &mut *into.lock().unwrap())),
    )
}

fn batch() -> RecordBatch {
    let price = Decimal128Array::from(vec![Some(1999), None]).with_precision_and_scale(12, 2);
    let at = TimestampMicrosecondArray::from(vec![1_700_000_000_123_456, 0]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("name", Arc::new(StringArray::from(vec!["a \"b\"\n", "ö"]))),
        ("price", Arc::new(price.unwrap())),
        ("at", Arc::new(at)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn text(printed: &Mutex<Vec<u8>>) -> String {
    String::from_utf8(printed.lock().unwrap().clone()).unwrap()
}

async fn committed(label: Option<&str>, ops: Option<Vec<Op>>) -> String {
    let (printed, print) = sink();
    let config = StdoutConfig {
        stream_field: label.map(str::to_owned),
    };
    let ground = Ground::with(Arc::new(Stdout { config, print })).await;
    let mut permit = ground.acquire().await.unwrap();
    let rows = Rows {
        batch: batch(),
        ops,
        hashes: None,
        identities: None,
    };
    let staged = ground.stage_rows(&permit, vec![rows], false, None).await.unwrap();
    assert_eq!(
        (staged.rows, text(&printed).as_str()),
        (2, ""),
        "printed before the commit"
    );
    ground.commit(&mut permit, vec![staged], false).await.unwrap();
    text(&printed)
}

#[tokio::test]
async fn lines_are_whole_objects_with_nulls_and_exact_numbers() {
    assert_eq!(
        batch().schema().field(3).data_type(),
        &DataType::Timestamp(TimeUnit::Microsecond, None)
    );
    assert_eq!(
        committed(None, None).await,
        "{\"id\":1,\"name\":\"a \\\"b\\\"\\n\",\"price\":19.99,\"at\":\"2023-11-14T22:13:20.123456\"}\n\
         {\"id\":2,\"name\":\"ö\",\"price\":null,\"at\":\"1970-01-01T00:00:00\"}\n"
    );
}

#[tokio::test]
async fn the_stream_and_the_operation_are_told_where_they_are_wanted() {
    let lines = committed(Some("stream"), Some(vec![Op::Update, Op::Delete])).await;
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["stream"], "orders");
    assert_eq!(
        (&lines[0][OP_COLUMN], &lines[1][OP_COLUMN]),
        (&"update".into(), &"delete".into())
    );
    assert_eq!(
        committed(None, Some(vec![Op::Insert; 2])).await,
        committed(None, None).await
    );
}

#[tokio::test]
async fn a_reader_that_has_gone_is_a_clear_stop() {
    let print: Print = Arc::new(|_| Err(ErrorKind::BrokenPipe.into()));
    let ground = Ground::with(Arc::new(Stdout {
        config: StdoutConfig::default(),
        print,
    }))
    .await;
    let mut permit = ground.acquire().await.unwrap();
    let rows = Rows {
        batch: batch(),
        ops: None,
        hashes: None,
        identities: None,
    };
    let staged = ground.stage_rows(&permit, vec![rows], false, None).await.unwrap();
    let error = ground.commit(&mut permit, vec![staged], false).await.unwrap_err();
    assert!(error.message.contains("has gone"), "{error}");
}

#[test]
fn a_name_that_a_column_has_already_is_refused() {
    let error = Layout::new(Some(("id".to_owned(), "s".to_owned())), &batch().schema())
        .err()
        .unwrap();
    assert!(error.message.contains("`id`"), "{error}");
}

#[tokio::test]
async fn what_was_staged_for_nothing_holds_no_file() {
    let shard = StdoutShard {
        label: None,
        print: sink().1,
        waiting: Arc::default(),
    };
    let waiting = shard.waiting.clone();
    let destination = Arc::new(Stdout {
        config: StdoutConfig::default(),
        print: sink().1,
    });
    let ground = Ground {
        shard: Arc::new(shard),
        ..Ground::with(destination).await
    };
    let permit = ground.acquire().await.unwrap();
    let staged = vec![ground.stage_rows(&permit, Vec::new(), false, None).await.unwrap()];
    assert_eq!(waiting.lock().unwrap().len(), 1);
    ground.shard.discard(&permit, &staged).await.unwrap();
    assert_eq!(waiting.lock().unwrap().len(), 0);
}
