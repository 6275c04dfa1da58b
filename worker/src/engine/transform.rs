//! Row-wise transforms.

use std::collections::BTreeMap;

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use serde_json::Value;

use crate::{
    connector::Refused,
    error::{Error, Result},
};

/// A compiled transform.
pub struct Transform {
    schema: SchemaRef,
}

/// What became of the rows of a batch.
pub struct Output {
    /// The rows that go on.
    pub batch: RecordBatch,
    /// Their numbers in the input; `None`: all of them.
    pub kept: Option<Vec<u32>>,
    /// Rows that the filter dropped.
    pub filtered_rows: Vec<u32>,
    /// Rows on which an expression failed.
    pub refused_rows: Vec<u32>,
    /// Why, one for each of `refused_rows`.
    pub refused: Vec<Refused>,
}

impl Transform {
    /// Compiles.
    ///
    /// # Errors
    /// Always, yet.
    pub fn compile(_sql: &str, _input: &SchemaRef, _key: &[String]) -> Result<Self> {
        Err(Error::config("transforms are not built in yet"))
    }
    /// The columns that come out.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
    /// Whether the key passes unchanged.
    #[must_use]
    pub fn passes_key(&self, _key: &[String]) -> bool {
        true
    }
    /// Applies.
    ///
    /// # Errors
    /// `bug`.
    pub fn apply(&self, batch: &RecordBatch, _metadata: &BTreeMap<&'static str, Value>) -> Result<Output> {
        Ok(Output {
            batch: batch.clone(),
            kept: None,
            filtered_rows: vec![],
            refused_rows: vec![],
            refused: vec![],
        })
    }
}
