//! Settles what rows go through, once for each load.
//!
//! In: the stream, its target, the columns that its reader yields, and the offset of the last load. Out: a [`Pipeline`], or an
//! error before anything is read.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use millrace_crds::{flow::WriteMode, plan::Plan};

use super::{
    contract::Contract, dead_letter::DeadLetters, offset::Offset, prepare::Pipeline, transform::Transform,
};
use crate::{
    connector::Shard,
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
    shard: Arc<dyn Shard>,
    dead_letters: Arc<DeadLetters>,
) -> Result<Pipeline> {
    let contract = contract(plan, stream, &reader, offset)?;
    let chain = Chain::compile(plan, stream, contract.schema()).map_err(|misfit| misfit.error)?;
    has_cursor(stream, contract.schema())?;
    let key = stream.primary_key.clone();
    Ok(Pipeline {
        reader,
        contract,
        rekeyed: !chain.passes_key && !key.is_empty(),
        transforms: chain.transforms,
        delivered_key: key.clone(),
        key,
        cursor: stream.cursor.clone(),
        schema: chain.schema,
        seed: offset.seed,
        shard,
        dead_letters,
    })
}

/// What does not fit a stream's columns.
#[derive(Debug)]
pub struct Misfit {
    /// The number of the transform within the plan; `None`: it is not about a transform.
    pub transform: Option<usize>,
    /// Why.
    pub error: Error,
}

/// Whether key, cursor, contract and transforms fit a stream with these columns, before any load.
///
/// # Errors
/// The first that does not.
pub fn check(plan: &Plan, stream: &StreamSpec, reader: &Schema, offset: &Offset) -> Result<(), Misfit> {
    let outside = |error| Misfit {
        transform: None,
        error,
    };
    let contract = contract(plan, stream, reader, offset).map_err(outside)?;
    transforms(plan, stream, contract.schema())?;
    has_cursor(stream, contract.schema()).map_err(outside)
}

/// Whether the transforms of a stream fit these columns.
///
/// # Errors
/// The first that does not.
pub fn transforms(plan: &Plan, stream: &StreamSpec, columns: &SchemaRef) -> Result<(), Misfit> {
    Chain::compile(plan, stream, columns).map(drop)
}

fn contract(plan: &Plan, stream: &StreamSpec, reader: &Schema, offset: &Offset) -> Result<Contract> {
    let delivered = match offset.schema.as_slice() {
        [] => None,
        fields => Some(arrow_schema(fields)?),
    };
    Contract::settle(stream, reader, delivered.as_deref(), plan.contract)
}

fn has_cursor(stream: &StreamSpec, schema: &Schema) -> Result<()> {
    let lost = |name: &&String| schema.field_with_name(name).is_err();
    stream.cursor.iter().find(lost).map_or(Ok(()), |lost| {
        Err(Error::config(format!(
            "stream {} has no column `{lost}`, which cursorField names",
            stream.name
        )))
    })
}

/// The transforms of one stream, one after the other.
struct Chain {
    transforms: Vec<Transform>,
    /// The columns after the last.
    schema: SchemaRef,
    /// Each of them selects the key unchanged.
    passes_key: bool,
}

impl Chain {
    fn compile(plan: &Plan, stream: &StreamSpec, schema: &SchemaRef) -> Result<Self, Misfit> {
        let mut chain = Self {
            transforms: Vec::new(),
            schema: schema.clone(),
            passes_key: true,
        };
        let key = &stream.primary_key;
        for (number, rule) in plan.transforms.iter().enumerate() {
            if !rule.streams.is_empty() && !rule.streams.contains(&stream.name) {
                continue;
            }
            let transform = Transform::compile(&rule.sql, &chain.schema, key)
                .context(format!("transform of {}", stream.name))
                .map_err(|error| Misfit {
                    transform: Some(number),
                    error,
                })?;
            chain.schema = transform.schema().clone();
            let passes_key = transform.passes_key(key);
            if !passes_key && stream.write_mode == WriteMode::Upsert {
                transform
                    .keeps_keys_apart(key)
                    .context(format!("transform of {}", stream.name))
                    .map_err(|error| Misfit {
                        transform: Some(number),
                        error,
                    })?;
            }
            chain.passes_key &= passes_key;
            chain.transforms.push(transform);
        }
        Ok(chain)
    }
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
    let read = arrow_schema(&offset.schema)?;
    let chain = Chain::compile(plan, stream, &read).map_err(|misfit| misfit.error)?;
    Ok(columns(&chain.schema))
}
