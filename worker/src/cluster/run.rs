//! `millrace worker --flow F --run N`: one batch of the ledger, in a pod of its own.
//!
//! In: the plan, and run N of the ledger. Out: the run's report, which closes the tokens that it served. A run that the
//! report says is over is never begun again; one that was begun goes on with the streams that it has not committed.

use std::sync::Arc;

use jiff::Timestamp;
use millrace_crds::{
    JobPlan, Plan,
    channel::{LEDGER_KEY, PLAN, PLAN_KEY, PlanDoc, Report, RunReport, StreamStand, TRIGGERS},
    job::Load,
    ledger::{Batch, Ledger},
};
use tokio::sync::watch;

use super::{Share, channel::Channel, end::Ended, metrics::Seen, open, pod::Pod, report, sharing};
use crate::{
    engine::{
        flow::{Flow, Request},
        task::{Done, Task},
    },
    error::{Error, ErrorKind, Result},
    secrets::LocalSecrets,
};

/// Does run N of a Flow.
///
/// # Errors
/// What keeps it from reporting; what the run itself met is in the report and in what is given back.
pub async fn run(pod: &Pod, flow: &str, number: u64) -> Result<Ended> {
    let channel = pod.of_flow(flow, Share::ALONE);
    let doc: PlanDoc = channel.document(PLAN, PLAN_KEY).await?;
    let ledger: Ledger = channel.document(TRIGGERS, LEDGER_KEY).await?;
    let share = Share {
        ordinal: pod.index,
        workers: ledger.pods(number),
    };
    let channel = pod.of_flow(flow, share);
    let nothing = || {
        Error::config(format!(
            "the ledger of {flow} has no run {number} that is at work"
        ))
        .reason("NoSuchRun")
        .advice("the operator starts runs; `kubectl annotate` asks for one")
    };
    let is_over = |report: Report| {
        report
            .runs
            .get(&number)
            .is_some_and(|run| run.is_over_among(share.workers))
    };
    if !ledger.at_work().contains(&number) && !is_over(channel.report().await?) {
        return Err(nothing());
    }
    let (batch, report) = match begin(pod, &channel, number, doc.generation).await? {
        Begun::Over(ended) => return Ok(ended),
        Begun::Now { resumed, report } => (ledger.running(number, resumed).ok_or_else(nothing)?, report),
    };
    let order = Order {
        share,
        jobs: jobs(&doc.plan, &batch),
        request: pod.request(doc.adopt.as_deref()),
        adopt: doc.adopt,
        plan: doc.plan,
        batch,
        reported: report.streams,
    };
    perform(pod, &channel, order).await
}

/// What a pod is to do once.
pub(super) struct Order {
    /// Which part of it.
    pub(super) share: Share,
    /// The Flow.
    pub(super) plan: Plan,
    /// The Flow whose state it takes over.
    pub(super) adopt: Option<String>,
    /// What is asked.
    pub(super) batch: Batch,
    /// Where the streams stood when that was last reported.
    pub(super) reported: Vec<StreamStand>,
    /// The Job that the batch names.
    pub(super) jobs: Vec<JobPlan>,
    /// What every load has in common.
    pub(super) request: Request,
}

/// Whether a run is to be done.
pub(super) enum Begun {
    /// It is over.
    Over(Ended),
    /// It is at work from now on; `resumed`: an earlier pod had begun it.
    Now {
        /// Whether an earlier pod had begun it.
        resumed: bool,
        /// The report as it is now.
        report: Box<Report>,
    },
}

/// Notes that the run is at work, unless it is over. This comes before its first load, so that a pod that is started
/// again knows of the one before.
pub(super) async fn begin(pod: &Pod, channel: &Channel, number: u64, generation: i64) -> Result<Begun> {
    let mut before = None;
    let (now, workers) = (Timestamp::now(), channel.share().workers);
    let report = channel
        .update(|report| {
            before = report.runs.get(&number).cloned();
            if before.as_ref().is_none_or(|run| !run.is_over_among(workers)) {
                introduce(report, pod, generation);
                let run = report
                    .runs
                    .entry(number)
                    .or_insert_with(|| RunReport::begun(now, workers));
                run.deal(workers);
            }
        })
        .await?;
    Ok(match before {
        Some(run) if run.is_over_among(workers) => {
            tracing::info!(run = number, state = ?run.state, "this run is over: it is not begun again");
            Begun::Over(Ended {
                errors: run
                    .error
                    .map(|_| Error::transient("the run has failed before"))
                    .into_iter()
                    .collect(),
                loaded: true,
                interrupted: false,
            })
        }
        before => Begun::Now {
            resumed: before.is_some(),
            report: Box::new(report),
        },
    })
}

