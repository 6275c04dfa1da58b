//! What happens to tables: those that are there already, those that are made, and what hangs on them.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array, StringArray},
    record_batch::RecordBatch,
};
use millrace_crds::flow::WriteMode::{self, Append, Overwrite, Upsert};
use serde_json::{Value, json};

use super::ground::{Ground as Database, ground};
use crate::{
    connector::{Destination, Op::Insert, Rows},
    connectors::tests::ground::{Ground, Person},
    error::{Error, ErrorKind},
};

const FIRST: [Person; 2] = [(1, "a", Insert), (2, "b", Insert)];
const SECOND: [Person; 2] = [(2, "x", Insert), (3, "c", Insert)];

fn destination(database: &Database, settings: Value) -> Arc<dyn Destination> {
    super::super::destination(database.system(settings)).unwrap()
}

async fn flow(database: &Database, mode: WriteMode) -> Ground {
    Ground::open(destination(database, json!({})), mode).await
}

async fn people(database: &Database, table: &str) -> Vec<Vec<String>> {
    database
        .rows(&format!("SELECT id, name FROM {table} ORDER BY id"))
        .await
}

async fn deliver(ground: &Ground, columns: Vec<(&str, ArrayRef)>) -> Result<(), Error> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut permit = ground.acquire().await?;
    let rows = Rows {
        batch,
        ops: None,
        hashes: None,
        identities: None,
    };
    let staged = ground.stage_rows(&permit, vec![rows], false, None).await?;
    ground.commit(&mut permit, vec![staged], false).await
}

fn ids(ids: Vec<i32>) -> ArrayRef {
    Arc::new(Int32Array::from(ids))
}

