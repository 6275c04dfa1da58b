//! How a run ended, as its worker and Kubernetes tell it.
//!
//! In: the report of the run, and its Job. Out: the end that the ledger is to have, or that the run is at work. The
//! report counts: the Job speaks only where a worker could not.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use kube::ResourceExt;
use millrace_crds::{
    channel::{Failure, RunReport, RunState},
    ledger::{Cause, End},
};

use crate::stand::Stand;

/// How a Job of Kubernetes ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobEnd {
    /// Its pod ended well.
    Well,
    /// It failed, and why.
    Badly(String),
}

/// How a Job ended; `None`: it is at work.
pub(crate) fn job_end(job: &Job) -> Option<JobEnd> {
    let conditions = job
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let holds = |type_: &str| {
        let holds = |condition: &&JobCondition| condition.type_ == type_ && condition.status == "True";
        conditions.iter().find(holds)
    };
    if holds("Complete").is_some() {
        return Some(JobEnd::Well);
    }
    holds("Failed").map(|failed| {
        let reason = failed.reason.as_deref().unwrap_or("Failed");
        let message = failed.message.as_deref().unwrap_or_default();
        JobEnd::Badly(format!("{reason}: {message}"))
    })
}

/// How long a Job may be without a pod before people are told.
const NO_POD: SignedDuration = SignedDuration::from_secs(15);

/// A run whose Job has no pod at all is not at work: a quota or a policy lets none in.
pub(crate) fn without_pod(stand: Stand, job: &Job, now: Timestamp) -> Stand {
    let status = job.status.clone().unwrap_or_default();
    let pods = [status.active, status.succeeded, status.failed];
    if pods.into_iter().flatten().any(|pods| pods > 0) || job_end(job).is_some() || stand.stalled {
        return stand;
    }
    let made = job.creation_timestamp().map_or(now, |time| time.0);
    let left = NO_POD - now.duration_since(made);
    match Duration::try_from(left) {
        Ok(left) if !left.is_zero() => stand.within(left),
        _ => Stand {
            message: format!(
                "{}; it waits for its pod: `kubectl describe job {}` says why",
                stand.message,
                job.name_any()
            ),
            ..stand
        },
    }
}

/// When a Job ended.
pub(crate) fn job_ended_at(job: &Job) -> Option<Timestamp> {
    let status = job.status.as_ref()?;
    let conditions = status.conditions.iter().flatten();
    let times = conditions.filter_map(|condition| condition.last_transition_time.as_ref().map(|time| time.0));
    status.completion_time.as_ref().map(|time| time.0).or(times.max())
}

/// The end of a run; `None`: it is at work, or will be.
pub(crate) fn end(run: Option<&RunReport>, job: Option<&Job>) -> Option<End> {
    let of_job = job.and_then(job_end);
    match run.filter(|run| run.is_over()) {
        Some(run) if run.state == RunState::Succeeded => Some(End::Done(run.rows)),
        Some(run) => Some(End::Failed(sentence(run.error.as_ref()))),
        None => of_job.map(|end| match end {
            JobEnd::Well => End::Done(0),
            JobEnd::Badly(why) => End::Failed(why),
        }),
    }
}

/// Whether a failure may pass by itself; one of which nothing is known may.
pub(crate) fn may_pass(cause: Option<&Cause>) -> bool {
    cause.is_none_or(|cause| matches!(cause.kind.as_str(), "transient" | "fenced" | ""))
}

/// A failure in a sentence.
pub(crate) fn sentence(failure: Option<&Failure>) -> String {
    match failure {
        None => "it failed".to_owned(),
        Some(failure) if failure.advice.is_empty() => failure.message.clone(),
        Some(failure) => format!("{}; {}", failure.message, failure.advice),
    }
}
