//! The Source: resolved, and asked for its streams.
//!
//! In: a Source, and the Connector that it names. Out: a status with the recipe in use and the streams. A short Job asks
//! the source for its streams when what it says has changed; where it declares every stream with its schema, there is
//! nothing to ask.

mod streams;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{ConfigMap, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, Resource, ResourceExt, runtime::controller::Action};
use millrace_crds::{
    Source,
    channel::{Failure, PLAN, REPORT, Report, SOURCE_LABEL, SourceDoc, to_text},
    plan::SourcePlan,
    source::{ConnectorInUse, SourceStatus},
};

use self::streams::Streams;
use crate::apply::{apply, keep, prune, read, short_hash};
use crate::build::{channel, guests::Guests, pod::Work, rights, run, secrets::Secrets};
use crate::conditions::{self, Conditions, READY, Truth};
use crate::context::Context;
use crate::error::Result;
use crate::flow::ended;
use crate::index::Key;
use crate::known::Place;
use crate::ledger::reports;
use crate::owner::Owner;
use crate::resolve::{self, Wrong};
use crate::run::Reconcile;
use crate::stand::{self, Stand};
use crate::trial::{TRIED, Trial, trial};
use crate::{reasons, report};

/// How long a source may take to tell its streams.
const LIMIT: millrace_crds::Duration = millrace_crds::Duration::from_secs(600);

impl Reconcile for Source {
    const KIND: &'static str = "Source";

    fn api(context: &Context, namespace: &str) -> Api<Self> {
        context.api(namespace)
    }

    async fn reconcile(self, context: &Context) -> Result<Action> {
        context.index.note_source(&self);
        if self.meta().deletion_timestamp.is_some() {
            return Ok(Action::await_change());
        }
        let before = self.status.clone().unwrap_or_default();
        if stand::is_new(&before.conditions) {
            let new = Stand::under_way(Truth::Unknown, reasons::NEW, "");
            // A status that cannot be written holds nothing up; that of the end is tried again.
            let _ = write(context, &self, &new, None, &Streams::default()).await;
            let fresh = Self::api(context, &self.namespace().unwrap_or_default());
            if let Some(fresh) = fresh.get_opt(&self.name_any()).await.ok().flatten() {
                return Box::pin(step(context, &fresh)).await;
            }
        }
        Box::pin(step(context, &self)).await
    }

    fn gone(context: &Context, key: &Key) {
        context.index.forget(SOURCE_LABEL, key);
    }
}

async fn step(context: &Context, source: &Source) -> Result<Action> {
    let (plan, stand, streams) = match Box::pin(find(context, source)).await {
        Ok(found) => found,
        Err(error) => (None, Stand::of_error(error)?, Streams::default()),
    };
    let before = source.status.clone().unwrap_or_default().conditions;
    let changed = !conditions::has(&before, READY, &stand.reason);
    write(context, source, &stand, plan.as_ref(), &streams).await?;
    if stand.stalled && changed {
        report::warn_of(context, source, &stand.reason, &stand.message).await;
    } else if changed && stand.reason == reasons::DISCOVERED {
        report::tell(context, source, reasons::DISCOVERED, &stand.message).await;
    }
    Ok(stand.action())
}

/// Resolves a Source, and asks for its streams where they are not declared.
async fn find(context: &Context, source: &Source) -> Result<(Option<SourcePlan>, Stand, Streams)> {
    let plan = match resolve::source(context, source).await?.plan {
        Ok(plan) => plan,
        Err(wrong) => return Ok((None, Stand::stalled(wrong), Streams::default())),
    };
    if let Some(name) = channel::kept_name(&plan)
        && let Err(error) = apply(context, channel::kept(&Owner::of(source), name)).await
    {
        return Ok((Some(plan), Stand::of_error(error)?, Streams::default()));
    }
    let found = match Streams::declared(&plan) {
        Some(streams) => settled(context, source, streams).await,
        None => Box::pin(discover(context, source, &plan)).await,
    };
    let (stand, streams) = match found {
        Ok(found) => found,
        Err(error) => (Stand::of_error(error)?, Streams::default()),
    };
    Ok((Some(plan), stand, streams))
}

/// Nothing is to be asked; what was asked before is not kept.
async fn settled(context: &Context, source: &Source, streams: Streams) -> Result<(Stand, Streams)> {
    let owner = Owner::of(source);
    let plan = owner.child(PLAN);
    let place = Place::new::<ConfigMap>(&owner.namespace, &plan);
    if context.known.is_absent(&place, owner.label) {
        return Ok((Stand::ready(reasons::VALID, "every stream is declared"), streams));
    }
    // The plan is made first and goes last: while it is there, more may be.
    if read::<ConfigMap>(context, &owner.namespace, &plan)
        .await?
        .is_some()
    {
        let name = rights::account_name(&owner);
        prune::<RoleBinding>(context, &owner, &name).await?;
        prune::<Role>(context, &owner, &name).await?;
        prune::<ServiceAccount>(context, &owner, &name).await?;
        prune::<ConfigMap>(context, &owner, &owner.child(REPORT)).await?;
        prune::<Job>(context, &owner, &owner.child("discover")).await?;
        prune::<ConfigMap>(context, &owner, &plan).await?;
    }
    Ok((Stand::ready(reasons::VALID, "every stream is declared"), streams))
}

