//! Where the streams of a Flow stand, as its state store knows.
//!
//! In: a Flow. Out: for each stream its last commit and offset; when all of them were last loaded; which of them a run
//! of a given name has loaded already. Nothing here is a ground for a commit: that is the destination's word.

use std::collections::HashSet;

use jiff::Timestamp;
use millrace_crds::schedule::Last;

use super::{flow::Flow, offset::Offset, streams};
use crate::{
    error::{Context, Result},
    protocol::{Committed, ShardId},
    state::{Record, Revision, encode},
    stream::StreamSpec,
};

/// Where one stream stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// The epoch of its last owner.
    pub epoch: u64,
    /// Generation and number of its last commit.
    pub at: (u64, u64),
    /// What was stored with it; `None`: nothing was loaded yet.
    pub offset: Option<Offset>,
    /// The bytes of its record.
    pub bytes: u64,
    /// The last revisions, newest first.
    revisions: Vec<Revision>,
}

/// All streams that have state and that the Flow takes.
///
/// # Errors
/// What the store says.
pub async fn standing(flow: &Flow) -> Result<Vec<Standing>> {
    let mut found = Vec::new();
    let place = || format!("state {}", flow.store.place());
    for (shard, record) in flow.store.load_all(&flow.plan.state.id).await.context(place())? {
        if streams::takes(&flow.plan, &shard.stream)? {
            found.push(Standing::of(shard, record.context(place())?)?);
        }
    }
    Ok(found)
}

/// The streams that were delivered before, that the Flow still takes, and that are not among those `found` at the source
/// now; says so. A file that went away takes its stream along, and nobody would hear of it. A store that cannot tell
/// stops nothing: each stream's own record is what counts.
pub async fn gone(flow: &Flow, found: &[StreamSpec]) -> Vec<String> {
    let gone = delivered_but(flow, found).await.unwrap_or_else(|error| {
        tracing::debug!(
            flow = flow.name(),
            "what was delivered before cannot be told: {error}"
        );
        Vec::new()
    });
    for stream in &gone {
        tracing::warn!(
            flow = flow.name(),
            stream,
            "the source no longer has this stream, which was delivered before; what was delivered stays as it is"
        );
    }
    gone
}

async fn delivered_but(flow: &Flow, known: &[StreamSpec]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let known: HashSet<&str> = known.iter().map(|stream| stream.name.as_str()).collect();
    for shard in flow.store.list(Some(&flow.plan.state.id)).await? {
        if known.contains(shard.stream.as_str()) || !streams::takes(&flow.plan, &shard.stream)? {
            continue;
        }
        let Some((record, _)) = flow.store.load(&shard).await? else {
            continue;
        };
        let stand = Standing::of(shard, record)?;
        names.extend(stand.offset.is_some().then_some(stand.name));
    }
    Ok(names)
}

impl Standing {
    fn of(shard: ShardId, record: Record) -> Result<Self> {
        let bytes = encode(&shard, &record)?.len() as u64;
        let committed = record.edit.as_ref().map_or_else(
            || record.committed.clone(),
            |edit| Committed {
                offset: edit.offset.clone(),
                ..record.committed.clone()
            },
        );
        Ok(Self {
            name: shard.stream,
            epoch: record.epoch,
            at: committed.at(),
            offset: Offset::of(&committed)?,
            bytes,
            revisions: record.history,
        })
    }
}

/// When the streams were last loaded. `expected`: those that the Flow should have; one that was never loaded makes the
/// whole incomplete.
#[must_use]
pub fn last(standing: &[Standing], expected: &[String]) -> Last {
    let loaded = |name: &String| {
        standing
            .iter()
            .any(|stream| stream.name == *name && stream.offset.is_some())
    };
    let offsets = || standing.iter().filter_map(|stream| stream.offset.as_ref());
    let full = offsets().filter_map(Standing::full).max();
    let delta = offsets().filter_map(Standing::delta).max();
    Last {
        complete: offsets().next().is_some()
            && standing.iter().all(|stream| stream.offset.is_some())
            && expected.iter().all(loaded),
        full,
        any: full.max(delta),
    }
}

impl Standing {
    /// When an offset was last loaded in full.
    #[must_use]
    pub fn full(offset: &Offset) -> Option<Timestamp> {
        offset.full_load.as_ref()?.parse().ok()
    }

    /// When an offset was last loaded by a delta.
    #[must_use]
    pub fn delta(offset: &Offset) -> Option<Timestamp> {
        offset.delta_load.as_ref()?.parse().ok()
    }

    /// Whether a run of this name has committed the stream.
    #[must_use]
    pub fn was_loaded_by(&self, run: &str) -> bool {
        self.revisions.iter().any(|revision| {
            revision.run.id == run && ["full", "delta", "backfill"].contains(&revision.run.cause.as_str())
        })
    }
}
