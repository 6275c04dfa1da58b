//! What a person does to state: look, set, restore, reset, take over. Each change is one compare-and-swap.
//!
//! A change of the offset is noted as an [`Edit`] beside what was committed: the next worker goes on from it, and its
//! first commit ends it. The epoch stays; a worker at work meanwhile notices at its next write and stops.

use serde_json::Value;

use super::{Edit, Record, Revision, Run, Store, Written, write};
use crate::{
    backoff::Backoff,
    error::{Error, Result},
    protocol::{Committed, ShardId, nonce},
};

/// The record of a shard.
///
/// # Errors
/// `StateNotFound`, naming what there is instead; `StateCorrupt`, `StateTooNew`.
pub async fn show(store: &dyn Store, shard: &ShardId) -> Result<Record> {
    match store.load(shard).await? {
        Some((record, _)) => Ok(record),
        None => Err(not_found(store, shard).await),
    }
}

/// The last revisions of a shard, newest first.
///
/// # Errors
/// As [`show`].
pub async fn history(store: &dyn Store, shard: &ShardId) -> Result<Vec<Revision>> {
    Ok(show(store, shard).await?.history)
}

/// Sets the offset. Repairs a damaged record, as far as it can be read.
///
/// # Errors
/// As [`show`]; `config` for a null offset; `StateChanged` where somebody else wrote at the same time.
pub async fn set(store: &dyn Store, shard: &ShardId, offset: Value, run: &str) -> Result<Record> {
    if offset.is_null() {
        return Err(Error::config("the offset is null").advice("`millrace state reset` forgets the offset"));
    }
    edit(store, shard, run, |_| {
        Ok(Edit {
            cause: "set".to_owned(),
            offset,
            at: None,
        })
    })
    .await
}

/// Takes the offset of an earlier revision, named by generation and number of its commit.
///
/// # Errors
/// As [`set`]; `config` where the history has no such revision, naming those that it has.
pub async fn restore(store: &dyn Store, shard: &ShardId, at: (u64, u64), run: &str) -> Result<Record> {
    edit(store, shard, run, |record| {
        let found = record
            .history
            .iter()
            .find(|revision| revision.committed.at() == at && !is_edit(&revision.run));
        let revision = found.ok_or_else(|| no_revision(record, at))?;
        Ok(Edit {
            cause: "restore".to_owned(),
            offset: revision.committed.offset.clone(),
            at: Some(at),
        })
    })
    .await
}

/// Forgets the offset: the next load begins anew, against what the destination holds.
///
/// # Errors
/// As [`set`].
pub async fn reset(store: &dyn Store, shard: &ShardId, run: &str) -> Result<Record> {
    edit(store, shard, run, |_| {
        Ok(Edit {
            cause: "reset".to_owned(),
            offset: Value::Null,
            at: None,
        })
    })
    .await
}

/// Makes the record anew from what the destination says, where it is missing or past reading.
///
/// # Errors
/// `config` where there is a record that can be read; `StateChanged` where somebody else wrote at the same time.
pub async fn take_over(
    store: &dyn Store,
    shard: &ShardId,
    flow_uid: &str,
    committed: Committed,
    run: &str,
) -> Result<Record> {
    let version = match store.salvage(shard).await? {
        Some((Some(_), _)) => {
            return Err(
                Error::config(format!("{} has the state of {shard}", store.place()))
                    .advice("`millrace state set`, `restore` and `reset` change it"),
            );
        }
        Some((None, version)) => Some(version),
        None => None,
    };
    let mut record = Record::first(flow_uid, "millrace state", committed.epoch);
    record.revise(
        &Run {
            id: run.to_owned(),
            cause: "takeOver".to_owned(),
        },
        committed.clone(),
    );
    record.committed = committed;
    settle(store, shard, record, version.as_ref()).await
}

async fn edit(
    store: &dyn Store,
    shard: &ShardId,
    run: &str,
    change: impl FnOnce(&Record) -> Result<Edit>,
) -> Result<Record> {
    let Some((record, version)) = store.salvage(shard).await? else {
        return Err(not_found(store, shard).await);
    };
    let Some(mut record) = record else {
        // What is left cannot be read: the error of `load` says what is wrong with it.
        return show(store, shard).await;
    };
    let edit = change(&record)?;
    let run = Run {
        id: run.to_owned(),
        cause: edit.cause.clone(),
    };
    record.revise(
        &run,
        Committed {
            offset: edit.offset.clone(),
            ..record.committed.clone()
        },
    );
    record.edit = Some(edit);
    record.intent = None;
    record.nonce = nonce();
    settle(store, shard, record, Some(&version)).await
}

async fn settle(
    store: &dyn Store,
    shard: &ShardId,
    record: Record,
    version: Option<&super::Version>,
) -> Result<Record> {
    match write(store, shard, &record, version, &Backoff::default()).await? {
        Written::Ours(_) => Ok(record),
        Written::Other(_) | Written::Gone => Err(Error::state(
            "StateChanged",
            format!("the state of {shard} was written by somebody else just now"),
        )
        .advice("look again with `millrace state show`, then repeat")),
    }
}

fn is_edit(run: &Run) -> bool {
    matches!(run.cause.as_str(), "set" | "restore" | "reset")
}

fn no_revision(record: &Record, (generation, seq): (u64, u64)) -> Error {
    let mut there: Vec<String> = record
        .history
        .iter()
        .filter(|revision| !is_edit(&revision.run))
        .map(|revision| format!("{}.{}", revision.committed.generation, revision.committed.seq))
        .collect();
    there.dedup();
    Error::config(format!("the history has no revision {generation}.{seq}"))
        .reason("StateNotFound")
        .advice(format!("it has {}", there.join(", ")))
}

async fn not_found(store: &dyn Store, shard: &ShardId) -> Error {
    let names = |shards: Vec<ShardId>| {
        shards
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let there = store.list(None).await.map(names).unwrap_or_default();
    let error = Error::config(format!("{} has no state of {shard}", store.place())).reason("StateNotFound");
    if there.is_empty() {
        error.advice("nothing is stored there")
    } else {
        error.advice(format!("it has {there}"))
    }
}
