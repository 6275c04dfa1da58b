//! A database that is written to.
//!
//! In: the requests of a writer. Out: rows, laid down in a table of their own by bulk ingestion, and moved where they belong in
//! one transaction, in which the commit is noted, too: made again, it does nothing. What an earlier load has left is
//! dropped as the next one begins.

use std::sync::Arc;

use adbc_core::{
    Connection as _, Optionable as _, Statement as _,
    error::{Error as Told, Status},
    options::{IngestMode, OptionConnection, OptionStatement, OptionValue},
};
use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use serde_json::{Value, json};

use super::{
    Adbc, failed,
    merge::{GONE, Merge, TURN},
    portable::{is_rare, portable},
    tables::{self, Table},
};
use crate::{
    engines::digest,
    error::{Context as _, Error, Result},
};

/// The column by which a batch tells what its rows do.
const OP: &str = "_millrace_op";
/// The table of commits.
const COMMITS: &str = "_millrace_commits";
/// How the tables are named in which loads are laid down.
const LAID: &str = "_millrace_load_";

/// A load, as far as this process knows of it.
pub(super) struct Writing {
    target: Table,
    shard: String,
    key: Vec<String>,
    /// Rows are held by key.
    upsert: bool,
    /// The columns of the load.
    schema: SchemaRef,
    laid: Option<Laid>,
}

/// The table that takes the rows of this process.
struct Laid {
    table: Table,
    /// The driver knows no decimals.
    plain: bool,
}

/// The tables in which a load was laid down.
fn laid(request: &Value) -> Vec<Table> {
    let files = request["files"].as_array().into_iter().flatten();
    let table = |file: &Value| Table {
        schema: file["schema"].as_str().map(str::to_owned),
        name: file["name"].as_str().unwrap_or_default().to_owned(),
    };
    files.map(table).collect()
}

/// The columns of a load in the order of its table, without what is only about rows.
fn names(schema: &Schema) -> Vec<String> {
    let names = schema.fields().iter().map(|field| field.name().clone());
    names.filter(|name| name != TURN && name != GONE).collect()
}

impl Adbc {
    /// Makes sure that the driver knows transactions.
    pub(super) fn transactions(&mut self) -> Result<()> {
        let tried = self.autocommit(false).and_then(|()| self.autocommit(true));
        tried.map_err(|error| {
            Error::config(format!("this driver knows no transactions: {}", error.message)).advice(
                "without them rows would be seen before their commit; choose another driver or engine",
            )
        })
    }

    fn autocommit(&mut self, on: bool) -> std::result::Result<(), Told> {
        let value = OptionValue::String(on.to_string());
        self.connection.set_option(OptionConnection::AutoCommit, value)
    }

    /// Begins a load, or only what comes after it.
    pub(super) fn begin(&mut self, request: &Value, schema: &SchemaRef) -> Result<()> {
        let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
        let key = request["primaryKey"].as_array().into_iter().flatten();
        let target = self.place(&text("stream"))?;
        let writing = Writing {
            shard: text("shard"),
            key: key.filter_map(Value::as_str).map(str::to_owned).collect(),
            upsert: request["mode"] == "upsert",
            schema: schema.clone(),
            laid: None,
            target,
        };
        if request["lane"] == 0 {
            self.drop_left(&writing)?;
        }
        self.writing = Some(writing);
        Ok(())
    }

    /// The table of a stream: in a schema, which is made, where the database has schemas.
    fn place(&mut self, stream: &str) -> Result<Table> {
        let whole = Table {
            schema: None,
            name: stream.to_owned(),
        };
        let Some((schema, name)) = stream.split_once('.') else {
            return Ok(whole);
        };
        let known = tables::schemas(&self.connection).map_err(|error| failed(&error))?;
        if known.is_empty() {
            return Ok(whole);
        }
        if !known.iter().any(|known| known == schema) {
            self.execute(&format!("CREATE SCHEMA IF NOT EXISTS {}", tables::quoted(schema)))?;
        }
        Ok(Table {
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
        })
    }

