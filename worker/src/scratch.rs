//! Directories for a while: what is in them goes with them, and what killed workers have left goes with the next.
//!
//! In: a place. Out: a directory in it, locked for as long as its worker lives.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::settings;

/// What their names begin with.
const PREFIX: &str = "millrace-scratch-";
/// One that is being made is not locked yet.
const YOUNG: Duration = Duration::from_mins(1);

/// A directory that goes when it is dropped.
pub struct Scratch {
    directory: tempfile::TempDir,
    /// Locked: what is not was left behind.
    _alive: File,
}

impl Scratch {
    /// Makes one where `MILLRACE_SCRATCH_DIR` says, or in the system's temporary directory.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new() -> io::Result<Self> {
        Self::within(&settings::scratch())
    }

    /// Makes one in `place`, from which the first of a worker removes what was left there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn within(place: &Path) -> io::Result<Self> {
        static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let first = SWEPT
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place.to_owned());
        if first {
            sweep(place, PREFIX, YOUNG);
        }
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?;
        let alive = File::open(directory.path())?;
        alive.lock()?;
        Ok(Self {
            directory,
            _alive: alive,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes the directories of a prefix that are older than `age` and that no worker has locked.
pub(crate) fn sweep(place: &Path, prefix: &str, age: Duration) {
    let found = std::fs::read_dir(place).into_iter().flatten().flatten();
    for entry in found.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)) {
        let path = entry.path();
        let left = File::open(&path).is_ok_and(|directory| directory.try_lock().is_ok());
        let made = entry.metadata().and_then(|known| known.modified()).ok();
        let old = made
            .and_then(|made| made.elapsed().ok())
            .is_some_and(|since| since > age);
        if left
            && old
            && let Err(error) = std::fs::remove_dir_all(&path)
        {
            tracing::warn!(
                "{} was left behind, and cannot be removed: {error}",
                path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests;
