//! Types: what a manifest declares (Open Data Contract Standard) and what Arrow holds, in both directions.
//!
//! In: the [`Field`]s of a stream's `schema`, or the Arrow schema that discovery found. Out: an Arrow schema, or the
//! `schema` block that a person can paste into a manifest. What one direction writes, the other reads back.
//! How a value gets from one type to another is the business of [`crate::engine::contract`].

mod name;
mod odcs;

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field as ArrowField, Fields, Schema, SchemaRef, TimeUnit};
use millrace_crds::schema::{Field, LogicalType};

pub use self::{
    name::type_name,
    odcs::{odcs_field, odcs_fields},
};
use crate::error::{Error, Result};

/// Metadata of an Arrow field: the name of a type that Arrow holds as text (`json`, `jsonb`, `uuid`), so that a
/// destination can make a column of that type.
pub const PHYSICAL_TYPE: &str = "millrace.physicalType";

/// Metadata of an Arrow field: no value was seen from which its type could be inferred, so that a type which is known
/// already stays.
pub const UNTYPED: &str = "millrace.untyped";

/// Metadata of an Arrow field of numbers: its type was inferred from a sample, so that a number which a float cannot
/// hold as it is written does not fit it.
pub const INFERRED: &str = "millrace.inferred";

/// Types that are text with a form of their own.
const TEXT_FORMS: [&str; 3] = ["json", "jsonb", "uuid"];

/// The Arrow schema of declared columns, in their order.
///
/// # Errors
/// `config` where a type is not known, a name is missing or stands twice.
pub fn arrow_schema(fields: &[Field]) -> Result<SchemaRef> {
    let fields = fields_of(fields, "")?;
    Ok(Arc::new(Schema::new(fields)))
}

/// The Arrow field of one declared column; nullable unless it is `required`.
///
/// # Errors
/// `config` where the type is not known; names the column's path.
pub fn arrow_field(field: &Field) -> Result<ArrowField> {
    field_at(field, "")
}

fn field_at(field: &Field, parent: &str) -> Result<ArrowField> {
    let path = join(parent, &field.name);
    let type_ = data_type(field, &path)?;
    let arrow = ArrowField::new(&field.name, type_, !field.required);
    Ok(match text_form(field) {
        Some(form) => arrow.with_metadata(HashMap::from([(PHYSICAL_TYPE.to_owned(), form.to_owned())])),
        None => arrow,
    })
}

/// The path of a part, as errors and dead letters name it: `address.number`.
#[must_use]
pub fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}

/// The special form of a column that Arrow holds as text: `json`, `jsonb` or `uuid`.
#[must_use]
pub fn physical_type(field: &ArrowField) -> Option<&str> {
    field.metadata().get(PHYSICAL_TYPE).map(String::as_str)
}

fn fields_of(fields: &[Field], parent: &str) -> Result<Fields> {
    let mut seen = std::collections::HashSet::new();
    for field in fields {
        if field.name.is_empty() {
            return Err(Error::config(format!("a column under `{parent}` has no name")).advice("add `name:`"));
        }
        if !seen.insert(field.name.as_str()) {
            let path = join(parent, &field.name);
            return Err(
                Error::config(format!("column `{path}` is declared twice")).advice("leave one of them out")
            );
        }
    }
    fields.iter().map(|field| field_at(field, parent)).collect()
}

/// The physical type where one is written, else the logical one.
fn data_type(field: &Field, path: &str) -> Result<DataType> {
    let physical = field
        .physical_type
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty());
    match (physical, field.logical_type) {
        (_, Some(LogicalType::Array)) => list(field, path),
        (physical, Some(LogicalType::Object)) => object(field, physical, path),
        (Some(physical), logical) => {
            let type_ = name::parse(physical, path)?;
            agree(&type_, logical, physical, path)?;
            Ok(type_)
        }
        (None, Some(logical)) => scalar(field, logical, path),
        (None, None) => Err(Error::config(format!("column `{path}` has no type")).advice(
            "add `logicalType:` (string, integer, number, boolean, date, time, timestamp, object or array)",
        )),
    }
}

