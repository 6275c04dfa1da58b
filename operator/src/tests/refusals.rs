//! What the API server can answer instead of doing what it is asked: it is told, waited for, and made good.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DeleteParams;
use millrace_crds::channel::child;
use serde_json::json;

use super::api::request::{conflict, failure, throttled};
use super::world::{MAPS, World};

const LAKE: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/flows/lake";
const SHOP: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/sources/shop";

#[tokio::test]
async fn the_operator_waits_as_long_as_the_server_asks() {
    let mut world = World::with_flow(&json!({}));
    let mut left = 2;
    world.server.trouble(move |_| {
        left -= i32::from(left > 0);
        (left > 0).then(|| throttled(1))
    });
    let start = Instant::now();
    world.operate().await;
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(world.condition(LAKE, "Ready").0, "True", "nothing has failed");
    world.settle().await;
    assert_eq!(world.executed.len(), 1);
}

#[tokio::test]
async fn a_storm_of_conflicts_passes() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    world.annotate(LAKE, "full_load", "a");
    world.server.trouble(move |asked| {
        let writes = asked.method != Method::GET;
        let storm = writes && count.fetch_add(1, Ordering::Relaxed) < 10;
        storm.then(|| conflict("the object has been modified"))
    });
    for _ in 0..12 {
        world.operate().await;
    }
    assert!(asked.load(Ordering::Relaxed) > 10, "each write is tried again");
    world.settle().await;
    assert_eq!(world.times("a"), 1);
    assert_eq!(world.condition(LAKE, "Ready").0, "True");
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_named_and_missed_no_more_once_it_is_back() {
    for (right, object) in [
        ("/roles", LAKE),
        ("/sources", LAKE),
        ("/configmaps", LAKE),
        ("/connectors", SHOP),
    ] {
        let mut world = World::with_flow(&json!({}));
        world.server.trouble(move |asked| {
            let refused = asked.collection.ends_with(right) && !asked.status;
            let message = format!("{} is forbidden: cannot get resource", &right[1..]);
            refused.then(|| failure(403, "Forbidden", &message))
        });
        for _ in 0..3 {
            world.operate().await;
        }
        // Connectors are not needed: the built-in recipes apply.
        if right == "/connectors" {
            assert_eq!(world.condition(object, "Ready").0, "True");
            continue;
        }
        let ready = world.get(object)["status"]["conditions"][0].clone();
        assert_eq!(
            (&ready["status"], &ready["reason"]),
            (&json!("False"), &json!("Refused")),
            "{right}"
        );
        assert!(
            ready["message"].as_str().unwrap().contains("is forbidden"),
            "{ready}"
        );
        world.server.accept();
        world.settle().await;
        assert_eq!(world.condition(object, "Ready").0, "True", "{right}");
        assert_eq!(world.executed.len(), 1, "{right}");
    }
}

#[tokio::test]
async fn a_kind_that_is_gone_stops_what_is_new_and_nothing_that_runs() {
    let mut world = super::continuous::running().await;
    let set = world.server.all("statefulsets")[0].clone();
    world.server.trouble(|asked| {
        let gone = asked.collection.ends_with("/sources");
        gone.then(|| {
            failure(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )
        })
    });
    world.operate().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "RefNotFound".into())
    );
    assert_eq!(world.server.all("statefulsets")[0], set);
    world.server.accept();
    world.settle().await;
    assert_eq!(world.condition(LAKE, "Ready"), ("True".into(), "Running".into()));
}

#[tokio::test]
async fn a_status_that_cannot_be_written_holds_nothing_up() {
    let mut world = World::with_flow(&json!({}));
    world.server.trouble(|asked| {
        let status = asked.status && asked.method != Method::GET;
        status.then(|| failure(403, "Forbidden", "flows/status is forbidden"))
    });
    for turn in 0..8 {
        world.operate().await;
        world.work();
        if turn == 3 {
            world.annotate(LAKE, "full_load", "a");
        }
    }
    assert_eq!((world.times("a"), world.executed.len()), (1, 2));
    assert!(world.get(LAKE)["status"].is_null());
    world.server.accept();
    world.settle().await;
    assert_eq!(world.condition(LAKE, "Ready").0, "True");
    assert_eq!(world.get(LAKE)["status"]["triggers"][0]["state"], "Succeeded");
    assert_eq!(world.executed.len(), 2);
}

#[tokio::test]
async fn a_finalizer_that_is_taken_away_by_hand_is_put_back_or_missed_by_nobody() {
    let mut world = World::with_flow(&json!({ "deletionPolicy": "Delete" }));
    world.settle().await;
    world.patch(LAKE, &json!({ "metadata": { "finalizers": null } }));
    world.settle().await;
    assert_eq!(
        world.get(LAKE)["metadata"]["finalizers"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    world.patch(LAKE, &json!({ "metadata": { "finalizers": null } }));
    world.delete(LAKE);
    world.settle().await;
    let left = world
        .server
        .places()
        .into_iter()
        .filter(|place| place.contains("/lake"));
    let state = format!("{MAPS}/{}", child("lake", "state"));
    assert_eq!(
        left.collect::<Vec<_>>(),
        [state],
        "what nobody could clean up stays"
    );
}

#[tokio::test]
async fn m11_a_delete_without_the_uid_is_seen() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    assert_eq!(world.server.violations(), Vec::<String>::new());
    let api = world.context.api::<ConfigMap>("acme");
    api.delete(&child("lake", "report"), &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(world.server.violations().len(), 1);
}
