//! One load of one stream: read, compare, stage, commit.
//!
//! In: a permit, a source, a target. Out: counts, and the data committed with its offset, or an error and nothing
//! changed. A full load commits once, at its end: readers of the destination never see half of it, and a load that
//! failed has deleted nothing.

mod commit;
mod compare;

use std::{path::Path, sync::Arc, time::Instant};

use arrow::datatypes::SchemaRef;
use jiff::Timestamp;
use millrace_crds::{flow::WriteMode, plan::Plan};
use serde_json::json;

use self::commit::Delivery;
use super::{
    counts::Counts,
    dead_letter::{DeadLetters, Place},
    deliver::{self, Added, Output, Plain},
    lane::{self, InOrder, Limits},
    offset::{Offset, Sum},
    pipeline,
    portions::Portions,
    prepare::{Pipeline, Preparer},
    progress::{Phase, Progress},
    shared::Sharing,
};
use crate::{
    connector::{Authority, IndexColumns, Load, Range, Shard, Source, StageRequest, System},
    diff::index::Index,
    error::{Error, Result},
    protocol::Permit,
    scratch::Scratch,
    state::Store,
    stream::StreamSpec,
    types::arrow_schema,
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
            if let Some(letter) = payload.refused.first() {
                return Err(nameless(
                    target,
                    &format!("{} ({})", letter.reason, json!(letter.place)),
                ));
            }
            if payload.batch.num_rows() > 0 {
                return Err(nameless(target, "they are empty"));
            }
        }
    }
    target.progress.enter(Phase::Done);
    Ok(Counts::default())
}

/// Rows came, and no columns.
fn nameless(target: &Target<'_>, why: &str) -> Error {
    let stream = &target.stream.name;
    Error::data(format!("stream {stream}: no columns are known, since its first rows have none: {why}"))
        .advice("mend these rows at the source, or declare the columns in the stream's `schema`: then rows that do not fit go to the dead letter")
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
}
