//! What can be asked of `millrace run`, and which Flows and Jobs are meant.

use std::num::NonZero;

use clap::Args;
use millrace_crds::{JobPlan, Plan};

use crate::{
    cli::{
        closing::Output,
        manifests::{Loaded, Manifests, is_named},
        place::StateArgs,
    },
    engine::{
        channel::Budget,
        drain::Drain,
        flow::{Request, Wanted},
    },
    error::{Error, Result},
};

/// The options of `millrace run`.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct RunArgs {
    #[command(flatten)]
    pub(in crate::cli) manifests: Manifests,
    /// Load everything, and deliver the difference to what was delivered, deletes included
    #[arg(long, conflicts_with = "delta")]
    full: bool,
    /// Load what came since the last load; everything, the first time
    #[arg(long)]
    delta: bool,
    /// Load this stream only, by its exact name; may be given several times
    #[arg(long = "stream", value_name = "NAME")]
    pub(super) streams: Vec<String>,
    /// Run this Flow only: NAME or NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    flow: Option<String>,
    /// Run this Job only, and no Flow by itself
    #[arg(long, value_name = "NAME", conflicts_with_all = ["watch", "full", "delta"])]
    job: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) state: StateArgs,
    /// Count what would be inserted, updated and deleted, and write nothing
    #[arg(long, conflicts_with = "watch")]
    pub(super) dry_run: bool,
    /// Let full loads delete more than the Flow's maxDeleteFraction
    #[arg(long)]
    allow_deletes: bool,
    /// Take over the state of the Flow with this UID, as the annotation millrace.dev/adopt-state does
    #[arg(long, value_name = "UID")]
    adopt_state: Option<String>,
    /// Go on: read the manifests again when they change, and run intervals, schedules, triggers and new Jobs, each
    /// once. With `--output json`, each load is one line of JSON as it ends
    #[arg(long)]
    pub(super) watch: bool,
    /// How the closing report is written to standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(in crate::cli) output: Output,
    /// Flows that run at once; without it, one for each core
    #[arg(long, value_name = "N")]
    parallel: Option<NonZero<usize>>,
}

impl RunArgs {
    /// The Flows, then the Jobs.
    pub(super) fn chosen(&self, loaded: &Loaded) -> Result<Vec<(Plan, Option<JobPlan>)>> {
        let wanted = |plan: &Plan| self.flow.as_ref().is_none_or(|name| is_named(plan, name));
        let flows = loaded.resolution.plans.iter().map(|plan| (plan.clone(), None));
        let flows = flows.filter(|_| self.job.is_none());
        let jobs = loaded
            .resolution
            .jobs
            .iter()
            .filter(|job| self.job.as_ref().is_none_or(|name| job.name == *name))
            .map(|job| (job.plan.clone(), Some(job.clone())));
        let mut chosen: Vec<_> = flows.chain(jobs).filter(|(plan, _)| wanted(plan)).collect();
        chosen.iter_mut().for_each(|(plan, _)| self.state.apply(plan));
        match (&self.flow, &self.job, chosen.is_empty()) {
            (_, Some(name), true) => Err(self.no_job(loaded, name)),
            (Some(name), None, true) => Err(loaded.no_flow(name)),
            (None, None, true) => Err(Error::config("there is no Flow and no Job in these manifests")
                .advice("`millrace init` writes one to start from")),
            _ => Ok(chosen),
        }
    }

    fn no_job(&self, loaded: &Loaded, name: &str) -> Error {
        let names: Vec<&str> = loaded
            .resolution
            .jobs
            .iter()
            .map(|job| job.name.as_str())
            .collect();
        let of = self
            .flow
            .as_ref()
            .map(|flow| format!(" of Flow {flow}"))
            .unwrap_or_default();
        let known = if names.is_empty() {
            "no Job at all".to_owned()
        } else {
            names.join(", ")
        };
        Error::config(format!("these manifests have no Job {name}{of}")).advice(format!("they have {known}"))
    }

    /// Whether this Flow is to be run.
    pub(in crate::cli) fn wants(&self, plan: &Plan) -> bool {
        self.flow.as_ref().is_none_or(|name| is_named(plan, name))
    }

    /// What the command line asks of each Flow.
    pub(in crate::cli) fn request(&self, drain: &Drain) -> Request {
        Request {
            load: match (self.full, self.delta) {
                (true, _) => Some(Wanted::Full),
                (_, true) => Some(Wanted::Delta),
                _ => None,
            },
            streams: self.streams.clone(),
            dry_run: self.dry_run,
            allow_deletes: self.allow_deletes,
            adopt: self.adopt_state.clone(),
            run: String::new(),
            drain: drain.clone(),
            budget: Budget::from_container(),
            // At a desk one process does it all, with a lane for each core.
            sharing: None,
        }
    }

    /// Flows at once.
    pub(in crate::cli) fn parallel(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        self.parallel.map_or_else(cores, NonZero::get)
    }
}
