//! One Flow, opened: its source, its destination, its state; and a run of it.
//!
//! In: a plan and a [`Request`]. Out: a [`Report`] with the counts of each stream. Streams run side by side, and one
//! stream's failure does not stop the others; the run has failed then, and says which and why.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use millrace_crds::{
    flow::{DeliveryGuarantee, Mode, ScheduleLoad, WriteMode},
    plan::Plan,
};

use super::{
    channel::Budget,
    contract::{NewTable, new_table},
    counts::Counts,
    drain::Drain,
    history,
    indexed::Indexed,
    lane::Limits,
    load::{self, Setting},
    offset::Offset,
    progress::Progress,
    shared::Sharing,
    streams,
};
use crate::{
    backoff::Backoff,
    connector::{Authority, Destination, Range, Source, System},
    engines,
    error::{Context, Error, ErrorKind, Result},
    protocol::{Committed, ShardId},
    secrets::LocalSecrets,
    state::{self, Store},
    stream::StreamSpec,
};

/// The target of the log line that tells of a stream which failed: whoever shows the report says the same.
pub const OUTCOME: &str = "millrace::outcome";

/// In place of the load of a stream that is new, and that `schemaContract.tables` leaves out.
pub const LEFT_OUT: &str = "left out";

/// What to load; what is not asked is what the stream needs: a full load first, then deltas where there is a cursor.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The load, where one is asked for.
    pub load: Option<Wanted>,
    /// Exact names; empty: all streams of the Flow.
    pub streams: Vec<String>,
    /// Count what would be done, and do nothing.
    pub dry_run: bool,
    /// Full loads may delete more than the Flow's limit.
    pub allow_deletes: bool,
    /// Take over the state of the Flow with this UID.
    pub adopt: Option<String>,
    /// The run's id; empty: a new one.
    pub run: String,
    /// Once the end is asked for, no further stream begins.
    pub drain: Drain,
    /// Bytes that may wait: one limit for all runs whose requests are clones of one.
    pub budget: Budget,
    /// Other pods help with the loads.
    pub sharing: Option<Sharing>,
}

/// A load that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everything, compared with what was delivered.
    Full,
    /// What came since the last load; everything, the first time.
    Delta,
    /// `from <= cursor < to`; the watermark stays.
    Backfill {
        /// The first value.
        from: String,
        /// The first value that is not wanted.
        to: String,
    },
}

impl From<ScheduleLoad> for Wanted {
    fn from(load: ScheduleLoad) -> Self {
        match load {
            ScheduleLoad::Full => Self::Full,
            ScheduleLoad::Delta => Self::Delta,
        }
    }
}

/// A Flow, opened.
pub struct Flow {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The source.
    pub source: Arc<dyn Source>,
    /// The destination.
    pub destination: Arc<dyn Destination>,
    /// The state store.
    pub store: Arc<dyn Store>,
    destination_system: System,
    /// A delta may miss rows that are committed late, as far as the source has told by now.
    misses: AtomicBool,
    backoff: Backoff,
}

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    /// The Flow, `namespace/name`.
    pub flow: String,
    /// The guarantee that the Flow has.
    pub guarantee: DeliveryGuarantee,
    /// Each stream that was begun, in the order of discovery.
    pub streams: Vec<StreamReport>,
    /// The others: the end was asked for before their turn.
    pub left: Vec<String>,
    /// Streams that were delivered before, and that the source no longer has.
    pub gone: Vec<String>,
}

/// How one stream's part of a run ended.
#[derive(Debug)]
pub struct StreamReport {
    /// The stream.
    pub name: String,
    /// `full`, `delta`, `backfill` or `continuous`; [`LEFT_OUT`] where there was none.
    pub load: &'static str,
    /// The counts, or why there are none.
    pub outcome: Result<Counts>,
}

impl Report {
    /// The first error, with the Flow's and the stream's name.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        let failed = self
            .streams
            .iter()
            .find_map(|stream| Some((stream, stream.outcome.as_ref().err()?)))?;
        let (stream, error) = failed;
        Err::<(), _>(error.clone())
            .context(format!("{}, stream {}", self.flow, stream.name))
            .err()
    }
}

