//! `millrace validate`: manifests, and with `--connect` the systems that they name.
//!
//! In: manifests. Out: every problem with file and line, the guarantee that each Flow has, and what is worth knowing
//! before a run. With `--connect` both ends and the state store are tried; nothing is read or written but what the
//! trial itself needs.

use clap::Args;
use millrace_crds::{
    Plan,
    flow::{DeliveryGuarantee, WriteMode},
};

use super::{
    exit::Exit,
    manifests::{self, Loaded, Manifests, full_name},
    out, place,
    place::StateArgs,
};
use crate::{
    engine::{flow::Flow, history, pipeline},
    error::{Context, Error, Result},
    stream::StreamSpec,
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
    for plan in &loaded.resolution.plans {
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
    let flow = match loaded.open(plan).await {
        Ok(flow) => flow,
        Err(error) => return vec![error],
    };
    let guarantee = flow.guarantee();
    let state = place::of(plan).unwrap_or_default();
    if let Err(error) = out::line(format_args!(
        "{name}: {guarantee:?} ({}); state: {state}",
        meaning(guarantee)
    )) {
        return vec![error];
    }
    remarks(plan)
        .iter()
        .for_each(|remark| out::warning(format_args!("{name}: {remark}")));
    let mut errors: Vec<Error> = flow.require().err().into_iter().collect();
    if connect {
        errors.extend(
            tried(&flow)
                .await
                .into_iter()
                .map(|error| with_name(error, &name)),
        );
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

/// What works, but perhaps not as meant.
fn remarks(plan: &Plan) -> Vec<String> {
    let mut remarks = Vec::new();
    let keyless = plan
        .source
        .streams
        .iter()
        .filter(|rule| rule.primary_key.is_empty())
        .count()
        > 0
        || plan.source.streams.is_empty();
    if plan.destination.write_mode == WriteMode::Append && keyless {
        remarks.push(
            "writeMode append without a primaryKey: a full load appends the rows that were not seen before, compared as a whole; \
             changed rows come as new ones, and deletes are not found"
                .to_owned(),
        );
    }
    if plan.run.suspend {
        remarks.push("it is suspended: nothing starts".to_owned());
    }
    remarks
}

/// Tries both ends and the store, all three whatever the first says.
async fn tried(flow: &Flow) -> Vec<Error> {
    let source = async {
        flow.source
            .check()
            .await
            .context(format!("source {}", flow.plan.source.name))?;
        flow.streams(&[]).await
    };
    let destination = async { flow.destination.check().await.context("destination") };
    let store = async {
        flow.store
            .probe()
            .await
            .context(format!("state {}", flow.store.place()))
    };
    let (source, destination, store) = tokio::join!(source, destination, store);
    let reshaped = match (&source, &store) {
        (Ok(streams), Ok(())) => reshaped(flow, streams).await,
        _ => Ok(()),
    };
    [source.map(drop), destination, store, reshaped]
        .into_iter()
        .filter_map(Result::err)
        .collect()
}

/// Tells of streams that will be delivered with other columns than the last time.
async fn reshaped(flow: &Flow, streams: &[StreamSpec]) -> Result<()> {
    let standing = history::standing(flow).await?;
    for stream in streams
        .iter()
        .filter(|stream| stream.write_mode != WriteMode::Overwrite)
    {
        let offset = standing
            .iter()
            .find(|known| known.name == stream.name)
            .and_then(|known| known.offset.as_ref())
            .filter(|offset| !offset.columns.is_empty() && !offset.schema.is_empty());
        let Some(offset) = offset else { continue };
        let now = pipeline::columns_now(&flow.plan, stream, offset)?;
        if now != offset.columns {
            out::warning(format_args!(
                "{}: stream {}: its transforms make {} of it, and {} were delivered: that is a change of every row, \
                 and the next full load delivers all of them",
                flow.name(),
                stream.name,
                now.join(", "),
                offset.columns.join(", ")
            ));
        }
    }
    Ok(())
}
