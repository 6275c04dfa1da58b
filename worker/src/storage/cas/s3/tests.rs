use std::sync::Arc;

use bytes::Bytes;

use super::{
    super::{Cas, CasStore, Version},
    fake::{self, Fault, Shared},
};
use crate::{
    backoff::Backoff,
    error::ErrorKind,
    protocol::ShardId,
    state::{Objects, Record, Store, Written, write},
};

const KEY: &str = "a/HEAD.json";

fn told(shared: &Shared, faults: &[Fault]) {
    shared.lock().unwrap().script.extend(faults);
}

fn requests(shared: &Shared) -> usize {
    shared.lock().unwrap().requests.len()
}

async fn swap_with(fault: Fault) -> (Cas, Bytes, usize) {
    let (store, shared) = fake::start().await;
    let Cas::Done(version) = store.create(KEY, Bytes::from_static(b"old")).await.unwrap() else {
        panic!()
    };
    told(&shared, &[fault]);
    let before = requests(&shared);
    let answer = store
        .swap(KEY, Bytes::from_static(b"new"), &version)
        .await
        .unwrap();
    let sent = requests(&shared) - before;
    (answer, store.read(KEY).await.unwrap().unwrap().0, sent)
}

#[tokio::test]
async fn an_answer_that_settles_nothing_is_unknown_and_sent_once() {
    for (fault, content) in [
        (Fault::ApplyThenCut, "new"),
        (Fault::ApplyThen500, "new"),
        (Fault::SlowDown, "old"),
        (Fault::ConcurrentRequest, "old"),
    ] {
        let (answer, found, sent) = swap_with(fault).await;
        assert!(matches!(answer, Cas::Unknown(_)), "{fault:?}: {answer:?}");
        assert_eq!(
            (found, sent),
            (Bytes::from_static(content.as_bytes()), 1),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn refusals_are_conflicts_and_a_missing_key_is_found_missing() {
    let (store, _) = fake::start().await;
    assert_eq!(
        store
            .swap(KEY, Bytes::from_static(b"x"), &Version("\"7\"".to_owned()))
            .await
            .unwrap(),
        Cas::Conflict
    );
    assert_eq!(store.read(KEY).await.unwrap(), None);
    store.create(KEY, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(
        store.create(KEY, Bytes::from_static(b"y")).await.unwrap(),
        Cas::Conflict
    );
}

/// Whatever happens to the request, the writer learns that its own write is there: never a false conflict.
#[tokio::test]
async fn a_record_that_was_written_without_an_answer_is_recognised() {
    let faults = [
        Fault::None,
        Fault::ApplyThenCut,
        Fault::ApplyThen500,
        Fault::SlowDown,
        Fault::ConcurrentRequest,
        Fault::Twice,
    ];
    for first in faults {
        for second in faults {
            let (place, told_to) = fake::start().await;
            let store = Objects::new(Arc::new(place));
            let id = ShardId {
                state: "default/flow".to_owned(),
                stream: "t".to_owned(),
            };
            let backoff = Backoff {
                tries: 3,
                first: std::time::Duration::ZERO,
                most: std::time::Duration::ZERO,
            };
            told(&told_to, &[first]);
            let record = Record::first("uid", "me", 1);
            let created = write(&store, &id, &record, None, &backoff).await.unwrap();
            let Written::Ours(version) = created else {
                panic!("{first:?}: {created:?}")
            };
            told(&told_to, &[second]);
            let next = Record::first("uid", "me", 2);
            let swapped = write(&store, &id, &next, Some(&version), &backoff).await.unwrap();
            assert!(
                matches!(swapped, Written::Ours(_)),
                "{first:?}, {second:?}: {swapped:?}"
            );
            assert_eq!(store.load(&id).await.unwrap().unwrap().0.epoch, 2);
        }
    }
}

#[tokio::test]
async fn plain_reads_are_tried_again_and_in_the_end_transient() {
    let (store, shared) = fake::start().await;
    store.create(KEY, Bytes::from_static(b"x")).await.unwrap();
    shared.lock().unwrap().failing_gets = 2;
    assert!(store.read(KEY).await.unwrap().is_some());
    shared.lock().unwrap().failing_gets = 3;
    assert_eq!(store.read(KEY).await.unwrap_err().kind, ErrorKind::Transient);
}

#[tokio::test]
async fn the_probe_finds_a_server_that_ignores_the_headers() {
    let (store, shared) = fake::start().await;
    store.probe().await.unwrap();
    assert!(shared.lock().unwrap().objects.is_empty());
    shared.lock().unwrap().always = Some(Fault::IgnoreCondition);
    assert_eq!(
        store.probe().await.unwrap_err().reason,
        "ConditionalWritesIgnored"
    );
}

#[tokio::test]
async fn no_server_is_transient_for_reads_and_unknown_for_writes() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let store = fake::client(&format!("http://{unused}")).await;
    let error = store.read(KEY).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transient);
    assert!(error.message.contains("s3://bucket/state/a/HEAD.json"), "{error}");
    assert!(!error.message.contains("not-a-real-key"), "{error}");
    assert!(matches!(
        store.create(KEY, Bytes::from_static(b"x")).await.unwrap(),
        Cas::Unknown(_)
    ));
}
