//! The workers of a Continuous Flow: a StatefulSet.
//!
//! In: how many, and their pod. Out: the StatefulSet. It holds no data: what it is for is that a pod of one name is
//! never there twice.

use k8s_openapi::{
    api::apps::v1::{
        RollingUpdateStatefulSetStrategy, StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::pod::{self, Work};
use crate::owner::WORKER;
use crate::settings::Settings;

/// The StatefulSet.
#[must_use]
pub fn stateful_set(settings: &Settings, replicas: i32, work: &Work<'_>) -> StatefulSet {
    let name = super::rights::account_name(work.owner);
    StatefulSet {
        metadata: work.owner.meta(name.clone(), WORKER),
        spec: Some(StatefulSetSpec {
            replicas: Some(replicas),
            // No Service has this name: nobody connects to a worker.
            service_name: Some(name),
            selector: LabelSelector {
                match_labels: Some(work.owner.labels(WORKER)),
                match_expressions: None,
            },
            // All ordinals start at once: none waits for another.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateStatefulSetStrategy {
                    partition: Some(0),
                    max_unavailable: None,
                }),
            }),
            revision_history_limit: Some(3),
            template: pod::template(settings, work, "Always"),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}
