//! Rows that are compared with what was delivered; only what differs goes to the destination.
//!
//! In: an attempt, and the index of what was delivered. Out: a [`Delivery`]. The rows are read once, beside the index where it
//! can be looked into meanwhile, and other pods may help; what is to be done is decided when all are there.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Attempt, commit::Delivery};
use crate::{
    connector::{Authority, Range, Staged},
    diff::{
        buckets::Buckets,
        candidates::{Candidate, Candidates, Kept},
        decide::{Decisions, Scope, decide},
        index::Index,
        matcher::Matcher,
    },
    engine::{
        counts::Counts,
        deliver::{self, Keyed},
        lane::{self, InOrder},
        offset::Sum,
        prepare::Preparer,
        progress::Phase,
        shared::{Fetched, Gather, Lead, Sharing, Wish},
    },
    error::{Error, Result},
};

impl Attempt<'_, '_> {
    /// Rows are looked for in the index while they are read.
    fn is_matching(&self, index: &Index) -> bool {
        // Where a key has come more than once, all is read again.
        *self.range == Range::Full && !index.is_empty() && self.load.rereads()
    }

    /// Asks other pods to help, where they can.
    pub(super) async fn lead(&self, sharing: &Sharing, index: &Index) -> Result<Option<Arc<Lead>>> {
        let Some(permit) = self.target.permit.as_deref() else {
            return Ok(None);
        };
        let wish = Wish {
            run: &self.setting.run,
            stream: self.target.stream,
            range: self.range,
            load: self.load.as_ref(),
            permit,
            offset: &self.offset,
            delivered: &self.pipeline.schema,
            matching: self.is_matching(index),
            held: self.setting.authority == Authority::Destination,
        };
        sharing.lead(wish).await
    }

    /// Rows are compared with what was delivered; only what differs goes to the destination.
    pub(super) async fn compared(
        &self,
        index: Arc<Index>,
        replace: bool,
        lead: Option<Arc<Lead>>,
    ) -> Result<Delivery> {
        let keyed = !self.pipeline.key.is_empty();
        let full = *self.range == Range::Full;
        let scope = match (keyed, full && !replace) {
            (false, _) => Scope::Rows,
            (true, true) => Scope::Full,
            (true, false) => Scope::Delta,
        };
        let matching = self.is_matching(&index);
        let compared = self.compare(&index, scope, matching, lead.as_ref()).await;
        if let Some(lead) = lead {
            lead.close().await;
        }
        let (mut counts, mut kept, mut decisions) = compared?;
        if decisions.ambiguous {
            tracing::debug!(
                stream = self.target.stream.name,
                "a key or row came more than once: comparing again, row by row"
            );
            (counts, kept, decisions) = self.compare(&index, scope, false, None).await?;
        }
        let (plan, absent) = (&self.setting.plan, decisions.counts.absent);
        deliver::guard(
            absent,
            index.live(),
            plan.max_delete_fraction,
            self.setting.allow_deletes,
        )?;
        self.target.progress.enter(Phase::Writing);
        let (staged, sum) = self.stage(&index, &kept, &decisions, replace).await?;
        counts.decided(decisions.counts);
        Ok(Delivery {
            counts,
            staged,
            dead: decisions.dead_by_segment(&index)?,
            digest: replace.then(|| sum.digest()),
        })
    }

