//! The store: load, create, compare-and-swap; and `Unknown`, when no answer came.

use async_trait::async_trait;

use super::record::Record;
use crate::{error::Result, protocol::ShardId};

/// What a later compare-and-swap must find unchanged (an ETag, a counter). Never compared by content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cas {
    /// Applied; the next swap must name this version.
    Done(Version),
    /// Refused: something else is there (or, for a swap, nothing is).
    Conflict,
    /// No answer. The only legal next step: load, and compare the nonce.
    Unknown(String),
}

/// A state store. Reads are linearizable; the history is inside the record.
#[async_trait]
pub trait Store: Send + Sync {
    /// The record and its version; `None`: there is none. A damaged record is an error (`StateCorrupt`), never `None`.
    async fn load(&self, shard: &ShardId) -> Result<Option<(Record, Version)>>;
    /// Writes the first record of a shard.
    async fn create(&self, shard: &ShardId, record: &Record) -> Result<Cas>;
    /// Writes the next record, where the version is still the one that was loaded.
    async fn swap(&self, shard: &ShardId, record: &Record, version: &Version) -> Result<Cas>;
    /// Every shard of one state, or of all states: for people, never for decisions.
    async fn list(&self, state: Option<&str>) -> Result<Vec<ShardId>>;
    /// Where a person finds it.
    fn place(&self) -> String;
    /// Tries that conditional writes are honoured; `config` where they are not.
    async fn probe(&self) -> Result<()>;
}
