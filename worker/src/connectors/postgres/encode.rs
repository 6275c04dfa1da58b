//! Arrow batches into the rows of a binary COPY.
//!
//! In: record batches of one schema. Out: bytes, in chunks that one send takes. Each column is looked at once a
//! batch: its values are brought into the few forms that PostgreSQL knows, and checked to be within its ranges.

use arrow::record_batch::RecordBatch;

use self::cells::Cells;
use crate::error::{Context, Result};

mod cells;
mod check;
mod normal;
pub(super) mod sql;

/// Bytes in one chunk, about.
const CHUNK: usize = 128 << 10;
/// What a binary COPY begins with: a signature, no flags, no extension.
const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub(super) const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// Encodes one COPY.
pub(super) struct Encoder {
    buffer: Vec<u8>,
}

/// One batch on its way.
pub(super) struct Rows<'a> {
    columns: Vec<Cells<'a>>,
    count: [u8; 2],
    next: usize,
    end: usize,
}

impl Encoder {
    /// An encoder whose first chunk begins with the header.
    pub(super) fn new() -> Self {
        Self {
            buffer: HEADER.to_vec(),
        }
    }

    /// Fills the buffer; gives a chunk once it is full, `None` once the batch is through.
    pub(super) fn fill(&mut self, rows: &mut Rows<'_>) -> Option<Vec<u8>> {
        while rows.next < rows.end {
            if self.buffer.len() >= CHUNK {
                return Some(self.chunk());
            }
            self.buffer.extend_from_slice(&rows.count);
            for column in &rows.columns {
                column.write(rows.next, &mut self.buffer);
            }
            rows.next += 1;
        }
        None
    }

    /// The last chunk, with the trailer.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.buffer.extend_from_slice(&TRAILER);
        self.buffer
    }

    fn chunk(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK + (CHUNK >> 2)))
    }
}

/// A batch whose columns are in PostgreSQL's forms. Beside it, the [`Rows`] borrow from it.
pub(super) struct Prepared(Vec<cells::Column>);

impl Prepared {
    /// Brings every column into its form.
    ///
    /// # Errors
    /// `data`, naming column and row, for a value that PostgreSQL cannot hold.
    pub(super) fn new(batch: &RecordBatch) -> Result<Self> {
        let schema = batch.schema();
        let columns = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, array)| {
                cells::Column::new(array, field).context(format!("column {}", field.name()))
            })
            .collect::<Result<_>>()?;
        Ok(Self(columns))
    }

    /// Its rows.
    pub(super) fn rows(&self, batch: &RecordBatch) -> Rows<'_> {
        Rows {
            columns: self.0.iter().map(cells::Column::cells).collect(),
            count: u16::try_from(self.0.len()).unwrap_or(u16::MAX).to_be_bytes(),
            next: 0,
            end: batch.num_rows(),
        }
    }
}

#[cfg(test)]
mod tests;
