//! What a reader is.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Config, Error};

/// A system that can be read. Its methods are called by one thread at a time.
pub trait Reader: Send + Sized + 'static {
    /// Makes it from its settings; may connect.
    ///
    /// # Errors
    /// What keeps it from working.
    fn open(config: Config) -> Result<Self, Error>;
    /// Every stream that can be read now.
    ///
    /// # Errors
    /// What keeps it from finding them.
    fn discover(&mut self) -> Result<Vec<Stream>, Error>;
    /// Tries the connection and the rights, and reads nothing.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&mut self) -> Result<(), Error> {
        self.discover().map(drop)
    }
    /// Begins to read a part of a stream.
    ///
    /// # Errors
    /// What keeps it from reading.
    fn read(&mut self, request: Request) -> Result<Box<dyn Batches>, Error>;
}

/// One stream.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The exact name.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// The key that the system declares; empty: none.
    pub primary_key: Vec<String>,
    /// Columns that could serve as a cursor, best first.
    pub cursors: Vec<String>,
    /// Rows, where they are known without reading.
    pub rows: Option<u64>,
    /// How many parts can be read side by side, each by a process of its own.
    pub partitions: usize,
}

impl Stream {
    /// A stream that is read as a whole.
    pub fn new(name: impl Into<String>, schema: SchemaRef) -> Self {
        Self {
            name: name.into(),
            schema,
            primary_key: Vec::new(),
            cursors: Vec::new(),
            rows: None,
            partitions: 1,
        }
    }
}

/// What is to be read.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The stream.
    pub stream: String,
    /// Which of its rows.
    pub range: Range,
    /// Which part of it, from 0.
    #[serde(default)]
    pub instance: usize,
    /// Of how many.
    #[serde(default)]
    pub instances: usize,
    /// Its key.
    #[serde(default)]
    pub primary_key: Vec<String>,
    /// Its cursor.
    #[serde(default)]
    pub cursor: Vec<String>,
}

/// Which rows a load wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Range {
    /// All of them.
    Full(bool),
    /// Those after a position, which this reader gave; null: from the beginning.
    Delta {
        /// The position.
        after: Value,
    },
    /// Those with `from <= cursor < to`.
    Backfill {
        /// The first value.
        from: String,
        /// The first value that is not wanted.
        to: String,
    },
}

/// Rows in order.
pub trait Batches: Send {
    /// Their columns.
    fn schema(&self) -> SchemaRef;
    /// The next rows; `None`: there are no more. An error is never an end.
    ///
    /// # Errors
    /// What keeps it from reading on.
    fn next(&mut self) -> Result<Option<Batch>, Error>;
}

/// Some rows, and where the reader stands after them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The rows.
    pub rows: RecordBatch,
    /// The position after them: any JSON that this reader understands. `None`: no other than before.
    pub position: Option<Value>,
    /// Bytes that were read for them; 0: nobody counted.
    pub bytes: u64,
}

impl From<RecordBatch> for Batch {
    fn from(rows: RecordBatch) -> Self {
        Self {
            rows,
            position: None,
            bytes: 0,
        }
    }
}
