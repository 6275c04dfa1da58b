//! From resources to plans: a pure function, the same for a file and for a cluster.
//!
//! In: [`Resources`], the built-in recipes, and the [`Setting`]. Out: a [`Plan`] for each sound Flow, a
//! [`JobPlan`] for each sound Job, and every [`Problem`]. A plan holds no secret value, only places.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::common::{StreamName, texts};
use crate::manifest::name_of;
use crate::plan::{JobPlan, Plan, SourcePlan};
use crate::problem::{Located, Problem, Reason, Report, below};
use crate::resources::{Resources, namespace_of};
use crate::{Connector, Flow, Job, Source, suggest, triggers};

mod credentials;
mod engine;
mod flow;
mod job;
mod settings;
mod source;
mod streams;
mod system;
mod when;

/// Where the plans are to run.
#[derive(Clone, PartialEq, Eq)]
pub enum Setting {
    /// At a desk: `${NAME}`, `env:` and `file:` mean something.
    Local {
        /// The environment variables.
        environment: BTreeMap<String, String>,
    },
    /// In pods: what only local runs can have is refused.
    Cluster,
}

// By hand, since the values of the environment may be secrets.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { environment } => write!(f, "Local {:?}", environment.keys()),
            Self::Cluster => f.write_str("Cluster"),
        }
    }
}

/// What becomes of one resource: a plan unless something is wrong, and all findings.
pub type Outcome<T> = (Option<T>, Vec<Problem>);

/// All that resources resolve to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// The sound Flows.
    pub plans: Vec<Plan>,
    /// The sound Jobs.
    pub jobs: Vec<JobPlan>,
    /// Errors and warnings, each once.
    pub problems: Vec<Problem>,
}

impl Resolution {
    /// Whether nothing is wrong; warnings may be there.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.problems.iter().any(Problem::is_error)
    }
}

/// Resolves all resources.
#[must_use]
pub fn resolve(resources: &Resources, recipes: &[Connector], setting: &Setting) -> Resolution {
    let resolver = Resolver {
        resources,
        recipes,
        setting,
    };
    let mut problems: Vec<Problem> = Vec::new();
    resources
        .connectors
        .iter()
        .for_each(|connector| problems.extend(resolver.connector(connector)));
    resources
        .sources
        .iter()
        .for_each(|source| problems.extend(resolver.source(source).1));
    let plans = resources
        .flows
        .iter()
        .filter_map(|flow| keep(resolver.flow(flow), &mut problems))
        .collect();
    let jobs = resources
        .jobs
        .iter()
        .filter_map(|job| keep(resolver.job(job), &mut problems))
        .collect();
    // A Flow repeats what is wrong with its Source, and a Job what is wrong with its Flow.
    let mut once: Vec<Problem> = Vec::new();
    for problem in problems {
        if !once.contains(&problem) {
            once.push(problem);
        }
    }
    Resolution {
        plans,
        jobs,
        problems: once,
    }
}

fn keep<T>((plan, found): Outcome<T>, problems: &mut Vec<Problem>) -> Option<T> {
    problems.extend(found);
    plan
}

/// Resolves one resource at a time, among others.
#[derive(Clone, Copy, Debug)]
pub struct Resolver<'a> {
    /// All resources at hand.
    pub resources: &'a Resources,
    /// The recipes that apply where no Connector has a name.
    pub recipes: &'a [Connector],
    /// Where the plans are to run.
    pub setting: &'a Setting,
}

