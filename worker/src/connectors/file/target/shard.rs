//! One stream's place: fence, stage, commit.
//!
//! In: a permit and what was staged. Out: a swap of `HEAD.json`, which is the serialization point: the fence is a swap
//! too, so that whoever read an older head can no longer swap it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, TimeUnit},
};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::{
    FileFormat, FileTargetConfig, clean,
    head::{DataFile, HEAD, Head, Manifest, read_head, read_manifest, write_manifest},
    presence, rewrite,
    stage::{FileStage, Place},
};
use crate::{
    connector::{Rewritten, Shard, Stage, StageRequest, Staged},
    diff::{segment::SegmentRef, stored::bury},
    error::{Error, ErrorKind, Result},
    failpoint,
    formats::lines,
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId},
    storage::{
        Storage,
        cas::{Cas, CasStore, Version},
    },
};

/// The target of one stream.
pub(super) struct FileShard {
    id: ShardId,
    pub(super) storage: Storage,
    heads: Arc<dyn CasStore>,
    pub(super) config: Arc<FileTargetConfig>,
    upsert: bool,
    /// By the last commit.
    rewritten: Mutex<Rewritten>,
}

impl FileShard {
    pub(super) fn new(
        id: ShardId,
        storage: Storage,
        heads: Arc<dyn CasStore>,
        config: Arc<FileTargetConfig>,
        upsert: bool,
    ) -> Self {
        Self {
            id,
            storage,
            heads,
            config,
            upsert,
            rewritten: Mutex::default(),
        }
    }

    pub(super) async fn head(&self) -> Result<Option<(Head, Version)>> {
        read_head(self.heads.as_ref(), &self.id).await
    }

    pub(super) async fn manifest(&self) -> Result<Manifest> {
        let head = self.head().await?;
        read_manifest(&self.storage, head.as_ref().map(|(head, _)| head)).await
    }

    async fn swap(&self, head: &Head, version: Option<&Version>) -> Result<Cas> {
        let bytes = Bytes::from(serde_json::to_vec_pretty(head)?);
        match version {
            Some(version) => self.heads.swap(HEAD, bytes, version).await,
            None => self.heads.create(HEAD, bytes).await,
        }
    }

    /// The next manifest: what was current, less what is replaced, plus what was staged.
    async fn next_manifest(&self, permit: &Permit, commit: &Commit, head: &Head) -> Result<Manifest> {
        let current = read_manifest(&self.storage, Some(head)).await?;
        let mut next = match commit.replace {
            true => Manifest::default(),
            false => current.clone(),
        };
        let mut rewritten = Rewritten::default();
        if self.upsert {
            rewritten = rewrite::without_dead(self, &mut next, commit, permit.epoch()).await?;
        } else {
            bury(&mut next.segments, &commit.dead)?;
        }
        *self.rewritten.lock().unwrap_or_else(PoisonError::into_inner) = rewritten;
        for staged in &commit.staged {
            let files: Vec<DataFile> = serde_json::from_value(staged.token.clone())?;
            for mut file in files {
                // The segment of an upserted file stays with it; a log's index has a life of its own.
                if !self.upsert {
                    next.segments.extend(file.segment.take());
                }
                next.files.push(file);
            }
        }
        next.files.retain(|file| file.rows > 0);
        (next.generation, next.seq, next.epoch) = (commit.generation, commit.seq, permit.epoch());
        let now = Timestamp::now();
        next.at = now.to_string();
        next.previous.clone_from(&head.manifest);
        next.retire(&current, now, self.config.kept_since(now));
        Ok(next)
    }

    /// A mistake on purpose: readers see nothing until the load is done.
    async fn empty(&self) -> Result<()> {
        if let Some((head, version)) = self.head().await? {
            let manifest = None;
            self.swap(&Head { manifest, ..head }, Some(&version)).await?;
        }
        Ok(())
    }

    async fn try_commit(&self, permit: &Permit, commit: &Commit) -> Result<Outcome> {
        let Some((head, version)) = self.head().await? else {
            return Err(lost(&self.heads.place()));
        };
        let checks = !failpoint::mutated("m1");
        if checks && head.committed.epoch != permit.epoch() {
            return Ok(Outcome::Fenced);
        }
        if head.committed.nonce == commit.nonce && head.committed.at() == (commit.generation, commit.seq) {
            return Ok(Outcome::Done);
        }
        let (generation, seq) = (commit.generation, commit.seq);
        if checks && head.committed.next(commit.replace) != (generation, seq) {
            let place = self.heads.place();
            let (last, number) = head.committed.at();
            return Err(Error::bug(format!(
                "commit {generation}.{seq} in {place} follows {last}.{number}"
            )));
        }
        let manifest = self.next_manifest(permit, commit, &head).await?;
        let next = Head {
            committed: Committed {
                epoch: permit.epoch(),
                generation: commit.generation,
                seq: commit.seq,
                offset: commit.offset.clone(),
                nonce: commit.nonce.clone(),
            },
            manifest: Some(write_manifest(&self.storage, &manifest).await?),
            ..head
        };
        Ok(match self.swap(&next, Some(&version)).await? {
            Cas::Done(_) => Outcome::Done,
            // Ours or another's: reading back tells.
            Cas::Conflict => Outcome::Unknown("HEAD.json was changed by another write".to_owned()),
            Cas::Unknown(why) => Outcome::Unknown(why),
        })
    }
}

