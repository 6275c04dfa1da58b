//! One Flow, followed: what is due is done, one thing after another.
//!
//! In: the Flow as the manifests have it, whenever that changes. Out: loads, each told as it ends. Triggers and Jobs
//! go through the ledger, so that each is done once, also when the program is ended and started again; they come
//! before what is due by the clock. A changed Flow is opened again once the load at work has ended.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use millrace_crds::flow::Mode;
use tokio::sync::{Semaphore, watch};

use super::{
    tally::{self, Tally},
    task::{Done, Task},
    unit::Unit,
};
use crate::{
    backoff::Backoff,
    cli::{closing::Ended, display::Display, out},
    engine::{
        flow::{Flow, Report, Request, Wanted},
        history,
        ledger::{Batch, Books, End, Ledger},
        schedule::{Due, Schedule},
    },
    error::{Context, Error, ErrorKind, Result},
};

/// The Flow as the manifests have it; `None`: they have it no more.
pub(super) type Updates = watch::Receiver<Option<Arc<Unit>>>;

/// The longest sleep: so soon is it noticed that somebody has set the clock.
const LONGEST: Duration = Duration::from_secs(30);
/// The time until a state store that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(5);

/// What all followers share.
pub(super) struct Shared {
    /// What the command line asks of each Flow.
    pub(super) request: Request,
    /// Progress, for people.
    pub(super) display: Display,
    /// Loads at once.
    pub(super) slots: Semaphore,
    /// Results.
    pub(super) tally: Tally,
}

/// Follows a Flow until the end is asked for, it is gone from the manifests, or a newer worker takes it over.
/// Gives back whether that was so.
pub(super) async fn follow(shared: Arc<Shared>, mut updates: Updates) -> bool {
    let mut asked = shared.request.load.clone();
    loop {
        let Some(unit) = updates.borrow_and_update().clone() else {
            return false;
        };
        let name = unit.name();
        match Follower::open(&shared, unit, asked.take()).await {
            Ok(mut follower) => match follower.work(&mut updates).await {
                Next::Stop => return follower.fenced,
                Next::Open => asked = follower.asked,
            },
            Err(error) => {
                out::error(format_args!("{name}: {error}"));
                let wait = (error.kind == ErrorKind::Transient).then_some(AGAIN);
                if !pause(&shared, &mut updates, wait).await {
                    return false;
                }
            }
        }
    }
}

/// Waits for a change of the manifests, or so long; `false`: for nothing more.
async fn pause(shared: &Shared, updates: &mut Updates, time: Option<Duration>) -> bool {
    tokio::select! {
        changed = updates.changed() => changed.is_ok(),
        () = shared.request.drain.wait() => false,
        () = sleep(time) => true,
    }
}

/// Sleeps; `None`: for ever.
async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

#[derive(PartialEq)]
enum Next {
    /// The manifests have changed.
    Open,
    /// Nothing more is to be done.
    Stop,
}

struct Follower {
    shared: Arc<Shared>,
    unit: Arc<Unit>,
    flow: Arc<Flow>,
    books: Books,
    schedule: Schedule,
    /// What the command line asks for, until it has been done.
    asked: Option<Wanted>,
    /// When a stream that pushes is to be opened, and how often that has failed; `None`: it has ended.
    continuous: Option<(Timestamp, u32)>,
    /// The stream that pushes was told to stop, so that it has not ended by itself.
    made_way: bool,
    /// A newer worker has taken a stream over.
    fenced: bool,
}

impl Follower {
    async fn open(shared: &Arc<Shared>, unit: Arc<Unit>, asked: Option<Wanted>) -> Result<Self> {
        let flow = Arc::new(Flow::open(unit.plan.clone(), &unit.secrets).await?);
        flow.require()?;
        let standing = history::standing(&flow).await.context("state")?;
        let now = Timestamp::now();
        let schedule = Schedule::new(&unit.plan, history::last(&standing, &shared.request.streams), now)?;
        let books = Books::new(flow.store.clone(), &unit.plan.state.id, &unit.plan.flow.uid);
        Ok(Self {
            shared: shared.clone(),
            unit,
            flow,
            books,
            schedule,
            asked,
            continuous: Some((now, 0)),
            made_way: false,
            fenced: false,
        })
    }

    async fn work(&mut self, updates: &mut Updates) -> Next {
        loop {
            match updates.borrow_and_update().clone() {
                None => return Next::Stop,
                Some(unit) if unit.replaces(&self.unit) => return Next::Open,
                Some(unit) => self.unit = unit,
            }
            if self.shared.request.drain.asked() {
                return Next::Stop;
            }
            let more = match self.next().await {
                Ok(Some(task)) => self.take(task, updates).await,
                Ok(None) => pause(&self.shared, updates, self.idle()).await,
                Err(error) => {
                    out::error(format_args!("{}: {error}", self.unit.name()));
                    pause(&self.shared, updates, Some(AGAIN)).await
                }
            };
            if !more {
                return Next::Stop;
            }
        }
    }

