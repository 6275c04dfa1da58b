//! One run of a Flow: its streams side by side, each tried again where that may help.
//!
//! In: a [`Request`]. Out: a [`Report`]. What one stream meets stops no other.

use futures::{StreamExt, stream};

use super::{Flow, LEFT_OUT, OUTCOME, Report, Request, StreamReport};
use crate::{
    connector::Range,
    engine::{
        contract::{NewTable, new_table},
        counts::Counts,
        history,
        lane::Limits,
        load::{self, Setting},
        offset::Offset,
        progress::Progress,
        streams,
    },
    error::{ErrorKind, Result},
    protocol::Committed,
    stream::StreamSpec,
};

/// Called as a stream begins, with what a display needs.
pub type Observer<'a> = &'a (dyn Fn(&str, &Progress) + Sync);

impl Flow {
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

    /// What the loads of one run share.
    pub(in crate::engine) fn setting(&self, request: &Request, streams: usize) -> Setting {
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
    pub(in crate::engine) async fn leaves_out(&self, stream: &StreamSpec) -> Result<bool> {
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
