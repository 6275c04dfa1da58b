//! The writing end: the target of each stream, and the commits into it.
//!
//! In: the permits and commits of [`crate::protocol`]. Out: what is there, what was committed last, and how a commit ended.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;

use super::{Stage, StageRequest, Staged};
use crate::{
    diff::segment::SegmentRef,
    error::{Error, Result},
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId},
    stream::StreamSpec,
};

/// Who decides what has been delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The destination holds the offset and takes it in the same commit as the data.
    Destination,
    /// The state store does; a commit may be repeated by key without harm.
    StoreKeyed,
    /// The state store does; a repeated commit shows twice.
    Store,
}

/// A system that can be written.
#[async_trait]
pub trait Destination: Send + Sync {
    /// Finds out what it is, where only it can tell: whether a repeated commit does harm.
    async fn prepare(&self) -> Result<()> {
        Ok(())
    }
    /// Who decides what has been delivered.
    fn authority(&self) -> Authority;
    /// Rows stay there, and it keeps no index of them: one is kept beside the state, where that has room for it.
    fn lacks_index(&self) -> bool {
        false
    }
    /// Opens the target of one stream; makes nothing yet.
    async fn shard(&self, id: &ShardId, stream: &StreamSpec) -> Result<Arc<dyn Shard>>;
    /// Tries the connection, the rights and the conditional writes, and leaves nothing behind.
    async fn check(&self) -> Result<()>;
}

/// The target of one stream: where its rows go, and the serialization point of its commits.
#[async_trait]
pub trait Shard: Send + Sync {
    /// What was last committed; `None`: nothing ever was.
    async fn last_committed(&self) -> Result<Option<Committed>>;
    /// Makes every later commit with a lower epoch fail, and tells what was last committed.
    /// [`crate::error::ErrorKind::Fenced`] where a greater epoch is there already. Where this epoch is there already,
    /// nothing changes: a repeated fence that arrives late must not take the mark of a commit away.
    async fn fence(&self, epoch: Epoch, nonce: &str) -> Result<Option<Committed>>;
    /// Whether all that was committed is still there, as far as can be told without reading it. A load that compares
    /// would never bring back what is gone: `state` where something is.
    async fn whole(&self) -> Result<()> {
        Ok(())
    }
    /// An index of what was delivered is committed with the data.
    fn keeps_index(&self) -> bool {
        false
    }
    /// The index of what was delivered, in order; empty: nothing was, or none is kept.
    async fn index(&self) -> Result<Vec<SegmentRef>> {
        Ok(Vec::new())
    }
    /// A local file with the content of one index segment; remote ones are fetched to `scratch`.
    async fn segment(&self, segment: &SegmentRef, _scratch: &Path) -> Result<PathBuf> {
        Err(Error::bug(format!(
            "no index is kept, and segment {} of it was asked for",
            segment.id
        )))
    }
    /// Rows that this system cannot hold, by number, each with the column and the reason; a row may be named more than
    /// once. They are refused before anything is compared or staged. Every row that is read comes by here.
    ///
    /// # Errors
    /// Where a column cannot be looked at.
    fn unfit(&self, _batch: &RecordBatch) -> Result<Vec<(usize, String)>> {
        Ok(Vec::new())
    }
    /// Begins to stage rows for the next commit; several stages of one commit may be open at once.
    /// Rows staged are not visible to anybody.
    async fn stage(&self, permit: &Permit, request: StageRequest) -> Result<Box<dyn Stage>>;
    /// Takes back what was staged for a commit that is not made after all. What stays behind is a matter of
    /// [`Shard::clean`].
    async fn discard(&self, _permit: &Permit, _staged: &[Staged]) -> Result<()> {
        Ok(())
    }
    /// The last step before a commit is announced: what its index needs is written down, and taken out of it.
    async fn seal(&self, _commit: &mut Commit) -> Result<()> {
        Ok(())
    }
    /// Makes all that was staged visible, together with the offset, or nothing at all.
    /// Refused where the permit's epoch is no longer the destination's.
    async fn commit(&self, permit: &Permit, commit: &Commit) -> Outcome;
    /// What the last commit had to write beside what was staged.
    fn rewritten(&self) -> Rewritten {
        Rewritten::default()
    }
    /// Drops what was staged and never committed by older epochs, and what is no longer referenced.
    async fn clean(&self, _permit: &Permit) -> Result<()> {
        Ok(())
    }
    /// The current files, for readers that want a list.
    async fn files(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// What a commit wrote again, since rows within it are no longer delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}
