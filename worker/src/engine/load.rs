//! One load of one stream: read, compare, stage, commit.
//!
//! In: a permit, a source, a target. Out: counts, and the data committed with its offset, or an error and nothing
//! changed. A full load commits once, at its end: readers of the destination never see half of it, and a load that
//! failed has deleted nothing.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use arrow::datatypes::SchemaRef;
use jiff::Timestamp;
use millrace_crds::{flow::WriteMode, plan::Plan};

use super::{
    counts::Counts,
    dead_letter::{DeadLetters, Place},
    deliver::{self, Added, Keyed, Output, Plain},
    lane::{self, InOrder, Limits},
    offset::{Digest, Offset, Sum},
    pipeline,
    portions::Portions,
    prepare::{Pipeline, Preparer},
    progress::{Phase, Progress},
    shared::{Fetched, Gather, Lead, Sharing, Wish},
};
use crate::{
    connector::{
        Authority, IndexColumns, Load, Position, Range, Shard, Source, StageRequest, Staged, System,
    },
    diff::{
        buckets::Buckets,
        candidates::{Candidate, Candidates, Kept},
        decide::{Decisions, Scope, decide},
        index::Index,
        matcher::Matcher,
    },
    error::{Context, Error, Result},
    protocol::{self, Commit, Permit},
    scratch::Scratch,
    state::{Run, Store},
    stream::StreamSpec,
    types::{arrow_schema, odcs_fields},
};

/// The cause of a commit after which the same load goes on.
const PORTION: &str = "portion";

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
    /// Full loads may delete more than the Flow's limit.
    pub allow_deletes: bool,
    /// The destination, beside which refused rows go.
    pub destination_system: System,
    /// Nothing is staged or committed; the counts are what a run would do.
    pub dry_run: bool,
    /// Other pods help to read.
    pub sharing: Option<Sharing>,
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

/// Loads one range of one stream, and adds to its counts. What was committed while the rest was still read is taken from
/// the range: it stays committed, whatever comes after it.
///
/// # Errors
/// Whatever stops the load; nothing of what is left in `range` was committed then.
pub async fn load(
    setting: &Setting,
    target: &mut Target<'_>,
    range: &mut Range,
    counts: &mut Counts,
) -> Result<()> {
    target.progress.enter(Phase::Reading);
    let mut load = setting.source.load(target.stream, range).await?;
    if let Some(parts) = setting
        .sharing
        .as_ref()
        .and_then(|sharing| sharing.parts(target.stream, load.as_ref()))
    {
        let finer = StreamSpec {
            partitions: Some(parts),
            ..target.stream.clone()
        };
        load = setting.source.load(&finer, range).await?;
    }
    target.progress.expect(load.estimate());
    // What a person made the state forget may still be at the destination, where only a full load finds what is gone.
    if let Some(permit) = &target.permit
        && let Some(portions) = Portions::of(&load, target.stream, range, permit.last().generation == 0)
    {
        load = Arc::new(portions);
    }
    loop {
        counts.add(&run(setting, target, range, load.clone()).await?);
        if !load.goes_on() {
            return Ok(());
        }
        let after = target.offset.as_ref().and_then(|offset| offset.watermark.clone());
        *range = Range::Delta { after };
    }
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
    let scratch = Scratch::new()?;
    let offset = match target.offset.as_ref() {
        Some(offset) => offset.clone(),
        None => first_offset(target.shard.as_ref()).await?,
    };
    let dead_letters = Arc::new(dead_letters(setting, target));
    let plan = &setting.plan;
    let Some(reader) = columns(load.as_ref(), &offset)? else {
        return nothing(target, load.as_ref()).await;
    };
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
    if !setting.dry_run {
        target.progress.loaded(counts.delivered(), counts.refused);
    }
    target.progress.enter(Phase::Done);
    Ok(counts)
}

/// The columns of a load. A reader that knows none before it has rows, and has none, has those that were delivered before;
/// `None`: nothing ever was.
fn columns(load: &dyn Load, offset: &Offset) -> Result<Option<SchemaRef>> {
    let columns = load.schema();
    if !columns.fields().is_empty() {
        return Ok(Some(columns));
    }
    match offset.schema.as_slice() {
        [] => Ok(None),
        delivered => arrow_schema(delivered).map(Some),
    }
}

