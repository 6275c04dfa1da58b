//! Where to go on from: what the store knows, held against what the destination says.
//!
//! In: the record of the new owner and what the fenced destination committed last. Out: the last commit, or
//! `StateDiverged`. A destination that is ahead is adopted, as its commit comes first; one that is behind was restored
//! or emptied, and a person must decide. Nothing here is decided by offsets, which only their connector understands.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Commit, Committed, Permit, ShardId, deliver, nonce};
use crate::{
    connector::{Authority, Shard, Staged},
    error::{Error, ErrorKind, Result},
    state::{Record, Run, Store, Written, write},
};

/// What a record and a destination agree on.
#[derive(Debug, PartialEq)]
pub(super) struct Recovered {
    /// The last commit, with the offset to go on from.
    pub(super) last: Committed,
    /// A person's change still counts.
    pub(super) edited: bool,
}

/// Holds the record against the destination. Pure.
pub(super) fn reconcile(
    id: &ShardId,
    record: &Record,
    found: Option<&Committed>,
    authority: Authority,
) -> Result<Recovered> {
    let known = &record.committed;
    let edit = record.edit.as_ref();
    if authority != Authority::Destination {
        let offset = edit.map_or(&known.offset, |edit| &edit.offset).clone();
        return Ok(Recovered {
            last: Committed {
                offset,
                ..known.clone()
            },
            edited: edit.is_some(),
        });
    }
    let nothing = Committed::nothing(record.epoch, &record.nonce);
    let found = found.unwrap_or(&nothing);
    let (offset, edited) = match (found.at().cmp(&known.at()), edit) {
        (Ordering::Equal, Some(edit)) => (edit.offset.clone(), true),
        (Ordering::Equal | Ordering::Greater, _) => (found.offset.clone(), false),
        (Ordering::Less, Some(edit)) if edit.is_reset() => (Value::Null, true),
        (Ordering::Less, Some(edit)) if edit.at == Some(found.at()) => (found.offset.clone(), false),
        (Ordering::Less, _) => return Err(diverged(id, known, found)),
    };
    Ok(Recovered {
        last: Committed {
            offset,
            ..found.clone()
        },
        edited,
    })
}

/// Brings the record in step with what was recovered, and finishes what an older owner had begun.
pub(super) async fn settle(
    permit: &mut Permit,
    store: &dyn Store,
    shard: &dyn Shard,
    found: Option<&Committed>,
    run: &Run,
) -> Result<()> {
    match permit.authority {
        Authority::Destination => follow(permit, store, found, run).await,
        Authority::StoreKeyed | Authority::Store => finish(permit, store, shard, run).await,
    }
}

