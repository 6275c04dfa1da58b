//! A follower's task, from its beginning to what is written down of its end.
//!
//! In: a task. Out: its result, told; the ledger and the clock know of it, so that what comes next follows from it.
//! Meanwhile the manifests are looked at: new tokens are seen while a load is at work, and wait.

use std::sync::Arc;

use jiff::Timestamp;
use millrace_crds::{
    ledger::{Batch, End},
    schedule::Due,
};
use tokio::sync::watch;

use super::{
    follow::{AGAIN, Follower, Updates, sleep, until},
    tally,
    unit::Unit,
};
use crate::{
    backoff::Backoff,
    cli::{closing::Ended, display::Display, out},
    engine::{
        counts::Counts,
        flow::{Flow, Report, Request},
        progress::Progress,
        task::{Done, Task},
    },
    error::{Error, ErrorKind, Result},
};

impl Follower {
    /// Does a task to its end, while it goes on looking at the manifests. `false`: this was the last one.
    pub(super) async fn take(&mut self, task: Task, updates: &mut Updates) -> bool {
        let shared = self.shared.clone();
        let _slot = match task {
            Task::Continuous => None,
            _ => shared.slots.acquire().await.ok(),
        };
        let (began, task) = (Timestamp::now(), Arc::new(task));
        if let Some(due) = task.due() {
            self.schedule.began(due, began);
        }
        let done = self.perform(&task, updates).await;
        let drained = self.shared.request.drain.asked();
        let (result, unknown) = match done {
            Ok(Done { report, unknown }) => (report.map(Ok), unknown),
            Err(error) => (Some(Err(error)), None),
        };
        if let Some(error) = &unknown {
            out::error(format_args!("{}: {error}", self.unit.name()));
        }
        self.fenced = result.as_ref().is_some_and(tally::is_fenced);
        self.close(&task, began, result.as_ref(), unknown, drained).await;
        if let Some(result) = result {
            self.tell(&task, result);
        }
        !self.fenced
    }

