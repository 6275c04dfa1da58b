//! The status of a Flow.
//!
//! In: how it stands, its ledger, its reports. Out: its status, written where it says something new, and numbers for
//! `/metrics`. Progress is none of it: what only shows that a worker works is written at most every 30 s.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt};
use millrace_crds::{
    Flow,
    channel::{Report, StreamStand},
    flow::{FlowStatus, FlowStreamStatus, TriggerState, TriggerStatus},
    ledger::{Entry, Ledger},
};

use super::batch::{job_name, last_over};
use super::{Found, ended, ticks};
use crate::conditions::{Conditions, LAST_RUN, Truth};
use crate::context::Context;
use crate::error::Result;
use crate::ledger::streams;
use crate::metrics::FlowStand;
use crate::owner::Owner;
use crate::stand::Stand;
use crate::{reasons, report};

/// The most streams, and the most triggers, that a status lists.
const LISTED: usize = 100;
/// How often a status that only shows progress is written.
const PACE: SignedDuration = SignedDuration::from_secs(30);

/// Writes the status. What comes back is how long to wait for what was not written yet.
pub(super) async fn write(
    context: &Context,
    flow: &Flow,
    stand: &Stand,
    found: Option<&Found>,
) -> Result<Option<Duration>> {
    let before = flow.status.clone().unwrap_or_default();
    let mut after = status(context, flow, &before, stand, found);
    count(context, flow, stand, found);
    let mut wait = None;
    if let Some(left) = progress_left(&before, &after) {
        after.streams.clone_from(&before.streams);
        after.last_load.clone_from(&before.last_load);
        wait = Some(left);
    }
    let api = context.api::<Flow>(&flow.namespace().unwrap_or_default());
    report::status(&api, report::STATUS_MANAGER, flow, Some(&before), &after).await?;
    Ok(wait)
}

fn status(
    context: &Context,
    flow: &Flow,
    before: &FlowStatus,
    stand: &Stand,
    found: Option<&Found>,
) -> FlowStatus {
    let generation = flow.meta().generation;
    let mut conditions = Conditions::new(&before.conditions, generation, context.now());
    stand.set(&mut conditions);
    conditions.keep(LAST_RUN);
    let Some(found) = found else {
        return FlowStatus {
            observed_generation: generation,
            conditions: conditions.finish(),
            ..before.clone()
        };
    };
    last_run(&mut conditions, found);
    let told = found
        .reports
        .as_deref()
        .map_or_else(|| before.clone(), by_reports);
    FlowStatus {
        observed_generation: generation,
        conditions: conditions.finish(),
        triggers: triggers(&Owner::of(flow), &found.ledger),
        next_run: found.next.map(whole),
        ..told
    }
}

/// What reports tell, and nothing else: what a status says of it is never taken from the status itself.
fn by_reports(reports: &[Report]) -> FlowStatus {
    let streams: Vec<&StreamStand> = streams(reports).collect();
    let count = match reports.iter().any(|report| report.stream_count.is_some()) {
        true => reports
            .iter()
            .map(|report| report.stream_count.unwrap_or(report.streams.len()))
            .sum(),
        false => streams.len(),
    };
    let loads = streams
        .iter()
        .flat_map(|stream| [stream.last_full_load, stream.last_delta_load]);
    FlowStatus {
        delivery_guarantee: reports.iter().filter_map(|report| report.guarantee).min(),
        stream_count: u32::try_from(count).ok().filter(|count| *count > 0),
        last_load: loads.flatten().max().map(whole),
        streams: streams
            .iter()
            .take(LISTED)
            .map(|stream| of_stream(stream))
            .collect(),
        ..FlowStatus::default()
    }
}

/// Times of a status have whole seconds, as the API server writes them.
fn whole(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn of_stream(stream: &StreamStand) -> FlowStreamStatus {
    FlowStreamStatus {
        name: stream.name.clone(),
        generation: i64::try_from(stream.generation).ok(),
        last_full_load: stream.last_full_load.map(whole),
        last_delta_load: stream.last_delta_load.map(whole),
        watermark: stream.watermark.clone(),
    }
}

/// What people asked for, the newest last; the clock's own ticks are told by `LastRunSucceeded`.
fn triggers(owner: &Owner, ledger: &Ledger) -> Vec<TriggerStatus> {
    let asked: Vec<&Entry> = ledger
        .entries
        .iter()
        .filter(|entry| !ticks::is_tick(entry))
        .collect();
    let newest = asked.len().saturating_sub(LISTED);
    let of_entry = |entry: &&Entry| TriggerStatus {
        name: entry.name.clone(),
        token: entry.token.clone(),
        job: entry.run.map(|run| job_name(owner, run)),
        state: entry.state,
        requested_at: Some(whole(entry.requested_at)),
        finished_at: entry.finished_at.map(whole),
        rows: entry.rows,
    };
    asked[newest..].iter().map(of_entry).collect()
}

fn last_run(conditions: &mut Conditions<'_>, found: &Found) {
    let Some(last) = last_over(&found.ledger) else {
        return;
    };
    let run = last.run.unwrap_or_default();
    if last.state == TriggerState::Succeeded {
        let message = format!("run {run}: {} rows", last.rows.unwrap_or_default());
        return conditions.set(LAST_RUN, Truth::True, reasons::RUN_SUCCEEDED, &message);
    }
    let told = found
        .reports
        .iter()
        .flatten()
        .find_map(|report| report.runs.get(&run)?.error.as_ref());
    let reason = last
        .cause
        .as_ref()
        .map(|cause| cause.reason.clone())
        .filter(|reason| !reason.is_empty());
    let reason = reason.unwrap_or_else(|| reasons::RUN_FAILED.to_owned());
    let why = told.map_or_else(
        || last.message.clone().unwrap_or_default(),
        |error| ended::sentence(Some(error)),
    );
    conditions.set(LAST_RUN, Truth::False, reason, &format!("run {run}: {why}"));
}

/// How long a status that shows nothing but progress can wait; `None`: it says more, or it is time.
fn progress_left(before: &FlowStatus, after: &FlowStatus) -> Option<Duration> {
    let (old, new) = (before.last_load.as_ref()?.0, after.last_load.as_ref()?.0);
    let only = FlowStatus {
        streams: before.streams.clone(),
        last_load: before.last_load.clone(),
        ..after.clone()
    };
    if only != *before || after == before || before.streams.len() != after.streams.len() {
        return None;
    }
    let left = PACE.checked_sub(new.duration_since(old))?;
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

fn count(context: &Context, flow: &Flow, stand: &Stand, found: Option<&Found>) {
    let seconds = |time: Timestamp| time.as_duration().as_secs_f64();
    let last = |stream: &StreamStand| stream.last_full_load.max(stream.last_delta_load);
    let reports = found
        .and_then(|found| found.reports.as_deref())
        .unwrap_or_default();
    let loads = || reports.iter().flat_map(|report| &report.streams).filter_map(last);
    let over = found.and_then(|found| last_over(&found.ledger));
    let stand = FlowStand {
        ready: stand.ready == Truth::True,
        last_load: loads().max().map(seconds),
        oldest_load: loads().min().map(seconds),
        last_run: over.map(|entry| entry.state == TriggerState::Succeeded),
    };
    context
        .metrics
        .stands(&flow.namespace().unwrap_or_default(), &flow.name_any(), stand);
}
