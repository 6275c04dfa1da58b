//! Jobs of ours: by reference through the ledger of their Flow, or on their own.

use jiff::SignedDuration;
use millrace_crds::channel::Failure;
use serde_json::{Value, json};

use super::world::{Fate, JOBS, World, flow};

const ONCE: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/jobs/once";
const LAKE: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/flows/lake";

fn job(spec: &Value) -> Value {
    json!({ "apiVersion": "millrace.dev/v1alpha1", "kind": "Job", "metadata": { "name": "once" }, "spec": spec })
}

#[tokio::test]
async fn a_job_waits_its_turn_runs_once_and_tells_its_counts() {
    let mut world = World::with_flow(&json!({}));
    world.fate = Fate::Hangs;
    world.settle().await;
    let spec = json!({ "flow": { "name": "lake" }, "load": "Full", "streams": ["users"], "retries": 5, "deadline": "2h", "ttl": "1h" });
    world.create(JOBS, &job(&spec));
    world.settle().await;
    assert_eq!(
        world.condition(ONCE, "Succeeded"),
        ("Unknown".into(), "Waiting".into())
    );
    world.fate = Fate::Works;
    world.settle().await;
    assert_eq!(world.condition(ONCE, "Succeeded").0, "True");
    assert_eq!(world.condition(ONCE, "Ready").0, "True");
    assert_eq!(world.executed.len(), 2);
    let run = world
        .server
        .all("jobs")
        .into_iter()
        .find(|job| job["metadata"]["annotations"]["millrace.dev/run"] == "2")
        .unwrap();
    assert_eq!(run["spec"]["backoffLimit"], 5);
    assert_eq!(run["spec"]["activeDeadlineSeconds"], 7200);
    world.patch(ONCE, &json!({ "spec": { "retries": 1 } }));
    world.settle().await;
    assert_eq!(world.executed.len(), 2, "an edit runs nothing");
    world.pass(SignedDuration::from_hours(2));
    world.settle().await;
    assert!(!world.server.places().contains(ONCE), "its ttl has passed");
}

#[tokio::test]
async fn a_job_that_is_deleted_stops_its_run() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    world.fate = Fate::Hangs;
    world.create(JOBS, &job(&json!({ "flow": { "name": "lake" }, "load": "Full" })));
    world.settle().await;
    assert_eq!(
        world.condition(ONCE, "Succeeded"),
        ("Unknown".into(), "Running".into())
    );
    world.delete(ONCE);
    world.settle().await;
    let open = world
        .server
        .all("jobs")
        .into_iter()
        .filter(|job| job["status"].is_null());
    assert_eq!(open.count(), 0);
    assert_eq!(world.condition(LAKE, "LastRunSucceeded").0, "False");
}

#[tokio::test]
async fn a_job_that_holds_its_flow_stands_alone() {
    let world = World::new();
    world.create(super::world::SOURCES, &super::world::source());
    let spec = json!({ "flowTemplate": { "spec": flow(&json!({}))["spec"] }, "load": "Full" });
    world.create(JOBS, &job(&spec));
    let mut world = world;
    world.settle().await;
    assert_eq!(world.condition(ONCE, "Succeeded").0, "True");
    assert_eq!(world.executed.len(), 1);
    assert_eq!(
        world.get(ONCE)["status"]["completionTime"],
        "2026-01-01T00:00:10Z"
    );
    let before = world.server.writes();
    world.operate().await;
    assert_eq!(world.server.writes(), before);
}

#[tokio::test]
async fn a_failed_job_says_why() {
    let world = World::new();
    world.create(super::world::SOURCES, &super::world::source());
    let spec = json!({ "flowTemplate": { "spec": flow(&json!({}))["spec"] }, "load": "Full" });
    world.create(JOBS, &job(&spec));
    let mut world = world;
    world.fate = Fate::Fails(Failure::new(
        "config",
        "SecretKeyMissing",
        "Secret shop-db has no key password",
        "add it",
    ));
    world.settle().await;
    assert_eq!(
        world.condition(ONCE, "Succeeded"),
        ("False".into(), "SecretKeyMissing".into())
    );
    assert_eq!(world.condition(ONCE, "Stalled").0, "True");
}

