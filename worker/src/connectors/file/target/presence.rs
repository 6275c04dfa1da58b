//! Whether the files are there that the list of current files names: somebody may have removed them by hand.
//!
//! In: a manifest. Out: nothing, or an error that names what is gone. Listings may lag, so that a file counts as gone
//! only where the store says so when it is asked for that one.

use std::collections::HashSet;

use super::head::Manifest;
use crate::{
    error::{Error, Result},
    storage::Storage,
};

/// Looks for the data files and the segments of a manifest.
///
/// # Errors
/// `state` with the reason `DataMissing` where one is gone.
pub(super) async fn look(storage: &Storage, manifest: &Manifest) -> Result<()> {
    let Some(listed) = listed(storage).await? else {
        return Ok(());
    };
    let mut gone = Vec::new();
    for key in manifest.keys().filter(|key| !listed.contains(*key)) {
        if storage.head(key).await?.is_none() {
            gone.push(key);
        }
    }
    match gone.as_slice() {
        [] => Ok(()),
        [one] => Err(missing(storage, one, "")),
        [one, more @ ..] => Err(missing(storage, one, &format!(" (and {} more)", more.len()))),
    }
}

/// What a bucket is known to hold; `None`: that cannot be told. A file of this machine is asked for as cheaply.
async fn listed(storage: &Storage) -> Result<Option<HashSet<String>>> {
    let mut found = HashSet::new();
    if storage.local_path("")?.is_some() {
        return Ok(Some(found));
    }
    for prefix in ["data/", "index/"] {
        // Who may not list is told of what is gone once it is read.
        let Ok(objects) = storage.list(prefix).await else {
            return Ok(None);
        };
        found.extend(objects.into_iter().map(|object| object.key));
    }
    Ok(Some(found))
}

/// Why a load cannot go on without a file.
pub(super) fn missing(storage: &Storage, key: &str, more: &str) -> Error {
    Error::state(
        "DataMissing",
        format!(
            "{}{more} is gone, and the list of current files has it",
            storage.url_of(key)
        ),
    )
    .advice(format!(
        "bring it back from a backup; or take all of {} away and `millrace state reset --stream NAME`, so that the next \
         load delivers everything",
        storage.place()
    ))
}
