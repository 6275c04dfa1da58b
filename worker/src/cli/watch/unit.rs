//! What one follower needs to know of the manifests: its Flow, the annotations that trigger it, and its Jobs.

use std::sync::Arc;

use millrace_crds::{JobPlan, Plan, ledger::Annotated};
use secrecy::ExposeSecret;

use crate::{
    cli::{
        annotated,
        manifests::{Loaded, full_name},
        run::RunArgs,
    },
    secrets::LocalSecrets,
};

/// One Flow as the manifests have it now.
pub(super) struct Unit {
    /// The plan, with the state that was chosen on the command line.
    pub(super) plan: Plan,
    /// It runs by itself: it is a Flow, and not a Job that stands alone.
    pub(super) scheduled: bool,
    /// The Secrets of its namespace.
    pub(super) secrets: Arc<LocalSecrets>,
    /// The objects whose annotations are its triggers.
    pub(super) annotated: Vec<Annotated>,
    /// The UID whose state it takes over.
    pub(super) adopt: Option<String>,
    /// The Jobs that run it.
    pub(super) jobs: Vec<JobPlan>,
}

impl Unit {
    /// Whether all that is open must be opened again for this one.
    pub(super) fn replaces(&self, before: &Self) -> bool {
        self.plan != before.plan
            || self.scheduled != before.scheduled
            || !same(&self.secrets, &before.secrets)
    }

    /// `namespace/name`.
    pub(super) fn name(&self) -> String {
        full_name(&self.plan)
    }
}

/// Every Flow of the manifests that is to be run, with its Jobs; and the Jobs that bring a Flow of their own.
pub(super) fn all(loaded: &Loaded, args: &RunArgs) -> Vec<Arc<Unit>> {
    let mut units: Vec<Unit> = Vec::new();
    let unit = |plan: &Plan, scheduled| Unit {
        plan: plan.clone(),
        scheduled,
        secrets: loaded.secrets(&plan.flow.namespace),
        annotated: annotated::of(loaded, plan)
            .into_iter()
            .map(|object| object.annotated)
            .collect(),
        adopt: annotated::adopts(loaded, plan),
        jobs: Vec::new(),
    };
    for plan in &loaded.resolution.plans {
        units.push(unit(plan, true));
    }
    for job in &loaded.resolution.jobs {
        let flow = full_name(&job.plan);
        let place = units.iter().position(|unit| unit.name() == flow);
        let place = place.unwrap_or_else(|| {
            units.push(unit(&job.plan, false));
            units.len() - 1
        });
        units[place].jobs.push(job.clone());
    }
    units.retain(|unit| args.wants(&unit.plan));
    units.iter_mut().for_each(|unit| args.state.apply(&mut unit.plan));
    units.into_iter().map(Arc::new).collect()
}

fn same(one: &LocalSecrets, other: &LocalSecrets) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(a, b)| a.0 == b.0 && a.1.expose_secret() == b.1.expose_secret())
}

#[cfg(test)]
mod tests;
