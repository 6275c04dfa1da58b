//! The last word of a worker that could not report: what it left with the kubelet.
//!
//! In: the pods of a Job. Out: what went wrong, as the last of them says.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use millrace_crds::channel::Failure;

use crate::context::Context;
use crate::error::{Doing, Result};

/// What the last pod of a Job says of its failure.
///
/// # Errors
/// Where the API server does not answer.
pub(crate) async fn last_word(context: &Context, namespace: &str, job: &str) -> Result<Option<Failure>> {
    let params = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job}"));
    let pods = context.api::<Pod>(namespace).list(&params).await;
    let mut pods = pods.doing(|| format!("list the pods of Job {job}"))?.items;
    pods.sort_by_key(|pod| std::cmp::Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)));
    Ok(pods.iter().find_map(said))
}

fn said(pod: &Pod) -> Option<Failure> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ended = containers
        .iter()
        .find_map(|container| container.state.as_ref()?.terminated.as_ref())?;
    if let Some(message) = ended.message.as_deref()
        && let Ok(failure) = serde_json::from_str::<Failure>(message)
    {
        return Some(failure);
    }
    let reason = ended.reason.as_deref().filter(|reason| *reason == "OOMKilled")?;
    Some(Failure::new(
        "transient",
        reason,
        "the worker took more memory than its limit",
        "give it more by pod.resources.limits.memory",
    ))
}
