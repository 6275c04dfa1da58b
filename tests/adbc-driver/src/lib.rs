//! An ADBC driver for tests: another driver, whose answers it splits into ranges of rows.
//!
//! In: the options `splits.*` ([`Splits`]), and those of the other driver. Out: all that the other one does, and
//! `ExecutePartitions` and `ReadPartition`, which few drivers that need no server have.

mod options;
mod splits;

use std::collections::HashSet;

use adbc_core::{
    Connection, Database, Driver, LOAD_FLAG_DEFAULT, PartitionedResult, Statement,
    error::{Error, Result, Status},
    options::{AdbcVersion, InfoCode, ObjectDepth, OptionConnection, OptionDatabase, OptionValue},
};
use adbc_driver_manager::{ManagedConnection, ManagedDatabase, ManagedDriver, ManagedStatement};
use arrow_array::{RecordBatch, RecordBatchReader, cast::AsArray, types::Int64Type};
use arrow_schema::Schema;

use self::splits::Splits;

type Rows = Box<dyn RecordBatchReader + Send + 'static>;

/// The driver.
#[derive(Default)]
pub struct Splitting;

/// A database of the other driver.
pub struct SplitDatabase {
    real: ManagedDatabase,
    splits: Splits,
}

/// A connection of the other driver.
pub struct SplitConnection {
    real: ManagedConnection,
    splits: Splits,
}

/// A statement of the other driver, and its query.
pub struct SplitStatement {
    real: ManagedStatement,
    connection: ManagedConnection,
    splits: Splits,
    query: String,
}

mod exported {
    adbc_ffi::export_driver!(AdbcDriverSplitsInit, super::Splitting);
}

fn wrong(message: impl Into<String>) -> Error {
    Error::with_message_and_status(message, Status::InvalidArguments)
}

impl Driver for Splitting {
    type DatabaseType = SplitDatabase;

    fn new_database(&mut self) -> Result<SplitDatabase> {
        Err(wrong("splits.driver: name the driver that reads"))
    }

    fn new_database_with_opts(
        &mut self,
        opts: impl IntoIterator<Item = (OptionDatabase, OptionValue)>,
    ) -> Result<SplitDatabase> {
        let (splits, rest) = Splits::take(opts)?;
        let mut real =
            ManagedDriver::load_from_name(&splits.driver, None, AdbcVersion::V110, LOAD_FLAG_DEFAULT, None)?;
        Ok(SplitDatabase {
            real: real.new_database_with_opts(rest)?,
            splits,
        })
    }
}

impl Database for SplitDatabase {
    type ConnectionType = SplitConnection;

    fn new_connection(&self) -> Result<SplitConnection> {
        self.new_connection_with_opts([])
    }

    fn new_connection_with_opts(
        &self,
        opts: impl IntoIterator<Item = (OptionConnection, OptionValue)>,
    ) -> Result<SplitConnection> {
        Ok(SplitConnection {
            real: self.real.new_connection_with_opts(opts)?,
            splits: self.splits.clone(),
        })
    }
}

impl Connection for SplitConnection {
    type StatementType = SplitStatement;

    fn new_statement(&mut self) -> Result<SplitStatement> {
        Ok(SplitStatement {
            real: self.real.new_statement()?,
            connection: self.real.clone(),
            splits: self.splits.clone(),
            query: String::new(),
        })
    }

    fn get_info(&self, codes: Option<HashSet<InfoCode>>) -> Result<Rows> {
        self.real.get_info(codes)
    }

    fn get_objects(
        &self,
        depth: ObjectDepth,
        catalog: Option<&str>,
        db_schema: Option<&str>,
        table_name: Option<&str>,
        table_type: Option<Vec<&str>>,
        column_name: Option<&str>,
    ) -> Result<Rows> {
        self.real
            .get_objects(depth, catalog, db_schema, table_name, table_type, column_name)
    }