    /// Drops what loads of this shard have left.
    fn drop_left(&mut self, writing: &Writing) -> Result<()> {
        let start = laid_start(&writing.shard);
        let all = tables::list(&self.connection).map_err(|error| failed(&error))?;
        let left = all.into_iter().filter(|table| table.name.starts_with(&start));
        for table in left {
            self.execute(&format!("DROP TABLE {table}"))?;
        }
        Ok(())
    }

    /// Lays rows down; gives the table at the first call.
    pub(super) fn lay_down(&mut self, request: &Value, rows: &RecordBatch) -> Result<Value> {
        let mut writing = self
            .writing
            .take()
            .ok_or_else(|| Error::bug("rows came before their load was begun"))?;
        let first = writing.laid.is_none();
        let counter = request["fileCounter"].as_i64().unwrap_or_default();
        let laid = self.ingest_all(&mut writing, rows, counter);
        let table = writing.laid.as_ref().map(|laid| laid.table.clone());
        self.writing = Some(writing);
        laid?;
        Ok(match table.filter(|_| first) {
            Some(Table { schema, name }) => json!([{ "schema": schema, "name": name }]),
            None => json!([]),
        })
    }

    fn ingest_all(&mut self, writing: &mut Writing, rows: &RecordBatch, counter: i64) -> Result<()> {
        let rows = writing.arrange(rows, counter)?;
        if let Some(laid) = &writing.laid {
            let rows = portable(&rows, laid.plain)?;
            return self
                .ingest(&laid.table, rows, IngestMode::Append)
                .map_err(|error| failed(&error));
        }
        let table = Table {
            schema: writing.target.schema.clone(),
            name: format!("{}{}", laid_start(&writing.shard), uuid::Uuid::new_v4().simple()),
        };
        let plain = self.create(&table, &rows)?;
        writing.laid = Some(Laid { table, plain });
        Ok(())
    }

    /// Makes a table of rows; tells whether it took text for what the driver does not know.
    fn create(&mut self, table: &Table, rows: &RecordBatch) -> Result<bool> {
        let rare = rows
            .schema()
            .fields()
            .iter()
            .any(|field| is_rare(field.data_type()) || *field.data_type() == DataType::UInt64);
        match self.ingest(table, portable(rows, false)?, IngestMode::Create) {
            Ok(()) => Ok(false),
            Err(error) if rare && error.status == Status::NotImplemented => {
                // Some have made the table before they see what it is to hold.
                self.execute(&format!("DROP TABLE IF EXISTS {table}"))?;
                let made = self.ingest(table, portable(rows, true)?, IngestMode::Create);
                made.map(|()| true).map_err(|error| failed(&error))
            }
            Err(error) => Err(failed(&error)),
        }
    }

    fn ingest(
        &mut self,
        table: &Table,
        rows: RecordBatch,
        mode: IngestMode,
    ) -> std::result::Result<(), Told> {
        let mut statement = self.connection.new_statement()?;
        statement.set_option(OptionStatement::TargetTable, table.name.as_str().into())?;
        if let Some(schema) = &table.schema {
            statement.set_option(OptionStatement::TargetDbSchema, schema.as_str().into())?;
        }
        statement.set_option(OptionStatement::IngestMode, mode.into())?;
        statement.bind(rows)?;
        statement.execute_update().map(drop)
    }

