//! What people ask for: the annotations of a Flow, its Source and its Connectors, and the Jobs that name it.
//!
//! In: the objects that were read for the plan. Out: entries of the ledger. A name that matches nothing is told.

use kube::{Api, Resource, ResourceExt, api::ListParams};
use millrace_crds::{
    Connector, Flow, Job, Plan, Source,
    flow::TriggerState,
    ledger::{Annotated, Entry, Ledger},
    plan::StreamSelect,
};

use super::Case;
use crate::apply::read;
use crate::error::{Doing, Result};
use crate::{reasons, report};

/// What is remembered of annotations and Jobs before those that are gone are forgotten.
const REMEMBERED: usize = 300;

/// The objects whose annotations count.
pub(super) fn annotated(case: &Case<'_>) -> Vec<Annotated> {
    let sources = case
        .resources
        .sources
        .iter()
        .map(|source| of("Source", &source.object));
    let connectors = case
        .resources
        .connectors
        .iter()
        .map(|connector| of("Connector", &connector.object));
    let mut all = vec![of::<Flow>("Flow", case.flow)];
    all.extend(sources);
    all.extend(connectors);
    all
}

/// The same objects as they are now; those that are gone, or others of the same name, are left out.
async fn annotated_now(case: &Case<'_>) -> Result<Vec<Annotated>> {
    let namespace = &case.owner.namespace;
    let mut all = Vec::new();
    all.extend(
        read::<Flow>(case.context, namespace, &case.owner.name)
            .await?
            .map(|flow| of("Flow", &flow)),
    );
    for source in &case.resources.sources {
        let source = read::<Source>(case.context, namespace, &source.object.name_any()).await?;
        all.extend(source.map(|source| of("Source", &source)));
    }
    for connector in &case.resources.connectors {
        let name = connector.object.name_any();
        let connector = Api::<Connector>::all(case.context.client.clone())
            .get_opt(&name)
            .await;
        let connector = connector.doing(|| format!("read Connector {name}"))?;
        all.extend(connector.map(|connector| of("Connector", &connector)));
    }
    let known = annotated(case);
    all.retain(|now| known.iter().any(|known| known.uid == now.uid));
    Ok(all)
}

fn of<K: Resource<DynamicType = ()>>(kind: &str, object: &K) -> Annotated {
    Annotated {
        object: format!("{kind}/{}", object.name_any()),
        uid: object.uid().unwrap_or_default(),
        annotations: object.annotations().clone(),
    }
}

/// Looks at all of them.
pub(super) async fn look(case: &Case<'_>, ledger: &mut Ledger) -> Result<()> {
    let now = case.context.now();
    let mut next = ledger.clone();
    next.look(&annotated(case), now);
    if next.seen != ledger.seen {
        // Another operator may have seen a newer value, and written the ledger that we have, between our reading the
        // object and reading the ledger: the older value would be news again. What is read now is never older than that.
        ledger.look(&annotated_now(case).await?, now);
    }
    for entry in ledger
        .entries
        .iter_mut()
        .filter(|entry| entry.state == TriggerState::Waiting)
    {
        settle_streams(&case.plan, entry, now);
    }
    drop_orphans(case, ledger).await?;
    if ledger.seen.len() > REMEMBERED {
        forget(case, ledger).await?;
    }
    Ok(())
}

/// Forgets what was seen of objects that are gone.
async fn forget(case: &Case<'_>, ledger: &mut Ledger) -> Result<()> {
    let jobs = case
        .context
        .api::<Job>(&case.owner.namespace)
        .list(&ListParams::default())
        .await;
    let jobs = jobs.doing(|| format!("list the Jobs of namespace {}", case.owner.namespace))?;
    let annotated = annotated(case);
    let of_jobs = jobs.items.iter().filter_map(|job| job.metadata.uid.as_deref());
    let uids: Vec<&str> = annotated
        .iter()
        .map(|object| object.uid.as_str())
        .chain(of_jobs)
        .collect();
    ledger.keep(&uids);
    Ok(())
}

