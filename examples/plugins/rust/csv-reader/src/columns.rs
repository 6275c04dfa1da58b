//! Columns of Arrow under construction, cell by cell.
//!
//! In: texts, without their quotes. Out: arrays; an empty text is null, whatever the type.

use std::{str, sync::Arc};

use arrow_cast::parse::Parser;
use millrace_plugin::{
    Error,
    arrow_array::{
        Array, ArrayRef, ArrowPrimitiveType,
        builder::{BooleanBuilder, PrimitiveBuilder, StringBuilder},
        types::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampNanosecondType},
    },
    arrow_schema::{DataType, TimeUnit},
};

/// One column.
pub(crate) trait Column: Send {
    /// Takes the next cell; `None`: it is of another type.
    fn push(&mut self, cell: &[u8]) -> Option<()>;
    /// What was taken; then it begins anew, with room for as much.
    fn take(&mut self) -> ArrayRef;
}

/// A column of one of the types that are found in CSV files, with room for so many rows.
pub(crate) fn column(of: &DataType, rows: usize) -> Result<Box<dyn Column>, Error> {
    fn values<T: Value>(of: &DataType, rows: usize) -> Box<dyn Column> {
        Box::new(Values::<T> {
            builder: PrimitiveBuilder::with_capacity(rows).with_data_type(of.clone()),
            zoned: matches!(of, DataType::Timestamp(_, Some(_))),
        })
    }
    Ok(match of {
        DataType::Int64 => values::<Int64Type>(of, rows),
        DataType::Float64 => values::<Float64Type>(of, rows),
        DataType::Date32 => values::<Date32Type>(of, rows),
        DataType::Timestamp(TimeUnit::Microsecond, _) => values::<TimestampMicrosecondType>(of, rows),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => values::<TimestampNanosecondType>(of, rows),
        DataType::Boolean => Box::new(BooleanBuilder::with_capacity(rows)),
        DataType::Utf8 => Box::new(StringBuilder::with_capacity(rows, 0)),
        other => return Err(Error::bug(format!("{other} is not found in CSV files"))),
    })
}

/// The first type that all of these cells are written in; text where there is none.
pub(crate) fn narrowest<'a>(mut cells: impl Iterator<Item = &'a [u8]> + Clone) -> DataType {
    let moment = |unit, zone: Option<&str>| DataType::Timestamp(unit, zone.map(Into::into));
    let types = [
        DataType::Boolean,
        DataType::Int64,
        DataType::Float64,
        DataType::Date32,
        moment(TimeUnit::Microsecond, None),
        moment(TimeUnit::Microsecond, Some("UTC")),
        moment(TimeUnit::Nanosecond, None),
        moment(TimeUnit::Nanosecond, Some("UTC")),
    ];
    let all = |of: &DataType| {
        let looks_so = |cell: &[u8]| match of {
            DataType::Int64 => is_plain(cell),
            DataType::Float64 => is_plain(cell) && !is_long(cell),
            _ => true,
        };
        let fits = |column: &mut Box<dyn Column>, cell| looks_so(cell) && column.push(cell).is_some();
        column(of, 0).is_ok_and(|mut column| cells.clone().all(|cell| fits(&mut column, cell)))
    };
    let found = types.into_iter().find(all);
    found.filter(|_| cells.next().is_some()).unwrap_or(DataType::Utf8)
}

/// Begins as a number does that a program writes: `007` and `+49` are text.
fn is_plain(cell: &[u8]) -> bool {
    match cell.strip_prefix(b"-").unwrap_or(cell) {
        [b'0', next, ..] => !next.is_ascii_digit(),
        [first, ..] => first.is_ascii_digit(),
        [] => false,
    }
}

/// A whole number with more digits than a float keeps.
fn is_long(cell: &[u8]) -> bool {
    cell.len() > 15 && cell.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-')
}

/// A type whose values are read one by one; `zoned`: each of them names its zone, else none does.
trait Value: ArrowPrimitiveType {
    fn read(cell: &[u8], zoned: bool) -> Option<Self::Native>;
}

impl Value for Int64Type {
    #[inline]
    fn read(cell: &[u8], _: bool) -> Option<i64> {
        atoi_simd::parse::<_, true, true>(cell).ok()
    }
}

impl Value for Float64Type {
    #[inline]
    fn read(cell: &[u8], _: bool) -> Option<f64> {
        fast_float2::parse(cell).ok()
    }
}

impl Value for Date32Type {
    #[inline]
    fn read(cell: &[u8], _: bool) -> Option<i32> {
        days(cell)
    }
}

impl Value for TimestampMicrosecondType {
    fn read(cell: &[u8], zoned: bool) -> Option<i64> {
        moment::<Self>(cell, zoned, 6)
    }
}

impl Value for TimestampNanosecondType {
    fn read(cell: &[u8], zoned: bool) -> Option<i64> {
        moment::<Self>(cell, zoned, 9)
    }
}

/// As Arrow reads it, which cuts off the digits that a type has no room for, and forgets the zone.
fn moment<T: Parser>(cell: &[u8], zoned: bool, room: usize) -> Option<T::Native> {
    let clock = cell.get("YYYY-MM-DD hh:mm:ss".len()..)?;
    let fraction = clock.strip_prefix(b".").unwrap_or_default();
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let zone = if digits > 0 { &fraction[digits..] } else { clock };
    (digits <= room && zoned != zone.is_empty()).then(|| T::parse(str::from_utf8(cell).ok()?))?
}

