//! `millrace worker --flow F --follow`: a pod of a Continuous Flow, which stays.
//!
//! In: the plan, and the ledger whenever it changes. Out: the runs of the ledger as soon as they are at work, loads by
//! interval, the stream that never ends; a report, written where something has changed and at most twice a minute but for
//! the end of a run. Each of several pods has its share of the streams, and reports under a key of its own.

mod telling;
mod watching;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use millrace_crds::{
    channel::{PLAN, PLAN_KEY, PlanDoc, TRIGGERS},
    ledger::{Batch, Ledger},
    schedule::Schedule,
};
use tokio::sync::watch;

use self::{telling::Telling, watching::Watching};
use super::{
    Share,
    channel::Channel,
    end::Ended,
    metrics::Seen,
    open,
    pod::Pod,
    report,
    run::{Begun, begin, conclude, done_well, is_fenced, jobs},
};
use crate::{
    engine::{
        flow::{Flow, Request, Wanted},
        history,
        task::{Done, Task},
    },
    error::{ErrorKind, Result},
    secrets::LocalSecrets,
};

/// The longest sleep: so soon is it noticed that somebody has set the clock.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest that loads wait for a report to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time until what could not be opened is tried again, the first and the last.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));

/// Follows a Flow until the pod is told to end.
///
/// # Errors
/// None: what time could mend is reported, and tried again.
pub async fn follow(pod: &Pod, name: &str, share: Share) -> Result<Ended> {
    let channel = pod.of_flow(name, share);
    let watching = Watching::begin(channel.maps(), &channel.name(TRIGGERS));
    Ok(keep_on(pod, &channel, watching.ledger()).await)
}

/// Opens the Flow, again and again until it can be opened, and follows it.
async fn keep_on(pod: &Pod, channel: &Channel, ledger: watch::Receiver<Ledger>) -> Ended {
    let mut pause = AGAIN.0;
    while !pod.drain.asked() {
        match Follower::open(pod, channel, ledger.clone()).await {
            Ok(mut follower) => {
                pod.health.ready();
                return follower.work().await;
            }
            Err(error) => {
                tracing::error!("{error}");
                pod.health.not_ready(&error);
                telling::problem(channel, pod, &error).await;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = pod.drain.wait() => {}
        }
        pause = (pause * 2).min(AGAIN.1);
    }
    Ended::default()
}

struct Follower<'a> {
    pod: &'a Pod,
    channel: &'a Channel,
    ledger: watch::Receiver<Ledger>,
    flow: Flow,
    generation: i64,
    request: Request,
    schedule: Schedule,
    /// Runs that the report says are over.
    over: BTreeSet<u64>,
    /// When a stream that pushes is to be opened, and how often that has failed; `None`: it has ended.
    continuous: Option<(Timestamp, u32)>,
    /// The stream that pushes was told to make way, so that it has not ended by itself.
    made_way: bool,
    telling: Telling,
}

impl<'a> Follower<'a> {
    async fn open(pod: &'a Pod, channel: &'a Channel, ledger: watch::Receiver<Ledger>) -> Result<Self> {
        let doc: PlanDoc = channel.document(PLAN, PLAN_KEY).await?;
        let secrets = Arc::new(LocalSecrets::new());
        let flow = open::flow(channel.maps(), doc.plan, doc.adopt.as_deref(), &secrets).await?;
        flow.require()?;
        let share = channel.share();
        let streams = share.streams(&flow).await?;
        let standing = history::standing(&flow).await?;
        let now = Timestamp::now();
        let known = streams.as_deref().unwrap_or_default();
        let schedule = Schedule::new(&flow.plan, history::last(&standing, known), now)?;
        let report = channel.report().await?;
        report::guard(&flow, &report.streams).await?;
        let over = report
            .runs
            .iter()
            .filter(|(_, run)| run.is_over_among(share.workers));
        let over = over.map(|(number, _)| *number).collect();
        let mut telling = Telling::default();
        telling.tell(channel, pod, &flow, doc.generation, None).await?;
        telling.begin();
        Ok(Self {
            pod,
            channel,
            ledger,
            generation: doc.generation,
            request: pod.request(doc.adopt.as_deref()),
            flow,
            schedule,
            over,
            continuous: Some((now, 0)),
            made_way: false,
            telling,
        })
    }