    fn get_table_schema(
        &self,
        catalog: Option<&str>,
        db_schema: Option<&str>,
        table_name: &str,
    ) -> Result<Schema> {
        self.real.get_table_schema(catalog, db_schema, table_name)
    }

    fn get_table_types(&self) -> Result<Rows> {
        self.real.get_table_types()
    }

    fn get_statistic_names(&self) -> Result<Rows> {
        self.real.get_statistic_names()
    }

    fn get_statistics(
        &self,
        catalog: Option<&str>,
        db_schema: Option<&str>,
        table_name: Option<&str>,
        approximate: bool,
    ) -> Result<Rows> {
        self.real
            .get_statistics(catalog, db_schema, table_name, approximate)
    }

    fn commit(&mut self) -> Result<()> {
        self.real.commit()
    }

    fn rollback(&mut self) -> Result<()> {
        self.real.rollback()
    }

    fn read_partition(&self, partition: impl AsRef<[u8]>) -> Result<Rows> {
        let text = str::from_utf8(partition.as_ref()).map_err(|_| wrong("no descriptor of this driver"))?;
        let (part, query) = text
            .split_once(' ')
            .ok_or_else(|| wrong("no descriptor of this driver"))?;
        self.splits.begin(part)?;
        rows(&self.real, query)
    }
}

/// The rows of a query.
fn rows(connection: &ManagedConnection, query: &str) -> Result<Rows> {
    let mut statement = connection.clone().new_statement()?;
    statement.set_sql_query(query)?;
    let rows = statement.execute()?;
    let schema = rows.schema();
    // Drivers read rows from the statement: all of them are taken before it goes.
    let all = rows.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(Box::new(arrow_array::RecordBatchIterator::new(
        all.into_iter().map(Ok),
        schema,
    )))
}

impl Statement for SplitStatement {
    fn bind(&mut self, batch: RecordBatch) -> Result<()> {
        self.real.bind(batch)
    }

    fn bind_stream(&mut self, reader: Box<dyn RecordBatchReader + Send>) -> Result<()> {
        self.real.bind_stream(reader)
    }

    fn execute(&mut self) -> Result<Rows> {
        self.real.execute()
    }

    fn execute_update(&mut self) -> Result<Option<i64>> {
        self.real.execute_update()
    }

    fn execute_schema(&mut self) -> Result<Schema> {
        self.real.execute_schema()
    }

    fn execute_partitions(&mut self) -> Result<PartitionedResult> {
        let query = &self.query;
        let counted = rows(&self.connection, &format!("select count(*) from ({query}) as q"))?;
        let count = counted
            .map(|batch| {
                Ok(batch?
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .iter()
                    .flatten()
                    .sum::<i64>())
            })
            .sum::<Result<i64>>()?;
        let parts = self.splits.parts.min(count);
        let size = (count + parts - 1) / parts.max(1);
        let descriptor = |part: i64| {
            let first = part * size;
            format!("{part} select * from ({query}) as q order by 1 limit {size} offset {first}").into_bytes()
        };
        let first = rows(&self.connection, &format!("select * from ({query}) as q limit 1"))?;
        Ok(PartitionedResult {
            partitions: (0..parts).map(descriptor).collect(),
            schema: match self.splits.silent {
                true => Schema::empty(),
                false => first.schema().as_ref().clone(),
            },
            rows_affected: count,
        })
    }

    fn get_parameter_schema(&self) -> Result<Schema> {
        self.real.get_parameter_schema()
    }

    fn prepare(&mut self) -> Result<()> {
        self.real.prepare()
    }

    fn set_sql_query(&mut self, query: impl AsRef<str>) -> Result<()> {
        query.as_ref().clone_into(&mut self.query);
        self.real.set_sql_query(query)
    }

    fn set_substrait_plan(&mut self, plan: impl AsRef<[u8]>) -> Result<()> {
        self.real.set_substrait_plan(plan)
    }
}
