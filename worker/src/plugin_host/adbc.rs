//! A database behind an ADBC driver.
//!
//! In: the driver's library, and the options of its database. Out: a [`Plugin`]: its tables as streams, read whole or from a
//! cursor on, and in [`write`] written. `options.queries` names streams of one's own, each by a query.
//!
//! The interface: <https://arrow.apache.org/adbc/current/format/specification.html>.

mod merge;
mod parts;
mod portable;
mod query;
mod tables;
mod write;

use std::{collections::BTreeMap, sync::Arc};

use adbc_core::{
    Connection as _, Database as _, Driver as _, Statement as _,
    options::{AdbcVersion, OptionDatabase, OptionValue},
};
use adbc_driver_manager::{ManagedConnection, ManagedDriver, ManagedStatement};
use arrow::{
    array::{RecordBatch, RecordBatchOptions, RecordBatchReader},
    datatypes::{Field, Schema, SchemaRef},
};
use serde_json::{Map, Value, json};

use self::{tables::Table, write::Writing};
use super::{Plugin, library};
use crate::{
    error::{Context as _, Error, ErrorKind, Result},
    types::PHYSICAL_TYPE,
};

/// A connection, and what is being read.
pub(super) struct Adbc {
    connection: ManagedConnection,
    queries: BTreeMap<String, String>,
    reading: Option<Reading>,
    /// The driver is asked to split answers. It has to be wanted: some that cannot end the process that asks them.
    splits: bool,
    /// The query whose parts are read, here or by other hosts: a driver may forget them with it.
    split: Option<ManagedStatement>,
    /// It is to be written; of this load, where one is at hand.
    writes: bool,
    writing: Option<Writing>,
}

/// The rows of a query, or of a part of one. Drivers read them from the statement, which must live as long.
struct Answer {
    // Dropped first.
    rows: Box<dyn RecordBatchReader + Send>,
    _statement: Option<ManagedStatement>,
}

struct Reading {
    rows: Answer,
    schema: SchemaRef,
    /// Where the next delta begins; told with the last rows.
    position: Value,
}

impl Adbc {
    /// Loads the driver that `start` names, and connects.
    pub(super) fn connect(start: &Value) -> Result<Self> {
        let plugin = start["plugin"].as_str().unwrap_or_default();
        let (driver, entrypoint) = match plugin.split_once("::") {
            Some((driver, entrypoint)) => (driver, Some(entrypoint.as_bytes())),
            None => (plugin, None),
        };
        match entrypoint {
            Some(entrypoint) => library::require(driver, entrypoint)?,
            None => drop(library::open(driver)?),
        }
        let load = |version| ManagedDriver::load_dynamic_from_filename(driver, entrypoint, version);
        let mut loaded = load(AdbcVersion::V110)
            .or_else(|_| load(AdbcVersion::V100))
            .map_err(|error| {
                Error::config(format!("{driver} cannot be loaded: {}", error.message))
                    .advice("it should be the library of an ADBC driver")
            })?;
        let config = &start["config"];
        let mut options = Vec::new();
        for part in [&config["connection"], &config["credentials"]] {
            options.extend(part.as_object().into_iter().flat_map(database_options));
        }
        let database = loaded
            .new_database_with_opts(options)
            .map_err(|error| failed(&error))?;
        let connection = database.new_connection().map_err(|error| failed(&error))?;
        let options = &config["engine"]["options"];
        let queries = options.get("queries").cloned().unwrap_or_else(|| json!({}));
        let queries = serde_json::from_value(queries)
            .map_err(|_| Error::config("options.queries: write the name of each stream and its query"))?;
        Ok(Self {
            connection,
            queries,
            reading: None,
            splits: options["partitioned"] == true,
            split: None,
            writes: start["role"] == "writer",
            writing: None,
        })
    }

    fn statement(&mut self, sql: &str) -> Result<ManagedStatement> {
        let mut statement = self.connection.new_statement().map_err(|error| failed(&error))?;
        statement.set_sql_query(sql).map_err(|error| failed(&error))?;
        Ok(statement)
    }

    fn rows(&mut self, sql: &str) -> Result<Answer> {
        let mut statement = self.statement(sql)?;
        let rows = statement.execute().map_err(|error| refused(&error, sql))?;
        Ok(Answer {
            rows,
            _statement: Some(statement),
        })
    }

    /// The columns of a table.
    fn table(&self, stream: &str) -> Result<SchemaRef> {
        let (schema, name) = stream
            .split_once('.')
            .map_or((None, stream), |(schema, name)| (Some(schema), name));
        let columns = self.connection.get_table_schema(None, schema, name);
        Ok(of_ours(&columns.map_err(|error| failed(&error))?))
    }

    fn columns(&mut self, sql: &str) -> Result<SchemaRef> {
        let rows = self.rows(&format!("select * from ({sql}) as q where 1 = 0"))?;
        Ok(of_ours(&rows.rows.schema()))
    }

    /// Lets the rows of an answer come next; gives their columns.
    fn begin_reading(&mut self, rows: Answer, position: Value) -> SchemaRef {
        let schema = of_ours(&rows.rows.schema());
        self.reading = Some(Reading {
            rows,
            schema: schema.clone(),
            position,
        });
        schema
    }
}

