//! The checks, one promise each.

use std::sync::Arc;

use arrow::{
    array::{AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use millrace_crds::flow::WriteMode::{self, Append, Overwrite, Upsert};
use serde_json::json;

use super::subjects::Subject;
use crate::{
    connector::{
        Op::{Delete, Insert, Update},
        Rows,
    },
    connectors::tests::ground::{Ground, Person, by_id, hashes, rows},
    error::ErrorKind,
    protocol::{Committed, Outcome},
};

const FIRST: [Person; 3] = [(1, "a", Insert), (2, "b", Insert), (3, "c", Insert)];

fn seen(people: &[(i64, &str)]) -> Vec<(i64, String)> {
    people
        .iter()
        .map(|(id, name)| (*id, (*name).to_owned()))
        .collect()
}

fn at(committed: Option<&Committed>) -> (u64, u64) {
    committed.map_or((0, 0), Committed::at)
}

pub(super) async fn an_older_epoch_cannot_fence(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Append).await;
    assert_eq!(at(ground.shard.last_committed().await.unwrap().as_ref()), (0, 0));
    assert_eq!(at(ground.shard.fence(5, "five").await.unwrap().as_ref()), (0, 0));
    let error = ground.shard.fence(4, "four").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fenced, "{error}");
    ground.shard.fence(5, "five").await.unwrap();
    ground.shard.fence(6, "six").await.unwrap();
    assert_eq!(ground.shard.last_committed().await.unwrap().unwrap().epoch, 6);
}

pub(super) async fn a_fence_says_what_was_committed_and_changes_nothing_when_repeated(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Append).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    let committed = ground.shard.last_committed().await.unwrap().unwrap();
    assert_eq!(&committed, permit.last());
    let repeated = ground.shard.fence(permit.epoch(), "late").await.unwrap().unwrap();
    assert_eq!(repeated.at(), (1, 1));
    assert_eq!(ground.shard.last_committed().await.unwrap().unwrap(), committed);
    let newer = ground
        .shard
        .fence(permit.epoch() + 1, "next")
        .await
        .unwrap()
        .unwrap();
    assert_eq!((newer.at(), newer.offset), (committed.at(), committed.offset));
}

pub(super) async fn an_older_permit_is_refused_and_changes_nothing(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Append).await;
    let mut older = ground.acquire().await.unwrap();
    ground.deliver(&mut older, &FIRST[..1]).await;
    let staged = ground.stage(&older, &FIRST[1..2]).await;
    // Taken over by a worker that has committed nothing yet: that alone must do.
    let mut newer = ground.acquire().await.unwrap();
    let commit = ground.next(&older, vec![staged], false);
    let outcome = ground.shard.commit(&older, &commit).await;
    assert!(matches!(outcome, Outcome::Fenced), "{outcome:?}");
    assert_eq!(subject.people(ground.shard.as_ref()).await, seen(&[(1, "a")]));
    let error = ground.commit_whole(&mut older, commit).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fenced, "{error}");
    assert!(older.check().is_err());
    ground.deliver(&mut newer, &FIRST[2..]).await;
    ground.shard.clean(&newer).await.unwrap();
    assert_eq!(
        subject.people(ground.shard.as_ref()).await,
        seen(&[(1, "a"), (3, "c")])
    );
}

pub(super) async fn staged_rows_are_invisible_until_they_are_committed(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    let staged = ground.stage(&permit, &FIRST).await;
    assert_eq!(staged.rows, 3);
    assert_eq!(subject.people(ground.shard.as_ref()).await, seen(&[]));
    assert!(ground.entries().await.is_empty());
    ground.commit(&mut permit, vec![staged], false).await.unwrap();
    let whole = seen(&[(1, "a"), (2, "b"), (3, "c")]);
    assert_eq!(subject.people(ground.shard.as_ref()).await, whole);
    drop(ground.stage(&permit, &[(2, "x", Update), (1, "", Delete)]).await);
    assert_eq!(subject.people(ground.shard.as_ref()).await, whole);
    assert_eq!(ground.entries().await.len(), 3);
}

