//! Writing an object that appears whole or not at all.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use object_store::buffered::BufWriter;
use tokio::io::AsyncWriteExt;

use super::{Object, Storage, fault::explain, remote::Remote};
use crate::error::{Context, Result};

/// What is sent in one request of a long upload; S3 allows 10,000 of them in an object.
const PART: usize = 8 << 20;
/// Requests under way at once.
const UPLOADS: usize = 4;

/// An object on its way. Dropped before [`Writer::finish`], it never existed; what a killed process left behind at
/// a local place ends in `.partial`.
pub struct Writer {
    storage: Storage,
    key: String,
    written: u64,
    to: To,
}

enum To {
    File(Partial),
    Upload(Box<BufWriter>),
}

impl Writer {
    pub(super) fn local(storage: Storage, key: &str, target: &Path) -> Result<Self> {
        let to = To::File(Partial::create(target)?);
        Ok(Self {
            storage,
            key: key.to_owned(),
            written: 0,
            to,
        })
    }

    pub(super) fn remote(storage: Storage, key: &str, remote: &Remote) -> Result<Self> {
        let upload =
            BufWriter::with_capacity(remote.store(), remote.path(key)?, PART).with_max_concurrency(UPLOADS);
        Ok(Self {
            storage,
            key: key.to_owned(),
            written: 0,
            to: To::Upload(Box::new(upload)),
        })
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Takes the next bytes; waits while too many are under way.
    ///
    /// # Errors
    /// `config` where the right to write is missing, `transient` where the store does not answer or is full.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let size = bytes.len() as u64;
        match &mut self.to {
            To::File(partial) => partial.write(&bytes)?,
            To::Upload(upload) => {
                upload
                    .put(bytes)
                    .await
                    .map_err(|error| explain(&self.storage.url_of(&self.key), "write", error))?;
            }
        }
        self.written += size;
        Ok(())
    }

    /// Makes the object visible, safe on disk and of the size that was written.
    ///
    /// # Errors
    /// As [`Writer::write`]; nothing is visible then, or it will be overwritten whole by the next attempt.
    pub async fn finish(self) -> Result<Object> {
        match self.to {
            To::File(partial) => partial.publish()?,
            To::Upload(mut upload) => {
                let place = self.storage.url_of(&self.key);
                upload
                    .shutdown()
                    .await
                    .map_err(|error| explain(&place, "write", store_error(error)))?;
            }
        }
        self.storage.written(&self.key, self.written).await
    }

    /// Gives up; the store forgets what was sent.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn abort(self) -> Result<()> {
        if let To::Upload(mut upload) = self.to {
            upload
                .abort()
                .await
                .map_err(|error| explain(&self.storage.url_of(&self.key), "abort", error))?;
        }
        Ok(())
    }
}

/// The store's own error inside of an I/O error.
fn store_error(error: std::io::Error) -> object_store::Error {
    match error.downcast::<object_store::Error>() {
        Ok(error) => error,
        Err(error) => object_store::Error::Generic {
            store: "upload",
            source: Box::new(error),
        },
    }
}

/// A file beside its target, with a name of its own until it is complete.
struct Partial {
    file: File,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl Partial {
    fn create(target: &Path) -> Result<Self> {
        let parent = target.parent().unwrap_or(Path::new("."));
        make_directories(parent).context(format!("cannot make {}", parent.display()))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!("{name}.{}.partial", uuid::Uuid::new_v4().simple()));
        let file = File::create_new(&path).context(format!("cannot write {}", path.display()))?;
        Ok(Self {
            file,
            path,
            target: target.to_owned(),
            published: false,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .context(format!("cannot write {}", self.path.display()))
    }

    /// Data first, then the name, then the directory that holds the name: in this order a crash leaves the old
    /// content or the new.
    fn publish(mut self) -> Result<()> {
        let publish = || -> std::io::Result<()> {
            self.file.sync_all()?;
            fs::rename(&self.path, &self.target)?;
            sync_directory(self.target.parent().unwrap_or(Path::new(".")))
        };
        publish().context(format!("cannot write {}", self.target.display()))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // Nothing more can be done where this fails, and nobody reads such a file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)?.sync_all()
}

/// Makes a directory and its parents, each one's name safe on disk.
fn make_directories(path: &Path) -> std::io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    make_directories(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(parent),
    }
}
