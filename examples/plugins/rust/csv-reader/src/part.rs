//! A part of a file, batch by batch.
//!
//! In: bytes that begin and end with a line. Out: rows of Arrow. A line that does not fit the columns ends the load.

use std::{
    fs::File,
    io::{BufRead, BufReader, Take},
    path::PathBuf,
};

use millrace_plugin::{Batch, Batches, Error, arrow_array::RecordBatch, arrow_schema::SchemaRef};

use crate::{
    cells::{Cells, Unclosed},
    columns::{Column, column},
};

/// Rows of a batch.
const ROWS: usize = 16 * 1024;
/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;
/// Bytes of a line that an error shows.
const SHOWN: usize = 60;

/// A part that is read.
pub(crate) struct Part {
    file: PathBuf,
    bytes: BufReader<Take<File>>,
    line: Vec<u8>,
    schema: SchemaRef,
    columns: Vec<Box<dyn Column>>,
}

impl Part {
    pub(crate) fn new(file: PathBuf, bytes: Take<File>, schema: SchemaRef) -> Result<Self, Error> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| column(field.data_type(), ROWS));
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            schema,
            bytes: BufReader::with_capacity(PIECE, bytes),
            line: Vec::new(),
            file,
        })
    }

    /// Passes over the line with the names.
    pub(crate) fn skip_header(mut self) -> Result<Self, Error> {
        self.advance()?;
        Ok(self)
    }

    /// Reads the next line that is not empty, without its end; `false`: there is none.
    fn advance(&mut self) -> Result<bool, Error> {
        loop {
            self.line.clear();
            if self.bytes.read_until(b'\n', &mut self.line)? == 0 {
                return Ok(false);
            }
            while let Some(b'\n' | b'\r') = self.line.last() {
                self.line.pop();
            }
            if !self.line.is_empty() {
                return Ok(true);
            }
        }
    }

    /// Puts the line into the columns.
    fn take_line(&mut self) -> Result<(), String> {
        let mut found = 0;
        for cell in Cells::of(&self.line) {
            let cell = cell.map_err(|Unclosed| "a quote that is not closed in its line".to_owned())?;
            if let Some(column) = self.columns.get_mut(found) {
                column.push(&cell).ok_or_else(|| {
                    let field = self.schema.field(found);
                    format!(
                        "`{}` is no {}, as the first rows have it",
                        field.name(),
                        field.data_type()
                    )
                })?;
            }
            found += 1;
        }
        match found == self.columns.len() {
            true => Ok(()),
            false => Err(format!("{found} fields and not {}", self.columns.len())),
        }
    }

    fn error(&self, what: &str) -> Error {
        let begins = String::from_utf8_lossy(&self.line[..self.line.len().min(SHOWN)]);
        Error::data(format!(
            "{}: {what}, in the line that begins with {begins:?}",
            self.file.display()
        ))
        .advice("correct the line; the `file` connector reads more kinds of CSV, and refuses single rows")
    }
}

impl Batches for Part {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn next(&mut self) -> Result<Option<Batch>, Error> {
        let mut rows = 0;
        while rows < ROWS && self.advance()? {
            self.take_line().map_err(|what| self.error(&what))?;
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let arrays = self.columns.iter_mut().map(|column| column.take()).collect();
        Ok(Some(RecordBatch::try_new(self.schema.clone(), arrays)?.into()))
    }
}
