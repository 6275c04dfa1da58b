//! Resolving: reading what an object refers to, and making a plan of it by the resolver that files have too.
//!
//! In: a Source, a Flow or a Job. Out: a plan, or what is wrong with it. Only objects of its own namespace are asked
//! for, and Connectors, where this operator may read them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};
use millrace_crds::{
    Connector, Flow, Job, JobPlan, Plan, Problem, Resolver, Resources, Setting, Source, builtin,
    common::ConnectorRef, plan::SourcePlan, resources::LocalConfigMap,
};
use tracing::debug;

use crate::apply::{is_name, read};
use crate::context::Context;
use crate::error::{Doing, Error, Result};

/// What is wrong with an object: a word for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The word.
    pub reason: String,
    /// The sentence.
    pub message: String,
}

impl Wrong {
    /// Of a word and a sentence.
    #[must_use]
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    /// The first of what the resolver found, with the sentences of the others.
    fn of(problems: &[Problem]) -> Option<Self> {
        let errors: Vec<&Problem> = problems.iter().filter(|problem| problem.is_error()).collect();
        let told: Vec<String> = errors.iter().take(5).map(ToString::to_string).collect();
        errors.first().map(|first| Self {
            reason: format!("{:?}", first.reason),
            message: told.join(". "),
        })
    }
}

/// A plan, or what is wrong; and all that was read for it.
#[derive(Debug)]
pub struct Resolved<T> {
    /// The plan.
    pub plan: Result<T, Wrong>,
    /// What may not be as meant.
    pub warnings: Vec<String>,
    /// What was read.
    pub resources: Resources,
}

impl<T> Resolved<T> {
    fn new((plan, problems): (Option<T>, Vec<Problem>), resources: Resources) -> Self {
        let unsound = || Wrong::new("InvalidSpec", "it could not be resolved");
        let warnings = problems.iter().filter(|problem| !problem.is_error());
        Self {
            plan: plan.ok_or_else(|| Wrong::of(&problems).unwrap_or_else(unsound)),
            warnings: warnings.map(ToString::to_string).collect(),
            resources,
        }
    }
}

/// Resolves a Source.
///
/// # Errors
/// Where the API server does not answer.
pub async fn source(context: &Context, source: &Source) -> Result<Resolved<SourcePlan>> {
    let mut resources = Resources::default();
    add_source(context, source.clone(), &mut resources).await?;
    let source = source.clone().into();
    resolved(resources, move |resolver| resolver.source(&source)).await
}

/// Resolves a Flow with its Source.
///
/// # Errors
/// Where the API server does not answer.
pub async fn flow(context: &Context, flow: &Flow) -> Result<Resolved<Plan>> {
    let resources = around(context, &flow.namespace().unwrap_or_default(), &flow.spec).await?;
    let flow = flow.clone().into();
    resolved(resources, move |resolver| resolver.flow(&flow)).await
}

/// Resolves a Job with its Flow.
///
/// # Errors
/// Where the API server does not answer.
pub async fn job(context: &Context, job: &Job) -> Result<Resolved<JobPlan>> {
    let namespace = job.namespace().unwrap_or_default();
    let resources = match (&job.spec.flow, &job.spec.flow_template) {
        (_, Some(template)) => around(context, &namespace, &template.spec).await?,
        (Some(name), None) => match read::<Flow>(context, &namespace, &name.name).await? {
            Some(flow) => {
                let mut resources = around(context, &namespace, &flow.spec).await?;
                resources.flows.push(flow.into());
                resources
            }
            None => Resources::default(),
        },
        (None, None) => Resources::default(),
    };
    let job = job.clone().into();
    resolved(resources, move |resolver| resolver.job(&job)).await
}

/// What is wrong with a Connector.
#[must_use]
pub fn connector(connector: &Connector) -> Option<Wrong> {
    let resources = Resources::default();
    Wrong::of(&resolver(&resources).connector(&connector.clone().into()))
}