impl StreamReport {
    /// Logs what was done, where it went well; a failure was logged as it came.
    pub fn log(&self, flow: &str) {
        let Ok(counts) = &self.outcome else { return };
        tracing::info!(
            flow,
            stream = self.name,
            load = self.load,
            read = counts.read,
            inserted = counts.inserted,
            updated = counts.updated,
            deleted = counts.deleted,
            unchanged = counts.unchanged,
            superseded = counts.superseded,
            filtered = counts.filtered,
            refused = counts.refused,
            files = counts.files,
            bytes = counts.bytes,
            seconds = counts.seconds,
            "done"
        );
    }
}

/// Called as a stream begins, with what a display needs.
pub type Observer<'a> = &'a (dyn Fn(&str, &Progress) + Sync);

impl Flow {
    /// Opens the ends and the store; sends nothing yet.
    ///
    /// # Errors
    /// `config` where a connector cannot be made from its settings.
    pub async fn open(plan: Plan, local: &Arc<LocalSecrets>) -> Result<Self> {
        let source = System::of_source(plan.flow.clone(), &plan.source, local);
        let source = engines::source(source).context("source")?;
        Self::with_source(plan, local, source).await
    }

    /// As [`Flow::open`], with a source that is there already.
    ///
    /// # Errors
    /// `config` where a connector cannot be made from its settings.
    pub async fn with_source(plan: Plan, local: &Arc<LocalSecrets>, source: Arc<dyn Source>) -> Result<Self> {
        let system = System::of_destination(&plan, local);
        let destination = engines::destination(system.clone()).context("destination")?;
        Self::with_ends(plan, local, source, destination, system).await
    }

    /// As [`Flow::open`], with both ends there already, and what the destination was made from: refused rows go there, too,
    /// under the same rate limit.
    ///
    /// # Errors
    /// `config` where the state store cannot be made from its settings.
    pub async fn with_ends(
        plan: Plan,
        local: &Arc<LocalSecrets>,
        source: Arc<dyn Source>,
        destination: Arc<dyn Destination>,
        destination_system: System,
    ) -> Result<Self> {
        // The state is the Flow's, and so is the destination: its place is the Flow's manifest.
        let base = PathBuf::from(plan.destination.system.base_dir.as_deref().unwrap_or("."));
        let store = state::open(&plan.state, local, &base).await.context("state")?;
        Ok(Self::with_store(
            plan,
            source,
            destination,
            destination_system,
            store,
        ))
    }

    /// As [`Flow::with_ends`], with the state store there already, too.
    #[must_use]
    pub fn with_store(
        plan: Plan,
        source: Arc<dyn Source>,
        destination: Arc<dyn Destination>,
        destination_system: System,
        store: Arc<dyn Store>,
    ) -> Self {
        Self {
            source,
            destination: Indexed::destination(destination, &store),
            store,
            plan: Arc::new(plan),
            destination_system,
            misses: AtomicBool::new(false),
            backoff: Backoff {
                tries: 4,
                first: Duration::from_millis(500),
                most: Duration::from_secs(20),
            },
        }
    }

    /// Lets both ends find out what they are, which some must be started for: a wrong plugin is told before anything is read.
    ///
    /// # Errors
    /// What they say.
    pub async fn prepare(&mut self) -> Result<()> {
        self.source
            .prepare()
            .await
            .context(format!("source {}", self.plan.source.name))?;
        let destination = &self.plan.destination.system.connector;
        self.destination
            .prepare()
            .await
            .context(format!("destination {destination}"))?;
        let own = self.source.intervals();
        let source = &self.plan.source;
        let full = source.full_load_interval.or(own.full.map(whole));
        let delta = source.delta_load_interval.or(own.delta.map(whole));
        if (full, delta) != (source.full_load_interval, source.delta_load_interval) {
            let plan = Arc::make_mut(&mut self.plan);
            (plan.source.full_load_interval, plan.source.delta_load_interval) = (full, delta);
        }
        Ok(())
    }

