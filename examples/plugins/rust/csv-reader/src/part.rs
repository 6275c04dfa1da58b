//! A part of a file, batch by batch.
//!
//! In: bytes that begin and end with a record. Out: rows of Arrow. A record that does not fit the columns ends the load.

use std::{fs::File, io::Take};

use millrace_plugin::{Batch, Batches, Error, arrow_array::RecordBatch, arrow_schema::SchemaRef};
use simd_csv::{ZeroCopyByteRecord, ZeroCopyReader, ZeroCopyReaderBuilder};

use crate::columns::{Column, column};

/// Rows of a batch.
const ROWS: usize = 16 * 1024;
/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;
/// Bytes of a record that an error shows.
const SHOWN: usize = 60;

/// A part that is read.
pub(crate) struct Part {
    records: ZeroCopyReader<Take<File>>,
    columns: Columns,
}

/// Columns under construction.
struct Columns {
    schema: SchemaRef,
    of: Vec<Box<dyn Column>>,
}

impl Part {
    pub(crate) fn new(bytes: Take<File>, header: bool, schema: SchemaRef) -> Result<Self, Error> {
        let of = schema
            .fields()
            .iter()
            .map(|field| column(field.data_type(), ROWS));
        Ok(Self {
            columns: Columns {
                of: of.collect::<Result<_, _>>()?,
                schema,
            },
            records: ZeroCopyReaderBuilder::with_capacity(PIECE)
                .has_headers(header)
                .flexible(true)
                .from_reader(bytes),
        })
    }
}

impl Batches for Part {
    fn schema(&self) -> SchemaRef {
        self.columns.schema.clone()
    }

    fn next(&mut self) -> Result<Option<Batch>, Error> {
        let mut rows = 0;
        while rows < ROWS
            && let Some(record) = self.records.read_byte_record().map_err(Error::data)?
        {
            self.columns.push(&record)?;
            rows += 1;
        }
        match rows {
            0 => Ok(None),
            _ => Ok(Some(self.columns.take()?.into())),
        }
    }
}

impl Columns {
    fn push(&mut self, record: &ZeroCopyByteRecord<'_>) -> Result<(), Error> {
        let wrong = |what: String| {
            let begins = String::from_utf8_lossy(&record.as_slice()[..record.as_slice().len().min(SHOWN)]);
            Error::data(format!("{what}, in the record that begins with {begins:?}"))
        };
        if record.len() != self.of.len() {
            return Err(wrong(format!(
                "{} fields and not {}",
                record.len(),
                self.of.len()
            )));
        }
        for (at, (column, cell)) in self.of.iter_mut().zip(record.iter()).enumerate() {
            let taken = match cell.first() {
                Some(b'"') => column.push(&record.unescape(at).unwrap_or_default()),
                _ => column.push(cell),
            };
            taken.ok_or_else(|| {
                let field = self.schema.field(at);
                wrong(format!(
                    "`{}` is no {} as those before",
                    field.name(),
                    field.data_type()
                ))
            })?;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<RecordBatch, Error> {
        let arrays = self.of.iter_mut().map(|column| column.take()).collect();
        Ok(RecordBatch::try_new(self.schema.clone(), arrays)?)
    }
}
