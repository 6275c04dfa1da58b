//! Objects that change only by compare-and-swap: the ground under state records and the heads of destinations.
//!
//! In: a key and bytes. Out: [`CasStore`], the same over a local directory, an S3 server, a `ConfigMap` and memory. Reads by key are
//! linearizable; a write ends in [`Cas`], where `Unknown` is a result like any other. The bytes should hold a random
//! mark of their writer: after `Conflict` or `Unknown` it tells our own write from another's.

mod config_map;
mod directory;
mod memory;
mod probe;
mod s3;
#[cfg(test)]
pub(crate) mod tests;

use async_trait::async_trait;
use bytes::Bytes;

pub use self::{config_map::ConfigMapCas, directory::DirectoryCas, memory::MemoryCas, s3::S3Cas};
use crate::error::Result;

/// What a later swap must find unchanged. Two versions are equal only where nothing was written in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// How a write ended. An error beside it means: surely not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cas {
    /// Applied; the next swap must name this version.
    Done(Version),
    /// Refused: something else is there (or, for a swap, nothing is). Where requests can be repeated on their way,
    /// that something may be this very write: read back before concluding.
    Conflict,
    /// No answer, or one that settles nothing. The only legal next step: read, and compare the mark.
    Unknown(String),
}

/// A place for objects that change by compare-and-swap.
///
/// Keys are relative paths of components that hold letters, digits and `!-_.`; each store adds its own place.
#[async_trait]
pub trait CasStore: Send + Sync {
    /// The object as it is now, and its version. `None` only where the store says that there is no such key.
    async fn read(&self, key: &str) -> Result<Option<(Bytes, Version)>>;
    /// Writes the first version of an object.
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Cas>;
    /// Replaces the object, where its version is still this one.
    async fn swap(&self, key: &str, bytes: Bytes, version: &Version) -> Result<Cas>;
    /// The keys that begin with `prefix`: for people, never for decisions.
    async fn list(&self, prefix: &str) -> Result<Vec<String>>;
    /// All objects whose keys begin with `prefix`: for people and for displays, never for decisions.
    async fn read_all(&self, prefix: &str) -> Result<Vec<(String, Bytes, Version)>> {
        let mut found = Vec::new();
        for key in self.list(prefix).await? {
            if let Some((bytes, version)) = self.read(&key).await? {
                found.push((key, bytes, version));
            }
        }
        Ok(found)
    }
    /// Removes an object for good, with what the store keeps beside it. Only where nobody can still swap it: whoever
    /// was stopped before a `create` would win it again.
    async fn remove(&self, key: &str) -> Result<()>;
    /// Where a person finds the objects.
    fn place(&self) -> String;
    /// Tries on an object of its own that conditional writes are honoured, and removes it.
    ///
    /// # Errors
    /// `config` with the reason `ConditionalWritesIgnored` where they are not; what a plain request answers else.
    async fn probe(&self) -> Result<()> {
        probe::probe(self).await
    }
}