fn names(names: Vec<&str>) -> ArrayRef {
    Arc::new(StringArray::from(names))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_made_is_logged_and_gets_the_key_that_is_asked_for() {
    let Some(database) = ground().await else { return };
    let keyed = destination(&database, json!({ "schema": "made", "createPrimaryKey": true }));
    let ground = Ground::open(keyed, Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    let facts = "SELECT c.relpersistence, (SELECT count(*) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'p') \
                 FROM pg_class c WHERE oid = 'made.orders'::regclass";
    assert_eq!(database.rows(facts).await, [["p", "1"]]);
    ground.deliver(&mut permit, &SECOND).await;
    assert_eq!(
        people(&database, "made.orders").await,
        [["1", "a"], ["2", "x"], ["3", "c"]]
    );
    assert_eq!(database.rows(facts).await, [["p", "1"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_there_keeps_its_wider_types_and_its_other_columns() {
    let Some(database) = ground().await else { return };
    database
        .sql(
            "CREATE TABLE orders (note text DEFAULT 'mine', name varchar(10), id numeric PRIMARY KEY); \
             INSERT INTO orders VALUES ('old', 'old', 1)",
        )
        .await;
    let ground = flow(&database, Upsert).await;
    deliver(
        &ground,
        vec![("id", ids(vec![1, 2])), ("name", names(vec!["a", "b"]))],
    )
    .await
    .unwrap();
    let rows = database
        .rows("SELECT id, name, note FROM orders ORDER BY id")
        .await;
    assert_eq!(rows, [["1", "a", "mine"], ["2", "b", "mine"]]);
    let long = deliver(
        &ground,
        vec![("id", ids(vec![3])), ("name", names(vec!["longer than ten"]))],
    )
    .await;
    assert_eq!(long.unwrap_err().kind, ErrorKind::Data);
    assert_eq!(people(&database, "orders").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_would_lose_something_is_refused_before_rows_are_sent() {
    let Some(database) = ground().await else { return };
    database.sql("CREATE TABLE orders (id int, name boolean)").await;
    let ground = flow(&database, Append).await;
    let error = deliver(&ground, vec![("id", ids(vec![1])), ("name", names(vec!["a"]))])
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind, error.reason),
        (ErrorKind::Config, "SchemaMismatch"),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("column name is boolean, which does not hold every text"),
        "{error}"
    );
    let float: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let error = deliver(&ground, vec![("id", float)]).await.unwrap_err();
    assert_eq!(error.reason, "SchemaMismatch", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn something_of_that_name_that_is_no_table_is_refused() {
    let Some(database) = ground().await else { return };
    database.sql("CREATE VIEW orders AS SELECT 1 AS id").await;
    let ground = flow(&database, Append).await;
    let error = deliver(&ground, vec![("id", ids(vec![1]))]).await.unwrap_err();
    assert!(
        error.kind == ErrorKind::Config && error.to_string().contains("is no table"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn long_names_that_differ_stay_different() {
    let Some(database) = ground().await else { return };
    let ground = flow(&database, Append).await;
    let (one, two) = (format!("{}1", "ö".repeat(40)), format!("{}2", "ö".repeat(40)));
    for _ in 0..2 {
        deliver(&ground, vec![(&one, ids(vec![1])), (&two, ids(vec![2]))])
            .await
            .unwrap();
    }
    assert_eq!(
        database.rows("SELECT * FROM orders").await,
        [["1", "2"], ["1", "2"]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_keeps_grants_and_swaps_the_table() {
    let Some(database) = ground().await else { return };
    let ground = flow(&database, Overwrite).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    database.sql("GRANT SELECT ON orders TO PUBLIC").await;
    let id = "SELECT 'orders'::regclass::oid";
    let before = database.one(id).await;
    ground.deliver(&mut permit, &SECOND).await;
    assert_eq!(people(&database, "orders").await, [["2", "x"], ["3", "c"]]);
    assert_ne!(database.one(id).await, before);
    let public = "SELECT count(*) FROM pg_class c, aclexplode(relacl) a WHERE oid = 'orders'::regclass AND grantee = 0";
    assert_eq!(database.one(public).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overwrite_of_a_table_that_others_hang_on_exchanges_its_rows() {
    let Some(database) = ground().await else { return };
    let hangs = [
        "CREATE VIEW seen AS SELECT count(*) AS n FROM orders",
        "CREATE INDEX by_name ON orders (name)",
        "ALTER TABLE orders ALTER COLUMN name SET DEFAULT 'x'",
        "COMMENT ON TABLE orders IS 'ours'",
        "CREATE TABLE lines (order_id bigint)",
    ];
    for hang in hangs {
        database
            .sql("DROP TABLE IF EXISTS orders, millrace_state, millrace_index CASCADE")
            .await;
        let ground = flow(&database, Overwrite).await;
        let mut permit = ground.acquire().await.unwrap();
        ground.deliver(&mut permit, &FIRST).await;
        database.sql(hang).await;
        let before = database.one("SELECT 'orders'::regclass::oid").await;
        ground.deliver(&mut permit, &SECOND).await;
        assert_eq!(
            people(&database, "orders").await,
            [["2", "x"], ["3", "c"]],
            "{hang}"
        );
        let swapped = database.one("SELECT 'orders'::regclass::oid").await != before;
        assert_eq!(swapped, hang.starts_with("CREATE TABLE lines"), "{hang}");
        assert_eq!(leftovers(&database).await, "0", "{hang}");
    }
}

async fn leftovers(database: &Database) -> String {
    database
        .one("SELECT count(*) FROM pg_class WHERE relname LIKE 'millrace\\_staging%'")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_staged_for_nothing_is_dropped_at_once() {
    let Some(database) = ground().await else { return };
    let ground = flow(&database, Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    for people in [FIRST, SECOND] {
        let staged = ground.stage(&permit, &people).await;
        ground.shard.discard(&permit, &[staged]).await.unwrap();
        assert_eq!(leftovers(&database).await, "0");
        let waiting = "SELECT count(*) FROM millrace_index WHERE NOT live";
        assert_eq!(database.one(waiting).await, "0");
        // The next stage does not miss what is gone.
        ground.deliver(&mut permit, &people).await;
    }
    let expected = [["1", "a"], ["2", "x"], ["3", "c"]];
    assert_eq!(people(&database, "orders").await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_staged_and_given_up_is_dropped() {
    let Some(database) = ground().await else { return };
    let ground = flow(&database, Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    drop(ground.stage(&permit, &FIRST).await);
    ground.deliver(&mut permit, &FIRST).await;
    assert_eq!(leftovers(&database).await, "1");
    ground.shard.clean(&permit).await.unwrap();
    assert_eq!(leftovers(&database).await, "0");
    // What is staged for the next commit stays.
    let staged = ground.stage(&permit, &SECOND).await;
    ground.shard.clean(&permit).await.unwrap();
    assert_eq!(leftovers(&database).await, "1");
    drop(staged);
    let next = ground.acquire().await.unwrap();
    ground.shard.clean(&next).await.unwrap();
    assert_eq!(leftovers(&database).await, "0");
    assert_eq!(
        database
            .one("SELECT count(*) FROM millrace_index WHERE NOT live")
            .await,
        "0"
    );
    assert_eq!(people(&database, "orders").await, [["1", "a"], ["2", "b"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn big_keys_and_rows_without_a_key_go_through() {
    let Some(database) = ground().await else { return };
    let ground = flow(&database, Append).await;
    let long = "k".repeat(3 << 20);
    let many: ArrayRef = Arc::new(Int64Array::from_iter_values(0..3));
    let texts = names(vec![&long, "", &long]);
    assert_eq!(texts.len(), 3);
    deliver(&ground, vec![("n", many), ("t", texts)]).await.unwrap();
    assert_eq!(
        database.rows("SELECT n, length(t) FROM orders ORDER BY n").await,
        [["0", "3145728"], ["1", "0"], ["2", "3145728"]]
    );
}