    /// `namespace/name`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.plan.flow.namespace, self.plan.flow.name)
    }

    /// Its source sends by itself, and it follows. A source that is read is loaded by intervals, schedules and triggers,
    /// whatever the mode.
    #[must_use]
    pub fn is_continuous(&self) -> bool {
        self.plan.run.mode == Mode::Continuous && self.source.push().is_some()
    }

    /// The guarantee of this Flow, as it is now: what only the source can tell counts once [`Flow::streams`] has asked it.
    #[must_use]
    pub fn guarantee(&self) -> DeliveryGuarantee {
        match self.destination.authority() {
            _ if self.misses.load(Ordering::Relaxed) => DeliveryGuarantee::MayMissLateCommits,
            Authority::Store => DeliveryGuarantee::AtLeastOnce,
            _ if !self.source.replayable() => DeliveryGuarantee::AtLeastOnce,
            Authority::Destination => DeliveryGuarantee::ExactlyOnce,
            Authority::StoreKeyed => DeliveryGuarantee::EffectivelyOnce,
        }
    }

    /// Whether the guarantee is the one that the Flow asks for.
    ///
    /// # Errors
    /// `config` with the reason `GuaranteeNotSupported` where it is less.
    pub fn require(&self) -> Result<()> {
        match self.plan.require {
            Some(least) if self.guarantee() < least => Err(Error::config(format!(
                "{} requires {least:?}, and {} into {} gives {:?}",
                self.name(),
                self.plan.source.system.connector,
                self.plan.destination.system.connector,
                self.guarantee()
            ))
            .reason("GuaranteeNotSupported")
            .advice(match self.guarantee() {
                DeliveryGuarantee::MayMissLateCommits => {
                    "the source's documents say what deltas need; or lower delivery.require, or leave the cursor out"
                }
                _ => "lower delivery.require, or choose another destination",
            })),
            _ => Ok(()),
        }
    }

    /// The streams that a request speaks of.
    ///
    /// # Errors
    /// `config` where one does not exist.
    pub async fn streams(&self, only: &[String]) -> Result<Vec<StreamSpec>> {
        let source = self.source.as_ref();
        let streams = self
            .backoff
            .retry(|| streams::settle(&self.plan, source, only))
            .await
            .context(format!("source {}", self.plan.source.name))?;
        let misses = streams.iter().any(|stream| {
            let deltas = !stream.cursor.is_empty() && stream.write_mode != WriteMode::Overwrite;
            deltas && !source.late_commits_safe(stream)
        });
        self.misses.store(misses, Ordering::Relaxed);
        Ok(streams)
    }

    /// The id of a stream's shard.
    #[must_use]
    pub fn shard_id(&self, stream: &str) -> ShardId {
        ShardId {
            state: self.plan.state.id.clone(),
            stream: stream.to_owned(),
        }
    }

    /// Runs all streams of the request once.
    ///
    /// # Errors
    /// What keeps every stream from starting; what one stream alone met is in the report.
    pub async fn run(&self, request: &Request, observe: Observer<'_>) -> Result<Report> {
        self.require()?;
        let streams = self.streams(&request.streams).await?;
        // The source has told by now what it cannot promise.
        self.require()?;
        let gone = match request.streams.is_empty() {
            true => history::gone(self, &streams).await,
            false => Vec::new(),
        };
        let setting = self.setting(request, streams.len());
        let concurrency = self.concurrency();
        let reports = stream::iter(&streams).map(async |stream| match request.drain.asked() {
            true => Err(stream.name.clone()),
            false => Ok(self.stream(&setting, stream, request, observe).await),
        });
        let ended: Vec<Result<_, String>> = reports.buffered(concurrency).collect().await;
        let (begun, left): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
        Ok(Report {
            flow: self.name(),
            guarantee: self.guarantee(),
            streams: begun.into_iter().filter_map(Result::ok).collect(),
            left: left.into_iter().filter_map(Result::err).collect(),
            gone,
        })
    }

    /// How often a load is tried again.
    pub(super) fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// Readers at work at once.
    pub(super) fn concurrency(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.plan
            .source
            .concurrency
            .map_or(cores, |concurrency| concurrency as usize)
            .max(1)
    }

    /// What the loads of one run share.
    pub(super) fn setting(&self, request: &Request, streams: usize) -> Setting {
        let concurrency = self.concurrency();
        Setting {
            plan: self.plan.clone(),
            source: self.source.clone(),
            authority: self.destination.authority(),
            store: self.store.clone(),
            lanes: concurrency.div_ceil(streams.clamp(1, concurrency)),
            limits: Limits {
                buffer_rows: self.plan.source.buffer_length,
                budget: request.budget.clone(),
            },
            allow_deletes: request.allow_deletes,
            destination_system: self.destination_system.clone(),
            dry_run: request.dry_run,
            sharing: request.sharing.clone(),
            run: match request.run.as_str() {
                "" => uuid::Uuid::new_v4().to_string(),
                run => run.to_owned(),
            },
        }
    }

    async fn stream(
        &self,
        setting: &Setting,
        stream: &StreamSpec,
        request: &Request,
        observe: Observer<'_>,
    ) -> StreamReport {
        let progress = Progress::default();
        observe(&stream.name, &progress);
        let mut load = "full";
        let outcome = self.one(setting, stream, request, &progress, &mut load).await;
        if let Err(error) = &outcome {
            tracing::error!(
                target: OUTCOME,
                flow = self.name(),
                stream = stream.name,
                kind = error.kind.as_str(),
                "{error}"
            );
        }
        StreamReport {
            name: stream.name.clone(),
            load,
            outcome,
        }
    }

    async fn one(
        &self,
        setting: &Setting,
        stream: &StreamSpec,
        request: &Request,
        progress: &Progress,
        word: &mut &'static str,
    ) -> Result<Counts> {
        if self.leaves_out(stream).await? {
            *word = LEFT_OUT;
            return Ok(Counts::default());
        }
        let mut held = self.hold(setting, stream, request).await?;
        let mut range = held.range(request, stream, self.source.resumes())?;
        *word = match range {
            Range::Full => "full",
            Range::Delta { .. } => "delta",
            Range::Backfill { .. } => "backfill",
        };
        let (mut counts, mut attempt) = (Counts::default(), 0);
        loop {
            let mut target = held.target(stream, progress);
            match load::load(setting, &mut target, &mut range, &mut counts).await {
                Err(error) if error.kind == ErrorKind::Transient && attempt + 1 < self.backoff.tries => {
                    tracing::warn!(
                        flow = self.name(),
                        stream = stream.name,
                        attempt,
                        "{error}; trying again"
                    );
                    held.check()?;
                    self.backoff.pause(attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    held.clean().await;
                    return Ok(counts);
                }
            }
        }
    }

    /// Whether `schemaContract.tables` keeps out a stream that was never delivered; says so. Nothing is held for it.
    ///
    /// # Errors
    /// `data` with reason `SchemaFrozen` where new tables are frozen.
    pub(super) async fn leaves_out(&self, stream: &StreamSpec) -> Result<bool> {
        let name = &stream.name;
        let verdict = new_table(
            name,
            streams::is_named(&self.plan, name),
            self.plan.contract.tables,
        );
        if matches!(verdict, Ok(NewTable::Load)) || self.was_delivered(stream).await? {
            return Ok(false);
        }
        verdict?;
        tracing::warn!(
            flow = self.name(),
            stream = name,
            "left out: it is new, and `schemaContract.tables` does not let it in"
        );
        Ok(true)
    }

    /// Whether anything of a stream was ever committed, as the destination or the store knows. One whose offset a person
    /// reset was.
    async fn was_delivered(&self, stream: &StreamSpec) -> Result<bool> {
        let id = self.shard_id(&stream.name);
        let has_offset = |committed: &Committed| !matches!(Offset::of(committed), Ok(None));
        let shard = self.destination.shard(&id, stream).await?;
        if shard.last_committed().await?.as_ref().is_some_and(has_offset) {
            return Ok(true);
        }
        let record = self.store.load(&id).await?;
        Ok(record.is_some_and(|(record, _)| has_offset(&record.committed)))
    }
}

/// An interval in whole seconds, one at least.
fn whole(interval: Duration) -> millrace_crds::Duration {
    millrace_crds::Duration::from_secs(interval.as_secs().max(1))
}

#[cfg(test)]
pub(in crate::engine) mod tests;
