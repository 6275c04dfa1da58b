//! Where the streams of a Flow stand, as its state store knows.
//!
//! In: a Flow. Out: for each stream its last commit and offset; when all of them were last loaded; which of them a run
//! of a given name has loaded already. Nothing here is a ground for a commit: that is the destination's word.

use jiff::Timestamp;

use super::{flow::Flow, offset::Offset, schedule::Last, streams};
use crate::{
    error::{Context, Result},
    state::Revision,
    stream::StreamSpec,
};

/// Where one stream stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Generation and number of its last commit.
    pub at: (u64, u64),
    /// What was stored with it; `None`: nothing was loaded yet.
    pub offset: Option<Offset>,
    /// The last revisions, newest first.
    revisions: Vec<Revision>,
}

/// All streams that have state and that the Flow takes.
///
/// # Errors
/// What the store says.
pub async fn standing(flow: &Flow) -> Result<Vec<Standing>> {
    except(flow, &[]).await
}

/// The streams that were delivered before, that the Flow still takes, and that are not among those `found` at the source
/// now; says so. A file that went away takes its stream along, and nobody would hear of it. A store that cannot tell
/// stops nothing: each stream's own record is what counts.
pub async fn gone(flow: &Flow, found: &[StreamSpec]) -> Vec<String> {
    let known = except(flow, found).await.unwrap_or_else(|error| {
        tracing::debug!(
            flow = flow.name(),
            "what was delivered before cannot be told: {error}"
        );
        Vec::new()
    });
    let delivered = known.into_iter().filter(|stream| stream.offset.is_some());
    let gone: Vec<String> = delivered.map(|stream| stream.name).collect();
    for stream in &gone {
        tracing::warn!(
            flow = flow.name(),
            stream,
            "the source no longer has this stream, which was delivered before; what was delivered stays as it is"
        );
    }
    gone
}

async fn except(flow: &Flow, known: &[StreamSpec]) -> Result<Vec<Standing>> {
    let mut found = Vec::new();
    let place = || format!("state {}", flow.store.place());
    for shard in flow
        .store
        .list(Some(&flow.plan.state.id))
        .await
        .context(place())?
    {
        let is_known = known.iter().any(|stream| stream.name == shard.stream);
        if is_known || !streams::takes(&flow.plan, &shard.stream)? {
            continue;
        }
        if let Some((record, _)) = flow.store.load(&shard).await.context(place())? {
            let committed = record.edit.as_ref().map_or_else(
                || record.committed.clone(),
                |edit| crate::protocol::Committed {
                    offset: edit.offset.clone(),
                    ..record.committed.clone()
                },
            );
            found.push(Standing {
                name: shard.stream,
                at: committed.at(),
                offset: Offset::of(&committed)?,
                revisions: record.history,
            });
        }
    }
    Ok(found)
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
