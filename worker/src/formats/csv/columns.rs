//! Columns of Arrow from the fields of CSV bytes.
//!
//! In: bytes whose fields [`Tokens`] found, and the type that each column has. Out: arrays, and for each value that
//! does not fit its type exactly a note of its row and column; in the array stands a null in its place.

use std::{borrow::Cow, ops::Range, sync::Arc};

use arrow::{
    array::{
        ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanBuilder, FixedSizeBinaryArray, NullBufferBuilder,
        PrimitiveArray, StringBuilder,
    },
    buffer::{NullBuffer, ScalarBuffer},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int8Type,
        Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
        Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
        TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};

use super::tokens::{Dialect, Tokens};
use crate::{
    error::{Error, Result},
    formats::{json, value},
    types::INFERRED,
};

/// Which texts are null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nulls {
    /// The empty text is one of them, as it nearly always is.
    empty: bool,
    others: Vec<String>,
}

impl Nulls {
    pub(crate) fn new(mut tokens: Vec<String>) -> Self {
        let count = tokens.len();
        tokens.retain(|token| !token.is_empty());
        Self {
            empty: tokens.len() < count,
            others: tokens,
        }
    }

    #[inline]
    pub(crate) fn has(&self, text: &str) -> bool {
        if text.is_empty() {
            self.empty
        } else {
            self.others.iter().any(|token| token == text)
        }
    }
}

/// A value that does not fit its column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Misfit {
    pub(crate) row: usize,
    /// The place of the column in the file.
    pub(crate) column: usize,
    /// The path within a nested column; else empty.
    pub(crate) within: String,
}

/// One run of bytes, its fields found.
pub(crate) struct Fields<'a> {
    pub(crate) text: &'a str,
    pub(crate) tokens: &'a Tokens,
    pub(crate) dialect: &'a Dialect,
    pub(crate) nulls: &'a Nulls,
}

impl<'a> Fields<'a> {
    /// The text of a field without its quotes, and whether it had some.
    pub(crate) fn get(&self, row: usize, column: usize) -> (Cow<'a, str>, bool) {
        self.text_of(self.tokens.field(row, column))
    }

    #[inline]
    fn text_of(&self, field: Range<usize>) -> (Cow<'a, str>, bool) {
        let raw = &self.text[field];
        match self.dialect.quote {
            Some(quote) if self.tokens.quotes() && raw.as_bytes().first() == Some(&quote) => {
                (unquoted(raw, quote, self.dialect.escape), true)
            }
            _ => (Cow::Borrowed(raw), false),
        }
    }

    /// One column as an array of the field's type.
    ///
    /// # Errors
    /// `config` where CSV cannot hold the type.
    pub(crate) fn array(&self, column: usize, field: &Field, misfits: &mut Vec<Misfit>) -> Result<ArrayRef> {
        let mut build = Build {
            fields: self,
            column,
            misfits,
        };
        Ok(match field.data_type() {
            DataType::Utf8 => build.text(),
            DataType::Boolean => build.boolean(),
            DataType::Int64 => Arc::new(build.primitive::<Int64Type>(value::integer)),
            DataType::Int32 => {
                Arc::new(build.primitive::<Int32Type>(|text| value::integer(text)?.try_into().ok()))
            }
            DataType::Int16 => {
                Arc::new(build.primitive::<Int16Type>(|text| value::integer(text)?.try_into().ok()))
            }
            DataType::Int8 => {
                Arc::new(build.primitive::<Int8Type>(|text| value::integer(text)?.try_into().ok()))
            }
            DataType::UInt64 => Arc::new(build.primitive::<UInt64Type>(value::unsigned)),
            DataType::UInt32 => {
                Arc::new(build.primitive::<UInt32Type>(|text| value::unsigned(text)?.try_into().ok()))
            }
            DataType::UInt16 => {
                Arc::new(build.primitive::<UInt16Type>(|text| value::unsigned(text)?.try_into().ok()))
            }
            DataType::UInt8 => {
                Arc::new(build.primitive::<UInt8Type>(|text| value::unsigned(text)?.try_into().ok()))
            }
            DataType::Float64 if field.metadata().contains_key(INFERRED) => {
                Arc::new(build.primitive::<Float64Type>(value::exact_float))
            }
            DataType::Float64 => Arc::new(build.primitive::<Float64Type>(value::float)),
            DataType::Float32 => Arc::new(build.primitive::<Float32Type>(value::float32)),
            DataType::Date32 => Arc::new(build.primitive::<Date32Type>(value::date)),
            &DataType::Decimal128(precision, scale) => Arc::new(
                build
                    .primitive::<Decimal128Type>(|text| value::decimal128(text, precision, scale))
                    .with_precision_and_scale(precision, scale)?,
            ),
            &DataType::Decimal256(precision, scale) => Arc::new(
                build
                    .primitive::<Decimal256Type>(|text| value::decimal256(text, precision, scale))
                    .with_precision_and_scale(precision, scale)?,
            ),
            DataType::Time32(unit) | DataType::Time64(unit) => build.time(*unit),
            DataType::Timestamp(unit, zone) => build.timestamp(*unit, zone.clone()),
            DataType::Binary => build.binary(),
            &DataType::FixedSizeBinary(size) => build.fixed_binary(size)?,
            nested if nested.is_nested() => build.nested(field)?,
            other => {
                return Err(Error::config(format!(
                    "column `{}`: CSV cannot hold {other}",
                    field.name()
                )));
            }
        })
    }
}

