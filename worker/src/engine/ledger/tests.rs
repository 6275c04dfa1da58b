//! The ledger in its store.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use millrace_crds::{flow::TriggerState, ledger::Annotated};

use super::Books;
use crate::{state::Objects, storage::cas::MemoryCas};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn flow(annotations: &[(&str, &str)]) -> Vec<Annotated> {
    let annotations: BTreeMap<String, String> = annotations
        .iter()
        .map(|(name, value)| (format!("millrace.dev/{name}"), (*value).to_owned()))
        .collect();
    vec![Annotated {
        object: "Flow/lake".to_owned(),
        uid: "uid-1".to_owned(),
        annotations,
    }]
}

#[tokio::test]
async fn two_processes_can_write_it() {
    let store = Arc::new(Objects::new(Arc::new(MemoryCas::default())));
    let books = || Books::new(store.clone(), "default/lake", "uid-1");
    assert_eq!(books().read().await.unwrap(), None);
    let token = |number: usize| flow(&[("full_load", "0"), (&format!("full_load_t{number}"), "1")]);
    books()
        .change(&flow(&[("full_load", "0")]), |_| ())
        .await
        .unwrap();
    let writes = (0..8).map(|number| async move {
        books()
            .change(&[], |ledger| ledger.look(&token(number), now()))
            .await
    });
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    let ledger = books().read().await.unwrap().unwrap();
    let waiting = ledger
        .entries
        .iter()
        .filter(|entry| entry.state == TriggerState::Waiting)
        .count();
    assert_eq!((waiting, ledger.entries.len()), (8, 9));
}
