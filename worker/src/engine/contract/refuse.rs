//! Takes rows out of a payload: those that do not fit, and those without a key.

use arrow::{
    array::{Array, BooleanArray, BooleanBufferBuilder},
    compute::{filter, filter_record_batch},
    record_batch::RecordBatch,
};

use crate::{
    connector::{Op, Payload},
    engine::rows::{Misfit, refuse},
    error::{Error, Result},
};

/// The rows that stay, of `rows`, once the misfits are gone.
pub(super) fn keep(rows: usize, misfits: &[Misfit]) -> BooleanArray {
    let mut keep = BooleanBufferBuilder::new(rows);
    keep.append_n(rows, true);
    for misfit in misfits {
        keep.set_bit(misfit.row, false);
    }
    BooleanArray::new(keep.finish(), None)
}

/// The payload with the rows of `batch` that are to be kept in place of its own, and the misfits among its refused
/// rows.
pub(super) fn without(
    payload: Payload,
    batch: &RecordBatch,
    keep: &BooleanArray,
    misfits: Vec<Misfit>,
) -> Result<Payload> {
    let mut refused = payload.refused;
    refused.extend(refuse(&payload.batch, misfits, &payload.metadata)?);
    let ops = payload.ops.map(|ops| {
        let stays = ops.into_iter().zip(keep.values()).filter(|(_, stays)| *stays);
        stays.map(|(op, _)| op).collect()
    });
    let watermarks = payload
        .watermarks
        .map(|watermarks| filter(&watermarks, keep))
        .transpose()?;
    Ok(Payload {
        batch: filter_record_batch(batch, keep)?,
        ops,
        watermarks,
        refused,
        ..payload
    })
}

/// Whether a misfit outside of the key counts: of a delete only the key does.
pub(super) fn counts(payload: &Payload, row: usize) -> bool {
    payload
        .ops
        .as_ref()
        .is_none_or(|ops| ops.get(row) != Some(&Op::Delete))
}

/// The rows of a batch whose key is null, or partly null, with kind `null-key`.
///
/// # Errors
/// `bug` where a key column is not in the batch.
pub fn null_keys(batch: &RecordBatch, key: &[String]) -> Result<Vec<Misfit>> {
    let mut misfits = Vec::new();
    for name in key {
        let column = batch.column_by_name(name).ok_or_else(|| {
            Error::bug(format!(
                "key column `{name}` is not among the columns of the batch"
            ))
        })?;
        let Some(nulls) = column.logical_nulls().filter(|nulls| nulls.null_count() > 0) else {
            continue;
        };
        let null = (0..nulls.len()).filter(|row| nulls.is_null(*row));
        misfits.extend(null.map(|row| Misfit {
            row,
            kind: "null-key",
            reason: format!("key column `{name}` is null"),
        }));
    }
    Ok(misfits)
}
