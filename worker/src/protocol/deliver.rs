//! The steps of a commit, each settled before the next: announce, deliver, record.
//!
//! An answer that did not come, and a refusal, are settled by reading back what the destination or the store holds:
//! our mark there means applied, a greater epoch means fenced, nothing changed means the same bytes once more.

use super::{
    Commit, Committed, Outcome, Permit, nonce,
    recover::{self, intent},
};
use crate::{
    connector::{Authority, Shard},
    error::{Error, ErrorKind, Result},
    failpoint,
    state::{Record, Run, Store, Version, Written, write},
};

const REFUSED: &str = "refused, with nothing changed";

/// Sends a commit to the destination until it is known to be applied.
pub(super) async fn deliver(permit: &mut Permit, shard: &dyn Shard, commit: &Commit) -> Result<()> {
    failpoint::hit("commit.before")?;
    let backoff = permit.backoff;
    let mut unsettled = None;
    for attempt in 0..backoff.tries {
        if attempt > 0 {
            backoff.pause(attempt - 1).await;
        }
        let refused = match shard.commit(permit, commit).await {
            Outcome::Done => return applied(permit, commit),
            Outcome::Failed(error) if error.kind == ErrorKind::Transient => {
                // Surely not applied, this time; an earlier attempt may still be.
                unsettled = unsettled.or(Some((false, error)));
                continue;
            }
            Outcome::Failed(error) => {
                return Err(if unsettled.is_some_and(|(sent, _)| sent) {
                    permit.spend(error)
                } else {
                    error
                });
            }
            Outcome::Lost(error) => return Err(error),
            Outcome::Fenced => REFUSED.to_owned(),
            Outcome::Unknown(why) => why,
        };
        if failpoint::mutated("m4") {
            return Err(permit.spend(fenced(permit)));
        }
        unsettled = Some((true, no_answer(permit, commit, &refused)));
        match read_back(permit, shard, commit).await {
            Ok(Found::Ours) => return applied(permit, commit),
            Ok(Found::Nothing) if refused == REFUSED => return Err(permit.spend(fenced(permit))),
            Ok(Found::Nothing | Found::Unchanged) => {}
            Err(error) => return Err(permit.spend(error)),
        }
    }
    let (sent, error) = unsettled.unwrap_or_else(|| (false, Error::bug("no attempt was made")));
    Err(if sent { permit.spend(error) } else { error })
}

fn applied(permit: &mut Permit, commit: &Commit) -> Result<()> {
    permit.advance(commit);
    failpoint::hit("commit.after")
}

/// What a destination shows after an answer that settled nothing.
#[derive(Debug, PartialEq)]
enum Found {
    /// The commit.
    Ours,
    /// What was there before: the same commit may be sent again.
    Unchanged,
    /// It cannot tell, or nothing was ever there: the same.
    Nothing,
}

async fn read_back(permit: &Permit, shard: &dyn Shard, commit: &Commit) -> Result<Found> {
    let Some(found) = permit.backoff.retry(|| shard.last_committed()).await? else {
        let held = permit.authority == Authority::Destination && permit.last.generation > 0;
        return if held {
            Err(emptied(permit))
        } else {
            Ok(Found::Nothing)
        };
    };
    let ours = (commit.generation, commit.seq);
    if found.epoch > permit.epoch {
        return Err(recover::newer(permit, found.epoch));
    }
    if found.nonce == commit.nonce && found.at() == ours {
        return Ok(Found::Ours);
    }
    if found.at() == permit.last.at() || permit.authority != Authority::Destination {
        return Ok(Found::Unchanged);
    }
    Err(strange(permit, commit, &found))
}

/// Says in the store what is about to be delivered. Refused, it keeps an older owner from delivering at all.
pub(super) async fn announce(
    permit: &mut Permit,
    store: &dyn Store,
    commit: &Commit,
    run: &Run,
) -> Result<()> {
    failpoint::hit("intent.before")?;
    let record = Record {
        intent: Some(intent(commit, run)?),
        nonce: nonce(),
        ..permit.record.clone()
    };
    write_own(permit, store, record).await?;
    failpoint::hit("intent.after")
}