/// Tells of triggers that have failed without a run.
pub(super) async fn tell(case: &Case<'_>, before: &Ledger, after: &Ledger) {
    let failed = |entry: &&Entry| entry.state == TriggerState::Failed && entry.run.is_none();
    for entry in after.entries.iter().filter(failed) {
        if !before.entries.contains(entry) {
            let why = entry.message.as_deref().unwrap_or_default();
            let note = format!("{}, {}: {why}", entry.object, entry.name);
            report::warn_of(case.context, case.flow, reasons::TRIGGER_FAILED, &note).await;
        }
    }
}

/// The streams that a trigger may name, where all of them are known by name.
fn known(plan: &Plan) -> Option<Vec<&str>> {
    if !plan.streams.is_empty() {
        return Some(plan.streams.iter().map(String::as_str).collect());
    }
    let rules = plan.source.streams.iter();
    let names: Option<Vec<&str>> = rules
        .map(|rule| match &rule.select {
            StreamSelect::Name(name) => Some(name.as_str()),
            StreamSelect::Match(_) => None,
        })
        .collect();
    names.filter(|names| !names.is_empty())
}

/// Whether the Source may have a stream that this Flow does not take.
fn may_be_of_source(plan: &Plan, stream: &str) -> bool {
    let rules = &plan.source.streams;
    !plan.streams.is_empty()
        && (rules.is_empty()
            || rules.iter().any(|rule| match &rule.select {
                StreamSelect::Name(name) => name == stream,
                StreamSelect::Match(_) => true,
            }))
}

/// A trigger on a Source speaks to all of its Flows: each takes the streams that it has.
fn settle_streams(plan: &Plan, entry: &mut Entry, now: jiff::Timestamp) {
    let Some(known) = known(plan).filter(|_| !entry.streams.is_empty()) else {
        return;
    };
    let own = entry.object.starts_with("Flow/") || entry.object.starts_with("Job/");
    let unknown: Vec<String> = entry
        .streams
        .iter()
        .filter(|name| !known.contains(&name.as_str()))
        .cloned()
        .collect();
    let others = !own && unknown.iter().all(|name| may_be_of_source(plan, name));
    if unknown.is_empty() {
        return;
    }
    if !others {
        entry.state = TriggerState::Failed;
        entry.message = Some(format!(
            "there is no stream {}; the streams are {}",
            unknown.join(", "),
            shortened(&known)
        ));
    } else if unknown.len() == entry.streams.len() {
        entry.state = TriggerState::Succeeded;
        entry.rows = Some(0);
        entry.message = Some("this Flow takes none of these streams".to_owned());
    } else {
        entry.streams.retain(|name| !unknown.contains(name));
        return;
    }
    entry.finished_at = Some(now);
}

fn shortened(names: &[&str]) -> String {
    let shown = names[..names.len().min(10)].join(", ");
    match names.len() {
        0..=10 => shown,
        all => format!("{shown} and {} more", all - 10),
    }
}

/// What a deleted Job asked for is asked for by nobody.
async fn drop_orphans(case: &Case<'_>, ledger: &mut Ledger) -> Result<()> {
    let now = case.context.now();
    for entry in ledger
        .entries
        .iter_mut()
        .filter(|entry| entry.state == TriggerState::Waiting)
    {
        if let Some(name) = &entry.job
            && !is_there(case, name, &entry.token).await?
        {
            entry.state = TriggerState::Failed;
            entry.finished_at = Some(now);
            entry.message = Some(format!("Job {name} was deleted before its turn"));
        }
    }
    Ok(())
}

/// Whether the Job of this UID is there.
pub(super) async fn is_there(case: &Case<'_>, name: &str, uid: &str) -> Result<bool> {
    let job = read::<Job>(case.context, &case.owner.namespace, name).await?;
    Ok(job.is_some_and(|job| job.uid().as_deref() == Some(uid) && job.metadata.deletion_timestamp.is_none()))
}
