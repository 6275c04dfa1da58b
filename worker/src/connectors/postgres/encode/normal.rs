//! Brings Arrow's many types into the few that have a form of their own in PostgreSQL, exactly or not at all.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeBinaryBuilder, ListArray, PrimitiveArray,
        StringBuilder,
    },
    compute::{CastOptions, cast_with_options},
    datatypes::{
        DataType, Date32Type, Date64Type, DurationMicrosecondType, DurationNanosecondType, Field, FieldRef,
        IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
        TimestampMicrosecondType, TimestampNanosecondType,
    },
    json::writer::{EncoderOptions, make_encoder},
};

use super::{check::nested, sql::text_form};
use crate::error::{Error, Result};

/// Milliseconds in a day.
const DAY_MILLIS: i64 = 86_400_000;

/// The form of a type: what [`normal`] turns it into.
pub(super) fn form(type_: &DataType) -> DataType {
    use DataType as D;
    match type_ {
        D::Int8 | D::UInt8 => D::Int16,
        D::UInt16 => D::Int32,
        D::UInt32 => D::Int64,
        D::UInt64 => D::Decimal128(20, 0),
        D::Float16 => D::Float32,
        D::Decimal32(precision, scale) | D::Decimal64(precision, scale) | D::Decimal128(precision, scale) => {
            positive_scale(*precision, *scale)
        }
        D::Decimal256(precision, scale) => match positive_scale(*precision, *scale) {
            D::Decimal128(precision, scale) => D::Decimal256(precision, scale),
            other => other,
        },
        D::Date64 => D::Date32,
        D::Time32(_) | D::Time64(_) => D::Time64(TimeUnit::Microsecond),
        D::Timestamp(_, zone) => D::Timestamp(TimeUnit::Microsecond, zone.clone()),
        D::Duration(_) | D::Interval(_) => D::Interval(IntervalUnit::MonthDayNano),
        D::Dictionary(_, value) => form(value),
        D::RunEndEncoded(_, value) => form(value.data_type()),
        D::List(item)
        | D::LargeList(item)
        | D::FixedSizeList(item, _)
        | D::ListView(item)
        | D::LargeListView(item) => {
            if is_nested(item.data_type()) {
                json()
            } else {
                // What the items' text is a form of stays with them.
                let bare = item.as_ref().clone().with_name("item").with_nullable(true);
                D::List(bare.with_data_type(form(item.data_type())).into())
            }
        }
        D::Struct(_) | D::Map(..) | D::Union(..) => json(),
        other => other.clone(),
    }
}

/// What nested values become: JSON, told from text by its own type.
pub(super) fn json() -> DataType {
    DataType::Struct(Vec::<FieldRef>::new().into())
}

fn positive_scale(precision: u8, scale: i8) -> DataType {
    match u8::try_from(scale) {
        Ok(_) => DataType::Decimal128(precision, scale),
        // Whole tens: written out.
        Err(_) => {
            let wide = precision.saturating_add(scale.unsigned_abs());
            if wide <= 38 {
                DataType::Decimal128(wide, 0)
            } else {
                DataType::Decimal256(wide.min(76), 0)
            }
        }
    }
}

/// Lists, objects and the like: they have no array type in PostgreSQL.
fn is_nested(type_: &DataType) -> bool {
    match type_ {
        DataType::Dictionary(_, value) => is_nested(value),
        other => other.is_nested(),
    }
}

/// The array in its form.
///
/// # Errors
/// `data` where a value would lose something.
pub(super) fn normal(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    let form = form(array.data_type());
    if form == json() {
        return texts(array, field);
    }
    match text_form(field) {
        Some("uuid") => return uuids(&cast(array, &DataType::Utf8)?),
        Some("jsonb") => return cast(array, &DataType::Utf8),
        _ => {}
    }
    match (array.data_type(), &form) {
        (DataType::List(from), DataType::List(to)) => {
            let list = array.as_list::<i32>();
            let items = normal(list.values(), from)?;
            let to = to.as_ref().clone().with_data_type(items.data_type().clone());
            let list = ListArray::try_new(to.into(), list.offsets().clone(), items, list.nulls().cloned())?;
            Ok(Arc::new(list))
        }
        (same, form) if same == form => Ok(array.clone()),
        (DataType::Timestamp(TimeUnit::Nanosecond, _), _) => {
            let micros =
                whole::<TimestampNanosecondType, TimestampMicrosecondType>(array, 1000, "microseconds")?;
            Ok(Arc::new(micros.with_data_type(form)))
        }
        (DataType::Time64(TimeUnit::Nanosecond), _) => Ok(Arc::new(whole::<
            Time64NanosecondType,
            Time64MicrosecondType,
        >(array, 1000, "microseconds")?)),
        (DataType::Date64, _) => days(array),
        (DataType::Duration(_), _) => durations(array),
        (
            DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item),
            _,
        ) => normal(&cast(array, &DataType::List(item.clone()))?, field),
        (DataType::Dictionary(_, value), _) => normal(&cast(array, value)?, field),
        (DataType::RunEndEncoded(_, value), _) => normal(&cast(array, value.data_type())?, field),
        (_, form) => cast(array, form),
    }
}

