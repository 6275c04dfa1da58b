//! Columns of Arrow from the texts of JSON values.
//!
//! In: one JSON text a row (or none), and the field whose values they are. Out: an array, and for each value that does
//! not fit its type exactly a note of its row and path; in the array stands a null in its place. Numbers are read
//! from their digits, so that large integers and decimals lose nothing; `"12"` is no number, `35.2` no integer.

pub(crate) mod raw;

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{
        ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanBuilder, FixedSizeBinaryArray, ListArray,
        MapArray, NullBufferBuilder, PrimitiveBuilder, StringBuilder, StructArray,
    },
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Decimal256Type, Field, FieldRef, Fields, Float32Type,
        Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
        Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};

use super::value;
use crate::{
    error::{Error, Result},
    types,
};

/// A value that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Which of the texts it is in.
    pub(crate) row: usize,
    /// The column and the names within it: `address.number`.
    pub(crate) path: String,
}

/// One value a text; `null` and no text are null.
///
/// # Errors
/// `config` where JSON cannot hold the type.
pub(crate) fn array(
    field: &Field,
    path: &str,
    texts: &[Option<&str>],
    wrong: &mut Vec<Wrong>,
) -> Result<ArrayRef> {
    let mut column = Column { path, texts, wrong };
    Ok(match field.data_type() {
        DataType::Utf8 if types::physical_type(field).is_some_and(|form| form.starts_with("json")) => {
            column.json()
        }
        DataType::Utf8 => column.text(),
        DataType::Boolean => column.boolean(),
        DataType::Int64 => column.primitive::<Int64Type>(|text| integer(text)?.try_into().ok()),
        DataType::Int32 => column.primitive::<Int32Type>(|text| integer(text)?.try_into().ok()),
        DataType::Int16 => column.primitive::<Int16Type>(|text| integer(text)?.try_into().ok()),
        DataType::Int8 => column.primitive::<Int8Type>(|text| integer(text)?.try_into().ok()),
        DataType::UInt64 => column.primitive::<UInt64Type>(|text| integer(text)?.try_into().ok()),
        DataType::UInt32 => column.primitive::<UInt32Type>(|text| integer(text)?.try_into().ok()),
        DataType::UInt16 => column.primitive::<UInt16Type>(|text| integer(text)?.try_into().ok()),
        DataType::UInt8 => column.primitive::<UInt8Type>(|text| integer(text)?.try_into().ok()),
        DataType::Float64 => column.primitive::<Float64Type>(|text| value::float(&float_text(text)?)),
        DataType::Float32 => column.primitive::<Float32Type>(|text| value::float32(&float_text(text)?)),
        &DataType::Decimal128(precision, scale) => column.typed::<Decimal128Type>(
            PrimitiveBuilder::with_capacity(texts.len()).with_precision_and_scale(precision, scale)?,
            |text| value::decimal128(&number_text(text)?, precision, scale),
        ),
        &DataType::Decimal256(precision, scale) => column.typed::<Decimal256Type>(
            PrimitiveBuilder::with_capacity(texts.len()).with_precision_and_scale(precision, scale)?,
            |text| value::decimal256(&number_text(text)?, precision, scale),
        ),
        DataType::Date32 => column.primitive::<Date32Type>(|text| value::date(&string(text)?)),
        DataType::Time32(unit) | DataType::Time64(unit) => column.time(*unit),
        DataType::Timestamp(unit, zone) => column.timestamp(*unit, zone.as_ref()),
        DataType::Binary => column.binary(),
        &DataType::FixedSizeBinary(size) => column.fixed_binary(size)?,
        DataType::List(item) => column.list(item)?,
        DataType::Struct(fields) => column.object(fields)?,
        DataType::Map(entries, _) => column.map(entries)?,
        other => {
            return Err(Error::config(format!(
                "column `{path}`: JSON cannot hold {other}"
            )));
        }
    })
}

/// The text of a JSON string; `None` for any other value.
pub(crate) fn string(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(text).ok().map(Cow::Owned)
}

/// Whether a text is a number as JSON writes it.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let leading_zero = matches!(digits, [b'0', b'0'..=b'9', ..]);
    let ends = digits.last().is_some_and(u8::is_ascii_digit);
    digits.first().is_some_and(u8::is_ascii_digit)
        && !leading_zero
        && ends
        && digits
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
}

/// A whole number, also where it is written `1.0` or `1e3`.
fn integer(text: &str) -> Option<i128> {
    if !is_number(text) {
        return None;
    }
    value::integer(text)
        .map(i128::from)
        .or_else(|| value::decimal128(text, 38, 0))
}

