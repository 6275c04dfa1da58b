//! Objects that are files below a directory of this machine.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use bytes::Bytes;

use super::{Object, remote::shorter};
use crate::error::{Context, Error, Result};

/// The root directory.
pub(super) struct Local(PathBuf);

impl Local {
    pub(super) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    pub(super) fn path(&self, key: &str) -> Result<PathBuf> {
        let inside = Path::new(key)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if inside && !key.contains('\0') {
            return Ok(self.0.join(key));
        }
        Err(
            Error::config(format!("`{key}` leads out of {}", self.0.display()))
                .advice("use names without `..`"),
        )
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        let mut objects = Vec::new();
        let start = self.path(prefix)?;
        self.walk(&start, &mut objects)?;
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    fn walk(&self, directory: &Path, objects: &mut Vec<Object>) -> Result<()> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if gone(&error) => return Ok(()),
            Err(error) => return Err(error).context(format!("cannot list {}", directory.display())),
        };
        for entry in entries {
            let path = entry
                .context(format!("cannot list {}", directory.display()))?
                .path();
            // Follows links, as a person who lists the directory does; what vanished meanwhile is not there.
            match fs::metadata(&path) {
                Ok(found) if found.is_dir() => self.walk(&path, objects)?,
                Ok(found) if found.is_file() => {
                    objects.extend(self.key(&path).map(|key| object(key, &found)));
                }
                Ok(_) => {}
                Err(error) if gone(&error) => {}
                Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
            }
        }
        Ok(())
    }

    /// `None` for a name that is not UTF-8: no manifest can name it either.
    fn key(&self, path: &Path) -> Option<String> {
        path.strip_prefix(&self.0).ok()?.to_str().map(str::to_owned)
    }

    pub(super) fn head(&self, key: &str) -> Result<Option<Object>> {
        let path = self.path(key)?;
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(Some(object(key.to_owned(), &found))),
            Ok(_) => Ok(None),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error).context(format!("cannot read {}", path.display())),
        }
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let path = self.path(key)?;
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error).context(format!("cannot read {}", path.display())),
        }
    }

    pub(super) fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes> {
        let path = self.path(key)?;
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(range.start))?;
            let mut bytes = Vec::new();
            file.take(range.end.saturating_sub(range.start))
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().context(format!("cannot read {}", path.display()))?;
        if (bytes.len() as u64) < range.end.saturating_sub(range.start) {
            return Err(shorter(&path.display().to_string()));
        }
        Ok(bytes.into())
    }

    pub(super) fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if gone(&error) => Ok(()),
            Err(error) => Err(error).context(format!("cannot delete {}", path.display())),
        }
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn object(key: String, found: &Metadata) -> Object {
    let modified = found
        .mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(found.mtime_nsec());
    // The change time catches a rewrite that sets back the modification time.
    let version = format!(
        "{:x}-{:x}-{:x}.{:x}",
        found.ino(),
        found.len(),
        found.ctime(),
        found.ctime_nsec()
    );
    Object {
        key,
        size: found.len(),
        modified,
        version: Some(version),
    }
}