/// Fails where a value does not fit, in place of making it null.
fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    Ok(cast_with_options(array, to, &options)?)
}

/// The 16 bytes of each.
fn uuids(array: &ArrayRef) -> Result<ArrayRef> {
    let mut out = FixedSizeBinaryBuilder::with_capacity(array.len(), 16);
    for text in array.as_string::<i32>() {
        match text.map(uuid::Uuid::try_parse) {
            None => out.append_null(),
            Some(Ok(uuid)) => out.append_value(uuid.as_bytes())?,
            Some(Err(error)) => return Err(Error::data(format!("the text is no uuid: {error}"))),
        }
    }
    Ok(Arc::new(out.finish()))
}

/// Divides, where nothing is left over.
fn whole<From, To>(array: &ArrayRef, by: i64, unit: &str) -> Result<PrimitiveArray<To>>
where
    From: ArrowPrimitiveType<Native = i64>,
    To: ArrowPrimitiveType<Native = i64>,
{
    let array = array.as_primitive::<From>();
    if any(array, |value| value % by != 0) {
        return Err(Error::data(format!("the value is finer than {unit}"))
            .advice("PostgreSQL has no finer times; round it in a transform"));
    }
    Ok(array.unary(|value| value / by))
}

fn days(array: &ArrayRef) -> Result<ArrayRef> {
    let array = array.as_primitive::<Date64Type>();
    let fits = |millis: i64| millis % DAY_MILLIS == 0 && i32::try_from(millis / DAY_MILLIS).is_ok();
    if any(array, |millis| !fits(millis)) {
        return Err(Error::data("the value is no whole day"));
    }
    let days: PrimitiveArray<Date32Type> =
        array.unary(|millis| i32::try_from(millis / DAY_MILLIS).unwrap_or(0));
    Ok(Arc::new(days))
}

fn durations(array: &ArrayRef) -> Result<ArrayRef> {
    use arrow::datatypes::IntervalMonthDayNano as Interval;
    let micros: PrimitiveArray<DurationMicrosecondType> = match array.data_type() {
        DataType::Duration(TimeUnit::Nanosecond) => {
            whole::<DurationNanosecondType, DurationMicrosecondType>(array, 1000, "microseconds")?
        }
        _ => cast(array, &DataType::Duration(TimeUnit::Microsecond))?
            .as_primitive()
            .clone(),
    };
    if any(&micros, |micros| micros.checked_mul(1000).is_none()) {
        return Err(Error::data("the duration is too long for an interval"));
    }
    let intervals: PrimitiveArray<IntervalMonthDayNanoType> =
        micros.unary(|micros| Interval::new(0, 0, micros.wrapping_mul(1000)));
    Ok(Arc::new(intervals))
}

/// Whether some value is so.
pub(super) fn any<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    wrong: impl Fn(T::Native) -> bool,
) -> bool {
    // Values below nulls are anything: look for a suspect first, then for one that counts.
    array.values().iter().any(|value| wrong(*value)) && array.iter().flatten().any(wrong)
}

/// Nested values as JSON texts.
fn texts(array: &ArrayRef, field: &Field) -> Result<ArrayRef> {
    nested(array)?;
    let field = Arc::new(field.clone());
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let mut encoder = make_encoder(&field, array.as_ref(), &options)?;
    let mut out = StringBuilder::new();
    let mut text = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            out.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        out.append_value(std::str::from_utf8(&text).map_err(Error::bug)?);
    }
    Ok(Arc::new(out.finish()))
}
