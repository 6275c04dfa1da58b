//! Who may write what: rights that are missing, and tables that somebody else writes.

use std::sync::Arc;

use millrace_crds::flow::WriteMode::{Append, Upsert};
use serde_json::{Value, json};

use super::ground::{Ground as Database, ground};
use crate::{
    connector::{Destination, Op::Insert},
    connectors::tests::ground::{Ground, Person, stream},
    error::ErrorKind,
    protocol::ShardId,
};

const FIRST: [Person; 2] = [(1, "a", Insert), (2, "b", Insert)];

fn destination(database: &Database, settings: Value) -> Arc<dyn Destination> {
    super::super::destination(database.system(settings)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_streams_cannot_own_one_table() {
    let Some(database) = ground().await else { return };
    let shared = destination(&database, json!({ "table": "one" }));
    let first = Ground::open(shared.clone(), Upsert).await;
    let mut permit = first.acquire().await.unwrap();
    first.deliver(&mut permit, &FIRST).await;
    let id = ShardId {
        state: "default/flow".into(),
        stream: "others".into(),
    };
    let second = shared.shard(&id, &stream("others", Upsert)).await.unwrap();
    let error = second.fence(1, "n").await.unwrap_err();
    assert_eq!(
        (error.kind, error.reason),
        (ErrorKind::Config, "TargetConflict"),
        "{error}"
    );
    let appended = shared.shard(&id, &stream("others", Append)).await.unwrap();
    appended.fence(1, "n").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_says_what_to_grant() {
    let Some(database) = ground().await else { return };
    let role = format!("limited_{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    database
        .sql(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'right'; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        ))
        .await;
    let check = |password: &str, settings: Value| {
        let system = database.system_as(&role, Some(password), settings);
        async move { super::super::destination(system).unwrap().check().await }
    };
    for settings in [json!({}), json!({ "schema": "theirs" })] {
        let error = check("right", settings).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Config, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("permission denied") && text.contains("USAGE and CREATE on the schema"),
            "{text}"
        );
    }
    let error = check("wrong-and-secret", json!({})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config, "{error}");
    assert!(
        !error.to_string().contains("secret") && error.to_string().contains("credential"),
        "{error}"
    );
    database
        .sql(&format!("GRANT CREATE ON SCHEMA public TO {role}"))
        .await;
    check("right", json!({})).await.unwrap();
    assert_eq!(
        database
            .one("SELECT count(*) FROM pg_class WHERE relname LIKE 'millrace%'")
            .await,
        "0"
    );
    database
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}
