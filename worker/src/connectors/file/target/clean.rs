//! Removes what nobody refers to: files of attempts that never committed, of replaced generations, of older manifests.
//!
//! A key is removed only where the current manifest does not name it, where it belongs to a commit at or before the
//! head's, and where it was written, and replaced, longer ago than the configuration gives readers. Nothing here decides
//! about a commit.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{head::read_manifest, shard::FileShard};
use crate::{error::Result, failpoint, protocol::Permit};

/// Removes what is unreferenced and old.
pub(super) async fn unreferenced(shard: &FileShard, permit: &Permit) -> Result<()> {
    let Some((head, version)) = shard.head().await? else {
        return Ok(());
    };
    let current = read_manifest(&shard.storage, Some(&head)).await?;
    let since = shard.config.kept_since(Timestamp::now());
    let young = current.retired.iter().filter(|retired| retired.at >= since);
    let mut kept: HashSet<&String> = current.keys().chain(young.map(|retired| &retired.key)).collect();
    kept.extend(&head.manifest);
    kept.extend(&current.previous);
    let before = i64::try_from(since.as_nanosecond()).unwrap_or(i64::MAX);
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
