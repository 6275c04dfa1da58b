//! Removes what nobody refers to: files of attempts that never committed, of replaced generations, of older manifests.
//!
//! A key is removed only where the current manifest does not name it, where it belongs to a commit at or before the
//! head's, and where it was written, and replaced, longer ago than the configuration gives readers. Nothing here decides
//! about a commit.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{head::read_manifest, shard::FileShard};
use crate::{diff::stored::is_past, error::Result, failpoint, protocol::Permit};

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