    /// Moves what was laid down where it belongs, once.
    pub(super) fn apply(&mut self, request: &Value) -> Result<()> {
        let writing = self
            .writing
            .take()
            .ok_or_else(|| Error::bug("a commit came before its load was begun"))?;
        let laid = laid(request);
        let commits = self.commits(&writing.target)?;
        let id = request["id"].as_str().unwrap_or_default();
        // Another load under the same number is another commit.
        let parts: Vec<&[u8]> = laid.iter().map(|table| table.name.as_bytes()).collect();
        let id = format!("{id} {}", &digest(&parts)[..16]);
        let last = self.last(&commits, &writing.shard)?;
        if last.as_ref() == Some(&id) {
            return Ok(());
        }
        let replace = request["replace"] == true;
        let columns = self.ready_target(&writing, &laid)?;
        let merge = Merge {
            target: &writing.target,
            laid: &laid,
            columns: &columns,
            key: if writing.upsert && !replace {
                &writing.key
            } else {
                &[]
            },
            replace,
        };
        let mut statements = merge.statements();
        statements.extend(laid.iter().map(|table| format!("DROP TABLE {table}")));
        // To DuckDB an answer that was not read to its end is a transaction, and the driver itself leaves one of those about
        // columns: the commit would run within it, statement by statement. Another answer ends it.
        self.last(&commits, &writing.shard)?;
        self.autocommit(false).map_err(|error| failed(&error))?;
        let done = self
            .note(&commits, &writing.shard, &id, last.as_deref())
            .and_then(|()| {
                statements
                    .iter()
                    .try_for_each(|sql| self.execute(sql).map(drop))?;
                self.connection.commit().map_err(|error| failed(&error))
            });
        if done.is_err() {
            // What was wrong is told already; a connection that is broken forgets by itself.
            let _ = self.connection.rollback();
        }
        let _ = self.autocommit(true);
        done
    }

    /// Notes the commit. Another worker that notes one meanwhile is seen here, or by the database.
    fn note(&mut self, commits: &Table, shard: &str, id: &str, last: Option<&str>) -> Result<()> {
        let (shard, id) = (tables::text(shard), tables::text(id));
        let sql = match last {
            Some(last) => format!(
                "UPDATE {commits} SET \"id\" = {id} WHERE \"shard\" = {shard} AND \"id\" = {}",
                tables::text(last)
            ),
            None => format!("INSERT INTO {commits} (\"shard\", \"id\") VALUES ({shard}, {id})"),
        };
        match self.execute(&sql)? {
            Some(0) => Err(Error::transient(format!(
                "{commits}: another worker has committed meanwhile"
            ))),
            _ => Ok(()),
        }
    }

    /// The table of commits beside a table.
    fn commits(&mut self, target: &Table) -> Result<Table> {
        let commits = Table {
            schema: target.schema.clone(),
            name: COMMITS.to_owned(),
        };
        if self.columns_of(&commits)?.is_none() {
            self.execute(&format!(
                "CREATE TABLE IF NOT EXISTS {commits} (\"shard\" VARCHAR(1000) NOT NULL PRIMARY KEY, \"id\" VARCHAR(2000) NOT NULL)"
            ))?;
        }
        Ok(commits)
    }

    fn last(&mut self, commits: &Table, shard: &str) -> Result<Option<String>> {
        let sql = format!(
            "SELECT \"id\" FROM {commits} WHERE \"shard\" = {}",
            tables::text(shard)
        );
        let mut found = None;
        // To the end: see `apply`.
        for batch in self.rows(&sql)?.rows {
            let batch = batch?;
            if batch.num_rows() > 0 {
                let ids = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
                found = Some(ids.as_string::<i32>().value(0).to_owned());
            }
        }
        Ok(found)
    }

    /// Makes the table and the columns that it lacks; gives the columns that rows are written to.
    fn ready_target(&mut self, writing: &Writing, laid: &[Table]) -> Result<Vec<String>> {
        let mut columns: Vec<Field> = Vec::new();
        for table in laid {
            let found = self.columns_of(table)?.ok_or_else(|| {
                Error::data(format!(
                    "{table} is gone, with the rows that were laid down there"
                ))
                .advice("nothing is to be done: they are read again")
            })?;
            let new = found
                .fields()
                .iter()
                .filter(|field| !columns.iter().any(|known| known.name() == field.name()));
            let new: Vec<Field> = new.map(|field| field.as_ref().clone()).collect();
            columns.extend(new);
        }
        let target = &writing.target;
        let known = self.columns_of(target)?;
        let names = names(&Schema::new(columns.clone()));
        match (known, laid.first()) {
            (None, Some(first)) => {
                let list = super::merge::list(&names);
                self.execute(&format!(
                    "CREATE TABLE {target} AS SELECT {list} FROM {first} WHERE 1 = 0"
                ))?;
            }
            (None, None) if !writing.schema.fields().is_empty() => {
                self.create(target, &RecordBatch::new_empty(writing.schema.clone()))?;
            }
            // A table without columns is none.
            (None, None) => {
                return Err(Error::data(format!(
                    "{target}: there is no such table, and no row to make it of"
                )));
            }
            (Some(known), _) => {
                let lacks = |field: &&Field| {
                    names.contains(field.name()) && known.field_with_name(field.name()).is_err()
                };
                for field in columns.iter().filter(lacks) {
                    self.add_column(target, field)?;
                }
            }
        }
        Ok(names)
    }