/// Drops what was announced: it is read again.
pub(super) async fn forget_intent(permit: &mut Permit, store: &dyn Store, run: &Run) -> Result<()> {
    let mut record = Record {
        intent: None,
        nonce: nonce(),
        ..permit.record.clone()
    };
    record.revise(
        &Run {
            id: run.id.clone(),
            cause: "repeat".to_owned(),
        },
        record.committed.clone(),
    );
    write_own(permit, store, record).await
}

/// Writes what was committed into the record.
pub(super) async fn record(permit: &mut Permit, store: &dyn Store, commit: &Commit, run: &Run) -> Result<()> {
    failpoint::hit("state.before")?;
    let record = next_record(permit, commit, run);
    write_own(permit, store, record).await?;
    permit.advance(commit);
    failpoint::hit("state.after")
}

/// The record after a commit.
pub(super) fn next_record(permit: &Permit, commit: &Commit, run: &Run) -> Record {
    let committed = Committed {
        epoch: permit.epoch,
        generation: commit.generation,
        seq: commit.seq,
        offset: commit.offset.clone(),
        nonce: commit.nonce.clone(),
    };
    let mut record = Record {
        committed: committed.clone(),
        edit: None,
        intent: None,
        nonce: nonce(),
        ..permit.record.clone()
    };
    record.revise(run, committed);
    record
}

/// Replaces our own record. Where another is there, it says what became of this worker.
pub(super) async fn write_own(permit: &mut Permit, store: &dyn Store, record: Record) -> Result<()> {
    let mut version = permit.version.clone();
    for _ in 0..permit.backoff.tries {
        match write(store, &permit.shard, &record, Some(&version), &permit.backoff).await {
            Ok(Written::Ours(version)) => {
                permit.version = version;
                permit.record = record;
                return Ok(());
            }
            Ok(Written::Gone) => return Err(permit.spend(recover::gone(permit))),
            // An earlier write of this worker, whose answer was given up, has arrived late.
            Ok(Written::Other(other)) if recover::is_own(permit, &other.0) => version = other.1,
            Ok(Written::Other(other)) => {
                let (theirs, at) = *other;
                let why = recover::usurped(permit, &theirs);
                if why.reason == "StateEdited" {
                    rebase(permit, store, theirs, &record, &at).await?;
                }
                return Err(permit.spend(why));
            }
            Err(error) => return Err(permit.spend(error)),
        }
    }
    Err(permit.spend(Error::transient(format!(
        "the state of {} does not come to rest",
        permit.shard
    ))))
}

/// A person changed the offset while this worker committed without knowing of it: the change is kept, on top of what
/// was committed meanwhile, so that the next run goes on from it.
async fn rebase(
    permit: &Permit,
    store: &dyn Store,
    theirs: Record,
    ours: &Record,
    at: &Version,
) -> Result<()> {
    if permit.authority != Authority::Destination || ours.committed == theirs.committed {
        return Ok(());
    }
    let record = Record {
        committed: ours.committed.clone(),
        nonce: nonce(),
        ..theirs
    };
    write(store, &permit.shard, &record, Some(at), &permit.backoff)
        .await
        .map(drop)
}

fn fenced(permit: &Permit) -> Error {
    Error::fenced(format!(
        "the destination of {} refuses epoch {}",
        permit.shard, permit.epoch
    ))
}

fn no_answer(permit: &Permit, commit: &Commit, why: &str) -> Error {
    let at = format!("{}.{}", commit.generation, commit.seq);
    Error::transient(format!(
        "the destination did not settle commit {at} of {}: {why}",
        permit.shard
    ))
    .advice("the next run finds out whether it was applied")
}

fn emptied(permit: &Permit) -> Error {
    Error::state("StateLost", format!("what the destination of {} held is gone", permit.shard))
        .advice("put it back, or let `millrace state reset --stream NAME` forget the offset, so that the next load delivers everything")
}

fn strange(permit: &Permit, commit: &Commit, found: &Committed) -> Error {
    Error::state(
        "StateDiverged",
        format!(
            "commit {}.{} of {} met {}.{} at the destination, written by nobody that should",
            commit.generation, commit.seq, permit.shard, found.generation, found.seq
        ),
    )
    .advice("something else writes there or restored it; the next run takes stock")
}
