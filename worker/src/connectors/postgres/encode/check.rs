//! Which values PostgreSQL would refuse, or take for others.
//!
//! In: a column in its form ([`check`]), or one whose form is JSON as it came ([`nested`]). Out: nothing, or why some
//! value of it cannot be held; [`super::unfit`] finds out which rows that concerns.

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray},
    datatypes::{
        DataType, Date32Type, Field, Float32Type, Float64Type, IntervalMonthDayNanoType,
        Time64MicrosecondType, TimestampMicrosecondType,
    },
};
use serde::de::IgnoredAny;

use super::{
    super::decode::column::{EPOCH_DAYS, EPOCH_MICROS},
    normal::any,
    sql::text_form,
};
use crate::error::{Error, Result};

/// Days and microseconds from 1970 that PostgreSQL can hold: from 4714-11-24 BC to 5874897 and 294276 AD.
const DAYS: std::ops::Range<i32> = EPOCH_DAYS - 2_451_545..2_145_042_906;
const MICROS: std::ops::Range<i64> = EPOCH_MICROS - 211_813_488_000_000_000..9_223_371_331_200_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// Looks at a column in its form; `field` is the column as it was before.
///
/// # Errors
/// `data` where PostgreSQL would refuse a value, or take it for another.
pub(super) fn check(array: &ArrayRef, field: &Field) -> Result<()> {
    match array.data_type() {
        DataType::Date32 => within(
            any(array.as_primitive::<Date32Type>(), |day| !DAYS.contains(&day)),
            "date",
        ),
        DataType::Timestamp(..) => {
            let moments = array.as_primitive::<TimestampMicrosecondType>();
            within(any(moments, |micros| !MICROS.contains(&micros)), "timestamp")
        }
        DataType::Time64(_) => {
            let times = array.as_primitive::<Time64MicrosecondType>();
            within(any(times, |micros| !(0..=DAY_MICROS).contains(&micros)), "time")
        }
        DataType::Interval(_) => {
            let intervals = array.as_primitive::<IntervalMonthDayNanoType>();
            match any(intervals, |value| value.nanoseconds % 1000 != 0) {
                true => Err(Error::data("the interval is finer than microseconds")),
                false => Ok(()),
            }
        }
        DataType::Utf8 if matches!(text_form(field), Some("json" | "jsonb")) => {
            json_texts(array.as_string(), text_form(field) == Some("jsonb"))
        }
        DataType::List(item) => check(array.as_list::<i32>().values(), item),
        _ => no_zero(array),
    }
}

fn within(beyond: bool, what: &str) -> Result<()> {
    match beyond {
        true => Err(Error::data(format!(
            "the {what} is beyond what PostgreSQL can hold"
        ))),
        false => Ok(()),
    }
}

/// Looks at the parts of values that become JSON.
///
/// # Errors
/// `data` where JSON, or PostgreSQL, cannot hold one.
pub(super) fn nested(array: &ArrayRef) -> Result<()> {
    match array.data_type() {
        DataType::Float64 => finite(any(array.as_primitive::<Float64Type>(), |value| {
            !value.is_finite()
        })),
        DataType::Float32 => finite(any(array.as_primitive::<Float32Type>(), |value| {
            !value.is_finite()
        })),
        DataType::Struct(_) => array.as_struct().columns().iter().try_for_each(nested),
        DataType::List(_) => nested(array.as_list::<i32>().values()),
        DataType::LargeList(_) => nested(array.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => nested(array.as_fixed_size_list().values()),
        DataType::Map(..) => array.as_map().entries().columns().iter().try_for_each(nested),
        _ => no_zero(array),
    }
}

fn finite(odd: bool) -> Result<()> {
    match odd {
        true => Err(Error::data(
            "it holds a NaN or an infinity, which JSON cannot hold",
        )),
        false => Ok(()),
    }
}

fn no_zero(array: &ArrayRef) -> Result<()> {
    let zero = |text: &str| text.as_bytes().contains(&0);
    let found = match array.data_type() {
        // All bytes of the column are looked through first: below nulls they are anything.
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            texts.value_data().contains(&0) && texts.iter().flatten().any(zero)
        }
        DataType::LargeUtf8 => {
            let texts = array.as_string::<i64>();
            texts.value_data().contains(&0) && texts.iter().flatten().any(zero)
        }
        DataType::Utf8View => array.as_string_view().iter().flatten().any(zero),
        _ => false,
    };
    match found {
        true => Err(
            Error::data("the text holds a zero byte, which PostgreSQL cannot hold")
                .advice("replace it in a transform"),
        ),
        false => Ok(()),
    }
}

/// Texts of a column of JSON. `binary`: of `jsonb`, which keeps no `\u0000` and no half of a pair.
fn json_texts(texts: &StringArray, binary: bool) -> Result<()> {
    for text in texts.iter().flatten() {
        serde_json::from_str::<IgnoredAny>(text)
            .map_err(|error| Error::data(format!("the text is no JSON: {error}")))?;
        if binary && has_odd_escape(text) {
            return Err(Error::data(
                "the JSON holds a zero byte or half a character, which a jsonb column cannot hold",
            ));
        }
    }
    Ok(())
}

/// Whether valid JSON has an escape of a zero byte, or of one half of a surrogate pair without the other.
fn has_odd_escape(json: &str) -> bool {
    let mut rest = json;
    // A backslash in valid JSON always begins an escape.
    while let Some(at) = rest.find('\\') {
        let (unit, width) = match unit(&rest[at..]) {
            Some(0xD800..0xDC00)
                if matches!(unit(rest.get(at + 6..).unwrap_or_default()), Some(0xDC00..0xE000)) =>
            {
                (1, 12)
            }
            Some(unit) => (unit, 6),
            None => (1, 2),
        };
        if matches!(unit, 0 | 0xD800..0xE000) {
            return true;
        }
        rest = rest.get(at + width..).unwrap_or_default();
    }
    false
}

/// The UTF-16 unit of a `\uXXXX` at the beginning.
fn unit(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok()
}
