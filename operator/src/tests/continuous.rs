//! Continuous Flows: workers, roll-outs, triggers through the ledger.

use jiff::SignedDuration;
use millrace_crds::channel::{Failure, Report, RunReport, RunState, child};
use serde_json::json;

use super::world::{Fate, MAPS, World};

const LAKE: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/flows/lake";
const PODS: &str = "api/v1/namespaces/acme/pods";

fn set_path() -> String {
    format!(
        "apis/apps/v1/namespaces/acme/statefulsets/{}",
        child("lake", "worker")
    )
}

/// The workers become ready, as the controller of StatefulSets says it.
pub(super) fn make_ready(world: &World) {
    let generation = world.get(&set_path())["metadata"]["generation"].clone();
    let status = json!({ "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "observedGeneration": generation, "updateRevision": "new" });
    world.patch(&set_path(), &json!({ "status": status }));
}

pub(super) fn template(world: &World) -> String {
    world.get(&set_path())["metadata"]["annotations"]["millrace.dev/template"].to_string()
}

/// A worker tells that it has done a run.
pub(super) fn tell_success(world: &World, run: u64) {
    tell_part(world, run, (0, 1));
}

/// One of so many workers tells that it has done its part of a run.
fn tell_part(world: &World, run: u64, (index, workers): (u32, u32)) {
    let now = world.context.now();
    let told = RunReport {
        state: RunState::Succeeded,
        rows: 7,
        finished_at: Some(now),
        ..RunReport::begun(now, workers)
    };
    let map = format!("{MAPS}/{}", child("lake", "report"));
    let mut report = world.report_of(&map, index);
    report.runs.insert(run, told);
    world.write_of(&map, index, &report);
}

pub(super) async fn running() -> World {
    let mut world = World::with_flow(&json!({ "mode": "Continuous" }));
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "RollingOut".into())
    );
    assert_eq!(world.condition(LAKE, "Reconciling").0, "True");
    make_ready(&world);
    world.settle().await;
    assert_eq!(world.condition(LAKE, "Ready"), ("True".into(), "Running".into()));
    assert_eq!(world.condition(LAKE, "Reconciling").0, "");
    world
}

#[tokio::test]
async fn workers_take_triggers_through_the_ledger_without_a_job() {
    let mut world = running().await;
    world.annotate(LAKE, "full_load", "a");
    world.settle().await;
    assert!(world.server.all("jobs").is_empty());
    assert_eq!(world.get(LAKE)["status"]["triggers"][0]["state"], "Running");
    tell_success(&world, 1);
    world.settle().await;
    let trigger = world.get(LAKE)["status"]["triggers"][0].clone();
    assert_eq!(
        (trigger["state"].clone(), trigger["rows"].clone()),
        (json!("Succeeded"), json!(7))
    );
}

#[tokio::test]
async fn a_run_is_over_once_each_of_the_workers_that_there_are_has_done_its_part() {
    let mut world = running().await;
    world.annotate(LAKE, "full_load", "a");
    world.settle().await;
    world.patch(LAKE, &json!({ "spec": { "pod": { "replicas": 3 } } }));
    world.settle().await;
    let state = |world: &World| world.get(LAKE)["status"]["triggers"][0]["state"].clone();
    // The worker of before was alone; two of the three that there are now have done their parts.
    tell_success(&world, 1);
    tell_part(&world, 1, (1, 3));
    tell_part(&world, 1, (2, 3));
    world.settle().await;
    assert_eq!(state(&world), "Running");
    tell_part(&world, 1, (0, 3));
    world.settle().await;
    assert_eq!(state(&world), "Succeeded");
    assert_eq!(world.get(LAKE)["status"]["triggers"][0]["rows"], 21);
}

#[tokio::test]
async fn a_changed_plan_is_tried_before_it_rolls_out() {
    let mut world = running().await;
    let before = template(&world);
    world.fate = Fate::Dies;
    world.patch(LAKE, &json!({ "spec": { "maxDeleteFraction": 0.1 } }));
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "PreflightFailed".into())
    );
    assert_eq!(template(&world), before, "the workers go on by the old plan");
    let plans = world.get(&format!("{MAPS}/{}", child("lake", "plan")))["data"].clone();
    assert!(
        plans["plan.json"].as_str().unwrap().contains("0.5"),
        "a pod that starts anew goes by it too"
    );
    assert!(plans["trial.json"].as_str().unwrap().contains("0.1"));
    world.fate = Fate::Works;
    world.pass(SignedDuration::from_mins(6));
    world.settle().await;
    assert_ne!(template(&world), before);
    let plans = world.get(&format!("{MAPS}/{}", child("lake", "plan")))["data"].clone();
    assert!(plans["plan.json"].as_str().unwrap().contains("0.1") && plans["trial.json"].is_null());
    make_ready(&world);
    world.settle().await;
    assert_eq!(world.condition(LAKE, "Ready").0, "True");
    assert!(world.server.all("jobs").is_empty(), "the trial is over");
    let writes = world.server.writes();
    world.operate().await;
    assert_eq!(world.server.writes_since(writes), Vec::<String>::new());
}

#[tokio::test]
async fn a_schedule_of_its_own_does_not_roll_workers() {
    let mut world = running().await;
    let before = template(&world);
    world.patch(LAKE, &json!({ "spec": { "suspend": true } }));
    world.settle().await;
    assert_eq!(world.get(&set_path())["spec"]["replicas"], 0);
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("True".into(), "Suspended".into())
    );
    world.patch(LAKE, &json!({ "spec": { "suspend": false } }));
    world.settle().await;
    assert_eq!(
        (
            world.get(&set_path())["spec"]["replicas"].clone(),
            template(&world)
        ),
        (json!(1), before)
    );
}

