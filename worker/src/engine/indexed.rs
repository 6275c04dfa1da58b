//! An index beside the state, for destinations that keep none: connectors of others, writers of users.
//!
//! In: such a destination and the state store. Out: a destination that keeps an index like any other, so that full loads deliver
//! the difference, deletes included. Each commit has a manifest of its own, named after the commit: which one counts is
//! decided by the record alone. It is written before the commit is announced, and segments while rows are staged; what
//! belongs to no commit is removed later. Where a person resets the offset, the index is forgotten with it.
//!
//! ```text
//! segments/<generation>-<epoch>-<seq>/<lane>-<mark>.index
//! manifests/<generation>-<seq>-<nonce>.json
//! ```

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use millrace_crds::flow::WriteMode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::offset::Offset;
use crate::{
    connector::{Authority, Destination, Rewritten, Rows, Shard, Stage, StageRequest, Staged},
    diff::{
        merge::{self, Part},
        segment::SegmentRef,
        stored::{self, Outgoing, StoredSegment, bury, is_past},
    },
    error::{Error, Result},
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId, nonce},
    scratch::Scratch,
    state::{Edit, Store},
    storage::Storage,
    stream::StreamSpec,
};

/// A destination with an index beside the state.
pub(super) struct Indexed {
    inner: Arc<dyn Destination>,
    store: Arc<dyn Store>,
}

impl Indexed {
    /// The destination, with an index where it lacks one.
    pub(super) fn destination(inner: Arc<dyn Destination>, store: &Arc<dyn Store>) -> Arc<dyn Destination> {
        match inner.lacks_index() {
            true => Arc::new(Self {
                inner,
                store: store.clone(),
            }),
            false => inner,
        }
    }
}

#[async_trait]
impl Destination for Indexed {
    async fn prepare(&self) -> Result<()> {
        self.inner.prepare().await
    }

    fn authority(&self) -> Authority {
        self.inner.authority()
    }

    async fn shard(&self, id: &ShardId, stream: &StreamSpec) -> Result<Arc<dyn Shard>> {
        let inner = self.inner.shard(id, stream).await?;
        // Who replaces everything compares nothing.
        let files = match stream.write_mode {
            WriteMode::Overwrite => None,
            WriteMode::Append | WriteMode::Upsert => self.store.files(id)?,
        };
        Ok(match files {
            Some(files) => Arc::new(IndexedShard {
                id: id.clone(),
                inner,
                store: self.store.clone(),
                files,
            }),
            None => inner,
        })
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }
}

/// The segments that one commit has left.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Manifest {
    segments: Vec<StoredSegment>,
}

/// What a stage hands to the commit.
#[derive(Deserialize, Serialize)]
struct Token {
    /// Of the destination itself.
    inner: Value,
    segment: Option<StoredSegment>,
}

struct IndexedShard {
    id: ShardId,
    inner: Arc<dyn Shard>,
    store: Arc<dyn Store>,
    /// Of this shard alone.
    files: Storage,
}

impl IndexedShard {
    /// What was committed last, by the word of the record; `None`: nothing, or a person has reset it.
    async fn committed(&self) -> Result<Option<Committed>> {
        let found = self.store.load(&self.id).await?;
        let record = found.map(|(record, _)| record);
        let counts = record.filter(|record| !record.edit.as_ref().is_some_and(Edit::is_reset));
        Ok(counts.map(|record| record.committed).filter(|last| last.seq > 0))
    }

    /// The manifest of the last commit, and its name; `None`: no index was kept then.
    async fn manifest(&self) -> Result<Option<(String, Manifest)>> {
        let Some(last) = self.committed().await? else {
            return Ok(None);
        };
        let key = name(last.generation, last.seq, &last.nonce);
        match self.files.get(&key).await? {
            Some(bytes) => {
                let manifest = serde_json::from_slice(&bytes).map_err(|error| self.lost(&key, &error))?;
                Ok(Some((key, manifest)))
            }
            None if Offset::of(&last)?.is_some_and(|offset| offset.indexed) => {
                Err(self.lost(&key, &"it is not there"))
            }
            None => Ok(None),
        }
    }