pub(super) async fn an_append_that_is_sent_twice_counts_once(subject: &dyn Subject) {
    counts_once(subject, Append).await;
}

pub(super) async fn an_upsert_that_is_sent_twice_counts_once(subject: &dyn Subject) {
    counts_once(subject, Upsert).await;
}

pub(super) async fn an_overwrite_that_is_sent_twice_counts_once(subject: &dyn Subject) {
    counts_once(subject, Overwrite).await;
}

async fn counts_once(subject: &dyn Subject, mode: WriteMode) {
    let ground = Ground::open(subject.destination(), mode).await;
    let permit = ground.acquire().await.unwrap();
    let staged = ground.stage(&permit, &FIRST).await;
    let commit = ground.next(&permit, vec![staged], mode == Overwrite);
    let number = (commit.generation, commit.seq);
    let outcome = ground.shard.commit(&permit, &commit).await;
    assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
    let before = subject.people(ground.shard.as_ref()).await;
    // Done, or an answer after which the protocol reads back, and finds its own mark.
    let again = ground.shard.commit(&permit, &commit).await;
    assert!(
        matches!(again, Outcome::Done | Outcome::Fenced | Outcome::Unknown(_)),
        "{again:?}"
    );
    let found = ground.shard.last_committed().await.unwrap().unwrap();
    assert_eq!((&found.nonce, found.at()), (&commit.nonce, number));
    assert_eq!(subject.people(ground.shard.as_ref()).await, before);
    // The commit never reached the store: the next owner goes on from the destination.
    let mut next = ground.acquire().await.unwrap();
    assert_eq!((next.last().at(), &next.last().offset), (number, &commit.offset));
    ground.deliver(&mut next, &[(9, "z", Insert)]).await;
}

pub(super) async fn a_commit_out_of_order_is_not_applied(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Append).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST[..1]).await;
    let staged = ground.stage(&permit, &FIRST[1..]).await;
    let mut commit = ground.next(&permit, vec![staged], false);
    commit.seq += 1;
    let outcome = ground.shard.commit(&permit, &commit).await;
    assert!(!matches!(outcome, Outcome::Done), "{outcome:?}");
    assert_eq!(
        ground.shard.last_committed().await.unwrap().unwrap(),
        *permit.last()
    );
    assert_eq!(subject.people(ground.shard.as_ref()).await, seen(&[(1, "a")]));
}

pub(super) async fn what_was_committed_is_told_after_a_restart(subject: &dyn Subject) {
    let mut ground = Ground::open(subject.destination(), Append).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST[..1]).await;
    ground.deliver(&mut permit, &FIRST[1..]).await;
    let last = permit.last().clone();
    assert_eq!((last.at(), last.offset["text"].as_str()), ((1, 2), Some("ö\"\n")));
    ground.destination = subject.destination();
    let stream = crate::connectors::tests::ground::stream("orders", Append);
    ground.shard = ground.destination.shard(&ground.id, &stream).await.unwrap();
    assert_eq!(ground.shard.last_committed().await.unwrap(), Some(last.clone()));
    let next = ground.acquire().await.unwrap();
    assert_eq!((next.last().at(), &next.last().offset), (last.at(), &last.offset));
    assert!(next.epoch() > last.epoch);
}

pub(super) async fn appended_rows_are_added(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Append).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    ground
        .deliver(&mut permit, &[(2, "x", Update), (4, "d", Insert)])
        .await;
    let people = seen(&[(1, "a"), (2, "b"), (2, "x"), (3, "c"), (4, "d")]);
    assert_eq!(subject.people(ground.shard.as_ref()).await, people);
}

