//! `millrace worker`: the program in a pod. The operator starts it; people use the other commands.
//!
//! In: what to work for, by name; all else is in the `ConfigMap`s that the operator wrote. Out: a report in one of them, log
//! lines, metrics, and the exit codes of every other command.

use std::convert::Infallible;

use clap::{ArgGroup, Args};
use millrace_crds::channel::PORT;

use super::{exit::Exit, out, signals};
use crate::{
    cluster::{
        self, Ended, Share, api,
        metrics::Metrics,
        pod::Pod,
        serve::{self, Health},
    },
    engine::drain::Drain,
    error::{Error, Result},
};

/// The options of `millrace worker`.
#[derive(Args, Clone, Debug)]
#[command(
    group = ArgGroup::new("object").required(true).args(["flow", "job", "source"]),
    group = ArgGroup::new("work").args(["run", "follow", "preflight", "forget", "discover"])
)]
pub(super) struct WorkerArgs {
    /// The namespace of all of it
    #[arg(long, value_name = "NAME")]
    namespace: String,
    /// The Flow to work for, with --run, --follow, --preflight or --forget
    #[arg(long, value_name = "NAME", requires = "work", conflicts_with = "discover")]
    flow: Option<String>,
    /// The Job to do
    #[arg(long, value_name = "NAME", conflicts_with = "work")]
    job: Option<String>,
    /// The Source to ask, with --discover
    #[arg(long, value_name = "NAME", requires = "discover")]
    source: Option<String>,
    /// Do one run of the Flow's ledger
    #[arg(long, value_name = "NUMBER", requires = "flow")]
    run: Option<u64>,
    /// Stay, and do each run as it comes
    #[arg(long, requires = "flow")]
    follow: bool,
    /// Try the plan, and load nothing
    #[arg(long, requires = "flow")]
    preflight: bool,
    /// Delete the Flow's state, for a Flow that is deleted
    #[arg(long, requires = "flow")]
    forget: bool,
    /// List the Source's streams
    #[arg(long, requires = "source")]
    discover: bool,
    /// Which of the pods this is; without it, the number at the end of the pod's name
    #[arg(long, value_name = "NUMBER", requires = "follow")]
    ordinal: Option<u32>,
    /// How many pods share the streams
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "follow")]
    workers: u32,
    /// The port of metrics and probes
    #[arg(long, value_name = "PORT", default_value_t = PORT)]
    port: u16,
}

/// Works until all is done, or a signal asks for the end.
///
/// # Errors
/// What keeps it from reporting.
pub(super) async fn run(args: WorkerArgs) -> Result<Exit> {
    let pod = Pod {
        client: api::in_pod()?,
        namespace: args.namespace.clone(),
        name: Pod::own_name(),
        uid: std::env::var("POD_UID").unwrap_or_default(),
        index: Pod::own_index(),
        drain: Drain::default(),
        metrics: Metrics::default(),
        health: Health::default(),
    };
    let ended = tokio::select! {
        ended = args.work(&pod) => ended,
        signal = signals::listen(&pod.drain) => return Ok(Exit::Aborted(signal?)),
        never = observed(args.port, &pod) => match never {},
    };
    let ended = ended.unwrap_or_else(Ended::failed);
    ended.errors.iter().for_each(out::error);
    cluster::tell_kubelet(&ended.errors);
    Ok(match Exit::of(&ended.errors, ended.loaded) {
        Exit::Done if ended.interrupted => Exit::Interrupted,
        exit => exit,
    })
}

impl WorkerArgs {
    async fn work(&self, pod: &Pod) -> Result<Ended> {
        match (&self.flow, &self.job, &self.source) {
            (Some(flow), _, _) => match self.run {
                Some(run) => cluster::run(pod, flow, run).await,
                None if self.preflight => cluster::preflight(pod, flow).await,
                None if self.forget => cluster::forget(pod, flow).await,
                None => cluster::follow(pod, flow, self.share(pod)).await,
            },
            (_, Some(job), _) => cluster::job(pod, job).await,
            (_, _, Some(source)) => cluster::discover(pod, source).await,
            _ => Err(Error::bug("nothing to work for")),
        }
    }

    fn share(&self, pod: &Pod) -> Share {
        Share {
            ordinal: self.ordinal.unwrap_or_else(|| Pod::ordinal(&pod.name)),
            workers: self.workers.max(1),
        }
    }
}

/// Metrics and probes, as long as the work goes on. That they cannot be had is no reason to stop it.
async fn observed(port: u16, pod: &Pod) -> Infallible {
    let ended = match serve::listen(port).await {
        Ok(listener) => serve::serve(listener, pod.metrics.clone(), pod.health.clone()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        tracing::error!("no metrics and no probes: {error}");
    }
    std::future::pending().await
}
