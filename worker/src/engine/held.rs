//! A stream's shard, taken over for a load: who holds it, where it stands, and what is read from there.
//!
//! In: a request of a Flow. Out: a [`Held`] with the right to commit, and the range that follows from its offset.

use std::sync::Arc;

use millrace_crds::flow::WriteMode;

use super::{
    flow::{Flow, Request, Wanted},
    load::{Setting, Target},
    offset::Offset,
    progress::Progress,
};
use crate::{
    backoff::Backoff,
    connector::{Authority, Range, Shard},
    error::{Error, Result},
    protocol::{self, Claim, Permit, ShardId},
    state::Run,
    stream::StreamSpec,
};

impl Flow {
    /// Takes a stream's shard over, or only looks at it where nothing is to be done.
    pub(super) async fn hold(
        &self,
        setting: &Setting,
        stream: &StreamSpec,
        request: &Request,
    ) -> Result<Held> {
        let id = self.shard_id(&stream.name);
        let shard = self.destination.shard(&id, stream).await?;
        let permit = match request.dry_run {
            true => None,
            false => Some(self.acquire(&id, shard.as_ref(), request, &setting.run).await?),
        };
        let committed = match &permit {
            Some(permit) => Some(permit.last().clone()),
            None => protocol::peek(self.store.as_ref(), shard.as_ref(), &id, setting.authority).await?,
        };
        let mut offset = committed.as_ref().map(Offset::of).transpose()?.flatten();
        let reader = Offset::reader_of(&self.plan);
        let earlier = offset
            .as_mut()
            .filter(|offset| offset.reader.as_ref().is_some_and(|by| *by != reader));
        let anew = earlier.is_some();
        if let Some(offset) = earlier {
            tracing::warn!(
                flow = self.name(),
                stream = stream.name,
                "it was read by {}, and is read by {reader} now, to which its watermark means nothing: a full load",
                offset.reader.take().unwrap_or_default()
            );
            offset.watermark = None;
        }
        let place = Offset::place_of(&self.plan);
        if setting.authority != Authority::Destination
            && let Some(before) = offset.as_ref().and_then(|offset| offset.place.as_ref())
            && *before != place
        {
            tracing::warn!(
                flow = self.name(),
                stream = stream.name,
                "the connection of the destination has changed since the last load. Where it leads to another place now, \
                 what was delivered before is not there: `millrace state reset --stream {}` delivers it again",
                stream.name
            );
        }
        Ok(Held {
            shard,
            permit,
            offset,
            anew,
        })
    }

    async fn acquire(&self, id: &ShardId, shard: &dyn Shard, request: &Request, run: &str) -> Result<Permit> {
        let claim = Claim {
            flow_uid: self.plan.flow.uid.clone(),
            owner: owner(),
            run: Run {
                id: run.to_owned(),
                cause: "acquire".to_owned(),
            },
            adopt: request.adopt.clone(),
            authority: self.destination.authority(),
            backoff: Backoff::default(),
        };
        protocol::acquire(self.store.as_ref(), shard, id, claim).await
    }
}

/// A shard that this worker holds.
pub(super) struct Held {
    pub(super) shard: Arc<dyn Shard>,
    permit: Option<Permit>,
    pub(super) offset: Option<Offset>,
    /// Another reader has left it.
    anew: bool,
}

impl Held {
    pub(super) fn target<'a>(&'a mut self, stream: &'a StreamSpec, progress: &Progress) -> Target<'a> {
        Target {
            stream,
            shard: self.shard.clone(),
            permit: self.permit.as_mut(),
            offset: &mut self.offset,
            progress: progress.clone(),
        }
    }

    /// What is read next.
    ///
    /// # Errors
    /// `config` where the stream has no such load.
    pub(super) fn range(&self, request: &Request, stream: &StreamSpec, resumes: bool) -> Result<Range> {
        range(
            request,
            stream,
            self.offset.as_ref().filter(|_| !self.anew),
            resumes,
        )
    }

    /// Whether the permit still commits.
    pub(super) fn check(&self) -> Result<()> {
        self.permit.as_ref().map_or(Ok(()), Permit::check)
    }

    /// Removes what is no longer needed; that it failed is no failure of the load.
    pub(super) async fn clean(&self) {
        if let Some(permit) = &self.permit
            && let Err(error) = self.shard.clean(permit).await
        {
            tracing::warn!(shard = %permit.shard(), "cleaning up failed: {error}");
        }
    }
}

/// A first load is always a full one: only it tells what was there before.
fn range(request: &Request, stream: &StreamSpec, offset: Option<&Offset>, resumes: bool) -> Result<Range> {
    let overwrite = stream.write_mode == WriteMode::Overwrite;
    let delta = |offset: &Offset| Range::Delta {
        after: offset.watermark.clone(),
    };
    Ok(match (&request.load, offset) {
        (Some(Wanted::Delta | Wanted::Backfill { .. }), _) if overwrite => {
            return Err(Error::config(
                "writeMode: overwrite replaces the whole table, so it has full loads only",
            )
            .advice("run it with `--full`, or choose writeMode upsert or append"));
        }
        (Some(Wanted::Backfill { from, to }), _) => Range::Backfill {
            from: from.clone(),
            to: to.clone(),
        },
        (_, None) | (Some(Wanted::Full), _) => Range::Full,
        (Some(Wanted::Delta), Some(offset)) => delta(offset),
        (None, Some(offset))
            if (resumes && offset.watermark.is_some() || !stream.cursor.is_empty()) && !overwrite =>
        {
            delta(offset)
        }
        (None, Some(_)) => Range::Full,
    })
}

/// Host and process, for people.
fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}", host.trim(), std::process::id())
}
