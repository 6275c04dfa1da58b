//! One growing column, by kind.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder, Float32Builder,
        Float64Builder, Int16Builder, Int32Builder, Int64Builder, Time64MicrosecondBuilder,
        TimestampMicrosecondBuilder,
    },
    datatypes::i256,
};

use super::{super::numeric::Numeric, super::types::Kind, bytes::Bytes, list::List};
use crate::error::Result;

/// Days from 1970 to 2000, where PostgreSQL counts from.
pub(in super::super) const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(in super::super) const EPOCH_MICROS: i64 = 946_684_800_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// Why a value cannot be held: the value for people, and the rest of the sentence.
pub(super) struct Unfit {
    pub(super) value: String,
    pub(super) reason: &'static str,
}

impl Unfit {
    pub(super) fn new(value: impl Into<String>, reason: &'static str) -> Self {
        Self {
            value: value.into(),
            reason,
        }
    }
}

pub(super) fn malformed() -> Unfit {
    Unfit::new("the value", "is malformed on the wire")
}

pub(super) enum Builder {
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal128(Decimal128Builder, i32, i128),
    Decimal256(Decimal256Builder, i32, i256),
    NumericText(Bytes),
    Text(Bytes),
    Jsonb(Bytes),
    Uuid(Bytes),
    Binary(Bytes),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    List(Box<List>),
}

impl Builder {
    pub(super) fn new(kind: &Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
            Kind::Int2 => Self::Int16(Int16Builder::new()),
            Kind::Int4 => Self::Int32(Int32Builder::new()),
            Kind::Int8 => Self::Int64(Int64Builder::new()),
            Kind::Float4 => Self::Float32(Float32Builder::new()),
            Kind::Float8 => Self::Float64(Float64Builder::new()),
            Kind::Decimal { precision, scale } if *precision <= 38 => Self::Decimal128(
                Decimal128Builder::new().with_data_type(kind.arrow()),
                i32::from(*scale),
                10_i128.pow(u32::from(*precision)),
            ),
            Kind::Decimal { precision, scale } => Self::Decimal256(
                Decimal256Builder::new().with_data_type(kind.arrow()),
                i32::from(*scale),
                i256::from_i128(10).wrapping_pow(u32::from(*precision)),
            ),
            Kind::NumericText => Self::NumericText(Bytes::new()),
            Kind::Text | Kind::Json => Self::Text(Bytes::new()),
            Kind::Jsonb => Self::Jsonb(Bytes::new()),
            Kind::Uuid => Self::Uuid(Bytes::new()),
            Kind::Bytes => Self::Binary(Bytes::new()),
            Kind::Date => Self::Date(Date32Builder::new()),
            Kind::Time => Self::Time(Time64MicrosecondBuilder::new()),
            Kind::Timestamp { .. } => {
                Self::Timestamp(TimestampMicrosecondBuilder::new().with_data_type(kind.arrow()))
            }
            Kind::List(item) => Self::List(Box::new(List::new(item))),
        }
    }

    /// Appends one value. On an error nothing was appended.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Unfit> {
        match self {
            Self::Int32(builder) => builder.append_value(i32::from_be_bytes(fixed(bytes)?)),
            Self::Int64(builder) => builder.append_value(i64::from_be_bytes(fixed(bytes)?)),
            Self::Text(builder) => builder.push(bytes)?,
            Self::Decimal128(builder, scale, end) => {
                let value = decimal(bytes, *scale, |value: i128| value < *end && -value < *end)?;
                builder.append_value(value);
            }
            Self::Date(builder) => builder.append_value(date(i32::from_be_bytes(fixed(bytes)?))?),
            Self::Timestamp(builder) => builder.append_value(timestamp(i64::from_be_bytes(fixed(bytes)?))?),
            Self::Bool(builder) => builder.append_value(fixed::<1>(bytes)?[0] != 0),
            Self::Int16(builder) => builder.append_value(i16::from_be_bytes(fixed(bytes)?)),
            Self::Float32(builder) => builder.append_value(f32::from_be_bytes(fixed(bytes)?)),
            Self::Float64(builder) => builder.append_value(f64::from_be_bytes(fixed(bytes)?)),
            Self::Decimal256(builder, scale, end) => {
                let value = decimal(bytes, *scale, |value: i256| {
                    value < *end && value.wrapping_neg() < *end
                })?;
                builder.append_value(value);
            }
            Self::NumericText(builder) => {
                let value = Numeric::read(bytes).ok_or_else(malformed)?;
                builder.push_with(|out| value.print(out))?;
            }
            Self::Jsonb(builder) => builder.push(bytes.strip_prefix(b"\x01").ok_or_else(malformed)?)?,
            Self::Uuid(builder) => {
                let value = uuid::Uuid::from_bytes(fixed(bytes)?);
                builder.push(value.hyphenated().encode_lower(&mut [0; 36]).as_bytes())?;
            }
            Self::Binary(builder) => builder.push(bytes)?,
            Self::Time(builder) => builder.append_value(time(i64::from_be_bytes(fixed(bytes)?))?),
            Self::List(list) => list.push(bytes)?,
        }
        Ok(())
    }

    #[inline]
    pub(super) fn push_null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::Int16(builder) => builder.append_null(),
            Self::Int32(builder) => builder.append_null(),
            Self::Int64(builder) => builder.append_null(),
            Self::Float32(builder) => builder.append_null(),
            Self::Float64(builder) => builder.append_null(),
            Self::Decimal128(builder, ..) => builder.append_null(),
            Self::Decimal256(builder, ..) => builder.append_null(),
            Self::NumericText(builder)
            | Self::Text(builder)
            | Self::Jsonb(builder)
            | Self::Uuid(builder)
            | Self::Binary(builder) => builder.push_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::List(list) => list.push_null(),
        }
    }

    /// The column, and the rows of it that turned out bad only now.
    pub(super) fn finish(&mut self) -> Result<(ArrayRef, Vec<(usize, Unfit)>)> {
        let array: ArrayRef = match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int16(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Decimal128(builder, ..) => Arc::new(builder.finish()),
            Self::Decimal256(builder, ..) => Arc::new(builder.finish()),
            Self::NumericText(builder) | Self::Text(builder) | Self::Jsonb(builder) | Self::Uuid(builder) => {
                return builder.finish_text();
            }
            Self::Binary(builder) => builder.finish_binary()?,
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::List(list) => return list.finish(),
        };
        Ok((array, Vec::new()))
    }
}

