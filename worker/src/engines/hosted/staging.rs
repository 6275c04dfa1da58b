//! Where a writer lays down the files of one lane until their commit: a directory that no other attempt uses.
//!
//! In: nothing. Out: a directory that outlives its process, since a commit that was announced is made again by the next one. It
//! goes with its commit; what a crash has left goes after a day.

use std::{
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    error::{Error, Result},
    scratch::sweep,
    settings,
};

const PREFIX: &str = "millrace-writer-";
const DAY: Duration = Duration::from_hours(24);

/// What one lane has written.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Files {
    /// What the writer tells of its files.
    pub(super) files: Vec<Value>,
    /// The directory that it was given.
    directory: PathBuf,
}

/// An empty directory, which goes with a lane that fails.
pub(super) fn directory() -> Result<TempDir> {
    static SWEPT: Once = Once::new();
    let place = settings::scratch();
    SWEPT.call_once(|| sweep(&place, PREFIX, DAY));
    Ok(tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?)
}

impl Files {
    /// What has become of a lane; its directory stays.
    pub(super) fn new(files: Vec<Value>, directory: TempDir) -> Self {
        Self {
            files,
            directory: directory.keep(),
        }
    }

    /// Those of a stage, as its token has them.
    pub(super) fn of(token: &Value) -> Result<Self> {
        serde_json::from_value(token.clone()).map_err(Error::bug)
    }

    /// One of the files in the directory is gone, as after the end of a pod.
    pub(super) fn are_gone(&self) -> bool {
        let paths = self.files.iter().filter_map(|file| file["path"].as_str());
        let mut own = paths
            .map(Path::new)
            .filter(|path| path.starts_with(&self.directory));
        own.any(|path| !path.exists())
    }

    /// Removes the directory: nobody needs it any more.
    pub(super) fn remove(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("{} cannot be removed: {error}", self.directory.display());
        }
    }
}
