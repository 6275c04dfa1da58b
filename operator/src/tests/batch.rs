//! Batch Flows: the first load, triggers, the clock, suspension, failures.

use jiff::SignedDuration;
use millrace_crds::channel::{Failure, child};
use serde_json::json;

use super::world::{FLOWS, Fate, MAPS, RUNS, SOURCES, World};

const LAKE: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/flows/lake";
const SHOP: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/sources/shop";

#[tokio::test]
async fn a_new_flow_is_ready_is_loaded_once_and_then_nothing_is_written() {
    let mut world = World::with_flow(&json!({}));
    world.operate().await;
    world.settle().await;
    assert_eq!(world.condition(LAKE, "Ready"), ("True".into(), "Valid".into()));
    assert_eq!(world.condition(LAKE, "LastRunSucceeded").0, "True");
    assert_eq!(world.condition(LAKE, "Stalled").0, "");
    assert_eq!(world.condition(SHOP, "Ready").0, "True");
    assert_eq!(world.executed.len(), 1);
    let before = world.server.writes();
    for _ in 0..3 {
        world.pass(SignedDuration::from_hours(1));
        world.operate().await;
    }
    assert_eq!(world.server.writes_since(before), Vec::<String>::new());
    assert_eq!(world.server.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn each_token_runs_once_on_the_flow_and_on_its_source() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    world.annotate(LAKE, "full_load", "a");
    world.annotate(SHOP, "delta_load_users", "b");
    world.settle().await;
    world.annotate(LAKE, "full_load", "a");
    world.settle().await;
    assert_eq!((world.times("a"), world.times("b")), (1, 1));
    let status = world.get(LAKE)["status"]["triggers"].clone();
    let states: Vec<_> = status
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["token"].clone(), one["state"].clone()))
        .collect();
    assert_eq!(
        states,
        [(json!("a"), json!("Succeeded")), (json!("b"), json!("Succeeded"))]
    );
    assert_eq!(status[0]["rows"], 10);
    assert!(status[0]["job"].as_str().unwrap().starts_with("lake-"));
}

#[tokio::test]
async fn a_token_that_is_there_at_birth_is_not_run() {
    let world = World::new();
    world.create(SOURCES, &super::world::source());
    let mut flow = super::world::flow(&json!({}));
    flow["metadata"]["annotations"] = json!({ "millrace.dev/full_load": "old" });
    world.create(FLOWS, &flow);
    let mut world = world;
    world.settle().await;
    assert_eq!(world.times("old"), 0);
    assert_eq!(world.get(LAKE)["status"]["triggers"][0]["state"], "Initial");
}

#[tokio::test]
async fn a_trigger_that_names_nothing_fails_and_is_told() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    world.annotate(LAKE, "full_load_userz", "x");
    world.annotate(LAKE, "ful_load", "y");
    world.settle().await;
    assert_eq!((world.times("x"), world.executed.len()), (0, 1));
    let triggers = world.get(LAKE)["status"]["triggers"].clone();
    assert!(
        triggers
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["state"] == "Failed"),
        "{triggers}"
    );
    let events = world.server.all("events");
    let told = events.iter().filter(|event| event["reason"] == "TriggerFailed");
    let notes: Vec<&str> = told.filter_map(|event| event["note"].as_str()).collect();
    assert_eq!(notes.len(), 2, "each is told: {notes:?}");
    assert!(notes.iter().any(|note| note.contains("ful_load:")), "{notes:?}");
    assert!(notes.iter().any(|note| note.contains("userz")), "{notes:?}");
}

#[tokio::test]
async fn a_source_trigger_runs_the_streams_that_the_flow_takes() {
    let mut world = World::with_flow(&json!({ "source": { "name": "shop", "streams": ["users"] } }));
    world.settle().await;
    world.annotate(SHOP, "full_load_orders", "o");
    world.annotate(SHOP, "full_load", "u;tables=users,orders");
    world.settle().await;
    assert_eq!((world.times("o"), world.times("u")), (0, 1));
    let ledger = world.ledger("lake");
    let of = |token: &str| {
        ledger
            .entries
            .iter()
            .find(|entry| entry.token == token)
            .unwrap()
            .clone()
    };
    assert_eq!(of("u").streams, ["users"]);
    assert_eq!(of("o").rows, Some(0));
}

