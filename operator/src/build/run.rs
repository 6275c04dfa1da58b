//! A bounded run: a Job of Kubernetes with one pod at a time, or, where several share it, an Indexed one.
//!
//! In: the run's name, how often and how long it is tried, and by how many. Out: the Job.

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use millrace_crds::{Duration, channel::RUN_ANNOTATION};

use super::pod::{self, Work};
use crate::owner::WORKER;
use crate::settings::Settings;

/// How often a run is tried again where nobody says.
pub const RETRIES: u32 = 3;

/// What a run is called, and how often and how long it is tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The name of the Job.
    pub name: String,
    /// The number of the run, where it has one.
    pub run: Option<u64>,
    /// How often it is tried again after a failure that may pass.
    pub retries: u32,
    /// The time after which it is stopped.
    pub deadline: Option<Duration>,
    /// Pods that share it; 0 is one, as where nobody says.
    pub pods: u32,
}

/// The Job.
#[must_use]
pub fn job(settings: &Settings, terms: &Terms, work: &Work<'_>) -> Job {
    let mut metadata = work.owner.meta(terms.name.clone(), WORKER);
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.extend(work.annotations.clone());
    annotations.extend(terms.run.map(|run| (RUN_ANNOTATION.to_owned(), run.to_string())));
    let shared = terms.pods > 1;
    let pods = i32::try_from(terms.pods.max(1)).unwrap_or(1);
    let retries = Some(i32::try_from(terms.retries).unwrap_or(i32::MAX));
    Job {
        metadata,
        spec: Some(JobSpec {
            parallelism: Some(pods),
            completions: Some(pods),
            completion_mode: shared.then(|| "Indexed".to_owned()),
            // The part of one pod that fails for good stops no other's.
            backoff_limit_per_index: retries.filter(|_| shared),
            backoff_limit: retries.filter(|_| !shared),
            active_deadline_seconds: terms.deadline.map(seconds),
            // A second pod starts only when the first is gone for good; what is left of it is fenced all the same.
            pod_replacement_policy: Some("Failed".to_owned()),
            pod_failure_policy: Some(failures(if shared { "FailIndex" } else { "FailJob" })),
            template: pod::template(settings, work, "Never"),
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// A drained node is no failure of the run; a wrong manifest and a lost state are none that may pass, and end it `for_good`.
fn failures(for_good: &str) -> PodFailurePolicy {
    let disrupted = PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
        }]),
        on_exit_codes: None,
    };
    let final_ = PodFailurePolicyRule {
        action: for_good.to_owned(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: Some(pod::CONTAINER.to_owned()),
            operator: "In".to_owned(),
            values: vec![2, 3],
        }),
        on_pod_conditions: None,
    };
    PodFailurePolicy {
        rules: vec![disrupted, final_],
    }
}

fn seconds(duration: Duration) -> i64 {
    let millis = duration.get().as_millis();
    i64::try_from(millis.div_ceil(1000).max(1)).unwrap_or(i64::MAX)
}
