//! Columns of Arrow under construction, cell by cell.
//!
//! In: texts, without their quotes. Out: arrays; an empty text is null, whatever the type.

use std::{mem::replace, str, sync::Arc};

use arrow_cast::parse::Parser;
use millrace_plugin::{
    Error,
    arrow_array::{
        ArrayRef, ArrowPrimitiveType,
        builder::{BooleanBuilder, NullBuilder, PrimitiveBuilder, StringBuilder},
        types::{
            Date32Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
            TimestampNanosecondType, TimestampSecondType,
        },
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
    fn values<T: Value>(rows: usize) -> Box<dyn Column> {
        Box::new(PrimitiveBuilder::<T>::with_capacity(rows))
    }
    Ok(match of {
        DataType::Int64 => values::<Int64Type>(rows),
        DataType::Float64 => values::<Float64Type>(rows),
        DataType::Date32 => values::<Date32Type>(rows),
        DataType::Timestamp(TimeUnit::Second, None) => values::<TimestampSecondType>(rows),
        DataType::Timestamp(TimeUnit::Millisecond, None) => values::<TimestampMillisecondType>(rows),
        DataType::Timestamp(TimeUnit::Microsecond, None) => values::<TimestampMicrosecondType>(rows),
        DataType::Timestamp(TimeUnit::Nanosecond, None) => values::<TimestampNanosecondType>(rows),
        DataType::Boolean => Box::new(BooleanBuilder::with_capacity(rows)),
        DataType::Null => Box::new(NullBuilder::new()),
        DataType::Utf8 => Box::new(StringBuilder::with_capacity(rows, 0)),
        other => return Err(Error::bug(format!("{other} is not found in CSV files"))),
    })
}

/// A type whose values are read one by one.
trait Value: ArrowPrimitiveType {
    fn read(cell: &[u8]) -> Option<Self::Native>;
}

impl Value for Int64Type {
    fn read(cell: &[u8]) -> Option<i64> {
        atoi_simd::parse::<_, true, true>(cell).ok()
    }
}

impl Value for Float64Type {
    fn read(cell: &[u8]) -> Option<f64> {
        fast_float2::parse(cell).ok()
    }
}

impl Value for Date32Type {
    fn read(cell: &[u8]) -> Option<i32> {
        days(cell)
    }
}

macro_rules! as_arrow_reads_it {
    ($($type:ty: $digits:literal),*) => {
        $(impl Value for $type {
            fn read(cell: &[u8]) -> Option<i64> {
                (fraction(cell) <= $digits).then(|| Self::parse(str::from_utf8(cell).ok()?))?
            }
        })*
    };
}

as_arrow_reads_it!(
    TimestampSecondType: 0,
    TimestampMillisecondType: 3,
    TimestampMicrosecondType: 6,
    TimestampNanosecondType: 9
);

/// The digits of a fraction of a second: Arrow cuts off those that a type has no room for.
fn fraction(cell: &[u8]) -> usize {
    let fraction = cell.iter().skip_while(|byte| **byte != b'.').skip(1);
    fraction.take_while(|byte| byte.is_ascii_digit()).count()
}

impl<T: Value> Column for PrimitiveBuilder<T> {
    fn push(&mut self, cell: &[u8]) -> Option<()> {
        match cell.is_empty() {
            true => self.append_null(),
            false => self.append_value(T::read(cell)?),
        }
        Some(())
    }

    fn take(&mut self) -> ArrayRef {
        let rows = self.values_slice().len();
        Arc::new(replace(self, Self::with_capacity(rows)).finish())
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

/// A column in whose first rows nothing stands.
impl Column for NullBuilder {
    fn push(&mut self, cell: &[u8]) -> Option<()> {
        cell.is_empty().then(|| self.append_null())
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
        Arc::new(replace(self, Self::with_capacity(rows, bytes)).finish())
    }
}

#[cfg(test)]
mod tests {
    use super::{Date32Type, Parser, days};

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
