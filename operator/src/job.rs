//! The Job of ours (`mrj`): one bounded run of a Flow.
//!
//! In: a Job. Out: an entry in the ledger of its Flow, where it waits for its turn like any other load; or, where it
//! holds the Flow itself, a Job of Kubernetes of its own. And its status. A Job that is over is looked at no more, but
//! for its `ttl`.

mod standing_alone;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Api, Resource, ResourceExt, runtime::controller::Action};
use millrace_crds::{
    Flow, Job, JobPlan,
    channel::{JOB_LABEL, REPORT, RunReport},
    flow::{Mode, TriggerState},
    job::{Counts, JobStatus, StreamCounts},
    ledger::Entry,
};

use crate::apply::{delete, read};
use crate::conditions::{self, Conditions, READY, SUCCEEDED, Truth};
use crate::context::Context;
use crate::error::Result;
use crate::flow::{ended, until};
use crate::index::Key;
use crate::ledger;
use crate::owner::Owner;
use crate::resolve::{self, Wrong};
use crate::run::Reconcile;
use crate::stand::Stand;
use crate::{reasons, report};

/// The most streams that a status lists.
const LISTED: usize = 100;

/// How far a Job is.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    stand: Stand,
    outcome: Outcome,
    run: Option<RunReport>,
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
}

/// Whether a Job is over, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It waits, or is at work.
    Open,
    /// It ended well.
    Well,
    /// It failed.
    Badly,
}

impl Progress {
    /// It has not begun.
    fn waiting(stand: Stand) -> Self {
        Self {
            stand,
            outcome: Outcome::Open,
            run: None,
            began: None,
            ended: None,
        }
    }
}

impl Reconcile for Job {
    const KIND: &'static str = "Job";

    fn api(context: &Context, namespace: &str) -> Api<Self> {
        context.api(namespace)
    }

    async fn reconcile(self, context: &Context) -> Result<Action> {
        context.index.note_job(&self);
        if self.meta().deletion_timestamp.is_some() {
            return Ok(Action::await_change());
        }
        if let Some(over) = over_since(&self) {
            return expire(context, &self, over).await;
        }
        let progress = match Box::pin(work(context, &self)).await {
            Ok(progress) => progress,
            Err(error) => Progress::waiting(Stand::of_error(error)?),
        };
        write(context, &self, &progress).await?;
        match (progress.outcome, progress.ended) {
            (Outcome::Open, _) | (_, None) => Ok(progress.stand.action()),
            (_, Some(ended)) => expire(context, &self, ended).await,
        }
    }

    fn gone(context: &Context, key: &Key) {
        context.index.forget(JOB_LABEL, key);
    }
}

async fn work(context: &Context, job: &Job) -> Result<Progress> {
    let plan = match resolve::job(context, job).await?.plan {
        Ok(plan) => plan,
        // What has begun goes on by what was said before.
        Err(wrong) => match begun(context, job).await? {
            Some(progress) => return Ok(progress),
            None => return Ok(Progress::waiting(Stand::stalled(wrong))),
        },
    };
    if plan.parallelism > 1 && job.spec.flow.is_some() && plan.plan.run.mode == Mode::Continuous {
        let message = format!(
            "parallelism: {}, and its Flow is Continuous: the workers that follow it do its Jobs, each for its own streams; \
             write parallelism: 1",
            plan.parallelism
        );
        return Ok(Progress::waiting(Stand::stalled(Wrong::new(
            reasons::PARALLELISM,
            message,
        ))));
    }
    match &job.spec.flow {
        Some(flow) => Box::pin(by_ledger(context, job, &flow.name, &plan)).await,
        None => Box::pin(standing_alone::run(context, job, &plan)).await,
    }
}