#[tokio::test]
async fn a_suspended_flow_starts_nothing_and_its_tokens_wait() {
    let mut world = World::with_flow(&json!({ "suspend": true }));
    world.settle().await;
    world.annotate(LAKE, "full_load", "a");
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("True".into(), "Suspended".into())
    );
    assert!(world.executed.is_empty());
    assert_eq!(world.get(LAKE)["status"]["triggers"][0]["state"], "Waiting");
    world.patch(LAKE, &json!({ "spec": { "suspend": false } }));
    world.settle().await;
    assert_eq!(world.times("a"), 1);
}

#[tokio::test]
async fn a_schedule_ticks_in_its_zone_and_missed_ticks_are_one() {
    let mut world = World::with_flow(&json!({ "schedule": "0 3 * * *", "timeZone": "Europe/Stockholm" }));
    world.settle().await;
    assert!(world.executed.is_empty());
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("True".into(), "Scheduled".into())
    );
    assert_eq!(world.get(LAKE)["status"]["nextRun"], "2026-01-01T02:00:00Z");
    world.pass(SignedDuration::from_hours(2));
    world.settle().await;
    assert_eq!(world.executed.len(), 1);
    assert_eq!(
        world.executed[0].tokens[0],
        ("schedule".to_owned(), "2026-01-01T02:00:00Z".to_owned())
    );
    world.pass(SignedDuration::from_hours(24 * 5));
    world.settle().await;
    assert_eq!(world.executed.len(), 2);
    assert_eq!(world.executed[1].tokens[0].1, "2026-01-06T02:00:00Z");
}

#[tokio::test]
async fn a_schedule_that_is_new_has_missed_nothing() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    world.pass(SignedDuration::from_hours(48));
    world.patch(LAKE, &json!({ "spec": { "schedule": "0 3 * * *" } }));
    world.settle().await;
    assert_eq!(world.executed.len(), 1);
}

#[tokio::test]
async fn while_a_load_is_at_work_ticks_are_left_out_wait_or_take_its_place() {
    for (policy, runs) in [("Forbid", 1), ("Allow", 2), ("Replace", 2)] {
        let mut world = World::with_flow(&json!({ "schedule": "*/10 * * * *", "concurrencyPolicy": policy }));
        world.fate = Fate::Hangs;
        world.pass(SignedDuration::from_mins(10));
        world.settle().await;
        world.pass(SignedDuration::from_mins(10));
        world.settle().await;
        assert_eq!(world.server.all("jobs").len(), 1, "{policy}");
        let name = world.server.all("jobs")[0]["metadata"]["name"].clone();
        let second =
            millrace_crds::ledger::run_id("lake", world.get(LAKE)["metadata"]["uid"].as_str().unwrap(), 2);
        assert_eq!(name == second.as_str(), policy == "Replace", "{policy}");
        world.fate = Fate::Works;
        world.settle().await;
        assert_eq!(world.ledger("lake").runs, runs, "{policy}");
    }
}

#[tokio::test]
async fn intervals_follow_the_last_load() {
    let world = World::new();
    let mut source = super::world::source();
    source["spec"]["deltaLoadInterval"] = json!("10m");
    source["spec"]["fullLoadInterval"] = json!("24h");
    world.create(SOURCES, &source);
    world.create(FLOWS, &super::world::flow(&json!({})));
    let mut world = world;
    world.settle().await;
    assert_eq!(world.executed.len(), 1);
    for _ in 0..6 {
        world.pass(SignedDuration::from_mins(10));
        world.settle().await;
    }
    let names: Vec<&str> = world
        .executed
        .iter()
        .map(|run| run.tokens[0].0.as_str())
        .collect();
    assert_eq!(names[0], "first");
    assert_eq!(names[1..], ["delta_interval"; 6]);
    world.pass(SignedDuration::from_hours(24));
    world.settle().await;
    assert_eq!(world.executed.last().unwrap().tokens[0].0, "full_interval");
}

