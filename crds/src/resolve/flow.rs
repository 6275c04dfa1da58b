//! A Flow to a plan.

use jiff::civil::Date;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::common::texts;
use crate::connector::{CredentialSpec, Role};
use crate::explain::{Show, no_template};
use crate::flow::{FlowSpec, S3Spec, StateSpec, TransformSpec};
use crate::plan::{
    DestinationPlan, FlowRef, Plan, S3Plan, SourcePlan, StatePlan, StateStorePlan, TransformPlan,
};
use crate::problem::{Place, Problem, Reason, Report, below, item, join};
use crate::resources::namespace;
use crate::template::{Template, Values};

use super::settings::refuse_password;
use super::system::Asked;
use super::{Resolver, credentials, distinct, streams, when};

/// A Flow, by itself or within a Job.
pub(super) struct Given<'a> {
    /// The metadata that names it.
    pub(super) meta: &'a ObjectMeta,
    /// What it asks for.
    pub(super) spec: &'a FlowSpec,
    /// The path of the spec in the manifest.
    pub(super) root: &'a str,
}

/// The plan of a Flow, and what is wrong with its Source.
pub(super) fn plan(
    resolver: &Resolver<'_>,
    given: &Given<'_>,
    place: &Place,
    report: &mut Report<'_>,
) -> (Option<Plan>, Vec<Problem>) {
    let (spec, root) = (given.spec, given.root);
    let flow = flow_ref(given.meta);
    let source_field = join(root, "source");
    let found = resolver.find_source(
        &flow.namespace,
        &spec.source.name,
        &join(&source_field, "name"),
        report,
    );
    let (source, problems) = found.map(|found| resolver.source(found)).unwrap_or_default();
    let streams = distinct(&spec.source.streams, &join(&source_field, "streams"), report);
    let destination = destination(resolver, given, &flow, place, report);
    let run = when::plan(spec, root, report);
    let state = state(resolver, given, &flow, report);
    let dead_letter = dead_letter(resolver, given, &flow, report);
    if let Some(source) = &source {
        check_streams(spec, source, &streams, root, report);
        when::check_intervals(resolver, spec, source, root, report);
    }
    check_fraction(spec.max_delete_fraction, &join(root, "maxDeleteFraction"), report);
    let plan = source.zip(destination).map(|(source, destination)| Plan {
        flow,
        source,
        destination,
        streams,
        transforms: spec.transforms.iter().map(transform).collect(),
        contract: spec.schema_contract,
        run,
        state,
        require: spec.delivery.map(|delivery| delivery.require),
        max_delete_fraction: spec.max_delete_fraction,
        dead_letter,
    });
    (plan, problems)
}

fn flow_ref(meta: &ObjectMeta) -> FlowRef {
    let namespace = namespace(meta.namespace.as_deref()).to_owned();
    let name = meta
        .name
        .clone()
        .or_else(|| meta.generate_name.clone())
        .unwrap_or_default();
    // Neither part can hold a slash, so two Flows never share a UID of this form.
    let uid = meta
        .uid
        .clone()
        .unwrap_or_else(|| format!("local:{namespace}/{name}"));
    FlowRef {
        namespace,
        name,
        uid,
        labels: meta.labels.clone().unwrap_or_default(),
    }
}

fn destination(
    resolver: &Resolver<'_>,
    given: &Given<'_>,
    flow: &FlowRef,
    place: &Place,
    report: &mut Report<'_>,
) -> Option<DestinationPlan> {
    let spec = &given.spec.destination;
    let field = join(given.root, "destination");
    let asked = Asked {
        role: Role::Destination,
        field: &field,
        namespace: &flow.namespace,
        place,
        connector: spec.connector.as_ref(),
        plugin: spec.writer.as_deref(),
        connection: &spec.connection,
        options: &spec.options,
        credentials: &spec.credentials,
    };
    resolver.system(&asked, report).map(|system| DestinationPlan {
        system,
        write_mode: spec.write_mode,
    })
}

fn transform(spec: &TransformSpec) -> TransformPlan {
    TransformPlan {
        streams: texts(&spec.streams),
        sql: spec.sql.clone(),
    }
}

/// The streams that the Flow and its transforms name must be there.
fn check_streams(
    spec: &FlowSpec,
    source: &SourcePlan,
    taken: &[String],
    root: &str,
    report: &mut Report<'_>,
) {
    streams::refuse_unknown(taken, &source.streams, &join(root, "source.streams"), report);
    for (index, transform) in spec.transforms.iter().enumerate() {
        let field = below(&item(&join(root, "transforms"), index), "streams");
        let names = texts(&transform.streams);
        streams::refuse_unknown(&names, &source.streams, &field, report);
        for (at, name) in names
            .iter()
            .enumerate()
            .filter(|(_, name)| !taken.is_empty() && !taken.contains(name))
        {
            let message = format!("the Flow does not take stream {name}");
            report.error(
                Reason::RefNotFound,
                &item(&field, at),
                message,
                "add it to source.streams, or remove it here",
            );
        }
    }
}