pub(super) async fn an_overwrite_swaps_the_whole_table_at_once(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Overwrite).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    let old = seen(&[(1, "a"), (2, "b"), (3, "c")]);
    let one = ground.stage(&permit, &[(7, "g", Insert)]).await;
    let two = ground.stage(&permit, &[(1, "z", Insert)]).await;
    assert_eq!(subject.people(ground.shard.as_ref()).await, old);
    ground.commit(&mut permit, vec![one, two], true).await.unwrap();
    assert_eq!(
        subject.people(ground.shard.as_ref()).await,
        seen(&[(1, "z"), (7, "g")])
    );
    assert_eq!(permit.last().at(), (2, 1));
}

pub(super) async fn an_overwrite_with_no_rows_leaves_an_empty_table(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Overwrite).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    let nothing = ground.stage(&permit, &[]).await;
    ground.commit(&mut permit, vec![nothing], true).await.unwrap();
    assert_eq!(subject.people(ground.shard.as_ref()).await, seen(&[]));
    ground.deliver(&mut permit, &FIRST[..1]).await;
    assert_eq!(subject.people(ground.shard.as_ref()).await, seen(&[(1, "a")]));
}

pub(super) async fn an_upsert_keeps_one_row_a_key(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    ground
        .deliver(
            &mut permit,
            &[(2, "x", Update), (3, "", Delete), (4, "d", Insert)],
        )
        .await;
    assert_eq!(
        subject.people(ground.shard.as_ref()).await,
        seen(&[(1, "a"), (2, "x"), (4, "d")])
    );
    ground
        .deliver(&mut permit, &[(3, "y", Insert), (2, "w", Update)])
        .await;
    assert_eq!(
        subject.people(ground.shard.as_ref()).await,
        seen(&[(1, "a"), (2, "w"), (3, "y"), (4, "d")])
    );
    ground
        .deliver(
            &mut permit,
            &[(1, "", Delete), (2, "", Delete), (3, "", Delete), (4, "", Delete)],
        )
        .await;
    assert_eq!(subject.people(ground.shard.as_ref()).await, seen(&[]));
    assert!(ground.entries().await.is_empty());
    ground.deliver(&mut permit, &FIRST).await;
    assert_eq!(subject.people(ground.shard.as_ref()).await.len(), 3);
}

/// As it comes where a transform makes the key: the stages of one commit are in no order.
pub(super) async fn a_key_that_one_row_leaves_and_another_takes_is_there(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    let dead = ground.dead(&[1, 2]).await;
    let taken = ground
        .stage(&permit, &[(1, "was 2", Insert), (2, "was 1", Insert)])
        .await;
    let left = ground.stage(&permit, &[(1, "", Delete), (2, "", Delete)]).await;
    let mut commit = ground.next(&permit, vec![taken, left], false);
    commit.dead = dead;
    ground.commit_whole(&mut permit, commit).await.unwrap();
    let people = seen(&[(1, "was 2"), (2, "was 1"), (3, "c")]);
    assert_eq!(subject.people(ground.shard.as_ref()).await, people);
    assert_eq!(
        ground
            .entries()
            .await
            .iter()
            .map(|(id, _)| *id)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

pub(super) async fn several_stages_are_one_commit(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    let mut staged = Vec::new();
    for person in &FIRST {
        staged.push(ground.stage(&permit, std::slice::from_ref(person)).await);
    }
    staged.push(ground.stage(&permit, &[]).await);
    ground.commit(&mut permit, staged, false).await.unwrap();
    assert_eq!(subject.people(ground.shard.as_ref()).await.len(), 3);
    assert_eq!((ground.entries().await.len(), permit.last().at()), (3, (1, 1)));
}

pub(super) async fn a_commit_without_rows_moves_the_offset_alone(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.commit(&mut permit, Vec::new(), false).await.unwrap();
    assert_eq!(subject.people(ground.shard.as_ref()).await.len(), 0);
    ground.deliver(&mut permit, &FIRST).await;
    ground.commit(&mut permit, Vec::new(), false).await.unwrap();
    assert_eq!(subject.people(ground.shard.as_ref()).await.len(), 3);
    assert_eq!(ground.entries().await.len(), 3);
    let committed = ground.shard.last_committed().await.unwrap().unwrap();
    assert_eq!(
        (committed.at(), &committed.offset["after"]),
        ((1, 3), &json!([1, 3]))
    );
}

pub(super) async fn new_columns_are_added(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Append).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST[..1]).await;
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("city", DataType::Utf8, true),
    ]);
    let (id, name) = (Int64Array::from(vec![2]), StringArray::from(vec!["b"]));
    let city = StringArray::from(vec!["Umeå"]);
    let batch = RecordBatch::try_new(
        Arc::new(schema),
        vec![Arc::new(id), Arc::new(name), Arc::new(city)],
    )
    .unwrap();
    let rows = Rows {
        hashes: Some(hashes(&batch)),
        batch,
        ops: None,
        identities: None,
    };
    let staged = ground
        .stage_rows(&permit, vec![rows], false, Some(by_id()))
        .await
        .unwrap();
    ground.commit(&mut permit, vec![staged], false).await.unwrap();
    assert_eq!(
        subject.people(ground.shard.as_ref()).await,
        seen(&[(1, "a"), (2, "b")])
    );
    let batches = subject.batches(ground.shard.as_ref()).await;
    let cities = batches.iter().filter_map(|batch| batch.column_by_name("city"));
    let cities: Vec<&str> = cities
        .flat_map(|column| column.as_string::<i32>().iter().flatten())
        .collect();
    assert_eq!(cities, ["Umeå"]);
}