    /// What comes next, if anything is to be done now.
    async fn next(&mut self) -> Result<Option<Task>> {
        let suspended = self.unit.plan.run.suspend;
        let batch = self
            .look(|ledger| if suspended { None } else { ledger.begin() })
            .await?;
        if let Some(batch) = batch {
            return Ok(Some(Task::Batch(batch)));
        }
        if suspended || !self.unit.scheduled {
            return Ok(None);
        }
        if let Some(wanted) = self.asked.take() {
            return Ok(Some(Task::Asked(wanted)));
        }
        let now = Timestamp::now();
        if self.is_continuous() {
            let due = self.continuous.is_some_and(|(at, _)| at <= now);
            return Ok(due.then_some(Task::Continuous));
        }
        let due = self.schedule.due(now);
        Ok(due.map(|due| Task::Due(due, self.schedule.load(due))))
    }

    /// Looks at the annotations and Jobs as they are, and tells what is wrong with them.
    async fn look<T>(&self, mut then: impl FnMut(&mut Ledger) -> T) -> Result<T> {
        let (unit, now) = (&self.unit, Timestamp::now());
        let change = |ledger: &mut Ledger| {
            let told = ledger.look(&unit.annotated, now);
            ledger.look_at_jobs(&unit.jobs, now);
            (told, then(ledger))
        };
        let (told, answer) = self
            .books
            .change(&unit.annotated, change)
            .await
            .context("ledger of triggers")?;
        told.iter()
            .for_each(|text| out::warning(format_args!("{}: {text}", unit.name())));
        Ok(answer)
    }

    fn is_continuous(&self) -> bool {
        self.unit.plan.run.mode == Mode::Continuous
    }

    /// How long there is nothing to do; `None`: until the manifests change.
    fn idle(&self) -> Option<Duration> {
        if self.unit.plan.run.suspend || !self.unit.scheduled {
            return None;
        }
        let next = match self.is_continuous() {
            true => self.continuous.map(|(at, _)| at),
            false => self.schedule.next(),
        };
        next.map(until)
    }

    /// Does a task to its end, while it goes on looking at the manifests. `false`: this was the last one.
    async fn take(&mut self, task: Task, updates: &mut Updates) -> bool {
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
        let result = match done {
            Ok(Done::Load(report)) => Some(Ok(report)),
            Ok(Done::Nothing) => None,
            Err(error) => Some(Err(error)),
        };
        self.fenced = result.as_ref().is_some_and(tally::is_fenced);
        self.close(&task, began, result.as_ref(), drained).await;
        if let Some(result) = result {
            self.tell(&task, result);
        }
        !self.fenced
    }

    async fn perform(&mut self, task: &Arc<Task>, updates: &mut Updates) -> Result<Done> {
        let stop = watch::Sender::new(false);
        let work = task.clone().perform(
            self.flow.clone(),
            self.unit.clone(),
            self.shared.request.clone(),
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
                    self.shared.display.end(&self.flow.name(), &Err(error.clone()));
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

    /// Waits until the schedule wants the place of what it began.
    async fn replaced(&self, task: &Task) {
        let scheduled = matches!(task, Task::Due(Due::Scheduled, _));
        while scheduled && !self.schedule.replaces(Timestamp::now()) {
            sleep(self.schedule.next().map(until)).await;
        }
        if !scheduled {
            std::future::pending::<()>().await;
        }
    }

    /// Writes down how a task ended, so that what is asked for next follows from it.
    async fn close(&mut self, task: &Task, began: Timestamp, result: Option<&Result<Report>>, drained: bool) {
        let now = Timestamp::now();
        let well = result.is_none_or(is_well);
        match task {
            Task::Batch(batch) => self.close_batch(batch, result, drained).await,
            Task::Asked(_) | Task::Due(..) => {
                if let Some(due) = task.due() {
                    self.schedule.ended(due, began, now, well);
                }
            }
            Task::Continuous => self.continuous = self.reopen(result, now),
        }
    }

    /// Closes the tokens of a run. One that was ended before its last stream stays open, and goes on after the restart.
    async fn close_batch(&self, batch: &Batch, result: Option<&Result<Report>>, drained: bool) {
        let end = match result {
            Some(Ok(report)) if drained && !report.left.is_empty() => return,
            Some(Err(_)) if drained => return,
            None => End::Done(0),
            Some(Err(error)) => End::Failed(error.to_string()),
            Some(Ok(report)) => match report.error() {
                Some(error) => End::Failed(error.to_string()),
                None => End::Done(delivered(report)),
            },
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

fn is_well(result: &Result<Report>) -> bool {
    result.as_ref().is_ok_and(|report| report.error().is_none())
}

fn delivered(report: &Report) -> u64 {
    let counts = report
        .streams
        .iter()
        .filter_map(|stream| stream.outcome.as_ref().ok());
    counts.map(crate::engine::counts::Counts::delivered).sum()
}

fn until(time: Timestamp) -> Duration {
    let left = time.duration_since(Timestamp::now());
    Duration::try_from(left).unwrap_or_default().min(LONGEST)
}
