//! The tables of a database, and how SQL names them and their values.

use std::fmt;

use adbc_core::{Connection as _, error::Error, options::ObjectDepth};
use adbc_driver_manager::ManagedConnection;
use arrow::{
    array::{Array, AsArray, ListArray, RecordBatch, StructArray},
    datatypes::DataType,
};
use serde_json::Value;

/// Schemas of databases themselves.
const SYSTEM: [&str; 3] = ["information_schema", "pg_catalog", "pg_toast"];

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// `None`: the database knows no schemas, or this is in the usual one of a catalog without.
    pub(super) schema: Option<String>,
    pub(super) name: String,
}

/// Its name in SQL.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{}.{}", quoted(schema), quoted(&self.name)),
            None => f.write_str(&quoted(&self.name)),
        }
    }
}

/// All tables and views.
pub(super) fn list(connection: &ManagedConnection) -> Result<Vec<Table>, Error> {
    let reader = connection.get_objects(ObjectDepth::Tables, None, None, None, None, None)?;
    let mut found = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| {
            Error::with_message_and_status(error.to_string(), adbc_core::error::Status::Internal)
        })?;
        add(&batch, &mut found);
    }
    found.sort_by(|one, other| (&one.schema, &one.name).cmp(&(&other.schema, &other.name)));
    found.dedup();
    Ok(found)
}

fn add(catalogs: &RecordBatch, found: &mut Vec<Table>) {
    let Some(schemas) = lists(catalogs.column_by_name("catalog_db_schemas")) else {
        return;
    };
    for catalog in 0..schemas.len() {
        let Some(rows) = row(schemas, catalog) else {
            continue;
        };
        let Some(tables) = lists(rows.column_by_name("db_schema_tables")) else {
            continue;
        };
        let names = rows
            .column_by_name("db_schema_name")
            .and_then(|names| names.as_string_opt::<i32>());
        for at in 0..rows.len() {
            let schema = names
                .filter(|names| !names.is_null(at))
                .map(|names| names.value(at).to_owned());
            let schema = schema.filter(|name| !name.is_empty());
            if schema
                .as_deref()
                .is_some_and(|name| SYSTEM.contains(&name) || name.starts_with("pg_temp"))
            {
                continue;
            }
            let Some(tables) = row(tables, at) else { continue };
            let own = tables
                .column_by_name("table_name")
                .and_then(|names| names.as_string_opt::<i32>());
            let types = tables
                .column_by_name("table_type")
                .and_then(|types| types.as_string_opt::<i32>());
            for at in 0..tables.len() {
                let kind = types
                    .map(|types| types.value(at).to_ascii_lowercase())
                    .unwrap_or_default();
                let name = own.map(|names| names.value(at).to_owned()).unwrap_or_default();
                if !kind.contains("index")
                    && !kind.contains("sequence")
                    && !kind.contains("system")
                    && !name.is_empty()
                {
                    found.push(Table {
                        schema: schema.clone(),
                        name,
                    });
                }
            }
        }
    }
}

fn lists(column: Option<&arrow::array::ArrayRef>) -> Option<&ListArray> {
    column?.as_list_opt::<i32>()
}

fn row(lists: &ListArray, at: usize) -> Option<StructArray> {
    lists
        .is_valid(at)
        .then(|| lists.value(at))
        .and_then(|row| row.as_struct_opt().cloned())
}

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.table` in SQL. A point within a name stays one where there are more than one.
pub(super) fn quoted_name(stream: &str) -> String {
    match stream.split_once('.') {
        Some((schema, name)) => format!("{}.{}", quoted(schema), quoted(name)),
        None => quoted(stream),
    }
}

/// A text in SQL.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A value in SQL.
pub(super) fn literal(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        other => other.to_string(),
    }
}

/// The names that databases have for a type, the usual one first.
pub(super) fn types(type_: &DataType) -> Vec<String> {
    let one = |name: &str| vec![name.to_owned()];
    match type_ {
        DataType::Boolean => one("BOOLEAN"),
        type_ if type_.is_integer() => one("BIGINT"),
        DataType::Float16 | DataType::Float32 => one("REAL"),
        DataType::Float64 => one("DOUBLE PRECISION"),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            vec![format!("NUMERIC({precision}, {scale})")]
        }
        DataType::Date32 | DataType::Date64 => one("DATE"),
        DataType::Time32(_) | DataType::Time64(_) => one("TIME"),
        DataType::Timestamp(_, None) => one("TIMESTAMP"),
        DataType::Timestamp(_, Some(_)) => one("TIMESTAMP WITH TIME ZONE"),
        type_ if type_.is_binary() => vec!["BLOB".to_owned(), "BYTEA".to_owned()],
        _ => vec!["TEXT".to_owned(), "VARCHAR".to_owned()],
    }
}

/// The schemas that there are; empty: the database has none.
pub(super) fn schemas(connection: &ManagedConnection) -> Result<Vec<String>, Error> {
    let reader = connection.get_objects(ObjectDepth::Schemas, None, None, None, None, None)?;
    let mut found = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| {
            Error::with_message_and_status(error.to_string(), adbc_core::error::Status::Internal)
        })?;
        let Some(schemas) = lists(batch.column_by_name("catalog_db_schemas")) else {
            continue;
        };
        for rows in (0..schemas.len()).filter_map(|catalog| row(schemas, catalog)) {
            let names = rows
                .column_by_name("db_schema_name")
                .and_then(|names| names.as_string_opt::<i32>());
            let names = names.into_iter().flatten().flatten();
            found.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
        }
    }
    Ok(found)
}