/// The text of a field without its quotes, if it has some.
pub(crate) fn plain<'a>(raw: &'a str, dialect: &Dialect) -> Cow<'a, str> {
    match dialect.quote {
        Some(quote) if raw.as_bytes().first() == Some(&quote) => unquoted(raw, quote, dialect.escape),
        _ => Cow::Borrowed(raw),
    }
}

/// Takes off the quotes. Text after the closing quote stays, as the `csv` crate has it.
fn unquoted(raw: &str, quote: u8, escape: Option<u8>) -> Cow<'_, str> {
    let inner = &raw.as_bytes()[1..];
    if let Some((&last, body)) = inner.split_last()
        && last == quote
        && memchr::memchr2(quote, escape.unwrap_or(quote), body).is_none()
    {
        return Cow::Borrowed(&raw[1..raw.len() - 1]);
    }
    let mut text = String::with_capacity(inner.len());
    let (mut within, mut chars) = (true, raw[1..].chars().peekable());
    while let Some(char) = chars.next() {
        let is = |byte: Option<u8>| byte.is_some_and(|byte| char == char::from(byte));
        if within && is(escape) {
            text.extend(chars.next());
        } else if within && is(Some(quote)) {
            match chars.next_if_eq(&char) {
                Some(_) => text.push(char),
                None => within = false,
            }
        } else {
            text.push(char);
        }
    }
    Cow::Owned(text)
}

/// One column under construction.
struct Build<'a, 'b> {
    fields: &'b Fields<'a>,
    column: usize,
    misfits: &'b mut Vec<Misfit>,
}

