//! A Flow that is deleted: what goes and what stays.

use millrace_crds::channel::child;
use serde_json::json;

use super::world::{FLOWS, Fate, MAPS, RUNS, World, flow};

const LAKE: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/flows/lake";

fn state_is_there(world: &World) -> bool {
    world
        .server
        .places()
        .contains(&format!("{MAPS}/{}", child("lake", "state")))
}

#[tokio::test]
async fn state_stays_unless_the_policy_says_otherwise() {
    for (policy, stays) in [("Retain", true), ("Delete", false)] {
        let mut world = World::with_flow(&json!({ "deletionPolicy": policy }));
        world.settle().await;
        assert!(state_is_there(&world));
        let finalizers = world.get(LAKE)["metadata"]["finalizers"].clone();
        assert_eq!(
            finalizers.as_array().is_some_and(|all| !all.is_empty()),
            policy == "Delete"
        );
        world.delete(LAKE);
        world.settle().await;
        assert_eq!(state_is_there(&world), stays, "{policy}");
        let of_flow = |place: &&String| place.contains("/lake");
        assert_eq!(
            world.server.places().iter().filter(of_flow).count(),
            usize::from(stays)
        );
    }
}

#[tokio::test]
async fn a_policy_that_changes_takes_the_finalizer_away() {
    let mut world = World::with_flow(&json!({ "deletionPolicy": "Delete" }));
    world.settle().await;
    world.patch(LAKE, &json!({ "spec": { "deletionPolicy": "Retain" } }));
    world.settle().await;
    assert_eq!(world.get(LAKE)["metadata"]["finalizers"], json!([]));
}

#[tokio::test]
async fn a_flow_made_again_gets_children_of_its_own() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    let old = world.get(LAKE)["metadata"]["uid"].clone();
    world.delete(LAKE);
    world.create(FLOWS, &flow(&json!({})));
    world.settle().await;
    let new = world.get(LAKE)["metadata"]["uid"].clone();
    assert_ne!(old, new);
    assert_eq!(world.executed.len(), 2);
    let state = world.get(&format!("{MAPS}/{}", child("lake", "state")));
    assert_eq!(
        state["metadata"]["annotations"]["millrace.dev/flow-uid"], old,
        "only a worker may take state over"
    );
}

#[tokio::test]
async fn state_in_s3_is_deleted_by_a_worker() {
    let state = json!({ "s3": { "bucket": "b", "prefix": "p", "credentials": [
        { "name": "accessKeyId", "secret": { "name": "s3", "key": "id" } },
        { "name": "secretAccessKey", "secret": { "name": "s3", "key": "key" } },
    ] } });
    let mut world = World::with_flow(&json!({ "deletionPolicy": "Delete", "state": state }));
    world.settle().await;
    assert!(!state_is_there(&world));
    world.fate = Fate::Hangs;
    world.delete(LAKE);
    world.settle().await;
    let jobs = world.server.all("jobs");
    assert_eq!(jobs.len(), 1, "the Jobs of runs are gone");
    let name = child("lake", "forget");
    assert_eq!(jobs[0]["metadata"]["name"], name.as_str());
    assert!(world.server.places().contains(&format!("{RUNS}/{name}")));
    world.fate = Fate::Works;
    world.settle().await;
    assert!(!world.server.places().iter().any(|place| place.contains("/lake")));
}

#[tokio::test]
async fn a_namespace_that_goes_holds_nothing_up() {
    let state = json!({ "s3": { "bucket": "b" } });
    let mut world = World::with_flow(&json!({ "deletionPolicy": "Delete", "state": state }));
    world.settle().await;
    world.server.refuse(
        "/jobs",
        403,
        "jobs is forbidden: unable to create new content in namespace acme because it is being terminated",
    );
    world.delete(LAKE);
    world.settle().await;
    assert!(!world.server.places().contains(LAKE));
    assert!(
        world
            .server
            .all("events")
            .iter()
            .any(|event| event["reason"] == "StateLeft")
    );
}
