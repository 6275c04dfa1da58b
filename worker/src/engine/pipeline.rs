//! Settles what rows go through, once for each load.
//!
//! In: the stream, the columns that its reader yields, and the offset of the last load. Out: a [`Pipeline`], or an
//! error before anything is read.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use millrace_crds::plan::{Plan, TransformPlan};

use super::{
    contract::Contract, dead_letter::DeadLetters, offset::Offset, prepare::Pipeline, transform::Transform,
};
use crate::{
    error::{Context, Error, Result},
    stream::StreamSpec,
    types::arrow_schema,
};

/// The pipeline of one load.
///
/// # Errors
/// `config` where a transform or a key does not fit the columns; what the contract stops on.
pub fn settle(
    plan: &Plan,
    stream: &StreamSpec,
    reader: SchemaRef,
    offset: &Offset,
    dead_letters: Arc<DeadLetters>,
) -> Result<Pipeline> {
    let delivered = match offset.schema.as_slice() {
        [] => None,
        fields => Some(arrow_schema(fields)?),
    };
    let contract = Contract::settle(stream, &reader, delivered.as_deref(), plan.contract)?;
    let mut schema = contract.schema().clone();
    let mut transforms = Vec::new();
    let mut key = stream.primary_key.clone();
    let mut passes = true;
    for rule in chosen(plan, &stream.name) {
        let transform =
            Transform::compile(&rule.sql, &schema, &key).context(format!("transform of {}", stream.name))?;
        schema = transform.schema().clone();
        passes &= transform.passes_key(&key);
        key.retain(|name| schema.field_with_name(name).is_ok());
        transforms.push(transform);
    }
    if key.len() < stream.primary_key.len() {
        let lost = stream
            .primary_key
            .iter()
            .find(|name| !key.contains(name))
            .map_or("", String::as_str);
        return Err(Error::config(format!(
            "the transform of {} drops the key column `{lost}`",
            stream.name
        ))
        .advice(format!("select `{lost}` too, under that name")));
    }
    if let Some(lost) = stream
        .cursor
        .iter()
        .find(|name| contract.schema().field_with_name(name).is_err())
    {
        return Err(Error::config(format!(
            "stream {} has no column `{lost}`, which cursorField names",
            stream.name
        )));
    }
    Ok(Pipeline {
        reader,
        contract,
        transforms,
        rekeyed: !passes && !key.is_empty(),
        delivered_key: key,
        key: stream.primary_key.clone(),
        cursor: stream.cursor.clone(),
        schema,
        seed: offset.seed,
        dead_letters,
    })
}

/// The transforms that a stream goes through, in order.
fn chosen<'a>(plan: &'a Plan, stream: &'a str) -> impl Iterator<Item = &'a TransformPlan> {
    let takes = move |rule: &&TransformPlan| {
        rule.streams.is_empty() || rule.streams.iter().any(|name| name == stream)
    };
    plan.transforms.iter().filter(takes)
}

/// The names of columns, in order.
#[must_use]
pub fn columns(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// The columns that the transforms of today make of what was read last.
///
/// # Errors
/// `config` where a transform does not fit.
pub fn columns_now(plan: &Plan, stream: &StreamSpec, offset: &Offset) -> Result<Vec<String>> {
    let mut schema = arrow_schema(&offset.schema)?;
    for rule in chosen(plan, &stream.name) {
        let transform = Transform::compile(&rule.sql, &schema, &stream.primary_key)
            .context(format!("transform of {}", stream.name))?;
        schema = transform.schema().clone();
    }
    Ok(columns(&schema))
}
