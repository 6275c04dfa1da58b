//! Sources and Connectors: discovery, and what their statuses say.

use jiff::SignedDuration;
use millrace_crds::channel::Failure;
use serde_json::json;

use super::world::{FLOWS, Fate, SOURCES, World, flow, source};

const SHOP: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/sources/shop";
const CONNECTORS: &str = "apis/millrace.dev/v1alpha1/connectors";

fn open_source() -> serde_json::Value {
    let mut source = source();
    source["spec"]["streams"] = json!([{ "match": ".*" }]);
    source
}

#[tokio::test]
async fn a_source_is_asked_for_its_streams_once_for_each_change() {
    let world = World::new();
    world.create(SOURCES, &open_source());
    world.create(FLOWS, &flow(&json!({ "suspend": true })));
    let mut world = world;
    world.fate = Fate::Hangs;
    world.settle().await;
    assert_eq!(
        world.condition(SHOP, "Ready"),
        ("Unknown".into(), "Discovering".into())
    );
    assert_eq!(world.condition(SHOP, "Reconciling").0, "True");
    world.fate = Fate::Works;
    world.settle().await;
    let status = world.get(SHOP)["status"].clone();
    assert_eq!(
        world.condition(SHOP, "Ready"),
        ("True".into(), "Discovered".into())
    );
    let columns = json!([{ "name": "id", "type": "int64" }]);
    let users = json!({ "name": "users", "primaryKey": ["id"], "columnCount": 1, "columns": columns });
    assert_eq!(status["streams"], json!([users, { "name": "orders" }]));
    assert_eq!(status["flowCount"], 1);
    assert_eq!(status["connector"]["from"], "BuiltIn");
    let job = world.server.all("jobs")[0]["metadata"]["uid"].clone();
    world.pass(SignedDuration::from_hours(5));
    world.settle().await;
    assert_eq!(world.server.all("jobs")[0]["metadata"]["uid"], job);
    world.patch(SHOP, &json!({ "spec": { "connection": { "host": "other" } } }));
    world.settle().await;
    assert_ne!(world.server.all("jobs")[0]["metadata"]["uid"], job);
    assert_eq!(world.condition(SHOP, "Ready").0, "True");
}

#[tokio::test]
async fn a_source_that_cannot_be_asked_says_why_and_is_asked_again() {
    let world = World::new();
    world.create(SOURCES, &open_source());
    let mut world = world;
    world.fate = Fate::Fails(Failure::new(
        "config",
        "SecretKeyMissing",
        "there is no password",
        "",
    ));
    world.settle().await;
    assert_eq!(
        world.condition(SHOP, "Ready"),
        ("False".into(), "SecretKeyMissing".into())
    );
    world.fate = Fate::Works;
    world.settle().await;
    assert_eq!(world.condition(SHOP, "Ready").0, "False", "not before its time");
    world.pass(SignedDuration::from_mins(6));
    world.settle().await;
    assert_eq!(world.condition(SHOP, "Ready").0, "True");
}

#[tokio::test]
async fn a_connector_is_checked_and_counts_its_users_without_a_name() {
    let mut world = World::with_flow(&json!({}));
    let connector = json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "Connector", "metadata": { "name": "postgres" },
        "spec": { "type": "postgres", "roles": ["source", "destination"], "credentials": [{ "name": "password" }] },
    });
    world.create(CONNECTORS, &connector);
    world.settle().await;
    let path = format!("{CONNECTORS}/postgres");
    assert_eq!(world.condition(&path, "Ready"), ("True".into(), "Valid".into()));
    let status = world.get(&path)["status"].clone();
    assert_eq!(
        (
            status["uses"][0]["sources"].clone(),
            status["uses"][0]["flows"].clone()
        ),
        (json!(1), json!(0))
    );
    assert!(!status.to_string().contains("acme") && !status.to_string().contains("shop"));
    assert_eq!(world.get(SHOP)["status"]["connector"]["from"], "Connector");
}

#[tokio::test]
async fn a_source_that_declares_all_its_streams_keeps_nothing_of_a_discovery() {
    let mut world = World::new();
    world.create(SOURCES, &source());
    world.settle().await;
    let before = world.server.places();
    let streams = source()["spec"]["streams"].clone();
    world.patch(SHOP, &json!({ "spec": { "streams": [{ "match": ".*" }] } }));
    world.settle().await;
    assert!(world.server.places().len() > before.len());
    world.patch(SHOP, &json!({ "spec": { "streams": streams } }));
    world.settle().await;
    assert_eq!(world.server.places(), before);
}
