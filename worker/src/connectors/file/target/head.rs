//! `HEAD.json`, the one object that changes, and the manifest that it points to.

use std::collections::HashSet;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    diff::stored::StoredSegment,
    error::{Context, Error, Result},
    protocol::{Committed, ShardId},
    storage::{
        Storage,
        cas::{CasStore, Version},
    },
};

/// The name of the head.
pub(super) const HEAD: &str = "HEAD.json";

/// Who may commit, and what was committed last.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    /// The version of this layout.
    pub(super) v: u32,
    /// Whose data this is.
    pub(super) shard: ShardId,
    /// What was committed last, and the epoch that may commit next.
    pub(super) committed: Committed,
    /// The manifest of what is current; none before the first commit.
    pub(super) manifest: Option<String>,
}

/// Every file that is current, and the index.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    /// The generation of the commit.
    pub(super) generation: u64,
    /// Its number.
    pub(super) seq: u64,
    /// The epoch it was made under.
    pub(super) epoch: u64,
    /// When it was made, RFC 3339.
    pub(super) at: String,
    /// The data files, in the order in which they were written.
    pub(super) files: Vec<DataFile>,
    /// The index segments, likewise.
    pub(super) segments: Vec<StoredSegment>,
    /// The manifest before this one.
    pub(super) previous: Option<String>,
    /// What earlier commits replaced, as long as readers may still hold on to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) retired: Vec<Retired>,
}

/// A file or segment that is no longer current.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retired {
    /// Its name below the root.
    pub(super) key: String,
    /// Since when.
    pub(super) at: Timestamp,
}

impl Manifest {
    /// The names of all current data files and index segments.
    pub(super) fn keys(&self) -> impl Iterator<Item = &String> {
        let segments = self.files.iter().filter_map(|file| file.segment.as_ref());
        let segments = segments.chain(&self.segments).map(|segment| &segment.key);
        self.files.iter().map(|file| &file.key).chain(segments)
    }

    /// Notes what `before` held and this one does not, and forgets what was replaced before `since`.
    pub(super) fn retire(&mut self, before: &Self, at: Timestamp, since: Timestamp) {
        let current: HashSet<&String> = self.keys().collect();
        let replaced = before.keys().filter(|key| !current.contains(*key));
        let replaced = replaced.map(|key| Retired { key: key.clone(), at });
        let young = before.retired.iter().filter(|retired| retired.at >= since);
        self.retired = young.cloned().chain(replaced).collect();
    }
}

/// A data file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DataFile {
    /// Its name below the root.
    pub(super) key: String,
    /// Its size.
    pub(super) bytes: u64,
    /// Its rows.
    pub(super) rows: u64,
    /// Its SHA-256, in hexadecimal.
    pub(super) sha256: String,
    /// The directory part that its partition columns make; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) partition: String,
    /// The index segment with one entry for each of its rows, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) segment: Option<StoredSegment>,
}

/// Reads the head and its version; `None`: nothing was ever written here.
pub(super) async fn read_head(heads: &dyn CasStore, shard: &ShardId) -> Result<Option<(Head, Version)>> {
    let Some((bytes, version)) = heads.read(HEAD).await? else {
        return Ok(None);
    };
    let place = heads.place();
    let head: Head = serde_json::from_slice(&bytes).map_err(|error| {
        Error::state("StateCorrupt", format!("{place}/{HEAD} cannot be read: {error}"))
            .advice("bring an earlier version of it back from a backup")
    })?;
    if head.v > 1 {
        return Err(Error::state(
            "StateTooNew",
            format!("{place}/{HEAD} was written by a newer Millrace"),
        ));
    }
    if head.shard != *shard {
        return Err(Error::config(format!("{place} holds {}, not {shard}", head.shard))
            .reason("TargetConflict")
            .advice("give each stream of each Flow a place of its own, for example with {flow} and {stream} in the url"));
    }
    Ok(Some((head, version)))
}

/// Reads the manifest of a head.
pub(super) async fn read_manifest(storage: &Storage, head: Option<&Head>) -> Result<Manifest> {
    let Some(key) = head.and_then(|head| head.manifest.as_ref()) else {
        return Ok(Manifest::default());
    };
    let bytes = storage.get(key).await?.ok_or_else(|| {
        Error::state(
            "StateLost",
            format!(
                "{} is missing, though HEAD.json refers to it",
                storage.url_of(key)
            ),
        )
        .advice("bring it back from a backup")
    })?;
    serde_json::from_slice(&bytes).context(storage.url_of(key))
}

/// Writes a manifest, under a name of its own.
pub(super) async fn write_manifest(storage: &Storage, manifest: &Manifest) -> Result<String> {
    let mark = uuid::Uuid::new_v4().simple();
    let key = format!(
        "manifests/{}-{:020}-{mark}.json",
        manifest.generation, manifest.seq
    );
    storage
        .put(&key, Bytes::from(serde_json::to_vec(manifest)?))
        .await?;
    Ok(key)
}