impl Resolver<'_> {
    /// What is wrong with a Connector.
    #[must_use]
    pub fn connector(&self, connector: &Located<Connector>) -> Vec<Problem> {
        let mut report = Report::on(
            &connector.place,
            format!("Connector/{}", name_of(&connector.object)),
        );
        check_triggers(&connector.object.metadata, &mut report);
        system::check_recipe(&connector.object.spec, &mut report);
        report.into_problems()
    }

    /// A Source with all of its streams, as a Flow would read it.
    #[must_use]
    pub fn source(&self, source: &Located<Source>) -> Outcome<SourcePlan> {
        let mut report = Report::on(&source.place, format!("Source/{}", name_of(&source.object)));
        check_triggers(&source.object.metadata, &mut report);
        let plan = source::plan(self, source, &mut report);
        sound(plan, report.into_problems())
    }

    /// A Flow with its Source.
    #[must_use]
    pub fn flow(&self, flow: &Located<Flow>) -> Outcome<Plan> {
        let mut report = Report::on(&flow.place, format!("Flow/{}", name_of(&flow.object)));
        check_triggers(&flow.object.metadata, &mut report);
        let given = flow::Given {
            meta: &flow.object.metadata,
            spec: &flow.object.spec,
            root: "spec",
        };
        let (plan, mut problems) = flow::plan(self, &given, &flow.place, &mut report);
        problems.extend(report.into_problems());
        sound(plan, problems)
    }

    /// A Job with its Flow.
    #[must_use]
    pub fn job(&self, job: &Located<Job>) -> Outcome<JobPlan> {
        let mut report = Report::on(&job.place, format!("Job/{}", name_of(&job.object)));
        let (plan, mut problems) = job::plan(self, job, &mut report);
        problems.extend(report.into_problems());
        sound(plan, problems)
    }

    /// The environment; `None` in a cluster.
    fn environment(&self) -> Option<&BTreeMap<String, String>> {
        match self.setting {
            Setting::Local { environment } => Some(environment),
            Setting::Cluster => None,
        }
    }

    fn find_source(
        &self,
        namespace: &str,
        name: &str,
        field: &str,
        report: &mut Report<'_>,
    ) -> Option<&Located<Source>> {
        let found = self.resources.source(namespace, name);
        if found.is_none() {
            let others = self
                .resources
                .sources
                .iter()
                .filter(|other| namespace_of(&other.object) == namespace);
            not_found(
                "Source",
                namespace,
                name,
                others.map(|other| name_of(&other.object)),
                field,
                report,
            );
        }
        found
    }

    fn find_flow(
        &self,
        namespace: &str,
        name: &str,
        field: &str,
        report: &mut Report<'_>,
    ) -> Option<&Located<Flow>> {
        let found = self.resources.flow(namespace, name);
        if found.is_none() {
            let others = self
                .resources
                .flows
                .iter()
                .filter(|other| namespace_of(&other.object) == namespace);
            not_found(
                "Flow",
                namespace,
                name,
                others.map(|other| name_of(&other.object)),
                field,
                report,
            );
        }
        found
    }
}

/// No plan where there is an error.
fn sound<T>(plan: Option<T>, problems: Vec<Problem>) -> Outcome<T> {
    (plan.filter(|_| !problems.iter().any(Problem::is_error)), problems)
}

/// Tells of annotations that ask for a load in words that nobody understands. The resource is sound without them.
fn check_triggers(meta: &ObjectMeta, report: &mut Report<'_>) {
    let wrong = meta
        .annotations
        .iter()
        .flat_map(triggers::parse)
        .filter_map(Result::err);
    for error in wrong {
        let key = format!("{}{}", triggers::PREFIX, error.name);
        let told = error.problem.to_string();
        let (message, advice) = told.split_once("; ").unwrap_or((&told, ""));
        report.warn(
            Reason::InvalidSpec,
            &below("metadata.annotations", &key),
            message,
            advice,
        );
    }
}

fn not_found(
    kind: &str,
    namespace: &str,
    name: &str,
    others: impl Iterator<Item = String>,
    field: &str,
    report: &mut Report<'_>,
) {
    let others: Vec<String> = others.collect();
    let advice = suggest::advice(name, others.iter().map(String::as_str), "known are");
    let advice = if advice.is_empty() {
        format!("add a {kind} of that name")
    } else {
        advice
    };
    let message = format!("there is no {kind} {name} in namespace {namespace}");
    report.error(Reason::RefNotFound, field, message, advice);
}

/// Names as plain texts, each once.
fn distinct(names: &[StreamName], field: &str, report: &mut Report<'_>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        if !seen.insert(name) {
            let field = crate::problem::item(field, index);
            report.error(
                Reason::Duplicate,
                &field,
                format!("{} is named twice", name.0),
                "remove one",
            );
        }
    }
    texts(names)
}

#[cfg(test)]
mod tests;
