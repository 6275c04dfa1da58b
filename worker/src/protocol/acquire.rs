//! From a claim to a permit: raise the epoch, fence the destination, recover.
//!
//! In: a store, a destination's shard, and who asks. Out: the only way to a [`Permit`]. The epoch is raised by
//! compare-and-swap above both what the store and what the destination have seen, so no two owners ever share one.
//! Once the destination is fenced, no older owner can commit, and what it says was committed last is final.

use super::{
    Committed, Epoch, Permit, ShardId, nonce,
    recover::{self, Recovered},
};
use crate::{
    backoff::Backoff,
    connector::{Authority, Shard},
    error::{Error, Result},
    failpoint,
    state::{ACQUIRE, Record, Run, Store, Version, Written, write},
};

/// Who asks for a shard.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The Flow that asks.
    pub flow_uid: String,
    /// The worker, for people: host and process.
    pub owner: String,
    /// The run that asks.
    pub run: Run,
    /// Another Flow whose state may be taken over.
    pub adopt: Option<String>,
    /// Who decides what has been delivered ([`crate::connector::Destination::authority`]).
    pub authority: Authority,
    /// How often what is not answered is tried again.
    pub backoff: Backoff,
}

/// Takes a shard over.
///
/// # Errors
/// `StateLost`, `StateOwnedByOther`, `StateDiverged`, `StateCorrupt`, `StateTooNew` (a person must decide); fenced
/// where a newer worker was faster; what the store or the destination answers else.
pub async fn acquire(store: &dyn Store, shard: &dyn Shard, id: &ShardId, claim: Claim) -> Result<Permit> {
    let (record, version) = raise(store, shard, id, &claim).await?;
    let found = fence(shard, id, &record, &claim.backoff).await?;
    failpoint::hit("recover.before")?;
    let Recovered { last, .. } = recover::reconcile(id, &record, found.as_ref(), claim.authority)?;
    let mut permit = Permit {
        shard: id.clone(),
        epoch: record.epoch,
        last: Committed {
            epoch: record.epoch,
            ..last
        },
        authority: claim.authority,
        version,
        record,
        backoff: claim.backoff,
        spent: None,
    };
    recover::settle(&mut permit, store, shard, found.as_ref(), &claim.run).await?;
    failpoint::hit("recover.after")?;
    Ok(permit)
}

/// What a new owner would go on from, with nothing taken over; `None`: nothing was ever committed.
///
/// # Errors
/// As [`acquire`], but for what speaks of owners.
pub async fn peek(
    store: &dyn Store,
    shard: &dyn Shard,
    id: &ShardId,
    authority: Authority,
) -> Result<Option<Committed>> {
    let loaded = store.load(id).await?;
    let found = shard.last_committed().await?;
    match loaded {
        None => Ok(found),
        Some((record, _)) => {
            let Recovered { last, .. } = recover::reconcile(id, &record, found.as_ref(), authority)?;
            Ok(Some(last))
        }
    }
}

/// Writes the record that makes this worker the owner of a new epoch.
async fn raise(
    store: &dyn Store,
    shard: &dyn Shard,
    id: &ShardId,
    claim: &Claim,
) -> Result<(Record, Version)> {
    for attempt in 0..claim.backoff.tries {
        // The store first: a commit reaches the destination before it reaches the store, so that a destination
        // that is read later is never behind, unless it was restored.
        let loaded = claim.backoff.retry(|| store.load(id)).await?;
        let found = claim.backoff.retry(|| shard.last_committed()).await?;
        if loaded.is_none()
            && is_committed(found.as_ref())
            && claim.backoff.retry(|| store.load(id)).await?.is_some()
        {
            // Not lost: another worker made the record and committed between the two reads. Both anew.
            continue;
        }
        let record = next_record(
            id,
            claim,
            loaded.as_ref().map(|(record, _)| record),
            found.as_ref(),
        )?;
        if loaded.is_none() {
            // A store that ignores conditions lets two workers own what is made here.
            claim.backoff.retry(|| store.probe()).await?;
        }
        failpoint::hit("acquire.before")?;
        let version = loaded.as_ref().map(|(_, version)| version);
        if let Written::Ours(version) = write(store, id, &record, version, &claim.backoff).await? {
            failpoint::hit("acquire.after")?;
            return Ok((record, version));
        }
        claim.backoff.pause(attempt).await;
    }
    Err(Error::transient(format!("other workers keep taking over {id}"))
        .advice("only one worker should run a stream; look for a second one"))
}

fn next_record(
    id: &ShardId,
    claim: &Claim,
    old: Option<&Record>,
    found: Option<&Committed>,
) -> Result<Record> {
    let seen = found.map_or(0, |found| found.epoch);
    let Some(old) = old else {
        if let Some(found) = found.filter(|_| is_committed(found) && !failpoint::mutated("m12")) {
            return Err(lost(id, found));
        }
        let mut record = Record::first(&claim.flow_uid, &claim.owner, seen + 1);
        record.revise(&acquired(claim), record.committed.clone());
        return Ok(record);
    };
    if old.flow_uid != claim.flow_uid && claim.adopt.as_ref() != Some(&old.flow_uid) {
        return Err(owned_by_other(id, &old.flow_uid));
    }
    recover::reconcile(id, old, found, claim.authority)?;
    let mut record = Record {
        epoch: above(old.epoch, seen),
        flow_uid: claim.flow_uid.clone(),
        owner: claim.owner.clone(),
        nonce: nonce(),
        ..old.clone()
    };
    record.revise(&acquired(claim), record.committed.clone());
    Ok(record)
}

fn is_committed(found: Option<&Committed>) -> bool {
    found.is_some_and(|found| found.generation > 0)
}

fn above(store: Epoch, destination: Epoch) -> Epoch {
    store.max(destination) + 1
}

fn acquired(claim: &Claim) -> Run {
    Run {
        id: claim.run.id.clone(),
        cause: ACQUIRE.to_owned(),
    }
}

async fn fence(
    shard: &dyn Shard,
    id: &ShardId,
    record: &Record,
    backoff: &Backoff,
) -> Result<Option<Committed>> {
    failpoint::hit("fence.before")?;
    // The same epoch and mark each time: a fence that was applied without an answer is there already, which is no
    // obstacle to itself.
    let found = backoff.retry(|| shard.fence(record.epoch, &record.nonce)).await?;
    failpoint::hit("fence.after")?;
    if let Some(found) = found.as_ref().filter(|found| found.epoch > record.epoch) {
        return Err(Error::fenced(format!(
            "{id} was taken over with epoch {}; this worker has {}",
            found.epoch, record.epoch
        )));
    }
    Ok(found)
}

fn lost(id: &ShardId, found: &Committed) -> Error {
    Error::state(
        "StateLost",
        format!(
            "the destination of {id} holds commit {}.{}, but there is no state of it",
            found.generation, found.seq
        ),
    )
    .advice(
        "name the state store that it was written with (`--state`, `state:`); if that is gone for good, \
         `millrace state restore --from-destination` takes the destination's word",
    )
}

fn owned_by_other(id: &ShardId, uid: &str) -> Error {
    Error::state("StateOwnedByOther", format!("the state of {id} belongs to another Flow, with UID {uid}"))
        .advice(format!("annotate this Flow with `millrace.dev/adopt-state: {uid}` to take it over, or give `state.id` another name"))
}