pub(super) async fn the_index_is_what_was_delivered(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    ground.deliver(&mut permit, &FIRST).await;
    ground
        .deliver(&mut permit, &[(2, "x", Update), (3, "", Delete)])
        .await;
    ground
        .deliver(&mut permit, &[(4, "d", Insert), (1, "y", Update)])
        .await;
    let delivered = [(1, "y", Insert), (2, "x", Insert), (4, "d", Insert)];
    let expected: Vec<(i64, u128)> = [1, 2, 4]
        .into_iter()
        .zip(rows(&delivered).hashes.unwrap())
        .collect();
    assert_eq!(ground.entries().await, expected);
    let scratch = tempfile::tempdir().unwrap();
    assert_eq!(ground.index(scratch.path()).await.live(), 3);
}

pub(super) async fn many_rows_in_many_batches_are_all_there(subject: &dyn Subject) {
    let ground = Ground::open(subject.destination(), Upsert).await;
    let mut permit = ground.acquire().await.unwrap();
    let batch = |from: i64| -> Rows {
        rows(
            &(from..from + 7_000)
                .map(|id| (id, "n", Insert))
                .collect::<Vec<_>>(),
        )
    };
    let batches: Vec<Rows> = (0..20).map(|number| batch(number * 7_000)).collect();
    let staged = ground
        .stage_rows(&permit, batches, false, Some(by_id()))
        .await
        .unwrap();
    assert_eq!(staged.rows, 140_000);
    ground.commit(&mut permit, vec![staged], false).await.unwrap();
    ground
        .deliver(&mut permit, &[(139_999, "last", Update), (0, "", Delete)])
        .await;
    let people = subject.people(ground.shard.as_ref()).await;
    assert_eq!(
        (people.len(), people[0].0, people[139_998].1.as_str()),
        (139_999, 1, "last")
    );
    assert_eq!(ground.entries().await.len(), 139_999);
}

pub(super) async fn a_check_leaves_nothing_behind(subject: &dyn Subject) {
    let destination = subject.destination();
    destination.check().await.unwrap();
    let ground = Ground::open(destination, Append).await;
    assert_eq!(ground.shard.last_committed().await.unwrap(), None);
    assert!(ground.shard.files().await.unwrap().is_empty());
}
