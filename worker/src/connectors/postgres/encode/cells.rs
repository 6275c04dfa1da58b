//! One column of a batch, and how each of its values is written.

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
        Decimal256Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array,
        Int64Array, IntervalMonthDayNanoArray, LargeBinaryArray, LargeStringArray, ListArray, StringArray,
        StringViewArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, IntervalMonthDayNano},
};

use super::{
    super::{
        decode::column::{EPOCH_DAYS, EPOCH_MICROS},
        numeric,
    },
    check::{check, nested},
    normal::{form, json, normal},
    sql::{text_form, type_id},
};
use crate::error::Result;

/// A column in its form.
pub(super) struct Column {
    array: ArrayRef,
    field: Field,
}

impl Column {
    /// Brings a column into its form and checks its values.
    pub(super) fn new(array: &ArrayRef, field: &Field) -> Result<Self> {
        let array = normal(array, field)?;
        check(&array, field)?;
        Ok(Self {
            array,
            field: field.clone(),
        })
    }

    /// Whether PostgreSQL can hold every value.
    pub(super) fn holds(array: &ArrayRef, field: &Field) -> Result<()> {
        match form(field.data_type()) == json() {
            // Written out once it is to be sent.
            true => nested(array),
            false => Self::new(array, field).map(drop),
        }
    }

    /// Its cells.
    pub(super) fn cells(&self) -> Cells<'_> {
        cells(&self.array, &self.field)
    }
}

/// Values of one form, typed once for all rows.
pub(super) enum Cells<'a> {
    Bool(&'a BooleanArray),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal128(&'a Decimal128Array, u8),
    Decimal256(&'a Decimal256Array, u8),
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Json(&'a StringArray),
    Binary(&'a BinaryArray),
    LargeBinary(&'a LargeBinaryArray),
    BinaryView(&'a BinaryViewArray),
    FixedBinary(&'a FixedSizeBinaryArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Interval(&'a IntervalMonthDayNanoArray),
    List(&'a ListArray, Box<Cells<'a>>, u32),
    Null,
}

/// `field`: the column as it was before it was brought into its form.
fn cells<'a>(array: &'a ArrayRef, field: &Field) -> Cells<'a> {
    let scale = |scale: &i8| u8::try_from(*scale).unwrap_or(0);
    match array.data_type() {
        DataType::Boolean => Cells::Bool(array.as_boolean()),
        DataType::Int16 => Cells::Int16(array.as_primitive()),
        DataType::Int32 => Cells::Int32(array.as_primitive()),
        DataType::Int64 => Cells::Int64(array.as_primitive()),
        DataType::Float32 => Cells::Float32(array.as_primitive()),
        DataType::Float64 => Cells::Float64(array.as_primitive()),
        DataType::Decimal128(_, at) => Cells::Decimal128(array.as_primitive(), scale(at)),
        DataType::Decimal256(_, at) => Cells::Decimal256(array.as_primitive(), scale(at)),
        DataType::Utf8 if text_form(field) == Some("jsonb") || form(field.data_type()) == json() => {
            Cells::Json(array.as_string())
        }
        DataType::Utf8 => Cells::Text(array.as_string()),
        DataType::LargeUtf8 => Cells::LargeText(array.as_string()),
        DataType::Utf8View => Cells::TextView(array.as_string_view()),
        DataType::Binary => Cells::Binary(array.as_binary()),
        DataType::LargeBinary => Cells::LargeBinary(array.as_binary()),
        DataType::BinaryView => Cells::BinaryView(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => Cells::FixedBinary(array.as_fixed_size_binary()),
        DataType::Date32 => Cells::Date(array.as_primitive()),
        DataType::Time64(_) => Cells::Time(array.as_primitive()),
        DataType::Timestamp(..) => Cells::Timestamp(array.as_primitive()),
        DataType::Interval(_) => Cells::Interval(array.as_primitive()),
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            Cells::List(list, Box::new(cells(list.values(), item)), type_id(item))
        }
        _ => Cells::Null,
    }
}

/// Length and value together, so that a fixed value takes one copy.
macro_rules! fixed {
    ($out:expr, $bytes:expr, $len:literal) => {{
        let mut field = [0_u8; 4 + $len];
        field[3] = $len;
        field[4..].copy_from_slice(&$bytes);
        $out.extend_from_slice(&field);
    }};
}

impl Cells<'_> {
    /// Appends the field of one row, its length in front.
    #[inline]
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            return;
        }
        match self {
            Self::Bool(array) => fixed!(out, [u8::from(array.value(row))], 1),
            Self::Int16(array) => fixed!(out, array.value(row).to_be_bytes(), 2),
            Self::Int32(array) => fixed!(out, array.value(row).to_be_bytes(), 4),
            Self::Int64(array) => fixed!(out, array.value(row).to_be_bytes(), 8),
            Self::Float32(array) => fixed!(out, array.value(row).to_be_bytes(), 4),
            Self::Float64(array) => fixed!(out, array.value(row).to_be_bytes(), 8),
            Self::Decimal128(array, scale) => numeric::write(array.value(row), *scale, out),
            Self::Decimal256(array, scale) => numeric::write(array.value(row), *scale, out),
            Self::Text(array) => bytes(array.value(row).as_bytes(), out),
            Self::LargeText(array) => bytes(array.value(row).as_bytes(), out),
            Self::TextView(array) => bytes(array.value(row).as_bytes(), out),
            Self::Json(array) => {
                let text = array.value(row).as_bytes();
                out.extend_from_slice(&length(text.len() + 1));
                out.push(1);
                out.extend_from_slice(text);
            }
            Self::Binary(array) => bytes(array.value(row), out),
            Self::LargeBinary(array) => bytes(array.value(row), out),
            Self::BinaryView(array) => bytes(array.value(row), out),
            Self::FixedBinary(array) => bytes(array.value(row), out),
            Self::Date(array) => fixed!(out, array.value(row).wrapping_sub(EPOCH_DAYS).to_be_bytes(), 4),
            Self::Time(array) => fixed!(out, array.value(row).to_be_bytes(), 8),
            Self::Timestamp(array) => {
                fixed!(out, array.value(row).wrapping_sub(EPOCH_MICROS).to_be_bytes(), 8);
            }
            Self::Interval(array) => interval(array.value(row), out),
            Self::List(array, items, id) => list(array, items, *id, row, out),
            Self::Null => {}
        }
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(array) => array.is_null(row),
            Self::Int16(array) => array.is_null(row),
            Self::Int32(array) => array.is_null(row),
            Self::Int64(array) => array.is_null(row),
            Self::Float32(array) => array.is_null(row),
            Self::Float64(array) => array.is_null(row),
            Self::Decimal128(array, _) => array.is_null(row),
            Self::Decimal256(array, _) => array.is_null(row),
            Self::Text(array) | Self::Json(array) => array.is_null(row),
            Self::LargeText(array) => array.is_null(row),
            Self::TextView(array) => array.is_null(row),
            Self::Binary(array) => array.is_null(row),
            Self::LargeBinary(array) => array.is_null(row),
            Self::BinaryView(array) => array.is_null(row),
            Self::FixedBinary(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Time(array) => array.is_null(row),
            Self::Timestamp(array) => array.is_null(row),
            Self::Interval(array) => array.is_null(row),
            Self::List(array, ..) => array.is_null(row),
            Self::Null => true,
        }
    }
}

