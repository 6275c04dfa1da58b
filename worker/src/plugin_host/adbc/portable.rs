//! Rows in types that databases have.
//!
//! In: rows. Out: the same rows, where lists and structs are JSON, and whole numbers have a sign. For drivers that know no
//! decimals and no times of day these are text, which keeps their digits.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Schema},
};

use crate::{
    error::{Error, Result},
    formats::lines::lines,
};

/// Whether a column has a type that some drivers do not know.
pub(super) fn is_rare(type_: &DataType) -> bool {
    matches!(
        type_,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Time32(_)
            | DataType::Time64(_)
    )
}

/// The rows in types of databases; `plain`: rare ones are text.
pub(super) fn portable(rows: &RecordBatch, plain: bool) -> Result<RecordBatch> {
    let schema = rows.schema();
    let columns = schema.fields().iter().zip(rows.columns());
    let columns = columns.map(|(field, column)| {
        let column = match target(field.data_type(), plain) {
            Some(type_) => cast(column, &type_)?,
            None if field.data_type().is_nested() => json(field, column)?,
            None => column.clone(),
        };
        Ok((Field::new(field.name(), column.data_type().clone(), true), column))
    });
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) =
        columns.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The type that a column is cast to; `None`: it stays.
fn target(type_: &DataType, plain: bool) -> Option<DataType> {
    Some(match type_ {
        DataType::UInt64 if !plain => DataType::Decimal128(20, 0),
        DataType::UInt64 => DataType::Utf8,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, value) => target(value, plain).unwrap_or_else(|| value.as_ref().clone()),
        rare if plain && is_rare(rare) => DataType::Utf8,
        _ => return None,
    })
}

/// A column of lists or structs as JSON.
fn json(field: &FieldRef, column: &ArrayRef) -> Result<ArrayRef> {
    let name = Field::new("v", field.data_type().clone(), true).with_metadata(field.metadata().clone());
    let alone = RecordBatch::try_new(Arc::new(Schema::new(vec![name])), vec![column.clone()])?;
    let text = lines(&alone)?;
    let text = std::str::from_utf8(&text).map_err(Error::bug)?;
    let value = |(row, line): (usize, &str)| {
        let value = line
            .strip_prefix("{\"v\":")
            .and_then(|line| line.strip_suffix('}'));
        value.filter(|_| column.is_valid(row)).map(str::to_owned)
    };
    Ok(Arc::new(
        text.lines().enumerate().map(value).collect::<StringArray>(),
    ))
}

#[cfg(test)]
mod tests;
