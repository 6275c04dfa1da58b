//! Two operators at once, and a manifest that changes faster than it can be followed.

use futures::future::join;
use serde_json::json;

use super::crashes;
use super::world::World;

const LAKE: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/flows/lake";
const SHOP: &str = "apis/millrace.dev/v1alpha1/namespaces/acme/sources/shop";

#[tokio::test]
async fn two_operators_at_once_do_everything_once() {
    for seed in 0..12 {
        let mut world = World::with_flow(&json!({ "deletionPolicy": "Delete" }));
        world.server.shake(seed);
        world.second = Some(world.operator());
        crashes::live(&mut world).await;
        let outcome = crashes::outcome(&world);
        assert!(
            outcome.tokens.iter().all(|(_, times)| *times == 1),
            "{seed}: {outcome:?}"
        );
        assert_eq!(outcome.runs, 5, "{seed}");
        assert_eq!(world.condition(LAKE, "Ready").0, "True", "{seed}");
        assert_eq!(world.server.violations(), Vec::<String>::new(), "{seed}");
    }
}

#[tokio::test]
async fn a_token_that_comes_while_two_operators_look_runs_once() {
    for seed in 0..30 {
        let mut world = World::with_flow(&json!({}));
        world.settle().await;
        world.server.shake(seed);
        world.second = Some(world.operator());
        let mut chance = fastrand::Rng::with_seed(seed);
        let tokens: Vec<String> = (0..8).map(|number| format!("t{number}")).collect();
        for (number, token) in tokens.iter().enumerate() {
            let steps = chance.u8(0..80);
            let ask = async {
                for _ in 0..steps {
                    tokio::task::yield_now().await;
                }
                world.annotate([LAKE, SHOP][number % 2], "full_load", token);
            };
            join(world.operate(), ask).await;
            world.work();
        }
        world.settle().await;
        let times: Vec<usize> = tokens.iter().map(|token| world.times(token)).collect();
        // One that is written over before anybody sees it asks for nothing.
        assert!(times.iter().all(|times| *times <= 1), "{seed}: {times:?}");
        assert_eq!(times[6..], [1, 1], "{seed}");
    }
}

#[tokio::test]
async fn two_operators_make_one_set_of_workers() {
    for seed in 0..6 {
        let world = World::with_flow(&json!({ "mode": "Continuous" }));
        world.server.shake(seed);
        let mut world = world;
        world.second = Some(world.operator());
        world.settle().await;
        super::continuous::make_ready(&world);
        for fraction in [0.1, 0.2] {
            world.patch(LAKE, &json!({ "spec": { "maxDeleteFraction": fraction } }));
            world.settle().await;
            super::continuous::make_ready(&world);
            world.settle().await;
        }
        assert_eq!(world.server.all("statefulsets").len(), 1, "{seed}");
        assert_eq!(
            world.condition(LAKE, "Ready"),
            ("True".into(), "Running".into()),
            "{seed}"
        );
        assert_eq!(world.server.violations(), Vec::<String>::new(), "{seed}");
    }
}

#[tokio::test]
async fn of_a_hundred_changes_the_last_one_counts() {
    let mut world = World::with_flow(&json!({}));
    world.settle().await;
    world.server.shake(1);
    for change in 1..=100 {
        world.patch(
            LAKE,
            &json!({ "spec": { "maxDeleteFraction": f64::from(change) / 1000.0 } }),
        );
        if change % 9 == 0 {
            join(world.operate(), world.operate()).await;
        }
        if change == 50 {
            world.annotate(LAKE, "full_load", "a");
            world.work();
        }
    }
    world.settle().await;
    let path = format!(
        "{}/{}",
        super::world::MAPS,
        millrace_crds::channel::child("lake", "plan")
    );
    let plan = world.get(&path)["data"]["plan.json"].clone();
    let plan: serde_json::Value = serde_json::from_str(plan.as_str().unwrap()).unwrap();
    assert!(
        plan.to_string().contains("0.1") && !plan.to_string().contains("0.09"),
        "{plan}"
    );
    assert_eq!(plan["generation"], world.get(LAKE)["metadata"]["generation"]);
    assert_eq!(
        world.get(LAKE)["status"]["observedGeneration"],
        plan["generation"]
    );
    assert_eq!((world.times("a"), world.executed.len()), (1, 2));
    let runs: Vec<u64> = world.executed.iter().map(|run| run.run).collect();
    assert!(runs.is_sorted(), "one run after another: {runs:?}");
}