    fn add_column(&mut self, target: &Table, field: &Field) -> Result<()> {
        let name = tables::quoted(field.name());
        let mut last = None;
        for type_ in tables::types(field.data_type()) {
            match self.execute(&format!("ALTER TABLE {target} ADD COLUMN {name} {type_}")) {
                Ok(_) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        let why = last.unwrap_or_else(|| Error::bug("a column without a type"));
        Err(why).context(format!("{target}: column {name} cannot be added"))
    }

    /// The columns of a table; `None`: there is none.
    fn columns_of(&mut self, table: &Table) -> Result<Option<SchemaRef>> {
        let found = self
            .connection
            .get_table_schema(None, table.schema.as_deref(), &table.name);
        match found {
            Ok(schema) if schema.fields().is_empty() => Ok(None),
            Ok(schema) => Ok(Some(Arc::new(schema))),
            // Drivers do not agree on how they say that there is none.
            Err(error) => match tables::list(&self.connection) {
                Ok(all) if !all.iter().any(|known| known.name == table.name) => Ok(None),
                _ => Err(failed(&error)),
            },
        }
    }

    /// Makes a statement; gives the rows that it has changed, where the driver tells.
    fn execute(&mut self, sql: &str) -> Result<Option<i64>> {
        let run = || {
            let mut statement = self.connection.new_statement()?;
            statement.set_sql_query(sql)?;
            statement.execute_update()
        };
        let mut run = run;
        run().map_err(|error: Told| failed(&error).advice(format!("the statement: {sql}")))
    }
}

/// How the tables of a shard are named in which its loads are laid down.
fn laid_start(shard: &str) -> String {
    format!("{LAID}{}_", &digest(&[shard.as_bytes()])[..12])
}

impl Writing {
    /// The rows with their order, and with the word on which of them are gone.
    fn arrange(&self, rows: &RecordBatch, counter: i64) -> Result<RecordBatch> {
        let told = self.schema.column_with_name(OP).is_none();
        let ops = rows.schema().index_of(OP).ok().filter(|_| told);
        let gone: Int64Array = match ops {
            Some(at) => {
                let ops = rows.column(at).as_string::<i32>().iter();
                ops.map(|op| Some(i64::from(op == Some("delete")))).collect()
            }
            None => Int64Array::from_value(0, rows.num_rows()),
        };
        if !self.upsert && self.key.is_empty() && gone.values().contains(&1) {
            return Err(Error::config(format!(
                "{}: the source tells of deleted rows, and the table has no key to find them by",
                self.target
            ))
            .advice("name a primaryKey, and choose writeMode upsert"));
        }
        let mut fields: Vec<Arc<Field>> = rows.schema().fields().to_vec();
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        if let Some(at) = ops {
            fields.remove(at);
            columns.remove(at);
        }
        let first = counter << 32;
        let turns = (first..).take(rows.num_rows());
        let more: [(&str, ArrayRef); 2] = [
            (TURN, Arc::new(Int64Array::from_iter_values(turns))),
            (GONE, Arc::new(gone)),
        ];
        for (name, column) in more {
            fields.push(Arc::new(Field::new(name, DataType::Int64, true)));
            columns.push(column);
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }
}
