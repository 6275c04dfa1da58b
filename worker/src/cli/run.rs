//! `millrace run`: the Flows and Jobs of manifests, side by side.
//!
//! In: plans, and what was asked on the command line. Out: what became of each, in the order of the manifests. Whatever
//! can be refused is refused before anything is read. Flows and Jobs over one state take turns: two owners of a stream
//! would only fence each other.

mod args;

use futures::{StreamExt, stream};
use millrace_crds::{JobPlan, Plan};

pub(super) use self::args::RunArgs;
use super::{
    annotated,
    closing::{self, Ended, INTERRUPTED},
    display::Display,
    exit::Exit,
    manifests::{self, Loaded},
    out,
    refusal::Refusal,
    signals,
    watch::{self, Files},
};
use crate::{
    engine::{
        drain::Drain,
        flow::{Flow, Report, Request},
        job,
    },
    error::{Error, ErrorKind, Result},
};

/// A Flow or Job to run.
struct Task {
    flow: Flow,
    job: Option<JobPlan>,
    streams: Vec<String>,
    /// The UID whose state an annotation hands over.
    adopt: Option<String>,
}

/// Runs.
///
/// # Errors
/// `config` for what is refused before anything is read.
pub(super) async fn run(args: RunArgs) -> Result<Exit> {
    let (output, one_line) = (args.output, args.watch);
    let files = Files::new(&args.manifests.paths);
    let loaded = match manifests::sound(&args.manifests.paths) {
        Ok(loaded) => loaded,
        Err(problems) => return Refusal::Manifests(problems).tell(output, one_line, false),
    };
    let to_stderr = args.chosen(&loaded).is_ok_and(|chosen| writes_to_stdout(&chosen));
    match begin(args, files, loaded).await {
        Ok(exit) => Ok(exit),
        Err(refusal) => refusal.tell(output, one_line, to_stderr),
    }
}

/// Whether rows are to be written to standard output.
fn writes_to_stdout(chosen: &[(Plan, Option<JobPlan>)]) -> bool {
    chosen
        .iter()
        .any(|(plan, _)| plan.destination.system.type_ == "stdout")
}

async fn begin(args: RunArgs, files: Files, loaded: Loaded) -> Result<Exit, Refusal> {
    let chosen = args.chosen(&loaded)?;
    let drain = Drain::default();
    if args.watch {
        return Ok(watch::run(args, files, loaded, drain).await?);
    }
    let to_stderr = writes_to_stdout(&chosen);
    let (suspended, active): (Vec<_>, Vec<_>) = chosen
        .into_iter()
        .enumerate()
        .partition(|(_, (plan, _))| plan.run.suspend);
    let tasks = open(&loaded, active).await?;
    let tasks = narrow(tasks, &args.streams).await?;
    tell_places(tasks.iter().map(|(_, task)| &task.flow));

    let display = Display::new();
    let request = args.request(&drain);
    let work = all(tasks, &request, &display, args.parallel());
    let mut ended = tokio::select! {
        ended = work => ended,
        signal = signals::listen(&drain) => return Ok(Exit::Aborted(signal?)),
        never = display.draw() => match never {},
    };
    ended.extend(
        suspended
            .into_iter()
            .map(|(place, (plan, job))| (place, skipped(&plan, job.as_ref(), "suspended"))),
    );
    ended.sort_by_key(|(place, _)| *place);
    let ended: Vec<Ended> = ended.into_iter().map(|(_, ended)| ended).collect();
    Ok(closing::close(&ended, args.output, args.dry_run, to_stderr)?)
}

/// Opens all of them, so that a wrong setting of the last keeps the first from starting.
async fn open(
    loaded: &Loaded,
    chosen: Vec<(usize, (Plan, Option<JobPlan>))>,
) -> Result<Vec<(usize, Task)>, Refusal> {
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    for (place, (plan, job)) in chosen {
        match prepared(loaded, &plan).await {
            Ok(flow) => tasks.push((
                place,
                Task {
                    flow,
                    job,
                    streams: Vec::new(),
                    adopt: annotated::adopts(loaded, &plan),
                },
            )),
            Err(error) => errors.push(error),
        }
    }
    match errors.is_empty() {
        true => Ok(tasks),
        false => Err(Refusal::Errors(errors)),
    }
}

/// Opens a Flow. What its source says of itself then is an error of the manifests where a person must change them; all else
/// is met again when it is run.
async fn prepared(loaded: &Loaded, plan: &Plan) -> Result<Flow> {
    let mut flow = loaded.open(plan).await?;
    match flow.prepare().await {
        Err(error) if error.kind == ErrorKind::Config => Err(error),
        _ => Ok(flow),
    }
}

