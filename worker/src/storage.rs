//! Places that hold objects: directories of this machine, S3, Google Cloud Storage, and plain web servers.
//!
//! In: a URL, the connection settings and credentials of a system. Out: [`Storage`], which lists, reads and
//! writes objects below that URL by key, the same for every kind of place. An object appears under its key
//! whole or not at all. Errors name the object and never a credential or a signed URL.

pub mod cas;
mod connect;
mod credentials;
mod fault;
mod input;
mod limited;
mod local;
mod location;
mod remote;
#[cfg(test)]
pub(crate) mod tests;
mod write;

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use millrace_crds::plan::S3Plan;
use object_store::ObjectStore;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::{
    connect::Connect,
    input::Input,
    location::{Location, split_pattern},
    write::Writer,
};
use self::{local::Local, remote::Remote};
use crate::{
    error::{Error, Result},
    rate::RateLimiter,
    secrets::Secrets,
};

/// What a listing tells of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its name below the storage's root, with `/` between the parts.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When it was last written or changed, in nanoseconds since 1970.
    pub modified: i64,
    /// What changes with the content where the store knows it: an `ETag`, a generation.
    pub version: Option<String>,
}

/// A place below which objects lie. Clones share connections.
#[derive(Clone)]
pub struct Storage(Arc<Backend>);

enum Backend {
    Local(Local),
    Remote(Remote),
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Storage").field(&self.place()).finish()
    }
}

impl Storage {
    /// Opens the place that `url` names: a path (relative to `base_dir`), `file://`, `s3://bucket/prefix`,
    /// `gs://bucket/prefix`, `http://` or `https://`. Makes nothing and sends nothing. Every request that is sent later
    /// waits for `limiter`.
    ///
    /// # Errors
    /// `config` for a URL of another scheme, a wrong setting, or a credential that is named and missing.
    pub fn open(
        url: &str,
        connection: &Map<String, Value>,
        secrets: &Secrets,
        limiter: &RateLimiter,
        base_dir: Option<&Path>,
    ) -> Result<Self> {
        let location = Location::parse(url, base_dir)?;
        let connect = Connect::from_map(connection)?;
        let backend = match location {
            Location::Local(root) => Backend::Local(Local::new(root)),
            other => Backend::Remote(connect::open(other, &connect, secrets, limiter)?),
        };
        Ok(Self(Arc::new(backend)))
    }