/// PostgreSQL itself refuses what is longer than 1 GiB; [`check`] has seen that nothing wraps here.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

#[inline]
fn bytes(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&length(value.len()));
    out.extend_from_slice(value);
}

/// Microseconds, days, months.
fn interval(value: IntervalMonthDayNano, out: &mut Vec<u8>) {
    out.extend_from_slice(&length(16));
    out.extend_from_slice(&(value.nanoseconds / 1000).to_be_bytes());
    out.extend_from_slice(&value.days.to_be_bytes());
    out.extend_from_slice(&value.months.to_be_bytes());
}

/// Dimensions, a flag for nulls, the type of the items; length and lower bound; the items.
fn list(array: &ListArray, items: &Cells<'_>, id: u32, row: usize, out: &mut Vec<u8>) {
    let at = |place: usize| {
        array
            .value_offsets()
            .get(place)
            .map_or(0, |end| usize::try_from(*end).unwrap_or(0))
    };
    let (from, to) = (at(row), at(row + 1));
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let dimensions = u32::from(to > from);
    let nulls = u32::from((from..to).any(|item| items.is_null(item)));
    for part in [dimensions, nulls, id] {
        out.extend_from_slice(&part.to_be_bytes());
    }
    if to > from {
        out.extend_from_slice(&length(to - from));
        out.extend_from_slice(&1_u32.to_be_bytes());
    }
    for item in from..to {
        items.write(item, out);
    }
    let written = length(out.len() - start - 4);
    out[start..start + 4].copy_from_slice(&written);
}
