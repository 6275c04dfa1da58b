//! The commit protocol: who owns a shard, what was committed, and the only way to commit more.
//!
//! In: a state store and a destination's [`Shard`]. Out: a [`Permit`], which only [`acquire`] can make (load, raise
//! the epoch by compare-and-swap, fence the destination, recover), and [`commit`], which takes it. A result that is
//! not known is a value here ([`Outcome::Unknown`]), and is settled by reading back, never by guessing.

mod acquire;
mod commit;
mod deliver;
#[cfg(test)]
mod explorer;
mod recover;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{
    acquire::{Claim, acquire, peek},
    commit::{commit, note},
};
use crate::{
    backoff::Backoff,
    connector::{Authority, Staged},
    error::{Error, Result},
};

/// Ownership number of a shard; only ever raised.
pub type Epoch = u64;

/// The unit of epoch, generation and commit: one stream of one state.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardId {
    /// The state's name, by default `namespace/name` of the Flow.
    pub state: String,
    /// The stream's exact name.
    pub stream: String,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.state, self.stream)
    }
}

/// What a destination says was committed last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Committed {
    /// The greatest epoch that fenced or committed.
    pub epoch: Epoch,
    /// The build of the destination; an `overwrite` load raises it. 0: nothing was committed yet.
    pub generation: u64,
    /// The number of the commit within the generation; 0: nothing was committed yet.
    pub seq: u64,
    /// What the engine stored with the data: positions, watermark, digest.
    pub offset: Value,
    /// The random mark of the write that made it.
    pub nonce: String,
}

impl Committed {
    /// The state of a shard that was fenced and never written.
    #[must_use]
    pub fn nothing(epoch: Epoch, nonce: &str) -> Self {
        Self {
            epoch,
            generation: 0,
            seq: 0,
            offset: Value::Null,
            nonce: nonce.to_owned(),
        }
    }
    /// Order along the history.
    #[must_use]
    pub fn at(&self) -> (u64, u64) {
        (self.generation, self.seq)
    }

    /// Where the next commit stands; one that replaces what is there begins a generation.
    #[must_use]
    pub fn next(&self, replace: bool) -> (u64, u64) {
        match (self.generation, replace) {
            (0, _) => (1, 1),
            (generation, true) => (generation + 1, 1),
            (generation, false) => (generation, self.seq + 1),
        }
    }
}

/// One commit, whole.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The generation it belongs to.
    pub generation: u64,
    /// Its number within the generation, the last one plus 1 (1 in a new generation).
    pub seq: u64,
    /// A random mark, to know our own write again. A retry keeps it.
    pub nonce: String,
    /// What the engine wants back after a restart.
    pub offset: Value,
    /// What the stages wrote.
    pub staged: Vec<Staged>,
    /// Positions in the index whose rows are no longer delivered, by segment id.
    pub dead: BTreeMap<String, RoaringBitmap>,
    /// All earlier rows are replaced by this commit.
    pub replace: bool,
}

/// How a commit ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Applied.
    Done,
    /// Refused: a newer epoch owns the shard.
    Fenced,
    /// No answer: it may or may not have been applied. Read back before anything else.
    Unknown(String),
    /// Not applied.
    Failed(Error),
    /// Not known to be applied, and what was staged is gone: only a load that reads it again helps. For destinations
    /// that hold no offset.
    Lost(Error),
}

/// The right to commit to one shard. Only fence-and-recover can make one.
#[derive(Debug)]
pub struct Permit {
    shard: ShardId,
    epoch: Epoch,
    last: Committed,
    authority: Authority,
    version: crate::state::Version,
    record: crate::state::Record,
    backoff: Backoff,
    /// Why it commits no more: a newer owner, a person's change, or an answer that never came.
    spent: Option<Error>,
}

impl Permit {
    /// The shard it is for.
    #[must_use]
    pub fn shard(&self) -> &ShardId {
        &self.shard
    }
    /// The epoch under which it commits.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
    /// What was committed last, by anyone; its offset is the one to go on from, a person's change included.
    #[must_use]
    pub fn last(&self) -> &Committed {
        &self.last
    }
    /// What the engine keeps outside a commit, as [`note`] or the last commit left it.
    #[must_use]
    pub fn ledger(&self) -> &Value {
        &self.record.ledger
    }
    /// Whether it still commits.
    ///
    /// # Errors
    /// Why it does not: `Fenced`, `StateEdited`, or an answer that never came. Only a new [`acquire`] helps.
    pub fn check(&self) -> Result<()> {
        self.spent.clone().map_or(Ok(()), Err)
    }
    /// Ends it, for the reason that is handed back.
    fn spend(&mut self, why: Error) -> Error {
        self.spent = Some(why.clone());
        why
    }
    /// Generation and number of the next commit.
    #[must_use]
    pub fn next(&self, replace: bool) -> (u64, u64) {
        self.last.next(replace)
    }
}

/// A random mark for one write attempt.
#[must_use]
pub fn nonce() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
