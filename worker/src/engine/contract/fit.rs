//! How two types relate: which values of the one have an exact place in the other.
//!
//! In: the type that a reader yields and the type that is settled. Out: a [`Fit`], or the type that holds both.
//! Nothing here looks at values.

use std::sync::Arc;

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, Fields, TimeUnit,
};

/// How the values of one type fit into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// No value has a place there.
    Never,
    /// Each value must be looked at, and its meaning is read anew (text as a number, a local time as one in UTC):
    /// only where somebody asked for it.
    Value,
    /// Each value must be looked at; those that fit mean the same (a whole number among numbers with a fraction).
    Natural,
    /// Every value has its place.
    Always,
    /// The same type.
    Same,
}

/// How values of `from` fit into `to`; both are plain types, as [`plain`] makes them.
pub(crate) fn fit(from: &DataType, to: &DataType) -> Fit {
    use DataType::{Binary, Boolean, Date32, FixedSizeBinary, Null, Timestamp, Utf8};
    match (from, to) {
        (from, to) if from == to => Fit::Same,
        (Null, _) => Fit::Always,
        (from, to) if from.is_numeric() && to.is_numeric() => numbers(from, to),
        (Timestamp(..), Timestamp(..)) => timestamps(from, to),
        (Date32, Timestamp(unit, None)) => {
            if *unit == TimeUnit::Nanosecond {
                Fit::Value
            } else {
                Fit::Always
            }
        }
        (Date32, Timestamp(_, Some(_))) | (Timestamp(_, None), Date32) => Fit::Value,
        (from, to) if is_time(from) && is_time(to) => {
            if digits_of(from) <= digits_of(to) {
                Fit::Always
            } else {
                Fit::Value
            }
        }
        (FixedSizeBinary(_), Binary) => Fit::Always,
        (Binary, FixedSizeBinary(_) | Utf8) => Fit::Value,
        (from, Utf8) if readable(from) => Fit::Value,
        (Utf8, to) if to.is_numeric() || *to == Boolean || readable_time(to) || *to == Binary => Fit::Value,
        _ => Fit::Never,
    }
}

/// Types that have one exact text.
fn readable(type_: &DataType) -> bool {
    type_.is_numeric() || *type_ == DataType::Boolean || readable_time(type_) || type_.is_nested()
}

fn readable_time(type_: &DataType) -> bool {
    is_time(type_) || matches!(type_, DataType::Date32 | DataType::Timestamp(..))
}

fn is_time(type_: &DataType) -> bool {
    matches!(type_, DataType::Time32(_) | DataType::Time64(_))
}

/// Digits of a second.
fn digits_of(type_: &DataType) -> u8 {
    match type_ {
        DataType::Time32(unit) | DataType::Time64(unit) | DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => 0,
            TimeUnit::Millisecond => 3,
            TimeUnit::Microsecond => 6,
            TimeUnit::Nanosecond => 9,
        },
        _ => 0,
    }
}

/// Nanoseconds end in the year 2262, so that a coarser moment may have no place there.
fn timestamps(from: &DataType, to: &DataType) -> Fit {
    let (DataType::Timestamp(_, from_zone), DataType::Timestamp(unit, to_zone)) = (from, to) else {
        return Fit::Never;
    };
    if from_zone.is_some() != to_zone.is_some() {
        return Fit::Value;
    }
    let narrows = digits_of(from) > digits_of(to) || (*unit == TimeUnit::Nanosecond && digits_of(from) < 9);
    if narrows { Fit::Value } else { Fit::Always }
}

fn numbers(from: &DataType, to: &DataType) -> Fit {
    let held = match (whole_digits(from), whole_digits(to)) {
        // Both exact: digits before the point and after it must have room, and a sign a place.
        (Some((before, after)), Some((room, fraction))) => {
            before <= room && after <= fraction && (is_signed(to) || !is_signed(from))
        }
        (Some((before, 0)), None) => before <= float_digits(to),
        (None, None) => float_digits(from) <= float_digits(to),
        _ => false,
    };
    match held {
        true if from.is_integer() && to.is_integer() => bits(from, to),
        true => Fit::Always,
        false if from.is_integer() && to.is_floating() => Fit::Natural,
        false => Fit::Value,
    }
}

