//! Values from one type to another, exactly or not at all.
//!
//! In: an array and the type wanted. Out: an array of that type, with a null where a value has no exact place in it;
//! the caller finds those by comparing nulls. Arrow's own casts round, cut and guess in places, so what they give is
//! cast back and compared, or text is read by [`super::text`].

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, Decimal256Array,
        PrimitiveArray, StringArray, StringBuilder,
    },
    compute::{
        CastOptions, cast_with_options,
        kernels::{cast_utils::Parser, cmp::distinct},
        nullif,
    },
    datatypes::{
        DECIMAL256_MAX_PRECISION, DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type,
        Int32Type, Int64Type, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
    json::writer::{EncoderOptions, make_encoder},
    util::display::FormatOptions,
};

use super::{
    fit::{Fit, fit, plain},
    text,
};
use crate::error::{Error, Result};

/// Failed casts become nulls.
const SAFE: CastOptions<'static> = CastOptions {
    safe: true,
    format_options: FormatOptions::new(),
};

/// The array in the type `to`; null where a value has no exact place there.
///
/// # Errors
/// `bug` where the two types have nothing in common.
pub(super) fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let plain_type = plain(array.data_type());
    let array = match array.data_type() {
        DataType::Date64 => round_trip(array, &plain_type)?,
        _ => cast(array, &plain_type)?,
    };
    match (fit(array.data_type(), to), array.data_type(), to) {
        (Fit::Same, ..) => Ok(array),
        (Fit::Never, from, to) => Err(Error::bug(format!("no value of {from} can become {to}"))),
        (Fit::Always, ..) => cast(&array, to),
        (_, DataType::Utf8, to) => from_text(array.as_string::<i32>(), to),
        (_, from, DataType::Utf8) if from.is_nested() => json_text(&array),
        (_, from, DataType::Utf8) if from.is_floating() => Ok(Arc::new(float_text(&array)?)),
        (_, DataType::Binary, to) | (_, _, to @ DataType::Utf8) => cast(&array, to),
        (_, from, to) if from.is_floating() && to.is_decimal() => from_text(&float_text(&array)?, to),
        (_, from, to) if from.is_decimal() && to.is_floating() => decimal_to_float(&array, to),
        (_, DataType::Timestamp(..), DataType::Timestamp(..)) => moments(&array, to),
        (_, DataType::Date32, DataType::Timestamp(unit, _)) => {
            tagged(&round_trip(&array, &DataType::Timestamp(*unit, None))?, to)
        }
        (_, _, to) => round_trip(&array, to),
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    Ok(cast_with_options(array, to, &SAFE)?)
}

/// Keeps what comes back unchanged from the other type.
fn round_trip(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let there = cast(array, to)?;
    let back = cast(&there, array.data_type())?;
    let changed = distinct(&back, array)?;
    if changed.true_count() == 0 {
        Ok(there)
    } else {
        Ok(nullif(&there, &changed)?)
    }
}

/// Between units, and between local times and moments, which are then meant in UTC.
fn moments(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, _) = to else {
        return round_trip(array, to);
    };
    let DataType::Timestamp(from, _) = array.data_type() else {
        return round_trip(array, to);
    };
    let local = tagged(array, &DataType::Timestamp(*from, None))?;
    tagged(&round_trip(&local, &DataType::Timestamp(*unit, None))?, to)
}

/// The same numbers with another zone.
fn tagged(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let data = array.to_data().into_builder().data_type(to.clone()).build()?;
    Ok(arrow::array::make_array(data))
}

