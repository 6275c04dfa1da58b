//! The store: load, create, compare-and-swap; and `Unknown`, when no answer came.

use async_trait::async_trait;

use super::{Cas, Version, record::Record};
use crate::{
    error::{Error, Result},
    protocol::ShardId,
    storage::Storage,
};

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
    /// The records of one state, each or what is wrong with it: for people and for displays, never for decisions.
    async fn load_all(&self, state: &str) -> Result<Vec<(ShardId, Result<Record>)>> {
        let mut found = Vec::new();
        for shard in self.list(Some(state)).await? {
            let loaded = self
                .load(&shard)
                .await
                .map(|found| found.map(|(record, _)| record));
            if let Some(record) = loaded.transpose() {
                found.push((shard, record));
            }
        }
        Ok(found)
    }
    /// What is left of a record, damaged or not, for the person who repairs it: the version, and the record where it
    /// can be read at all.
    async fn salvage(&self, shard: &ShardId) -> Result<Option<(Option<Record>, Version)>> {
        Ok(self
            .load(shard)
            .await?
            .map(|(record, version)| (Some(record), version)))
    }
    /// Removes a record for good: only for a Flow that is gone, of which no worker is left.
    async fn remove(&self, shard: &ShardId) -> Result<()> {
        Err(Error::bug(format!("{} keeps the state of {shard}", self.place())))
    }
    /// Where large files of a shard may lie, such as an index; `None`: it has room for records alone.
    ///
    /// # Errors
    /// `config` where the place cannot hold such a name.
    fn files(&self, _shard: &ShardId) -> Result<Option<Storage>> {
        Ok(None)
    }
    /// Where a person finds it.
    fn place(&self) -> String;
    /// Tries that conditional writes are honoured; `config` where they are not.
    async fn probe(&self) -> Result<()>;
}
