//! One Job: a bounded run of a Flow, tried again where that may help, and ended when its time is up.

use std::time::Duration;

use millrace_crds::{job::Load, plan::JobPlan};

use super::flow::{Flow, Observer, Report, Request, Wanted};
use crate::{
    backoff::Backoff,
    error::{Error, ErrorKind, Result},
};

/// What a Job asks for, on top of what was asked on the command line.
#[must_use]
pub fn request(job: &JobPlan, base: &Request) -> Request {
    let load = match (job.load, &job.backfill) {
        (Load::Backfill, Some(range)) => Wanted::Backfill {
            from: range.from.clone(),
            to: range.to.clone(),
        },
        (Load::Delta, _) => Wanted::Delta,
        _ => Wanted::Full,
    };
    let streams = if job.streams.is_empty() {
        base.streams.clone()
    } else {
        job.streams.clone()
    };
    Request {
        load: Some(load),
        streams,
        ..base.clone()
    }
}

/// Runs it. Only streams that failed with what may pass are tried again.
///
/// # Errors
/// What keeps every stream from starting; `transient` with the reason `DeadlineExceeded` where the time was up.
pub async fn run(flow: &Flow, job: &JobPlan, base: &Request, observe: Observer<'_>) -> Result<Report> {
    let tries = attempts(flow, job, base, observe);
    match job.deadline {
        None => tries.await,
        Some(deadline) => tokio::time::timeout(deadline.get(), tries)
            .await
            .unwrap_or_else(|_| {
                let message = format!("Job {} was not done within its deadline of {deadline}", job.name);
                Err(Error::transient(message)
                    .reason("DeadlineExceeded")
                    .advice("what is committed stays; allow more time, or load less at once"))
            }),
    }
}

async fn attempts(flow: &Flow, job: &JobPlan, base: &Request, observe: Observer<'_>) -> Result<Report> {
    let pauses = Backoff {
        tries: job.retries.saturating_add(1),
        first: Duration::from_secs(5),
        most: Duration::from_mins(5),
    };
    let mut request = request(job, base);
    let mut whole: Option<Report> = None;
    for attempt in 0.. {
        let last = attempt >= job.retries || request.drain.asked();
        match flow.run(&request, observe).await {
            Err(error) if last || error.kind != ErrorKind::Transient => return whole.ok_or(error),
            Err(error) => tracing::warn!(job = job.name, attempt, "{error}; trying again"),
            Ok(report) => {
                request.streams = passing(&report);
                whole = Some(merge(whole, report));
                if last || request.streams.is_empty() {
                    break;
                }
            }
        }
        tokio::select! {
            () = pauses.pause(attempt) => {}
            () = request.drain.wait() => break,
        }
    }
    whole.ok_or_else(|| Error::transient(format!("Job {} was stopped before it could begin", job.name)))
}

/// The streams that failed with what may pass.
fn passing(report: &Report) -> Vec<String> {
    let transient = |error: &Error| error.kind == ErrorKind::Transient;
    report
        .streams
        .iter()
        .filter(|stream| stream.outcome.as_ref().is_err_and(transient))
        .map(|stream| stream.name.clone())
        .collect()
}

/// The later outcome of a stream counts.
fn merge(before: Option<Report>, after: Report) -> Report {
    let Some(mut whole) = before else { return after };
    for stream in after.streams {
        match whole.streams.iter_mut().find(|known| known.name == stream.name) {
            Some(known) => *known = stream,
            None => whole.streams.push(stream),
        }
    }
    whole.left = after.left;
    whole
}