#[tokio::test]
async fn a_failure_for_a_person_stalls_and_a_change_of_the_flow_tries_again() {
    let mut world = World::with_flow(&json!({}));
    world.fate = Fate::Fails(Failure::new(
        "config",
        "GuaranteeNotSupported",
        "it cannot",
        "require less",
    ));
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "GuaranteeNotSupported".into())
    );
    assert_eq!(world.condition(LAKE, "Stalled").0, "True");
    assert_eq!(
        world.condition(LAKE, "LastRunSucceeded"),
        ("False".into(), "GuaranteeNotSupported".into())
    );
    world.pass(SignedDuration::from_hours(10));
    world.settle().await;
    assert_eq!(world.executed.len(), 1);
    world.fate = Fate::Works;
    world.patch(LAKE, &json!({ "spec": { "maxDeleteFraction": 0.1 } }));
    world.settle().await;
    assert_eq!(world.executed.len(), 2);
    assert_eq!(world.condition(LAKE, "Ready").0, "True");
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again_later_each_time_and_not_for_ever() {
    let mut world = World::with_flow(&json!({}));
    world.fate = Fate::Fails(Failure::new("transient", "", "no answer", ""));
    for _ in 0..30 {
        world.settle().await;
        world.pass(SignedDuration::from_mins(31));
    }
    assert_eq!(world.executed.len(), 7);
    assert_eq!(world.condition(LAKE, "Stalled").0, "True");
    world.fate = Fate::Works;
    world.annotate(LAKE, "full_load", "again");
    world.settle().await;
    assert_eq!(
        (world.times("again"), world.condition(LAKE, "Ready").0),
        (1, "True".into())
    );
}

#[tokio::test]
async fn a_worker_that_dies_without_a_word_fails_its_run() {
    let mut world = World::with_flow(&json!({}));
    world.fate = Fate::Dies;
    world.settle().await;
    let last = world.condition(LAKE, "LastRunSucceeded");
    assert_eq!(last, ("False".into(), "RunFailed".into()));
}

#[tokio::test]
async fn what_only_the_pod_tells_of_a_wrong_manifest_stalls_too() {
    let mut world = World::with_flow(&json!({}));
    world.fate = Fate::Says(Failure::new(
        "config",
        "InvalidConfig",
        "no such table",
        "correct it",
    ));
    world.settle().await;
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "InvalidConfig".into())
    );
    assert_eq!(world.condition(LAKE, "Stalled").0, "True");
    assert_eq!(world.condition(LAKE, "LastRunSucceeded").1, "InvalidConfig");
    world.pass(SignedDuration::from_hours(10));
    world.settle().await;
    assert_eq!(world.ledger("lake").runs, 1, "it is not run again by itself");
    world.fate = Fate::Works;
    world.patch(LAKE, &json!({ "spec": { "maxDeleteFraction": 0.1 } }));
    world.settle().await;
    assert_eq!((world.ledger("lake").runs, world.executed.len()), (2, 1));
    assert_eq!(world.condition(LAKE, "Ready").0, "True");
}

#[tokio::test]
async fn a_missing_secret_stalls_and_is_tried_again_by_itself() {
    let mut world = World::with_flow(&json!({}));
    let missing = Failure::new("config", "SecretKeyMissing", "Secret shop-db is not there", "");
    world.fate = Fate::Says(missing);
    for _ in 0..10 {
        world.settle().await;
        world.pass(SignedDuration::from_mins(31));
    }
    assert_eq!(world.ledger("lake").runs, 10, "without end");
    assert_eq!(
        world.condition(LAKE, "Ready"),
        ("False".into(), "SecretKeyMissing".into())
    );
    world.fate = Fate::Works;
    world.settle().await;
    assert_eq!(world.condition(LAKE, "Ready").0, "True");
}