/// Decimal digits alone cannot tell a `u64` from an `i64`.
fn bits(from: &DataType, to: &DataType) -> Fit {
    let width = |type_: &DataType| type_.primitive_width().unwrap_or(0);
    let room = width(to) > width(from) || (width(to) == width(from) && is_signed(from) == is_signed(to));
    if room { Fit::Always } else { Fit::Value }
}

fn is_signed(type_: &DataType) -> bool {
    !type_.is_unsigned_integer()
}

/// Digits before and after the point; `None` for floating numbers.
fn whole_digits(type_: &DataType) -> Option<(i16, i16)> {
    Some(match type_ {
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => (
            i16::from(*precision) - i16::from(*scale),
            i16::from((*scale).max(0)),
        ),
        _ => return None,
    })
}

/// Digits of whole numbers that a floating type holds: all `i8`/`i16` in 32 bits, all `i32`/`u32` in 64.
fn float_digits(type_: &DataType) -> i16 {
    match type_ {
        DataType::Float64 => 10,
        DataType::Float32 => 5,
        _ => 3,
    }
}

/// The smallest type that holds every value of both, along `int32 < int64 < decimal`, `float32 < float64`,
/// `date < timestamp`; `None` where there is none.
pub(crate) fn widen(one: &DataType, other: &DataType) -> Option<DataType> {
    if fit(one, other) >= Fit::Always {
        return Some(other.clone());
    }
    if fit(other, one) >= Fit::Always {
        return Some(one.clone());
    }
    if one.is_integer() && other.is_integer() {
        let candidates = [
            DataType::Int16,
            DataType::Int32,
            DataType::Int64,
            DataType::Decimal128(20, 0),
        ];
        return candidates
            .into_iter()
            .find(|type_| fit(one, type_) >= Fit::Always && fit(other, type_) >= Fit::Always);
    }
    let ((before, after), (room, fraction)) = (whole_digits(one)?, whole_digits(other)?);
    let scale = after.max(fraction);
    decimal(before.max(room) + scale, scale)
}

fn decimal(precision: i16, scale: i16) -> Option<DataType> {
    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    if precision <= DECIMAL128_MAX_PRECISION {
        Some(DataType::Decimal128(precision, scale))
    } else {
        (precision <= DECIMAL256_MAX_PRECISION).then_some(DataType::Decimal256(precision, scale))
    }
}

/// The type without its encoding: dictionaries, views and large offsets are ways to hold a value, not kinds of value.
pub(crate) fn plain(type_: &DataType) -> DataType {
    match type_ {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        DataType::Date64 => DataType::Date32,
        DataType::Float16 => DataType::Float32,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => DataType::List(Arc::new(plain_field(item).with_name("item"))),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| plain_field(field)).collect()),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(plain_entries(entries)), *sorted),
        other => other.clone(),
    }
}

/// The field without its encoding.
pub(crate) fn plain_field(field: &Field) -> Field {
    field.clone().with_data_type(plain(field.data_type()))
}

/// Entries of a map and their keys can be nothing but not null.
fn plain_entries(entries: &Field) -> Field {
    let type_ = match plain(entries.data_type()) {
        DataType::Struct(parts) => DataType::Struct(
            parts
                .iter()
                .zip(["key", "value"])
                .map(|(part, name)| part.as_ref().clone().with_name(name))
                .collect(),
        ),
        other => other,
    };
    Field::new("entries", type_, false)
}

/// The field with nulls allowed on every level where Arrow can have them: of a deleted row only the key is there.
pub(crate) fn relaxed(field: &Field) -> Field {
    let type_ = match field.data_type() {
        DataType::Struct(parts) => {
            DataType::Struct(parts.iter().map(|part| relaxed(part)).collect::<Fields>())
        }
        DataType::List(item) => DataType::List(Arc::new(relaxed(item))),
        other => other.clone(),
    };
    field.clone().with_data_type(type_).with_nullable(true)
}

#[cfg(test)]
mod tests;
