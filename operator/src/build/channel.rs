//! The `ConfigMap`s between operator and workers.
//!
//! In: documents as text. Out: `ConfigMap`s. A plan is the operator's, values and all; of a report and of a state it
//! makes only the empty object.

use k8s_openapi::api::core::v1::ConfigMap;
use millrace_crds::{
    Plan,
    channel::{
        FLOW_UID_ANNOTATION, KEPT_CONFIG, LEDGER_KEY, PLAN, PLAN_KEY, REPORT, SOURCE_LABEL, STATE,
        STATE_ID_ANNOTATION, TRIAL_KEY, TRIGGERS, child, child_of,
    },
    common::Engine,
    plan::{SourcePlan, StateStorePlan},
};

use crate::owner::Owner;

/// The plan.
#[must_use]
pub fn plan(owner: &Owner, text: String) -> ConfigMap {
    plans(owner, text, None)
}

/// The plan that workers go by, and the one that is tried.
#[must_use]
pub fn plans(owner: &Owner, text: String, trial: Option<String>) -> ConfigMap {
    let trial = trial.map(|trial| (TRIAL_KEY.to_owned(), trial));
    let plan = (PLAN_KEY.to_owned(), text);
    ConfigMap {
        metadata: owner.meta(owner.child(PLAN), PLAN),
        data: Some([plan].into_iter().chain(trial).collect()),
        ..ConfigMap::default()
    }
}

/// The ledger.
#[must_use]
pub fn triggers(owner: &Owner, text: String) -> ConfigMap {
    ConfigMap {
        metadata: owner.meta(owner.child(TRIGGERS), TRIGGERS),
        data: Some([(LEDGER_KEY.to_owned(), text)].into()),
        ..ConfigMap::default()
    }
}

/// The report, empty.
#[must_use]
pub fn report(owner: &Owner) -> ConfigMap {
    ConfigMap {
        metadata: owner.meta(owner.child(REPORT), REPORT),
        ..ConfigMap::default()
    }
}

/// The name of the `ConfigMap` in which a Source's connector keeps what it changes of its configuration, where it can: it is
/// the Source's, since a token that is replaced is worth nothing to any of its Flows.
#[must_use]
pub fn kept_name(source: &SourcePlan) -> Option<String> {
    let changes = source.system.engine == Engine::Airbyte.name() && !source.system.credentials.is_empty();
    changes.then(|| child_of(SOURCE_LABEL, &source.name, KEPT_CONFIG))
}

/// That `ConfigMap`, empty.
#[must_use]
pub fn kept(owner: &Owner, name: String) -> ConfigMap {
    ConfigMap {
        metadata: owner.meta(name, KEPT_CONFIG),
        ..ConfigMap::default()
    }
}

/// The name of the `ConfigMap` of the state, where it is kept in one: a worker finds it by the plan alone.
#[must_use]
pub fn state_name(plan: &Plan) -> Option<String> {
    let kept = matches!(
        plan.state.store,
        StateStorePlan::Default | StateStorePlan::ConfigMap
    );
    kept.then(|| child(&plan.flow.name, STATE))
}

/// The state, empty. It has no owner, so that it outlives its Flow.
#[must_use]
pub fn state(owner: &Owner, name: String, id: &str) -> ConfigMap {
    let mut metadata = owner.lasting(name, STATE);
    metadata.annotations.get_or_insert_default().extend([
        (FLOW_UID_ANNOTATION.to_owned(), owner.uid.clone()),
        (STATE_ID_ANNOTATION.to_owned(), id.to_owned()),
    ]);
    ConfigMap {
        metadata,
        ..ConfigMap::default()
    }
}