/// A column of such values.
struct Values<T: Value> {
    builder: PrimitiveBuilder<T>,
    zoned: bool,
}

impl<T: Value> Column for Values<T> {
    fn push(&mut self, cell: &[u8]) -> Option<()> {
        match cell.is_empty() {
            true => self.builder.append_null(),
            false => self.builder.append_value(T::read(cell, self.zoned)?),
        }
        Some(())
    }

    fn take(&mut self) -> ArrayRef {
        let array = self.builder.finish();
        let room = PrimitiveBuilder::with_capacity(array.len());
        self.builder = room.with_data_type(array.data_type().clone());
        Arc::new(array)
    }
}

/// `YYYY-MM-DD` in days since 1970.
fn days(cell: &[u8]) -> Option<i32> {
    /// Days before each month of a common year.
    const BEFORE: [i32; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
    let text: &[u8; 10] = cell.as_array()?;
    let digits = text.map(|byte| i32::from(byte.wrapping_sub(b'0')));
    let [y0, y1, y2, y3, _, m0, m1, _, d0, d1] = digits;
    let numbers = [y0, y1, y2, y3, m0, m1, d0, d1].iter().all(|digit| *digit < 10);
    let (year, month, day) = (y0 * 1000 + y1 * 100 + y2 * 10 + y3, m0 * 10 + m1, d0 * 10 + d1);
    if !numbers || text[4] != b'-' || text[7] != b'-' || !(1..=12).contains(&month) {
        return None;
    }
    // A cycle of 400 years later, so that nothing is negative.
    let (month, years) = (usize::try_from(month - 1).ok()?, year + 399);
    let leap = i32::from((year % 4 == 0 && year % 100 != 0) || year % 400 == 0);
    let length = BEFORE[month + 1] - BEFORE[month] + if month == 1 { leap } else { 0 };
    let of_year = BEFORE[month] + if month > 1 { leap } else { 0 } + day - 1;
    let since = years * 365 + years / 4 - years / 100 + years / 400 - 719_162 - 146_097;
    (1..=length).contains(&day).then_some(since + of_year)
}

impl Column for BooleanBuilder {
    fn push(&mut self, cell: &[u8]) -> Option<()> {
        match cell {
            b"" => self.append_null(),
            _ if cell.eq_ignore_ascii_case(b"true") => self.append_value(true),
            _ if cell.eq_ignore_ascii_case(b"false") => self.append_value(false),
            _ => return None,
        }
        Some(())
    }

    fn take(&mut self) -> ArrayRef {
        Arc::new(self.finish())
    }
}

impl Column for StringBuilder {
    fn push(&mut self, cell: &[u8]) -> Option<()> {
        match cell.is_empty() {
            true => self.append_null(),
            false => self.append_value(str::from_utf8(cell).ok()?),
        }
        Some(())
    }

    fn take(&mut self) -> ArrayRef {
        let (rows, bytes) = (self.offsets_slice().len(), self.values_slice().len());
        let mut full = std::mem::replace(self, Self::with_capacity(rows, bytes));
        Arc::new(full.finish())
    }
}

#[cfg(test)]
mod tests {
    use millrace_plugin::arrow_schema::{
        DataType::{self, Boolean, Date32, Float64, Int64, Timestamp, Utf8},
        TimeUnit::{Microsecond, Nanosecond},
    };

    use super::{Date32Type, Parser, days, narrowest};

    #[test]
    fn a_type_is_taken_where_every_cell_is_written_in_it() {
        let utc = || Some("UTC".into());
        for (cells, wanted) in [
            (&[][..], Utf8),
            (&["1", "-20"], Int64),
            (&["1", "2.5"], Float64),
            (&["1", "12345678901234567890"], Utf8),
            (&["007"], Utf8),
            (&["-01.5"], Utf8),
            (&["+49"], Utf8),
            (&["nan"], Utf8),
            (&["True", "false"], Boolean),
            (&["2026-01-31"], Date32),
            (&["2026-01-31", "x"], Utf8),
            (
                &["2026-01-31 12:00:00", "2026-01-31T12:00:00.123456"],
                Timestamp(Microsecond, None),
            ),
            (
                &["2026-01-31 12:00:00Z", "2026-01-31T12:00:00.1+02:00"],
                Timestamp(Microsecond, utc()),
            ),
            (&["2026-01-31 12:00:00.123456789"], Timestamp(Nanosecond, None)),
            (&["2026-01-31 12:00:00.1234567Z"], Timestamp(Nanosecond, utc())),
            (&["2026-01-31 12:00:00", "2026-01-31 12:00:00Z"], Utf8),
            (&["2026-01-31 12:00:00."], Utf8),
        ] {
            let found: DataType = narrowest(cells.iter().map(|cell: &&str| cell.as_bytes()));
            assert_eq!(found, wanted, "{cells:?}");
        }
    }

    #[test]
    fn dates_are_those_of_arrow() {
        for year in [
            "0000", "0001", "0400", "1600", "1900", "1969", "1970", "1996", "2000", "2026", "9999",
        ] {
            for (month, day) in (0..14).flat_map(|month| (0..33).map(move |day| (month, day))) {
                let text = format!("{year}-{month:02}-{day:02}");
                assert_eq!(days(text.as_bytes()), Date32Type::parse(&text), "{text}");
            }
        }
        for text in [
            "",
            "2026-1-01",
            "2026/01/01",
            "2026-01-0x",
            "٢026-01-1",
            "2026-01-01T",
        ] {
            assert_eq!(days(text.as_bytes()), None, "{text}");
        }
    }
}
