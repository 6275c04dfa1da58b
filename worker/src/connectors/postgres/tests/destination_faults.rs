//! Workers that went silent, connections that end in the middle, servers that lose what was not logged.

use std::{sync::Arc, time::Duration};

use millrace_crds::flow::WriteMode::{Append, Overwrite, Upsert};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::ground::{Ground as Database, ground};
use crate::{
    connector::{
        Destination,
        Op::{Delete, Insert, Update},
    },
    connectors::tests::ground::{Ground, Person},
    error::ErrorKind,
    protocol::Outcome,
};

const FIRST: [Person; 3] = [(1, "a", Insert), (2, "b", Insert), (3, "c", Insert)];
const SECOND: [Person; 3] = [(2, "x", Update), (3, "", Delete), (4, "d", Insert)];

fn destination(database: &Database, settings: Value) -> Arc<dyn Destination> {
    super::super::destination(database.system(settings)).unwrap()
}

async fn people(database: &Database) -> Vec<Vec<String>> {
    database.rows("SELECT id, name FROM orders ORDER BY id").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_waits_for_a_silent_commit_and_outlaws_the_next() {
    let Some(database) = ground().await else { return };
    let ground = Ground::open(destination(&database, json!({})), Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    let staged = ground.stage(&permit, &SECOND).await;
    // A worker that went silent within its commit, and whose transaction the server ends.
    let zombie = database.another().await;
    zombie
        .batch_execute("BEGIN; UPDATE millrace_state SET seq = seq + 1")
        .await
        .unwrap();
    let end = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        zombie.batch_execute("ROLLBACK").await.unwrap();
    });
    let newer = ground.acquire().await.unwrap();
    end.await.unwrap();
    assert_eq!(newer.last().at(), (1, 1));
    let commit = ground.next(&permit, vec![staged], false);
    assert!(matches!(
        ground.shard.commit(&permit, &commit).await,
        Outcome::Fenced
    ));
    assert_eq!(people(&database).await, [["1", "a"], ["2", "b"], ["3", "c"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_not_given_back_is_a_transient_error() {
    let Some(database) = ground().await else { return };
    let ground = Ground::open(destination(&database, json!({ "lockTimeout": "200ms" })), Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    let zombie = database.another().await;
    zombie
        .batch_execute("BEGIN; SELECT * FROM millrace_state FOR UPDATE")
        .await
        .unwrap();
    let error = ground.acquire().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    zombie.batch_execute("ROLLBACK").await.unwrap();
    ground.acquire().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_server_lost_are_not_taken_for_none() {
    let Some(database) = ground().await else { return };
    let ground = Ground::open(destination(&database, json!({})), Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    let staged = ground.stage(&permit, &SECOND).await;
    // What a crash does to a table that is not logged.
    let name = database
        .one("SELECT relname FROM pg_class WHERE relname LIKE 'millrace\\_staging%'")
        .await;
    database.sql(&format!("TRUNCATE {name}")).await;
    let commit = ground.next(&permit, vec![staged], false);
    let Outcome::Failed(error) = ground.shard.commit(&permit, &commit).await else {
        panic!("committed")
    };
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
    assert_eq!(people(&database).await, [["1", "a"], ["2", "b"], ["3", "c"]]);
    assert_eq!(ground.shard.last_committed().await.unwrap().unwrap().at(), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_was_given_up_leaves_no_row_in_the_new_table() {
    let Some(database) = ground().await else { return };
    for mode in [Append, Upsert, Overwrite] {
        database
            .sql("DROP TABLE IF EXISTS orders, millrace_state, millrace_index")
            .await;
        let ground = Ground::open(destination(&database, json!({})), mode).await;
        let mut permit = ground.acquire().await.unwrap();
        drop(ground.stage(&permit, &SECOND).await);
        let again = ground.stage(&permit, &FIRST).await;
        ground
            .commit(&mut permit, vec![again], mode == Overwrite)
            .await
            .unwrap();
        assert_eq!(people(&database).await, [["1", "a"], ["2", "b"], ["3", "c"]]);
    }
}

/// How a commit's answer gets lost.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    /// The server never hears of it.
    Before,
    /// The server does it, and its answer is lost.
    After,
}

/// Passes bytes on, until somebody says COMMIT; once.
async fn proxy(database: &Database, cut: Cut) -> u16 {
    let address = database.address();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let armed = Arc::new(std::sync::atomic::AtomicBool::new(true));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&address).await.unwrap();
            tokio::spawn(pass(client, server, armed.clone(), cut));
        }
    });
    port
}

async fn pass(client: TcpStream, server: TcpStream, armed: Arc<std::sync::atomic::AtomicBool>, cut: Cut) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        // The simple query that is COMMIT and no more: that of the commit itself among the stages' own.
        let is_commit = buffer[..read] == *b"Q\0\0\0\x0bCOMMIT\0";
        if is_commit && armed.load(std::sync::atomic::Ordering::SeqCst) {
            armed.store(false, std::sync::atomic::Ordering::SeqCst);
            back.abort();
            drop(back.await);
            if cut == Cut::After {
                to_server.write_all(&buffer[..read]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            return;
        }
        if to_server.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_settled_by_reading_back() {
    let Some(database) = ground().await else { return };
    for cut in [Cut::Before, Cut::After] {
        database
            .sql("DROP TABLE IF EXISTS orders, millrace_state, millrace_index")
            .await;
        let mut ground = Ground::open(destination(&database, json!({})), Upsert).await;
        let mut permit = ground.acquire().await.unwrap();
        ground.deliver(&mut permit, &FIRST).await;
        let dead = ground.dead(&[2, 3]).await;
        let staged = ground.stage(&permit, &SECOND).await;
        let mut commit = ground.next(&permit, vec![staged], false);
        commit.dead = dead;
        let through = proxy(&database, cut).await;
        let settings = json!({ "host": "127.0.0.1", "port": through, "sslMode": "disable" });
        let far = Ground::open(destination(&database, settings), Upsert).await;
        // The bare answer is that nothing is known, and one that is sent again finds what the first one did.
        let outcome = far.shard.commit(&permit, &commit).await;
        assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        let at = || async { ground.shard.last_committed().await.unwrap().unwrap().at() };
        // The server may still be at it when the answer is known to be lost.
        while cut == Cut::After && at().await != (1, 2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(at().await, if cut == Cut::After { (1, 2) } else { (1, 1) });
        ground.shard = far.shard.clone();
        ground.commit_whole(&mut permit, commit).await.unwrap();
        assert_eq!(people(&database).await, [["1", "a"], ["2", "x"], ["4", "d"]]);
        assert_eq!(
            ground
                .entries()
                .await
                .iter()
                .map(|(id, _)| *id)
                .collect::<Vec<_>>(),
            [1, 2, 4]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_ends_between_two_commits_is_replaced() {
    let Some(database) = ground().await else { return };
    let ground = Ground::open(destination(&database, json!({})), Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    assert_ne!(database.one(end).await, "0");
    ground.deliver(&mut permit, &SECOND).await;
    assert_eq!(people(&database).await, [["1", "a"], ["2", "x"], ["4", "d"]]);
}
