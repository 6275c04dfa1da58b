//! Targets that somebody dropped or emptied: told, and delivered anew once a person says so.

use millrace_crds::flow::WriteMode::{self, Append, Overwrite, Upsert};
use serde_json::json;

use super::ground::{Ground as Database, ground};
use crate::{
    connector::Op::{Delete, Insert, Update},
    connectors::tests::ground::{Ground, Person, rows},
    error::Error,
    protocol::{Commit, Permit},
    state::admin,
};

const FIRST: [Person; 2] = [(1, "a", Insert), (2, "b", Insert)];
const SECOND: [Person; 2] = [(2, "x", Update), (3, "c", Insert)];

async fn flow(database: &Database, mode: WriteMode) -> Ground {
    Ground::open(
        super::super::destination(database.system(json!({}))).unwrap(),
        mode,
    )
    .await
}

/// As the engine commits: with a checksum where everything is replaced.
async fn deliver(ground: &Ground, permit: &mut Permit, people: &[Person]) -> Result<(), Error> {
    let staged = ground.stage(permit, people).await;
    let replace = ground.mode == Overwrite;
    let mut commit = ground.next(permit, vec![staged], replace);
    if replace {
        commit.offset = json!({ "seed": 1, "digest": { "rows": people.len(), "sum": "0" } });
    }
    ground.commit_whole(permit, commit).await
}

async fn people(database: &Database) -> Vec<Vec<String>> {
    database.rows("SELECT id, name FROM orders ORDER BY id").await
}

fn is_diverged<T: std::fmt::Debug>(result: Result<T, Error>, hint: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.reason, "StateDiverged", "{hint}: {error}");
    assert!(error.advice.unwrap().contains("millrace state reset"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_was_dropped_or_emptied_is_told_and_after_a_reset_delivered_anew() {
    let Some(database) = ground().await else { return };
    for mode in [Append, Upsert, Overwrite] {
        for what in ["DROP TABLE orders", "TRUNCATE orders", "DELETE FROM orders"] {
            let hint = format!("{mode:?}: {what}");
            database
                .sql("DROP TABLE IF EXISTS orders, millrace_state, millrace_index")
                .await;
            let ground = flow(&database, mode).await;
            let mut permit = ground.acquire().await.unwrap();
            deliver(&ground, &mut permit, &FIRST).await.unwrap();
            database.sql(what).await;
            // Told each time, and nothing is forgotten by that: whoever puts the rows back goes on.
            is_diverged(ground.acquire().await, &hint);
            is_diverged(ground.acquire().await, &hint);
            assert_eq!(
                database.one("SELECT seq FROM millrace_state").await,
                "1",
                "{hint}"
            );
            assert!(ground.shard.index().await.unwrap().is_empty(), "{hint}");

            admin::reset(&ground.store, &ground.id, "hand").await.unwrap();
            // The first worker stops before its commit; the second finds the same.
            ground.acquire().await.unwrap();
            let mut permit = ground.acquire().await.unwrap();
            assert_eq!(
                (permit.last().at(), &permit.last().offset),
                ((0, 0), &json!(null)),
                "{hint}"
            );
            assert_eq!(
                database.one("SELECT count(*) FROM millrace_index").await,
                "0",
                "{hint}"
            );
            deliver(&ground, &mut permit, &FIRST).await.unwrap();
            assert_eq!(people(&database).await, [["1", "a"], ["2", "b"]], "{hint}");
            assert_eq!(ground.acquire().await.unwrap().last().at(), (1, 1), "{hint}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_put_back_are_gone_on_from() {
    let Some(database) = ground().await else { return };
    let ground = flow(&database, Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    database.sql("ALTER TABLE orders RENAME TO away").await;
    is_diverged(ground.acquire().await, "renamed");
    database.sql("ALTER TABLE away RENAME TO orders").await;
    let mut permit = ground.acquire().await.unwrap();
    assert_eq!(permit.last().at(), (1, 1));
    ground.deliver(&mut permit, &SECOND).await;
    assert_eq!(people(&database).await, [["1", "a"], ["2", "x"], ["3", "c"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_a_row_left_is_not_taken_for_one_that_was_emptied() {
    let Some(database) = ground().await else { return };
    for mode in [Append, Upsert, Overwrite] {
        for drops in [false, true] {
            database
                .sql("DROP TABLE IF EXISTS orders, millrace_state, millrace_index")
                .await;
            let ground = flow(&database, mode).await;
            let mut permit = ground.acquire().await.unwrap();
            let none = Commit {
                offset: json!({ "seed": 1, "digest": (mode == Overwrite).then(|| json!({ "rows": 0, "sum": "0" })) }),
                ..ground.next(&permit, Vec::new(), mode == Overwrite)
            };
            ground.commit_whole(&mut permit, none).await.unwrap();
            assert_eq!(ground.acquire().await.unwrap().last().seq, 1, "{mode:?}");
            if mode != Upsert {
                continue;
            }
            // Rows came, and all of them went again.
            let mut permit = ground.acquire().await.unwrap();
            ground.deliver(&mut permit, &FIRST).await;
            ground
                .deliver(&mut permit, &[(1, "", Delete), (2, "", Delete)])
                .await;
            assert!(people(&database).await.is_empty());
            if drops {
                database.sql("DROP TABLE orders").await;
            }
            let mut permit = ground.acquire().await.unwrap();
            assert_eq!(permit.last().at(), (1, 3));
            ground.deliver(&mut permit, &FIRST).await;
            assert_eq!(people(&database).await, [["1", "a"], ["2", "b"]]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_goes_during_the_run_gets_no_changes() {
    let Some(database) = ground().await else { return };
    for (what, staged_first) in [
        ("DROP TABLE orders", false),
        ("TRUNCATE orders", false),
        ("TRUNCATE orders", true),
    ] {
        database
            .sql("DROP TABLE IF EXISTS orders, millrace_state, millrace_index")
            .await;
        let ground = flow(&database, Upsert).await;
        let mut permit = ground.acquire().await.unwrap();
        ground.deliver(&mut permit, &FIRST).await;
        let dead = ground.dead(&[2]).await;
        if !staged_first {
            database.sql(what).await;
        }
        let staged = ground.stage(&permit, &SECOND).await;
        if staged_first {
            database.sql(what).await;
        }
        let mut commit = ground.next(&permit, vec![staged], false);
        commit.dead = dead;
        is_diverged(ground.commit_whole(&mut permit, commit).await, what);
        assert_eq!(
            database.one("SELECT seq FROM millrace_state").await,
            "1",
            "{what}"
        );
        is_diverged(ground.acquire().await, what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_target_of_changes_alone_is_told_too() {
    let Some(database) = ground().await else { return };
    let ground = flow(&database, Overwrite).await;
    let mut permit = ground.acquire().await.unwrap();
    deliver(&ground, &mut permit, &FIRST).await.unwrap();
    let staged = ground
        .stage_rows(&permit, vec![rows(&SECOND)], false, None)
        .await
        .unwrap();
    ground.commit(&mut permit, vec![staged], false).await.unwrap();
    assert_eq!(people(&database).await.len(), 3);
    ground.acquire().await.unwrap();
    database.sql("DROP TABLE orders").await;
    is_diverged(ground.acquire().await, "dropped");
}
