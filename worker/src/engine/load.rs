//! One load of one stream: read, compare, stage, commit.
//!
//! In: a permit, a source, a target. Out: counts, and the data committed with its offset, or an error and nothing
//! changed. A full load commits once, at its end: readers of the destination never see half of it, and a load that
//! failed has deleted nothing.

use std::{path::Path, sync::Arc, time::Instant};

use jiff::Timestamp;
use millrace_crds::{flow::WriteMode, plan::Plan};

use super::{
    counts::Counts,
    dead_letter::{DeadLetters, Place},
    deliver::{self, Added, Keyed, Output, Plain},
    lane::{self, Limits},
    offset::{Digest, Offset, Sum},
    pipeline,
    prepare::{Pipeline, Preparer},
    progress::{Phase, Progress},
};
use crate::{
    connector::{
        Authority, IndexColumns, Load, Position, Range, Shard, Source, StageRequest, Staged, System,
    },
    diff::{
        buckets::Buckets,
        candidates::{Candidates, Kept},
        decide::{Decisions, Scope, decide},
        index::Index,
        matcher::Matcher,
    },
    error::{Context, Error, Result},
    protocol::{self, Commit, Permit},
    state::{Run, Store},
    stream::StreamSpec,
    types::odcs_fields,
};

/// What the loads of a Flow share.
pub struct Setting {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The source.
    pub source: Arc<dyn Source>,
    /// Who decides what has been delivered.
    pub authority: Authority,
    /// The state store.
    pub store: Arc<dyn Store>,
    /// Lanes of one load.
    pub lanes: usize,
    /// Rows and bytes that may wait.
    pub limits: Limits,
    /// Where scratch directories are made; `None`: the system's temporary directory.
    pub scratch: Option<std::path::PathBuf>,
    /// Full loads may delete more than the Flow's limit.
    pub allow_deletes: bool,
    /// The destination, beside which refused rows go.
    pub destination_system: System,
    /// Nothing is staged or committed; the counts are what a run would do.
    pub dry_run: bool,
    /// The run's id.
    pub run: String,
}

/// One stream's place in a run.
pub struct Target<'a> {
    /// The stream.
    pub stream: &'a StreamSpec,
    /// Its target.
    pub shard: Arc<dyn Shard>,
    /// The right to commit to it; `None` in a dry run.
    pub permit: Option<&'a mut Permit>,
    /// Where it stands; `None` until something was committed.
    pub offset: &'a mut Option<Offset>,
    /// For people.
    pub progress: Progress,
}

/// Loads one range of one stream.
///
/// # Errors
/// Whatever stops the load; nothing was committed then.
pub async fn load(setting: &Setting, target: &mut Target<'_>, range: &Range) -> Result<Counts> {
    target.progress.enter(Phase::Reading);
    let load = setting.source.load(target.stream, range).await?;
    target.progress.expect(load.estimate());
    run(setting, target, range, load).await
}

/// Takes an open load to its commit.
///
/// # Errors
/// Whatever stops the load; nothing was committed then.
pub async fn run(
    setting: &Setting,
    target: &mut Target<'_>,
    range: &Range,
    load: Arc<dyn Load>,
) -> Result<Counts> {
    let started = Instant::now();
    let scratch = deliver::scratch(setting.scratch.as_deref())?;
    let offset = match target.offset.as_ref() {
        Some(offset) => offset.clone(),
        None => first_offset(target.shard.as_ref()).await?,
    };
    let dead_letters = Arc::new(dead_letters(setting, target));
    let (plan, reader) = (&setting.plan, load.schema());
    let pipeline = Arc::new(pipeline::settle(
        plan,
        target.stream,
        reader,
        &offset,
        target.shard.clone(),
        dead_letters,
    )?);
    let scratch = scratch.path();
    let work = Attempt {
        setting,
        target,
        range,
        load,
        pipeline,
        scratch,
        offset,
    };
    let mut counts = work.run().await?;
    counts.seconds = started.elapsed().as_secs_f64();
    target.progress.enter(Phase::Done);
    Ok(counts)
}

