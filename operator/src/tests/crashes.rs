//! The operator breaks off at its n-th write, for every n, before the write and after it: what comes of it is the same.

use std::collections::BTreeSet;
use std::fmt::Debug;

use jiff::SignedDuration;
use millrace_crds::channel::child;
use serde_json::{Value, json};

use super::api::Break;
use super::continuous::{make_ready, running, tell_success, template};
use super::world::{Fate, JOBS, MAPS, SOURCES, World, flow, source};

const LAKE: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/flows/lake";
const SHOP: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/sources/shop";

/// Lives through the same with a crash at each write, before it and after it; gives back how many writes there were.
async fn sweep<T: Debug + PartialEq>(
    start: impl AsyncFn() -> World,
    live: impl AsyncFn(&mut World),
    outcome: impl Fn(&World) -> T,
) -> (T, usize) {
    let mut world = start().await;
    let before = world.server.writes();
    live(&mut world).await;
    let (wanted, writes) = (outcome(&world), world.server.writes() - before);
    assert_eq!(world.server.violations(), Vec::<String>::new());
    for n in 1..=writes {
        for at in [Break::Before(n), Break::After(n)] {
            let mut world = start().await;
            world.server.break_at(at);
            live(&mut world).await;
            assert_eq!(outcome(&world), wanted, "{at:?}");
            assert_eq!(world.server.violations(), Vec::<String>::new(), "{at:?}");
        }
    }
    (wanted, writes)
}

/// All objects, but for the Jobs of runs: their names hold a UID.
fn places(world: &World) -> BTreeSet<String> {
    let of_run = |place: &String| place.contains("/jobs/lake-") || place.contains("/jobs/once-");
    let forget = child("lake", "forget");
    let all = world.server.places().into_iter();
    all.filter(|place| !of_run(place) || place.contains(&forget))
        .collect()
}

/// What is the same, however it came about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    places: BTreeSet<String>,
    pub(super) runs: usize,
    pub(super) tokens: Vec<(String, usize)>,
    states: Vec<String>,
    ready: (String, String),
    job: (String, String),
}

/// A Flow is made, triggered in three ways, edited, and given a Job.
pub(super) async fn live(world: &mut World) {
    world.settle().await;
    world.annotate(LAKE, "full_load", "a");
    world.settle().await;
    world.annotate(SHOP, "delta_load_users", "b");
    world.annotate(LAKE, "full_load", "c");
    world.settle().await;
    let job = json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "Job", "metadata": { "name": "again" },
        "spec": { "flow": { "name": "lake" }, "load": "Full" },
    });
    world.create(JOBS, &job);
    world.pass(SignedDuration::from_mins(1));
    world.settle().await;
    world.patch(LAKE, &json!({ "spec": { "maxDeleteFraction": 0.25 } }));
    world.settle().await;
}

pub(super) fn outcome(world: &World) -> Outcome {
    let uid = world.get(&format!("{JOBS}/again"))["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    let status = world.get(LAKE)["status"]["triggers"].clone();
    let tokens = ["a".to_owned(), "b".to_owned(), "c".to_owned(), uid];
    Outcome {
        places: places(world),
        runs: world.executed.len(),
        tokens: tokens
            .iter()
            .map(|token| (token.clone(), world.times(token)))
            .filter(|(token, _)| token.len() < 3)
            .collect(),
        states: status
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["state"].to_string())
            .collect(),
        ready: world.condition(LAKE, "Ready"),
        job: world.condition(&format!("{JOBS}/again"), "Succeeded"),
    }
}