/// The digits of a number. A string of digits is accepted for a decimal, since programs that care for digits write
/// decimals so.
fn number_text(text: &str) -> Option<Cow<'_, str>> {
    if is_number(text) {
        Some(Cow::Borrowed(text))
    } else {
        string(text)
    }
}

/// The digits of a number, or one of the three that JSON has no digits for.
fn float_text(text: &str) -> Option<Cow<'_, str>> {
    match text {
        r#""NaN""# | r#""Infinity""# | r#""-Infinity""# => string(text),
        text => is_number(text).then_some(Cow::Borrowed(text)),
    }
}

struct Column<'a, 'b> {
    path: &'a str,
    texts: &'a [Option<&'a str>],
    wrong: &'b mut Vec<Wrong>,
}

impl<'a> Column<'a, '_> {
    /// The texts that are not null, each with its row.
    fn get(&self, row: usize) -> Option<&'a str> {
        self.texts[row].filter(|text| *text != "null")
    }

    fn wrong(&mut self, row: usize) {
        self.wrong.push(Wrong {
            row,
            path: self.path.to_owned(),
        });
    }

    /// Gives each row's value to `take`; a text that is not one is noted, and a null is taken.
    fn each<V>(&mut self, parse: impl Fn(&'a str) -> Option<V>, mut take: impl FnMut(Option<V>)) {
        for row in 0..self.texts.len() {
            let text = self.get(row);
            let value = text.and_then(&parse);
            if value.is_none() && text.is_some() {
                self.wrong(row);
            }
            take(value);
        }
    }

    fn primitive<T: ArrowPrimitiveType>(&mut self, parse: impl Fn(&str) -> Option<T::Native>) -> ArrayRef {
        self.typed::<T>(PrimitiveBuilder::with_capacity(self.texts.len()), parse)
    }

    fn typed<T: ArrowPrimitiveType>(
        &mut self,
        mut builder: PrimitiveBuilder<T>,
        parse: impl Fn(&str) -> Option<T::Native>,
    ) -> ArrayRef {
        self.each(parse, |value| builder.append_option(value));
        Arc::new(builder.finish())
    }

    fn boolean(&mut self) -> ArrayRef {
        let mut builder = BooleanBuilder::with_capacity(self.texts.len());
        let parse = |text: &str| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        self.each(parse, |value| builder.append_option(value));
        Arc::new(builder.finish())
    }

    fn text(&mut self) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(self.texts.len(), 0);
        self.each(string, |value| builder.append_option(value));
        Arc::new(builder.finish())
    }

    /// Any value, as the JSON that it is.
    fn json(&mut self) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(self.texts.len(), 0);
        self.each(
            |text| raw::valid(text).then_some(text),
            |value| builder.append_option(value),
        );
        Arc::new(builder.finish())
    }

    fn time(&mut self, unit: TimeUnit) -> ArrayRef {
        let parse = |text: &str| value::clock(string(text)?.as_bytes())?.exact(unit);
        let short = |text: &str| parse(text)?.try_into().ok();
        match unit {
            TimeUnit::Second => self.primitive::<Time32SecondType>(short),
            TimeUnit::Millisecond => self.primitive::<Time32MillisecondType>(short),
            TimeUnit::Microsecond => self.primitive::<Time64MicrosecondType>(parse),
            TimeUnit::Nanosecond => self.primitive::<Time64NanosecondType>(parse),
        }
    }

    fn timestamp(&mut self, unit: TimeUnit, zone: Option<&Arc<str>>) -> ArrayRef {
        let parse = |text: &str| value::timestamp(&string(text)?, unit, zone.is_some());
        let type_ = DataType::Timestamp(unit, zone.cloned());
        let rows = self.texts.len();
        match unit {
            TimeUnit::Second => self.typed(
                PrimitiveBuilder::<TimestampSecondType>::with_capacity(rows).with_data_type(type_),
                parse,
            ),
            TimeUnit::Millisecond => self.typed(
                PrimitiveBuilder::<TimestampMillisecondType>::with_capacity(rows).with_data_type(type_),
                parse,
            ),
            TimeUnit::Microsecond => self.typed(
                PrimitiveBuilder::<TimestampMicrosecondType>::with_capacity(rows).with_data_type(type_),
                parse,
            ),
            TimeUnit::Nanosecond => self.typed(
                PrimitiveBuilder::<TimestampNanosecondType>::with_capacity(rows).with_data_type(type_),
                parse,
            ),
        }
    }

    fn binary(&mut self) -> ArrayRef {
        let mut builder = BinaryBuilder::new();
        self.each(
            |text| value::hex(&string(text)?),
            |value| builder.append_option(value),
        );
        Arc::new(builder.finish())
    }

    fn fixed_binary(&mut self, size: i32) -> Result<ArrayRef> {
        let fits = |bytes: &Vec<u8>| usize::try_from(size).is_ok_and(|size| bytes.len() == size);
        let mut values = Vec::with_capacity(self.texts.len());
        self.each(
            |text| value::hex(&string(text)?).filter(fits),
            |value| values.push(value),
        );
        Ok(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(
            values.into_iter(),
            size,
        )?))
    }

    fn list(&mut self, item: &FieldRef) -> Result<ArrayRef> {
        let mut flat = Flat::new(self.texts.len());
        for row in 0..self.texts.len() {
            let before = flat.values.len();
            let text = self.get(row);
            let whole =
                text.is_some_and(|text| raw::items(text, |value| flat.values.push(Some(value))).is_some());
            if text.is_some() && !whole {
                flat.values.truncate(before);
                self.wrong(row);
            }
            flat.end_row(row, whole);
        }
        let values = flat.build(item, self.path, self.wrong)?;
        Ok(Arc::new(ListArray::try_new(
            item.clone(),
            flat.offsets(),
            values,
            flat.valid.finish(),
        )?))
    }

    fn map(&mut self, entries: &FieldRef) -> Result<ArrayRef> {
        let DataType::Struct(fields) = entries.data_type() else {
            return Err(Error::bug(format!(
                "the entries of map `{}` are no struct",
                self.path
            )));
        };
        let [key, value] = &fields[..] else {
            return Err(Error::bug(format!(
                "the entries of map `{}` are not two",
                self.path
            )));
        };
        let (mut names, mut flat) = (StringBuilder::new(), Flat::new(self.texts.len()));
        for row in 0..self.texts.len() {
            let text = self.get(row);
            let mut found = Vec::new();
            let whole = text
                .is_some_and(|text| raw::members(text, |name, value| found.push((name, value))).is_some());
            if whole {
                for (name, value) in found {
                    names.append_value(name);
                    flat.values.push(Some(value));
                }
            } else if text.is_some() {
                self.wrong(row);
            }
            flat.end_row(row, whole);
        }
        let values = flat.build(value, self.path, self.wrong)?;
        let keys = arrow::compute::cast(&names.finish(), key.data_type())?;
        let pairs = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
        Ok(Arc::new(MapArray::try_new(
            entries.clone(),
            flat.offsets(),
            pairs,
            flat.valid.finish(),
            false,
        )?))
    }

    fn object(&mut self, fields: &Fields) -> Result<ArrayRef> {
        let rows = self.texts.len();
        let mut valid = NullBufferBuilder::new(rows);
        let mut members = vec![vec![None; rows]; fields.len()];
        for row in 0..rows {
            let text = self.get(row);
            let whole = text.is_some_and(|text| {
                raw::members(text, |name, value| {
                    if let Some((at, _)) = fields.find(&name) {
                        members[at][row] = Some(value);
                    }
                })
                .is_some()
            });
            if text.is_some() && !whole {
                members.iter_mut().for_each(|member| member[row] = None);
                self.wrong(row);
            }
            valid.append(whole);
        }
        let mut arrays = Vec::with_capacity(fields.len());
        for (field, texts) in fields.iter().zip(&members) {
            arrays.push(array(
                field,
                &types::join(self.path, field.name()),
                texts,
                self.wrong,
            )?);
        }
        Ok(Arc::new(StructArray::try_new_with_length(
            fields.clone(),
            arrays,
            valid.finish(),
            rows,
        )?))
    }
}

