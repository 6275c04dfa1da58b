//! One Flow, followed: what is due is done, one thing after another.
//!
//! In: the Flow as the manifests have it, whenever that changes. Out: loads, each told as it ends. Triggers and Jobs
//! go through the ledger, so that each is done once, also when the program is ended and started again; they come
//! before what is due by the clock. A changed Flow is opened again once the load at work has ended.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use millrace_crds::{ledger::Ledger, schedule::Schedule};
use tokio::sync::{Semaphore, watch};

use super::{tally::Tally, unit::Unit};
use crate::{
    cli::{display::Display, out},
    engine::{
        flow::{Flow, Request, Wanted},
        history,
        ledger::Books,
        task::Task,
    },
    error::{Context, ErrorKind, Result},
};

/// The Flow as the manifests have it; `None`: they have it no more.
pub(super) type Updates = watch::Receiver<Option<Arc<Unit>>>;

/// The longest sleep: so soon is it noticed that somebody has set the clock.
const LONGEST: Duration = Duration::from_secs(30);
/// The time until a state store that did not answer is asked again.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

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
pub(super) async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Those of the wanted streams that a Flow has.
async fn narrow(flow: &Flow, wanted: &[String]) -> Result<Option<Vec<String>>> {
    if wanted.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let mut mine = flow.streams(&[]).await?;
    mine.retain(|stream| wanted.contains(&stream.name));
    let names: Vec<String> = mine.into_iter().map(|stream| stream.name).collect();
    Ok(Some(names).filter(|names| !names.is_empty()))
}

#[derive(PartialEq)]
enum Next {
    /// The manifests have changed.
    Open,
    /// Nothing more is to be done.
    Stop,
}

/// A Flow, open.
pub(super) struct Follower {
    pub(super) shared: Arc<Shared>,
    pub(super) unit: Arc<Unit>,
    pub(super) flow: Arc<Flow>,
    pub(super) books: Books,
    pub(super) schedule: Schedule,
    /// The streams that the command line names and this Flow has; empty: all of its own. `None`: it has none of them.
    pub(super) streams: Option<Vec<String>>,
    /// What the command line asks for, until it has been done.
    pub(super) asked: Option<Wanted>,
    /// When a stream that pushes is to be opened, and how often that has failed; `None`: it has ended.
    pub(super) continuous: Option<(Timestamp, u32)>,
    /// The stream that pushes was told to stop, so that it has not ended by itself.
    pub(super) made_way: bool,
    /// A newer worker has taken a stream over.
    pub(super) fenced: bool,
}

impl Follower {
    async fn open(shared: &Arc<Shared>, unit: Arc<Unit>, asked: Option<Wanted>) -> Result<Self> {
        let mut flow = Flow::open(unit.plan.clone(), &unit.secrets).await?;
        flow.prepare().await?;
        flow.require()?;
        let flow = Arc::new(flow);
        let streams = narrow(&flow, &shared.request.streams).await?;
        let standing = history::standing(&flow).await?;
        let now = Timestamp::now();
        let schedule = Schedule::new(
            &unit.plan,
            history::last(&standing, streams.as_deref().unwrap_or_default()),
            now,
        )?;
        let books = Books::new(flow.store.clone(), &unit.plan.state.id, &unit.plan.flow.uid);
        Ok(Self {
            shared: shared.clone(),
            unit,
            flow,
            books,
            schedule,
            streams,
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
        if self.streams.is_none() {
            return Ok(None);
        }
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
        if self.flow.is_continuous() {
            let due = self.continuous.is_some_and(|(at, _)| at <= now);
            return Ok(due.then_some(Task::Continuous));
        }
        let due = self.schedule.due(now);
        Ok(due.map(|due| Task::Due(due, self.schedule.load(due).map(Wanted::from))))
    }

    /// Looks at the annotations and Jobs as they are, and tells what is wrong with them.
    pub(super) async fn look<T>(&self, mut then: impl FnMut(&mut Ledger) -> T) -> Result<T> {
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

    /// How long there is nothing to do; `None`: until the manifests change.
    fn idle(&self) -> Option<Duration> {
        if self.unit.plan.run.suspend || !self.unit.scheduled || self.streams.is_none() {
            return None;
        }
        let next = match self.flow.is_continuous() {
            true => self.continuous.map(|(at, _)| at),
            false => self.schedule.next(),
        };
        next.map(until)
    }
}

pub(super) fn until(time: Timestamp) -> Duration {
    let left = time.duration_since(Timestamp::now());
    Duration::try_from(left).unwrap_or_default().min(LONGEST)
}
