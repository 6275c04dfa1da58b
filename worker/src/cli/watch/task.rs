//! One thing that a follower does: a load by schedule, by trigger or by Job; or the stream that never ends.

use std::sync::Arc;

use millrace_crds::{JobPlan, flow::Mode, job::Load};
use tokio::sync::watch;

use super::unit::Unit;
use crate::{
    cli::{display::Display, run::shown},
    engine::{
        flow::{Flow, Report, Request, Wanted},
        history, job,
        ledger::{Batch, run_id},
        schedule::Due,
        streams,
    },
    error::{Error, Result},
};

/// What is to be done.
pub(super) enum Task {
    /// Tokens or a Job of the ledger.
    Batch(Batch),
    /// What was asked on the command line.
    Asked(Wanted),
    /// What an interval or a schedule asks for.
    Due(Due, Option<Wanted>),
    /// A stream that pushes, until it is told to stop.
    Continuous,
}

/// How a task ended where nothing went wrong.
pub(super) enum Done {
    /// A load.
    Load(Report),
    /// There was nothing left to do: what was begun before a restart was committed by then, or is no concern of the Flow.
    Nothing,
}

impl Task {
    /// The tick that it takes.
    pub(super) fn due(&self) -> Option<Due> {
        match self {
            Self::Due(due, _) => Some(*due),
            Self::Asked(Wanted::Full) => Some(Due::Full),
            Self::Asked(_) => Some(Due::Delta),
            Self::Batch(_) | Self::Continuous => None,
        }
    }

    /// Does it. `stop` ends a stream that pushes.
    ///
    /// # Errors
    /// What [`Flow::run`] says; `config` where a trigger names a stream that there is not.
    pub(super) async fn perform(
        self: Arc<Self>,
        flow: Arc<Flow>,
        unit: Arc<Unit>,
        base: Request,
        display: Display,
        stop: watch::Receiver<bool>,
    ) -> Result<Done> {
        let base = Request {
            adopt: base.adopt.clone().or_else(|| unit.adopt.clone()),
            ..base
        };
        let load = |load| Request { load, ..base.clone() };
        let report = match self.as_ref() {
            Self::Asked(wanted) => once(&flow, &load(Some(wanted.clone())), &display).await,
            Self::Due(_, wanted) => once(&flow, &load(wanted.clone()), &display).await,
            Self::Continuous => {
                let request = load(None);
                shown(&flow, &display, async |observe| {
                    flow.run_continuous(&request, observe, stop).await
                })
                .await
            }
            Self::Batch(batch) if batch.is_delta() && flow.plan.run.mode == Mode::Continuous => {
                // The stream made way for it, and has committed all that had come.
                wanted(&flow, batch, &base.streams).await?;
                return Ok(Done::Nothing);
            }
            Self::Batch(batch) => {
                let Some((request, job)) = ask(&flow, &unit, batch, &base).await? else {
                    return Ok(Done::Nothing);
                };
                match job {
                    None => once(&flow, &request, &display).await,
                    Some(job) => {
                        shown(&flow, &display, async |observe| {
                            job::run(&flow, &job, &request, observe).await
                        })
                        .await
                    }
                }
            }
        };
        report.map(Done::Load)
    }
}

async fn once(flow: &Flow, request: &Request, display: &Display) -> Result<Report> {
    shown(flow, display, async |observe| flow.run(request, observe).await).await
}

/// The request of a batch. After a restart, what its run has committed already is not loaded again.
async fn ask(
    flow: &Flow,
    unit: &Unit,
    batch: &Batch,
    base: &Request,
) -> Result<Option<(Request, Option<JobPlan>)>> {
    let job = match &batch.job {
        None => None,
        Some(name) => Some(
            unit.jobs
                .iter()
                .find(|job| job.name == *name)
                .ok_or_else(|| Error::config(format!("Job {name} is no longer in the manifests")))?,
        ),
    };
    let run = run_id(&flow.plan.flow.name, &flow.plan.flow.uid, batch.run);
    let Some(mut streams) = wanted(flow, batch, &base.streams).await? else {
        return Ok(None);
    };
    if batch.resumed {
        let standing = history::standing(flow).await?;
        streams.retain(|name| {
            !standing
                .iter()
                .any(|stream| stream.name == *name && stream.was_loaded_by(&run))
        });
        if streams.is_empty() {
            return Ok(None);
        }
    }
    let request = Request {
        load: match batch.load {
            Load::Full => Some(Wanted::Full),
            Load::Delta => Some(Wanted::Delta),
            Load::Backfill => None,
        },
        streams,
        allow_deletes: base.allow_deletes || batch.allow_deletes,
        run,
        ..base.clone()
    };
    let job = job.map(|job| JobPlan {
        streams: request.streams.clone(),
        ..job.clone()
    });
    Ok(Some((request, job)))
}

/// The streams that a batch is for, by name. `None`: it names streams of the Source that this Flow does not take.
async fn wanted(flow: &Flow, batch: &Batch, base: &[String]) -> Result<Option<Vec<String>>> {
    if batch.streams.is_empty() {
        let all = flow.streams(base).await?;
        return Ok(Some(all.into_iter().map(|stream| stream.name).collect()));
    }
    let found = flow.source.discover().await?;
    let names: Vec<&str> = found.iter().map(|info| info.name.as_str()).collect();
    let known = || format!("it has {}", names.join(", "));
    if let Some(name) = batch.streams.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(Error::config(format!(
            "the source has no stream `{name}`; case and spelling are exact"
        ))
        .reason("UnknownStream")
        .advice(known()));
    }
    let mut mine = Vec::new();
    for name in &batch.streams {
        if streams::takes(&flow.plan, name)? {
            mine.push(name.clone());
        }
    }
    let own = batch.job.is_some() || batch.objects.iter().any(|object| object.starts_with("Flow/"));
    match mine.is_empty() {
        true if own => Err(Error::config(format!(
            "{} does not take {}",
            flow.name(),
            batch.streams.join(", ")
        ))
        .reason("UnknownStream")
        .advice(known())),
        true => Ok(None),
        false => Ok(Some(mine)),
    }
}
