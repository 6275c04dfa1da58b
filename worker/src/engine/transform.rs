//! Transforms: `select ... from input [where ...]`, one row in, at most one row out.
//!
//! In: a SQL text and the schema of the rows. Out: a [`Transform`], refused at once where the text asks for more than
//! one row can tell; then, batch by batch, the transformed rows and what became of the others. A row whose expressions
//! fail is refused by itself, with the reason; the others go on. Expressions are those of DataFusion; whole numbers
//! that overflow fail instead of wrapping.

mod check;
mod distinct;
mod functions;
mod plan;
mod step;

use std::{collections::BTreeMap, fmt};

use arrow::{
    array::BooleanArray,
    datatypes::{Schema, SchemaRef},
    record_batch::RecordBatch,
};
use serde_json::Value;

use self::step::Step;
use super::rows::refuse;
use crate::{
    connector::Refused,
    error::{Error, Result},
};

/// A compiled transform.
pub struct Transform(Step);

/// What became of the rows of a batch. Row numbers are those of the batch that came in.
#[derive(Debug)]
pub struct Output {
    /// The rows that go on, in their order.
    pub batch: RecordBatch,
    /// Their numbers; `None`: all of them.
    pub kept: Option<Vec<u32>>,
    /// Rows that the filter dropped.
    pub filtered_rows: Vec<u32>,
    /// Rows on which an expression failed.
    pub refused_rows: Vec<u32>,
    /// Why, one for each of `refused_rows`.
    pub refused: Vec<Refused>,
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transform")
            .field(&names(self.schema()).collect::<Vec<_>>())
            .finish()
    }
}

impl Transform {
    /// Reads a transform while nobody knows the columns: what could not be one, whatever they are, is refused.
    ///
    /// # Errors
    /// `config` where the text is not a plain `select ... from input [where ...]`, or calls a function that there is
    /// not, or one that looks at more than one row.
    pub fn check(sql: &str) -> Result<()> {
        check::statement(sql, None).map(drop)
    }

    /// Compiles a transform for rows of `input`, which have `key`.
    ///
    /// # Errors
    /// `config` where the text is not a plain `select ... from input [where ...]`, names what is not there, or leaves
    /// out a column of the key.
    pub fn compile(sql: &str, input: &SchemaRef, key: &[String]) -> Result<Self> {
        let step = plan::compile(sql, input)?;
        match key
            .iter()
            .find(|name| step.schema().field_with_name(name).is_err())
        {
            None => Ok(Self(step)),
            Some(lost) => Err(
                Error::config(format!("the transform leaves out the key column `{lost}`"))
                    .advice(format!("select `{lost}` too, under that name")),
            ),
        }
    }

    /// The columns of the transformed rows; nulls are allowed in all of them.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        self.0.schema()
    }

    /// Whether each key column is selected unchanged, under its own name: the delivered key is then the input's key.
    #[must_use]
    pub fn passes_key(&self, key: &[String]) -> bool {
        key.iter().all(|name| self.0.passes(name))
    }

    /// Makes sure that rows with different keys still have different ones afterwards.
    ///
    /// # Errors
    /// `config`, naming the key column of which that cannot be told.
    pub fn keeps_keys_apart(&self, key: &[String]) -> Result<()> {
        let sources: Vec<Option<&str>> = key.iter().map(|name| self.0.distinct(name)).collect();
        let used = |name: &String| sources.contains(&Some(name.as_str()));
        match key.iter().find(|name| !used(name)) {
            None => Ok(()),
            Some(name) => Err(Error::config(format!(
                "the transform may make one key of two: nothing shows that different values of `{name}` stay different"
            ))
            .reason("KeysMayMerge")
            .advice(format!(
                "select `{name}` as it is, as text, with a number added or with constant text joined to it, and the \
                 other form under another name; or choose writeMode append or overwrite"
            ))),
        }
    }

    /// Transforms a batch of the schema that this was compiled for; `metadata` places its first row.
    ///
    /// # Errors
    /// `bug` where the batch has another schema, or an expression cannot be run at all.
    pub fn apply(&self, batch: &RecordBatch, metadata: &BTreeMap<&'static str, Value>) -> Result<Output> {
        let done = self.0.run(batch)?;
        let Some(kept) = &done.kept else {
            let nothing = Vec::new;
            return Ok(Output {
                batch: done.batch,
                kept: None,
                filtered_rows: nothing(),
                refused_rows: nothing(),
                refused: Vec::new(),
            });
        };
        let refused_rows: Vec<u32> = done.failed.iter().map(|misfit| number(misfit.row)).collect();
        Ok(Output {
            filtered_rows: filtered(kept, &refused_rows),
            kept: Some(kept.values().set_indices().map(number).collect()),
            batch: done.batch,
            refused: refuse(batch, done.failed, metadata)?,
            refused_rows,
        })
    }
}

/// Rows that are neither kept nor refused; both lists ascend.
fn filtered(kept: &BooleanArray, refused: &[u32]) -> Vec<u32> {
    let dropped = (!kept.values()).set_indices().map(number).collect::<Vec<u32>>();
    dropped
        .into_iter()
        .filter(|row| refused.binary_search(row).is_err())
        .collect()
}

/// Arrow itself counts no further in a batch.
fn number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// The name of every column, for errors.
fn names(schema: &Schema) -> impl Iterator<Item = &str> + Clone {
    schema.fields().iter().map(|field| field.name().as_str())
}

#[cfg(test)]
mod tests;