#[tokio::test]
async fn a_run_that_gets_no_pod_says_so() {
    let mut world = World::with_flow(&json!({}));
    world.fate = Fate::Hangs;
    world.settle().await;
    let message = |world: &World| world.get(LAKE)["status"]["conditions"][0]["message"].to_string();
    assert!(!message(&world).contains("waits for its pod"));
    world.pass(SignedDuration::from_secs(20));
    world.settle().await;
    let name = world.server.all("jobs")[0]["metadata"]["name"].clone();
    let name = name.as_str().unwrap();
    assert!(
        message(&world).contains(&format!("kubectl describe job {name}")),
        "{}",
        message(&world)
    );
    world.patch(&format!("{RUNS}/{name}"), &json!({ "status": { "active": 1 } }));
    world.settle().await;
    assert!(!message(&world).contains("waits for its pod"));
}

#[tokio::test]
async fn a_few_finished_jobs_are_kept() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    for token in 0..8 {
        world.annotate(LAKE, "full_load", &token.to_string());
        world.settle().await;
    }
    assert_eq!(world.executed.len(), 9);
    assert_eq!(world.server.all("jobs").len(), 3);
}

#[tokio::test]
async fn children_that_are_edited_or_deleted_are_put_back() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    let plan = format!("{MAPS}/{}", child("lake", "plan"));
    let role = format!(
        "apis/rbac.authorization.k8s.io/v1/namespaces/acme/roles/{}",
        child("lake", "worker")
    );
    let before = (
        world.get(&plan)["data"].clone(),
        world.get(&role)["rules"].clone(),
    );
    world.patch(
        &plan,
        &json!({ "data": { "plan.json": "{}" }, "metadata": { "labels": { "millrace.dev/flow": "x" } } }),
    );
    world.delete(&role);
    world.settle().await;
    assert_eq!(
        before,
        (
            world.get(&plan)["data"].clone(),
            world.get(&role)["rules"].clone()
        )
    );
    assert_eq!(
        world.get(&plan)["metadata"]["labels"]["millrace.dev/flow"],
        "lake"
    );
    assert_eq!(world.executed.len(), 1);
}

#[tokio::test]
async fn a_deleted_ledger_repeats_no_run() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    world.annotate(LAKE, "full_load", "a");
    world.settle().await;
    world.delete(&format!("{MAPS}/{}", child("lake", "triggers")));
    world.settle().await;
    assert_eq!(world.times("a"), 1);
    let runs: std::collections::BTreeSet<u64> = world.executed.iter().map(|run| run.run).collect();
    assert_eq!(
        runs.len(),
        world.executed.len(),
        "every run has a number of its own"
    );
}

#[tokio::test]
async fn a_job_that_somebody_deletes_is_made_again_under_its_name() {
    let mut world = World::with_flow(&json!({}));
    world.fate = Fate::Hangs;
    world.settle().await;
    let name = world.server.all("jobs")[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    world.delete(&format!("{RUNS}/{name}"));
    world.fate = Fate::Works;
    world.settle().await;
    assert_eq!(world.server.all("jobs")[0]["metadata"]["name"], name.as_str());
    assert_eq!(world.executed.len(), 1);
}

#[tokio::test]
async fn no_byte_of_a_secret_is_seen() {
    let mut world = World::with_flow(&json!({}));
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "shop-db" }, "stringData": { "password": "canary-7f3a" } });
    world.create("api/v1/namespaces/acme/secrets", &secret);
    world.settle().await;
    world.fate = Fate::Fails(Failure::new(
        "config",
        "SecretKeyMissing",
        "Secret shop-db has no key password",
        "",
    ));
    world.annotate(LAKE, "full_load", "a");
    world.settle().await;
    assert_eq!(
        world.server.violations(),
        Vec::<String>::new(),
        "the operator asks for no Secret"
    );
    assert_eq!(
        world.server.text().matches("canary-7f3a").count(),
        1,
        "it stands in the Secret alone"
    );
}