    async fn compare(
        &self,
        index: &Arc<Index>,
        scope: Scope,
        matching: bool,
        lead: Option<&Arc<Lead>>,
    ) -> Result<(Counts, Vec<Kept>, Decisions)> {
        let buckets = Arc::new(Buckets::new(self.scratch, "candidates"));
        let (schema, rekeyed) = (&self.pipeline.schema, self.pipeline.rekeyed);
        let mut lanes = Vec::new();
        for lane in 0..self.lanes() {
            lanes.push(Keyed {
                pipeline: self.pipeline.clone(),
                preparer: Preparer::new(&self.pipeline)?,
                matcher: matching.then(|| Matcher::new(index.clone(), scope != Scope::Rows)),
                candidates: Candidates::new(lane, self.scratch, schema, rekeyed, buckets.clone()),
                counts: Counts::default(),
            });
        }
        self.pipeline.dead_letters.clear().await;
        let (lanes, fetched) = self.read(lanes, lead, &buckets).await?;
        self.target.progress.enter(Phase::Comparing);
        let (mut counts, mut kept, mut seen) =
            (Counts::default(), Vec::new(), roaring::RoaringTreemap::new());
        let mut contested = false;
        let mut parts = Vec::new();
        for lane in lanes {
            let found = lane.matcher.map(Matcher::into_seen).unwrap_or_default();
            parts.push((lane.counts, lane.candidates.finish()?, found));
        }
        parts.extend(
            fetched
                .into_iter()
                .map(|part| (part.counts, part.kept, part.seen)),
        );
        for (part, rows, found) in parts {
            counts.add(&part);
            kept.push(rows);
            // Two lanes found the same entry: the same key and content twice in one load.
            let twice = seen.intersection_len(&found);
            counts.unchanged -= twice;
            counts.superseded += twice;
            contested |= twice > 0 && scope == Scope::Rows;
            seen |= found;
        }
        let scope = self.scope(scope, counts.unknown);
        let (index, scratch) = (index.clone(), self.scratch.to_owned());
        let decisions =
            tokio::task::spawn_blocking(move || decide(scope, &index, &seen, &buckets, &scratch)).await;
        let mut decisions =
            decisions.map_err(|error| Error::bug(format!("the comparison died: {error}")))??;
        decisions.ambiguous |= contested;
        Ok((counts, kept, decisions))
    }

    /// Reads through these lanes, and takes what others have read.
    async fn read(
        &self,
        lanes: Vec<Keyed>,
        lead: Option<&Arc<Lead>>,
        buckets: &Buckets<Candidate>,
    ) -> Result<(Vec<Keyed>, Vec<Fetched>)> {
        let (load, limits, progress) = (self.load.clone(), &self.setting.limits, &self.target.progress);
        let Some(lead) = lead else {
            let deal = InOrder::all(load.as_ref());
            return Ok((lane::run(load, deal, lanes, limits, progress).await?, Vec::new()));
        };
        let into = Gather {
            buckets,
            letters: &self.pipeline.dead_letters,
            scratch: self.scratch,
            lanes: lanes.len(),
            identity: self.pipeline.rekeyed,
        };
        let fetched = Mutex::default();
        let lanes = tokio::select! {
            lanes = lane::run(load, lead.clone(), lanes, limits, progress) => lanes?,
            failed = lead.fetch(&into, &fetched, progress) => match failed? {},
        };
        let mut fetched = fetched.into_inner().unwrap_or_else(PoisonError::into_inner);
        fetched.sort_by_key(|part| part.number);
        Ok((lanes, fetched))
    }

    /// Deletes are found by absence only where every key was read.
    fn scope(&self, scope: Scope, unknown: u64) -> Scope {
        if scope != Scope::Full || unknown == 0 {
            return scope;
        }
        tracing::warn!(
            stream = self.target.stream.name,
            rows = unknown,
            "rows were refused of which not even the key could be read: this load finds no deletes"
        );
        Scope::Delta
    }

    async fn stage(
        &self,
        index: &Index,
        kept: &[Kept],
        decisions: &Decisions,
        replace: bool,
    ) -> Result<(Vec<Staged>, Sum)> {
        let (added, indexed) = (self.added()?, self.keeps_index());
        let (mut staged, mut sum) = (Vec::new(), Sum::default());
        let kept: Vec<&Kept> = kept.iter().filter(|kept| kept.rows > 0).collect();
        // The parts of others are as many as the source has; files are made for each lane, not for each part.
        let each = kept.len().div_ceil(self.lanes()).max(1);
        for (lane, kept) in kept.chunks(each).enumerate() {
            let mut output = self.output(&added, lane, replace, indexed).await?;
            for kept in kept {
                sum.merge(deliver::stage_winners(kept, decisions, &mut output).await?);
            }
            staged.push(output.finish().await?);
        }
        if !decisions.gone.is_empty() {
            let mut output = self.output(&added, staged.len(), replace, indexed).await?;
            deliver::stage_gone(index, decisions, &self.pipeline.schema, &mut output).await?;
            staged.push(output.finish().await?);
        }
        Ok((staged, sum))
    }
}
