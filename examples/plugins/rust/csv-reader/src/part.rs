//! A part of a file, batch by batch.
//!
//! In: its lines, and its columns. Out: rows of Arrow. A line that does not fit the columns ends the load.

use millrace_plugin::{Batch, Batches, Error, arrow_array::RecordBatch, arrow_schema::SchemaRef};

use crate::{
    cells::Cells,
    columns::{Column, column},
    lines::Lines,
};

/// Rows of a batch.
const ROWS: usize = 16 * 1024;

/// A part that is read.
pub(crate) struct Part {
    lines: Lines,
    schema: SchemaRef,
    columns: Vec<Box<dyn Column>>,
}

impl Part {
    pub(crate) fn new(lines: Lines, schema: SchemaRef) -> Result<Self, Error> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| column(field.data_type(), ROWS));
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            schema,
            lines,
        })
    }

    /// The next rows, so many at most.
    pub(crate) fn rows(&mut self, most: usize) -> Result<RecordBatch, Error> {
        let mut rows = 0;
        while rows < most && self.lines.advance()? {
            self.take_line().map_err(|what| self.lines.error(&what))?;
            rows += 1;
        }
        let arrays = self.columns.iter_mut().map(|column| column.take()).collect();
        Ok(RecordBatch::try_new(self.schema.clone(), arrays)?)
    }

    /// Puts the line into the columns.
    fn take_line(&mut self) -> Result<(), String> {
        let mut found = 0;
        for cell in Cells::of(&self.lines.line) {
            let cell = cell.map_err(|unclosed| unclosed.to_string())?;
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
}

impl Batches for Part {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn next(&mut self) -> Result<Option<Batch>, Error> {
        let rows = self.rows(ROWS)?;
        Ok((rows.num_rows() > 0).then(|| rows.into()))
    }
}
