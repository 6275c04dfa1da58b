//! The Jobs of runs that are over: a few are kept to look at.
//!
//! In: the Jobs of a Flow. Out: fewer. What a run did stands in the ledger and in the report, not in its Job.

use k8s_openapi::api::batch::v1::Job;
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use millrace_crds::channel::RUN_ANNOTATION;
use serde_json::json;

use super::Case;
use super::ended::{JobEnd, job_end};
use crate::apply::{controller, delete};
use crate::error::{Doing, Error, Result};
use crate::owner::WORKER;

/// Jobs that are kept of those that ended well, and of those that failed.
const KEPT: usize = 3;

/// Deletes the oldest Jobs of runs that are over.
pub(super) async fn prune(case: &Case<'_>) -> Result<()> {
    let owner = &case.owner;
    let params = ListParams::default().labels(&owner.selector(WORKER));
    let jobs = case.context.api::<Job>(&owner.namespace).list(&params).await;
    let jobs = jobs
        .doing(|| format!("list the Jobs of Flow {}", owner.name))?
        .items;
    for job in surplus(jobs, &owner.uid) {
        match delete(case.context, &job).await {
            // The next run that ends deletes it.
            Err(Error::Changed(_)) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Ends a Job whose worker has reported that its run failed: another pod would only find the same.
pub(super) async fn settle(case: &Case<'_>, job: &Job) -> Result<()> {
    if job_end(job).is_some() || job.spec.as_ref().is_none_or(|spec| spec.backoff_limit == Some(0)) {
        return Ok(());
    }
    let patch = json!({
        "metadata": { "uid": job.uid(), "resourceVersion": job.resource_version() },
        "spec": { "backoffLimit": 0 },
    });
    let api = case.context.api::<Job>(&case.owner.namespace);
    match api
        .patch(&job.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        // It has ended meanwhile, or is gone: that is as well.
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
        Err(error) => Err(error).doing(|| format!("end Job {}", job.name_any())),
    }
}

/// The Jobs to delete.
fn surplus(jobs: Vec<Job>, owner: &str) -> Vec<Job> {
    let number = |job: &Job| job.annotations().get(RUN_ANNOTATION)?.parse::<u64>().ok();
    let (mut well, mut badly) = (Vec::new(), Vec::new());
    for job in jobs.into_iter().filter(|job| controller(job) == Some(owner)) {
        match (number(&job), job_end(&job)) {
            (Some(number), Some(JobEnd::Well)) => well.push((number, job)),
            (Some(number), Some(JobEnd::Badly(_))) => badly.push((number, job)),
            _ => {}
        }
    }
    let old = |mut jobs: Vec<(u64, Job)>| {
        jobs.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        jobs.into_iter().skip(KEPT).map(|(_, job)| job)
    };
    old(well).chain(old(badly)).collect()
}