    async fn perform(&mut self, task: &Arc<Task>, updates: &mut Updates) -> Result<Done> {
        let stop = watch::Sender::new(false);
        let work = shown(
            task.clone(),
            self.flow.clone(),
            self.unit.clone(),
            Request {
                streams: self.streams.clone().unwrap_or_default(),
                ..self.shared.request.clone()
            },
            self.shared.display.clone(),
            stop.subscribe(),
        );
        tokio::pin!(work);
        self.made_way = false;
        let (mut draining, mut gone) = (false, false);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.shared.request.drain.wait(), if !draining => {
                    draining = true;
                    stop.send_replace(true);
                }
                changed = updates.changed(), if !gone => {
                    gone = changed.is_err();
                    if gone || self.notice(updates).await {
                        self.made_way = true;
                        stop.send_replace(true);
                    }
                }
                () = self.replaced(task) => {
                    let error = Error::transient("the next run of the schedule was due, and took its place")
                        .reason("Replaced")
                        .advice("`concurrencyPolicy: Forbid` lets a run end first");
                    self.shared.display.end(&self.flow.name(), None);
                    return Err(error);
                }
            }
        }
    }

    /// The manifests have changed while a task is at work. Gives back whether a stream that pushes must make way.
    async fn notice(&mut self, updates: &Updates) -> bool {
        let latest = updates.borrow().clone();
        match latest {
            Some(unit) if !unit.replaces(&self.unit) => self.unit = unit,
            _ => return true,
        }
        // What fails here is tried again as the task ends.
        self.look(|ledger| ledger.waits()).await.unwrap_or_else(|error| {
            out::error(format_args!("{}: {error}", self.unit.name()));
            false
        })
    }

    /// Waits until the schedule wants the place of what it began: for ever, where its ticks wait or are left out.
    async fn replaced(&self, task: &Task) {
        let scheduled = matches!(task, Task::Due(Due::Scheduled, _));
        let Some(at) = self.schedule.replaces_at().filter(|_| scheduled) else {
            return std::future::pending().await;
        };
        while Timestamp::now() < at {
            sleep(Some(until(at))).await;
        }
    }

    /// Writes down how a task ended, so that what is asked for next follows from it.
    async fn close(
        &mut self,
        task: &Task,
        began: Timestamp,
        result: Option<&Result<Report>>,
        unknown: Option<Error>,
        drained: bool,
    ) {
        let now = Timestamp::now();
        let well = result.is_none_or(is_well);
        match task {
            Task::Batch(batch) => self.close_batch(batch, result, unknown, drained).await,
            Task::Asked(_) | Task::Due(..) => {
                if let Some(due) = task.due() {
                    self.schedule.ended(due, began, now, well);
                }
            }
            Task::Continuous => self.continuous = self.reopen(result, now),
        }
    }

    /// Closes the tokens of a run. One that was ended before its last stream stays open, and goes on after the restart.
    async fn close_batch(
        &self,
        batch: &Batch,
        result: Option<&Result<Report>>,
        unknown: Option<Error>,
        drained: bool,
    ) {
        let failed = match result {
            Some(Ok(report)) if drained && !report.left.is_empty() => return,
            Some(Err(_)) if drained => return,
            Some(Err(error)) => Some(error.clone()),
            Some(Ok(report)) => report.error(),
            None => None,
        };
        let failures: Vec<String> = [failed, unknown]
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        let end = match result {
            _ if !failures.is_empty() => End::Failed(failures.join("; ")),
            Some(Ok(report)) => End::Done(delivered(report)),
            _ => End::Done(0),
        };
        let annotated = &self.unit.annotated;
        let mut attempt = 0;
        while let Err(error) = self
            .books
            .change(annotated, |ledger| ledger.end(batch.run, &end, Timestamp::now()))
            .await
        {
            out::error(format_args!("{}: {error}", self.unit.name()));
            if error.kind != ErrorKind::Transient || attempt == 5 || self.shared.request.drain.asked() {
                // It is found `Running` at the next look, and what it has committed is not loaded again.
                return;
            }
            Backoff::default().pause(attempt).await;
            attempt += 1;
        }
    }

    /// When a stream that pushes is opened again: at once where it made way, later where it failed, never where it ended.
    fn reopen(&self, result: Option<&Result<Report>>, now: Timestamp) -> Option<(Timestamp, u32)> {
        let failures = self.continuous.map_or(0, |(_, failures)| failures);
        match result {
            Some(result) if !is_well(result) => {
                let pause = AGAIN.saturating_mul(1 << failures.min(6));
                let at = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
                Some((at, failures.saturating_add(1)))
            }
            _ => self.made_way.then_some((now, 0)),
        }
    }

    fn tell(&self, task: &Task, result: Result<Report>) {
        let flow = &self.unit.plan.flow;
        let job = match task {
            Task::Batch(batch) => batch.job.clone(),
            _ => None,
        };
        if let Err(error) = &result {
            out::error(format_args!("{}: {error}", self.unit.name()));
        }
        self.shared.tally.add(Ended {
            namespace: flow.namespace.clone(),
            flow: flow.name.clone(),
            job,
            skipped: None,
            result: Some(result),
        });
    }
}

/// Does a task, and shows how far it is.
async fn shown(
    task: Arc<Task>,
    flow: Arc<Flow>,
    unit: Arc<Unit>,
    base: Request,
    display: Display,
    stop: watch::Receiver<bool>,
) -> Result<Done> {
    let name = flow.name();
    let base = Request {
        adopt: base.adopt.clone().or_else(|| unit.adopt.clone()),
        ..base
    };
    let observe = |stream: &str, progress: &Progress| display.begin(&name, stream, progress);
    let done = task.perform(&flow, &unit.jobs, &base, &observe, stop).await;
    display.end(&name, done.as_ref().ok().and_then(|done| done.report.as_ref()));
    done
}

fn is_well(result: &Result<Report>) -> bool {
    result.as_ref().is_ok_and(|report| report.error().is_none())
}

fn delivered(report: &Report) -> u64 {
    let counts = report
        .streams
        .iter()
        .filter_map(|stream| stream.outcome.as_ref().ok());
    counts.map(Counts::delivered).sum()
}
