//! Arrow to declared columns: the `schema` block that `discover` prints.

use arrow::datatypes::{DataType, Field as ArrowField, Schema, TimeUnit};
use millrace_crds::schema::{Field, LogicalType};
use serde_json::Map;

use super::{physical_type, type_name};

/// The columns of a schema as a manifest declares them. A type that is the default of its logical type is not
/// written out.
#[must_use]
pub fn odcs_fields(schema: &Schema) -> Vec<Field> {
    schema.fields().iter().map(|field| odcs_field(field)).collect()
}

/// One column as a manifest declares it.
#[must_use]
pub fn odcs_field(field: &ArrowField) -> Field {
    let logical = logical_type(field.data_type());
    Field {
        name: field.name().clone(),
        logical_type: Some(logical),
        physical_type: physical_type(field)
            .map(str::to_owned)
            .or_else(|| exact(field.data_type(), logical)),
        logical_type_options: Map::new(),
        required: !field.is_nullable(),
        primary_key: false,
        primary_key_position: None,
        items: item(field.data_type()).map(Box::new),
        properties: properties(field.data_type()),
        description: None,
    }
}

fn logical_type(type_: &DataType) -> LogicalType {
    match type_ {
        DataType::Dictionary(_, values) => logical_type(values),
        DataType::RunEndEncoded(_, values) => logical_type(values.data_type()),
        DataType::Boolean => LogicalType::Boolean,
        integer if integer.is_integer() => LogicalType::Integer,
        number if number.is_numeric() => LogicalType::Number,
        DataType::Date32 | DataType::Date64 => LogicalType::Date,
        DataType::Time32(_) | DataType::Time64(_) => LogicalType::Time,
        DataType::Timestamp(..) => LogicalType::Timestamp,
        DataType::Struct(_) | DataType::Map(..) => LogicalType::Object,
        list if item(list).is_some() => LogicalType::Array,
        _ => LogicalType::String,
    }
}

/// The physical type, where the logical one alone would be read back as another.
fn exact(type_: &DataType, logical: LogicalType) -> Option<String> {
    let default = match (type_, logical) {
        (DataType::Dictionary(_, values), _) => return exact(values, logical),
        (DataType::RunEndEncoded(_, values), _) => return exact(values.data_type(), logical),
        (DataType::Map(..), _) => return Some("map".to_owned()),
        (type_, LogicalType::Integer) => *type_ == DataType::Int64,
        (type_, LogicalType::Number) => *type_ == DataType::Float64,
        (type_, LogicalType::Time) => *type_ == DataType::Time64(TimeUnit::Microsecond),
        (type_, LogicalType::Timestamp) => *type_ == DataType::Timestamp(TimeUnit::Microsecond, None),
        // Lengths of time have no logical type of their own.
        (DataType::Interval(_) | DataType::Duration(_), _) => false,
        (type_, LogicalType::String) => !type_name(type_).starts_with("binary"),
        _ => true,
    };
    (!default).then(|| {
        if type_ == &DataType::Float16 {
            "float32".to_owned()
        } else {
            type_name(type_)
        }
    })
}

fn item(type_: &DataType) -> Option<Field> {
    match type_ {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => Some(Field {
            name: String::new(),
            ..odcs_field(item)
        }),
        _ => None,
    }
}

fn properties(type_: &DataType) -> Vec<Field> {
    match type_ {
        DataType::Struct(fields) => fields.iter().map(|field| odcs_field(field)).collect(),
        DataType::Map(entries, _) => properties(entries.data_type()),
        _ => Vec::new(),
    }
}
