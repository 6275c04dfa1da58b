//! Objects as files of a local directory, for any number of processes of one machine.
//!
//! Beside `HEAD.json` lies `.HEAD.json.lock`: the file that writers lock, and in it a random mark that is replaced
//! before each write. The version of an object is that mark and the hash of its bytes, so content that comes back
//! (A, B, A) has another version. A write goes to `.HEAD.json.tmp`, is synced and renamed: a process killed at any
//! instruction leaves the old bytes or the new ones, and a lock that the system takes back.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind as Io, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{Cas, CasStore, Version};
use crate::error::{Context, Error, Result};

/// How long a writer waits for another one, which holds the lock for some milliseconds unless it was stopped.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of objects.
#[derive(Clone, Debug)]
pub struct DirectoryCas {
    root: PathBuf,
}

impl DirectoryCas {
    /// Objects below `root`, which is made with the first write.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    async fn on<T: Send + 'static>(
        &self,
        key: &str,
        act: impl FnOnce(&Paths) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let paths = Paths::new(&self.root, key)?;
        let place = paths.object.display().to_string();
        tokio::task::spawn_blocking(move || act(&paths))
            .await
            .map_err(Error::bug)?
            .context(place)
    }
}

#[async_trait]
impl CasStore for DirectoryCas {
    async fn read(&self, key: &str) -> Result<Option<(Bytes, Version)>> {
        self.on(key, read).await
    }
    async fn create(&self, key: &str, bytes: Bytes) -> Result<Cas> {
        self.on(key, move |paths| write(paths, &bytes, None)).await
    }
    async fn swap(&self, key: &str, bytes: Bytes, version: &Version) -> Result<Cas> {
        let version = version.clone();
        self.on(key, move |paths| write(paths, &bytes, Some(&version)))
            .await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        tokio::task::spawn_blocking(move || {
            let mut keys = Vec::new();
            walk(&root, "", &mut keys)?;
            keys.retain(|key| key.starts_with(&prefix));
            keys.sort();
            Ok(keys)
        })
        .await
        .map_err(Error::bug)?
    }
    async fn remove(&self, key: &str) -> Result<()> {
        self.on(key, remove).await
    }
    fn place(&self) -> String {
        self.root.display().to_string()
    }
}

/// The files of one object.
struct Paths {
    directory: PathBuf,
    object: PathBuf,
    lock: PathBuf,
    temporary: PathBuf,
}

impl Paths {
    fn new(root: &Path, key: &str) -> Result<Self> {
        if key
            .split('/')
            .any(|part| part.is_empty() || part.starts_with('.'))
        {
            return Err(Error::bug(format!("`{key}` is no key of an object")));
        }
        let object = root.join(key);
        let (Some(directory), Some(name)) = (object.parent(), object.file_name()) else {
            return Err(Error::bug(format!("`{key}` is no key of an object")));
        };
        let beside = |suffix: &str| directory.join(format!(".{}.{suffix}", name.to_string_lossy()));
        Ok(Self {
            directory: directory.to_owned(),
            lock: beside("lock"),
            temporary: beside("tmp"),
            object: object.clone(),
        })
    }
}

/// A mark that is the same before and after the bytes were read belongs to them, since no mark comes twice.
fn read(paths: &Paths) -> Result<Option<(Bytes, Version)>> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let mark = optional(fs::read(&paths.lock))?.unwrap_or_default();
        let bytes = optional(fs::read(&paths.object))?;
        if optional(fs::read(&paths.lock))?.unwrap_or_default() == mark {
            return Ok(bytes.map(|bytes| {
                let version = version(&mark, &bytes);
                (Bytes::from(bytes), version)
            }));
        }
    }
    Err(Error::transient("it changes faster than it can be read"))
}

fn write(paths: &Paths, bytes: &[u8], expected: Option<&Version>) -> Result<Cas> {
    make_directory(&paths.directory)?;
    let mut lock = lock(paths)?;
    let mut mark = Vec::new();
    lock.read_to_end(&mut mark)?;
    let there = optional(fs::read(&paths.object))?.map(|bytes| version(&mark, &bytes));
    if there.as_ref() != expected {
        return Ok(Cas::Conflict);
    }
    // What may fail for want of space comes before anything changes: a version that a failed write took away would look
    // like another's write.
    if let Err(error) = write_file(&paths.temporary, bytes) {
        let _ = fs::remove_file(&paths.temporary);
        return Err(error.into());
    }
    // The mark first: were the bytes first, a death in between would leave new bytes under an old mark. It needs no
    // sync, as it tells versions apart only for processes that are alive.
    let old = mark;
    let mark = uuid::Uuid::new_v4().simple().to_string();
    write_mark(&mut lock, mark.as_bytes())?;
    if let Err(error) = fs::rename(&paths.temporary, &paths.object) {
        write_mark(&mut lock, &old)?;
        return Err(error.into());
    }
    match File::open(&paths.directory).and_then(|directory| directory.sync_all()) {
        Ok(()) => Ok(Cas::Done(version(mark.as_bytes(), bytes))),
        Err(error) => Ok(Cas::Unknown(format!(
            "written, and not surely on the disk: {error}"
        ))),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn write_mark(lock: &mut File, mark: &[u8]) -> std::io::Result<()> {
    lock.seek(SeekFrom::Start(0))?;
    lock.write_all(mark)
}

fn remove(paths: &Paths) -> Result<()> {
    if optional(fs::metadata(&paths.directory))?.is_none() {
        return Ok(());
    }
    let held = lock(paths)?;
    optional(fs::remove_file(&paths.object))?;
    optional(fs::remove_file(&paths.temporary))?;
    fs::remove_file(&paths.lock)?;
    drop(held);
    Ok(())
}

/// The lock file, locked; at most [`PATIENCE`] is spent on it.
fn lock(paths: &Paths) -> Result<File> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&paths.lock)?;
        match file.try_lock() {
            // Whoever removes the object removes the lock file too: what we hold must be the one that has the name.
            Ok(()) if is_named(&file, &paths.lock)? => return Ok(file),
            Ok(()) => continue,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) if error.kind() == Io::Unsupported => {
                return Err(Error::config("this file system has no file locks")
                    .reason("ConditionalWritesIgnored")
                    .advice("use a local directory, or `s3:`"));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        if Instant::now() > deadline {
            return Err(
                Error::transient(format!("another process holds {}", paths.lock.display()))
                    .advice("continue or end that process (`fuser` names it)"),
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_named(file: &File, path: &Path) -> Result<bool> {
    let held = file.metadata()?;
    Ok(optional(fs::metadata(path))?
        .is_some_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())))
}

fn version(mark: &[u8], bytes: &[u8]) -> Version {
    Version(format!(
        "{}-{:x}",
        String::from_utf8_lossy(mark),
        Sha256::digest(bytes)
    ))
}

fn optional<T>(result: std::io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == Io::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes a directory so that its name survives a power loss: each new one is synced into its parent.
fn make_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    make_directory(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != Io::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    Ok(File::open(parent)?.sync_all()?)
}

fn walk(directory: &Path, prefix: &str, keys: &mut Vec<String>) -> Result<()> {
    let Some(entries) = optional(fs::read_dir(directory))? else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{prefix}{name}/"), keys)?;
        } else {
            keys.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}
