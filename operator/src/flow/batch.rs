//! A Batch Flow: runs, one after another, each a Job of Kubernetes.
//!
//! In: the ledger, the clock, the report. Out: the ledger with what begins and what is over, and then the Job of the
//! run at work. The ledger is written first: a crash between the two makes the same Job of the same name again.

use k8s_openapi::api::{apps::v1::StatefulSet, batch::v1::Job, core::v1::ConfigMap};
use kube::ResourceExt;
use millrace_crds::{
    channel::{REPORT, Report},
    flow::{ConcurrencyPolicy, TriggerState},
    ledger::{Batch, End, Entry, Ledger, run_id},
};

use super::setup::Ready;
use super::ticks::{self, FIRST, Failed, Given, Ticks};
use super::{Case, Found, ended, history, triggers, until};
use crate::apply::{delete, keep, make, prune_known, read};
use crate::build::{channel, guests::Guests, pod::Work, rights::account_name, run, secrets::Secrets};
use crate::error::{Error, Result};
use crate::last_word::last_word;
use crate::ledger::{Clock, as_one, open, reports, told};
use crate::owner::Owner;
use crate::stand::Stand;
use crate::{reasons, report};

/// Does what is due.
pub(super) async fn batch(case: &Case<'_>, Ready { report, plan }: Ready) -> Result<Found> {
    let Case { context, owner, .. } = case;
    keep(context, channel::plan(owner, plan)).await?;
    // The Flow may have been Continuous before.
    prune_known::<StatefulSet>(context, owner, &account_name(owner)).await?;
    let mut kept = open(context, owner, &triggers::annotated(case)).await?;
    let mut ledger = kept.ledger.clone();
    triggers::look(case, &mut ledger).await?;
    let (over, reports) = Box::pin(close(case, &mut ledger, reports(&report))).await?;
    let reports: Vec<Report> = as_one(&reports, &ledger).into_iter().collect();
    let mut clock = notes(case, kept.clock.as_ref());
    let ticks = tick(case, &mut ledger, &mut clock).await?;
    let at_work = match case.plan.run.suspend {
        true => running(&ledger).and_then(|_| ledger.begin()),
        false => ledger.begin(),
    };
    if at_work.as_ref().is_some_and(|batch| !batch.resumed) {
        clock.run = Some(case.hash.clone());
    }
    let before = kept.ledger.clone();
    kept.write(context, ledger.clone(), Some(clock.clone())).await?;
    triggers::tell(case, &before, &ledger).await;
    if let Some(over) = over {
        tell(case, over, &ledger).await;
        history::prune(case).await?;
    }
    let mut stand = stand(case, &ledger, &clock, &ticks);
    let now = context.now();
    if let Some(batch) = &at_work {
        let job = Box::pin(start(case, batch)).await?;
        stand = ended::without_pod(stand, &job, now);
    }
    // What is due already, and waits for the run at work, is looked at again when that is over.
    let next = ticks
        .next
        .filter(|next| !case.plan.run.suspend && (*next > now || !ledger.waits()));
    let stand = match next {
        Some(next) => stand.within(until(next, now)),
        None => stand,
    };
    Ok(Found {
        stand,
        ledger,
        reports: Some(reports),
        next,
    })
}

/// The number of the run at work.
pub(super) fn running(ledger: &Ledger) -> Option<u64> {
    let mut entries = ledger.entries.iter();
    entries.find(|entry| entry.state == TriggerState::Running)?.run
}

/// The name of the Job of a run.
pub(crate) fn job_name(owner: &Owner, run: u64) -> String {
    run_id(&owner.name, &owner.uid, run)
}

fn notes(case: &Case<'_>, kept: Option<&Clock>) -> Clock {
    let now = case.context.now();
    let created = case.flow.creation_timestamp().map_or(now, |time| time.0);
    ticks::notes(&case.plan, kept, created, now)
}