/// Resolves on a thread of its own: what one tenant writes may take long to look through, and others do not wait for it.
async fn resolved<T: Send + 'static>(
    resources: Resources,
    find: impl FnOnce(&Resolver<'_>) -> (Option<T>, Vec<Problem>) + Send + 'static,
) -> Result<Resolved<T>> {
    let done = tokio::task::spawn_blocking(move || {
        let found = find(&resolver(&resources));
        Resolved::new(found, resources)
    });
    done.await.map_err(|error| Error::content("the resolver", error))
}

fn resolver(resources: &Resources) -> Resolver<'_> {
    Resolver {
        resources,
        recipes: builtin(),
        setting: &Setting::Cluster,
    }
}

/// What a Flow refers to.
async fn around(
    context: &Context,
    namespace: &str,
    spec: &millrace_crds::flow::FlowSpec,
) -> Result<Resources> {
    let mut resources = Resources::default();
    if let Some(source) = read::<Source>(context, namespace, &spec.source.name).await? {
        add_source(context, source, &mut resources).await?;
    }
    add_connector(context, spec.destination.connector.as_ref(), &mut resources).await?;
    Ok(resources)
}

async fn add_source(context: &Context, source: Source, resources: &mut Resources) -> Result<()> {
    add_connector(context, source.spec.connector.as_ref(), resources).await?;
    let namespace = source.namespace().unwrap_or_default();
    let contracts = source
        .spec
        .streams
        .iter()
        .filter_map(|stream| stream.schema_ref.as_deref());
    for name in contracts.filter_map(config_map_name) {
        if resources.config_map(&namespace, name).is_none()
            && let Some(map) = read::<ConfigMap>(context, &namespace, name).await?
        {
            resources.config_maps.push(local(&namespace, name, map));
        }
    }
    resources.sources.push(source.into());
    Ok(())
}

/// The ConfigMap that `configmap:NAME/KEY` names. A name that none can have is not asked for: it would become a part of
/// the address of a request.
fn config_map_name(reference: &str) -> Option<&str> {
    let (name, _) = reference.strip_prefix("configmap:")?.split_once('/')?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    (begins && name.chars().all(plain)).then_some(name)
}

fn local(namespace: &str, name: &str, map: ConfigMap) -> LocalConfigMap {
    let text = map.data.unwrap_or_default().into_iter();
    let bytes = map.binary_data.unwrap_or_default().into_iter();
    let values: BTreeMap<String, Vec<u8>> = text
        .map(|(key, value)| (key, value.into_bytes()))
        .chain(bytes.map(|(key, value)| (key, value.0)))
        .collect();
    LocalConfigMap::new(namespace, name, values)
}

/// An operator that may not read Connectors works by the recipes that come with it.
async fn add_connector(
    context: &Context,
    named: Option<&ConnectorRef>,
    resources: &mut Resources,
) -> Result<()> {
    let Some(ConnectorRef { name, .. }) = named.filter(|named| is_name(&named.name)) else {
        return Ok(());
    };
    if resources
        .connectors
        .iter()
        .any(|known| known.object.name_any() == *name)
    {
        return Ok(());
    }
    match Api::<Connector>::all(context.client.clone()).get_opt(name).await {
        Ok(found) => resources.connectors.extend(found.map(Into::into)),
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            debug!(
                connector = name,
                "Connectors cannot be read; the built-in recipe applies"
            );
        }
        Err(error) => return Err(error).doing(|| format!("read Connector {name}")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_config_map_has_is_not_asked_for() {
        assert_eq!(config_map_name("configmap:contract/key"), Some("contract"));
        for wrong in [
            "configmap:../x",
            "configmap:a b/x",
            "configmap:/x",
            "configmap:A/x",
            "file.yaml",
        ] {
            assert_eq!(config_map_name(wrong), None, "{wrong}");
        }
    }
}
