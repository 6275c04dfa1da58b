//! One compiled transform at work.
//!
//! Batches run whole. Where one fails, it is halved until the rows that fail stand alone: they are few, or the load has
//! other worries than speed.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray},
    compute::{cast, concat_batches, filter_record_batch, prep_null_mask_filter},
    datatypes::SchemaRef,
    record_batch::{RecordBatch, RecordBatchOptions},
};
use datafusion_common::DataFusionError;
use datafusion_physical_expr::PhysicalExpr;

use super::distinct;
use crate::{
    engine::rows::Misfit,
    error::{Error, Result},
};

/// Expressions over some of the input's columns.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) expressions: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns that they count from 0.
    pub(super) columns: Vec<usize>,
}

/// One column that comes out.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) name: String,
    /// The column of the input that it is, unchanged.
    pub(super) source: Option<usize>,
}

/// One compiled transform.
#[derive(Debug)]
pub(super) struct Step {
    input: SchemaRef,
    filter: Option<Branch>,
    select: Branch,
    outputs: Vec<Output>,
    schema: SchemaRef,
}

/// What became of one batch.
#[derive(Debug)]
pub(super) struct Done {
    /// The rows that stay, in their order.
    pub(super) batch: RecordBatch,
    /// Which of the incoming rows they are, without nulls; `None`: all of them.
    pub(super) kept: Option<BooleanArray>,
    /// Rows whose expressions failed, and why, in their order; they are not among the kept ones.
    pub(super) failed: Vec<Misfit>,
}

/// Why a batch could not be transformed.
enum Failure {
    /// Some row of it is to blame.
    Row(String),
    /// No row is.
    Other(Error),
}

impl Step {
    pub(super) fn new(
        input: SchemaRef,
        filter: Option<Branch>,
        select: Branch,
        outputs: Vec<Output>,
        schema: SchemaRef,
    ) -> Self {
        Self {
            input,
            filter,
            select,
            outputs,
            schema,
        }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether a column of the input comes out unchanged under its own name.
    pub(super) fn passes(&self, column: &str) -> bool {
        let index = self.input.index_of(column).ok();
        index.is_some()
            && self
                .outputs
                .iter()
                .any(|output| output.name == column && output.source == index)
    }

    /// The column of the input that comes out under this name with all its different values still different.
    pub(super) fn distinct(&self, name: &str) -> Option<&str> {
        let number = self.outputs.iter().position(|output| output.name == name)?;
        if let Some(index) = self.outputs[number].source {
            return Some(self.input.field(index).name());
        }
        let columns = self.input.project(&self.select.columns).ok()?;
        let source = distinct::source(self.select.expressions.get(number)?.as_ref(), &columns)?;
        self.input
            .index_of(source)
            .ok()
            .map(|index| self.input.field(index).name().as_str())
    }

    pub(super) fn run(&self, batch: &RecordBatch) -> Result<Done> {
        match self.whole(batch) {
            Ok(done) => Ok(done),
            Err(Failure::Other(error)) => Err(error),
            Err(Failure::Row(reason)) => match batch.num_rows() {
                0 => Err(Error::config(reason)),
                1 => Ok(self.failed(reason)),
                rows => {
                    let (left, right) = (batch.slice(0, rows / 2), batch.slice(rows / 2, rows - rows / 2));
                    self.joined(&left, &right)
                }
            },
        }
    }

    fn whole(&self, batch: &RecordBatch) -> Result<Done, Failure> {
        let kept = self
            .filter
            .as_ref()
            .map(|filter| filter.mask(batch))
            .transpose()?;
        let kept = kept.filter(|mask| mask.true_count() < mask.len());
        let rows = kept.as_ref().map_or(batch.num_rows(), BooleanArray::true_count);
        let input = self.select.input(batch)?;
        let input = match &kept {
            Some(mask) => filter_record_batch(&input, mask).map_err(|error| Failure::Other(error.into()))?,
            None => input,
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.outputs.len());
        for ((expr, output), field) in self
            .select
            .expressions
            .iter()
            .zip(&self.outputs)
            .zip(self.schema.fields())
        {
            let column = evaluate(expr, &input, &format!("column `{}`", output.name))?;
            columns.push(if column.data_type() == field.data_type() {
                column
            } else {
                cast(&column, field.data_type()).map_err(|error| Failure::Other(Error::bug(error)))?
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| Failure::Other(Error::bug(error)))?;
        Ok(Done {
            batch,
            kept,
            failed: Vec::new(),
        })
    }

    fn failed(&self, reason: String) -> Done {
        Done {
            batch: RecordBatch::new_empty(self.schema.clone()),
            kept: Some(BooleanArray::from(vec![false])),
            failed: vec![Misfit {
                row: 0,
                kind: "transform",
                reason,
            }],
        }
    }

    fn joined(&self, left: &RecordBatch, right: &RecordBatch) -> Result<Done> {
        let (one, other) = (self.run(left)?, self.run(right)?);
        let batch = concat_batches(&self.schema, [&one.batch, &other.batch])?;
        let mask = |done: &Done, rows| {
            done.kept
                .clone()
                .unwrap_or_else(|| BooleanArray::from(vec![true; rows]))
        };
        let (first, second) = (mask(&one, left.num_rows()), mask(&other, right.num_rows()));
        let kept = first.iter().chain(second.iter()).collect();
        let moved = other.failed.into_iter().map(|misfit| Misfit {
            row: misfit.row + left.num_rows(),
            ..misfit
        });
        let failed = one.failed.into_iter().chain(moved).collect();
        Ok(Done {
            batch,
            kept: Some(kept),
            failed,
        })
    }
}

impl Branch {
    fn input(&self, batch: &RecordBatch) -> Result<RecordBatch, Failure> {
        batch
            .project(&self.columns)
            .map_err(|error| Failure::Other(Error::bug(error)))
    }

    /// True for rows that stay; a null is no.
    fn mask(&self, batch: &RecordBatch) -> Result<BooleanArray, Failure> {
        let input = self.input(batch)?;
        let [expr] = self.expressions.as_slice() else {
            return Err(Failure::Other(Error::bug("a filter is one expression")));
        };
        let mask = evaluate(expr, &input, "`where`")?;
        let mask = mask.as_boolean();
        Ok(if mask.null_count() > 0 {
            prep_null_mask_filter(mask)
        } else {
            mask.clone()
        })
    }
}

fn evaluate(expr: &Arc<dyn PhysicalExpr>, input: &RecordBatch, place: &str) -> Result<ArrayRef, Failure> {
    let value = expr
        .evaluate(input)
        .and_then(|value| value.into_array(input.num_rows()));
    value.map_err(|error| failure(&error, place))
}

/// Errors that values make are some row's; those of types and plans are not.
fn failure(error: &DataFusionError, place: &str) -> Failure {
    let root = error.find_root();
    let text = match root {
        DataFusionError::ArrowError(error, _) => error.to_string(),
        DataFusionError::Execution(text) => text.clone(),
        DataFusionError::External(error) => error.to_string(),
        other => {
            return Failure::Other(Error::bug(format!(
                "transform: {place}: {}",
                other.strip_backtrace()
            )));
        }
    };
    Failure::Row(format!(
        "transform: {place}: {}",
        text.lines().next().unwrap_or_default()
    ))
}
