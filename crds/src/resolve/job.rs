//! A Job to a plan.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use crate::Job;
use crate::job::{Backfill, Load};
use crate::manifest::name_of;
use crate::plan::{BackfillPlan, JobPlan, Plan, StateStorePlan};
use crate::problem::{Located, Problem, Reason, Report, item};
use crate::resources::namespace_of;

use super::{Resolver, distinct, flow, streams};

pub(super) fn plan(
    resolver: &Resolver<'_>,
    job: &Located<Job>,
    report: &mut Report<'_>,
) -> (Option<JobPlan>, Vec<Problem>) {
    let spec = &job.object.spec;
    let (plan, problems) = flow_plan(resolver, job, report);
    let streams = distinct(&spec.streams, "spec.streams", report);
    let backfill = spec
        .backfill
        .as_ref()
        .filter(|_| used(spec.load, report))
        .map(|backfill| range(backfill, report));
    if let Some(plan) = &plan {
        check_names(plan, &streams, report);
        check_parallelism(resolver, plan, spec.parallelism, report);
    }
    let plan = plan.map(|plan| JobPlan {
        name: job
            .object
            .metadata
            .name
            .clone()
            .or_else(|| job.object.metadata.generate_name.clone())
            .unwrap_or_default(),
        plan,
        load: spec.load,
        streams,
        backfill,
        parallelism: spec.parallelism,
        retries: spec.retries,
        deadline: spec.deadline,
    });
    (plan, problems)
}

/// The Flow that the Job names, or the one that it holds.
fn flow_plan(
    resolver: &Resolver<'_>,
    job: &Located<Job>,
    report: &mut Report<'_>,
) -> (Option<Plan>, Vec<Problem>) {
    let spec = &job.object.spec;
    if let Some(template) = &spec.flow_template {
        let given = flow::Given {
            meta: &job.object.metadata,
            spec: &template.spec,
            root: "spec.flowTemplate.spec",
        };
        return flow::plan(resolver, &given, &job.place, report);
    }
    let Some(name) = spec.flow.as_ref().map(|flow| flow.name.as_str()) else {
        report.error(
            Reason::InvalidSpec,
            "spec",
            format!("{} names no Flow", name_of(&job.object)),
            "write flow or flowTemplate",
        );
        return (None, Vec::new());
    };
    let found = resolver.find_flow(namespace_of(&job.object), name, "spec.flow.name", report);
    found.map(|found| resolver.flow(found)).unwrap_or_default()
}

fn check_names(plan: &Plan, names: &[String], report: &mut Report<'_>) {
    streams::refuse_unknown(names, &plan.source.streams, "spec.streams", report);
    for (index, name) in names.iter().enumerate() {
        if !plan.streams.is_empty() && !plan.streams.contains(name) {
            let message = format!("the Flow does not take stream {name}");
            let advice = "add it to source.streams of the Flow, or remove it here";
            report.error(Reason::RefNotFound, &item("spec.streams", index), message, advice);
        }
    }
}

/// Whether the load uses the range.
fn used(load: Load, report: &mut Report<'_>) -> bool {
    if load != Load::Backfill {
        let message = format!("is not used by load: {load:?}");
        report.warn(
            Reason::InvalidSpec,
            "spec.backfill",
            message,
            "write load: Backfill, or remove it",
        );
    }
    load == Load::Backfill
}

/// At a desk one process does all the work, whatever the number of pods.
fn check_parallelism(resolver: &Resolver<'_>, plan: &Plan, parallelism: u32, report: &mut Report<'_>) {
    if parallelism <= 1
        || matches!(plan.state.store, StateStorePlan::S3(_))
        || resolver.environment().is_some()
    {
        return;
    }
    let message = format!("{parallelism} pods can share a load only through state in S3");
    report.error(
        Reason::Unsupported,
        "spec.parallelism",
        message,
        "write parallelism: 1, or state.s3 in the Flow",
    );
}

/// A range must hold something, as far as its values can be compared without knowing the column.
fn range(backfill: &Backfill, report: &mut Report<'_>) -> BackfillPlan {
    let order = order::<i128>(backfill)
        .or_else(|| order::<Date>(backfill))
        .or_else(|| order::<Timestamp>(backfill))
        .or_else(|| order::<DateTime>(backfill));
    if order.is_some_and(std::cmp::Ordering::is_ge) || backfill.from == backfill.to {
        let message = format!("from {} to {} is empty", backfill.from, backfill.to);
        report.error(
            Reason::InvalidSpec,
            "spec.backfill",
            message,
            "write a to that comes after from; to itself is left out",
        );
    }
    BackfillPlan {
        from: backfill.from.clone(),
        to: backfill.to.clone(),
    }
}

fn order<T: std::str::FromStr + Ord>(backfill: &Backfill) -> Option<std::cmp::Ordering> {
    Some(
        backfill
            .from
            .parse::<T>()
            .ok()?
            .cmp(&backfill.to.parse::<T>().ok()?),
    )
}
