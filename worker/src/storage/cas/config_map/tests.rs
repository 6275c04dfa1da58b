//! The promises about state in a `ConfigMap`, where the API server fails or somebody else writes.

use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use millrace_crds::channel::{FLOW_LABEL, FLOW_UID_ANNOTATION, LIMIT, labels};

use super::{super::tests::contract, Cas, CasStore, ConfigMapCas, Version};
use crate::{
    cluster::api::fake::{Fake, Fault},
    error::ErrorKind,
    state::Objects,
};

const NAME: &str = "lake-0123456789-state";

/// As the operator makes it.
fn made(uid: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(NAME.to_owned());
    map.metadata.namespace = Some("acme".to_owned());
    map.metadata.labels = Some(labels(FLOW_LABEL, "lake", "state"));
    map.annotations_mut()
        .insert(FLOW_UID_ANNOTATION.to_owned(), uid.to_owned());
    map
}

fn ground() -> (Fake, ConfigMapCas) {
    let fake = Fake::default();
    fake.put(made("uid-1"));
    let store = ConfigMapCas::new(fake.maps(), NAME, "uid-1", None);
    (fake, store)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn done(cas: Cas) -> Version {
    match cas {
        Cas::Done(version) => version,
        other => panic!("not done: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_keeps_the_contract() {
    contract(Arc::new(ground().1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_in_a_config_map_keeps_the_contract() {
    crate::state::tests::contract(Arc::new(ground().1)).await;
}

#[tokio::test]
async fn writers_of_several_pods_do_not_lose_each_others_entries() {
    let (fake, _) = ground();
    let pods = (0..4).map(|pod| {
        let store = ConfigMapCas::new(fake.maps(), NAME, "uid-1", None);
        async move {
            let key = format!("s/{pod}/HEAD.json");
            let mut version = done(store.create(&key, bytes("0")).await.unwrap());
            for round in 1..=5 {
                let next = bytes(&format!("{pod} {round}"));
                version = done(store.swap(&key, next, &version).await.unwrap());
            }
        }
    });
    futures::future::join_all(pods).await;
    let store = ConfigMapCas::new(fake.maps(), NAME, "uid-1", None);
    for pod in 0..4 {
        let (found, _) = store.read(&format!("s/{pod}/HEAD.json")).await.unwrap().unwrap();
        assert_eq!(found, format!("{pod} 5"));
    }
    assert_eq!(store.read_all("s/").await.unwrap().len(), 4);
}

#[tokio::test]
async fn another_entry_in_between_is_no_conflict() {
    let (fake, store) = ground();
    let version = done(store.create("a", bytes("1")).await.unwrap());
    fake.state()
        .script
        .extend([Fault::Other, Fault::Answer(409), Fault::None]);
    done(store.swap("a", bytes("2"), &version).await.unwrap());
    let map = fake.get(NAME).unwrap();
    assert_eq!(map.data.unwrap()["other"], "writer");
    assert_eq!(map.binary_data.unwrap().len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_entry_tells() {
    let (fake, store) = ground();
    for (fault, applied) in [
        (Fault::ApplyThenCut, true),
        (Fault::ApplyThen500, true),
        (Fault::Cut, false),
    ] {
        let key = format!("{fault:?}");
        fake.state().script.push_back(fault);
        let answer = store.create(&key, bytes("mine")).await.unwrap();
        assert!(matches!(answer, Cas::Unknown(_)), "{fault:?}: {answer:?}");
        assert_eq!(store.read(&key).await.unwrap().is_some(), applied, "{fault:?}");
    }
}

#[tokio::test]
async fn what_is_surely_not_applied_is_an_error() {
    let (fake, store) = ground();
    for (code, kind) in [
        (403, ErrorKind::Config),
        (422, ErrorKind::Config),
        (429, ErrorKind::Transient),
        (401, ErrorKind::Transient),
    ] {
        fake.state().script.push_back(Fault::Answer(code));
        let error = store.create("a", bytes("1")).await.unwrap_err();
        assert_eq!(error.kind, kind, "{code}: {error}");
        assert!(error.message.contains("acme/lake-"), "{error}");
    }
    assert_eq!(store.read("a").await.unwrap(), None);
}

#[tokio::test]
async fn reads_are_tried_again_and_ask_for_the_newest() {
    let (fake, store) = ground();
    fake.state().failing_gets = 3;
    assert_eq!(store.read("a").await.unwrap(), None);
    let requests = fake.state().requests.clone();
    assert_eq!(requests.len(), 4);
    assert!(
        requests.iter().all(|query| !query.contains("resourceVersion")),
        "{requests:?}"
    );
}

#[tokio::test]
async fn a_missing_config_map_is_lost_and_not_empty() {
    let (fake, store) = ground();
    let version = done(store.create("a", bytes("1")).await.unwrap());
    fake.delete(NAME);
    let errors = [
        store.read("a").await.unwrap_err(),
        store.create("b", bytes("1")).await.unwrap_err(),
        store.swap("a", bytes("1"), &version).await.unwrap_err(),
        store.list("").await.unwrap_err(),
        store.probe().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.kind, error.reason), (ErrorKind::State, "StateLost"));
    }
    assert!(fake.get(NAME).is_none(), "a worker never makes one");
}

#[tokio::test]
async fn one_that_vanishes_between_look_and_write_is_lost_too() {
    let (fake, store) = ground();
    fake.state().script.push_back(Fault::Answer(404));
    assert_eq!(
        store.create("a", bytes("1")).await.unwrap_err().reason,
        "StateLost"
    );
}

#[tokio::test]
async fn one_that_was_made_again_is_not_written_by_what_was_read_of_the_old() {
    let (fake, store) = ground();
    let version = done(store.create("a", bytes("1")).await.unwrap());
    fake.put(made("uid-1"));
    assert_eq!(
        store.swap("a", bytes("2"), &version).await.unwrap(),
        Cas::Conflict
    );
}

#[tokio::test]
async fn a_foreign_config_map_is_refused_until_it_is_adopted() {
    let (fake, store) = ground();
    done(store.create("a", bytes("1")).await.unwrap());
    let other = |adopt| ConfigMapCas::new(fake.maps(), NAME, "uid-2", adopt);
    let error = other(None).read("a").await.unwrap_err();
    assert_eq!(
        (error.kind, error.reason),
        (ErrorKind::State, "StateOwnedByOther")
    );
    assert!(error.advice.unwrap().contains("millrace.dev/adopt-state: uid-1"));
    assert!(other(Some("uid-0")).read("a").await.is_err());
    let adopter = other(Some("uid-1"));
    let (_, version) = adopter.read("a").await.unwrap().unwrap();
    done(adopter.swap("a", bytes("2"), &version).await.unwrap());
    assert_eq!(
        fake.get(NAME).unwrap().annotations()[FLOW_UID_ANNOTATION],
        "uid-2"
    );
    assert_eq!(
        store.read("a").await.unwrap_err().reason,
        "StateOwnedByOther",
        "the one before has lost it"
    );
}

#[tokio::test]
async fn a_config_map_of_somebody_else_is_never_written() {
    let (fake, store) = ground();
    let mut map = made("uid-1");
    map.metadata.labels = None;
    fake.put(map);
    let error = store.create("a", bytes("1")).await.unwrap_err();
    assert_eq!(error.reason, "StateOwnedByOther");
    assert!(error.message.contains("none of Millrace's"), "{error}");
    let mut map = made("uid-1");
    map.metadata.annotations = None;
    fake.put(map);
    assert_eq!(store.read("a").await.unwrap_err().reason, "StateOwnedByOther");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_it_is_sent() {
    let (fake, store) = ground();
    // Random, so that it cannot be packed.
    let chunk = || {
        let marks = (0..30_000).map(|_| uuid::Uuid::new_v4().into_bytes());
        Bytes::from(marks.collect::<Vec<_>>().concat())
    };
    done(store.create("a", chunk()).await.unwrap());
    let sent = fake.state().requests.len();
    let error = store.create("b", chunk()).await.unwrap_err();
    assert_eq!((error.kind, error.reason), (ErrorKind::State, "StateTooLarge"));
    assert!(error.advice.unwrap().contains("S3"));
    assert_eq!(
        fake.state().requests.len(),
        sent + 1,
        "it was read, and not written"
    );
    const { assert!(LIMIT < 1024 * 1024) };
}

#[tokio::test]
async fn the_history_of_a_state_is_read_at_once() {
    let (fake, store) = ground();
    let store = Objects::new(Arc::new(store));
    crate::state::tests::some_records(&store, 5).await;
    let sent = fake.state().requests.len();
    let found = crate::state::Store::load_all(&store, "default/Shop_to-lake")
        .await
        .unwrap();
    assert_eq!(found.len(), 5);
    assert_eq!(fake.state().requests.len(), sent + 1);
}
