//! A query whose answer the driver itself splits.
//!
//! In: the query. Out: descriptors of its parts, as text; and, of one of them, the rows. Another connection with the same
//! options can read a part as well, so each may be read by a host of its own: all of them are of the one answer.

use adbc_core::{Connection as _, Statement as _, error::Status};
use arrow::datatypes::SchemaRef;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{Adbc, Answer, failed, of_ours, refused};
use crate::error::{Error, Result};

impl Adbc {
    /// Lets the driver run a query and split its answer; gives the columns and the parts. `None`: it cannot, or there is
    /// nothing to split.
    pub(super) fn split(&mut self, sql: &str) -> Result<Option<(SchemaRef, Vec<String>)>> {
        let mut statement = self.statement(sql)?;
        let found = match statement.execute_partitions() {
            Ok(found) => found,
            Err(error) if error.status == Status::NotImplemented => return Ok(None),
            Err(error) => return Err(refused(&error, sql)),
        };
        if found.partitions.is_empty() {
            return Ok(None);
        }
        let schema = match found.schema.fields().is_empty() {
            // A driver need not know them before the rows.
            true => self.columns(sql)?,
            false => of_ours(&found.schema),
        };
        self.split = Some(statement);
        Ok(Some((
            schema,
            found
                .partitions
                .iter()
                .map(|part| STANDARD.encode(part))
                .collect(),
        )))
    }

    /// Begins to read a part; gives its columns.
    pub(super) fn part(&mut self, descriptor: &str) -> Result<SchemaRef> {
        let descriptor = STANDARD
            .decode(descriptor)
            .map_err(|error| Error::bug(format!("`part` is no base64: {error}")))?;
        let rows = self
            .connection
            .read_partition(descriptor)
            .map_err(|error| failed(&error))?;
        let answer = Answer {
            rows,
            _statement: None,
        };
        Ok(self.begin_reading(answer, Value::Null))
    }
}