fn lost(place: &str) -> Error {
    Error::state("StateLost", format!("{place}/{HEAD} is gone")).advice("bring it back from a backup")
}

#[async_trait]
impl Shard for FileShard {
    fn keeps_index(&self) -> bool {
        true
    }

    fn unfit(&self, batch: &RecordBatch) -> Result<Vec<(usize, String)>> {
        Ok(match self.config.format {
            FileFormat::Ndjson => lines::unfit(batch),
            FileFormat::Csv => lines::out_of_calendar(batch, DataType::is_temporal),
            // What is in seconds is milliseconds there, and has less room.
            FileFormat::Parquet => lines::out_of_calendar(batch, |type_| {
                matches!(type_, DataType::Timestamp(TimeUnit::Second, _))
            }),
        })
    }

    async fn last_committed(&self) -> Result<Option<Committed>> {
        Ok(self.head().await?.map(|(head, _)| head.committed))
    }

    async fn fence(&self, epoch: Epoch, nonce: &str) -> Result<Option<Committed>> {
        for _ in 0..20 {
            let found = self.head().await?;
            let (mut head, version) = match found {
                Some((head, version)) => (head, Some(version)),
                None => {
                    // Whoever ignores conditions would let a fenced worker commit.
                    self.heads.probe().await?;
                    let committed = Committed::nothing(epoch, nonce);
                    let head = Head {
                        v: 1,
                        shard: self.id.clone(),
                        committed,
                        manifest: None,
                    };
                    (head, None)
                }
            };
            if version.is_some() {
                if head.committed.epoch == epoch {
                    return Ok(Some(head.committed));
                }
                if head.committed.epoch > epoch {
                    return Err(Error::fenced(format!(
                        "{} is held under epoch {}",
                        self.heads.place(),
                        head.committed.epoch
                    )));
                }
                head.committed.epoch = epoch;
            }
            if let Cas::Done(_) = self.swap(&head, version.as_ref()).await? {
                return Ok(version.map(|_| head.committed));
            }
        }
        Err(Error::transient(format!(
            "{}/{HEAD} changes all the time",
            self.heads.place()
        )))
    }

    async fn whole(&self) -> Result<()> {
        presence::look(&self.storage, &self.manifest().await?).await
    }

    async fn index(&self) -> Result<Vec<SegmentRef>> {
        let manifest = self.manifest().await?;
        let of_files = manifest.files.into_iter().filter_map(|file| file.segment);
        let segments = manifest.segments.into_iter().chain(of_files);
        Ok(segments.map(SegmentRef::from).collect())
    }

    async fn segment(&self, segment: &SegmentRef, scratch: &Path) -> Result<PathBuf> {
        rewrite::fetch(&self.storage, &segment.id, scratch).await
    }

    async fn stage(&self, permit: &Permit, request: StageRequest) -> Result<Box<dyn Stage>> {
        let (generation, seq) = permit.next(request.replace);
        if request.replace && failpoint::mutated("m8") {
            self.empty().await?;
        }
        let place = Place {
            storage: self.storage.clone(),
            config: self.config.clone(),
            directory: format!("{generation}-{}-{seq}", permit.epoch()),
            schema: request.schema,
            index: request.index,
            lane: request.lane,
        };
        Ok(Box::new(FileStage::new(place, self.upsert)))
    }

    async fn commit(&self, permit: &Permit, commit: &Commit) -> Outcome {
        match self.try_commit(permit, commit).await {
            Ok(outcome) => outcome,
            Err(error) if error.kind == ErrorKind::Fenced => Outcome::Fenced,
            Err(error) => Outcome::Failed(error),
        }
    }

    async fn discard(&self, _permit: &Permit, staged: &[Staged]) -> Result<()> {
        for staged in staged {
            let files: Vec<DataFile> = serde_json::from_value(staged.token.clone())?;
            for file in files {
                self.storage.delete(&file.key).await?;
                if let Some(segment) = file.segment {
                    self.storage.delete(&segment.key).await?;
                }
            }
        }
        Ok(())
    }

    async fn clean(&self, permit: &Permit) -> Result<()> {
        clean::unreferenced(self, permit).await
    }

    fn rewritten(&self) -> Rewritten {
        *self.rewritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn files(&self) -> Result<Vec<String>> {
        let manifest = self.manifest().await?;
        presence::look(&self.storage, &manifest).await?;
        let files = manifest.files.iter();
        Ok(files.map(|file| self.storage.url_of(&file.key)).collect())
    }
}