fn database_options(map: &Map<String, Value>) -> Vec<(OptionDatabase, OptionValue)> {
    let option = |(key, value): (&String, &Value)| {
        let key = match key.as_str() {
            "uri" => OptionDatabase::Uri,
            "username" | "user" => OptionDatabase::Username,
            "password" => OptionDatabase::Password,
            other => OptionDatabase::Other(other.to_owned()),
        };
        let value = match value {
            Value::String(text) => OptionValue::String(text.clone()),
            other => OptionValue::String(other.to_string()),
        };
        (key, value)
    };
    map.iter().map(option).collect()
}

/// What a driver says went wrong. Its words may hold a connection string, so credentials are hidden by the worker.
fn failed(error: &adbc_core::error::Error) -> Error {
    use adbc_core::error::Status;
    // Classes of SQLSTATE that pass: lost connections, conflicts, want of room, shutdowns.
    let state = error.sqlstate.map(|letter| letter.to_ne_bytes()[0]);
    let passes = [b"08", b"40", b"53", b"57"]
        .iter()
        .any(|class| state.starts_with(*class));
    let kind = match error.status {
        _ if passes => ErrorKind::Transient,
        Status::IO | Status::Timeout | Status::Cancelled => ErrorKind::Transient,
        Status::InvalidData => ErrorKind::Data,
        Status::Internal | Status::Unknown | Status::InvalidState => ErrorKind::Bug,
        _ => ErrorKind::Config,
    };
    Error::new(kind, &error.message)
}

/// What a driver says to a query.
fn refused(error: &adbc_core::error::Error, sql: &str) -> Error {
    failed(error).advice(format!("the query: {sql}"))
}

/// The columns as we know them: text that is JSON is marked so.
fn of_ours(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let name = field.metadata().get("ARROW:extension:name").map(String::as_str);
        let mut own = field
            .as_ref()
            .clone()
            .with_metadata(std::collections::HashMap::default());
        if matches!(name, Some("arrow.json")) {
            own.metadata_mut()
                .insert(PHYSICAL_TYPE.to_owned(), "json".to_owned());
        }
        Arc::new(own)
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

fn names(schema: &Schema) -> Vec<&str> {
    let names = schema.fields().iter().map(|field| field.name().as_str());
    names.collect()
}

/// The same rows under other labels: those of a driver, such as the type in its database, are not ours.
fn labelled(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let columns = rows.columns().to_vec();
    Ok(RecordBatch::try_new_with_options(
        schema.clone(),
        columns,
        &options,
    )?)
}

impl Plugin for Adbc {
    fn ready(&mut self) -> Result<Value> {
        if self.writes {
            self.transactions()?;
            return Ok(json!({ "kind": "writer", "idempotent": true }));
        }
        Ok(json!({ "kind": "reader", "declaresKeys": false, "numbered": false }))
    }

    fn discover(&mut self, only: Option<&str>) -> Result<Vec<(Value, Option<SchemaRef>)>> {
        let mut found = Vec::new();
        let asked = |name: &str| only.is_none_or(|only| name == only);
        for (name, query) in self.queries.clone() {
            if !asked(&name) {
                continue;
            }
            let columns = self.columns(&query).context(format!("stream {name}"))?;
            found.push((json!({ "name": name }), Some(columns)));
        }
        for Table { schema, name } in tables::list(&self.connection).map_err(|error| failed(&error))? {
            let shown = schema
                .iter()
                .chain([&name])
                .cloned()
                .collect::<Vec<_>>()
                .join(".");
            if !asked(&shown) {
                continue;
            }
            let columns = self.table(&shown)?;
            found.push((json!({ "name": shown }), Some(columns)));
        }
        Ok(found)
    }

    fn check(&mut self) -> Result<()> {
        tables::list(&self.connection)
            .map(drop)
            .map_err(|error| failed(&error))
    }

    fn read(&mut self, request: &Value) -> Result<(SchemaRef, Value)> {
        self.reading = None;
        if let Some(part) = request["part"].as_str() {
            return Ok((self.part(part)?, json!({})));
        }
        self.split = None;
        let (sql, position) = self.query(request)?;
        // Some drivers guess types from the rows of a result: those of the table count. They are asked for before the rows,
        // since a connection of PostgreSQL's driver answers nothing else while it gives rows.
        let stream = request["stream"].as_str().unwrap_or_default();
        let table = match self.queries.contains_key(stream) {
            true => None,
            false => self.table(stream).ok(),
        };
        let told = |schema: SchemaRef| {
            table
                .filter(|table| names(table) == names(&schema))
                .unwrap_or(schema)
        };
        if self.splits
            && let Some((schema, parts)) = self.split(&sql)?
        {
            return Ok((told(schema), json!({ "parts": parts, "position": position })));
        }
        let rows = self.rows(&sql)?;
        let schema = self.begin_reading(rows, position);
        Ok((told(schema), json!({})))
    }

    fn next(&mut self) -> Result<Option<(RecordBatch, Value)>> {
        let Some(reading) = &mut self.reading else {
            return Ok(None);
        };
        match reading.rows.rows.next() {
            Some(rows) => Ok(Some((labelled(&rows?, &reading.schema)?, json!({})))),
            None => {
                let last = RecordBatch::new_empty(reading.schema.clone());
                let position = std::mem::take(&mut reading.position);
                self.reading = None;
                Ok((!position.is_null()).then(|| (last, json!({ "position": position }))))
            }
        }
    }

    fn open(&mut self, request: &Value, schema: SchemaRef) -> Result<()> {
        self.begin(request, &schema)
    }

    fn write(&mut self, request: &Value, rows: RecordBatch) -> Result<Value> {
        self.lay_down(request, &rows)
    }

    fn commit(&mut self, request: &Value) -> Result<()> {
        self.apply(request)
    }
}