fn list(field: &Field, path: &str) -> Result<DataType> {
    let items = field.items.as_deref().ok_or_else(|| {
        Error::config(format!("array `{path}` does not say what it holds"))
            .advice("add `items: { logicalType: string }`, or another type")
    })?;
    let mut item = field_at(
        &Field {
            name: String::new(),
            ..items.clone()
        },
        path,
    )?;
    item.set_name("item".to_owned());
    Ok(DataType::List(Arc::new(item)))
}

/// A struct; a map where `physicalType: map` says so; without properties any JSON, as text.
fn object(field: &Field, physical: Option<&str>, path: &str) -> Result<DataType> {
    let map = physical.is_some_and(|text| text.eq_ignore_ascii_case("map"));
    let properties = fields_of(&field.properties, path)?;
    match (map, properties.len()) {
        (false, 0) => Ok(DataType::Utf8),
        (false, _) => Ok(DataType::Struct(properties)),
        (true, 2) => {
            let key = properties[0].as_ref().clone().with_nullable(false);
            let entries = DataType::Struct(vec![Arc::new(key), properties[1].clone()].into());
            Ok(DataType::Map(
                Arc::new(ArrowField::new("entries", entries, false)),
                false,
            ))
        }
        (true, _) => Err(Error::config(format!(
            "map `{path}` needs two properties: its key and its value"
        ))),
    }
}

fn scalar(field: &Field, logical: LogicalType, path: &str) -> Result<DataType> {
    let format = field
        .logical_type_options
        .get("format")
        .and_then(|value| value.as_str());
    let with_zone = field
        .logical_type_options
        .get("timezone")
        .and_then(serde_json::Value::as_bool);
    Ok(match logical {
        LogicalType::Integer => format.and_then(name::integer_format).unwrap_or(DataType::Int64),
        LogicalType::Number => format.and_then(name::number_format).unwrap_or(DataType::Float64),
        LogicalType::Boolean => DataType::Boolean,
        LogicalType::Date => DataType::Date32,
        LogicalType::Time => DataType::Time64(TimeUnit::Microsecond),
        LogicalType::Timestamp => timestamp(with_zone.unwrap_or(false)),
        LogicalType::String => DataType::Utf8,
        LogicalType::Array | LogicalType::Object => {
            return Err(Error::bug(format!(
                "nested type of `{path}` taken for a plain one"
            )));
        }
    })
}

fn timestamp(with_zone: bool) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, with_zone.then(|| "UTC".into()))
}

fn text_form(field: &Field) -> Option<&'static str> {
    let physical = field
        .physical_type
        .as_deref()
        .map(|text| text.trim().to_ascii_lowercase());
    let free_object = field.logical_type == Some(LogicalType::Object) && field.properties.is_empty();
    match TEXT_FORMS
        .into_iter()
        .find(|form| physical.as_deref() == Some(form))
    {
        None if free_object => Some("json"),
        found => found,
    }
}

/// A physical type that contradicts the logical one is a mistake somebody made; which of the two is not ours to guess.
fn agree(type_: &DataType, logical: Option<LogicalType>, physical: &str, path: &str) -> Result<()> {
    let Some(logical) = logical else { return Ok(()) };
    let agrees = match logical {
        LogicalType::Integer => type_.is_integer() || matches!(decimal_scale(type_), Some(0)),
        LogicalType::Number => type_.is_numeric(),
        LogicalType::Boolean => *type_ == DataType::Boolean,
        LogicalType::Date => {
            type_.is_temporal() && !matches!(type_, DataType::Time32(_) | DataType::Time64(_))
        }
        LogicalType::Time => matches!(type_, DataType::Time32(_) | DataType::Time64(_)),
        LogicalType::Timestamp => matches!(type_, DataType::Timestamp(..)),
        LogicalType::String => {
            matches!(
                type_,
                DataType::Utf8
                    | DataType::Binary
                    | DataType::FixedSizeBinary(_)
                    | DataType::Interval(_)
                    | DataType::Duration(_)
            )
        }
        LogicalType::Array | LogicalType::Object => true,
    };
    if agrees {
        return Ok(());
    }
    let logical = format!("{logical:?}").to_ascii_lowercase();
    Err(Error::config(format!(
        "column `{path}`: physicalType {physical} does not hold {logical} values"
    ))
    .advice("make logicalType and physicalType agree, or leave one of them out"))
}

fn decimal_scale(type_: &DataType) -> Option<i8> {
    match type_ {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