    async fn work(&mut self) -> Ended {
        while !self.pod.drain.asked() {
            let Some(task) = self.next() else {
                self.idle().await;
                continue;
            };
            match self.take(task).await {
                Ok(done) if is_fenced(&done) => return self.give_way(&done).await,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(flow = self.flow.name(), "{error}");
                    self.sleep(AGAIN.0).await;
                }
            }
        }
        self.telling_now().await;
        Ended::default()
    }

    /// A newer worker has taken over: this one never takes anything back, says so, and waits until it is deleted.
    async fn give_way(&self, done: &Result<Done>) -> Ended {
        self.pod.health.not_ready("a newer worker has taken over");
        let errors = report::errors(done);
        if let Some(fenced) = errors.iter().find(|error| error.kind == ErrorKind::Fenced) {
            telling::problem(self.channel, self.pod, fenced).await;
        }
        self.pod.drain.wait().await;
        Ended {
            errors,
            loaded: true,
            interrupted: false,
        }
    }

    /// What comes next, if anything is to be done now.
    fn next(&mut self) -> Option<Task> {
        if let Some(number) = self.waiting() {
            return self.ledger.borrow().running(number, false).map(Task::Batch);
        }
        if self.flow.plan.run.suspend {
            return None;
        }
        let now = Timestamp::now();
        if self.flow.is_continuous() {
            let due = self.continuous.is_some_and(|(at, _)| at <= now);
            return due.then_some(Task::Continuous);
        }
        let due = self.schedule.due(now)?;
        Some(Task::Due(due, self.schedule.load(due).map(Wanted::from)))
    }

    /// The oldest run that is at work, and not over for this pod.
    fn waiting(&self) -> Option<u64> {
        let runs = self.ledger.borrow().at_work();
        runs.into_iter().find(|run| !self.over.contains(run))
    }

    /// Does a task to its end, and reports it. Gives back how it ended.
    async fn take(&mut self, task: Task) -> Result<Result<Done>> {
        let seen = Seen::new(&self.pod.metrics, &self.flow.plan);
        let began = Timestamp::now();
        match task {
            Task::Batch(batch) => self.batch(batch, &seen).await,
            task => {
                if let Some(due) = task.due() {
                    self.schedule.began(due, began);
                }
                let done = self.perform(&task, &[], &seen).await;
                seen.ended(&done);
                let (now, well) = (Timestamp::now(), done_well(&done));
                match task.due() {
                    Some(due) => self.schedule.ended(due, began, now, well),
                    None => self.continuous = self.reopen(well, now),
                }
                let problem = report::errors(&done).first().map(report::failure);
                self.telling.note(problem);
                self.telling_due().await;
                Ok(done)
            }
        }
    }

    async fn batch(&mut self, mut batch: Batch, seen: &Seen) -> Result<Result<Done>> {
        let number = batch.run;
        match begin(self.pod, self.channel, number, self.generation).await? {
            Begun::Over(_) => {
                self.over.insert(number);
                return Ok(Ok(Done::default()));
            }
            Begun::Now { resumed, .. } => batch.resumed = resumed,
        }
        let jobs = jobs(&self.flow.plan, &batch);
        let done = match self.channel.share().deal(&self.flow, &mut batch).await {
            Ok(true) => self.perform(&Task::Batch(batch), &jobs, seen).await,
            Ok(false) => Ok(Done::default()),
            Err(error) => Err(error),
        };
        seen.ended(&done);
        let drained = self.pod.drain.asked();
        let flow = Some(&self.flow);
        if conclude(self.channel, number, flow, &done, seen, drained).await? {
            self.over.insert(number);
            self.pod.metrics.run(&self.flow.plan, done_well(&done));
        }
        self.telling.told();
        Ok(done)
    }

    async fn perform(&mut self, task: &Task, jobs: &[millrace_crds::JobPlan], seen: &Seen) -> Result<Done> {
        let stop = watch::Sender::new(false);
        // Streams that are new since the last task are dealt, too; those of a batch are dealt by now.
        let streams = match task {
            Task::Batch(_) => Vec::new(),
            _ => match self.channel.share().streams(&self.flow).await? {
                Some(streams) => streams,
                None => return Ok(Done::default()),
            },
        };
        let request = Request {
            streams,
            ..self.request.clone()
        };
        let observe = seen.observer();
        let work = task.perform(&self.flow, jobs, &request, &observe, stop.subscribe());
        tokio::pin!(work);
        self.made_way = false;
        let endless = matches!(task, Task::Continuous);
        let mut ledger = self.ledger.clone();
        let (mut counted, mut draining) = ((0, 0, 0), false);
        loop {
            let waiting = self.waiting().is_some();
            if endless && waiting && !self.made_way {
                self.made_way = true;
                stop.send_replace(true);
            }
            tokio::select! {
                done = &mut work => return done,
                () = self.pod.drain.wait(), if !draining => {
                    draining = true;
                    stop.send_replace(true);
                }
                Ok(()) = ledger.changed(), if endless => {}
                () = tokio::time::sleep(telling::EVERY), if endless => {
                    let now = seen.so_far();
                    if now != std::mem::replace(&mut counted, now) {
                        let told = self.telling.tell(self.channel, self.pod, &self.flow, self.generation, Some(seen)).await;
                        told.unwrap_or_else(|error| tracing::warn!("{error}"));
                    }
                }
            }
        }
    }

    /// When a stream that pushes is opened again: at once where it made way, later where it failed, never where it ended.
    fn reopen(&self, well: bool, now: Timestamp) -> Option<(Timestamp, u32)> {
        let failures = self.continuous.map_or(0, |(_, failures)| failures);
        match well {
            true => self.made_way.then_some((now, 0)),
            false => {
                let pause = AGAIN.0.saturating_mul(1 << failures.min(6));
                let at = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
                Some((at, failures.saturating_add(1)))
            }
        }
    }

    /// Waits until something is due, or the ledger changes; tells what is to be told.
    async fn idle(&mut self) {
        self.telling_due().await;
        let next = match (self.flow.plan.run.suspend, self.flow.is_continuous()) {
            (true, _) => None,
            (false, true) => self.continuous.map(|(at, _)| at),
            (false, false) => self.schedule.next(),
        };
        let left = next.map(|next| {
            let left = next.duration_since(Timestamp::now());
            Duration::try_from(left).unwrap_or_default().min(LONGEST)
        });
        let wait = [left, self.telling.due_in()].into_iter().flatten().min();
        self.sleep(wait.unwrap_or(LONGEST)).await;
    }

    async fn sleep(&mut self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            changed = self.ledger.changed() => if changed.is_err() {
                tokio::time::sleep(time).await;
            },
            () = self.pod.drain.wait() => {}
        }
    }

    /// Reports what was noted, where its time has come.
    async fn telling_due(&mut self) {
        if self.telling.is_due() {
            self.telling_now().await;
        }
    }

    async fn telling_now(&mut self) {
        if !self.telling.is_noted() {
            return;
        }
        let telling = self
            .telling
            .tell(self.channel, self.pod, &self.flow, self.generation, None);
        // Loads do not wait for an API server that is away: what was not told is told next time.
        match tokio::time::timeout(PATIENCE, telling).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(flow = self.flow.name(), "{error}"),
            Err(_) => tracing::warn!(flow = self.flow.name(), "nobody takes the report; loads go on"),
        }
    }
}

#[cfg(test)]
mod tests;