#[tokio::test]
async fn a_crash_at_any_write_repeats_nothing_and_loses_nothing() {
    let start = async || World::with_flow(&json!({ "deletionPolicy": "Delete" }));
    let (wanted, writes) = sweep(start, live, outcome).await;
    assert!(wanted.tokens.iter().all(|(_, times)| *times == 1), "{wanted:?}");
    assert_eq!(wanted.job.0, "True");
    assert!(writes > 30, "{writes}");
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_deletion_leaves_nothing() {
    let start = async || {
        let mut world = World::with_flow(&json!({ "deletionPolicy": "Delete" }));
        world.settle().await;
        world
    };
    let live = async |world: &mut World| {
        world.delete(LAKE);
        world.settle().await;
    };
    let (left, writes) = sweep(start, live, |world| world.server.places()).await;
    assert!(
        writes >= 2 && !left.iter().any(|place| place.contains("/lake")),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_deletion_in_s3_leaves_nothing() {
    let start = async || {
        let flow = json!({ "deletionPolicy": "Delete", "state": { "s3": { "bucket": "b" } } });
        let mut world = World::with_flow(&flow);
        world.settle().await;
        world
    };
    let live = async |world: &mut World| {
        world.delete(LAKE);
        world.settle().await;
    };
    let (left, writes) = sweep(start, live, places).await;
    assert!(
        writes >= 3 && !left.iter().any(|place| place.contains("/lake")),
        "{left:?}"
    );
}

/// Workers that go on: a trigger, a change that does not work, and one that does.
async fn go_on(world: &mut World) {
    world.settle().await;
    make_ready(world);
    world.settle().await;
    world.annotate(LAKE, "full_load", "a");
    world.settle().await;
    tell_success(world, 1);
    world.settle().await;
    world.fate = Fate::Dies;
    world.patch(LAKE, &json!({ "spec": { "maxDeleteFraction": 0.1 } }));
    world.settle().await;
    world.fate = Fate::Works;
    world.patch(LAKE, &json!({ "spec": { "maxDeleteFraction": 0.2 } }));
    world.settle().await;
    make_ready(world);
    world.settle().await;
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_continuous_flow_changes_nothing() {
    let start = async || World::with_flow(&json!({ "mode": "Continuous" }));
    let outcome = |world: &World| {
        let plan = world.get(&format!("{MAPS}/{}", child("lake", "plan")))["data"].clone();
        let triggers = world.get(LAKE)["status"]["triggers"].clone();
        let triggers: Vec<[Value; 3]> = triggers
            .as_array()
            .unwrap()
            .iter()
            .map(|one| [one["token"].clone(), one["state"].clone(), one["rows"].clone()])
            .collect();
        let tried = plan["plan.json"].as_str().unwrap().contains("0.2") && plan["trial.json"].is_null();
        (
            places(world),
            world.condition(LAKE, "Ready"),
            triggers,
            template(world),
            tried,
        )
    };
    let (wanted, writes) = sweep(start, go_on, outcome).await;
    assert_eq!(wanted.1, ("True".into(), "Running".into()));
    assert_eq!(wanted.2, [[json!("a"), json!("Succeeded"), json!(7)]]);
    assert!(wanted.4 && writes > 20, "{writes}");
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_discovery_changes_nothing() {
    let start = async || {
        let world = World::new();
        let mut source = source();
        source["spec"]["streams"] = json!([{ "match": ".*" }]);
        world.create(SOURCES, &source);
        world
    };
    let live = async |world: &mut World| {
        world.settle().await;
        world.patch(SHOP, &json!({ "spec": { "connection": { "host": "other" } } }));
        world.settle().await;
    };
    let outcome = |world: &World| {
        let status = world.get(SHOP)["status"].clone();
        let streams = status["streams"].as_array().unwrap().iter();
        let streams: Vec<Value> = streams.map(|stream| stream["name"].clone()).collect();
        (world.server.places(), world.condition(SHOP, "Ready"), streams)
    };
    let (wanted, writes) = sweep(start, live, outcome).await;
    assert_eq!(wanted.1, ("True".into(), "Discovered".into()));
    assert_eq!(wanted.2, ["users", "orders"]);
    assert!(writes > 10, "{writes}");
}

#[tokio::test]
async fn a_crash_at_any_write_of_a_job_runs_it_once() {
    let start = async || {
        let world = World::new();
        world.create(SOURCES, &source());
        let template =
            json!({ "flowTemplate": { "spec": flow(&json!({}))["spec"] }, "load": "Full", "ttl": "1h" });
        let job = json!({
            "apiVersion": "millrace.dev/v1alpha1", "kind": "Job", "metadata": { "name": "once" }, "spec": template,
        });
        world.create(JOBS, &job);
        world
    };
    let once = format!("{JOBS}/once");
    let live = async |world: &mut World| {
        world.settle().await;
        assert_eq!(world.condition(&once, "Succeeded").0, "True");
        world.pass(SignedDuration::from_hours(2));
        world.settle().await;
    };
    let (wanted, writes) = sweep(start, live, |world| (places(world), world.executed.len())).await;
    assert!(!wanted.0.contains(&once), "its ttl has passed");
    assert_eq!(wanted.1, 1);
    assert!(writes > 8, "{writes}");
}

#[tokio::test]
async fn workers_that_ran_before_a_crash_are_found_again() {
    let mut world = running().await;
    let set = world.server.all("statefulsets")[0]["metadata"]["uid"].clone();
    world.restart();
    world.settle().await;
    assert_eq!(world.server.all("statefulsets")[0]["metadata"]["uid"], set);
}
