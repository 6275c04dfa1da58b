//! From paths on the command line to plans.
//!
//! In: files and directories. Out: [`Loaded`] resources and their resolution; every problem is told with file and line,
//! and none of the commands goes on past an error.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use clap::Args;
use millrace_crds::{
    Job, Plan, Problem, Resolution, Resolver, Resources, Setting, builtin,
    plan::{FlowRef, SourcePlan},
    problem::{Located, Place, ProblemKind, Reason},
    resources::namespace_of,
};
use secrecy::SecretString;

use super::out;
use crate::{
    connector::{Source, System},
    engine::flow::Flow,
    engines,
    error::{Context, Error, Result},
    secrets::LocalSecrets,
};

/// The manifests to read.
#[derive(Args, Clone, Debug)]
pub(super) struct Manifests {
    /// Manifests (YAML or JSON, several documents in one file too), or directories of them
    #[arg(id = "manifests", default_value = ".", value_name = "FILE|DIR")]
    pub(super) paths: Vec<PathBuf>,
}

/// What manifests hold.
pub(super) struct Loaded {
    pub(super) resources: Resources,
    pub(super) resolution: Resolution,
    setting: Setting,
}

/// Reads and resolves; problems are left to the caller.
///
/// # Errors
/// The problems of the files, where they cannot be read as resources.
pub(super) fn read(paths: &[PathBuf]) -> Result<Loaded, Vec<Problem>> {
    let resources = millrace_crds::manifest::read(paths)?;
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let setting = Setting::Local {
        environment: environment.collect(),
    };
    let resolution = millrace_crds::resolve(&resources, builtin(), &setting);
    Ok(Loaded {
        resources,
        resolution,
        setting,
    })
}

/// Reads and resolves, and tells every problem.
///
/// # Errors
/// `config` where there is an error among the problems.
pub(super) fn load(paths: &[PathBuf]) -> Result<Loaded> {
    sound(paths).map_err(|problems| refused(&problems))
}

/// Reads and resolves, and tells of what may not be as meant.
///
/// # Errors
/// Every problem, untold, where there is an error among them.
pub(super) fn sound(paths: &[PathBuf]) -> Result<Loaded, Vec<Problem>> {
    let loaded = read(paths)?;
    if !loaded.resolution.is_sound() {
        return Err(loaded.resolution.problems);
    }
    tell(&loaded.resolution.problems);
    Ok(loaded)
}

/// Tells problems, one a line.
pub(super) fn tell(problems: &[Problem]) {
    for problem in problems {
        if problem.is_error() {
            out::error(problem);
        } else {
            out::warning(problem);
        }
    }
}

/// Tells problems, and sums them up.
pub(super) fn refused(problems: &[Problem]) -> Error {
    tell(problems);
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let things = if errors == 1 {
        "1 error".to_owned()
    } else {
        format!("{errors} errors")
    };
    Error::config(format!("the manifests have {things}; nothing was read"))
}

impl Loaded {
    /// The Flow of a name: `NAME`, or `NAMESPACE/NAME`.
    ///
    /// # Errors
    /// `config` where there is none or more than one.
    pub(super) fn flow(&self, name: &str) -> Result<&Plan> {
        let mut found = self.resolution.plans.iter().filter(|plan| is_named(plan, name));
        match (found.next(), found.next()) {
            (Some(plan), None) => Ok(plan),
            (Some(plan), Some(other)) => Err(Error::config(format!("there is more than one Flow {name}"))
                .advice(format!("write {} or {}", full_name(plan), full_name(other)))),
            _ => Err(self.no_flow(name)),
        }
    }

    /// Why there is no Flow of a name.
    pub(super) fn no_flow(&self, name: &str) -> Error {
        let names: Vec<String> = self
            .resolution
            .plans
            .iter()
            .map(|plan| plan.flow.name.clone())
            .collect();
        let error = Error::config(format!("these manifests have no Flow {name}"));
        if names.is_empty() {
            error
        } else {
            error.advice(format!("they have {}", names.join(", ")))
        }
    }

    /// The Secrets of one namespace.
    pub(super) fn secrets(&self, namespace: &str) -> Arc<LocalSecrets> {
        let mut values = LocalSecrets::new();
        for secret in self
            .resources
            .secrets
            .iter()
            .filter(|secret| secret.namespace == namespace)
        {
            for key in secret.keys() {
                let text = secret
                    .get(key)
                    .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                values.insert(
                    (secret.name.clone(), key.to_owned()),
                    SecretString::from(text.unwrap_or_default()),
                );
            }
        }
        Arc::new(values)
    }

    /// A Flow, opened.
    ///
    /// # Errors
    /// `config`, naming the place of the settings that are wrong.
    pub(super) async fn open(&self, plan: &Plan) -> Result<Flow> {
        let secrets = self.secrets(&plan.flow.namespace);
        let namespace = &plan.flow.namespace;
        let from = System::of_source(plan.flow.clone(), &plan.source, &secrets);
        let source =
            engines::source(from).map_err(|error| self.at_source(error, namespace, &plan.source.name))?;
        let to = System::of_destination(plan, &secrets);
        let destination = engines::destination(to.clone()).map_err(|error| {
            let (place, resource, root) = self.origin(plan);
            placed(error, place, &resource, &format!("{root}.destination"))
        })?;
        Flow::with_ends(plan.clone(), &secrets, source, destination, to)
            .await
            .context(full_name(plan))
    }

