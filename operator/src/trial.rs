//! A Job that tries something until it works: discovery, and the preflight of a changed plan.
//!
//! In: what is tried, by its hash, and the Job that tries it. Out: whether it works. There is one such Job for each owner
//! and purpose, and it is kept: it remembers what was tried. Another hash takes its place, and one that has failed is
//! tried again after a while.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use kube::{Resource, ResourceExt};
use millrace_crds::channel::Failure;

use crate::apply::{delete, make, read};
use crate::context::Context;
use crate::error::Result;
use crate::flow::ended::{JobEnd, job_end, job_ended_at};
use crate::last_word::last_word;

/// The annotation that holds the hash of what a Job tries.
pub const TRIED: &str = "millrace.dev/tried";

/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_mins(5);

/// How a trial stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It is being tried.
    UnderWay,
    /// It works.
    Works,
    /// It does not, for this reason; when it is tried again.
    Fails(Failure, Duration),
}

/// Tries what `job` tries, unless that was done.
///
/// # Errors
/// Where the API server does not answer, or does not take the Job.
pub async fn trial(context: &Context, job: &Job) -> Result<Trial> {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let tried = |job: &Job| job.annotations().get(TRIED).cloned();
    if let Some(found) = read::<Job>(context, &namespace, &name).await? {
        let same = tried(&found) == tried(job) && found.meta().deletion_timestamp.is_none();
        match job_end(&found).filter(|_| same) {
            None if same => return Ok(Trial::UnderWay),
            Some(JobEnd::Well) => return Ok(Trial::Works),
            Some(JobEnd::Badly(why)) => {
                let wait = again(context, &found);
                if !wait.is_zero() {
                    let said = last_word(context, &namespace, &name).await?;
                    let why = said.unwrap_or_else(|| Failure::new("transient", "", &why, ""));
                    return Ok(Trial::Fails(why, wait));
                }
            }
            None => {}
        }
        delete(context, &found).await?;
    }
    make(context, job).await?;
    Ok(Trial::UnderWay)
}

/// How long to wait before what has failed is tried again; nothing: no longer.
fn again(context: &Context, job: &Job) -> Duration {
    let since = job_ended_at(job).map_or(Duration::ZERO, |end| {
        Duration::try_from(context.now().duration_since(end)).unwrap_or_default()
    });
    AGAIN.saturating_sub(since)
}
