//! Counts, and goes on where it stopped: the smallest library with a state.
//!
//! In: `to`. Out: one stream, `numbers`, whose position is the last number.

use std::sync::Arc;

use millrace_plugin::{
    Batch, Batches, Config, Error, Range, Reader, Request, Stream,
    arrow_array::{Int64Array, RecordBatch},
    arrow_schema::{DataType, Field, Schema, SchemaRef},
};
use serde::Deserialize;

/// Rows of a batch.
const ROWS: i64 = 1000;

/// What a Source says in its `connection`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The last number.
    to: i64,
}

struct Counter {
    to: i64,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("number", DataType::Int64, false)]))
}

impl Reader for Counter {
    fn open(config: Config) -> Result<Self, Error> {
        let settings: Settings = config.settings()?;
        Ok(Self { to: settings.to })
    }

    fn discover(&mut self) -> Result<Vec<Stream>, Error> {
        Ok(vec![Stream {
            primary_key: vec!["number".to_owned()],
            cursors: vec!["number".to_owned()],
            ..Stream::new("numbers", schema())
        }])
    }

    fn read(&mut self, request: Request) -> Result<Box<dyn Batches>, Error> {
        let after = match request.range {
            Range::Full(_) => 0,
            Range::Delta { after } => after.as_i64().unwrap_or(0),
            Range::Backfill { .. } => return Err(Error::config("a counter knows no backfill")),
        };
        Ok(Box::new(Numbers {
            last: after,
            to: self.to,
        }))
    }
}

struct Numbers {
    last: i64,
    to: i64,
}

impl Batches for Numbers {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn next(&mut self) -> Result<Option<Batch>, Error> {
        if self.last >= self.to {
            return Ok(None);
        }
        let end = self.to.min(self.last + ROWS);
        let numbers = Int64Array::from_iter_values(self.last + 1..=end);
        let rows = RecordBatch::try_new(schema(), vec![Arc::new(numbers)]);
        self.last = end;
        Ok(Some(Batch {
            position: Some(end.into()),
            ..Batch::from(rows?)
        }))
    }
}

millrace_plugin::reader!(Counter);
