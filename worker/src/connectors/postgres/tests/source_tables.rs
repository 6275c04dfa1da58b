//! What is found and how it is read: views and partitions, parts of one snapshot, lost connections, wrong settings.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::ground::{Ground, ground, load, read, sorted, stream};
use crate::{connector::Range, error::ErrorKind, stream::StreamSpec};

#[tokio::test(flavor = "multi_thread")]
async fn views_partitions_odd_names_and_granted_columns_are_found_and_read() {
    let Some(ground) = ground().await else { return };
    ground
        .sql(
            "CREATE SCHEMA \"Odd.Schema\"; CREATE TABLE \"Odd.Schema\".\"Ta\"\"ble\" (\"Co\"\"l 1\" int);
             INSERT INTO \"Odd.Schema\".\"Ta\"\"ble\" VALUES (7);
             CREATE TABLE parted (id int, at timestamptz) PARTITION BY RANGE (id);
             CREATE TABLE parted_a PARTITION OF parted FOR VALUES FROM (0) TO (500);
             CREATE TABLE parted_b PARTITION OF parted FOR VALUES FROM (500) TO (1000);
             ",
        )
        .await;
    ground
        .sql(
            "INSERT INTO parted SELECT g, now() FROM generate_series(0, 999) g; ANALYZE parted;
             CREATE VIEW seen AS SELECT id FROM parted WHERE id < 3;
             CREATE MATERIALIZED VIEW kept AS SELECT id FROM parted;
             CREATE TABLE parent (id int); CREATE TABLE child (extra text) INHERITS (parent);
             INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2, 'x');
             CREATE TABLE secret (id int PRIMARY KEY, name text, salary numeric); INSERT INTO secret VALUES (1, 'a', 5);
             CREATE TABLE closed (id int);
             CREATE ROLE few LOGIN PASSWORD 'few'; GRANT SELECT (id, name) ON secret TO few;",
        )
        .await;
    let source = ground.source(json!({}));
    let names: Vec<String> = source
        .discover()
        .await
        .unwrap()
        .into_iter()
        .map(|stream| stream.name)
        .collect();
    assert_eq!(
        names,
        [
            "Odd.Schema.Ta\"ble",
            "public.child",
            "public.closed",
            "public.kept",
            "public.parent",
            "public.parted",
            "public.secret",
            "public.seen"
        ]
    );
    let count = async |name: &str| {
        load(&*source, &stream(name, &[], &[]), &Range::Full)
            .await
            .batch
            .num_rows()
    };
    assert_eq!(count("Odd.Schema.Ta\"ble").await, 1);
    assert_eq!(count("public.parted").await, 1000);
    assert_eq!(count("public.parted_a").await, 500);
    assert_eq!(count("public.seen").await, 3);
    assert_eq!(count("public.kept").await, 1000);
    assert_eq!(count("public.parent").await, 2);
    let missing = source
        .load(&stream("public.Parent", &[], &[]), &Range::Full)
        .await
        .err()
        .unwrap();
    assert_eq!(missing.reason, "UnknownStream");
    let few = super::super::source(ground.system_as("few", Some("few"), json!({}))).unwrap();
    let found = few.discover().await.unwrap();
    assert_eq!(
        found
            .iter()
            .map(|stream| stream.name.as_str())
            .collect::<Vec<_>>(),
        ["public.secret"]
    );
    let read = load(&*few, &stream("public.secret", &[], &[]), &Range::Full).await;
    assert_eq!(read.batch.schema().fields().len(), 2);
    let spec = stream("public.secret", &[], &["id"]);
    assert!(!few.late_commits_safe(&spec) && source.late_commits_safe(&spec));
    ground.sql("DROP OWNED BY few; DROP ROLE few").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_parts_see_one_snapshot_while_writers_are_at_work() {
    let Some(ground) = ground().await else { return };
    ground
        .sql(
            "CREATE TABLE w (id int PRIMARY KEY, v int, pad text); \
              INSERT INTO w SELECT g, 0, repeat('x', 200) FROM generate_series(1, 20000) g; ANALYZE w",
        )
        .await;
    let mut spec = stream("public.w", &["id"], &[]);
    spec.partitions = Some(7);
    let source = ground.source(json!({"batchRows": 500}));
    let writer = ground.another().await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    // Moves one from a row to another: the sum stays, in every snapshot.
    let writing = tokio::spawn(async move {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            writer
                .batch_execute(
                    "UPDATE w SET v = v + CASE WHEN id <= 10000 THEN 1 ELSE -1 END WHERE id % 100 = (random() * 99)::int; \
                     DELETE FROM w WHERE id = 1; INSERT INTO w VALUES (1, 0, 'y')",
                )
                .await
                .unwrap();
        }
    });
    for _ in 0..5 {
        let open = source.load(&spec, &Range::Full).await.unwrap();
        assert_eq!(open.partitions(), 7);
        let seen = read(&open).await;
        assert_eq!(seen.batch.num_rows(), 20000);
        let mut ids = sorted(&seen.batch, "id");
        ids.dedup();
        assert_eq!(ids.len(), 20000);
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_is_worth_another_try_and_never_an_end() {
    let Some(ground) = ground().await else { return };
    ground
        .sql("CREATE TABLE k (id int, pad text); INSERT INTO k SELECT g, repeat('x', 500) FROM generate_series(1, 50000) g")
        .await;
    let source = ground.source(json!({"batchRows": 100}));
    let open = source
        .load(&stream("public.k", &[], &[]), &Range::Full)
        .await
        .unwrap();
    let mut reader = open.read(0).await.unwrap();
    assert!(reader.next().await.unwrap().is_some());
    kill(&ground).await;
    let error = loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a read that was cut off ended as if it were whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    let gone = open.read(0).await.err().unwrap();
    assert_eq!(gone.kind, ErrorKind::Transient, "{gone}");
}

async fn kill(ground: &Ground) {
    ground
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'millrace%' AND datname = current_database()")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_name_the_field_and_no_secret() {
    let Some(ground) = ground().await else { return };
    let try_source = |settings: Value| {
        let system = ground.system_as("postgres", Some("s3cr3t-canary"), settings);
        super::super::source(system)
    };
    for (settings, word) in [
        (json!({"password": "s3cr3t-canary"}), "credentials"),
        (json!({"url": "postgres://u:s3cr3t-canary@h/d"}), "credentials"),
        (json!({"hots": "x"}), "hots"),
        (json!({"port": 70000}), "port"),
        (json!({"sslMode": "on"}), "on"),
        (json!({"batchRows": 0}), "batchRows"),
        (json!({"host": ""}), "host"),
    ] {
        let error = try_source(settings).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        assert!(
            error.to_string().contains(word) && !error.to_string().contains("s3cr3t"),
            "{error}"
        );
    }
    for (settings, kind) in [
        (json!({"database": "no_such_db"}), ErrorKind::Config),
        (json!({"port": 1}), ErrorKind::Transient),
        (json!({"sslMode": "require"}), ErrorKind::Config),
        (
            json!({"sslMode": "verify-full", "sslRootCert": "/no/such/file"}),
            ErrorKind::Config,
        ),
    ] {
        let error = try_source(settings.clone()).unwrap().check().await.err().unwrap();
        assert_eq!(error.kind, kind, "{settings}: {error}");
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_reads_parts_of_the_same_snapshot() {
    let Some(ground) = ground().await else { return };
    ground
        .sql("CREATE TABLE many (id int PRIMARY KEY, at timestamptz DEFAULT now()); INSERT INTO many SELECT generate_series(1, 9000); ANALYZE many")
        .await;
    let (source, other) = (ground.source(json!({})), ground.source(json!({})));
    let stream = stream("public.many", &["id"], &["at"]);
    let wanted = StreamSpec {
        partitions: Some(3),
        ..stream.clone()
    };
    let held = source.load(&wanted, &Range::Full).await.unwrap();
    ground
        .sql("DELETE FROM many WHERE id < 5000; INSERT INTO many SELECT generate_series(10000, 10100)")
        .await;
    let ticket = held.ticket().unwrap();
    let joined = other.join(&stream, &Range::Full, &ticket).await.unwrap();
    assert_eq!((held.partitions(), joined.partitions()), (3, 3));
    assert!(held.watermark().is_some() && joined.watermark().is_none());
    assert_eq!(read(&joined).await.batch, read(&held).await.batch);
    drop((held, joined));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let gone = other.join(&stream, &Range::Full, &ticket).await.err().unwrap();
    assert_eq!(gone.kind, ErrorKind::Transient, "{gone}");
}
