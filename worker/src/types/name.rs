//! The names of exact types: what people write in `physicalType`, and what errors and `discover` print.

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, IntervalUnit, TimeUnit,
};

use crate::error::{Error, Result};

/// The type of a name such as `decimal(15,2)`, `int32`, `varchar(20)` or `timestamp(ns)`.
///
/// # Errors
/// `config` where the name is not known or its numbers are out of range.
pub(super) fn parse(text: &str, path: &str) -> Result<DataType> {
    let lower = text.to_ascii_lowercase();
    let (base, parameters) = split(&lower);
    let base = base.split_whitespace().collect::<Vec<_>>().join(" ");
    let type_ = match base.as_str() {
        "decimal" | "numeric" | "dec" => Some(decimal(&parameters, path)?),
        "timestamp" | "datetime" | "timestamp without time zone" | "timestamp_ntz" => {
            Some(DataType::Timestamp(unit(&parameters, path)?, None))
        }
        "timestamptz" | "timestamp with time zone" | "timestamp_tz" => {
            Some(DataType::Timestamp(unit(&parameters, path)?, Some("UTC".into())))
        }
        "time" | "time without time zone" => Some(time(unit(&parameters, path)?)),
        "interval" => Some(DataType::Interval(IntervalUnit::MonthDayNano)),
        "interval year to month" => Some(DataType::Interval(IntervalUnit::YearMonth)),
        "interval day to second" => Some(DataType::Interval(IntervalUnit::DayTime)),
        "duration" => Some(DataType::Duration(unit(&parameters, path)?)),
        "binary" | "bytes" | "bytea" | "blob" | "varbinary" => Some(binary(&base, &parameters, path)?),
        base => plain(base),
    };
    type_.ok_or_else(|| {
        Error::config(format!("column `{path}`: physicalType {text} is not known")).advice(
            "write one of boolean, int8 to int64, uint8 to uint64, float32, float64, decimal(p,s), text, json, uuid, \
             date, time, timestamp(us), timestamptz(us), binary; or leave it out and keep logicalType",
        )
    })
}

/// `decimal(15,2)` into `decimal` and `[15, 2]`; words after the brackets belong to the name.
fn split(text: &str) -> (String, Vec<String>) {
    let Some((base, rest)) = text.split_once('(') else {
        return (text.trim().to_owned(), Vec::new());
    };
    let (inner, tail) = rest.split_once(')').unwrap_or((rest, ""));
    let parameters = inner.split(',').map(|part| part.trim().to_owned()).collect();
    (
        format!("{} {}", base.trim(), tail.trim()).trim().to_owned(),
        parameters,
    )
}

fn plain(name: &str) -> Option<DataType> {
    Some(match name {
        "bool" | "boolean" => DataType::Boolean,
        "int8" | "tinyint" => DataType::Int8,
        "int16" | "smallint" | "int2" | "smallserial" => DataType::Int16,
        "int32" | "int" | "integer" | "int4" | "serial" => DataType::Int32,
        "int64" | "bigint" | "long" | "bigserial" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float32" | "float" | "real" | "float4" => DataType::Float32,
        "float64" | "double" | "double precision" | "float8" => DataType::Float64,
        "date" | "date32" => DataType::Date32,
        "text" | "string" | "utf8" | "varchar" | "char" | "bpchar" | "character" | "character varying"
        | "nvarchar" | "nchar" | "citext" | "name" | "json" | "jsonb" | "uuid" => DataType::Utf8,
        _ => return None,
    })
}