/// Reads what has no columns to its end: it must have no rows.
async fn nothing(target: &Target<'_>, load: &dyn Load) -> Result<Counts> {
    for partition in 0..load.partitions() {
        let mut reader = load.read(partition).await?;
        while let Some(payload) = reader.next().await? {
            if payload.batch.num_rows() + payload.refused.len() > 0 {
                return Err(Error::bug(format!(
                    "stream {}: rows without columns",
                    target.stream.name
                )));
            }
        }
    }
    target.progress.enter(Phase::Done);
    Ok(Counts::default())
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
        let compared = repeated || keyed && (indexed || replace);
        // Rows that are compared with nothing are all new: so helpers need to know one way only.
        let comparable = compared || *self.range == Range::Full && index.is_empty();
        let lead = match &self.setting.sharing {
            Some(sharing) if comparable => self.lead(sharing, &index).await?,
            _ => None,
        };
        let delivery = if compared || lead.is_some() {
            self.compared(index, replace, lead).await?
        } else {
            self.plain(replace, indexed).await?
        };
        self.commit(delivery, replace).await
    }

    /// Rows are looked for in the index while they are read.
    fn is_matching(&self, index: &Index) -> bool {
        // Where a key has come more than once, all is read again.
        *self.range == Range::Full && !index.is_empty() && self.load.rereads()
    }

    /// Asks other pods to help, where they can.
    async fn lead(&self, sharing: &Sharing, index: &Index) -> Result<Option<Arc<Lead>>> {
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

    /// An index is kept where one is committed with the data, except where every load replaces all.
    fn keeps_index(&self) -> bool {
        self.target.shard.keeps_index() && self.target.stream.write_mode != WriteMode::Overwrite
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
            InOrder::all(self.load.as_ref()),
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
    async fn compared(&self, index: Arc<Index>, replace: bool, lead: Option<Arc<Lead>>) -> Result<Delivery> {
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
        let moved = self.has_moved(watermark.as_ref(), delivery.counts.read);
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
        let (offset, cause) = self.next(watermark, delivery.digest);
        self.target.progress.enter(Phase::Committing);
        let Some(permit) = self.target.permit.as_deref_mut() else {
            return Err(Error::bug("a load without a permit came to its commit"));
        };
        let (generation, seq) = permit.next(replace);
        let mut commit = Commit {
            generation,
            seq,
            nonce: protocol::nonce(),
            offset: offset.to_value()?,
            staged: delivery.staged,
            dead: delivery.dead,
            replace,
        };
        self.target.shard.seal(&mut commit).await?;
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

    /// The offset after this load, and the cause that its commit names.
    fn next(&self, watermark: Option<Position>, digest: Option<Digest>) -> (Offset, &'static str) {
        let now = Some(Timestamp::now().to_string());
        let mut offset = Offset {
            watermark,
            reader: Some(Offset::reader_of(&self.setting.plan)),
            indexed: self.keeps_index(),
            digest,
            schema: odcs_fields(self.pipeline.contract.schema()),
            columns: pipeline::columns(&self.pipeline.schema),
            ..self.offset.clone()
        };
        let cause = match self.range {
            Range::Full => {
                offset.full_load = now;
                "full"
            }
            Range::Delta { .. } => {
                offset.delta_load = now;
                "delta"
            }
            Range::Backfill { .. } => {
                offset.reader.clone_from(&self.offset.reader);
                "backfill"
            }
        };
        (offset, if self.load.goes_on() { PORTION } else { cause })
    }

    /// Whether the watermark is worth a commit of its own: rows were passed over, or a delta can follow where none could.
    fn has_moved(&self, watermark: Option<&Position>, read: u64) -> bool {
        let before = self.offset.watermark.as_ref();
        let gained = before.is_none() && watermark.is_some();
        let taken_over = self.offset.reader.is_none() && *self.range == Range::Full;
        taken_over || gained || watermark != before && read > 0 && matches!(self.range, Range::Delta { .. })
    }

    /// A backfill leaves the watermark where it is.
    fn watermark(&self) -> Option<Position> {
        match self.range {
            Range::Backfill { .. } => self.offset.watermark.clone(),
            _ => self.load.watermark().or_else(|| self.offset.watermark.clone()),
        }
    }
}