    /// Makes one of the last segments, where they are many. It lies beside those of this commit, with which it is kept or
    /// removed.
    async fn merge(&self, commit: &Commit, segments: &mut Vec<StoredSegment>) -> Result<()> {
        let rows: Vec<u64> = segments.iter().map(|segment| segment.rows).collect();
        let due = merge::due(&rows);
        let newest = segments.last().and_then(|segment| segment.key.rsplit_once('/'));
        let Some((directory, _)) = newest.filter(|(directory, _)| due > 0 && is_of(directory, commit)) else {
            return Ok(());
        };
        let key = format!("{directory}/merged-{}.index", nonce());
        let (scratch, mut parts) = (Scratch::new()?, Vec::with_capacity(due));
        for segment in &segments[segments.len() - due..] {
            let place = SegmentRef::from(segment.clone());
            parts.push(Part {
                path: self.segment(&place, scratch.path()).await?,
                dead: place.dead,
            });
        }
        let merged = scratch.path().join("merged");
        let to = merged.clone();
        let done = tokio::task::spawn_blocking(move || merge::merge(&parts, &to)).await;
        let (taken, rows) =
            done.map_err(|error| Error::bug(format!("the merge of segments died: {error}")))??;
        if taken > 1 {
            segments.truncate(segments.len() - taken);
            segments.push(stored::send(&self.files, &merged, key, rows).await?);
        }
        Ok(())
    }

    fn lost(&self, key: &str, why: &dyn std::fmt::Display) -> Error {
        let place = self.files.url_of(key);
        Error::state("IndexDamaged", format!("{place}, the index of what was delivered: {why}")).advice(
            "bring it back from a backup, or `millrace state reset --stream NAME`: the next load delivers everything, and \
             deletes are found from then on",
        )
    }
}

fn name(generation: u64, seq: u64, nonce: &str) -> String {
    format!("manifests/{generation}-{seq}-{nonce}.json")
}

/// Whether a directory of segments belongs to a commit: `segments/<generation>-<epoch>-<seq>`.
fn is_of(directory: &str, commit: &Commit) -> bool {
    let (first, last) = (
        format!("segments/{}-", commit.generation),
        format!("-{}", commit.seq),
    );
    directory.starts_with(&first) && directory.ends_with(&last)
}

/// As the destination staged it.
fn unsealed(staged: &Staged) -> Result<Staged> {
    let token: Token = serde_json::from_value(staged.token.clone()).map_err(Error::bug)?;
    Ok(Staged {
        token: token.inner,
        ..staged.clone()
    })
}

#[async_trait]
impl Shard for IndexedShard {
    async fn last_committed(&self) -> Result<Option<Committed>> {
        self.inner.last_committed().await
    }

    async fn fence(&self, epoch: Epoch, nonce: &str) -> Result<Option<Committed>> {
        self.inner.fence(epoch, nonce).await
    }

    fn keeps_index(&self) -> bool {
        true
    }

    /// Of the destination nothing can be told; of the index it can.
    async fn whole(&self) -> Result<()> {
        self.manifest().await.map(drop)
    }

    async fn index(&self) -> Result<Vec<SegmentRef>> {
        let manifest = self.manifest().await?;
        let segments = manifest
            .map(|(_, manifest)| manifest.segments)
            .unwrap_or_default();
        Ok(segments.into_iter().map(SegmentRef::from).collect())
    }

    async fn segment(&self, segment: &SegmentRef, scratch: &Path) -> Result<PathBuf> {
        let found = stored::fetch(&self.files, &segment.id, scratch).await?;
        found.ok_or_else(|| self.lost(&segment.id, &"it is not there"))
    }

