//! What lies between the operator and the workers of a Flow: plan, report, state, rights.
//!
//! In: a Flow that is sound. Out: the objects, made so; or why no worker may start.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use millrace_crds::{
    Plan,
    channel::{PlanDoc, to_text},
    triggers::ADOPT_STATE,
};

use super::Case;
use crate::apply::{apply, make_unless, read, short_hash};
use crate::build::{channel, rights};
use crate::error::Result;
use crate::known::Place;
use crate::ledger::reports;
use crate::reasons;
use crate::resolve::Wrong;

/// The hash of what a worker goes by: not when it runs, which is the operator's.
pub(super) fn plan_hash(plan: &Plan) -> String {
    let mut plan = plan.clone();
    plan.run.suspend = false;
    plan.run.schedule = None;
    plan.run.schedule_load = None;
    plan.run.concurrency_policy = millrace_crds::flow::ConcurrencyPolicy::default();
    // What cannot be written has no hash, and no plan is such.
    short_hash(&serde_json::to_string(&plan).unwrap_or_default())
}

/// What is there for workers, but for the plan.
pub(super) struct Ready {
    /// The report, as it is now.
    pub(super) report: ConfigMap,
    /// The plan to write, as text.
    pub(super) plan: String,
}

/// Makes everything that a worker needs, but for the plan: when that is written is not the same for all.
pub(super) async fn setup(case: &Case<'_>) -> Result<Result<Ready, Wrong>> {
    let Case { context, owner, .. } = case;
    let document = PlanDoc {
        plan: case.plan.clone(),
        generation: case.flow.metadata.generation.unwrap_or_default(),
        adopt: case.flow.annotations().get(ADOPT_STATE).cloned(),
    };
    let plan = match to_text(&document) {
        Ok(plan) => plan,
        Err(error) => {
            return Ok(Err(Wrong::new(
                reasons::PLAN_TOO_LARGE,
                format!("the plan: {error}"),
            )));
        }
    };
    let report = apply(context, channel::report(owner)).await?;
    let state = channel::state_name(&case.plan);
    if let Some(name) = &state
        && let Some(lost) = state_is_there(case, name, &report).await?
    {
        return Ok(Err(lost));
    }
    let kept = channel::kept_name(&case.plan.source);
    rights::rights(owner, state.into_iter().chain(kept))
        .apply(context)
        .await?;
    Ok(Ok(Ready { report, plan }))
}

/// Makes the state where there never was one. One that was there and is gone is lost: to begin anew in silence would
/// deliver everything twice.
async fn state_is_there(case: &Case<'_>, name: &str, report: &ConfigMap) -> Result<Option<Wrong>> {
    let Case { context, owner, .. } = case;
    // That it has just gone is told later, and looked at then; a worker that starts meanwhile finds it missing.
    if context
        .known
        .is_there(&Place::new::<ConfigMap>(&owner.namespace, name))
    {
        return Ok(None);
    }
    let found = read::<ConfigMap>(context, &owner.namespace, name).await?;
    if found.is_none() {
        let began = reports(report)
            .iter()
            .any(|report| report.streams.iter().any(|stream| stream.epoch > 0));
        if began {
            let message = format!(
                "ConfigMap {name} held the state and is gone; restore it from a backup, or delete ConfigMap {} too to \
                 begin anew, which delivers everything again",
                report.name_any()
            );
            return Ok(Some(Wrong::new(reasons::STATE_LOST, message)));
        }
    }
    let wanted = channel::state(owner, name.to_owned(), &case.plan.state.id);
    make_unless(context, found, &wanted).await?;
    Ok(None)
}