/// Closes the run at work, if it is over; gives back its number, and the reports as they are by then.
async fn close(
    case: &Case<'_>,
    ledger: &mut Ledger,
    mut reports: Vec<Report>,
) -> Result<(Option<u64>, Vec<Report>)> {
    let Case { context, owner, .. } = case;
    let Some(run) = running(ledger) else {
        return Ok((None, reports));
    };
    let job = read::<Job>(context, &owner.namespace, &job_name(owner, run)).await?;
    let pods = ledger.pods(run);
    if job.as_ref().and_then(ended::job_end).is_some() {
        // What the worker wrote last may have come after the report was read.
        let map = read::<ConfigMap>(context, &owner.namespace, &owner.child(REPORT)).await?;
        reports = map.as_ref().map(crate::ledger::reports).unwrap_or_default();
    }
    let run_report = told(&reports, run, pods);
    let mut end = ended::end(run_report.as_ref(), job.as_ref());
    let mut cause = run_report.as_ref().and_then(|told| told.error.clone());
    if let (Some(End::Failed(why)), true) = (&mut end, run_report.is_none_or(|told| !told.is_over())) {
        cause = last_word(context, &owner.namespace, &job_name(owner, run)).await?;
        cause.iter().for_each(|said| *why = ended::sentence(Some(said)));
    }
    if end.is_none() && orphaned(case, ledger, run).await? {
        if let Some(job) = &job {
            delete(context, job).await?;
        }
        end = Some(End::Failed("its Job was deleted".to_owned()));
    }
    let Some(end) = end else {
        return Ok((None, reports));
    };
    ledger.end(run, &end, context.now());
    cause.iter().for_each(|cause| ledger.explain(run, cause));
    if let (Some(job), End::Failed(_)) = (&job, &end) {
        history::settle(case, job).await?;
    }
    Ok((Some(run), reports))
}

/// Whether the Job of ours that asked for a run is gone.
async fn orphaned(case: &Case<'_>, ledger: &Ledger, run: u64) -> Result<bool> {
    let entry = ledger.entries.iter().find(|entry| entry.run == Some(run));
    match entry.and_then(|entry| entry.job.as_ref().map(|job| (job, &entry.token))) {
        Some((job, uid)) => Ok(!triggers::is_there(case, job, uid).await?),
        None => Ok(false),
    }
}

/// Lets the clock ask for what is due, if nothing stands in its way.
async fn tick(case: &Case<'_>, ledger: &mut Ledger, clock: &mut Clock) -> Result<Ticks> {
    let now = case.context.now();
    let given = Given {
        plan: &case.plan,
        hash: &case.hash,
        ledger,
        clock,
        failed: failed(ledger),
        now,
    };
    let ticks = given
        .ticks()
        .map_err(|error| Error::content(format!("Flow {}", case.owner.name), error))?;
    let (Some(due), false) = (&ticks.due, case.plan.run.suspend) else {
        return Ok(ticks);
    };
    let has_room = match case.plan.run.concurrency_policy {
        _ if !ledger.waits() => true,
        ConcurrencyPolicy::Allow => due.name == ticks::SCHEDULE,
        ConcurrencyPolicy::Replace => due.name == ticks::SCHEDULE && stop(case, ledger).await?,
        ConcurrencyPolicy::Forbid => false,
    };
    if !has_room {
        return Ok(ticks);
    }
    if due.name == FIRST {
        clock.first = Some(case.hash.clone());
    }
    ledger.tick(
        &format!("Flow/{}", case.owner.name),
        due.name,
        due.load,
        due.at,
        now,
    );
    Ok(ticks)
}

/// Stops the run at work, for the next to take its place; says whether that is free. What a person asked for is never
/// stopped, nor what is over and only to be closed.
async fn stop(case: &Case<'_>, ledger: &mut Ledger) -> Result<bool> {
    let Some(run) = running(ledger) else {
        return Ok(true);
    };
    let mut entries = ledger.entries.iter().filter(|entry| entry.run == Some(run));
    if !entries.all(ticks::is_tick) {
        return Ok(false);
    }
    // Read, since a run that only seems to be absent would go on beside the next.
    let job = read::<Job>(case.context, &case.owner.namespace, &job_name(&case.owner, run)).await?;
    if job.as_ref().and_then(ended::job_end).is_some() {
        return Ok(false);
    }
    // First the Job: after a crash the ledger still has the run, and it is stopped again.
    if let Some(job) = &job {
        delete(case.context, job).await?;
        let note = format!("run {run} gives way to the next tick of the schedule");
        report::tell(case.context, case.flow, reasons::RUN_STOPPED, &note).await;
    }
    ledger.end(run, &End::Stopped, case.context.now());
    Ok(true)
}