async fn discover(context: &Context, source: &Source, plan: &SourcePlan) -> Result<(Stand, Streams)> {
    let owner = Owner::of(source);
    let document = SourceDoc {
        namespace: owner.namespace.clone(),
        source: plan.clone(),
        uid: owner.uid.clone(),
        generation: source.meta().generation.unwrap_or_default(),
    };
    let text = match to_text(&document) {
        Ok(text) => text,
        Err(error) => {
            let wrong = Wrong::new(reasons::PLAN_TOO_LARGE, format!("the plan: {error}"));
            return Ok((Stand::stalled(wrong), Streams::default()));
        }
    };
    // The worker reads what the plan says of a source, and not which generation it is of.
    let hash = short_hash(&serde_json::to_string(plan).unwrap_or_default());
    keep(context, channel::plan(&owner, text)).await?;
    apply(context, channel::report(&owner)).await?;
    rights::rights(&owner, channel::kept_name(plan))
        .apply(context)
        .await?;
    let trial = Box::pin(trial(context, &job(context, &owner, plan, &hash))).await?;
    let map = read::<ConfigMap>(context, &owner.namespace, &owner.child(REPORT)).await?;
    let report = map.as_ref().and_then(|map| reports(map).into_iter().next());
    Ok(stand(source, trial, report.unwrap_or_default()))
}

fn job(context: &Context, owner: &Owner, plan: &SourcePlan, hash: &str) -> Job {
    let terms = run::Terms {
        name: owner.child("discover"),
        run: None,
        retries: run::RETRIES,
        deadline: Some(LIMIT),
        ..run::Terms::default()
    };
    let work = Work {
        owner,
        args: vec!["--discover".to_owned()],
        secrets: Secrets::of_source(plan),
        guests: Guests::of_source(plan),
        pod: None,
        annotations: [].into(),
        serves: false,
    };
    let mut job = run::job(&context.settings, &terms, &work);
    job.annotations_mut().insert(TRIED.to_owned(), hash.to_owned());
    job
}

fn stand(source: &Source, trial: Trial, report: Report) -> (Stand, Streams) {
    let streams = report.discovery.as_ref().map(Streams::found).unwrap_or_default();
    let status = source.status.as_ref();
    let knew = status.is_some_and(|status| status.last_discovery.is_some());
    let stand = match trial {
        Trial::Works => {
            // A report that somebody has deleted takes nothing from what was found.
            let total = streams.total.or(status.and_then(|status| status.stream_count));
            let total = total.unwrap_or_default();
            Stand::ready(reasons::DISCOVERED, format!("it has {total} streams"))
        }
        Trial::UnderWay => {
            let ready = if knew { Truth::True } else { Truth::Unknown };
            Stand::under_way(ready, reasons::DISCOVERING, "it is being asked for its streams")
        }
        Trial::Fails(why, wait) => failed(report.problem.as_ref().unwrap_or(&why), wait),
    };
    (stand, streams)
}

fn failed(problem: &Failure, wait: Duration) -> Stand {
    let reason = Some(problem.reason.as_str()).filter(|reason| !reason.is_empty());
    let message = ended::sentence(Some(problem));
    let wrong = Wrong::new(reason.unwrap_or(reasons::DISCOVERY_FAILED), message);
    Stand::stalled(wrong).within(wait.max(Duration::from_secs(1)))
}

async fn write(
    context: &Context,
    source: &Source,
    stand: &Stand,
    plan: Option<&SourcePlan>,
    streams: &Streams,
) -> Result<()> {
    let before = source.status.clone().unwrap_or_default();
    let mut conditions = Conditions::new(&before.conditions, source.meta().generation, context.now());
    stand.set(&mut conditions);
    let connector = plan.map(|plan| ConnectorInUse {
        name: plan.system.connector.clone(),
        engine: plan.system.engine.clone(),
        from: plan.system.recipe,
    });
    // After a start the count is not known before every Flow has been looked at.
    let flows = match context.index.knows_flows() {
        true => u32::try_from(context.index.flows_of_source(&Key::of(source)).len()).ok(),
        false => before.flow_count,
    };
    let after = SourceStatus {
        observed_generation: source.meta().generation,
        conditions: conditions.finish(),
        connector: connector.or_else(|| before.connector.clone()),
        flow_count: flows,
        stream_count: streams.total.or(before.stream_count),
        streams: match streams.total {
            Some(_) => streams.listed.clone(),
            None => before.streams.clone(),
        },
        last_discovery: streams
            .at
            .map(|at| Time(Timestamp::from_second(at.as_second()).unwrap_or(at)))
            .or_else(|| before.last_discovery.clone()),
    };
    let api = context.api::<Source>(&source.namespace().unwrap_or_default());
    report::status(&api, report::STATUS_MANAGER, source, Some(&before), &after).await?;
    Ok(())
}
