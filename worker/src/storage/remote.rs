//! Objects of a store that is reached over the network.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};

use super::{Object, fault::explain};
use crate::error::{Error, Result};

/// A store and the prefix below which its objects lie.
#[derive(Clone)]
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    /// Scheme and bucket or server.
    place: String,
    prefix: String,
    /// The place as people see it.
    shown: String,
    lists: bool,
}

impl Remote {
    pub(super) fn new(store: Arc<dyn ObjectStore>, place: String, prefix: String, lists: bool) -> Self {
        let shown = if prefix.is_empty() {
            place.clone()
        } else {
            format!("{place}/{prefix}")
        };
        Self {
            store,
            place,
            prefix,
            shown,
            lists,
        }
    }

    /// A directory within.
    pub(super) fn below(&self, directory: &str) -> Self {
        let prefix = match self.prefix.as_str() {
            "" => directory.to_owned(),
            prefix => format!("{prefix}/{directory}"),
        };
        Self::new(self.store.clone(), self.place.clone(), prefix, self.lists)
    }

    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Objects can be listed, and read from any byte on.
    pub(super) fn lists(&self) -> bool {
        self.lists
    }

    pub(super) fn url_of(&self, key: &str) -> String {
        format!("{}/{key}", self.shown)
    }

    pub(super) fn path(&self, key: &str) -> Result<Path> {
        let full = match (self.prefix.as_str(), key) {
            ("", key) => key.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, key) => format!("{prefix}/{key}"),
        };
        Path::parse(&full).map_err(|error| Error::config(format!("{}/{full}: {error}", self.place)))
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        if !self.lists {
            return Err(
                Error::config(format!("{}: a web server has no listing", self.shown))
                    .advice("name each file, or read from a bucket"),
            );
        }
        let below = self.path(prefix)?;
        let found: Vec<ObjectMeta> = self
            .store
            .list(Some(&below))
            .try_collect()
            .await
            .map_err(|error| explain(&self.shown, "list", error))?;
        let mut objects: Vec<_> = found.iter().filter_map(|meta| self.object(meta)).collect();
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    /// `None` for a marker of a directory, which is no object of ours.
    fn object(&self, meta: &ObjectMeta) -> Option<Object> {
        let full = meta.location.as_ref();
        let key = match self.prefix.as_str() {
            "" => full,
            prefix => full.strip_prefix(prefix)?.strip_prefix('/')?,
        };
        Some(Object {
            key: key.to_owned(),
            ..object_of(meta)
        })
    }

    pub(super) async fn head(&self, key: &str) -> Result<Option<Object>> {
        let path = self.path(key)?;
        match self.store.head(&path).await {
            Ok(meta) => Ok(Some(Object {
                key: key.to_owned(),
                ..object_of(&meta)
            })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(explain(&self.url_of(key), "read", error)),
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let path = self.path(key)?;
        let read = async { self.store.get(&path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(explain(&self.url_of(key), "read", error)),
        }
    }

    /// `etag`: the object must still be the one that was listed.
    pub(super) async fn get_range(&self, key: &str, range: Range<u64>, etag: Option<&str>) -> Result<Bytes> {
        let want = range.end.saturating_sub(range.start);
        if want == 0 {
            return Ok(Bytes::new());
        }
        let path = self.path(key)?;
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: etag.map(str::to_owned),
            ..Default::default()
        };
        let read = async { self.store.get_opts(&path, options).await?.bytes().await };
        let bytes = read
            .await
            .map_err(|error| explain(&self.url_of(key), "read", error))?;
        if bytes.len() as u64 != want {
            return Err(shorter(&self.url_of(key)));
        }
        Ok(bytes)
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let path = self.path(key)?;
        self.store
            .put(&path, bytes.into())
            .await
            .map_err(|error| explain(&self.url_of(key), "write", error))?;
        Ok(())
    }

    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(explain(&self.url_of(key), "delete", error)),
        }
    }
}

fn object_of(meta: &ObjectMeta) -> Object {
    Object {
        key: String::new(),
        size: meta.size,
        modified: meta.last_modified.timestamp_nanos_opt().unwrap_or_default(),
        version: meta.e_tag.clone(),
    }
}

/// The object lost its end between listing and reading.
pub(super) fn shorter(place: &str) -> Error {
    Error::transient(format!("{place} became shorter while it was read")).reason("ObjectChanged")
}