    /// Opens the place that holds what `url` names, and gives the rest of the URL: a key, or a pattern of keys
    /// (see [`split_pattern`]). A web address has no patterns, since it may hold such characters itself.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub fn open_at(
        url: &str,
        connection: &Map<String, Value>,
        secrets: &Secrets,
        limiter: &RateLimiter,
        base_dir: Option<&Path>,
    ) -> Result<(Self, String)> {
        if let Location::Http { server, path } = Location::parse(url, base_dir)? {
            let connect = Connect::from_map(connection)?;
            let root = Location::Http {
                server,
                path: String::new(),
            };
            let backend = Backend::Remote(connect::open(root, &connect, secrets, limiter)?);
            return Ok((Self(Arc::new(backend)), path));
        }
        let (root, rest) = split_pattern(url);
        Ok((
            Self::open(root, connection, secrets, limiter, base_dir)?,
            rest.to_owned(),
        ))
    }

    /// A directory of this machine.
    #[must_use]
    pub fn directory(root: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Backend::Local(Local::new(root.into()))))
    }

    /// A bucket, and the prefix below which state lies.
    ///
    /// # Errors
    /// `config` where a credential that the plan names is missing.
    pub fn s3(place: &S3Plan, secrets: &Secrets) -> Result<Self> {
        let setting = |name: &str, value: &Option<String>| {
            let value = value.clone().map(Value::String);
            value.map(|value| (name.to_owned(), value))
        };
        let connection = [
            setting("endpoint", &place.endpoint),
            setting("region", &place.region),
        ];
        let connection: Map<String, Value> = connection.into_iter().flatten().collect();
        let url = format!("s3://{}/{}", place.bucket, place.prefix.trim_matches('/'));
        let url = url.trim_end_matches('/');
        Self::open(url, &connection, secrets, &RateLimiter::default(), None)
    }

    /// A directory within.
    ///
    /// # Errors
    /// `config` where it leads out of the place.
    pub fn below(&self, directory: &str) -> Result<Self> {
        Ok(Self(Arc::new(match &*self.0 {
            Backend::Local(local) => Backend::Local(Local::new(local.path(directory)?)),
            Backend::Remote(remote) => Backend::Remote(remote.below(directory)),
        })))
    }

    /// The URL or directory, without credentials and query.
    #[must_use]
    pub fn place(&self) -> String {
        match &*self.0 {
            Backend::Local(local) => local.root().display().to_string(),
            Backend::Remote(remote) => remote.shown().to_owned(),
        }
    }

    /// Where a person, or another program, finds an object.
    #[must_use]
    pub fn url_of(&self, key: &str) -> String {
        match &*self.0 {
            Backend::Local(local) => local.root().join(key).display().to_string(),
            Backend::Remote(remote) => remote.url_of(key),
        }
    }

    /// The file behind a key, where the place is a directory of this machine.
    ///
    /// # Errors
    /// `config` for a key that leads out of the root.
    pub fn local_path(&self, key: &str) -> Result<Option<PathBuf>> {
        match &*self.0 {
            Backend::Local(local) => local.path(key).map(Some),
            Backend::Remote(_) => Ok(None),
        }
    }

    /// The store behind the place and the full path of a key, for readers that speak to a store themselves;
    /// `None` for a directory of this machine.
    ///
    /// # Errors
    /// `config` for a key that no store can hold.
    pub fn remote(&self, key: &str) -> Result<Option<(Arc<dyn ObjectStore>, object_store::path::Path)>> {
        match &*self.0 {
            Backend::Local(_) => Ok(None),
            Backend::Remote(remote) => Ok(Some((remote.store(), remote.path(key)?))),
        }
    }

    /// Whether objects can be listed: a plain web server cannot.
    #[must_use]
    pub fn lists(&self) -> bool {
        match &*self.0 {
            Backend::Local(_) => true,
            Backend::Remote(remote) => remote.lists(),
        }
    }

    /// Every object below `prefix` (a directory within the root; empty: all of it), sorted by key. A place that
    /// does not exist yet holds no objects.
    ///
    /// # Errors
    /// `config` where the right to list is missing, `transient` where the store does not answer.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        match &*self.0 {
            Backend::Local(local) => local.list(prefix),
            Backend::Remote(remote) => remote.list(prefix).await,
        }
    }

    /// What is known of one object; `None`: there is none.
    ///
    /// # Errors
    /// As [`Storage::list`].
    pub async fn head(&self, key: &str) -> Result<Option<Object>> {
        match &*self.0 {
            Backend::Local(local) => local.head(key),
            Backend::Remote(remote) => remote.head(key).await,
        }
    }

    /// A whole object; `None`: there is none.
    ///
    /// # Errors
    /// As [`Storage::list`].
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        match &*self.0 {
            Backend::Local(local) => local.get(key),
            Backend::Remote(remote) => remote.get(key).await,
        }
    }

    /// Some bytes of an object, which must be there.
    ///
    /// # Errors
    /// As [`Storage::list`]; `config` where the object is missing, `transient` where it is shorter than asked.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        match &*self.0 {
            Backend::Local(local) => local.get_range(key, range),
            Backend::Remote(remote) => remote.get_range(key, range, None).await,
        }
    }

    /// Some bytes of an object that must still be the one that was listed.
    ///
    /// # Errors
    /// As [`Storage::get_range`]; `transient` with reason `ObjectChanged` where it is another by now.
    pub async fn get_range_of(&self, object: &Object, range: Range<u64>) -> Result<Bytes> {
        match &*self.0 {
            Backend::Local(local) => local.get_range(&object.key, range),
            Backend::Remote(remote) => {
                remote
                    .get_range(&object.key, range, object.version.as_deref())
                    .await
            }
        }
    }

    /// Opens a byte range of an object for reading from front to back.
    ///
    /// # Errors
    /// As [`Storage::get_range`].
    pub fn read(&self, object: &Object, range: Range<u64>) -> Result<Input> {
        match &*self.0 {
            Backend::Local(local) => Input::local(&local.path(&object.key)?, range),
            Backend::Remote(remote) => Ok(Input::remote(remote, object, range)),
        }
    }

    /// Writes a whole object, replacing what was there.
    ///
    /// # Errors
    /// As [`Storage::list`]; `transient` where the stored size is not the sent one.
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<Object> {
        match &*self.0 {
            Backend::Local(_) => {
                let mut writer = self.writer(key)?;
                writer.write(bytes).await?;
                writer.finish().await
            }
            Backend::Remote(remote) => {
                let size = bytes.len() as u64;
                remote.put(key, bytes).await?;
                self.written(key, size).await
            }
        }
    }

    /// Begins an object that is written piece by piece and appears when it is finished.
    ///
    /// # Errors
    /// As [`Storage::list`].
    pub fn writer(&self, key: &str) -> Result<Writer> {
        match &*self.0 {
            Backend::Local(local) => Writer::local(self.clone(), key, &local.path(key)?),
            Backend::Remote(remote) => Writer::remote(self.clone(), key, remote),
        }
    }

    /// Removes an object; one that is not there is no error.
    ///
    /// # Errors
    /// As [`Storage::list`].
    pub async fn delete(&self, key: &str) -> Result<()> {
        match &*self.0 {
            Backend::Local(local) => local.delete(key),
            Backend::Remote(remote) => remote.delete(key).await,
        }
    }

    /// What the store says of an object that was just written; an error unless its size is right.
    async fn written(&self, key: &str, size: u64) -> Result<Object> {
        let place = self.url_of(key);
        match self.head(key).await? {
            Some(object) if object.size == size => Ok(object),
            Some(object) => Err(Error::transient(format!(
                "{place}: {size} bytes were written and the store holds {}",
                object.size
            ))
            .reason("WriteDamaged")),
            None => Err(
                Error::transient(format!("{place}: it was written and the store does not hold it"))
                    .reason("WriteDamaged"),
            ),
        }
    }
}