/// The destination decides: the record follows it.
async fn follow(permit: &mut Permit, store: &dyn Store, found: Option<&Committed>, run: &Run) -> Result<()> {
    let known = &permit.record.committed;
    let nothing = Committed::nothing(permit.epoch, &permit.record.nonce);
    let found = found.unwrap_or(&nothing).clone();
    let recovered = reconcile(&permit.shard, &permit.record, Some(&found), permit.authority)?;
    let drops_edit = permit.record.edit.is_some() && !recovered.edited;
    if known.at() == found.at() && !drops_edit && permit.record.intent.is_none() {
        return Ok(());
    }
    tell(&permit.shard, known, &found, drops_edit);
    let mut record = Record {
        nonce: nonce(),
        intent: None,
        ..permit.record.clone()
    };
    if !recovered.edited {
        record.edit = None;
    }
    record.committed = found;
    record.revise(
        &Run {
            id: run.id.clone(),
            cause: "adopt".to_owned(),
        },
        record.committed.clone(),
    );
    match write(
        store,
        &permit.shard,
        &record,
        Some(&permit.version),
        &permit.backoff,
    )
    .await
    {
        Ok(Written::Ours(version)) => {
            permit.version = version;
            permit.record = record;
            Ok(())
        }
        Ok(Written::Other(other)) => Err(usurped(permit, &other.0)),
        Ok(Written::Gone) => Err(gone(permit)),
        // A cache: the next commit writes it again.
        Err(error) if error.kind == ErrorKind::Transient => {
            tracing::warn!(shard = %permit.shard, %error, "the state is behind the destination and could not be written");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn tell(id: &ShardId, known: &Committed, found: &Committed, drops_edit: bool) {
    let (from, to) = (known.at(), found.at());
    if drops_edit && to > from {
        tracing::warn!(shard = %id, reason = "EditDropped", "the destination has committed {}.{} since a person changed the state; the change no longer counts", to.0, to.1);
    }
    let one_commit = to == (from.0, from.1 + 1) || to == (from.0 + 1, 1);
    if to > from && !one_commit {
        tracing::warn!(shard = %id, reason = "StateBehind", "the state knew commit {}.{}, the destination has {}.{}; going on from the destination", from.0, from.1, to.0, to.1);
    }
}

/// What was about to be delivered, as the record keeps it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intent {
    generation: u64,
    seq: u64,
    nonce: String,
    offset: Value,
    staged: Vec<Staged>,
    replace: bool,
    /// What the run was that began it.
    run: Run,
}

/// The intent of a commit.
pub(super) fn intent(commit: &Commit, run: &Run) -> Result<Value> {
    if !commit.dead.is_empty() {
        return Err(Error::bug(
            "a destination that keeps an index must keep the offset too",
        ));
    }
    let intent = Intent {
        generation: commit.generation,
        seq: commit.seq,
        nonce: commit.nonce.clone(),
        offset: commit.offset.clone(),
        staged: commit.staged.clone(),
        replace: commit.replace,
        run: run.clone(),
    };
    serde_json::to_value(intent).map_err(Error::bug)
}

/// The store decides: what an older owner had announced may or may not have arrived. By key it is delivered again,
/// the same bytes under the same number; else it is read again, and may show twice.
async fn finish(permit: &mut Permit, store: &dyn Store, shard: &dyn Shard, run: &Run) -> Result<()> {
    let Some(value) = permit.record.intent.clone() else {
        return Ok(());
    };
    let intent: Intent = serde_json::from_value(value).map_err(Error::bug)?;
    if permit.authority == Authority::Store || permit.record.edit.is_some() {
        tracing::warn!(shard = %permit.shard, reason = "MayRepeat", "commit {}.{} was begun and not recorded; its rows may show twice", intent.generation, intent.seq);
        return deliver::forget_intent(permit, store, run).await;
    }
    let again = Commit {
        generation: intent.generation,
        seq: intent.seq,
        nonce: intent.nonce,
        offset: intent.offset,
        staged: intent.staged,
        dead: std::collections::BTreeMap::new(),
        replace: intent.replace,
    };
    match deliver::deliver(permit, shard, &again).await {
        Ok(()) => deliver::record(permit, store, &again, &intent.run).await,
        Err(error) if matches!(error.kind, ErrorKind::Data | ErrorKind::Config) => {
            tracing::warn!(shard = %permit.shard, %error, "what was staged for commit {}.{} is gone; reading it again", again.generation, again.seq);
            deliver::forget_intent(permit, store, run).await
        }
        Err(error) => Err(error),
    }
}

pub(super) fn newer(permit: &Permit, epoch: u64) -> Error {
    Error::fenced(format!(
        "{} was taken over with epoch {epoch}; this worker has {}",
        permit.shard, permit.epoch
    ))
}

/// Whether a record was written by this worker.
pub(super) fn is_own(permit: &Permit, found: &Record) -> bool {
    let edited = found.edit.is_some() && found.edit != permit.record.edit;
    found.epoch == permit.epoch && found.owner == permit.record.owner && !edited
}

/// Why a record that is not ours ends the permit.
pub(super) fn usurped(permit: &Permit, found: &Record) -> Error {
    if found.epoch > permit.epoch {
        return newer(permit, found.epoch);
    }
    if found.epoch < permit.epoch || found.owner != permit.record.owner {
        return gone(permit);
    }
    Error::state(
        "StateEdited",
        format!(
            "the state of {} was changed by a person during the run",
            permit.shard
        ),
    )
    .advice("nothing is lost: the next run goes on from the change")
}

pub(super) fn gone(permit: &Permit) -> Error {
    Error::state(
        "StateLost",
        format!(
            "the state of {} was removed or replaced during the run",
            permit.shard
        ),
    )
    .advice("put it back, or take the destination's word with `millrace state restore --from-destination`")
}

fn diverged(id: &ShardId, known: &Committed, found: &Committed) -> Error {
    let there = match found.at() {
        (0, _) => "holds nothing".to_owned(),
        (generation, seq) => format!("holds {generation}.{seq}"),
    };
    Error::state(
        "StateDiverged",
        format!("the state of {id} knows commit {}.{}, but its destination {there}", known.generation, known.seq),
    )
    .advice(
        "the destination was restored or emptied, or is another one; put it back, or let `millrace state reset --stream NAME` \
         forget the offset, so that the next load compares everything anew",
    )
}