fn from_text(strings: &StringArray, to: &DataType) -> Result<ArrayRef> {
    Ok(match to {
        DataType::Int8 => integers::<Int8Type>(strings),
        DataType::Int16 => integers::<Int16Type>(strings),
        DataType::Int32 => integers::<Int32Type>(strings),
        DataType::Int64 => integers::<Int64Type>(strings),
        DataType::UInt8 => integers::<UInt8Type>(strings),
        DataType::UInt16 => integers::<UInt16Type>(strings),
        DataType::UInt32 => integers::<UInt32Type>(strings),
        DataType::UInt64 => integers::<UInt64Type>(strings),
        DataType::Float64 => each::<Float64Type>(strings, to, text::float),
        DataType::Float32 => each::<Float32Type>(strings, to, text::float32),
        DataType::Date32 => each::<Date32Type>(strings, to, text::date),
        DataType::Boolean => Arc::new(
            strings
                .iter()
                .map(|value| value.and_then(text::boolean))
                .collect::<BooleanArray>(),
        ),
        DataType::Timestamp(unit, zone) => timestamps(strings, *unit, zone.is_some(), to),
        DataType::Time32(_) | DataType::Time64(_) => {
            let nanos =
                each::<Time64NanosecondType>(strings, &DataType::Time64(TimeUnit::Nanosecond), text::time);
            round_trip(&nanos, to)?
        }
        DataType::Decimal256(precision, scale) => decimals(strings, *precision, *scale)?,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => cast(&decimals(strings, *precision, *scale)?, to)?,
        DataType::Binary => Arc::new(BinaryArray::from(strings.clone())),
        other => return Err(Error::bug(format!("text cannot be read as {other}"))),
    })
}

fn each<T: ArrowPrimitiveType>(
    strings: &StringArray,
    to: &DataType,
    read: impl Fn(&str) -> Option<T::Native>,
) -> ArrayRef {
    let values: PrimitiveArray<T> = strings.iter().map(|value| value.and_then(&read)).collect();
    Arc::new(values.with_data_type(to.clone()))
}

fn integers<T: ArrowPrimitiveType + Parser>(strings: &StringArray) -> ArrayRef {
    each::<T>(strings, &T::DATA_TYPE, text::integer::<T>)
}

fn timestamps(strings: &StringArray, unit: TimeUnit, zone: bool, to: &DataType) -> ArrayRef {
    let read = |value: &str| text::timestamp(value, unit, zone);
    match unit {
        TimeUnit::Second => each::<TimestampSecondType>(strings, to, read),
        TimeUnit::Millisecond => each::<TimestampMillisecondType>(strings, to, read),
        TimeUnit::Microsecond => each::<TimestampMicrosecondType>(strings, to, read),
        TimeUnit::Nanosecond => each::<TimestampNanosecondType>(strings, to, read),
    }
}

fn decimals(strings: &StringArray, precision: u8, scale: i8) -> Result<ArrayRef> {
    let read = |value: &str| text::decimal(value, precision, scale);
    let values: Decimal256Array = strings.iter().map(|value| value.and_then(read)).collect();
    Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
}

/// The shortest text that reads back as the same number, without an exponent.
fn float_text(array: &ArrayRef) -> Result<StringArray> {
    let mut out = StringBuilder::with_capacity(array.len(), array.len() * 8);
    let mut push = |text: Option<String>| out.append_option(text);
    if *array.data_type() == DataType::Float32 {
        let numbers = array.as_primitive::<Float32Type>();
        numbers
            .iter()
            .for_each(|value| push(value.map(|value| value.to_string())));
    } else {
        let wide = cast(array, &DataType::Float64)?;
        let numbers = wide.as_primitive::<Float64Type>();
        numbers
            .iter()
            .for_each(|value| push(value.map(|value| value.to_string())));
    }
    Ok(out.finish())
}

/// A decimal has a place among floating numbers where its shortest text there is its own.
fn decimal_to_float(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let texts = cast(array, &DataType::Utf8)?;
    let there = from_text(texts.as_string::<i32>(), to)?;
    let scale = match array.data_type() {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        other => return Err(Error::bug(format!("{other} is not a decimal"))),
    };
    let wide = DataType::Decimal256(DECIMAL256_MAX_PRECISION, scale);
    let back = from_text(&float_text(&there)?, &wide)?;
    let own = cast(array, &wide)?;
    Ok(nullif(&there, &distinct(&back, &own)?)?)
}

/// Objects, arrays and maps as JSON.
fn json_text(array: &ArrayRef) -> Result<ArrayRef> {
    let field = Arc::new(arrow::datatypes::Field::new(
        "value",
        array.data_type().clone(),
        true,
    ));
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(&field, array, &options)?;
    let mut out = StringBuilder::new();
    let mut bytes = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            out.append_null();
            continue;
        }
        bytes.clear();
        encoder.encode(row, &mut bytes);
        out.append_value(String::from_utf8_lossy(&bytes));
    }
    Ok(Arc::new(out.finish()))
}

#[cfg(test)]
mod tests;
