//! One thing that whoever follows a Flow does: a load by schedule, by trigger or by Job; or the stream that never ends.
//!
//! In: an open Flow, and what is asked. Out: a report, or nothing where nothing was left to do; and the names that were asked
//! for in vain.

use millrace_crds::{
    JobPlan,
    job::Load,
    ledger::{Batch, run_id},
    schedule::Due,
};
use tokio::sync::watch;

use super::{
    flow::{Flow, Observer, Report, Request, Wanted},
    history, job, streams,
};
use crate::error::{Error, Result};

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Task {
    /// Tokens or a Job of the ledger.
    Batch(Batch),
    /// What was asked on the command line.
    Asked(Wanted),
    /// What an interval or a schedule asks for.
    Due(Due, Option<Wanted>),
    /// A stream that pushes, until it is told to stop.
    Continuous,
}

/// How a task ended where it could begin.
#[derive(Debug, Default)]
pub struct Done {
    /// What was loaded; `None`: there was nothing left to do, since what was begun before a restart was committed by
    /// then, or is no concern of the Flow.
    pub report: Option<Report>,
    /// Streams that the source has not were asked for beside others.
    pub unknown: Option<Error>,
}

impl Task {
    /// The tick that it takes.
    #[must_use]
    pub fn due(&self) -> Option<Due> {
        match self {
            Self::Due(due, _) => Some(*due),
            Self::Asked(Wanted::Full) => Some(Due::Full),
            Self::Asked(_) => Some(Due::Delta),
            Self::Batch(_) | Self::Continuous => None,
        }
    }

    /// Does it. `jobs`: those of the Flow, where a batch names one; `stop` ends a stream that pushes.
    ///
    /// # Errors
    /// What [`Flow::run`] says; `config` where a trigger names a stream that there is not.
    pub async fn perform(
        &self,
        flow: &Flow,
        jobs: &[JobPlan],
        base: &Request,
        observe: Observer<'_>,
        stop: watch::Receiver<bool>,
    ) -> Result<Done> {
        let load = |load| Request { load, ..base.clone() };
        let report = match self {
            Self::Asked(wanted) => flow.run(&load(Some(wanted.clone())), observe).await?,
            Self::Due(_, wanted) => flow.run(&load(wanted.clone()), observe).await?,
            Self::Continuous => flow.run_continuous(&load(None), observe, stop).await?,
            Self::Batch(batch) => return perform_batch(flow, jobs, batch, base, observe).await,
        };
        Ok(Done {
            report: Some(report),
            unknown: None,
        })
    }
}

async fn perform_batch(
    flow: &Flow,
    jobs: &[JobPlan],
    batch: &Batch,
    base: &Request,
    observe: Observer<'_>,
) -> Result<Done> {
    let Chosen { streams, unknown } = wanted(flow, batch, &base.streams).await?;
    // A stream that pushes made way for a delta, and has committed all that had come.
    let asked = match batch.is_delta() && flow.is_continuous() {
        true => None,
        false => ask(flow, jobs, batch, base, streams).await?,
    };
    let report = match asked {
        None => None,
        Some((request, None)) => Some(flow.run(&request, observe).await?),
        Some((request, Some(job))) => Some(job::run(flow, &job, &request, observe).await?),
    };
    Ok(Done { report, unknown })
}

/// The request of a batch. After a restart, what its run has committed already is not loaded again.
async fn ask(
    flow: &Flow,
    jobs: &[JobPlan],
    batch: &Batch,
    base: &Request,
    mut streams: Vec<String>,
) -> Result<Option<(Request, Option<JobPlan>)>> {
    let job = match &batch.job {
        None => None,
        Some(name) => Some(
            jobs.iter()
                .find(|job| job.name == *name)
                .ok_or_else(|| Error::config(format!("Job {name} is no longer in the manifests")))?,
        ),
    };
    let run = match base.run.is_empty() {
        true => run_id(&flow.plan.flow.name, &flow.plan.flow.uid, batch.run),
        false => base.run.clone(),
    };
    if batch.resumed {
        let standing = history::standing(flow).await?;
        streams.retain(|name| {
            !standing
                .iter()
                .any(|stream| stream.name == *name && stream.was_loaded_by(&run))
        });
    }
    if streams.is_empty() {
        return Ok(None);
    }
    let request = Request {
        load: match batch.load {
            Some(Load::Full) => Some(Wanted::Full),
            Some(Load::Delta) => Some(Wanted::Delta),
            Some(Load::Backfill) | None => None,
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

/// What a batch is for.
struct Chosen {
    /// By name; empty: it names streams of the Source that this Flow does not take.
    streams: Vec<String>,
    /// Others that it names, and that there are not.
    unknown: Option<Error>,
}

/// The streams that a batch is for. A trigger that names one which there is not is served as far as it can be.
async fn wanted(flow: &Flow, batch: &Batch, base: &[String]) -> Result<Chosen> {
    if batch.streams.is_empty() {
        let all = flow.streams(base).await?;
        return Ok(Chosen {
            streams: all.into_iter().map(|stream| stream.name).collect(),
            unknown: None,
        });
    }
    let found = flow.source.discover().await?;
    let names: Vec<&str> = found.iter().map(|info| info.name.as_str()).collect();
    let advice = || format!("it has {}", names.join(", "));
    let (known, others): (Vec<&String>, Vec<&String>) = batch
        .streams
        .iter()
        .partition(|name| names.contains(&name.as_str()));
    let unknown = unknown(&others).map(|error| error.advice(advice()));
    if let Some(error) = unknown
        .clone()
        .filter(|_| known.is_empty() || batch.job.is_some())
    {
        return Err(error);
    }
    let mut streams = Vec::new();
    for name in known {
        if streams::takes(&flow.plan, name)? {
            streams.push(name.clone());
        }
    }
    let own = batch.job.is_some() || batch.objects.iter().any(|object| object.starts_with("Flow/"));
    if streams.is_empty() && own {
        let message = format!("{} does not take {}", flow.name(), batch.streams.join(", "));
        return Err(Error::config(message).reason("UnknownStream").advice(advice()));
    }
    Ok(Chosen { streams, unknown })
}

fn unknown(names: &[&String]) -> Option<Error> {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let message = match quoted.as_slice() {
        [] => return None,
        [name] => format!("the source has no stream {name}; case and spelling are exact"),
        names => format!(
            "the source has no streams {}; case and spelling are exact",
            names.join(", ")
        ),
    };
    Some(Error::config(message).reason("UnknownStream"))
}