#[inline]
fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Unfit> {
    bytes.try_into().map_err(|_| malformed())
}

#[inline]
fn decimal<T: super::super::numeric::Digits>(
    bytes: &[u8],
    scale: i32,
    fits: impl FnOnce(T) -> bool,
) -> Result<T, Unfit> {
    let value = Numeric::read(bytes).ok_or_else(malformed)?;
    value.scaled(scale).filter(|value| fits(*value)).ok_or_else(|| {
        let mut text = Vec::new();
        value.print(&mut text);
        Unfit::new(
            String::from_utf8_lossy(&text),
            "does not fit the column's decimal type",
        )
    })
}

#[inline]
fn date(days: i32) -> Result<i32, Unfit> {
    match days {
        i32::MAX => Err(Unfit::new("infinity", "is no day that Arrow can hold")),
        i32::MIN => Err(Unfit::new("-infinity", "is no day that Arrow can hold")),
        days => days.checked_add(EPOCH_DAYS).ok_or_else(malformed),
    }
}

#[inline]
fn timestamp(micros: i64) -> Result<i64, Unfit> {
    match micros {
        i64::MAX => Err(Unfit::new("infinity", "is no moment that Arrow can hold")),
        i64::MIN => Err(Unfit::new("-infinity", "is no moment that Arrow can hold")),
        micros => micros
            .checked_add(EPOCH_MICROS)
            .ok_or_else(|| Unfit::new("a moment after the year 294246", "is none that Arrow can hold")),
    }
}

#[inline]
fn time(micros: i64) -> Result<i64, Unfit> {
    if micros == DAY_MICROS {
        return Err(Unfit::new("24:00:00", "is no time of day that Arrow can hold"));
    }
    Ok(micros)
}