fn dead_letters(setting: &Setting, target: &Target<'_>) -> DeadLetters {
    let (generation, seq) = target.permit.as_ref().map_or((0, 0), |permit| permit.next(false));
    let epoch = target.permit.as_ref().map_or(0, |permit| permit.epoch());
    let stream = &target.stream.name;
    let place = Place::of(
        &setting.plan,
        stream,
        &setting.destination_system,
        format!("{generation}-{epoch}-{seq}.ndjson"),
    );
    DeadLetters::new(place, stream, &setting.run)
}

/// A seed of its own for every shard. Where a person made the state forget the offset, the index at the destination
/// still has the hashes of the earlier seed: they are compared with, or every row would seem to have changed.
async fn first_offset(shard: &dyn Shard) -> Result<Offset> {
    let committed = shard.last_committed().await?;
    // One that cannot be read is what a person wants to be rid of.
    let earlier = committed.and_then(|committed| Offset::of(&committed).ok().flatten());
    Ok(Offset {
        seed: earlier.map_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0, |offset| offset.seed),
        ..Offset::default()
    })
}

struct Attempt<'a, 'b> {
    setting: &'a Setting,
    target: &'a mut Target<'b>,
    range: &'a Range,
    load: Arc<dyn Load>,
    pipeline: Arc<Pipeline>,
    scratch: &'a Path,
    offset: Offset,
}

/// Everything that a commit takes.
#[derive(Default)]
struct Delivery {
    counts: Counts,
    staged: Vec<Staged>,
    dead: std::collections::BTreeMap<String, roaring::RoaringBitmap>,
    digest: Option<Digest>,
}

impl Delivery {
    /// The destination counted the rows that it should have been given. Of deletes it may need no row.
    fn is_whole(&self) -> bool {
        let staged: u64 = self.staged.iter().map(|staged| staged.rows).sum();
        let live = self.counts.inserted + self.counts.updated;
        (live..=live + self.counts.deleted).contains(&staged)
    }
}

impl Attempt<'_, '_> {
    async fn run(self) -> Result<Counts> {
        let mode = self.target.stream.write_mode;
        let replace = mode == WriteMode::Overwrite && *self.range == Range::Full;
        let indexed = self.keeps_index();
        let index = match indexed && !replace {
            true => {
                self.target.shard.whole().await?;
                Index::open(self.target.shard.as_ref(), self.scratch).await?
            }
            false => Index::default(),
        };
        let index = Arc::new(index);
        let keyed = !self.pipeline.key.is_empty();
        let repeated = indexed && !index.is_empty() && self.load.repeats();
        let delivery = if repeated || keyed && (indexed || replace) {
            self.compared(index, replace).await?
        } else {
            self.plain(replace, indexed).await?
        };
        self.commit(delivery, replace).await
    }

    /// An index is kept where the destination commits it with the data, except where every load replaces all.
    fn keeps_index(&self) -> bool {
        self.setting.authority == Authority::Destination
            && self.target.stream.write_mode != WriteMode::Overwrite
    }

    fn lanes(&self) -> usize {
        self.setting.lanes.min(self.load.partitions()).max(1)
    }

    fn added(&self) -> Result<Added> {
        let options = &self.setting.plan.destination.system.options;
        let on = |name: &str| {
            options
                .get(name)
                .and_then(serde_json::Value::as_bool)
                .unwrap_or(true)
        };
        let log = self.target.stream.write_mode == WriteMode::Append && !self.pipeline.key.is_empty();
        let loaded_at = on(deliver::LOADED_AT_COLUMN).then(|| Timestamp::now().as_microsecond());
        let added = Added {
            op: log && on(deliver::OP_COLUMN),
            loaded_at,
        };
        added.check(&self.pipeline.schema)?;
        Ok(added)
    }