#[tokio::test]
async fn a_pod_that_is_stuck_or_fenced_is_replaced_and_a_ready_one_is_not() {
    let mut world = running().await;
    let uid = world.get(&set_path())["metadata"]["uid"].clone();
    let mut labels = world.get(&set_path())["spec"]["template"]["metadata"]["labels"].clone();
    let pod = |name: &str, revision: &str, ready: &str, labels: &serde_json::Value| {
        let mut labels = labels.clone();
        labels["controller-revision-hash"] = json!(revision);
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "labels": labels, "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "x", "uid": uid, "controller": true }] },
            "spec": { "containers": [] },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        })
    };
    world.create(PODS, &pod("old-stuck", "old", "False", &labels));
    world.create(PODS, &pod("old-well", "old", "True", &labels));
    world.create(PODS, &pod("new-slow", "new", "False", &labels));
    world.create(PODS, &pod("new-fenced", "new", "False", &labels));
    labels["millrace.dev/flow"] = json!("other");
    let fenced = world.get(&format!("{PODS}/new-fenced"))["metadata"]["uid"].clone();
    let report = Report {
        pod: "new-fenced".to_owned(),
        pod_uid: fenced.as_str().unwrap().to_owned(),
        problem: Some(Failure::new("fenced", "", "a newer worker took over", "")),
        ..Report::default()
    };
    world.write(&format!("{MAPS}/{}", child("lake", "report")), &report);
    world.patch(&set_path(), &json!({ "status": { "readyReplicas": 0 } }));
    world.settle().await;
    let left: Vec<String> = world
        .server
        .all("pods")
        .iter()
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(left, ["new-slow", "old-well"]);
    assert_eq!(world.server.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_problem_for_a_person_stalls_the_flow() {
    let mut world = running().await;
    let report = Report {
        problem: Some(Failure::new(
            "state",
            "StateOwnedByOther",
            "it is another Flow's",
            "adopt it",
        )),
        ..Report::default()
    };
    world.write(&format!("{MAPS}/{}", child("lake", "report")), &report);
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "StateOwnedByOther".into())
    );
    assert_eq!(world.condition(LAKE, "Stalled").0, "True");
}

#[tokio::test]
async fn a_flow_that_changes_its_mode_keeps_one_kind_of_worker() {
    let mut world = running().await;
    world.patch(LAKE, &json!({ "spec": { "mode": "Batch" } }));
    world.settle().await;
    assert!(world.server.all("statefulsets").is_empty());
    assert_eq!(world.executed.len(), 1);
    world.fate = Fate::Hangs;
    world.annotate(LAKE, "full_load", "a");
    world.settle().await;
    assert_eq!(world.ledger("lake").runs, 2);
    world.patch(LAKE, &json!({ "spec": { "mode": "Continuous" } }));
    world.settle().await;
    let open = world
        .server
        .all("jobs")
        .into_iter()
        .filter(|job| job["status"].is_null());
    assert_eq!(open.count(), 0, "the workers go on with its run");
    assert_eq!(world.get(LAKE)["status"]["triggers"][0]["state"], "Running");
}

/// The workers as they are, to see that nobody has touched them.
fn workers(world: &World) -> serde_json::Value {
    let set = world.get(&set_path());
    json!([set["metadata"]["uid"], set["metadata"]["generation"], set["spec"]])
}

#[tokio::test]
async fn workers_stay_while_admission_refuses_what_would_replace_them() {
    let mut world = running().await;
    let before = workers(&world);
    let refusal = "admission webhook \"policy\" denied the request: no such image";
    world.server.refuse("/jobs", 403, refusal);
    world.patch(LAKE, &json!({ "spec": { "maxDeleteFraction": 0.1 } }));
    world.operate().await;
    world.operate().await;
    let ready = world.get(LAKE)["status"]["conditions"][0].clone();
    assert_eq!(ready["reason"], "Refused");
    assert!(
        ready["message"].as_str().unwrap().contains("no such image"),
        "{ready}"
    );
    assert_eq!(workers(&world), before, "the trial is refused");
    world.server.accept();
    world
        .server
        .refuse("/statefulsets", 422, "StatefulSet is invalid: spec.template");
    for _ in 0..3 {
        world.operate().await;
        world.work();
    }
    assert_eq!(world.condition(LAKE, "Ready"), ("False".into(), "Refused".into()));
    assert_eq!(workers(&world), before, "the StatefulSet is refused");
    world.server.accept();
    world.settle().await;
    assert_ne!(workers(&world), before);
    assert_eq!(world.server.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn workers_stay_while_no_pod_of_the_new_kind_is_let_in() {
    let mut world = running().await;
    let before = workers(&world);
    // Pod Security lets the Job in, and none of its pods: it has none until its deadline.
    world.fate = Fate::Hangs;
    world.patch(LAKE, &json!({ "spec": { "maxDeleteFraction": 0.1 } }));
    world.settle().await;
    world.pass(SignedDuration::from_mins(9));
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("True".into(), "Preflight".into())
    );
    assert_eq!(workers(&world), before);
    let job = world.server.all("jobs")[0].clone();
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 600);
    world.fate = Fate::Dies;
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "PreflightFailed".into())
    );
    assert_eq!(workers(&world), before);
    assert!(
        world
            .server
            .writes_since(0)
            .iter()
            .all(|write| !write.starts_with("DELETE"))
    );
}