impl<'a> Build<'a, '_> {
    fn rows(&self) -> usize {
        self.fields.tokens.rows()
    }

    fn misfit(&mut self, row: usize) {
        self.misfits.push(Misfit {
            row,
            column: self.column,
            within: String::new(),
        });
    }

    /// The texts of values that are not text themselves: null also where an empty field or a null is quoted, since
    /// many programs quote all that they write.
    fn plain(&self) -> impl Iterator<Item = Option<Cow<'a, str>>> + use<'a, '_> {
        self.fields.tokens.column(self.column).map(|field| {
            let (text, quoted) = self.fields.text_of(field);
            let null = self.fields.nulls.has(&text) || quoted && text.is_empty();
            (!null).then_some(text)
        })
    }

    /// Gives each row's value to `take`; a text that is not one is noted, and a null is taken.
    #[inline]
    fn each<V>(&mut self, parse: impl Fn(&str) -> Option<V>, mut take: impl FnMut(Option<V>)) {
        let mut wrong = Vec::new();
        for (row, text) in self.plain().enumerate() {
            let value = text.as_deref().and_then(&parse);
            if value.is_none() && text.is_some() {
                wrong.push(row);
            }
            take(value);
        }
        wrong.into_iter().for_each(|row| self.misfit(row));
    }

    fn primitive<T: ArrowPrimitiveType>(
        &mut self,
        parse: impl Fn(&str) -> Option<T::Native>,
    ) -> PrimitiveArray<T> {
        let rows = self.rows();
        let mut values = Vec::with_capacity(rows);
        let mut valid = Validity::new(rows);
        self.each(parse, |value| {
            valid.append(value.is_some());
            values.push(value.unwrap_or_default());
        });
        PrimitiveArray::new(ScalarBuffer::from(values), valid.finish())
    }

    fn boolean(&mut self) -> ArrayRef {
        let mut values = BooleanBuilder::with_capacity(self.rows());
        self.each(value::boolean, |value| values.append_option(value));
        Arc::new(values.finish())
    }

    /// Text: a quoted field is never null, so that an empty text can be written.
    fn text(&self) -> ArrayRef {
        let bytes = self
            .fields
            .tokens
            .column(self.column)
            .map(|field| field.len())
            .sum();
        let mut values = StringBuilder::with_capacity(self.rows(), bytes);
        for field in self.fields.tokens.column(self.column) {
            let (text, quoted) = self.fields.text_of(field);
            if !quoted && self.fields.nulls.has(&text) {
                values.append_null();
            } else {
                values.append_value(text);
            }
        }
        Arc::new(values.finish())
    }

    fn time(&mut self, unit: TimeUnit) -> ArrayRef {
        let parse = |text: &str| value::clock(text.as_bytes())?.exact(unit);
        let short = |text: &str| parse(text)?.try_into().ok();
        match unit {
            TimeUnit::Second => Arc::new(self.primitive::<Time32SecondType>(short)),
            TimeUnit::Millisecond => Arc::new(self.primitive::<Time32MillisecondType>(short)),
            TimeUnit::Microsecond => Arc::new(self.primitive::<Time64MicrosecondType>(parse)),
            TimeUnit::Nanosecond => Arc::new(self.primitive::<Time64NanosecondType>(parse)),
        }
    }

    fn timestamp(&mut self, unit: TimeUnit, zone: Option<Arc<str>>) -> ArrayRef {
        let parse = |text: &str| value::timestamp(text, unit, zone.is_some());
        match unit {
            TimeUnit::Second => Arc::new(
                self.primitive::<TimestampSecondType>(parse)
                    .with_timezone_opt(zone.clone()),
            ),
            TimeUnit::Millisecond => Arc::new(
                self.primitive::<TimestampMillisecondType>(parse)
                    .with_timezone_opt(zone.clone()),
            ),
            TimeUnit::Microsecond => Arc::new(
                self.primitive::<TimestampMicrosecondType>(parse)
                    .with_timezone_opt(zone.clone()),
            ),
            TimeUnit::Nanosecond => Arc::new(
                self.primitive::<TimestampNanosecondType>(parse)
                    .with_timezone_opt(zone.clone()),
            ),
        }
    }

    fn binary(&mut self) -> ArrayRef {
        let mut values = BinaryBuilder::new();
        self.each(value::hex, |value| values.append_option(value));
        Arc::new(values.finish())
    }

    fn fixed_binary(&mut self, size: i32) -> Result<ArrayRef> {
        let fits = |bytes: &Vec<u8>| usize::try_from(size).is_ok_and(|size| bytes.len() == size);
        let mut values = Vec::with_capacity(self.rows());
        self.each(|text| value::hex(text).filter(fits), |value| values.push(value));
        Ok(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(
            values.into_iter(),
            size,
        )?))
    }

    /// Lists and structs stand in CSV as JSON.
    fn nested(&mut self, field: &Field) -> Result<ArrayRef> {
        let texts: Vec<_> = self.plain().collect();
        let texts: Vec<_> = texts.iter().map(Option::as_deref).collect();
        let mut wrong = Vec::new();
        let array = json::array(field, field.name(), &texts, &mut wrong)?;
        let column = self.column;
        self.misfits.extend(wrong.into_iter().map(|found| Misfit {
            row: found.row,
            column,
            within: found.path,
        }));
        Ok(array)
    }
}

/// The validity of rows of which nearly all are valid: runs of them cost nothing.
struct Validity {
    valid: NullBufferBuilder,
    run: usize,
}

impl Validity {
    fn new(rows: usize) -> Self {
        Self {
            valid: NullBufferBuilder::new(rows),
            run: 0,
        }
    }

    #[inline]
    fn append(&mut self, valid: bool) {
        if valid {
            self.run += 1;
        } else {
            self.valid.append_n_non_nulls(std::mem::take(&mut self.run));
            self.valid.append_null();
        }
    }

    fn finish(mut self) -> Option<NullBuffer> {
        self.valid.append_n_non_nulls(self.run);
        self.valid.finish()
    }
}