fn shared(more: &Value) -> Value {
    let mut spec = json!({ "load": "Full", "parallelism": 3 });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    job(&spec)
}

#[tokio::test]
async fn pods_that_share_a_job_are_done_when_all_of_them_are() {
    let state = json!({ "s3": { "bucket": "b" } });
    let mut world = World::with_flow(&json!({ "state": state }));
    world.settle().await;
    world.half = true;
    world.create(JOBS, &shared(&json!({ "flow": { "name": "lake" } })));
    world.operate().await;
    world.work();
    world.operate().await;
    assert_eq!(
        world.condition(ONCE, "Succeeded"),
        ("Unknown".into(), "Running".into())
    );
    let jobs = world.server.all("jobs").into_iter();
    let mut run = jobs.filter(|job| job["metadata"]["annotations"]["millrace.dev/run"] == "2");
    let spec = run.next_back().unwrap()["spec"].clone();
    assert_eq!(
        (
            &spec["completionMode"],
            &spec["completions"],
            &spec["parallelism"]
        ),
        (&json!("Indexed"), &json!(3), &json!(3))
    );
    assert_eq!(
        (&spec["backoffLimitPerIndex"], &spec["backoffLimit"]),
        (&json!(3), &Value::Null)
    );
    assert_eq!(spec["podFailurePolicy"]["rules"][1]["action"], "FailIndex");

    world.half = false;
    world.settle().await;
    assert_eq!(world.condition(ONCE, "Succeeded").0, "True");
    assert_eq!(world.executed.len(), 1 + 3, "the first pod is not begun again");
    let ledger = world.ledger("lake");
    assert_eq!(ledger.entries.last().unwrap().rows, Some(30));
    assert_eq!(world.condition(LAKE, "LastRunSucceeded").0, "True");
}

#[tokio::test]
async fn a_shared_job_fails_where_one_of_its_pods_does() {
    let state = json!({ "s3": { "bucket": "b" } });
    let world = World::new();
    world.create(super::world::SOURCES, &super::world::source());
    let template = json!({ "flowTemplate": { "spec": flow(&json!({ "state": state }))["spec"] } });
    world.create(JOBS, &shared(&template));
    let mut world = world;
    world.half = true;
    world.operate().await;
    world.work();
    world.half = false;
    world.fate = Fate::Fails(Failure::new(
        "config",
        "SecretKeyMissing",
        "no key password",
        "add it",
    ));
    world.settle().await;
    assert_eq!(
        world.condition(ONCE, "Succeeded"),
        ("False".into(), "SecretKeyMissing".into())
    );
    assert_eq!(world.executed.len(), 3);
}

#[tokio::test]
async fn what_cannot_be_shared_is_refused_in_words() {
    let mut world = World::with_flow(&json!({}));
    world.create(JOBS, &shared(&json!({ "flow": { "name": "lake" } })));
    world.settle().await;
    assert_eq!(
        world.condition(ONCE, "Ready"),
        ("False".into(), "Unsupported".into())
    );
    assert_eq!(world.executed.len(), 1);

    let state = json!({ "s3": { "bucket": "b" } });
    let mut world = World::with_flow(&json!({ "state": state, "mode": "Continuous" }));
    world.create(JOBS, &shared(&json!({ "flow": { "name": "lake" } })));
    world.settle().await;
    assert_eq!(
        world.condition(ONCE, "Ready"),
        ("False".into(), "ParallelismNotSupported".into())
    );
}

#[tokio::test]
async fn a_job_without_its_flow_waits_for_it() {
    let mut world = World::new();
    world.create(JOBS, &job(&json!({ "flow": { "name": "lake" }, "load": "Full" })));
    world.settle().await;
    assert_eq!(
        world.condition(ONCE, "Ready"),
        ("False".into(), "RefNotFound".into())
    );
    world.create(super::world::SOURCES, &super::world::source());
    world.create(super::world::FLOWS, &flow(&json!({})));
    world.settle().await;
    assert_eq!(world.condition(ONCE, "Succeeded").0, "True");
}
