//! A column of a later batch in the type that the first one had.
//!
//! In: a column, and the type wanted. Out: a column of that type, null where a value has no place in it. As with dictionaries
//! no value changes its meaning: a number is no text, a text no number, and 35.2 is not 35.

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, StructArray, new_null_array},
    compute::{CastOptions, can_cast_types, cast_with_options, nullif},
    datatypes::{DataType, Field, Fields},
};

use crate::{
    engine::contract::{Fit, fit, plain},
    error::Result,
    types::UNTYPED,
};

/// A column of another type, where each value is one of it, too; null where it is not.
pub(super) fn exact(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let wanted = field.data_type();
    if array.data_type() == wanted {
        return Ok(array.clone());
    }
    if let (DataType::Struct(_), DataType::Struct(parts)) = (array.data_type(), wanted) {
        return structs(array.as_struct(), parts);
    }
    let both_ways = can_cast_types(array.data_type(), wanted) && can_cast_types(wanted, array.data_type());
    // A text of which no value was seen takes them all.
    let open = field.metadata().contains_key(UNTYPED);
    if !both_ways || !open && !alike(&plain(array.data_type()), &plain(wanted)) {
        return Ok(new_null_array(wanted, array.len()));
    }
    let options = CastOptions::default();
    let there = cast_with_options(array, wanted, &options)?;
    // A value that comes back as another has lost something on its way.
    let back = cast_with_options(&there, array.data_type(), &options)?;
    if &back == array {
        return Ok(there);
    }
    let changed = (0..array.len()).map(|row| back.slice(row, 1) != array.slice(row, 1));
    Ok(nullif(&there, &changed.collect::<Vec<_>>().into())?)
}

/// Whether values of two types may mean the same.
fn alike(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, Duration, Timestamp, Utf8};
    match (from, to) {
        (Timestamp(_, zone), Timestamp(_, other)) => zone.is_some() == other.is_some(),
        (Date32, Timestamp(_, Some(_))) => false,
        (Duration(_), Duration(_)) => true,
        (from, to) if from.is_nested() && to.is_nested() => true,
        (from, to) => fit(from, to) > Fit::Never && (*from == Utf8) == (*to == Utf8),
    }
}

/// Part by part: one that is not there is null, and a value of one that is not wanted has no place.
fn structs(array: &StructArray, wanted: &Fields) -> Result<ArrayRef> {
    let mut lost = vec![false; array.len()];
    let mut note = |part: &ArrayRef, fitting: Option<&ArrayRef>| {
        for (row, lost) in lost.iter_mut().enumerate() {
            *lost |= !part.is_null(row) && fitting.is_none_or(|fitting| fitting.is_null(row));
        }
    };
    let mut parts = Vec::with_capacity(wanted.len());
    for field in wanted {
        parts.push(match array.column_by_name(field.name()) {
            None => new_null_array(field.data_type(), array.len()),
            Some(part) => {
                let fitting = exact(part, field)?;
                note(part, Some(&fitting));
                fitting
            }
        });
    }
    for (field, part) in array.fields().iter().zip(array.columns()) {
        if wanted.find(field.name()).is_none() {
            note(part, None);
        }
    }
    let made = StructArray::try_new_with_length(wanted.clone(), parts, array.nulls().cloned(), array.len())?;
    Ok(nullif(&made, &BooleanArray::from(lost))?)
}

#[cfg(test)]
mod tests;