/// With several Flows a stream that is asked for need not be in all of them, but in one at least.
async fn narrow(mut tasks: Vec<(usize, Task)>, wanted: &[String]) -> Result<Vec<(usize, Task)>> {
    if tasks.len() < 2 || wanted.is_empty() {
        tasks
            .iter_mut()
            .for_each(|(_, task)| task.streams = wanted.to_vec());
        return Ok(tasks);
    }
    for (_, task) in &mut tasks {
        let there = task.flow.streams(&[]).await?;
        task.streams = wanted
            .iter()
            .filter(|name| there.iter().any(|stream| stream.name == **name))
            .cloned()
            .collect();
    }
    if let Some(name) = wanted
        .iter()
        .find(|name| !tasks.iter().any(|(_, task)| task.streams.contains(name)))
    {
        return Err(Error::config(format!("no Flow has a stream `{name}`"))
            .reason("UnknownStream")
            .advice("`millrace discover` lists the streams"));
    }
    tasks.retain(|(_, task)| !task.streams.is_empty());
    Ok(tasks)
}

/// Says where state lies, once for each place.
pub(super) fn tell_places<'a>(flows: impl Iterator<Item = &'a Flow>) {
    let places: std::collections::BTreeSet<String> = flows.map(|flow| flow.store.place()).collect();
    places
        .iter()
        .for_each(|place| out::note(format_args!("state: {place}")));
}

async fn all(
    tasks: Vec<(usize, Task)>,
    request: &Request,
    display: &Display,
    parallel: usize,
) -> Vec<(usize, Ended)> {
    let mut groups: Vec<Vec<(usize, Task)>> = Vec::new();
    // Those that never end keep none of the others waiting.
    let endless = tasks
        .iter()
        .filter(|(_, task)| task.job.is_none() && is_continuous(&task.flow, request))
        .count();
    for task in tasks {
        let state = |task: &Task| task.flow.plan.state.id.clone();
        match groups.iter_mut().find(|group| {
            group
                .first()
                .is_some_and(|(_, first)| state(first) == state(&task.1))
        }) {
            Some(group) => group.push(task),
            None => groups.push(vec![task]),
        }
    }
    let groups = stream::iter(groups).map(async |group| {
        let mut ended = Vec::new();
        for (place, task) in group {
            ended.push((place, one(task, request, display).await));
        }
        ended
    });
    groups
        .buffer_unordered(parallel + endless)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .flatten()
        .collect()
}

async fn one(task: Task, request: &Request, display: &Display) -> Ended {
    let Task {
        flow,
        job,
        streams,
        adopt,
    } = task;
    if request.drain.asked() {
        return skipped(&flow.plan, job.as_ref(), INTERRUPTED);
    }
    let request = Request {
        streams,
        adopt: request.adopt.clone().or(adopt),
        ..request.clone()
    };
    let result = match &job {
        Some(job) => {
            shown(&flow, display, async |observe| {
                job::run(&flow, job, &request, observe).await
            })
            .await
        }
        None if is_continuous(&flow, &request) => {
            shown(&flow, display, async |observe| {
                flow.run_continuous(&request, observe, request.drain.receiver())
                    .await
            })
            .await
        }
        None => shown(&flow, display, async |observe| flow.run(&request, observe).await).await,
    };
    Ended {
        result: Some(result),
        ..skipped(&flow.plan, job.as_ref(), "")
    }
    .begun()
}

/// A stream that never ends, unless one load of it is asked for.
fn is_continuous(flow: &Flow, request: &Request) -> bool {
    flow.is_continuous() && request.load.is_none() && !request.dry_run
}

/// Runs with a display.
pub(super) async fn shown(
    flow: &Flow,
    display: &Display,
    run: impl AsyncFnOnce(crate::engine::flow::Observer<'_>) -> Result<Report>,
) -> Result<Report> {
    let name = flow.name();
    let result = run(&|stream, progress| display.begin(&name, stream, progress)).await;
    display.end(&name, result.as_ref().ok());
    result
}

fn skipped(plan: &Plan, job: Option<&JobPlan>, why: &'static str) -> Ended {
    Ended {
        namespace: plan.flow.namespace.clone(),
        flow: plan.flow.name.clone(),
        job: job.map(|job| job.name.clone()),
        skipped: Some(why),
        result: None,
    }
}

impl Ended {
    fn begun(self) -> Self {
        Self {
            skipped: None,
            ..self
        }
    }
}