/// Objects of a cluster pass the API server's check; what is built in code may not.
fn check_fraction(fraction: f64, field: &str, report: &mut Report<'_>) {
    if !(0.0..=1.0).contains(&fraction) {
        report.error(
            Reason::InvalidSpec,
            field,
            format!("{fraction} is not a part of a whole"),
            "write 0 to 1",
        );
    }
}

fn dead_letter(
    resolver: &Resolver<'_>,
    given: &Given<'_>,
    flow: &FlowRef,
    report: &mut Report<'_>,
) -> Option<String> {
    let field = join(given.root, "deadLetter.url");
    let written = &given.spec.dead_letter.as_ref()?.url;
    let url = resolver.expander().text(written, &field, report);
    refuse_password(&url, &field, report);
    // What comes from the environment is not shown.
    let show = if url == *written {
        Show::Value
    } else {
        Show::Nothing
    };
    check_template(&url, flow, &field, show, report);
    Some(url)
}

/// A template must name known variables, and labels that the Flow has.
fn check_template(text: &str, flow: &FlowRef, field: &str, show: Show, report: &mut Report<'_>) {
    let values = Values {
        namespace: &flow.namespace,
        flow: &flow.name,
        stream: "stream",
        labels: &flow.labels,
        date: Date::default(),
    };
    if let Err(error) = text
        .parse::<Template>()
        .and_then(|template| template.render(&values))
    {
        let (message, advice) = no_template(&error, show);
        report.error(Reason::InvalidSpec, field, message, advice);
    }
}

fn state(resolver: &Resolver<'_>, given: &Given<'_>, flow: &FlowRef, report: &mut Report<'_>) -> StatePlan {
    let spec = given.spec.state.clone().unwrap_or_default();
    let field = join(given.root, "state");
    StatePlan {
        id: spec
            .id
            .clone()
            .unwrap_or_else(|| format!("{}/{}", flow.namespace, flow.name)),
        store: store(resolver, &spec, flow, &field, report),
        deletion_policy: given.spec.deletion_policy,
    }
}

fn store(
    resolver: &Resolver<'_>,
    spec: &StateSpec,
    flow: &FlowRef,
    field: &str,
    report: &mut Report<'_>,
) -> StateStorePlan {
    if let Some(s3) = &spec.s3 {
        return StateStorePlan::S3(s3_plan(resolver, s3, flow, &join(field, "s3"), report));
    }
    let Some(directory) = &spec.directory else {
        return if spec.config_map.is_some() {
            StateStorePlan::ConfigMap
        } else {
            StateStorePlan::Default
        };
    };
    let field = join(field, "directory");
    if resolver.environment().is_none() {
        report.error(
            Reason::LocalOnly,
            &field,
            "a directory is for local runs only",
            "write configMap: {} or s3",
        );
    }
    StateStorePlan::Directory(resolver.expander().text(directory, &field, report))
}

fn s3_plan(
    resolver: &Resolver<'_>,
    spec: &S3Spec,
    flow: &FlowRef,
    field: &str,
    report: &mut Report<'_>,
) -> S3Plan {
    let asked = ["accessKeyId", "secretAccessKey", "sessionToken"].map(|name| CredentialSpec {
        name: name.to_owned(),
        from_env: None,
        required: None,
        description: None,
    });
    let credentials = credentials::Given {
        namespace: &flow.namespace,
        owner: "S3",
        asked: &asked,
        refs: &spec.credentials,
        field: &join(field, "credentials"),
    };
    let expander = resolver.expander();
    let mut fill = |text: &str, key: &str| expander.text(text, &below(field, key), report);
    let (bucket, prefix) = (fill(&spec.bucket, "bucket"), fill(&spec.prefix, "prefix"));
    let endpoint = spec.endpoint.as_deref().map(|text| fill(text, "endpoint"));
    let region = spec.region.as_deref().map(|text| fill(text, "region"));
    if prefix.starts_with('/') || prefix.split('/').any(|part| part == "..") {
        let advice = "write plain segments, as in team/state";
        report.error(
            Reason::InvalidSpec,
            &join(field, "prefix"),
            "leads out of its place",
            advice,
        );
    }
    S3Plan {
        bucket,
        prefix,
        endpoint,
        region,
        credentials: resolver.credentials(&credentials, report),
    }
}