/// How the last first load failed.
fn failed(ledger: &Ledger) -> Failed {
    let first = ledger.entries.iter().rev().find(|entry| entry.name == FIRST);
    match first.and_then(|entry| entry.cause.as_ref()) {
        Some(cause) if cause.reason == "SecretKeyMissing" => Failed::Elsewhere,
        cause if ended::may_pass(cause) => Failed::MayPass,
        _ => Failed::ForGood,
    }
}

/// Makes the Job of a run, unless it is there; gives it back as it is.
async fn start(case: &Case<'_>, batch: &Batch) -> Result<Job> {
    let Case { context, owner, .. } = case;
    let name = job_name(owner, batch.run);
    let terms = run::Terms {
        name,
        run: Some(batch.run),
        retries: if batch.job.is_some() {
            batch.terms.retries
        } else {
            run::RETRIES
        },
        deadline: batch.terms.deadline,
        pods: batch.terms.parallelism,
    };
    let work = Work {
        owner,
        args: vec!["--run".to_owned(), batch.run.to_string()],
        secrets: Secrets::of_plan(&case.plan),
        guests: Guests::of_plan(&case.plan),
        pod: case.flow.spec.pod.as_ref(),
        annotations: [].into(),
        serves: false,
    };
    let job = make(context, &run::job(&context.settings, &terms, &work)).await?;
    if !batch.resumed {
        let note = format!("run {} for {}", batch.run, batch.objects.join(", "));
        report::tell(context, case.flow, reasons::RUN_STARTED, &note).await;
    }
    Ok(job)
}

/// The last run that is over: the entries that it served.
pub(super) fn last_over(ledger: &Ledger) -> Option<&Entry> {
    let over = |entry: &&Entry| matches!(entry.state, TriggerState::Succeeded | TriggerState::Failed);
    ledger
        .entries
        .iter()
        .filter(over)
        .filter(|entry| entry.run.is_some())
        .max_by_key(|entry| entry.run)
}

/// Tells how a run ended.
pub(super) async fn tell(case: &Case<'_>, run: u64, ledger: &Ledger) {
    let Some(entry) = ledger.entries.iter().find(|entry| entry.run == Some(run)) else {
        return;
    };
    let well = entry.state == TriggerState::Succeeded;
    case.context
        .metrics
        .ran(&case.owner.namespace, &case.owner.name, well);
    if well {
        let note = format!("run {run}: {} rows", entry.rows.unwrap_or_default());
        report::tell(case.context, case.flow, reasons::RUN_SUCCEEDED, &note).await;
    } else {
        let note = format!("run {run}: {}", entry.message.as_deref().unwrap_or_default());
        report::warn_of(case.context, case.flow, reasons::RUN_FAILED, &note).await;
    }
}

fn stand(case: &Case<'_>, ledger: &Ledger, clock: &Clock, ticks: &Ticks) -> Stand {
    if let Some(stalled) = stalled(case, ledger, clock, ticks) {
        return stalled;
    }
    if case.plan.run.suspend {
        return Stand::ready(reasons::SUSPENDED, "spec.suspend is true: nothing starts");
    }
    match (running(ledger), ticks.next) {
        (Some(run), _) => Stand::ready(reasons::RUNNING, format!("run {run} is at work")),
        (None, Some(_)) => Stand::ready(reasons::SCHEDULED, "it waits for its next load"),
        (None, None) => Stand::ready(reasons::VALID, "it runs when it is triggered"),
    }
}

/// Whether the last run failed in a way that a person must put right, and its plan is still the same.
fn stalled(case: &Case<'_>, ledger: &Ledger, clock: &Clock, ticks: &Ticks) -> Option<Stand> {
    let last = last_over(ledger).filter(|last| last.state == TriggerState::Failed)?;
    let cause = last.cause.as_ref();
    let for_person = cause.is_some_and(|cause| matches!(cause.kind.as_str(), "config" | "state"));
    let same = clock.run.as_deref() == Some(&case.hash);
    if running(ledger).is_some() || !(for_person && same || ticks.spent) {
        return None;
    }
    let reason = cause
        .map(|cause| cause.reason.as_str())
        .filter(|reason| !reason.is_empty());
    let message = format!(
        "{}; it is loaded again {}when the Flow changes, or by annotation millrace.dev/full_load",
        last.message.as_deref().unwrap_or("the last run failed"),
        if ticks.next.is_some() {
            "after a while, "
        } else {
            ""
        },
    );
    Some(Stand::stalled(crate::resolve::Wrong::new(
        reason.unwrap_or(reasons::RUN_FAILED),
        message,
    )))
}
