//! Rows that are taken out of a payload: those that do not fit, those that could not be read, those without a key.

use arrow::{
    array::{Array, BooleanArray, BooleanBufferBuilder},
    record_batch::RecordBatch,
};

use crate::{
    connector::{Op, Payload, Refused, UnfitRow},
    engine::rows::{Misfit, NULL_KEY},
    error::{Error, Result},
};

/// The rows that stay, of `rows`, once these are gone.
pub(super) fn keep(rows: usize, gone: impl Iterator<Item = usize>) -> BooleanArray {
    let mut keep = BooleanBufferBuilder::new(rows);
    keep.append_n(rows, true);
    gone.for_each(|row| keep.set_bit(row, false));
    BooleanArray::new(keep.finish(), None)
}

/// Takes the rows out of a payload that its reader could not read in full and that the contract refuses: their dead
/// letters, whatever else is wrong with them, and how many values of the other rows stay null.
pub(super) fn unfit(
    payload: &mut Payload,
    misfits: &mut Vec<Misfit>,
    key: &[String],
    spare: bool,
) -> (Vec<(usize, Refused)>, u64) {
    let (mut letters, mut discarded) = (Vec::new(), 0);
    for UnfitRow { row, columns, letter } in std::mem::take(&mut payload.unfit) {
        let of_key = columns.is_empty() || columns.iter().any(|column| key.contains(column));
        let wrong = of_key || misfits.iter().any(|misfit| misfit.row == row);
        if wrong || !spare && counts(payload, row) {
            letters.push((row, letter));
        } else {
            discarded += columns.len() as u64;
        }
    }
    misfits.retain(|misfit| {
        letters
            .binary_search_by_key(&misfit.row, |(row, _)| *row)
            .is_err()
    });
    (letters, discarded)
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
pub(super) fn null_keys(batch: &RecordBatch, key: &[String]) -> Result<Vec<Misfit>> {
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
            kind: NULL_KEY,
            reason: format!("key column `{name}` is null"),
        }));
    }
    Ok(misfits)
}
