//! The controllers as they run, with watches that fail in all the ways in which watches fail: what comes of it is the
//! same, and nobody is asked without end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_crds::channel::child;
use serde_json::json;
use tokio::task::JoinHandle;

use super::api::Watching;
use super::api::request::failure;
use super::continuous::{make_ready, tell_success};
use super::world::{FLOWS, JOBS, MAPS, SOURCES, World, flow, source};
use crate::controllers;

const LAKE: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/flows/lake";
const SHOP: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/sources/shop";
const ROLES: &str = "apis/rbac.authorization.k8s.io/v1/namespaces/acme/roles";

/// How long anything may take: watches that failed wait before they try again.
const PATIENCE: Duration = Duration::from_mins(1);

/// A world whose operator runs by itself.
struct Live {
    world: World,
    operator: JoinHandle<()>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.operator.abort();
    }
}

impl Live {
    fn new(world: World) -> Self {
        let operator = tokio::spawn(controllers::run(Arc::new(world.operator())));
        Self { world, operator }
    }

    /// A new operator takes the place of this one.
    fn restart(&mut self) {
        self.operator.abort();
        self.operator = tokio::spawn(controllers::run(Arc::new(self.world.operator())));
    }

    /// Workers do their work until something holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&World) -> bool) {
        let start = Instant::now();
        loop {
            self.world.work();
            if holds(&self.world) {
                return;
            }
            let status = self.world.server.all("flows");
            assert!(start.elapsed() < PATIENCE, "{what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Until nothing is asked for any more, but by watches.
    async fn quiet(&mut self) {
        let start = Instant::now();
        loop {
            let before = (self.asked().len(), self.world.server.writes());
            for _ in 0..10 {
                self.world.work();
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            if before == (self.asked().len(), self.world.server.writes()) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "it is never quiet");
        }
    }

    /// What was read by name.
    fn asked(&self) -> Vec<String> {
        let mut asked = self.world.server.reads();
        asked.retain(|asked| asked.starts_with("GET"));
        asked
    }

    fn check(&self) {
        assert_eq!(self.world.server.violations(), Vec::<String>::new());
    }
}

fn ready(world: &World) -> bool {
    world.condition(LAKE, "Ready").0 == "True" && world.condition(LAKE, "LastRunSucceeded").0 == "True"
}

fn deaf() -> Watching {
    Watching {
        silent: true,
        ..Watching::default()
    }
}

/// Nothing of what happened meanwhile can be told.
fn forgetful() -> Watching {
    Watching {
        forgets: true,
        ..Watching::default()
    }
}

#[tokio::test]
async fn what_nobody_watched_is_made_good() {
    let mut live = Live::new(World::with_flow(&json!({})));
    live.until("it is loaded", ready).await;
    live.quiet().await;
    let role = format!("{ROLES}/{}", child("lake", "worker"));
    let plan = format!("{MAPS}/{}", child("lake", "plan"));
    live.world.server.watching(deaf());
    live.world.delete(&role);
    live.world.patch(&plan, &json!({ "data": { "plan.json": "{}" } }));
    live.world.annotate(LAKE, "full_load", "a");
    // Made and deleted between two looks.
    let mut brief = flow(&json!({}));
    brief["metadata"]["name"] = json!("brief");
    live.world.create(FLOWS, &brief);
    live.world.delete(&format!("{FLOWS}/brief"));
    live.world.server.watching(forgetful());
    let mended = |world: &World| {
        let there = world.server.places().contains(&role);
        there && world.get(&plan)["data"]["plan.json"] != "{}" && world.times("a") == 1
    };
    live.until("all of it is mended", mended).await;
    live.quiet().await;
    assert!(
        !live
            .world
            .server
            .places()
            .iter()
            .any(|place| place.contains("brief"))
    );
    assert_eq!(live.world.executed.len(), 2);
    live.check();
}

#[tokio::test]
async fn a_flow_made_again_while_nobody_watched_is_another() {
    let mut live = Live::new(World::with_flow(&json!({})));
    live.until("it is loaded", ready).await;
    live.quiet().await;
    live.world.server.watching(deaf());
    live.world.delete(LAKE);
    live.world.create(FLOWS, &flow(&json!({})));
    let uid = live.world.get(LAKE)["metadata"]["uid"].clone();
    live.world.server.watching(forgetful());
    live.until("the new one is loaded", ready).await;
    live.quiet().await;
    let maps = live.world.server.all("configmaps");
    let owned = maps
        .iter()
        .filter_map(|map| map["metadata"]["ownerReferences"][0].get("uid"));
    assert!(
        owned
            .into_iter()
            .all(|owner| *owner == uid || live.world.get(SHOP)["metadata"]["uid"] == *owner)
    );
    assert_eq!(live.world.executed.len(), 2);
    live.check();
}

#[tokio::test]
async fn watches_that_close_forget_and_repeat_change_nothing() {
    for forgets in [false, true] {
        let mut live = Live::new(World::with_flow(&json!({})));
        let life = Some(Duration::from_secs(1));
        live.world.server.watching(Watching {
            life,
            twice: true,
            forgets,
            silent: false,
        });
        live.restart();
        live.until("it is loaded", ready).await;
        for token in ["a", "b", "c"] {
            let path = if token == "b" { SHOP } else { LAKE };
            live.world.annotate(path, "full_load", token);
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        // A watch that is told each time that its past is gone waits longer and longer.
        live.world.server.watching(Watching {
            life,
            twice: true,
            ..Watching::default()
        });
        let done = |world: &World| ["a", "b", "c"].iter().all(|token| world.times(token) == 1);
        live.until("each token has run", done).await;
        live.quiet().await;
        let (asked, writes, reads) = (
            live.asked().len(),
            live.world.server.writes(),
            live.world.server.reads().len(),
        );
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(live.world.server.writes(), writes, "{forgets}");
        let again = live.asked().len() - asked;
        assert!(
            again <= 8,
            "watches are made anew, and nobody looks for that: {again} requests"
        );
        // Some twenty watches, each made anew once a second.
        let anew = live.world.server.reads().len() - reads;
        assert!(anew < 200, "{anew} lists and watches in three seconds");
        live.check();
    }
}

#[tokio::test]
async fn a_kind_that_is_away_for_a_while_is_watched_again() {
    let mut live = Live::new(World::with_flow(&json!({})));
    live.until("it is loaded", ready).await;
    live.quiet().await;
    live.world.server.trouble(|asked| {
        let gone = asked.collection.ends_with("/flows") && !asked.status;
        gone.then(|| {
            failure(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )
        })
    });
    live.world.server.watching(forgetful());
    live.world.annotate(SHOP, "full_load", "a");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = live.world.server.reads().len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(
        live.world.server.reads().len() - asked < 60,
        "it is asked for now and then"
    );
    live.world.server.accept();
    live.world.annotate(LAKE, "full_load", "b");
    live.until("both tokens have run", |world| {
        world.times("a") == 1 && world.times("b") == 1
    })
    .await;
    live.check();
}

#[tokio::test]
async fn what_is_refused_is_not_asked_for_in_a_loop() {
    let mut live = Live::new(World::with_flow(&json!({})));
    live.world
        .server
        .refuse("/serviceaccounts", 403, "serviceaccounts is forbidden");
    live.until("it is told", |world| {
        world.condition(LAKE, "Ready").1 == "Refused"
    })
    .await;
    live.quiet().await;
    let before = live.world.server.writes();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(live.world.server.writes() - before <= 3);
    live.check();
}

#[tokio::test]
async fn a_worker_that_tells_of_its_run_is_heard_at_once() {
    let mut live = Live::new(World::with_flow(&json!({ "mode": "Continuous" })));
    live.until("workers are made", |world| {
        !world.server.all("statefulsets").is_empty()
    })
    .await;
    live.quiet().await;
    make_ready(&live.world);
    live.until("it is ready", |world| {
        world.condition(LAKE, "Ready").1 == "Running"
    })
    .await;
    live.world.annotate(LAKE, "full_load", "a");
    let state = |world: &World| world.get(LAKE)["status"]["triggers"][0]["state"].clone();
    live.until("it is begun", |world| state(world) == "Running").await;
    tell_success(&live.world, 1);
    let start = Instant::now();
    live.until("it is over", |world| state(world) == "Succeeded")
        .await;
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    live.check();
}

/// The requests that a Flow costs for which nothing is to be done.
#[tokio::test]
async fn a_flow_with_nothing_to_do_costs_few_requests_and_no_write() {
    let mut live = Live::new(World::with_flow(&json!({})));
    live.until("it is loaded", ready).await;
    live.quiet().await;
    let plan = format!("{MAPS}/{}", child("lake", "plan"));
    let before = live.world.get(&plan);
    let (asked, writes) = (live.asked().len(), live.world.server.writes());
    // News for the controller, and for nobody else.
    live.world
        .patch(LAKE, &json!({ "metadata": { "annotations": { "note": "a" } } }));
    live.quiet().await;
    assert_eq!(live.world.get(&plan), before);
    let asked = live.asked().split_off(asked);
    assert!(!asked.is_empty() && asked.len() <= 7, "{asked:#?}");
    assert_eq!(live.world.server.writes_since(writes), Vec::<String>::new());
}

/// A thousand Flows in the large are measured on a real API server; here is what each of them costs.
#[tokio::test]
async fn a_restart_looks_at_each_flow_once_or_twice_and_writes_nothing() {
    const FLOWS_IN_ALL: usize = 60;
    let world = World::new();
    world.create(SOURCES, &source());
    for number in 0..FLOWS_IN_ALL {
        let mut flow = flow(&json!({}));
        flow["metadata"]["name"] = json!(format!("lake-{number}"));
        world.create(FLOWS, &flow);
    }
    let mut live = Live::new(world);
    let all_ready = |world: &World| {
        let names = (0..FLOWS_IN_ALL).map(|number| format!("{FLOWS}/lake-{number}"));
        names
            .into_iter()
            .all(|path| world.condition(&path, "LastRunSucceeded").0 == "True")
    };
    live.until("all are loaded", all_ready).await;
    live.quiet().await;
    let (asked, writes) = (live.asked().len(), live.world.server.writes());
    live.restart();
    live.quiet().await;
    let asked = live.asked().len() - asked;
    assert!(asked <= FLOWS_IN_ALL * 25, "{asked} requests");
    assert!(asked >= FLOWS_IN_ALL, "each was looked at: {asked}");
    assert_eq!(live.world.server.writes_since(writes), Vec::<String>::new());
}

#[tokio::test]
async fn jobs_run_once_whatever_becomes_of_watches() {
    let mut live = Live::new(World::with_flow(&json!({})));
    let life = Some(Duration::from_secs(1));
    live.world.server.watching(Watching {
        life,
        twice: true,
        forgets: false,
        silent: false,
    });
    live.until("it is loaded", ready).await;
    let job = json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "Job", "metadata": { "name": "again" },
        "spec": { "flow": { "name": "lake" }, "load": "Full" },
    });
    live.world.create(JOBS, &job);
    let path = format!("{JOBS}/again");
    live.until("it is done", |world| {
        world.condition(&path, "Succeeded").0 == "True"
    })
    .await;
    live.quiet().await;
    assert_eq!(live.world.executed.len(), 2);
    live.check();
}
