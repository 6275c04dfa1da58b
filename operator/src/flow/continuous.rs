//! A Continuous Flow: workers that go on, in a StatefulSet.
//!
//! In: the plan, the workers as they are, their reports. Out: the workers as they are to be. A changed plan is tried by
//! a Job first; while it does not work, the workers go on by what they have. Triggers go through the ledger, which the
//! workers watch: what it has as running, they do at once.

use std::time::Duration;

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    batch::v1::Job,
    core::v1::{ConfigMap, Pod},
};
use kube::{ResourceExt, api::ListParams};
use millrace_crds::{
    channel::{Failure, LIMIT, PLAN, PLAN_KEY, Report},
    ledger::Ledger,
};

use super::batch::{job_name, running, tell};
use super::setup::Ready;
use super::{Case, Found, ended, triggers};
use crate::apply::{apply_to, controller, delete, keep, prune, prune_known, read, short_hash};
use crate::build::{channel, guests::Guests, pod::Work, run, secrets::Secrets, stateful};
use crate::conditions::Truth;
use crate::error::{Doing, Error, Result};
use crate::ledger::{open, reports, told};
use crate::owner::WORKER;
use crate::resolve::Wrong;
use crate::stand::Stand;
use crate::trial::{TRIED, Trial, trial};
use crate::{reasons, report};

/// The annotation of a pod that holds the hash of its plan.
const PLAN_HASH: &str = "millrace.dev/plan";
/// The annotation of the StatefulSet that holds the hash of its template.
const TEMPLATE: &str = "millrace.dev/template";
/// How often workers that are not ready are looked at.
const LOOK: Duration = Duration::from_secs(15);
/// How long a preflight may take.
const PREFLIGHT: millrace_crds::Duration = millrace_crds::Duration::from_secs(600);

/// Keeps the workers as they are to be.
pub(super) async fn continuous(case: &Case<'_>, Ready { report: map, plan }: Ready) -> Result<Found> {
    let Case { context, owner, .. } = case;
    let mut reports = reports(&map);
    // Those of pods that are gone for good say nothing any more.
    reports.truncate(usize::try_from(workers_of(case)).unwrap_or(1));
    let ledger = Box::pin(keep_ledger(case, &reports)).await?;
    let wanted = workers(case)?;
    let found = read::<StatefulSet>(context, &owner.namespace, &wanted.name_any()).await?;
    let changed = found
        .as_ref()
        .is_some_and(|found| template_of(found) != template_of(&wanted));
    let stand = match changed && !case.plan.run.suspend {
        true => Box::pin(try_and_roll_out(case, wanted, found, plan, &reports)).await?,
        false => {
            keep(context, channel::plan(owner, plan)).await?;
            Box::pin(roll_out(case, wanted, found, &reports)).await?
        }
    };
    Ok(Found {
        stand,
        ledger,
        reports: Some(reports),
        next: None,
    })
}

/// Rolls a changed plan out once it works. Until then it lies beside the one that the workers go by, so that a pod
/// which is started anew meanwhile does not meet it.
async fn try_and_roll_out(
    case: &Case<'_>,
    wanted: StatefulSet,
    found: Option<StatefulSet>,
    plan: String,
    reports: &[Report],
) -> Result<Stand> {
    let Case { context, owner, .. } = case;
    let map = read::<ConfigMap>(context, &owner.namespace, &owner.child(PLAN)).await?;
    let old = map.and_then(|map| map.data?.remove(PLAN_KEY));
    // Two that do not fit into one ConfigMap follow each other at once.
    if let Some(old) = old.filter(|old| *old != plan && old.len() + plan.len() <= LIMIT) {
        keep(context, channel::plans(owner, old, Some(plan.clone()))).await?;
    } else {
        keep(context, channel::plan(owner, plan.clone())).await?;
    }
    let meanwhile = if found.as_ref().is_some_and(works) {
        Truth::True
    } else {
        Truth::False
    };
    if let Some(stand) = Box::pin(preflight(case, &wanted, meanwhile)).await? {
        return Ok(stand);
    }
    keep(context, channel::plan(owner, plan)).await?;
    Box::pin(roll_out(case, wanted, found, reports)).await
}