    async fn output(&self, added: &Added, lane: usize, replace: bool, indexed: bool) -> Result<Output> {
        let Some(permit) = &self.target.permit else {
            return Ok(Output::new(
                Box::new(deliver::Nowhere),
                added.clone(),
                added.schema(&self.pipeline.schema),
            ));
        };
        let schema = added.schema(&self.pipeline.schema);
        let index = indexed.then(|| IndexColumns {
            key: self.pipeline.delivered_key.clone(),
            identity: self.pipeline.rekeyed,
        });
        let request = StageRequest {
            schema: schema.clone(),
            replace,
            lane,
            index,
        };
        Ok(Output::new(
            self.target.shard.stage(permit, request).await?,
            added.clone(),
            schema,
        ))
    }

    /// Rows go to the destination as they come.
    async fn plain(&self, replace: bool, indexed: bool) -> Result<Delivery> {
        let added = self.added()?;
        let mut lanes = Vec::new();
        for lane in 0..self.lanes() {
            lanes.push(Plain {
                pipeline: self.pipeline.clone(),
                output: self.output(&added, lane, replace, indexed).await?,
                hashed: replace || indexed,
                indexed,
                sum: Sum::default(),
                counts: Counts::default(),
                preparer: Preparer::new(&self.pipeline)?,
            });
        }
        let lanes = lane::run(
            self.load.clone(),
            lanes,
            &self.setting.limits,
            &self.target.progress,
        )
        .await?;
        let mut delivery = Delivery::default();
        let mut sum = Sum::default();
        self.target.progress.enter(Phase::Writing);
        for lane in lanes {
            delivery.counts.add(&lane.counts);
            sum.merge(lane.sum);
            delivery.staged.push(lane.output.finish().await?);
        }
        delivery.digest = replace.then(|| sum.digest());
        Ok(delivery)
    }

