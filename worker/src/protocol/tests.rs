//! Acquire and commit against a store and a destination that behave: what each situation leads to.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Claim, Commit, Committed, Epoch, Outcome, Permit, ShardId, acquire, commit, nonce, note};
use crate::{
    backoff::Backoff,
    connector::{Authority, Shard, Stage, StageRequest, Staged},
    error::{Error, ErrorKind, Result},
    state::{HARD_LIMIT, Objects, Run, Store, admin},
    storage::cas::{CasStore, MemoryCas},
};

/// A destination with one row of state, as a database would keep it.
#[derive(Default)]
struct Table(Mutex<Option<Committed>>);

impl Table {
    fn put(&self, committed: Option<Committed>) {
        *self.0.lock().unwrap() = committed;
    }
}

#[async_trait]
impl Shard for Table {
    async fn last_committed(&self) -> Result<Option<Committed>> {
        Ok(self.0.lock().unwrap().clone())
    }
    async fn fence(&self, epoch: Epoch, nonce: &str) -> Result<Option<Committed>> {
        let mut row = self.0.lock().unwrap();
        let row = row.get_or_insert_with(|| Committed::nothing(0, nonce));
        if row.epoch > epoch {
            return Err(Error::fenced("a greater epoch"));
        }
        row.epoch = epoch;
        Ok(Some(row.clone()))
    }
    async fn stage(&self, _permit: &Permit, _request: StageRequest) -> Result<Box<dyn Stage>> {
        Err(Error::bug("nothing is staged"))
    }
    async fn commit(&self, permit: &Permit, commit: &Commit) -> Outcome {
        let mut row = self.0.lock().unwrap();
        let (generation, seq) = row.as_ref().map_or((0, 0), Committed::at);
        let next = if commit.replace {
            (generation + 1, 1)
        } else {
            (generation.max(1), seq + 1)
        };
        if row.as_ref().is_some_and(|row| row.epoch != permit.epoch())
            || (commit.generation, commit.seq) != next
        {
            return Outcome::Fenced;
        }
        *row = Some(Committed {
            epoch: permit.epoch(),
            generation: commit.generation,
            seq: commit.seq,
            offset: commit.offset.clone(),
            nonce: commit.nonce.clone(),
        });
        Outcome::Done
    }
}

struct Ground {
    place: Arc<MemoryCas>,
    store: Objects,
    table: Table,
    id: ShardId,
}

impl Ground {
    fn new() -> Self {
        let place = Arc::new(MemoryCas::default());
        let id = ShardId {
            state: "default/flow".to_owned(),
            stream: "t".to_owned(),
        };
        Self {
            store: Objects::new(place.clone()),
            place,
            table: Table::default(),
            id,
        }
    }

    async fn acquire(&self, uid: &str) -> Result<Permit> {
        self.acquire_as(uid, None, Authority::Destination).await
    }

    async fn acquire_as(&self, uid: &str, adopt: Option<&str>, authority: Authority) -> Result<Permit> {
        let claim = Claim {
            flow_uid: uid.to_owned(),
            owner: format!("test {}", nonce()),
            run: run(),
            adopt: adopt.map(str::to_owned),
            authority,
            backoff: Backoff {
                tries: 2,
                first: Duration::ZERO,
                most: Duration::ZERO,
            },
        };
        acquire(&self.store, &self.table, &self.id, claim).await
    }

    async fn commit(&self, permit: &mut Permit, offset: Value, replace: bool) -> Result<()> {
        let (generation, seq) = permit.next(replace);
        let staged = vec![Staged {
            rows: 1,
            ..Staged::default()
        }];
        let dead = BTreeMap::new();
        let whole = Commit {
            generation,
            seq,
            nonce: nonce(),
            offset,
            staged,
            dead,
            replace,
        };
        commit(permit, &self.store, &self.table, whole, &run()).await
    }

    /// A flow that has committed `1.1` to `1.count`, with offsets of the same numbers.
    async fn with_commits(count: u64) -> Self {
        let ground = Self::new();
        let mut permit = ground.acquire("uid").await.unwrap();
        for number in 1..=count {
            ground.commit(&mut permit, json!(number), false).await.unwrap();
        }
        ground
    }
}

fn run() -> Run {
    Run {
        id: "run".to_owned(),
        cause: "delta".to_owned(),
    }
}

fn reason<T>(result: Result<T>) -> &'static str {
    match result {
        Ok(_) => "",
        Err(error) => error.reason,
    }
}

#[tokio::test]
async fn a_new_flow_begins_with_nothing_and_a_next_one_goes_on() {
    let ground = Ground::new();
    let mut first = ground.acquire("uid").await.unwrap();
    assert_eq!(
        (first.epoch(), first.last().at(), first.next(true)),
        (1, (0, 0), (1, 1))
    );
    ground.commit(&mut first, json!("a"), false).await.unwrap();
    ground.commit(&mut first, json!("b"), true).await.unwrap();
    let second = ground.acquire("uid").await.unwrap();
    assert_eq!(
        (second.epoch(), second.last().at(), &second.last().offset),
        (2, (2, 1), &json!("b"))
    );
    let record = admin::show(&ground.store, &ground.id).await.unwrap();
    let causes: Vec<&str> = record
        .history
        .iter()
        .map(|revision| revision.run.cause.as_str())
        .collect();
    assert_eq!(causes, ["acquire", "delta", "delta", "acquire"]);
}