    /// An error of a field of a Flow's spec, with its place in the manifest.
    pub(super) fn at_flow(&self, plan: &Plan, field: &str, error: Error) -> Error {
        let (place, resource, root) = self.origin(plan);
        at_field(error, place, &resource, format!("{root}.{field}"))
    }

    /// Where the Flow of a plan is written: the place, the resource, and the path of its spec there.
    fn origin(&self, plan: &Plan) -> (Option<&Place>, String, &'static str) {
        let (namespace, name) = (&plan.flow.namespace, &plan.flow.name);
        let flow = self.resources.flow(namespace, name);
        match (flow, self.resources.jobs.iter().find(|job| holds(job, plan))) {
            (None, Some(job)) => (Some(&job.place), format!("Job/{name}"), "spec.flowTemplate.spec"),
            (flow, _) => (flow.map(|flow| &flow.place), format!("Flow/{name}"), "spec"),
        }
    }

    /// The Flows that stand within Jobs.
    pub(super) fn inline(&self) -> impl Iterator<Item = &Plan> {
        let plans = self.resolution.jobs.iter().map(|job| &job.plan);
        plans.filter(|plan| self.resources.jobs.iter().any(|job| holds(job, plan)))
    }

    fn at_source(&self, error: Error, namespace: &str, name: &str) -> Error {
        let place = self.resources.source(namespace, name).map(|source| &source.place);
        placed(error, place, &format!("Source/{name}"), "spec")
    }

    /// The Sources of a name, or all of them: each as it is read, and by what name.
    ///
    /// # Errors
    /// `config` where there is none.
    pub(super) fn sources(&self, name: Option<&str>) -> Result<Vec<(FlowRef, SourcePlan)>> {
        let resolver = Resolver {
            resources: &self.resources,
            recipes: builtin(),
            setting: &self.setting,
        };
        let named = |place: &FlowRef| {
            name.is_none_or(|name| {
                name == place.name || name == format!("{}/{}", place.namespace, place.name)
            })
        };
        let plans = self.resources.sources.iter().filter_map(|source| {
            let place = FlowRef {
                namespace: namespace_of(&source.object).to_owned(),
                name: source.object.metadata.name.clone().unwrap_or_default(),
                uid: String::new(),
                labels: BTreeMap::new(),
            };
            named(&place).then(|| Some((place, resolver.source(source).0?)))?
        });
        let found: Vec<(FlowRef, SourcePlan)> = plans.collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let known: Vec<String> = self
            .resources
            .sources
            .iter()
            .filter_map(|source| source.object.metadata.name.clone())
            .collect();
        Err(match (name, known.is_empty()) {
            (Some(name), false) => Error::config(format!("these manifests have no Source {name}"))
                .advice(format!("they have {}", known.join(", "))),
            _ => Error::config("these manifests have no Source"),
        })
    }

    /// Opens a Source that no Flow stands before.
    ///
    /// # Errors
    /// `config` where it cannot be made from its settings.
    pub(super) fn open_source(&self, place: FlowRef, plan: &SourcePlan) -> Result<Arc<dyn Source>> {
        let system = System::of_source(place.clone(), plan, &self.secrets(&place.namespace));
        engines::source(system).map_err(|error| self.at_source(error, &place.namespace, &plan.name))
    }
}

/// Whether the Flow of a plan stands within this Job, whose name it has then.
fn holds(job: &Located<Job>, plan: &Plan) -> bool {
    let meta = &job.object.metadata;
    job.object.spec.flow_template.is_some()
        && namespace_of(&job.object) == plan.flow.namespace
        && meta.name.as_ref().or(meta.generate_name.as_ref()) == Some(&plan.flow.name)
}

/// What a connector says of its settings, as a problem of the manifest: only the connector knows which of them do not
/// fit together. Where its message begins with a field, that is the field; else it is the connection.
fn placed(mut error: Error, place: Option<&Place>, resource: &str, within: &str) -> Error {
    let named = error
        .message
        .split_once(": ")
        .filter(|(field, _)| field.starts_with("connection") && !field.contains(' '))
        .map(|(field, rest)| (field.to_owned(), rest.to_owned()));
    let (field, message) = named.unwrap_or_else(|| ("connection".to_owned(), error.message.clone()));
    error.message = message;
    at_field(error, place, resource, format!("{within}.{field}"))
}

/// The error as a problem of a field of the manifest.
fn at_field(mut error: Error, place: Option<&Place>, resource: &str, field: String) -> Error {
    let problem = Problem {
        kind: ProblemKind::Error,
        reason: Reason::InvalidConfig,
        file: place.and_then(|place| place.file.clone()),
        line: place.and_then(|place| place.line(&field)),
        resource: resource.to_owned(),
        field,
        message: error.message,
        advice: String::new(),
    };
    error.message = problem.to_string();
    error
}

/// Whether a name on the command line means this Flow.
pub(super) fn is_named(plan: &Plan, name: &str) -> bool {
    plan.flow.name == name || full_name(plan) == name
}

/// `namespace/name`.
pub(super) fn full_name(plan: &Plan) -> String {
    format!("{}/{}", plan.flow.namespace, plan.flow.name)
}
