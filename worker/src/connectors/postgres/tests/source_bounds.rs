//! Deltas lose no row and read none twice, whatever commits when.

use serde_json::{Value, json};

use super::ground::{delta, ground, load, sorted, stream};
use crate::connector::{Range, Source};

const TIMES: &str = "CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now(), v text)";

async fn ids(
    source: &dyn Source,
    spec: &crate::stream::StreamSpec,
    after: &mut Option<Value>,
) -> Vec<String> {
    let read = delta(source, spec, after.take()).await;
    *after = read.watermark;
    sorted(&read.batch, "id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_commits_late_is_in_the_next_delta() {
    let Some(ground) = ground().await else { return };
    ground.sql(TIMES).await;
    ground.sql("INSERT INTO t VALUES (1)").await;
    let (source, spec) = (ground.source(json!({})), stream("public.t", &["id"], &["at"]));
    let mut after = load(&*source, &spec, &Range::Full).await.watermark;
    let slow = ground.another().await;
    slow.batch_execute("BEGIN; INSERT INTO t VALUES (2)")
        .await
        .unwrap();
    ground.sql("SELECT pg_sleep(0.01)").await;
    ground.sql("INSERT INTO t VALUES (3)").await;
    // 3 waits with 2: its cursor is not below the start of the open transaction.
    assert_eq!(ids(&*source, &spec, &mut after).await, Vec::<String>::new());
    slow.batch_execute("COMMIT").await.unwrap();
    assert_eq!(ids(&*source, &spec, &mut after).await, ["2", "3"]);
    assert_eq!(ids(&*source, &spec, &mut after).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_load_takes_its_lower_bound_before_it_reads() {
    let Some(ground) = ground().await else { return };
    ground.sql(TIMES).await;
    let (source, spec) = (ground.source(json!({})), stream("public.t", &["id"], &["at"]));
    let slow = ground.another().await;
    slow.batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    ground.sql("INSERT INTO t VALUES (2)").await;
    let full = load(&*source, &spec, &Range::Full).await;
    assert_eq!(sorted(&full.batch, "id"), ["2"]);
    slow.batch_execute("COMMIT").await.unwrap();
    let mut after = full.watermark;
    let second = ids(&*source, &spec, &mut after).await;
    assert!(second.contains(&"1".to_owned()), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ties_at_the_bound_are_read_once() {
    let Some(ground) = ground().await else { return };
    ground.sql(TIMES).await;
    let (source, spec) = (ground.source(json!({})), stream("public.t", &["id"], &["at"]));
    ground
        .sql("INSERT INTO t SELECT g, '2024-05-05 05:05:05.123456+00' FROM generate_series(1, 1000) g")
        .await;
    let mut after = None;
    assert_eq!(ids(&*source, &spec, &mut after).await.len(), 1000);
    ground
        .sql("INSERT INTO t SELECT g FROM generate_series(1001, 2000) g")
        .await;
    assert_eq!(ids(&*source, &spec, &mut after).await.len(), 1000);
    assert_eq!(ids(&*source, &spec, &mut after).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_holds_back_the_bound_of_its_table_alone() {
    let Some(ground) = ground().await else { return };
    ground.sql(TIMES).await;
    ground.sql("CREATE TABLE u (LIKE t INCLUDING ALL)").await;
    let source = ground.source(json!({}));
    let spec = stream("public.t", &["id"], &["at"]);
    let mut after = delta(&*source, &spec, None).await.watermark;
    ground
        .sql("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'p'")
        .await;
    ground
        .sql("INSERT INTO t VALUES (2); INSERT INTO u VALUES (3)")
        .await;
    assert_eq!(ids(&*source, &spec, &mut after).await, Vec::<String>::new());
    let other = delta(&*source, &stream("public.u", &["id"], &["at"]), None).await;
    assert_eq!(sorted(&other.batch, "id"), ["3"]);
    let full = load(&*source, &spec, &Range::Full).await;
    ground.sql("COMMIT PREPARED 'p'").await;
    assert_eq!(ids(&*source, &spec, &mut after).await, ["1", "2"]);
    let mut after_full = full.watermark;
    assert!(
        ids(&*source, &spec, &mut after_full)
            .await
            .contains(&"1".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_commits_late_is_found_by_its_transaction() {
    let Some(ground) = ground().await else { return };
    ground
        .sql("CREATE TABLE c (id bigserial PRIMARY KEY, v text); INSERT INTO c (v) VALUES ('a'), ('b')")
        .await;
    let (source, spec) = (
        ground.source(json!({"lateMargin": "100ms"})),
        stream("public.c", &["id"], &["id"]),
    );
    let full = load(&*source, &spec, &Range::Full).await;
    let mut after = full.watermark;
    assert_eq!(after.as_ref().unwrap()["after"], json!(["2"]));
    let slow = ground.another().await;
    // A subtransaction has a number of its own.
    slow.batch_execute("BEGIN; SAVEPOINT s; INSERT INTO c (v) VALUES ('late'); RELEASE s")
        .await
        .unwrap();
    ground.sql("INSERT INTO c (v) VALUES ('early')").await;
    // Rows from before are among them where other databases have had older transactions open.
    assert!(ids(&*source, &spec, &mut after).await.contains(&"4".to_owned()));
    assert!(after.as_ref().unwrap().get("late").is_some());
    // Read again, to be known by its key, for as long as the older transaction is open.
    assert!(ids(&*source, &spec, &mut after).await.contains(&"4".to_owned()));
    slow.batch_execute("COMMIT").await.unwrap();
    assert!(ids(&*source, &spec, &mut after).await.contains(&"3".to_owned()));
    if !ground.quiet().await {
        return;
    }
    ids(&*source, &spec, &mut after).await;
    assert!(after.as_ref().unwrap().get("late").is_none());
    assert_eq!(ids(&*source, &spec, &mut after).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_see_others_nothing_is_lost_either() {
    let Some(ground) = ground().await else { return };
    ground.sql(TIMES).await;
    ground
        .sql("CREATE ROLE plain LOGIN PASSWORD 'plain'; GRANT SELECT ON t TO plain")
        .await;
    let system = ground.system_as("plain", Some("plain"), json!({"lateMargin": "100ms"}));
    let source = super::super::source(system).unwrap();
    let spec = stream("public.t", &["id"], &["at"]);
    let mut after = delta(&*source, &spec, None).await.watermark;
    assert!(!source.late_commits_safe(&spec));
    let slow = ground.another().await;
    slow.batch_execute("BEGIN; INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    ground.sql("INSERT INTO t VALUES (2)").await;
    assert_eq!(ids(&*source, &spec, &mut after).await, ["2"]);
    slow.batch_execute("COMMIT").await.unwrap();
    assert!(ids(&*source, &spec, &mut after).await.contains(&"1".to_owned()));
    ground.sql("DROP OWNED BY plain; DROP ROLE plain").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_times_days_and_several_columns_serve_as_cursors() {
    let Some(ground) = ground().await else { return };
    ground
        .sql(
            "CREATE TABLE l (id int PRIMARY KEY, at timestamp DEFAULT (now() AT TIME ZONE 'Asia/Tokyo'),
             day date DEFAULT (now() AT TIME ZONE 'Asia/Tokyo')::date, a int, b int);
             INSERT INTO l (id, a, b) VALUES (1, 1, 1), (2, 1, 2)",
        )
        .await;
    let source = ground.source(json!({"cursorTimeZone": "Asia/Tokyo"}));
    for cursor in [&["at"][..], &["day"], &["a", "b"]] {
        let spec = stream("public.l", &["id"], cursor);
        ground.sql("DELETE FROM l WHERE id > 2").await;
        let mut after = None;
        assert_eq!(ids(&*source, &spec, &mut after).await, ["1", "2"], "{cursor:?}");
        ground
            .sql("INSERT INTO l (id, a, b) VALUES (3, 1, 2), (4, 2, 0)")
            .await;
        let mut next = ids(&*source, &spec, &mut after).await;
        // Days and ties of counters are read again, to be known by their key.
        next.retain(|id| id > &"2".to_owned());
        assert_eq!(next, ["3", "4"], "{cursor:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_set_back_lose_nothing() {
    let Some(ground) = ground().await else { return };
    // The bound in local time is the least local time of the next hours, whatever the zone does meanwhile.
    for (moment, zone, expected) in [
        (
            "2024-10-27 00:30:00+00",
            "Europe/Stockholm",
            "2024-10-27 02:00:00",
        ),
        (
            "2024-10-27 01:30:00+00",
            "Europe/Stockholm",
            "2024-10-27 02:30:00",
        ),
        (
            "2024-10-26 12:34:56.789+00",
            "Europe/Stockholm",
            "2024-10-26 14:34:56.789",
        ),
        (
            "2024-04-06 15:10:00+00",
            "Australia/Lord_Howe",
            "2024-04-07 01:40:00",
        ),
        (
            "2024-04-06 14:10:00+00",
            "Australia/Lord_Howe",
            "2024-04-07 01:10:00",
        ),
    ] {
        let sql = super::super::bounds::local_sql();
        let sql = format!(
            "SELECT ({})::text FROM (SELECT '{moment}'::timestamptz AS at) b",
            sql.replace("$1", &format!("'{zone}'"))
        );
        assert_eq!(ground.one(&sql).await, expected, "{moment} {zone}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_cursor_are_counted_and_a_backfill_is_half_open() {
    let Some(ground) = ground().await else { return };
    ground.sql(TIMES).await;
    ground
        .sql(
            "INSERT INTO t VALUES (1, '2024-01-01 00:00+00'), (2, '2024-01-31 23:59:59.999999+00'), (3, '2024-02-01 00:00+00'), \
             (4, NULL), (5, NULL)",
        )
        .await;
    let (source, spec) = (ground.source(json!({})), stream("public.t", &["id"], &["at"]));
    let read = delta(&*source, &spec, None).await;
    assert_eq!(sorted(&read.batch, "id"), ["1", "2", "3"]);
    assert_eq!(read.metadata[0]["nullCursors"], json!(2));
    let nothing = delta(&*source, &spec, read.watermark).await;
    assert_eq!(
        (nothing.batch.num_rows(), &nothing.metadata[0]["nullCursors"]),
        (0, &json!(2))
    );
    let range = Range::Backfill {
        from: "2024-01-01".into(),
        to: "2024-02-01".into(),
    };
    let back = load(&*source, &spec, &range).await;
    assert_eq!(sorted(&back.batch, "id"), ["1", "2"]);
    assert!(back.watermark.is_none());
    let full = load(&*source, &spec, &Range::Full).await;
    assert_eq!(full.batch.num_rows(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_clients_set_is_safe_with_a_lookback_alone() {
    let Some(ground) = ground().await else { return };
    ground
        .sql(
            "CREATE TABLE s (id int PRIMARY KEY, server timestamptz DEFAULT now(), local timestamp DEFAULT LOCALTIMESTAMP, \
             today date DEFAULT CURRENT_DATE, client timestamptz, day date, midnight timestamp DEFAULT CURRENT_DATE); \
             CREATE VIEW v AS SELECT * FROM s",
        )
        .await;
    let (plain, back) = (
        ground.source(json!({})),
        ground.source(json!({"lookback": "48h"})),
    );
    plain.discover().await.unwrap();
    back.discover().await.unwrap();
    let safe = |source: &dyn Source, table: &str, cursor: &str| {
        source.late_commits_safe(&stream(&format!("public.{table}"), &["id"], &[cursor]))
    };
    for (cursor, expected) in [
        ("server", true),
        ("local", true),
        ("today", true),
        ("id", true),
        ("client", false),
        ("day", false),
        ("midnight", false),
    ] {
        assert_eq!(safe(&*plain, "s", cursor), expected, "{cursor}");
        assert!(safe(&*back, "s", cursor), "{cursor}");
    }
    // What lies below a view is not looked up.
    assert!(!safe(&*plain, "v", "server"));
}