#[tokio::test]
async fn an_older_worker_is_refused_at_the_destination_and_commits_no_more() {
    let ground = Ground::with_commits(1).await;
    let mut older = ground.acquire("uid").await.unwrap();
    let mut newer = ground.acquire("uid").await.unwrap();
    assert_eq!(
        ground
            .commit(&mut older, json!("x"), false)
            .await
            .unwrap_err()
            .kind,
        ErrorKind::Fenced
    );
    assert_eq!(older.check().unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(
        ground
            .commit(&mut older, json!("x"), false)
            .await
            .unwrap_err()
            .kind,
        ErrorKind::Fenced
    );
    ground.commit(&mut newer, json!("y"), false).await.unwrap();
    assert_eq!(
        ground.table.last_committed().await.unwrap().unwrap().offset,
        json!("y")
    );
}

#[tokio::test]
async fn a_worker_overtaken_after_its_commit_has_committed_and_is_fenced_for_the_next() {
    let ground = Ground::with_commits(1).await;
    let mut older = ground.acquire("uid").await.unwrap();
    // A newer worker has raised the epoch in the store and has not fenced yet.
    let (mut record, version) = ground.store.load(&ground.id).await.unwrap().unwrap();
    (record.epoch, record.nonce) = (record.epoch + 1, nonce());
    ground.store.swap(&ground.id, &record, &version).await.unwrap();
    ground.commit(&mut older, json!("x"), false).await.unwrap();
    assert_eq!(
        ground
            .commit(&mut older, json!("y"), false)
            .await
            .unwrap_err()
            .kind,
        ErrorKind::Fenced
    );
    assert_eq!(ground.acquire("uid").await.unwrap().last().offset, json!("x"));
}

#[tokio::test]
async fn missing_state_stops_the_flow_and_is_never_zero() {
    let ground = Ground::with_commits(2).await;
    let key = ground.place.list("").await.unwrap().remove(0);
    ground.place.remove(&key).await.unwrap();
    assert_eq!(reason(ground.acquire("uid").await), "StateLost");
    let there = ground.table.last_committed().await.unwrap().unwrap();
    admin::take_over(&ground.store, &ground.id, "uid", there, "hand")
        .await
        .unwrap();
    let permit = ground.acquire("uid").await.unwrap();
    assert_eq!((permit.epoch(), permit.last().at()), (2, (1, 2)));
}

#[tokio::test]
async fn state_that_is_removed_during_the_run_stops_it() {
    let ground = Ground::with_commits(1).await;
    let mut permit = ground.acquire("uid").await.unwrap();
    let key = ground.place.list("").await.unwrap().remove(0);
    ground.place.remove(&key).await.unwrap();
    assert_eq!(
        reason(ground.commit(&mut permit, json!(2), false).await),
        "StateLost"
    );
    assert!(ground.place.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_destination_emptied_during_the_run_is_no_fence() {
    let ground = Ground::with_commits(1).await;
    let mut permit = ground.acquire("uid").await.unwrap();
    ground.table.put(None);
    assert_eq!(
        reason(ground.commit(&mut permit, json!(2), false).await),
        "StateLost"
    );
}

#[tokio::test]
async fn another_flow_takes_state_over_only_when_told_so() {
    let ground = Ground::with_commits(1).await;
    let error = ground.acquire("other").await.unwrap_err();
    assert_eq!(error.reason, "StateOwnedByOther");
    assert!(error.advice.unwrap().contains("adopt-state: uid"));
    assert_eq!(
        reason(
            ground
                .acquire_as("other", Some("wrong"), Authority::Destination)
                .await
        ),
        "StateOwnedByOther"
    );
    ground
        .acquire_as("other", Some("uid"), Authority::Destination)
        .await
        .unwrap();
    ground.acquire("other").await.unwrap();
    assert_eq!(reason(ground.acquire("uid").await), "StateOwnedByOther");
}

#[tokio::test]
async fn a_destination_that_is_ahead_is_adopted_with_a_greater_epoch() {
    let ground = Ground::with_commits(1).await;
    let ahead = Committed {
        epoch: 40,
        generation: 1,
        seq: 7,
        offset: json!("far"),
        nonce: nonce(),
    };
    ground.table.put(Some(ahead));
    let permit = ground.acquire("uid").await.unwrap();
    assert_eq!(
        (permit.epoch(), permit.last().at(), &permit.last().offset),
        (41, (1, 7), &json!("far"))
    );
    assert_eq!(
        admin::show(&ground.store, &ground.id)
            .await
            .unwrap()
            .committed
            .at(),
        (1, 7)
    );
}

#[tokio::test]
async fn a_destination_that_was_restored_or_emptied_stops_the_flow_until_a_person_decides() {
    for restored in [
        None,
        Some(Committed {
            epoch: 1,
            generation: 1,
            seq: 2,
            offset: json!(2),
            nonce: nonce(),
        }),
    ] {
        let ground = Ground::with_commits(3).await;
        ground.table.put(restored.clone());
        let error = ground.acquire("uid").await.unwrap_err();
        assert_eq!(error.reason, "StateDiverged");
        assert!(error.advice.unwrap().contains("millrace state reset"));
        if restored.is_some() {
            admin::restore(&ground.store, &ground.id, (1, 2), "hand")
                .await
                .unwrap();
            assert_eq!(ground.acquire("uid").await.unwrap().last().offset, json!(2));
        } else {
            admin::reset(&ground.store, &ground.id, "hand").await.unwrap();
            let mut permit = ground.acquire("uid").await.unwrap();
            assert_eq!(
                (permit.last().at(), &permit.last().offset),
                ((0, 0), &Value::Null)
            );
            ground.commit(&mut permit, json!("anew"), false).await.unwrap();
        }
        ground.acquire("uid").await.unwrap();
    }
}

#[tokio::test]
async fn a_persons_offset_counts_until_the_next_commit() {
    let ground = Ground::with_commits(3).await;
    admin::set(&ground.store, &ground.id, json!("set"), "hand")
        .await
        .unwrap();
    // A run that dies before its first commit uses nothing up.
    assert_eq!(ground.acquire("uid").await.unwrap().last().offset, json!("set"));
    let mut permit = ground.acquire("uid").await.unwrap();
    assert_eq!(
        (permit.last().at(), &permit.last().offset),
        ((1, 3), &json!("set"))
    );
    ground.commit(&mut permit, json!("after"), false).await.unwrap();
    let permit = ground.acquire("uid").await.unwrap();
    assert_eq!(
        (permit.last().at(), &permit.last().offset),
        ((1, 4), &json!("after"))
    );
}

#[tokio::test]
async fn a_change_during_a_run_stops_it_and_counts_for_the_next() {
    let ground = Ground::with_commits(1).await;
    let mut permit = ground.acquire("uid").await.unwrap();
    admin::set(&ground.store, &ground.id, json!("set"), "hand")
        .await
        .unwrap();
    assert_eq!(
        reason(ground.commit(&mut permit, json!("run"), false).await),
        "StateEdited"
    );
    assert_eq!(reason(permit.check()), "StateEdited");
    let permit = ground.acquire("uid").await.unwrap();
    assert_eq!(
        (permit.last().at(), &permit.last().offset),
        ((1, 2), &json!("set"))
    );
}

#[tokio::test]
async fn too_large_an_offset_is_refused_before_anything_is_sent() {
    let ground = Ground::with_commits(1).await;
    let mut permit = ground.acquire("uid").await.unwrap();
    let large = json!("x".repeat(HARD_LIMIT));
    assert_eq!(
        reason(ground.commit(&mut permit, large, false).await),
        "StateTooLarge"
    );
    assert_eq!(ground.table.last_committed().await.unwrap().unwrap().at(), (1, 1));
    ground.commit(&mut permit, json!("small"), false).await.unwrap();
}

#[tokio::test]
async fn the_ledger_outlives_commits_and_owners() {
    let ground = Ground::new();
    let mut permit = ground.acquire("uid").await.unwrap();
    note(&mut permit, &ground.store, json!({"token": 1}))
        .await
        .unwrap();
    ground.commit(&mut permit, json!(1), false).await.unwrap();
    assert_eq!(
        ground.acquire("uid").await.unwrap().ledger(),
        &json!({"token": 1})
    );
    assert_eq!(
        note(&mut permit, &ground.store, json!(2)).await.unwrap_err().kind,
        ErrorKind::Fenced
    );
}

#[tokio::test]
async fn commits_come_in_order() {
    let ground = Ground::with_commits(1).await;
    let mut permit = ground.acquire("uid").await.unwrap();
    let (staged, dead) = (Vec::new(), BTreeMap::new());
    let skips = Commit {
        generation: 1,
        seq: 5,
        nonce: nonce(),
        offset: json!(5),
        staged,
        dead,
        replace: false,
    };
    let error = commit(&mut permit, &ground.store, &ground.table, skips, &run())
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Bug);
    assert_eq!(ground.table.last_committed().await.unwrap().unwrap().at(), (1, 1));
}

#[tokio::test]
async fn where_the_store_decides_an_older_worker_delivers_nothing_at_all() {
    let ground = Ground::new();
    let mut older = ground.acquire_as("uid", None, Authority::Store).await.unwrap();
    ground.acquire_as("uid", None, Authority::Store).await.unwrap();
    ground.table.put(None);
    assert_eq!(
        ground.commit(&mut older, json!(1), false).await.unwrap_err().kind,
        ErrorKind::Fenced
    );
    assert_eq!(ground.table.last_committed().await.unwrap(), None);
}
