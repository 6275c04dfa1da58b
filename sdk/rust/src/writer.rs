//! What a writer is.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Config, Error};

/// What a writer wrote: one entry a file, with whatever the commit needs to know.
pub type File = Map<String, Value>;

/// A system that can be written. Its methods are called by one thread at a time.
pub trait Writer: Send + Sized + 'static {
    /// A commit of the same id may be repeated without harm.
    const IDEMPOTENT: bool = false;

    /// Makes it from its settings; may connect.
    ///
    /// # Errors
    /// What keeps it from working.
    fn open(config: Config) -> Result<Self, Error>;
    /// Tries the connection and the rights, and writes nothing.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&mut self) -> Result<(), Error> {
        Ok(())
    }
    /// Begins a load into a target.
    ///
    /// # Errors
    /// What keeps it from writing.
    fn begin(&mut self, target: Target) -> Result<(), Error>;
    /// Writes rows where nobody sees them yet; gives what it wrote. No other rows of the commit have the same `file_counter`,
    /// in this instance of the writer or another; the numbers have gaps and no order, and begin anew with each commit.
    ///
    /// # Errors
    /// What keeps it from writing.
    fn write(&mut self, rows: &RecordBatch, file_counter: u64) -> Result<Vec<File>, Error>;
    /// Lets all files of a load be seen, at once. No other commit has the same `id`, which is no name of a file: it has `/` and
    /// `:` in it. The same commit has it again when it is repeated.
    ///
    /// # Errors
    /// What keeps it from doing so.
    fn commit(&mut self, id: &str, files: &[File], replace: bool) -> Result<(), Error>;
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Rows are added.
    Append,
    /// A row replaces that of its key.
    Upsert,
    /// All rows replace those that are there.
    Overwrite,
}

/// Where rows go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The stream.
    pub stream: String,
    /// How.
    pub mode: Mode,
    /// The key.
    pub primary_key: Vec<String>,
    /// The columns of the rows to come.
    pub schema: SchemaRef,
}
