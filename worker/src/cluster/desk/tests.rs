//! The promises about a Flow of a cluster, looked at from a desk.

use serde_json::json;

use super::{Desk, annotate};
use crate::{
    cluster::{
        api::fake::Fake,
        run::{run, tests::Ground},
    },
    state::admin,
};

const FLOWS: &str = "/apis/millrace.dev/v1alpha1/namespaces/default/flows";

fn flow(fake: &Fake, name: &str) {
    let object = json!({
        "apiVersion": "millrace.dev/v1alpha1", "kind": "Flow",
        "metadata": { "name": name, "namespace": "default", "uid": "u", "annotations": { "a": "b" } },
        "spec": { "source": { "name": "s" }, "destination": { "connector": { "name": "memory" } } },
    });
    fake.state().objects.insert(format!("{FLOWS}/{name}"), object);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_flow_is_seen_and_changed() {
    let ground = Ground::new();
    flow(&ground.fake, "f");
    ground.trigger("full_load");
    run(&ground.pod, "f", 1).await.unwrap();
    let desk = Desk::open(ground.fake.client(), "default", "f").await.unwrap();
    assert_eq!(desk.reports().await.unwrap().len(), 1);
    assert_eq!(desk.ledger().await.unwrap().at_work(), [1]);
    let store = desk.store().await.unwrap();
    assert!(
        store.place().starts_with("ConfigMap default/f-"),
        "{}",
        store.place()
    );
    let shards = store.list(Some(&desk.doc.plan.state.id)).await.unwrap();
    assert_eq!(shards.len(), 1);
    admin::reset(store.as_ref(), &shards[0], "desk").await.unwrap();
    let record = admin::show(store.as_ref(), &shards[0]).await.unwrap();
    assert!(record.edit.unwrap().is_reset());
    let opened = desk.flow().await.unwrap();
    assert_eq!(opened.streams(&[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_flow_that_is_not_there_or_has_no_plan_is_told() {
    let ground = Ground::new();
    let open = |name| Desk::open(ground.fake.client(), "default", name);
    let error = open("none").await.err().unwrap();
    assert_eq!(error.reason, "NotFound");
    assert!(error.message.contains("no Flow default/none"), "{error}");
    flow(&ground.fake, "new");
    let error = open("new").await.err().unwrap();
    assert!(error.advice.unwrap().contains("kubectl describe flow new"));
}

#[tokio::test]
async fn a_trigger_is_an_annotation() {
    let ground = Ground::new();
    flow(&ground.fake, "f");
    let key = "millrace.dev/full_load";
    let set = |object| annotate(ground.fake.client(), "default", object, key, "7");
    set(("flow", "f")).await.unwrap();
    let annotations = ground.fake.state().objects[&format!("{FLOWS}/f")]["metadata"]["annotations"].clone();
    assert_eq!(annotations, json!({ "a": "b", key: "7" }));
    assert_eq!(set(("flow", "none")).await.unwrap_err().reason, "NotFound");
    assert!(set(("job", "f")).await.is_err());
}