/// The StatefulSet as it is to be.
fn workers(case: &Case<'_>) -> Result<StatefulSet> {
    let workers = workers_of(case);
    let replicas = if case.plan.run.suspend { 0 } else { workers };
    let work = work(case, ["--follow", "--workers", &workers.to_string()], true);
    let mut wanted = stateful::stateful_set(&case.context.settings, replicas, &work);
    let template = wanted
        .spec
        .as_ref()
        .map(|spec| serde_json::to_string(&spec.template));
    let template = template
        .transpose()
        .map_err(|error| Error::content(wanted.name_any(), error))?
        .unwrap_or_default();
    wanted
        .annotations_mut()
        .insert(TEMPLATE.to_owned(), short_hash(&template));
    Ok(wanted)
}

fn template_of(set: &StatefulSet) -> Option<&String> {
    set.annotations().get(TEMPLATE)
}

/// How many pods share the streams.
fn workers_of(case: &Case<'_>) -> i32 {
    let asked = case.flow.spec.pod.as_ref().and_then(|pod| pod.replicas);
    asked.and_then(|asked| i32::try_from(asked).ok()).unwrap_or(1)
}

fn work<'a, const N: usize>(case: &'a Case<'_>, args: [&str; N], serves: bool) -> Work<'a> {
    Work {
        owner: &case.owner,
        args: args.map(str::to_owned).to_vec(),
        secrets: Secrets::of_plan(&case.plan),
        guests: Guests::of_plan(&case.plan),
        pod: case.flow.spec.pod.as_ref(),
        annotations: [(PLAN_HASH.to_owned(), case.hash.clone())].into(),
        serves,
    }
}

/// Whether all workers of a set are ready.
fn works(set: &StatefulSet) -> bool {
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = set.status.as_ref();
    let ready = status
        .and_then(|status| status.ready_replicas)
        .unwrap_or_default();
    ready >= wanted.max(1)
}

/// Tries a changed template, while the workers fare as they do by the old one; `None`: it works.
async fn preflight(case: &Case<'_>, wanted: &StatefulSet, meanwhile: Truth) -> Result<Option<Stand>> {
    let terms = run::Terms {
        name: case.owner.child("preflight"),
        run: None,
        retries: 1,
        deadline: Some(PREFLIGHT),
        ..run::Terms::default()
    };
    let mut job = run::job(
        &case.context.settings,
        &terms,
        &work(case, ["--preflight"], false),
    );
    let hash = template_of(wanted).cloned().unwrap_or_default();
    job.annotations_mut().insert(TRIED.to_owned(), hash);
    Ok(match Box::pin(trial(case.context, &job)).await? {
        Trial::Works => None,
        Trial::UnderWay => Some(Stand::under_way(
            meanwhile,
            reasons::PREFLIGHT,
            "a changed plan is being tried; the workers go on by the old one until it works",
        )),
        Trial::Fails(why, wait) => {
            let why = ended::sentence(Some(&why));
            let message =
                format!("a changed plan does not work, and the workers go on by the old one: {why}");
            Some(Stand::stalled(Wrong::new(reasons::PREFLIGHT_FAILED, message)).within(wait))
        }
    })
}

/// Applies the workers, and tells how they stand.
async fn roll_out(
    case: &Case<'_>,
    wanted: StatefulSet,
    found: Option<StatefulSet>,
    reports: &[Report],
) -> Result<Stand> {
    let Case { context, owner, .. } = case;
    let set = apply_to(context, found, wanted).await?;
    if case.plan.run.suspend {
        return Ok(Stand::ready(
            reasons::SUSPENDED,
            "spec.suspend is true: the workers are stopped",
        ));
    }
    // The Job of a trial remembers what works; of a plan that is rolled out nobody asks any more.
    prune_known::<Job>(context, owner, &owner.child("preflight")).await?;
    let status = set.status.clone().unwrap_or_default();
    let newest = status.observed_generation >= set.metadata.generation;
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let rolled = newest && status.updated_replicas.unwrap_or_default() >= wanted;
    if rolled && status.ready_replicas.unwrap_or_default() >= wanted {
        return Ok(ready(reports));
    }
    if newest {
        delete_stuck(case, &set, reports).await?;
    }
    let problem = reports.iter().find_map(|report| report.problem.as_ref());
    Ok(match problem.filter(|problem| for_person(problem)) {
        Some(problem) => {
            Stand::stalled(Wrong::new(word(problem), ended::sentence(Some(problem)))).within(LOOK)
        }
        None if rolled => {
            let why = problem.map_or_else(
                || "a worker is not ready".to_owned(),
                |problem| ended::sentence(Some(problem)),
            );
            Stand::under_way(Truth::False, reasons::NOT_READY, why).within(LOOK)
        }
        None => Stand::under_way(
            Truth::False,
            reasons::ROLLING_OUT,
            "the workers are being started",
        )
        .within(LOOK),
    })
}

