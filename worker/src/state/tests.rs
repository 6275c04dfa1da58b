//! One contract for every back-end of the state, and what administration promises.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Cas, HARD_LIMIT, HISTORY, Objects, Record, Run, Store, Version, admin,
    codec::{decode, encode},
};
use crate::{
    error::ErrorKind,
    protocol::{Committed, ShardId, nonce},
    storage::{
        Storage,
        cas::{CasStore, DirectoryCas, MemoryCas, tests::s3},
    },
};

fn shard(stream: &str) -> ShardId {
    ShardId {
        state: "default/Shop_to-lake".to_owned(),
        stream: stream.to_owned(),
    }
}

fn record(seq: u64, offset: Value) -> Record {
    let mut record = Record::first("uid", "me", 3);
    record.committed = Committed {
        epoch: 3,
        generation: 1,
        seq,
        offset,
        nonce: nonce(),
    };
    record.revise(
        &Run {
            id: format!("run-{seq}"),
            cause: "delta".to_owned(),
        },
        record.committed.clone(),
    );
    record
}

fn done(cas: Cas) -> Version {
    match cas {
        Cas::Done(version) => version,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn contract(place: Arc<dyn CasStore>) {
    let store = Objects::new(place.clone());
    let id = shard("public.Users");
    store.probe().await.unwrap();
    assert!(store.load(&id).await.unwrap().is_none());
    let first = record(
        1,
        json!({"z": 1, "a": [1.5, "é", null], "exact": 0.1, "deep": {"cursor": "2026-01-01"}}),
    );
    let version = done(store.create(&id, &first).await.unwrap());
    assert_eq!(store.create(&id, &first).await.unwrap(), Cas::Conflict);
    assert_eq!(store.load(&id).await.unwrap().unwrap(), (first, version.clone()));
    let second = record(2, json!(7));
    done(store.swap(&id, &second, &version).await.unwrap());
    assert_eq!(
        store.swap(&id, &record(3, json!(8)), &version).await.unwrap(),
        Cas::Conflict
    );
    assert_eq!(store.load(&id).await.unwrap().unwrap().0, second);
    names_stay_apart(&store, &id).await;
    damage_is_seen(&store, &place, &id).await;
}

/// Records of so many streams.
pub(crate) async fn some_records(store: &Objects, streams: u32) {
    for stream in 0..streams {
        let id = shard(&format!("t{stream}"));
        done(store.create(&id, &record(1, json!(stream))).await.unwrap());
    }
}

async fn names_stay_apart(store: &Objects, id: &ShardId) {
    let long = "x".repeat(400);
    let names = [
        "public.users",
        "a/b",
        "../up",
        "",
        "ÄÖ",
        &long,
        &format!("{long}y"),
    ];
    for name in names {
        done(store.create(&shard(name), &record(1, json!(name))).await.unwrap());
    }
    for name in names {
        assert_eq!(
            store
                .load(&shard(name))
                .await
                .unwrap()
                .unwrap()
                .0
                .committed
                .offset,
            json!(name)
        );
    }
    let other = ShardId {
        state: "default/shop".to_owned(),
        stream: "t".to_owned(),
    };
    done(store.create(&other, &record(1, json!(0))).await.unwrap());
    let mut expected: Vec<ShardId> = names.iter().map(|name| shard(name)).chain([id.clone()]).collect();
    expected.sort();
    assert_eq!(store.list(Some(&id.state)).await.unwrap(), expected);
    assert_eq!(store.list(None).await.unwrap().len(), expected.len() + 1);
    let all = store.load_all(&id.state).await.unwrap();
    let loaded: Vec<ShardId> = all.iter().map(|(shard, _)| shard.clone()).collect();
    assert_eq!(loaded, expected);
    assert!(all.iter().all(|(_, record)| record.is_ok()));
}

async fn damage_is_seen(store: &Objects, place: &Arc<dyn CasStore>, id: &ShardId) {
    let key = place
        .list("")
        .await
        .unwrap()
        .into_iter()
        .find(|key| key.contains("_55sers"))
        .unwrap();
    let (whole, version) = place.read(&key).await.unwrap().unwrap();
    let text = String::from_utf8(whole.to_vec()).unwrap();
    let damaged = text.replace("\"seq\":2", "\"seq\":1");
    done(place.swap(&key, damaged.into(), &version).await.unwrap());
    let error = store.load(id).await.unwrap_err();
    assert_eq!((error.kind, error.reason), (ErrorKind::State, "StateCorrupt"));
    assert!(
        error.advice.as_ref().unwrap().contains("millrace state set"),
        "{error}"
    );
    admin::set(store, id, json!({"from": 9}), "hand").await.unwrap();
    let repaired = admin::show(store, id).await.unwrap();
    assert_eq!(
        (repaired.committed.seq, repaired.edit.unwrap().offset),
        (1, json!({"from": 9}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn state_in_memory_keeps_the_contract() {
    contract(Arc::new(MemoryCas::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_in_a_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    contract(Arc::new(DirectoryCas::new(directory.path()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_on_an_s3_server_keeps_the_contract() {
    if let Some(place) = s3("millrace-state").await {
        contract(Arc::new(place)).await;
    }
}

#[test]
fn no_byte_can_change_unseen() {
    let id = shard("t");
    let bytes = encode(&id, &record(1, json!({"a": 1}))).unwrap();
    assert!(decode(&id, &bytes).is_ok());
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        let error = decode(&id, &damaged).unwrap_err();
        assert!(
            ["StateCorrupt", "StateTooNew"].contains(&error.reason),
            "{place}: {error}"
        );
        assert!(decode(&id, &bytes[..place]).is_err());
    }
}

#[test]
fn the_record_of_another_shard_is_not_ours() {
    let bytes = encode(&shard("one"), &record(1, json!(1))).unwrap();
    let error = decode(&shard("two"), &bytes).unwrap_err();
    assert_eq!(error.reason, "StateCorrupt");
    assert!(error.message.contains("one"), "{error}");
}

#[test]
fn a_newer_layout_is_refused_and_not_called_damaged() {
    let id = shard("t");
    let newer = Record {
        v: 2,
        ..record(1, json!(1))
    };
    assert_eq!(
        decode(&id, &encode(&id, &newer).unwrap()).unwrap_err().reason,
        "StateTooNew"
    );
    assert_eq!(
        decode(&id, br#"{"v":3,"sum":"other","body":{}}"#)
            .unwrap_err()
            .reason,
        "StateTooNew"
    );
}

#[test]
fn a_large_record_gives_up_history_first_and_is_refused_at_the_limit() {
    let id = shard("t");
    let mut large = record(1, json!("x".repeat(100_000)));
    for seq in 2..=9 {
        large.committed.seq = seq;
        large.revise(
            &Run {
                id: "r".to_owned(),
                cause: "full".to_owned(),
            },
            large.committed.clone(),
        );
    }
    let back = decode(&id, &encode(&id, &large).unwrap()).unwrap();
    assert!(!back.history.is_empty() && back.history.len() < large.history.len());
    assert_eq!(back.committed, large.committed);
    let error = encode(&id, &record(1, json!("x".repeat(HARD_LIMIT)))).unwrap_err();
    assert_eq!((error.kind, error.reason), (ErrorKind::State, "StateTooLarge"));
}

#[test]
fn the_last_revisions_are_kept_and_idle_owners_share_one() {
    let mut history = Record::first("uid", "me", 1);
    for seq in 1..=30 {
        let committed = Committed {
            epoch: 1,
            generation: 1,
            seq,
            offset: json!(seq),
            nonce: nonce(),
        };
        history.revise(
            &Run {
                id: "r".to_owned(),
                cause: "delta".to_owned(),
            },
            committed,
        );
    }
    assert_eq!(history.history.len(), HISTORY);
    assert_eq!(history.history[0].committed.seq, 30);
    for run in 0..10 {
        let committed = history.history[0].committed.clone();
        history.revise(
            &Run {
                id: format!("idle-{run}"),
                cause: "acquire".to_owned(),
            },
            committed,
        );
    }
    assert_eq!(
        (
            history.history[0].run.id.as_str(),
            history.history[1].committed.seq
        ),
        ("idle-9", 30)
    );
    assert_eq!(history.history[2].committed.seq, 29);
}

async fn with_history() -> (Objects, ShardId) {
    let (store, id) = (Objects::new(Arc::new(MemoryCas::default())), shard("t"));
    let mut last = record(1, json!({"at": 1}));
    for seq in 2..=4 {
        last.committed = Committed {
            seq,
            offset: json!({ "at": seq }),
            ..last.committed.clone()
        };
        last.revise(
            &Run {
                id: format!("run-{seq}"),
                cause: "delta".to_owned(),
            },
            last.committed.clone(),
        );
    }
    done(store.create(&id, &last).await.unwrap());
    (store, id)
}

#[tokio::test]
async fn a_person_sets_restores_and_resets_the_offset() {
    let (store, id) = with_history().await;
    let set = admin::set(&store, &id, json!({"at": 77}), "p1").await.unwrap();
    assert_eq!(set.edit.unwrap().offset, json!({"at": 77}));
    let restored = admin::restore(&store, &id, (1, 2), "p2")
        .await
        .unwrap()
        .edit
        .unwrap();
    assert_eq!((restored.offset, restored.at), (json!({"at": 2}), Some((1, 2))));
    let reset = admin::reset(&store, &id, "p3").await.unwrap();
    assert!(reset.edit.as_ref().unwrap().is_reset());
    assert_eq!((reset.epoch, reset.committed.seq), (3, 4));
    let causes: Vec<String> = admin::history(&store, &id)
        .await
        .unwrap()
        .into_iter()
        .map(|revision| revision.run.cause)
        .collect();
    assert_eq!(
        causes,
        ["reset", "restore", "set", "delta", "delta", "delta", "delta"]
    );
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let (store, id) = with_history().await;
    let error = admin::show(&store, &shard("other")).await.unwrap_err();
    assert!(error.reason == "StateNotFound" && error.advice.unwrap().contains(":t"));
    let error = admin::restore(&store, &id, (1, 9), "p").await.unwrap_err();
    assert_eq!(error.advice.unwrap(), "it has 1.4, 1.3, 1.2, 1.1");
    assert!(
        admin::set(&store, &id, Value::Null, "p")
            .await
            .unwrap_err()
            .advice
            .unwrap()
            .contains("reset")
    );
}

#[tokio::test]
async fn a_missing_record_is_made_from_the_destination_and_no_other_is_replaced() {
    let (store, id) = with_history().await;
    let there = Committed {
        epoch: 9,
        generation: 2,
        seq: 5,
        offset: json!("d"),
        nonce: nonce(),
    };
    assert!(
        admin::take_over(&store, &id, "uid", there.clone(), "p")
            .await
            .is_err()
    );
    let taken = admin::take_over(&store, &shard("lost"), "uid", there.clone(), "p")
        .await
        .unwrap();
    assert_eq!((taken.epoch, taken.committed), (9, there));
}

#[tokio::test]
async fn files_go_with_their_record_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let files = Storage::directory(directory.path());
    let store = Objects::new(Arc::new(MemoryCas::default())).with_files(files.clone());
    for name in ["a", "b"] {
        let shard = shard(name);
        store.create(&shard, &Record::first("1", "pod", 1)).await.unwrap();
        let own = store.files(&shard).unwrap().unwrap();
        own.put("segments/1-1-1/0.index", Bytes::from("entries"))
            .await
            .unwrap();
    }

    store.remove(&shard("a")).await.unwrap();

    let left = files.list("").await.unwrap();
    assert_eq!(left.len(), 1);
    assert!(left[0].key.contains("/b/"), "{left:?}");
    assert_eq!(store.list(None).await.unwrap(), [shard("b")]);
}