fn decimal(parameters: &[String], path: &str) -> Result<DataType> {
    let wrong = || {
        Error::config(format!(
            "column `{path}`: a decimal needs its digits, and how many of them follow the point"
        ))
        .advice("write decimal(15,2); at most 76 digits")
    };
    let precision: u8 = parameters
        .first()
        .and_then(|text| text.parse().ok())
        .ok_or_else(wrong)?;
    let scale: i8 = match parameters.get(1) {
        Some(text) => text.parse().map_err(|_| wrong())?,
        None => 0,
    };
    let fits = scale.unsigned_abs() <= precision || scale < 0;
    match precision {
        1..=DECIMAL128_MAX_PRECISION if fits => Ok(DataType::Decimal128(precision, scale)),
        1..=DECIMAL256_MAX_PRECISION if fits => Ok(DataType::Decimal256(precision, scale)),
        _ => Err(wrong()),
    }
}

/// A unit by name, or by the digits after the second as databases count them.
fn unit(parameters: &[String], path: &str) -> Result<TimeUnit> {
    match parameters.first().map(String::as_str) {
        None | Some("us" | "4" | "5" | "6") => Ok(TimeUnit::Microsecond),
        Some("s" | "0") => Ok(TimeUnit::Second),
        Some("ms" | "1" | "2" | "3") => Ok(TimeUnit::Millisecond),
        Some("ns" | "7" | "8" | "9") => Ok(TimeUnit::Nanosecond),
        Some(other) => Err(
            Error::config(format!("column `{path}`: {other} is not a unit of time"))
                .advice("write s, ms, us or ns, for example timestamp(us)"),
        ),
    }
}

fn time(unit: TimeUnit) -> DataType {
    match unit {
        TimeUnit::Second | TimeUnit::Millisecond => DataType::Time32(unit),
        TimeUnit::Microsecond | TimeUnit::Nanosecond => DataType::Time64(unit),
    }
}

/// Only `binary(n)` has a fixed length; `varbinary(n)` has a greatest one.
fn binary(base: &str, parameters: &[String], path: &str) -> Result<DataType> {
    match parameters.first() {
        Some(size) if base == "binary" => {
            let size = size.parse().ok().filter(|size| *size > 0);
            let size =
                size.ok_or_else(|| Error::config(format!("column `{path}`: binary(n) needs a length")));
            Ok(DataType::FixedSizeBinary(size?))
        }
        _ => Ok(DataType::Binary),
    }
}

/// The type that the `format` of an integer means (`i32`, `u8`); `None` where it is another format.
pub(super) fn integer_format(format: &str) -> Option<DataType> {
    Some(match format {
        "i8" => DataType::Int8,
        "i16" => DataType::Int16,
        "i32" => DataType::Int32,
        "i64" => DataType::Int64,
        "i128" => DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0),
        "u8" => DataType::UInt8,
        "u16" => DataType::UInt16,
        "u32" => DataType::UInt32,
        "u64" => DataType::UInt64,
        _ => return None,
    })
}

/// The type that the `format` of a number means.
pub(super) fn number_format(format: &str) -> Option<DataType> {
    match format {
        "f32" => Some(DataType::Float32),
        "f64" => Some(DataType::Float64),
        _ => None,
    }
}

/// A type as people write it: `decimal(15,2)`, `timestamptz(us)`, `array of text`.
#[must_use]
pub fn type_name(type_: &DataType) -> String {
    match type_ {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".to_owned(),
        DataType::FixedSizeBinary(size) => format!("binary({size})"),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("time({})", unit_name(*unit)),
        DataType::Timestamp(unit, None) => format!("timestamp({})", unit_name(*unit)),
        DataType::Timestamp(unit, Some(_)) => format!("timestamptz({})", unit_name(*unit)),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Interval(IntervalUnit::MonthDayNano) => "interval".to_owned(),
        DataType::Interval(IntervalUnit::YearMonth) => "interval year to month".to_owned(),
        DataType::Interval(IntervalUnit::DayTime) => "interval day to second".to_owned(),
        DataType::Duration(unit) => format!("duration({})", unit_name(*unit)),
        DataType::Dictionary(_, values) => type_name(values),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("array of {}", type_name(item.data_type()))
        }
        DataType::Struct(_) => "object".to_owned(),
        DataType::Map(..) => "map".to_owned(),
        other => other.to_string().to_ascii_lowercase(),
    }
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}
