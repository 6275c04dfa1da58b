//! A Job that holds its Flow: a plan, a report, rights and a Job of Kubernetes of its own.
//!
//! In: the resolved Job. Out: what its worker needs, and how far it is. It starts once: what it says later changes
//! nothing, and a Job of Kubernetes that somebody deletes is made again under the same name.

use k8s_openapi::api::{batch, core::v1::ConfigMap};
use kube::{Resource, ResourceExt};
use millrace_crds::{
    Job, JobPlan,
    channel::{JobDoc, PLAN_RUN, REPORT, RunReport, to_text},
    ledger::{End, run_id},
    triggers::ADOPT_STATE,
};

use super::{Outcome, Progress, failed};
use crate::apply::{apply, make, read};
use crate::build::{channel, guests::Guests, pod::Work, rights, run, secrets::Secrets};
use crate::conditions::Truth;
use crate::context::Context;
use crate::error::Result;
use crate::flow::ended::{end, job_ended_at};
use crate::ledger::{reports, told};
use crate::owner::Owner;
use crate::reasons;
use crate::resolve::Wrong;
use crate::stand::Stand;

/// Runs the Job, once.
pub(super) async fn run(context: &Context, job: &Job, plan: &JobPlan) -> Result<Progress> {
    let owner = Owner::of(job);
    let name = run_id(&owner.name, &owner.uid, PLAN_RUN);
    let mut pod = read::<batch::v1::Job>(context, &owner.namespace, &name).await?;
    let told = report(context, &owner, plan.parallelism).await?;
    let over = end(told.as_ref(), pod.as_ref());
    if pod.is_none() && over.is_none() {
        if let Err(wrong) = setup(context, job, &owner, plan).await? {
            return Ok(Progress::waiting(Stand::stalled(wrong)));
        }
        pod = Some(make(context, &wanted(context, job, &owner, plan, name)).await?);
    }
    Ok(progress(context, pod.as_ref(), told, over))
}

fn progress(
    context: &Context,
    pod: Option<&batch::v1::Job>,
    told: Option<RunReport>,
    over: Option<End>,
) -> Progress {
    let (stand, outcome) = match &over {
        None | Some(End::Stopped) => (
            Stand::under_way(Truth::True, reasons::RUNNING, "it is at work"),
            Outcome::Open,
        ),
        Some(End::Done(rows)) => (
            Stand::ready(reasons::RUN_SUCCEEDED, format!("{rows} rows")),
            Outcome::Well,
        ),
        Some(End::Failed(why)) => (failed(told.as_ref(), Some(why)), Outcome::Badly),
    };
    let ended = told
        .as_ref()
        .and_then(|told| told.finished_at)
        .or_else(|| pod.and_then(job_ended_at));
    Progress {
        stand,
        outcome,
        began: told.as_ref().map(|told| told.started_at),
        run: told,
        ended: over.map(|_| ended.unwrap_or_else(|| context.now())),
    }
}

/// What the worker has told; read after its Job, of which it is the newest then.
async fn report(context: &Context, owner: &Owner, pods: u32) -> Result<Option<RunReport>> {
    let map = read::<ConfigMap>(context, &owner.namespace, &owner.child(REPORT)).await?;
    Ok(map.and_then(|map| told(&reports(&map), PLAN_RUN, pods)))
}

async fn setup(context: &Context, job: &Job, owner: &Owner, plan: &JobPlan) -> Result<Result<(), Wrong>> {
    let document = JobDoc {
        job: plan.clone(),
        uid: owner.uid.clone(),
        generation: job.meta().generation.unwrap_or_default(),
        adopt: job.annotations().get(ADOPT_STATE).cloned(),
    };
    let text = match to_text(&document) {
        Ok(text) => text,
        Err(error) => {
            return Ok(Err(Wrong::new(
                reasons::PLAN_TOO_LARGE,
                format!("the plan: {error}"),
            )));
        }
    };
    let state = channel::state_name(&plan.plan);
    if let Some(name) = &state {
        make(context, &channel::state(owner, name.clone(), &plan.plan.state.id)).await?;
    }
    apply(context, channel::report(owner)).await?;
    let kept = channel::kept_name(&plan.plan.source);
    rights::rights(owner, state.into_iter().chain(kept))
        .apply(context)
        .await?;
    apply(context, channel::plan(owner, text)).await?;
    Ok(Ok(()))
}

fn wanted(context: &Context, job: &Job, owner: &Owner, plan: &JobPlan, name: String) -> batch::v1::Job {
    let terms = run::Terms {
        name,
        run: Some(PLAN_RUN),
        retries: plan.retries,
        deadline: plan.deadline,
        pods: plan.parallelism,
    };
    let template = job.spec.flow_template.as_ref();
    let work = Work {
        owner,
        args: Vec::new(),
        secrets: Secrets::of_plan(&plan.plan),
        guests: Guests::of_plan(&plan.plan),
        pod: template.and_then(|template| template.spec.pod.as_ref()),
        annotations: [].into(),
        serves: false,
    };
    run::job(&context.settings, &terms, &work)
}
