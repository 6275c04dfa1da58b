//! `millrace validate`: manifests, and with `--connect` the systems that they name.
//!
//! In: manifests. Out: every problem with file and line, the guarantee that each Flow has, and what is worth knowing
//! before a run. With `--connect` both ends and the state store are tried; nothing is read or written but what the
//! trial itself needs.

mod transforms;

use clap::Args;
use millrace_crds::{
    Plan,
    flow::{DeliveryGuarantee, WriteMode},
    plan::StreamSelect,
};

use super::{
    exit::Exit,
    manifests::{self, Loaded, Manifests, full_name},
    out, place,
    place::StateArgs,
};
use crate::{
    engine::{
        flow::Flow,
        trial::{self, Tried},
    },
    error::{Context, Error, Result},
};

/// The options of `millrace validate`.
#[derive(Args, Clone, Debug)]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    manifests: Manifests,
    /// Try the systems too: connections, rights, conditional writes
    #[arg(long)]
    connect: bool,
    #[command(flatten)]
    state: StateArgs,
}

/// Validates.
///
/// # Errors
/// `config` where something is wrong with the manifests.
pub(super) async fn run(args: ValidateArgs) -> Result<Exit> {
    let loaded = manifests::load(&args.manifests.paths)?;
    let mut errors: Vec<Error> = Vec::new();
    for plan in loaded.resolution.plans.iter().chain(loaded.inline()) {
        let mut plan = plan.clone();
        args.state.apply(&mut plan);
        errors.extend(one(&loaded, &plan, args.connect).await);
    }
    for (place, source) in if args.connect {
        loaded.sources(None).unwrap_or_default()
    } else {
        Vec::new()
    } {
        let used = loaded
            .resolution
            .plans
            .iter()
            .chain(loaded.inline())
            .any(|plan| plan.source.name == source.name && plan.flow.namespace == place.namespace);
        if !used {
            let name = place.name.clone();
            let tried = match loaded.open_source(place, &source) {
                Ok(source) => source.check().await,
                Err(error) => Err(error),
            };
            errors.extend(tried.context(format!("Source {name}")).err());
        }
    }
    errors.iter().for_each(out::error);
    if errors.is_empty() {
        let resources = &loaded.resources;
        let count = resources.connectors.len()
            + resources.sources.len()
            + resources.flows.len()
            + resources.jobs.len();
        out::line(format_args!(
            "{count} resources are valid{}",
            if args.connect {
                ", and their systems answer"
            } else {
                ""
            }
        ))?;
    }
    Ok(Exit::of(&errors, false))
}

/// What is wrong with one Flow; what is worth knowing is told on the way.
async fn one(loaded: &Loaded, plan: &Plan, connect: bool) -> Vec<Error> {
    let name = full_name(plan);
    let mut errors = transforms::unseen(loaded, plan);
    let flow = match loaded.open(plan).await {
        Ok(flow) => flow,
        Err(error) => {
            errors.push(error);
            return errors;
        }
    };
    let Tried {
        errors: found,
        streams,
        remarks,
    } = if connect {
        trial::tried(&flow).await
    } else {
        Tried::default()
    };
    remarks.iter().for_each(out::warning);
    let guarantee = flow.guarantee();
    let state = place::of(plan).unwrap_or_default();
    if let Err(error) = out::line(format_args!(
        "{name}: {guarantee:?} ({}); state: {state}",
        meaning(guarantee)
    )) {
        return vec![error];
    }
    if plan.run.suspend {
        out::warning(format_args!("{name}: it is suspended: nothing starts"));
    }
    errors.extend(flow.require().err());
    if connect {
        let without = streams.iter().filter(|stream| stream.primary_key.is_empty());
        let names: Vec<&str> = without.map(|stream| stream.name.as_str()).collect();
        keyless(&name, plan, &names);
        if errors.is_empty() {
            errors.extend(transforms::seen(loaded, &flow, &streams).await);
        }
        errors.extend(found.into_iter().map(|error| with_name(error, &name)));
    } else {
        keyless(&name, plan, &unseen_keyless(&flow));
    }
    errors
}

fn with_name(mut error: Error, name: &str) -> Error {
    error.message = format!("{name}: {}", error.message);
    error
}

fn meaning(guarantee: DeliveryGuarantee) -> &'static str {
    match guarantee {
        DeliveryGuarantee::ExactlyOnce => "each row and its position are committed together",
        DeliveryGuarantee::EffectivelyOnce => "a repeated write has no second effect",
        DeliveryGuarantee::AtLeastOnce => "nothing is lost, but a row may be there twice after a fault",
        DeliveryGuarantee::MayMissLateCommits => {
            "a row that is committed late at the source may wait for the next full load"
        }
    }
}

/// Warns of streams without a key where that decides what a full load does.
fn keyless(name: &str, plan: &Plan, streams: &[&str]) {
    if plan.destination.write_mode != WriteMode::Append || streams.is_empty() {
        return;
    }
    out::warning(format_args!(
        "{name}: writeMode append without a primaryKey ({}): a full load appends the rows that were not seen before, \
         compared as a whole; changed rows come as new ones, and deletes are not found",
        listed(streams)
    ));
}

/// The first of many.
fn listed(streams: &[&str]) -> String {
    let first = streams.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    match streams.len().saturating_sub(5) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Streams that cannot have a key, as far as the manifest tells; where the source may know of one, nothing is said.
fn unseen_keyless(flow: &Flow) -> Vec<&str> {
    let rules = &flow.plan.source.streams;
    if flow.source.declares_keys() {
        return Vec::new();
    }
    if rules.is_empty() {
        return vec!["all streams"];
    }
    let without = rules.iter().filter(|rule| rule.primary_key.is_empty());
    let named = without.map(|rule| match &rule.select {
        StreamSelect::Name(name) | StreamSelect::Match(name) => name.as_str(),
    });
    let taken = |name: &&str| {
        let chosen = &flow.plan.streams;
        chosen.is_empty() || chosen.iter().any(|stream| stream == name)
    };
    named.filter(taken).collect()
}
