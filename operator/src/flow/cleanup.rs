//! A Flow that is deleted: its state goes too, where `deletionPolicy: Delete` says so.
//!
//! In: a Flow with `deletionPolicy: Delete`, which has our finalizer, or one that is being deleted. Out: pods stopped,
//! state deleted, the finalizer gone. Every other Flow has no finalizer: what it has goes by owner reference.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    ResourceExt,
    api::{ListParams, Patch, PatchParams},
    runtime::controller::Action,
};
use millrace_crds::{
    Flow, Plan,
    channel::{PLAN, PLAN_KEY, PlanDoc, STATE, STATE_ID_ANNOTATION},
    flow::DeletionPolicy,
    plan::StateStorePlan,
};
use serde_json::json;

use crate::apply::{controller, delete, make, prune, read};
use crate::build::{guests::Guests, pod::Work, rights::account_name, run, secrets::Secrets};
use crate::context::Context;
use crate::error::{Doing, Error, Result};
use crate::flow::ended::{JobEnd, job_end};
use crate::owner::{Owner, WORKER};
use crate::{reasons, report};

/// The finalizer of a Flow whose state goes with it.
pub(super) const FINALIZER: &str = "millrace.dev/state";

/// How often a deletion that waits for something is looked at.
const LOOK: Duration = Duration::from_secs(3);
/// How long the state of an S3 server may take to delete.
const LIMIT: millrace_crds::Duration = millrace_crds::Duration::from_secs(900);

/// Gives a Flow the finalizer that it needs, and takes away one that it does not.
pub(super) async fn guard(context: &Context, flow: &Flow) -> Result<()> {
    let wanted = flow.spec.deletion_policy == DeletionPolicy::Delete;
    if wanted == has_finalizer(flow) {
        return Ok(());
    }
    let mut finalizers: Vec<String> = others(flow);
    finalizers.extend(wanted.then(|| FINALIZER.to_owned()));
    set(context, flow, finalizers).await
}

fn has_finalizer(flow: &Flow) -> bool {
    flow.finalizers().iter().any(|name| name == FINALIZER)
}

fn others(flow: &Flow) -> Vec<String> {
    flow.finalizers()
        .iter()
        .filter(|name| *name != FINALIZER)
        .cloned()
        .collect()
}

/// Writes the finalizers of the Flow that was read, and of no other.
async fn set(context: &Context, flow: &Flow, finalizers: Vec<String>) -> Result<()> {
    let patch = json!({ "metadata": {
        "uid": flow.uid(),
        "resourceVersion": flow.resource_version(),
        "finalizers": finalizers,
    }});
    let api = context.api::<Flow>(&flow.namespace().unwrap_or_default());
    match api
        .patch(&flow.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Err(kube::Error::Api(status)) if status.is_conflict() => {
            Err(Error::Changed(format!("Flow {}", flow.name_any())))
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other
            .doing(|| format!("write the finalizers of Flow {}", flow.name_any()))
            .map(|_| ()),
    }
}

/// Deletes what must go with a Flow, and then lets it go.
pub(super) async fn cleanup(context: &Context, flow: &Flow) -> Result<Action> {
    if !has_finalizer(flow) {
        return Ok(Action::await_change());
    }
    let owner = Owner::of(flow);
    if flow.spec.deletion_policy == DeletionPolicy::Delete && !is_done(context, flow, &owner).await? {
        return Ok(Action::requeue(LOOK));
    }
    set(context, flow, others(flow)).await?;
    Ok(Action::await_change())
}

/// Whether nothing of the state is left; does the next step towards it.
async fn is_done(context: &Context, flow: &Flow, owner: &Owner) -> Result<bool> {
    let s3 = match plan(context, owner).await? {
        Some(plan) if matches!(plan.state.store, StateStorePlan::S3(_)) => Some(plan),
        _ => None,
    };
    let forget = owner.child("forget");
    if !stopped(context, owner, &forget).await? {
        return Ok(false);
    }
    match s3 {
        None => delete_map(context, owner).await,
        Some(plan) => delete_in_s3(context, flow, owner, &plan, forget).await,
    }
}

/// The last plan that workers had; a Flow that never was sound has none, and no state.
async fn plan(context: &Context, owner: &Owner) -> Result<Option<Plan>> {
    let map = read::<ConfigMap>(context, &owner.namespace, &owner.child(PLAN)).await?;
    let text = map.and_then(|map| map.data?.remove(PLAN_KEY));
    let document = text.map(|text| serde_json::from_str::<PlanDoc>(&text));
    let document = document.transpose();
    Ok(document
        .map_err(|error| Error::content(owner.child(PLAN), error))?
        .map(|document| document.plan))
}

/// Stops every worker but the one that deletes; whether none is left.
async fn stopped(context: &Context, owner: &Owner, but: &str) -> Result<bool> {
    prune::<StatefulSet>(context, owner, &account_name(owner)).await?;
    let params = ListParams::default().labels(&owner.selector(WORKER));
    let jobs = context.api::<Job>(&owner.namespace).list(&params).await;
    let jobs = jobs
        .doing(|| format!("list the Jobs of Flow {}", owner.name))?
        .items;
    for job in jobs
        .iter()
        .filter(|job| controller(*job) == Some(&owner.uid) && job.name_any() != but)
    {
        delete(context, job).await?;
    }
    let pods = context.api::<Pod>(&owner.namespace).list(&params).await;
    let pods = pods
        .doing(|| format!("list the pods of Flow {}", owner.name))?
        .items;
    let at_work = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let deletes = pod
            .labels()
            .get("batch.kubernetes.io/job-name")
            .map(String::as_str)
            == Some(but);
        !deletes && !matches!(phase, Some("Succeeded" | "Failed"))
    };
    Ok(!pods.iter().any(at_work))
}

async fn delete_map(context: &Context, owner: &Owner) -> Result<bool> {
    let state = read::<ConfigMap>(context, &owner.namespace, &owner.child(STATE)).await?;
    // Only what was made for a state is deleted: never a ConfigMap that somebody else has put there.
    if let Some(state) = state.filter(|state| state.annotations().contains_key(STATE_ID_ANNOTATION)) {
        delete(context, &state).await?;
    }
    Ok(true)
}

/// The credentials of an S3 server are a worker's to read: a short Job deletes what lies there.
async fn delete_in_s3(
    context: &Context,
    flow: &Flow,
    owner: &Owner,
    plan: &Plan,
    name: String,
) -> Result<bool> {
    let terms = run::Terms {
        name,
        run: None,
        retries: run::RETRIES,
        deadline: Some(LIMIT),
        ..run::Terms::default()
    };
    let work = Work {
        owner,
        args: vec!["--forget".to_owned()],
        secrets: Secrets::of_plan(plan),
        guests: Guests::default(),
        pod: flow.spec.pod.as_ref(),
        annotations: [].into(),
        serves: false,
    };
    let job = match make(context, &run::job(&context.settings, &terms, &work)).await {
        Err(error) if error.is_going() => {
            let note = "the namespace is being deleted, so the state stays in S3; delete it there";
            report::warn_of(context, flow, reasons::STATE_LEFT, note).await;
            return Ok(true);
        }
        other => other?,
    };
    match job_end(&job) {
        None => Ok(false),
        Some(JobEnd::Well) => Ok(true),
        Some(JobEnd::Badly(why)) => {
            let note = format!(
                "the state in S3 could not be deleted: {why}; set deletionPolicy: Retain to leave it"
            );
            report::warn_of(context, flow, reasons::DELETING_STATE, &note).await;
            delete(context, &job).await?;
            Ok(false)
        }
    }
}
