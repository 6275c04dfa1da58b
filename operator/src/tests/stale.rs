//! An operator that starts from an old view of everything, however old: what it writes then harms nothing, and once it
//! sees how things are, they are as before.

use millrace_crds::channel::child;
use serde_json::{Value, json};

use super::crashes;
use super::world::{FLOWS, MAPS, World, flow};

const LAKE: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/flows/lake";

/// A new operator works once by each old view, and then by the truth.
async fn look_back<T: std::fmt::Debug + PartialEq>(world: &mut World, outcome: impl Fn(&World) -> T) {
    let (wanted, runs) = (outcome(world), world.executed.len());
    for changes in 0..=world.server.changes() {
        world.server.show_past(changes);
        world.restart();
        world.operate_by_view().await;
        world.server.accept();
        world.settle().await;
        assert_eq!(outcome(world), wanted, "after {changes} changes");
        assert_eq!(world.executed.len(), runs, "after {changes} changes");
        assert_eq!(
            world.server.violations(),
            Vec::<String>::new(),
            "after {changes} changes"
        );
    }
}

#[tokio::test]
async fn an_old_view_of_a_live_flow_repeats_nothing() {
    let mut world = World::with_flow(&json!({ "deletionPolicy": "Delete" }));
    crashes::live(&mut world).await;
    let wanted = crashes::outcome(&world);
    assert!(wanted.tokens.iter().all(|(_, times)| *times == 1), "{wanted:?}");
    look_back(&mut world, crashes::outcome).await;
}

#[tokio::test]
async fn an_old_value_of_an_annotation_is_no_news() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    for token in ["a", "b", "c"] {
        world.annotate(LAKE, "full_load", token);
        world.settle().await;
    }
    let tokens = |world: &World| ["a", "b", "c"].map(|token| world.times(token));
    assert_eq!(tokens(&world), [1, 1, 1]);
    look_back(&mut world, tokens).await;
}

/// UIDs of all that belongs to a Flow which was deleted and made again.
fn of_the_new_one(world: &World) -> Vec<Value> {
    let uid = |path: &str| world.get(path)["metadata"]["uid"].clone();
    let maps = ["plan", "triggers", "report", "state"].map(|name| format!("{MAPS}/{}", child("lake", name)));
    let mut all: Vec<Value> = maps.iter().map(|path| uid(path)).collect();
    all.push(uid(LAKE));
    all.extend(
        world
            .server
            .all("roles")
            .iter()
            .map(|role| role["metadata"]["uid"].clone()),
    );
    all.push(json!(world.condition(LAKE, "Ready").0));
    all
}

#[tokio::test]
async fn an_old_view_of_a_deletion_touches_nothing_of_the_flow_made_again() {
    for policy in ["Retain", "Delete"] {
        let mut world = World::with_flow(&json!({ "deletionPolicy": policy }));
        world.settle().await;
        world.delete(LAKE);
        world.settle().await;
        world.create(FLOWS, &flow(&json!({ "deletionPolicy": policy })));
        world.settle().await;
        look_back(&mut world, of_the_new_one).await;
    }
}

#[tokio::test]
async fn an_old_view_of_workers_stops_none() {
    let mut world = super::continuous::running().await;
    let set = |world: &World| {
        let sets = world.server.all("statefulsets");
        (
            sets.len(),
            sets[0]["metadata"]["uid"].clone(),
            world.server.all("pods").len(),
        )
    };
    let spec = world.server.all("statefulsets")[0]["spec"].clone();
    look_back(&mut world, set).await;
    assert_eq!(world.server.all("statefulsets")[0]["spec"], spec);
}