/// Who reports.
pub(super) fn introduce(report: &mut Report, pod: &Pod, generation: i64) {
    env!("CARGO_PKG_VERSION").clone_into(&mut report.version);
    report.pod.clone_from(&pod.name);
    report.pod_uid.clone_from(&pod.uid);
    report.generation = generation;
}

/// The Job that a batch is for, as a plan: the ledger holds what it says.
pub(super) fn jobs(plan: &Plan, batch: &Batch) -> Vec<JobPlan> {
    let job = batch.job.as_ref().map(|name| JobPlan {
        name: name.clone(),
        plan: plan.clone(),
        load: batch.load.unwrap_or(Load::Delta),
        streams: batch.streams.clone(),
        backfill: batch.terms.backfill.clone(),
        parallelism: batch.terms.parallelism.max(1),
        retries: batch.terms.retries,
        deadline: batch.terms.deadline,
    });
    job.into_iter().collect()
}

/// Does what is asked, reports it, and helps the other pods of the run with what is theirs.
pub(super) async fn perform(pod: &Pod, channel: &Channel, mut order: Order) -> Result<Ended> {
    let (number, mut batch) = (order.batch.run, order.batch.clone());
    let seen = Seen::new(&pod.metrics, &order.plan);
    let flow = match sharing::open(&mut order).await {
        Ok(()) => open(channel, &order).await,
        Err(error) => Err(error),
    };
    let done = match &flow {
        Err(error) => Err(error.clone()),
        Ok(flow) => {
            pod.health.ready();
            let stop = watch::Sender::new(false);
            let observe = seen.observer();
            match order.share.deal(flow, &mut batch).await {
                Err(error) => Err(error),
                Ok(false) => Ok(Done::default()),
                Ok(true) => {
                    let (task, stop) = (Task::Batch(batch), stop.subscribe());
                    task.perform(flow, &order.jobs, &order.request, &observe, stop)
                        .await
                }
            }
        }
    };
    seen.ended(&done);
    let drained = pod.drain.asked();
    let over = conclude(channel, number, flow.as_ref().ok(), &done, &seen, drained).await?;
    if over {
        pod.metrics.run(&order.plan, done_well(&done));
    }
    if let (Ok(flow), true) = (&flow, over && done_well(&done)) {
        sharing::help(channel, flow, &order).await;
    }
    Ok(Ended {
        errors: report::errors(&done),
        loaded: done.is_ok(),
        interrupted: !over && drained,
    })
}

async fn open(channel: &Channel, order: &Order) -> Result<Flow> {
    let secrets = Arc::new(LocalSecrets::new());
    let flow = open::flow(
        channel.maps(),
        order.plan.clone(),
        order.adopt.as_deref(),
        &secrets,
    )
    .await?;
    flow.require()?;
    report::guard(&flow, &order.reported).await?;
    Ok(flow)
}

/// Whether nothing went wrong.
pub(super) fn done_well(done: &Result<Done>) -> bool {
    report::errors(done).is_empty()
}

/// Writes the end of a run. Gives back whether it is over.
pub(super) async fn conclude(
    channel: &Channel,
    number: u64,
    flow: Option<&Flow>,
    done: &Result<Done>,
    seen: &Seen,
    drained: bool,
) -> Result<bool> {
    let stands = match flow {
        Some(flow) => report::stands(flow, channel.share())
            .await
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "where the streams stand cannot be told");
                Vec::new()
            }),
        None => Vec::new(),
    };
    seen.stand(&stands);
    let guarantee = flow.map(Flow::guarantee);
    let (now, progress) = (Timestamp::now(), seen.progress());
    let (mut before, mut over) = (None, false);
    channel
        .update(|report| {
            // The change may be made again to what another worker's write made of it, never to itself.
            let before = before.get_or_insert_with(|| {
                report
                    .runs
                    .get(&number)
                    .cloned()
                    .unwrap_or_else(|| RunReport::begun(now, channel.share().workers))
            });
            let mut run = before.clone();
            over = report::close(&mut run, done, &progress, drained, now);
            report.runs.insert(number, run);
            report.guarantee = guarantee.or(report.guarantee);
            if !stands.is_empty() {
                report.streams.clone_from(&stands);
                report.stream_count = None;
            }
            report.problem = None;
        })
        .await?;
    Ok(over)
}

/// Whether a newer worker has taken over.
pub(super) fn is_fenced(done: &Result<Done>) -> bool {
    report::errors(done)
        .iter()
        .any(|error| error.kind == ErrorKind::Fenced)
}

#[cfg(test)]
pub(super) mod tests;
