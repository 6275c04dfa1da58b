//! Which values PostgreSQL would refuse, or take for others.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::DataType,
};

use super::{
    super::decode::column::{EPOCH_DAYS, EPOCH_MICROS},
    normal::first,
};
use crate::error::{Error, Result};

/// Days and microseconds from 1970 that PostgreSQL can hold: from 4714-11-24 BC to 5874897 and 294276 AD.
const DAYS: std::ops::Range<i32> = EPOCH_DAYS - 2_451_545..2_145_042_906;
const MICROS: std::ops::Range<i64> = EPOCH_MICROS - 211_813_488_000_000_000..9_223_371_331_200_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// Values that PostgreSQL would refuse, or take for others.
pub(super) fn check(array: &ArrayRef) -> Result<()> {
    let out_of_range = |row: Option<usize>, what: &str| match row {
        None => Ok(()),
        Some(row) => Err(Error::data(format!(
            "row {row}: the {what} is beyond what PostgreSQL can hold"
        ))),
    };
    match array.data_type() {
        DataType::Date32 => out_of_range(
            first(array.as_primitive::<arrow::datatypes::Date32Type>(), |day| {
                !DAYS.contains(&day)
            }),
            "date",
        ),
        DataType::Timestamp(..) => {
            let moments = array.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
            out_of_range(first(moments, |micros| !MICROS.contains(&micros)), "timestamp")
        }
        DataType::Time64(_) => {
            let times = array.as_primitive::<arrow::datatypes::Time64MicrosecondType>();
            out_of_range(first(times, |micros| !(0..=DAY_MICROS).contains(&micros)), "time")
        }
        DataType::Interval(_) => {
            let intervals = array.as_primitive::<arrow::datatypes::IntervalMonthDayNanoType>();
            match first(intervals, |value| value.nanoseconds % 1000 != 0) {
                None => Ok(()),
                Some(row) => Err(Error::data(format!(
                    "row {row}: the interval is finer than microseconds"
                ))),
            }
        }
        DataType::Utf8 => no_zero(
            array.as_string::<i32>().value_data(),
            array.as_string::<i32>().iter(),
        ),
        DataType::LargeUtf8 => no_zero(
            array.as_string::<i64>().value_data(),
            array.as_string::<i64>().iter(),
        ),
        DataType::Utf8View => no_zero(&[0], array.as_string_view().iter()),
        DataType::List(_) => check(array.as_list::<i32>().values()),
        _ => Ok(()),
    }
}

/// `all`: every byte of the column, looked through first.
fn no_zero<'a>(all: &[u8], mut values: impl Iterator<Item = Option<&'a str>>) -> Result<()> {
    if !all.contains(&0) {
        return Ok(());
    }
    match values.position(|value| value.is_some_and(|value| value.as_bytes().contains(&0))) {
        None => Ok(()),
        Some(row) => Err(Error::data(format!(
            "row {row}: the text holds a zero byte, which PostgreSQL cannot hold"
        ))
        .advice("replace it in a transform")),
    }
}