/// The values of all lists of a column, one after the other.
struct Flat<'a> {
    values: Vec<Option<&'a str>>,
    ends: Vec<i32>,
    /// The row that each value came from.
    owners: Vec<usize>,
    valid: NullBufferBuilder,
}

impl Flat<'_> {
    fn new(rows: usize) -> Self {
        Self {
            values: Vec::new(),
            ends: vec![0],
            owners: Vec::new(),
            valid: NullBufferBuilder::new(rows),
        }
    }

    fn end_row(&mut self, row: usize, valid: bool) {
        self.owners.resize(self.values.len(), row);
        // A batch holds far fewer values than this.
        self.ends
            .push(i32::try_from(self.values.len()).unwrap_or(i32::MAX));
        self.valid.append(valid);
    }

    fn build(&self, item: &FieldRef, path: &str, wrong: &mut Vec<Wrong>) -> Result<ArrayRef> {
        let mut inner = Vec::new();
        let values = array(item, path, &self.values, &mut inner)?;
        wrong.extend(inner.into_iter().map(|found| Wrong {
            row: self.owners[found.row],
            ..found
        }));
        Ok(values)
    }

    fn offsets(&self) -> OffsetBuffer<i32> {
        OffsetBuffer::new(ScalarBuffer::from(self.ends.clone()))
    }
}
