//! A commit, whole: the destination, then the state record, in the order that the authority asks for.
//!
//! In: a [`Permit`] and a [`Commit`] with everything staged. Out: committed, or an error after which either the permit
//! still commits, or [`Permit::check`] says why it does not. The source is acknowledged by the caller, afterwards.

use serde_json::Value;

use super::{Commit, Committed, Permit, deliver, nonce};
use crate::{
    connector::{Authority, Shard},
    error::{Error, ErrorKind, Result},
    state::{Record, Run, Store, encode},
};

/// Makes staged rows visible together with their offset, once.
///
/// # Errors
/// Fenced where a newer worker owns the shard; `StateTooLarge`, before anything is sent; `StateEdited` where a person
/// changed the state meanwhile; what the destination says. After an answer that never came the permit is spent.
pub async fn commit(
    permit: &mut Permit,
    store: &dyn Store,
    shard: &dyn Shard,
    commit: Commit,
    run: &Run,
) -> Result<()> {
    permit.check()?;
    in_order(permit, &commit)?;
    encode(&permit.shard, &deliver::next_record(permit, &commit, run))?;
    let result = steps(permit, store, shard, &commit, run).await;
    if let Err(error) = &result
        && permit.last.nonce == commit.nonce
    {
        // Applied, and yet an error: the same rows under the next number would show twice.
        permit.spent.get_or_insert_with(|| error.clone());
    }
    result
}

async fn steps(
    permit: &mut Permit,
    store: &dyn Store,
    shard: &dyn Shard,
    commit: &Commit,
    run: &Run,
) -> Result<()> {
    if permit.authority == Authority::Destination {
        deliver::deliver(permit, shard, commit).await?;
        return cache(permit, store, commit, run).await;
    }
    deliver::announce(permit, store, commit, run).await?;
    deliver::deliver(permit, shard, commit).await?;
    deliver::record(permit, store, commit, run).await
}

/// Writes the ledger, outside a commit.
///
/// # Errors
/// As [`commit`].
pub async fn note(permit: &mut Permit, store: &dyn Store, ledger: Value) -> Result<()> {
    permit.check()?;
    let record = Record {
        ledger,
        nonce: nonce(),
        ..permit.record.clone()
    };
    deliver::write_own(permit, store, record).await
}

fn in_order(permit: &Permit, commit: &Commit) -> Result<()> {
    let next = permit.next(commit.replace);
    if (commit.generation, commit.seq) == next {
        return Ok(());
    }
    Err(Error::bug(format!(
        "commit {}.{} of {} follows {}.{}",
        commit.generation, commit.seq, permit.shard, permit.last.generation, permit.last.seq
    )))
}

/// The destination has the offset: the record follows. What goes wrong here undoes nothing, so only what speaks of
/// the next commit ends the permit.
async fn cache(permit: &mut Permit, store: &dyn Store, commit: &Commit, run: &Run) -> Result<()> {
    match deliver::record(permit, store, commit, run).await {
        Err(error) if error.kind == ErrorKind::Fenced => {
            tracing::warn!(shard = %permit.shard, %error, "committed, and taken over by a newer worker");
            Ok(())
        }
        Err(error) if error.kind == ErrorKind::Transient => {
            tracing::warn!(shard = %permit.shard, %error, "committed, but the state is behind");
            permit.spent = None;
            Ok(())
        }
        result => result,
    }
}

impl Permit {
    /// Notes a commit as the last one.
    pub(super) fn advance(&mut self, commit: &Commit) {
        self.last = Committed {
            epoch: self.epoch,
            generation: commit.generation,
            seq: commit.seq,
            offset: commit.offset.clone(),
            nonce: commit.nonce.clone(),
        };
    }
}
