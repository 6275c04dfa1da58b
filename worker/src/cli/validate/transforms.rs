//! Whether the transforms of a Flow fit, as far as its columns are known.
//!
//! In: a plan, and the streams where the source was asked. Out: what does not fit, each with the place of the transform
//! in the manifest. Without the source, a transform is read, and held against declared columns where there are any.

use millrace_crds::{
    Plan,
    flow::ContractMode,
    plan::{StreamRule, StreamSelect},
};

use crate::{
    cli::{manifests::Loaded, out},
    engine::{
        flow::Flow,
        history,
        pipeline::{self, Misfit},
        streams,
        transform::Transform,
    },
    error::{Error, Result},
    stream::StreamSpec,
    types::arrow_schema,
};

/// What the manifests alone tell.
pub(super) fn unseen(loaded: &Loaded, plan: &Plan) -> Vec<Error> {
    let numbered = plan.transforms.iter().enumerate();
    let broken: Vec<Error> = numbered
        .filter_map(|(number, rule)| Some(at(loaded, plan, number, Transform::check(&rule.sql).err()?)))
        .collect();
    if !broken.is_empty() || plan.transforms.is_empty() {
        return broken;
    }
    let misfits = plan
        .source
        .streams
        .iter()
        .filter_map(|rule| declared(plan, rule).err());
    let errors = misfits.map(|misfit| placed(loaded, plan, misfit));
    if plan.contract.columns != ContractMode::Evolve {
        return errors.collect();
    }
    errors.for_each(|error| {
        out::warning(format_args!(
            "{error}; the schema need not name every column: `--connect` looks at the source"
        ));
    });
    Vec::new()
}

/// Holds the transforms against the columns that one rule declares for a stream that it names.
fn declared(plan: &Plan, rule: &StreamRule) -> Result<(), Misfit> {
    let (StreamSelect::Name(name), Some(fields)) = (&rule.select, &rule.schema) else {
        return Ok(());
    };
    let outside = |error| Misfit {
        transform: None,
        error,
    };
    if !streams::takes(plan, name).map_err(outside)? {
        return Ok(());
    }
    let schema = arrow_schema(fields).map_err(outside)?;
    let mut stream = streams::offline(plan, name).map_err(outside)?;
    // What the transforms do to a key that is not declared, nobody can tell yet.
    stream
        .primary_key
        .retain(|column| schema.field_with_name(column).is_ok());
    pipeline::transforms(plan, &stream, &schema)
}

/// What the columns at the source tell, and those that were delivered before.
pub(super) async fn seen(loaded: &Loaded, flow: &Flow, streams: &[StreamSpec]) -> Vec<Error> {
    let standing = history::standing(flow).await.unwrap_or_default();
    let mut errors = Vec::new();
    for stream in streams {
        let before = standing.iter().find(|known| known.name == stream.name);
        let offset = before.and_then(|known| known.offset.clone()).unwrap_or_default();
        // A file without a header has no columns yet, and a first load finds none either.
        let columns = stream
            .discovered
            .as_ref()
            .filter(|schema| !schema.fields().is_empty());
        if let Some(columns) = columns
            && let Err(misfit) = pipeline::check(&flow.plan, stream, columns, &offset)
        {
            errors.push(placed(loaded, &flow.plan, misfit));
        }
    }
    errors
}

fn placed(loaded: &Loaded, plan: &Plan, misfit: Misfit) -> Error {
    match misfit.transform {
        Some(number) => at(loaded, plan, number, misfit.error),
        None => misfit.error,
    }
}

fn at(loaded: &Loaded, plan: &Plan, number: usize, error: Error) -> Error {
    loaded.at_flow(plan, &format!("transforms[{number}].sql"), error)
}