/// The progress of a Job that has begun.
async fn begun(context: &Context, job: &Job) -> Result<Option<Progress>> {
    let Some(name) = &job.spec.flow else {
        return Ok(None);
    };
    let namespace = job.namespace().unwrap_or_default();
    let Some(flow) = read::<Flow>(context, &namespace, &name.name).await? else {
        return Ok(None);
    };
    let owner = Owner::of(&flow);
    let kept = ledger::find(context, &owner).await?;
    let entry = kept.and_then(|kept| entry_of(&kept.ledger.entries, job));
    match entry {
        Some(entry) => Ok(Some(progress(context, &owner, &flow, &entry).await?)),
        None => Ok(None),
    }
}

/// Puts a Job into the ledger of its Flow, once, and tells how far it is.
async fn by_ledger(context: &Context, job: &Job, flow: &str, plan: &JobPlan) -> Result<Progress> {
    let namespace = job.namespace().unwrap_or_default();
    let waits = |why: &str| Progress::waiting(Stand::under_way(Truth::True, reasons::WAITING, why));
    let Some(flow) = read::<Flow>(context, &namespace, flow).await? else {
        return Ok(waits("its Flow is not there"));
    };
    let owner = Owner::of(&flow);
    let Some(mut kept) = ledger::find(context, &owner).await? else {
        return Ok(waits("its Flow is being set up"));
    };
    let mut next = kept.ledger.clone();
    next.look_at_job(&job.uid().unwrap_or_default(), plan, context.now());
    let clock = kept.clock.clone();
    kept.write(context, next, clock).await?;
    match entry_of(&kept.ledger.entries, job) {
        Some(entry) => progress(context, &owner, &flow, &entry).await,
        None => {
            let message = "it was run, and nothing more is known of it: the ledger of its Flow has moved on";
            Ok(Progress {
                outcome: Outcome::Badly,
                ended: Some(context.now()),
                ..Progress::waiting(Stand::stalled(Wrong::new(reasons::RUN_FAILED, message)))
            })
        }
    }
}

fn entry_of(entries: &[Entry], job: &Job) -> Option<Entry> {
    let uid = job.uid().unwrap_or_default();
    entries
        .iter()
        .find(|entry| entry.job.is_some() && entry.token == uid)
        .cloned()
}

/// How far the entry of a Job is.
async fn progress(context: &Context, owner: &Owner, flow: &Flow, entry: &Entry) -> Result<Progress> {
    let map = read(context, &owner.namespace, &owner.child(REPORT)).await?;
    let reports = map.as_ref().map(ledger::reports).unwrap_or_default();
    let told = entry.run.and_then(|run| {
        let pods = reports.iter().find_map(|report| report.runs.get(&run))?.workers;
        ledger::told(&reports, run, pods)
    });
    let began = told.as_ref().map(|told| told.started_at);
    let (stand, outcome) = match entry.state {
        TriggerState::Running => {
            let number = entry.run.unwrap_or_default();
            let message = format!("run {number} of Flow {} is at work", owner.name);
            (
                Stand::under_way(Truth::True, reasons::RUNNING, message),
                Outcome::Open,
            )
        }
        TriggerState::Succeeded => {
            let message = format!("{} rows", entry.rows.unwrap_or_default());
            (Stand::ready(reasons::RUN_SUCCEEDED, message), Outcome::Well)
        }
        TriggerState::Failed => (failed(told.as_ref(), entry.message.as_deref()), Outcome::Badly),
        _ if flow.spec.suspend => {
            let message = "its Flow is suspended";
            (
                Stand::under_way(Truth::True, reasons::SUSPENDED, message),
                Outcome::Open,
            )
        }
        _ => {
            let message = "it waits for another load of its Flow";
            (
                Stand::under_way(Truth::True, reasons::WAITING, message),
                Outcome::Open,
            )
        }
    };
    Ok(Progress {
        stand,
        outcome,
        began: began.filter(|_| entry.run.is_some()),
        run: told,
        ended: entry.finished_at,
    })
}

/// A run that has failed, by what its worker says.
pub(crate) fn failed(told: Option<&RunReport>, message: Option<&str>) -> Stand {
    let error = told.and_then(|told| told.error.as_ref());
    let reason = error
        .map(|error| error.reason.as_str())
        .filter(|reason| !reason.is_empty());
    let why = match error {
        Some(error) => ended::sentence(Some(error)),
        None => message.unwrap_or("it failed").to_owned(),
    };
    Stand::stalled(Wrong::new(reason.unwrap_or(reasons::RUN_FAILED), why))
}

