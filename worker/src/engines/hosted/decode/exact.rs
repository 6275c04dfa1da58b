//! A column of a later batch in the type that the first one had.
//!
//! In: a column, and the type wanted. Out: a column of that type, null where a value has no place in it. As with dictionaries
//! no value changes its meaning: a number is no text, a text no number, and 35.2 is not 35.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_null_array},
    buffer::NullBuffer,
    compute::{CastOptions, can_cast_types, cast_with_options, nullif},
    datatypes::{DataType, Field, FieldRef, Fields},
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
    match (array.data_type(), wanted) {
        (DataType::Struct(_), DataType::Struct(parts)) => return structs(array.as_struct(), parts),
        (DataType::List(_), DataType::List(item)) => return lists(array.as_list(), item),
        _ => (),
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
    use DataType::{Date32, Duration, List, Map, Struct, Timestamp, Utf8};
    match (from, to) {
        (List(from), List(to)) | (Map(from, _), Map(to, _)) => alike(from.data_type(), to.data_type()),
        (Struct(from), Struct(to)) => {
            let same = |(from, to): (&FieldRef, &FieldRef)| {
                from.name() == to.name() && alike(from.data_type(), to.data_type())
            };
            from.len() == to.len() && from.iter().zip(to).all(same)
        }
        (Timestamp(_, zone), Timestamp(_, other)) => zone.is_some() == other.is_some(),
        (Date32, Timestamp(_, Some(_))) => false,
        (Duration(_), Duration(_)) => true,
        (from, to) => fit(from, to) > Fit::Never && (*from == Utf8) == (*to == Utf8),
    }
}

/// Part by part: one that is not there is null, and a value of one that is not wanted has no place.
fn structs(array: &StructArray, wanted: &Fields) -> Result<ArrayRef> {
    let mut whole = vec![true; array.len()];
    let mut parts = Vec::with_capacity(wanted.len());
    for field in wanted {
        let given = array.column_by_name(field.name()).cloned();
        let given = given.unwrap_or_else(|| new_null_array(field.data_type(), array.len()));
        let fitting = exact(&given, field)?;
        let there = there(&given);
        for (row, whole) in whole.iter_mut().enumerate() {
            *whole &= !fitting.is_null(row) || field.is_nullable() && !there(row);
        }
        parts.push(fitting);
    }
    for (field, part) in array.fields().iter().zip(array.columns()) {
        if wanted.find(field.name()).is_none() {
            let there = there(part);
            for (row, whole) in whole.iter_mut().enumerate() {
                *whole &= !there(row);
            }
        }
    }
    // Behind the null of a whole struct a part may be null that else must not be.
    let nulls = NullBuffer::union(array.nulls(), Some(&whole.into()));
    let made = StructArray::try_new_with_length(wanted.clone(), parts, nulls, array.len())?;
    Ok(Arc::new(made))
}

/// Item by item: a list has a place where each of its items has one.
fn lists(array: &ListArray, wanted: &FieldRef) -> Result<ArrayRef> {
    let items = exact(array.values(), wanted)?;
    if !wanted.is_nullable() && items.null_count() > 0 {
        // Not even behind the null of a whole list may such an item be null.
        return Ok(new_null_array(&DataType::List(wanted.clone()), array.len()));
    }
    let made = ListArray::try_new(
        wanted.clone(),
        array.offsets().clone(),
        items,
        array.nulls().cloned(),
    )?;
    let nulls = |list: &ListArray, row| list.value(row).logical_null_count();
    let lost = (0..array.len()).map(|row| nulls(&made, row) > nulls(array, row));
    Ok(nullif(&made, &lost.collect::<Vec<_>>().into())?)
}

/// In which rows a column has a value. One of nulls alone says of none that it is null, unless it is asked like this.
pub(super) fn there(array: &dyn Array) -> impl Fn(usize) -> bool + use<> {
    let nulls = array.logical_nulls();
    move |row| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
}

#[cfg(test)]
mod tests;
