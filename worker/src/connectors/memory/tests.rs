//! What the behaviour suite does not reach: limits, owners, and rows of several schemas.

use arrow::array::{Int64Array, StringArray};
use serde_json::json;

use super::*;
use crate::{
    connector::Op::{Delete, Insert, Update},
    connectors::{
        destination,
        tests::ground::{Ground, Person, stream, system},
    },
};

struct Store(String);

impl Store {
    fn new() -> Self {
        Self(uuid::Uuid::new_v4().to_string())
    }

    fn open(&self, max_bytes: u64) -> Arc<dyn Destination> {
        let connection = json!({ "store": self.0, "maxBytes": max_bytes });
        destination(system("memory", connection.as_object().unwrap().clone())).unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        clear(&self.0).unwrap();
    }
}

#[tokio::test]
async fn a_table_that_grows_too_large_stops_the_load_before_the_commit() {
    let store = Store::new();
    let ground = Ground::with(store.open(100)).await;
    let permit = ground.acquire().await.unwrap();
    let many: Vec<Person> = (0..1000).map(|id| (id, "name", Insert)).collect();
    let rows = crate::connectors::tests::ground::rows(&many);
    let error = ground
        .stage_rows(&permit, vec![rows], false, None)
        .await
        .unwrap_err();
    assert!(error.message.contains("maxBytes"), "{error}");
}

#[tokio::test]
async fn two_states_do_not_share_a_table() {
    let store = Store::new();
    let ground = Ground::with(store.open(1 << 20)).await;
    ground.acquire().await.unwrap();
    let mut other = Ground::with(store.open(1 << 20)).await;
    other.id.state = "default/other".to_owned();
    other.shard = other
        .destination
        .shard(&other.id, &stream("orders", WriteMode::Append))
        .await
        .unwrap();
    let error = other.acquire().await.unwrap_err();
    assert!(error.message.contains("default/flow:orders"), "{error}");
}

#[tokio::test]
async fn a_log_that_becomes_a_table_keeps_the_last_row_of_each_key() {
    let store = Store::new();
    let log = Ground::with(store.open(1 << 20)).await;
    let mut permit = log.acquire().await.unwrap();
    log.deliver(&mut permit, &[(1, "a", Insert), (2, "b", Insert)])
        .await;
    log.deliver(&mut permit, &[(1, "x", Update)]).await;
    let mut table = Ground::open(store.open(1 << 20), WriteMode::Upsert).await;
    table.store = log.store;
    let mut permit = table.acquire().await.unwrap();
    table
        .deliver(&mut permit, &[(2, "", Delete), (3, "c", Insert)])
        .await;
    assert_eq!(read(&store.0, "orders").unwrap().unwrap().rows(), 2);
}

#[tokio::test]
async fn rows_that_are_gone_give_their_memory_back() {
    let store = Store::new();
    let ground = Ground::open(store.open(1 << 30), WriteMode::Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    let many: Vec<Person> = (0..1000).map(|id| (id, "name", Insert)).collect();
    ground.deliver(&mut permit, &many).await;
    let once = lock(&open(&store.0, "orders").unwrap()).unwrap().bytes();
    for _ in 0..10 {
        ground.deliver(&mut permit, &many).await;
    }
    let table = open(&store.0, "orders").unwrap();
    assert!(lock(&table).unwrap().bytes() <= 3 * once);
    assert_eq!(lock(&table).unwrap().index().unwrap().len(), 1);
    assert_eq!(read(&store.0, "orders").unwrap().unwrap().rows(), 1000);
}

#[test]
fn rows_of_older_schemas_are_read_in_the_columns_of_the_last() {
    let store = Store::new();
    let ids = |ids: Vec<i32>| Arc::new(arrow::array::Int32Array::from(ids)) as _;
    let old = RecordBatch::try_from_iter([("id", ids(vec![1]))]).unwrap();
    let (id, name) = (Int64Array::from(vec![2]), StringArray::from(vec!["b"]));
    let new = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(id) as _, true),
        ("name", Arc::new(name) as _, true),
    ])
    .unwrap();
    put(&store.0, "t", [old, new.clone()]).unwrap();
    let snapshot = read(&store.0, "t").unwrap().unwrap();
    assert_eq!((snapshot.schema.clone(), snapshot.rows()), (new.schema(), 2));
    assert!(snapshot.batches[0].column(1).is_null(0));
}

#[tokio::test]
async fn what_was_staged_for_nothing_is_dropped_at_once() {
    let store = Store::new();
    let ground = Ground::with(store.open(1 << 20)).await;
    let permit = ground.acquire().await.unwrap();
    let staged = vec![ground.stage(&permit, &[(1, "a", Insert)]).await];
    ground.shard.discard(&permit, &staged).await.unwrap();
    let commit = ground.next(&permit, staged, false);
    let outcome = ground.shard.commit(&permit, &commit).await;
    assert!(
        matches!(&outcome, Outcome::Failed(error) if error.message.contains("gone")),
        "{outcome:?}"
    );
}
