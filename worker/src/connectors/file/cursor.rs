//! Cursors over rows that a source cannot select by itself: rows after a position, rows within a range.

use arrow::{
    array::{Array, BooleanArray, RecordBatch, Scalar, StringArray},
    compute::{CastOptions, and, cast_with_options, kernels::cmp, or, prep_null_mask_filter},
};
use serde_json::Value;

use crate::{
    connector::Position,
    error::{Error, Result},
};

/// Which rows' cursor columns, compared in order, are greater than `{"cursor": [...]}`; `None`, for all of them, where
/// the position holds no cursor. A row with a null among them is after every position: it is delivered, and left to the
/// difference.
///
/// # Errors
/// `config` where a column is missing, `state` where a value of the position is not of its column's type.
pub(super) fn cursor_after(
    batch: &RecordBatch,
    columns: &[String],
    position: &Position,
) -> Result<Option<BooleanArray>> {
    let Some(Value::Array(values)) = position.get("cursor") else {
        return Ok(None);
    };
    let mut after = BooleanArray::from(vec![false; batch.num_rows()]);
    let mut tied = BooleanArray::from(vec![true; batch.num_rows()]);
    for (name, value) in columns.iter().zip(values) {
        let column = column(batch, name)?;
        let value = scalar(column, name, &text(value))?;
        let greater = or_null(&cmp::gt(&column, &value)?, column)?;
        after = or(&after, &and(&tied, &greater)?)?;
        tied = and(&tied, &sure(&cmp::eq(&column, &value)?))?;
    }
    Ok(Some(after))
}

/// Which rows have `from <= column < to`, both texts in the column's own type.
///
/// # Errors
/// `config` where the column is missing or a text is not of its type.
pub(super) fn cursor_between(batch: &RecordBatch, name: &str, from: &str, to: &str) -> Result<BooleanArray> {
    let column = column(batch, name)?;
    let wrong =
        |error: Error| Error::config(error.message).advice("write `backfill` values in the column's type");
    let from = scalar(column, name, from).map_err(wrong)?;
    let to = scalar(column, name, to).map_err(wrong)?;
    Ok(sure(&and(&cmp::gt_eq(&column, &from)?, &cmp::lt(&column, &to)?)?))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
    batch.column_by_name(name).map(AsRef::as_ref).ok_or_else(|| {
        let schema = batch.schema();
        let names: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        Error::config(format!("the cursor column `{name}` does not exist"))
            .advice(format!("the columns are {}", names.join(", ")))
    })
}

/// The mask, with `false` for null.
fn sure(mask: &BooleanArray) -> BooleanArray {
    if mask.null_count() == 0 {
        mask.clone()
    } else {
        prep_null_mask_filter(mask)
    }
}

fn or_null(mask: &BooleanArray, column: &dyn Array) -> Result<BooleanArray> {
    Ok(or(&sure(mask), &arrow::compute::is_null(column)?)?)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn scalar(column: &dyn Array, name: &str, text: &str) -> Result<Scalar<arrow::array::ArrayRef>> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(&StringArray::from(vec![text]), column.data_type(), &options)
        .map(Scalar::new)
        .map_err(|error| {
            Error::state(
                "StateCorrupt",
                format!("`{text}` is not a value of the cursor column `{name}`: {error}"),
            )
        })
}
