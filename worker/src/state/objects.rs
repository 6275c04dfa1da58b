//! The one store: a record per shard, as an object that changes only by compare-and-swap.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OnceCell;

use super::{Cas, Record, Store, Version, codec, key};
use crate::{
    error::{Context, Error, Result},
    protocol::ShardId,
    storage::{Storage, cas::CasStore},
};

const HEAD: &str = "HEAD.json";
/// The directory of the files beside the records. No state has such a name.
const FILES: &str = "_files";

/// State records over any place that compares and swaps.
#[derive(Clone)]
pub struct Objects {
    place: Arc<dyn CasStore>,
    /// The same place, for files.
    files: Option<Storage>,
    /// Set once conditional writes were seen to be honoured.
    probed: Arc<OnceCell<()>>,
}

impl Objects {
    /// Records in `place`, as `STATE/STREAM/HEAD.json`.
    #[must_use]
    pub fn new(place: Arc<dyn CasStore>) -> Self {
        Self {
            place,
            files: None,
            probed: Arc::default(),
        }
    }

    /// With room for files in `storage`, as `_files/STATE/STREAM/...`.
    #[must_use]
    pub fn with_files(self, storage: Storage) -> Self {
        Self {
            files: Some(storage),
            ..self
        }
    }

    fn directory(shard: &ShardId) -> String {
        format!("{}/{}", key::encode(&shard.state), key::encode(&shard.stream))
    }

    fn key(shard: &ShardId) -> String {
        format!("{}/{HEAD}", Self::directory(shard))
    }

    /// The shard of a key: from the names, or from the record where a name was cut. Other objects have none.
    async fn shard(&self, key: &str) -> Result<Option<ShardId>> {
        let mut parts = key.split('/');
        let (Some(state), Some(stream), Some(HEAD), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Ok(None);
        };
        if let (Some(state), Some(stream)) = (key::decode(state), key::decode(stream)) {
            return Ok(Some(ShardId { state, stream }));
        }
        let shard = self
            .place
            .read(key)
            .await?
            .and_then(|(bytes, _)| codec::shard(&bytes));
        Ok(shard.filter(|shard| Self::key(shard) == key))
    }
}

#[async_trait]
impl Store for Objects {
    async fn load(&self, shard: &ShardId) -> Result<Option<(Record, Version)>> {
        let Some((bytes, version)) = self.place.read(&Self::key(shard)).await? else {
            return Ok(None);
        };
        let record =
            codec::decode(shard, &bytes).context(format!("{}/{}", self.place(), Self::key(shard)))?;
        Ok(Some((record, version)))
    }

    async fn create(&self, shard: &ShardId, record: &Record) -> Result<Cas> {
        self.place
            .create(&Self::key(shard), Bytes::from(codec::encode(shard, record)?))
            .await
    }

    async fn swap(&self, shard: &ShardId, record: &Record, version: &Version) -> Result<Cas> {
        if version.0.is_empty() {
            return Err(Error::bug(format!("a swap of {shard} without a version")));
        }
        self.place
            .swap(
                &Self::key(shard),
                Bytes::from(codec::encode(shard, record)?),
                version,
            )
            .await
    }

    async fn remove(&self, shard: &ShardId) -> Result<()> {
        if let Some(files) = self.files(shard)? {
            for object in files.list("").await? {
                files.delete(&object.key).await?;
            }
        }
        self.place.remove(&Self::key(shard)).await
    }

    fn files(&self, shard: &ShardId) -> Result<Option<Storage>> {
        let directory = format!("{FILES}/{}", Self::directory(shard));
        let files = self.files.as_ref();
        files.map(|files| files.below(&directory)).transpose()
    }

    async fn list(&self, state: Option<&str>) -> Result<Vec<ShardId>> {
        let prefix = state
            .map(|state| format!("{}/", key::encode(state)))
            .unwrap_or_default();
        let mut shards = Vec::new();
        for key in self.place.list(&prefix).await? {
            shards.extend(self.shard(&key).await?);
        }
        shards.sort();
        Ok(shards)
    }

    async fn load_all(&self, state: &str) -> Result<Vec<(ShardId, Result<Record>)>> {
        let mut found = Vec::new();
        for (key, bytes, _) in self.place.read_all(&format!("{}/", key::encode(state))).await? {
            let named = || {
                let (state, rest) = key.split_once('/')?;
                let stream = rest.strip_suffix(&format!("/{HEAD}"))?;
                Some(ShardId {
                    state: key::decode(state)?,
                    stream: key::decode(stream)?,
                })
            };
            let shard = named().or_else(|| codec::shard(&bytes));
            let Some(shard) = shard.filter(|shard| Self::key(shard) == key) else {
                continue;
            };
            let record = codec::decode(&shard, &bytes).context(format!("{}/{key}", self.place()));
            found.push((shard, record));
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }
    async fn salvage(&self, shard: &ShardId) -> Result<Option<(Option<Record>, Version)>> {
        let found = self.place.read(&Self::key(shard)).await?;
        Ok(found.map(|(bytes, version)| (codec::salvage(&bytes), version)))
    }

    fn place(&self) -> String {
        self.place.place()
    }

    async fn probe(&self) -> Result<()> {
        self.probed.get_or_try_init(|| self.place.probe()).await.copied()
    }
}