fn ready(reports: &[Report]) -> Stand {
    match reports.iter().find_map(|report| report.problem.as_ref()) {
        Some(problem) if for_person(problem) => {
            Stand::stalled(Wrong::new(word(problem), ended::sentence(Some(problem))))
        }
        _ => Stand::ready(reasons::RUNNING, "the workers are at work"),
    }
}

fn for_person(problem: &Failure) -> bool {
    matches!(problem.kind.as_str(), "config" | "state" | "data" | "bug")
}

fn word(problem: &Failure) -> &str {
    match problem.reason.as_str() {
        "" => reasons::NOT_READY,
        reason => reason,
    }
}

/// A StatefulSet never replaces a pod that does not become ready, and a worker that was fenced waits to be deleted.
async fn delete_stuck(case: &Case<'_>, set: &StatefulSet, reports: &[Report]) -> Result<()> {
    let owner = &case.owner;
    let params = ListParams::default().labels(&owner.selector(WORKER));
    let pods = case.context.api::<Pod>(&owner.namespace).list(&params).await;
    let pods = pods
        .doing(|| format!("list the pods of Flow {}", owner.name))?
        .items;
    let newest = set
        .status
        .as_ref()
        .and_then(|status| status.update_revision.clone());
    let of_set = |pod: &&Pod| controller(*pod).is_some() && controller(*pod) == set.metadata.uid.as_deref();
    for pod in pods.iter().filter(of_set).filter(|pod| !is_ready(pod)) {
        let old = newest.is_some() && pod.labels().get("controller-revision-hash") != newest.as_ref();
        if !old && !is_fenced(pod, reports) {
            continue;
        }
        delete(case.context, pod).await?;
        let note = format!(
            "pod {} is replaced: {}",
            pod.name_any(),
            if old {
                "its plan is old"
            } else {
                "another worker took over"
            }
        );
        report::tell(case.context, case.flow, reasons::WORKER_REPLACED, &note).await;
    }
    Ok(())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn is_fenced(pod: &Pod, reports: &[Report]) -> bool {
    let uid = pod.uid().unwrap_or_default();
    let fenced = |report: &Report| {
        report
            .problem
            .as_ref()
            .is_some_and(|problem| problem.kind == "fenced")
    };
    reports
        .iter()
        .any(|report| report.pod_uid == uid && fenced(report))
}

/// Takes in triggers, begins what waits, closes what the workers have done.
async fn keep_ledger(case: &Case<'_>, reports: &[Report]) -> Result<Ledger> {
    let Case { context, owner, .. } = case;
    let mut kept = open(context, owner, &triggers::annotated(case)).await?;
    let mut ledger = kept.ledger.clone();
    triggers::look(case, &mut ledger).await?;
    let mut over = None;
    if let Some(run) = running(&ledger) {
        // The Flow may have been Batch before: the workers go on with its run.
        prune::<Job>(context, owner, &job_name(owner, run)).await?;
        // It is over once every worker has done its part.
        let told = told(reports, run, u32::try_from(workers_of(case)).unwrap_or(1));
        if let Some(end) = ended::end(told.as_ref(), None) {
            ledger.end(run, &end, context.now());
            let failure = told.as_ref().and_then(|run| run.error.as_ref());
            failure.iter().for_each(|failure| ledger.explain(run, failure));
            over = Some(run);
        }
    }
    if !case.plan.run.suspend {
        ledger.begin();
    }
    let (before, clock) = (kept.ledger.clone(), kept.clock.clone());
    kept.write(context, ledger.clone(), clock).await?;
    triggers::tell(case, &before, &ledger).await;
    if let Some(run) = over {
        tell(case, run, &ledger).await;
    }
    Ok(ledger)
}