    /// Rows are compared with what was delivered; only what differs goes to the destination.
    async fn compared(&self, index: Arc<Index>, replace: bool) -> Result<Delivery> {
        let keyed = !self.pipeline.key.is_empty();
        let full = *self.range == Range::Full;
        let scope = match (keyed, full && !replace) {
            (false, _) => Scope::Rows,
            (true, true) => Scope::Full,
            (true, false) => Scope::Delta,
        };
        let matching = full && !index.is_empty();
        let (mut counts, mut kept, mut decisions) = self.compare(&index, scope, matching).await?;
        if decisions.ambiguous {
            tracing::debug!(
                stream = self.target.stream.name,
                "a key or row came more than once: comparing again, row by row"
            );
            (counts, kept, decisions) = self.compare(&index, scope, false).await?;
        }
        let (plan, absent) = (&self.setting.plan, decisions.counts.absent);
        deliver::guard(
            absent,
            index.live(),
            plan.max_delete_fraction,
            self.setting.allow_deletes,
        )?;
        self.target.progress.enter(Phase::Writing);
        let (staged, sum) = self.stage(&index, kept, &decisions, replace).await?;
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
        let lanes = lane::run(
            self.load.clone(),
            lanes,
            &self.setting.limits,
            &self.target.progress,
        )
        .await?;
        self.target.progress.enter(Phase::Comparing);
        let (mut counts, mut kept, mut seen) =
            (Counts::default(), Vec::new(), roaring::RoaringTreemap::new());
        let mut contested = false;
        for lane in lanes {
            counts.add(&lane.counts);
            kept.push(lane.candidates.finish()?);
            let found = lane.matcher.map(Matcher::into_seen).unwrap_or_default();
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
        kept: Vec<Kept>,
        decisions: &Decisions,
        replace: bool,
    ) -> Result<(Vec<Staged>, Sum)> {
        let (added, indexed) = (self.added()?, self.keeps_index());
        let (mut staged, mut sum) = (Vec::new(), Sum::default());
        for (lane, kept) in kept.iter().enumerate().filter(|(_, kept)| kept.rows > 0) {
            let mut output = self.output(&added, lane, replace, indexed).await?;
            sum.merge(deliver::stage_winners(kept, decisions, &mut output).await?);
            staged.push(output.finish().await?);
        }
        if !decisions.gone.is_empty() {
            let mut output = self.output(&added, kept.len(), replace, indexed).await?;
            deliver::stage_gone(index, decisions, &self.pipeline.schema, &mut output).await?;
            staged.push(output.finish().await?);
        }
        Ok((staged, sum))
    }

    async fn commit(self, mut delivery: Delivery, replace: bool) -> Result<Counts> {
        if !delivery.counts.add_up() {
            return Err(Error::bug(format!(
                "the counts do not add up: {:?}",
                delivery.counts
            )));
        }
        // A dry run stages nothing.
        if self.target.permit.is_some() && !delivery.is_whole() {
            return Err(Error::bug(format!(
                "the destination did not stage what was decided: {:?} of {:?}",
                delivery.staged, delivery.counts
            )));
        }
        // What is gone is written anew.
        let same = delivery.digest.is_some()
            && delivery.digest == self.offset.digest
            && self.target.shard.whole().await.is_ok();
        let first = self.target.offset.is_none();
        let nothing = delivery.counts.delivered() == 0 && delivery.dead.is_empty();
        if !self.setting.dry_run {
            self.pipeline.dead_letters.finish().await.context("dead letter")?;
        }
        let watermark = self.watermark();
        let moved = watermark != self.offset.watermark
            && delivery.counts.read > 0
            && matches!(self.range, Range::Delta { .. });
        if same && !first {
            delivery.counts.unchanged = std::mem::take(&mut delivery.counts.inserted);
        }
        for staged in &delivery.staged {
            delivery.counts.files += staged.files;
            delivery.counts.bytes += staged.bytes;
        }
        if self.setting.dry_run || !first && (same || nothing && !moved && !replace) {
            delivery.counts.files = 0;
            delivery.counts.bytes = 0;
            if let Some(permit) = &self.target.permit {
                self.target.shard.discard(permit, &delivery.staged).await?;
            }
            return Ok(delivery.counts);
        }
        let now = Timestamp::now().to_string();
        let mut offset = Offset {
            watermark,
            digest: delivery.digest,
            schema: odcs_fields(self.pipeline.contract.schema()),
            columns: pipeline::columns(&self.pipeline.schema),
            ..self.offset
        };
        let cause = match self.range {
            Range::Full => {
                offset.full_load = Some(now);
                "full"
            }
            Range::Delta { .. } => {
                offset.delta_load = Some(now);
                "delta"
            }
            Range::Backfill { .. } => "backfill",
        };
        self.target.progress.enter(Phase::Committing);
        let Some(permit) = self.target.permit.as_deref_mut() else {
            return Err(Error::bug("a load without a permit came to its commit"));
        };
        let (generation, seq) = permit.next(replace);
        let commit = Commit {
            generation,
            seq,
            nonce: protocol::nonce(),
            offset: offset.to_value()?,
            staged: delivery.staged,
            dead: delivery.dead,
            replace,
        };
        let run = Run {
            id: self.setting.run.clone(),
            cause: cause.to_owned(),
        };
        protocol::commit(
            permit,
            self.setting.store.as_ref(),
            self.target.shard.as_ref(),
            commit,
            &run,
        )
        .await?;
        let rewritten = self.target.shard.rewritten();
        delivery.counts.files += rewritten.files;
        delivery.counts.bytes += rewritten.bytes;
        *self.target.offset = Some(offset.clone());
        if let Some(watermark) = &offset.watermark {
            crate::failpoint::hit("ack.before")?;
            self.setting
                .source
                .acknowledge(self.target.stream, watermark)
                .await?;
            crate::failpoint::hit("ack.after")?;
        }
        Ok(delivery.counts)
    }

    /// A backfill leaves the watermark where it is.
    fn watermark(&self) -> Option<Position> {
        match self.range {
            Range::Backfill { .. } => self.offset.watermark.clone(),
            _ => self.load.watermark().or_else(|| self.offset.watermark.clone()),
        }
    }
}