    fn unfit(&self, batch: &RecordBatch) -> Result<Vec<(usize, String)>> {
        self.inner.unfit(batch)
    }

    async fn stage(&self, permit: &Permit, mut request: StageRequest) -> Result<Box<dyn Stage>> {
        let (generation, seq) = permit.next(request.replace);
        let (directory, lane) = (format!("{generation}-{}-{seq}", permit.epoch()), request.lane);
        let segment = request.index.take();
        let segment = segment.map(|columns| Outgoing::begin(&request.schema, &columns));
        Ok(Box::new(IndexedStage {
            inner: self.inner.stage(permit, request).await?,
            segment: segment.transpose()?,
            files: self.files.clone(),
            key: format!("segments/{directory}/{lane}-{}.index", nonce()),
        }))
    }

    async fn discard(&self, permit: &Permit, staged: &[Staged]) -> Result<()> {
        let staged = staged.iter().map(unsealed).collect::<Result<Vec<_>>>()?;
        self.inner.discard(permit, &staged).await
    }

    async fn seal(&self, commit: &mut Commit) -> Result<()> {
        let mut next = self
            .manifest()
            .await?
            .map(|(_, manifest)| manifest)
            .unwrap_or_default();
        bury(&mut next.segments, &std::mem::take(&mut commit.dead))?;
        for staged in &commit.staged {
            let token: Token = serde_json::from_value(staged.token.clone()).map_err(Error::bug)?;
            next.segments
                .extend(token.segment.filter(|segment| segment.rows > 0));
        }
        self.merge(commit, &mut next.segments).await?;
        let key = name(commit.generation, commit.seq, &commit.nonce);
        self.files
            .put(&key, Bytes::from(serde_json::to_vec(&next)?))
            .await?;
        self.inner.seal(commit).await
    }

    async fn commit(&self, permit: &Permit, commit: &Commit) -> Outcome {
        let staged = commit.staged.iter().map(unsealed).collect::<Result<Vec<_>>>();
        match staged {
            Ok(staged) => {
                let commit = Commit {
                    staged,
                    ..commit.clone()
                };
                self.inner.commit(permit, &commit).await
            }
            Err(error) => Outcome::Failed(error),
        }
    }

    fn rewritten(&self) -> Rewritten {
        self.inner.rewritten()
    }

    async fn clean(&self, permit: &Permit) -> Result<()> {
        self.inner.clean(permit).await?;
        let current = self.manifest().await?;
        let kept: HashSet<&String> = current
            .iter()
            .flat_map(|(key, manifest)| manifest.segments.iter().map(|segment| &segment.key).chain([key]))
            .collect();
        for prefix in ["segments/", "manifests/"] {
            for object in self.files.list(prefix).await? {
                if !kept.contains(&object.key) && is_past(&object.key, permit) {
                    self.files.delete(&object.key).await?;
                }
            }
        }
        Ok(())
    }

    async fn files(&self) -> Result<Vec<String>> {
        self.inner.files().await
    }
}

/// Rows on their way to the destination, and their entries beside them.
struct IndexedStage {
    inner: Box<dyn Stage>,
    segment: Option<Outgoing>,
    files: Storage,
    key: String,
}

#[async_trait]
impl Stage for IndexedStage {
    async fn write(&mut self, rows: Rows) -> Result<()> {
        if let Some(segment) = &mut self.segment {
            segment.write(&rows)?;
        }
        self.inner.write(rows).await
    }

    async fn finish(self: Box<Self>) -> Result<Staged> {
        let staged = self.inner.finish().await?;
        let segment = match self.segment {
            Some(segment) => Some(segment.finish(&self.files, self.key).await?),
            None => None,
        };
        let token = Token {
            inner: staged.token,
            segment,
        };
        Ok(Staged {
            token: serde_json::to_value(token)?,
            ..staged
        })
    }
}
