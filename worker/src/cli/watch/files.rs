//! Whether the manifests have changed: by the names, sizes and times of the files, looked at again and again.
//!
//! Looking works on every file system, network shares and mounted volumes included, where notices of changes do not.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::cli::manifests::Loaded;

/// The time between two looks.
const EVERY: Duration = Duration::from_millis(300);

/// Each file, with its size and the time of its last change; `None`: it is gone.
type Seen = BTreeMap<PathBuf, Option<(u64, SystemTime)>>;

/// The files that the manifests are made of.
pub(in crate::cli) struct Files {
    paths: Vec<PathBuf>,
    seen: Seen,
}

impl Files {
    /// What is there now: taken before the manifests are read, so that what changes while they are read is seen.
    pub(in crate::cli) fn new(paths: &[PathBuf]) -> Self {
        Self {
            paths: paths.to_vec(),
            seen: look(paths),
        }
    }

    /// Contracts that the manifests refer to are watched too.
    pub(super) fn also(&mut self, loaded: &Loaded) {
        for path in loaded.resources.contracts.keys() {
            if !self.paths.contains(path) {
                note(&mut self.seen, path.clone());
                self.paths.push(path.clone());
            }
        }
    }

    /// Waits until something has changed, and nothing changes any more: a file may be written in several steps.
    pub(super) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let mut now = look(&self.paths);
            if now == self.seen {
                continue;
            }
            loop {
                tokio::time::sleep(EVERY / 3).await;
                let then = std::mem::replace(&mut now, look(&self.paths));
                if then == now {
                    break;
                }
            }
            self.seen = now;
            return;
        }
    }
}

fn look(paths: &[PathBuf]) -> Seen {
    let mut seen = Seen::new();
    for path in paths {
        match fs::read_dir(path) {
            Ok(entries) => {
                let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
                files
                    .filter(|file| is_manifest(file))
                    .for_each(|file| note(&mut seen, file));
            }
            Err(_) => note(&mut seen, path.clone()),
        }
    }
    seen
}

fn note(seen: &mut Seen, file: PathBuf) {
    let found = fs::metadata(&file).and_then(|found| Ok((found.len(), found.modified()?)));
    seen.insert(file, found.ok());
}

fn is_manifest(file: &Path) -> bool {
    file.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

#[cfg(test)]
mod tests;
