//! What is wrong, lost or somebody else's: one condition that says so, no hot loop, and back again when it is put right.

use kube::runtime::controller::Action;
use millrace_crds::{
    Flow,
    channel::{FLOW_LABEL, JOB_LABEL, SOURCE_LABEL, child, child_of},
};
use serde_json::json;

use super::world::{FLOWS, MAPS, SOURCES, World, flow, source};
use crate::index::Key;
use crate::reasons;
use crate::run::reconcile;

const LAKE: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/flows/lake";

#[tokio::test]
async fn a_missing_source_is_told_and_found_when_it_comes() {
    let world = World::new();
    world.create(FLOWS, &flow(&json!({})));
    let mut world = world;
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "RefNotFound".into())
    );
    assert_eq!(world.condition(LAKE, "Stalled").0, "True");
    assert_eq!(world.get(LAKE)["status"]["observedGeneration"], 1);
    world.create(SOURCES, &source());
    world.settle().await;
    assert_eq!(world.condition(LAKE, "Ready").0, "True");
    assert_eq!(world.condition(LAKE, "Stalled").0, "");
}

#[tokio::test]
async fn what_is_for_local_runs_is_refused() {
    let mut world = World::with_flow(&json!({ "state": { "directory": "/tmp/x" } }));
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "LocalOnly".into())
    );
    assert!(world.executed.is_empty());
}

#[tokio::test]
async fn an_invalid_change_leaves_what_runs_and_a_change_back_leaves_no_trace() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    let plan = format!("{MAPS}/{}", child("lake", "plan"));
    let before = world.get(&plan)["data"]["plan.json"].clone();
    world.patch(LAKE, &json!({ "spec": { "source": { "name": "nothing" } } }));
    world.settle().await;
    assert_eq!(world.get(&plan)["data"]["plan.json"], before);
    assert_eq!(world.condition(LAKE, "Ready").1, "RefNotFound");
    assert_eq!(
        world.condition(LAKE, "LastRunSucceeded").0,
        "True",
        "the last run is not forgotten"
    );
    world.patch(LAKE, &json!({ "spec": { "source": { "name": "shop" } } }));
    world.settle().await;
    assert_eq!(world.condition(LAKE, "Ready"), ("True".into(), "Valid".into()));
    assert_eq!(world.executed.len(), 1);
}

#[tokio::test]
async fn lost_state_stops_the_flow_until_somebody_decides() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    let state = format!("{MAPS}/{}", child("lake", "state"));
    world.delete(&state);
    world.annotate(LAKE, "full_load", "a");
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "StateLost".into())
    );
    assert_eq!(world.times("a"), 0);
    assert!(
        !world.server.places().contains(&state),
        "it is not made anew in silence"
    );
    world.delete(&format!("{MAPS}/{}", child("lake", "report")));
    world.settle().await;
    assert_eq!(
        (world.times("a"), world.condition(LAKE, "Ready").0),
        (1, "True".into())
    );
}

#[tokio::test]
async fn an_object_of_somebody_else_is_left_alone() {
    let world = World::new();
    let name = child("lake", "plan");
    world.create(MAPS, &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "mine": "1" } }));
    world.create(SOURCES, &source());
    world.create(FLOWS, &flow(&json!({})));
    let mut world = world;
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "NameTaken".into())
    );
    assert_eq!(
        world.get(&format!("{MAPS}/{name}"))["data"],
        json!({ "mine": "1" })
    );
}

#[tokio::test]
async fn what_the_api_server_refuses_is_told_and_made_once_it_is_accepted() {
    let mut world = World::with_flow(&json!({}));
    world.server.refuse(
        "/serviceaccounts",
        403,
        "serviceaccounts is forbidden: exceeded quota",
    );
    for _ in 0..3 {
        world.operate().await;
    }
    let ready = world.get(LAKE)["status"]["conditions"][0].clone();
    assert_eq!(ready["reason"], "Refused");
    assert!(
        ready["message"].as_str().unwrap().contains("exceeded quota"),
        "{ready}"
    );
    world.server.accept();
    world.settle().await;
    assert_eq!(world.condition(LAKE, "Ready").0, "True");
}

