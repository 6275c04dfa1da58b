//! The Flow: its channel, its ledger, and the pods that do its work.
//!
//! In: a Flow, and what it refers to. Out: a plan, rights, runs or workers, a status. What is wrong with a Flow stops
//! what is new; what runs, runs on by the plan that it has.
//!
//! ```text
//! resolve -> setup (plan, rights, report, state) -> triggers + ticks -> ledger -> batch | continuous -> status
//! ```

pub(crate) mod batch;
mod cleanup;
mod continuous;
pub(crate) mod ended;
mod history;
mod setup;
mod status;
pub(crate) mod ticks;
mod triggers;

use std::time::Duration;

use jiff::Timestamp;
use kube::{Api, Resource, ResourceExt, runtime::controller::Action};
use millrace_crds::{
    Flow, Plan, Resources,
    channel::{FLOW_LABEL, Report},
    flow::Mode,
    ledger::Ledger,
};

use crate::conditions::{self, READY, Truth};
use crate::context::Context;
use crate::error::Result;
use crate::index::Key;
use crate::owner::Owner;
use crate::resolve::{self, Wrong};
use crate::run::Reconcile;
use crate::stand::{self, Stand};
use crate::{reasons, report};

/// A Flow that is sound, being reconciled.
pub(crate) struct Case<'a> {
    pub(crate) context: &'a Context,
    pub(crate) flow: &'a Flow,
    pub(crate) owner: Owner,
    pub(crate) plan: Plan,
    /// The hash of the plan, without what does not concern a worker.
    pub(crate) hash: String,
    pub(crate) resources: Resources,
}

/// What a reconcile has found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) stand: Stand,
    pub(crate) ledger: Ledger,
    /// What workers have told; `None`: nobody looked.
    pub(crate) reports: Option<Vec<Report>>,
    pub(crate) next: Option<Timestamp>,
}

impl Reconcile for Flow {
    const KIND: &'static str = "Flow";

    fn api(context: &Context, namespace: &str) -> Api<Self> {
        context.api(namespace)
    }

    async fn reconcile(self, context: &Context) -> Result<Action> {
        context.index.note_flow(&self);
        if self.meta().deletion_timestamp.is_some() {
            return cleanup::cleanup(context, &self).await;
        }
        let before = self.status.clone().unwrap_or_default();
        if stand::is_new(&before.conditions) {
            let new = Stand::under_way(Truth::Unknown, reasons::NEW, "");
            // A status that cannot be written holds nothing up; that of the end is tried again.
            let _ = status::write(context, &self, &new, None).await;
            // What is written is news to nobody: the reconcile goes on by the Flow as it is now.
            let fresh = Self::api(context, &self.namespace().unwrap_or_default());
            if let Some(fresh) = fresh.get_opt(&self.name_any()).await.ok().flatten() {
                return Box::pin(step(context, &fresh)).await;
            }
        }
        Box::pin(step(context, &self)).await
    }

    fn gone(context: &Context, key: &Key) {
        context.index.forget(FLOW_LABEL, key);
        context.metrics.forget(&key.namespace, &key.name);
    }
}

async fn step(context: &Context, flow: &Flow) -> Result<Action> {
    let (stand, found) = match Box::pin(find(context, flow)).await {
        Ok(Ok(found)) => (found.stand.clone(), Some(found)),
        Ok(Err(wrong)) => (Stand::stalled(wrong), None),
        Err(error) => (Stand::of_error(error)?, None),
    };
    let changed = conditions::find(&flow.status.clone().unwrap_or_default().conditions, READY)
        .is_none_or(|ready| ready.reason != stand.reason);
    if stand.stalled && changed {
        report::warn_of(context, flow, &stand.reason, &stand.message).await;
    }
    let wait = status::write(context, flow, &stand, found.as_ref()).await?;
    Ok(wait.map_or_else(|| stand.action(), |wait| stand.clone().within(wait).action()))
}

/// Does what is to be done, or finds what is wrong with the Flow.
async fn find(context: &Context, flow: &Flow) -> Result<Result<Found, Wrong>> {
    cleanup::guard(context, flow).await?;
    let resolved = resolve::flow(context, flow).await?;
    let plan = match resolved.plan {
        Ok(plan) => plan,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let case = Case {
        context,
        flow,
        owner: Owner::of(flow),
        hash: setup::plan_hash(&plan),
        plan,
        resources: resolved.resources,
    };
    Box::pin(work(&case)).await.map(Ok)
}

async fn work(case: &Case<'_>) -> Result<Found> {
    let ready = match Box::pin(setup::setup(case)).await? {
        Ok(ready) => ready,
        Err(wrong) => {
            let stand = Stand::stalled(wrong);
            let kept = crate::ledger::find(case.context, &case.owner).await?;
            return Ok(Found {
                stand,
                ledger: kept.map(|kept| kept.ledger).unwrap_or_default(),
                reports: None,
                next: None,
            });
        }
    };
    match case.plan.run.mode {
        Mode::Batch => Box::pin(batch::batch(case, ready)).await,
        Mode::Continuous => Box::pin(continuous::continuous(case, ready)).await,
    }
}

/// The time from now until then, and never nothing.
pub(crate) fn until(then: Timestamp, now: Timestamp) -> Duration {
    let wait = Duration::try_from(then.duration_since(now)).unwrap_or_default();
    wait.max(Duration::from_millis(5))
}
