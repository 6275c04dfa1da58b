//! 128-bit hashes of rows, column by column.
//!
//! In: columns and a seed. Out: one `u128` a row, the same on every machine and in every version: it is stored in
//! indexes. Integers hash by value, so a widened column changes nothing; columns hash in the order of their names, so
//! a reordered table changes nothing; a renamed column changes every row.

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray},
    datatypes::{
        DataType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
        DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
        Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
        UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
    row::{RowConverter, SortField},
};
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use crate::error::Result;

/// Odd constants of the multiply-and-fold step (from the hexadecimal digits of pi).
const FOLD: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7345];

/// Two 64-bit lanes of one row's hash.
#[derive(Clone, Copy)]
struct State(u64, u64);

/// The salt of one column.
#[derive(Clone, Copy)]
struct Salt(u64, u64);

#[inline]
fn fold(value: u64, by: u64) -> u64 {
    let product = u128::from(value) * u128::from(by);
    low(product) ^ high(product)
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn low(value: u128) -> u64 {
    value as u64
}

#[inline]
fn high(value: u128) -> u64 {
    low(value >> 64)
}

impl State {
    #[inline]
    fn value(&mut self, value: u64, salt: Salt) {
        self.pair(value, value.rotate_left(32), salt);
    }

    #[inline]
    fn pair(&mut self, a: u64, b: u64, salt: Salt) {
        self.0 = fold(self.0.rotate_left(23) ^ a ^ salt.0, FOLD[0]);
        self.1 = fold(self.1.rotate_left(29) ^ b ^ salt.1, FOLD[1]);
    }

    #[inline]
    fn wide(&mut self, value: u128, salt: Salt) {
        self.pair(low(value), high(value), salt);
    }

    /// Nulls take the salts crosswise: no value can look like one.
    #[inline]
    fn null(&mut self, salt: Salt) {
        self.pair(salt.1, salt.0, Salt(!salt.1, !salt.0));
    }
}

/// One hash a row over `columns`, each salted by its name; the order of the columns does not count.
///
/// # Errors
/// `data` where a nested type cannot be hashed.
pub fn rows<'a>(
    columns: impl IntoIterator<Item = (&'a str, &'a ArrayRef)>,
    len: usize,
    seed: u64,
) -> Result<Vec<u128>> {
    let mut columns: Vec<_> = columns.into_iter().collect();
    columns.sort_by_key(|(name, _)| *name);
    let columns = columns
        .into_iter()
        .map(|(name, column)| (xxh3_128(name.as_bytes()), column));
    hash(columns, len, seed)
}

/// One hash a row over key columns in their order; their names do not count, so that a renamed key is the same key.
///
/// # Errors
/// `data` where a nested type cannot be hashed.
pub fn identities<'a>(columns: impl IntoIterator<Item = &'a ArrayRef>, len: usize) -> Result<Vec<u128>> {
    let columns = columns.into_iter().enumerate();
    hash(
        columns.map(|(number, column)| (xxh3_128(&number.to_le_bytes()), column)),
        len,
        0,
    )
}

fn hash<'a>(columns: impl Iterator<Item = (u128, &'a ArrayRef)>, len: usize, seed: u64) -> Result<Vec<u128>> {
    let mut states = vec![State(seed ^ FOLD[1], !seed ^ FOLD[0]); len];
    for (salt, column) in columns {
        column_into(&mut states, column, Salt(low(salt), high(salt)))?;
    }
    Ok(states
        .into_iter()
        .map(|State(a, b)| (u128::from(fold(b, FOLD[1])) << 64) | u128::from(fold(a, FOLD[0])))
        .collect())
}