#[tokio::test]
async fn in_a_namespace_that_goes_nothing_is_tried_again_and_nobody_is_told() {
    let world = World::with_flow(&json!({}));
    let going = "unable to create new content in namespace acme because it is being terminated";
    for collection in ["/configmaps", "/serviceaccounts", "/jobs", "/events"] {
        world.server.refuse(collection, 403, going);
    }
    let key = Key::new("acme", "lake");
    for _ in 0..3 {
        let done = reconcile::<Flow>(&world.context, &key).await;
        assert_eq!(done.unwrap(), Action::await_change());
    }
    assert_eq!(world.condition(LAKE, "Stalled").0, "");
    assert!(world.executed.is_empty());
}

#[tokio::test]
async fn a_flow_and_a_source_of_one_name_do_not_meet() {
    let world = World::new();
    let mut one = source();
    one["metadata"]["name"] = json!("same");
    one["spec"]["streams"] = json!([{ "match": ".*" }]);
    let mut two = flow(&json!({ "source": { "name": "same" } }));
    two["metadata"]["name"] = json!("same");
    world.create(SOURCES, &one);
    world.create(FLOWS, &two);
    let mut world = world;
    world.settle().await;
    assert_eq!(world.condition(&format!("{FLOWS}/same"), "Ready").0, "True");
    assert_eq!(world.condition(&format!("{SOURCES}/same"), "Ready").0, "True");
    let plans = [FLOW_LABEL, SOURCE_LABEL, JOB_LABEL].map(|kind| child_of(kind, "same", "plan"));
    assert_eq!(plans.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
}

#[tokio::test]
async fn an_unreadable_ledger_is_told() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    let map = format!("{MAPS}/{}", child("lake", "triggers"));
    world.patch(&map, &json!({ "data": { "ledger.json": "{ broken" } }));
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "ChannelUnreadable".into())
    );
}

#[tokio::test]
async fn what_others_write_into_a_status_is_taken_away_where_it_is_ours_to_say() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    let before = world.get(LAKE)["status"].clone();
    let mut status = before.clone();
    let says = |type_: &str| {
        json!({ "type": type_, "status": "True", "reason": "Made", "message": "up",
                "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 99 })
    };
    let conditions = status["conditions"].as_array_mut().unwrap();
    conditions.extend([says("Stalled"), says("Theirs")]);
    status["lastLoad"] = json!("2999-01-01T00:00:00Z");
    status["nextRun"] = json!("2999-01-01T00:00:00Z");
    world.patch(LAKE, &json!({ "status": status }));
    world.settle().await;
    let mut after = world.get(LAKE)["status"].clone();
    let conditions = after["conditions"].as_array_mut().unwrap();
    let count = conditions.len();
    conditions.retain(|one| one["type"] != "Theirs");
    assert_eq!(conditions.len(), count - 1, "what is others' stays");
    assert_eq!(after, before);
    let writes = world.server.writes();
    world.operate().await;
    assert_eq!(world.server.writes_since(writes), Vec::<String>::new());
}

#[tokio::test]
async fn a_name_that_no_object_can_have_is_asked_for_by_nobody() {
    let mut world = World::with_flow(&json!({ "source": { "name": "../../../secrets" } }));
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "RefNotFound".into())
    );
    assert!(
        !world
            .server
            .reads()
            .iter()
            .any(|asked| asked.contains("..") || asked.contains("secrets"))
    );
    assert_eq!(world.server.violations(), Vec::<String>::new());
}

#[test]
fn every_word_is_explained() {
    let docs = include_str!("../../../docs/conditions.md");
    let missing: Vec<&&str> = reasons::ALL
        .iter()
        .filter(|reason| !docs.contains(&format!("`{reason}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/conditions.md does not explain {missing:?}"
    );
}