async fn write(context: &Context, job: &Job, progress: &Progress) -> Result<()> {
    let before = job.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&before.conditions, job.meta().generation, context.now());
    progress.stand.set(&mut conditions);
    let truth = match progress.outcome {
        Outcome::Open => Truth::Unknown,
        Outcome::Well => Truth::True,
        Outcome::Badly => Truth::False,
    };
    conditions.set(
        SUCCEEDED,
        truth,
        progress.stand.reason.clone(),
        &progress.stand.message,
    );
    let whole = |time: Timestamp| Time(Timestamp::from_second(time.as_second()).unwrap_or(time));
    let run = progress.run.as_ref();
    let mut streams = run.map(|run| run.streams.clone()).unwrap_or_default();
    streams.sort_by(|left, right| left.name.cmp(&right.name));
    let after = JobStatus {
        observed_generation: job.meta().generation,
        conditions: conditions.finish(),
        start_time: progress.began.map(whole).or_else(|| before.start_time.clone()),
        completion_time: progress
            .ended
            .filter(|_| progress.outcome != Outcome::Open)
            .map(whole),
        stream_count: run.and_then(|run| u32::try_from(run.stream_count.unwrap_or(run.streams.len())).ok()),
        totals: run.map(|_| total(&streams)),
        streams: streams.into_iter().take(LISTED).collect(),
    };
    let changed = !conditions::has(&before.conditions, READY, &progress.stand.reason);
    let api = context.api::<Job>(&job.namespace().unwrap_or_default());
    report::status(&api, report::STATUS_MANAGER, job, Some(&before), &after).await?;
    if changed && progress.stand.stalled {
        report::warn_of(context, job, &progress.stand.reason, &progress.stand.message).await;
    } else if changed && progress.outcome == Outcome::Well {
        report::tell(context, job, &progress.stand.reason, &progress.stand.message).await;
    }
    Ok(())
}

fn total(streams: &[StreamCounts]) -> Counts {
    streams.iter().fold(Counts::default(), |sum, stream| {
        let one = &stream.counts;
        Counts {
            read: sum.read + one.read,
            inserted: sum.inserted + one.inserted,
            updated: sum.updated + one.updated,
            deleted: sum.deleted + one.deleted,
            unchanged: sum.unchanged + one.unchanged,
            superseded: sum.superseded + one.superseded,
            filtered: sum.filtered + one.filtered,
            refused: sum.refused + one.refused,
            files: sum.files + one.files,
            bytes: sum.bytes + one.bytes,
        }
    })
}

/// When a Job was over, by its own status.
fn over_since(job: &Job) -> Option<Timestamp> {
    let status = job.status.as_ref()?;
    let succeeded: &Condition = conditions::find(&status.conditions, SUCCEEDED)?;
    let over = matches!(succeeded.status.as_str(), "True" | "False");
    let at = status
        .completion_time
        .as_ref()
        .map_or(succeeded.last_transition_time.0, |time| time.0);
    over.then_some(at)
}

/// Deletes a Job that is over, once its `ttl` has passed.
async fn expire(context: &Context, job: &Job, over: Timestamp) -> Result<Action> {
    let Some(ttl) = job.spec.ttl else {
        return Ok(Action::await_change());
    };
    let ttl = jiff::SignedDuration::try_from(ttl.get()).unwrap_or(jiff::SignedDuration::MAX);
    let (end, now) = (over.saturating_add(ttl).unwrap_or(Timestamp::MAX), context.now());
    if now < end {
        return Ok(Action::requeue(until(end, now)));
    }
    let fresh = read::<Job>(context, &job.namespace().unwrap_or_default(), &job.name_any()).await?;
    if let Some(fresh) = fresh.filter(|fresh| fresh.uid() == job.uid()) {
        delete(context, &fresh).await?;
    }
    Ok(Action::await_change())
}