fn column_into(states: &mut [State], column: &ArrayRef, salt: Salt) -> Result<()> {
    match column.data_type() {
        DataType::Int8 => integers::<Int8Type>(states, column, salt),
        DataType::Int16 => integers::<Int16Type>(states, column, salt),
        DataType::Int32 => integers::<Int32Type>(states, column, salt),
        DataType::Int64 => integers::<Int64Type>(states, column, salt),
        DataType::UInt8 => integers::<UInt8Type>(states, column, salt),
        DataType::UInt16 => integers::<UInt16Type>(states, column, salt),
        DataType::UInt32 => integers::<UInt32Type>(states, column, salt),
        DataType::UInt64 => integers::<UInt64Type>(states, column, salt),
        DataType::Float16 => primitive::<Float16Type>(states, column, salt, |v| float(v.to_f64())),
        DataType::Float32 => primitive::<Float32Type>(states, column, salt, |v| float(f64::from(v))),
        DataType::Float64 => primitive::<Float64Type>(states, column, salt, float),
        DataType::Decimal32(..) => integers::<Decimal32Type>(states, column, salt),
        DataType::Decimal64(..) => integers::<Decimal64Type>(states, column, salt),
        DataType::Decimal128(..) => decimals(states, column.as_primitive(), salt),
        DataType::Date32 => integers::<Date32Type>(states, column, salt),
        DataType::Date64 => integers::<Date64Type>(states, column, salt),
        DataType::Time32(TimeUnit::Second) => integers::<Time32SecondType>(states, column, salt),
        DataType::Time32(_) => integers::<Time32MillisecondType>(states, column, salt),
        DataType::Time64(TimeUnit::Microsecond) => integers::<Time64MicrosecondType>(states, column, salt),
        DataType::Time64(_) => integers::<Time64NanosecondType>(states, column, salt),
        DataType::Timestamp(TimeUnit::Second, _) => integers::<TimestampSecondType>(states, column, salt),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            integers::<TimestampMillisecondType>(states, column, salt);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            integers::<TimestampMicrosecondType>(states, column, salt);
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            integers::<TimestampNanosecondType>(states, column, salt);
        }
        DataType::Duration(TimeUnit::Second) => integers::<DurationSecondType>(states, column, salt),
        DataType::Duration(TimeUnit::Millisecond) => {
            integers::<DurationMillisecondType>(states, column, salt);
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            integers::<DurationMicrosecondType>(states, column, salt);
        }
        DataType::Duration(TimeUnit::Nanosecond) => integers::<DurationNanosecondType>(states, column, salt),
        DataType::Boolean => booleans(states, column.as_boolean(), salt),
        DataType::Utf8 => bytes(
            states,
            column.as_string::<i32>().iter().map(|v| v.map(str::as_bytes)),
            salt,
        ),
        DataType::LargeUtf8 => bytes(
            states,
            column.as_string::<i64>().iter().map(|v| v.map(str::as_bytes)),
            salt,
        ),
        DataType::Utf8View => bytes(
            states,
            column.as_string_view().iter().map(|v| v.map(str::as_bytes)),
            salt,
        ),
        DataType::Binary => bytes(states, column.as_binary::<i32>().iter(), salt),
        DataType::LargeBinary => bytes(states, column.as_binary::<i64>().iter(), salt),
        DataType::BinaryView => bytes(states, column.as_binary_view().iter(), salt),
        DataType::FixedSizeBinary(_) => bytes(states, column.as_fixed_size_binary().iter(), salt),
        DataType::Null => states.iter_mut().for_each(|state| state.null(salt)),
        _ => return nested(states, column, salt),
    }
    Ok(())
}

/// `-0.0` and `0.0` stay apart; every NaN is the same.
fn float(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        value.to_bits()
    }
}

fn integers<T: ArrowPrimitiveType>(states: &mut [State], column: &ArrayRef, salt: Salt)
where
    T::Native: Into<i128> + Copy,
{
    primitive::<T>(states, column, salt, |value| low(value.into().cast_unsigned()));
}

fn primitive<T: ArrowPrimitiveType>(
    states: &mut [State],
    column: &ArrayRef,
    salt: Salt,
    bits: impl Fn(T::Native) -> u64,
) {
    let column: &PrimitiveArray<T> = column.as_primitive();
    if column.null_count() == 0 {
        for (state, value) in states.iter_mut().zip(column.values()) {
            state.value(bits(*value), salt);
        }
    } else {
        for (state, value) in states.iter_mut().zip(column) {
            match value {
                Some(value) => state.value(bits(value), salt),
                None => state.null(salt),
            }
        }
    }
}

fn decimals(states: &mut [State], column: &PrimitiveArray<Decimal128Type>, salt: Salt) {
    for (state, value) in states.iter_mut().zip(column) {
        match value {
            Some(value) => state.wide(value.cast_unsigned(), salt),
            None => state.null(salt),
        }
    }
}

fn booleans(states: &mut [State], column: &BooleanArray, salt: Salt) {
    for (state, value) in states.iter_mut().zip(column) {
        match value {
            Some(value) => state.value(u64::from(value), salt),
            None => state.null(salt),
        }
    }
}

fn bytes<'a>(states: &mut [State], values: impl Iterator<Item = Option<&'a [u8]>>, salt: Salt) {
    for (state, value) in states.iter_mut().zip(values) {
        match value {
            Some(value) => state.wide(xxh3_128_with_seed(value, salt.0), salt),
            None => state.null(salt),
        }
    }
}

/// Lists, structs, maps and what is rare: by the row format of Arrow, which is canonical.
fn nested(states: &mut [State], column: &ArrayRef, salt: Salt) -> Result<()> {
    let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
    let rows = converter.convert_columns(std::slice::from_ref(column))?;
    for (number, (state, row)) in states.iter_mut().zip(&rows).enumerate() {
        if column.is_null(number) {
            state.null(salt);
        } else {
            state.wide(xxh3_128_with_seed(row.as_ref(), salt.0), salt);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
