//! Removes what nobody refers to: files of attempts that never committed, of replaced generations, of older manifests.
//!
//! A key is removed only where the current manifest and the one before it do not name it, where it belongs to a commit
//! at or before the head's, and where it is older than the time that the configuration gives readers. Nothing here
//! decides about a commit.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{
    head::{Manifest, read_manifest},
    shard::FileShard,
};
use crate::{error::Result, failpoint, protocol::Permit};

/// Removes what is unreferenced and old.
pub(super) async fn unreferenced(shard: &FileShard, permit: &Permit) -> Result<()> {
    let Some((head, version)) = shard.head().await? else {
        return Ok(());
    };
    let current = read_manifest(&shard.storage, Some(&head)).await?;
    let mut kept = names(&current);
    kept.extend(head.manifest.clone());
    if let Some(previous) = current.previous.clone() {
        kept.insert(previous);
    }
    let age = i64::from(shard.config.clean_after_hours) * 3_600_000_000_000;
    let before = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX) - age;
    let mut old = Vec::new();
    for prefix in ["data/", "index/", "manifests/"] {
        for object in shard.storage.list(prefix).await? {
            let unreferenced = !kept.contains(&object.key) && is_past(&object.key, permit);
            if object.modified < before && (unreferenced || failpoint::mutated("m9")) {
                old.push(object.key);
            }
        }
    }
    // The head was read before the listing; whoever took it over since cleans up himself.
    if shard.head().await?.is_none_or(|(_, now)| now != version) {
        return Ok(());
    }
    for key in old {
        shard.storage.delete(&key).await?;
    }
    Ok(())
}

fn names(manifest: &Manifest) -> HashSet<String> {
    let files = manifest.files.iter().flat_map(|file| {
        [
            Some(file.key.clone()),
            file.segment.as_ref().map(|segment| segment.key.clone()),
        ]
    });
    files
        .flatten()
        .chain(manifest.segments.iter().map(|segment| segment.key.clone()))
        .collect()
}

/// `data/<generation>-<epoch>-<seq>/…`: of an older epoch, or of this one and committed or given up.
fn is_past(key: &str, permit: &Permit) -> bool {
    let Some(directory) = key.split('/').nth(1) else {
        return false;
    };
    let mut numbers = directory.split('-').map(|part| part.parse::<u64>().ok());
    match (
        numbers.next().flatten(),
        numbers.next().flatten(),
        numbers.next().flatten(),
    ) {
        (Some(generation), Some(epoch), Some(seq)) => {
            epoch < permit.epoch() || (epoch == permit.epoch() && (generation, seq) <= permit.last().at())
        }
        // A manifest: `manifests/<generation>-<seq>-<mark>.json`.
        (Some(generation), Some(seq), None) => (generation, seq) < permit.last().at(),
        _ => false,
    }
}
