//! Arrow batches into the rows of a binary COPY.
//!
//! In: record batches of one schema. Out: bytes, in chunks that one send takes. Each column is looked at once a
//! batch: its values are brought into the few forms that PostgreSQL knows, and checked to be within its ranges.

use std::ops::Range;

use arrow::{
    array::{Array, ArrayRef, UInt32Array},
    compute::take,
    datatypes::Field,
    record_batch::RecordBatch,
};

use self::cells::{Cells, Column};
use crate::error::{Context, ErrorKind, Result};

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
pub(super) struct Prepared(Vec<Column>);

impl Prepared {
    /// Brings every column into its form.
    ///
    /// # Errors
    /// `data`, naming the column, for a value that PostgreSQL cannot hold: [`unfit`] finds those first.
    pub(super) fn new(batch: &RecordBatch) -> Result<Self> {
        let schema = batch.schema();
        let columns = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, array)| Column::new(array, field).context(format!("column {}", field.name())))
            .collect::<Result<_>>()?;
        Ok(Self(columns))
    }

    /// Its rows.
    pub(super) fn rows(&self, batch: &RecordBatch) -> Rows<'_> {
        Rows {
            columns: self.0.iter().map(Column::cells).collect(),
            count: u16::try_from(self.0.len()).unwrap_or(u16::MAX).to_be_bytes(),
            next: 0,
            end: batch.num_rows(),
        }
    }
}

/// Rows with values that PostgreSQL cannot hold, each with the column and the reason; a row may be there more than once.
///
/// # Errors
/// Other than `data`, where a column cannot be looked at.
pub(super) fn unfit(batch: &RecordBatch) -> Result<Vec<(usize, String)>> {
    let mut found = Vec::new();
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        search(array, field, 0..array.len(), &mut found)?;
    }
    Ok(found)
}

/// Halves the rows until those are found that do not fit: nearly always the first look is the last.
fn search(
    array: &ArrayRef,
    field: &Field,
    rows: Range<usize>,
    found: &mut Vec<(usize, String)>,
) -> Result<()> {
    let Err(error) = Column::holds(&part(array, &rows)?, field) else {
        return Ok(());
    };
    if error.kind != ErrorKind::Data {
        return Err(error);
    }
    if rows.len() <= 1 {
        found.push((rows.start, format!("`{}`: {}", field.name(), error.message)));
        return Ok(());
    }
    let middle = rows.start + rows.len() / 2;
    search(array, field, rows.start..middle, found)?;
    search(array, field, middle..rows.end, found)
}

/// A copy of some rows. A slice would still show the items and the bytes of the others.
fn part(array: &ArrayRef, rows: &Range<usize>) -> Result<ArrayRef> {
    if *rows == (0..array.len()) {
        return Ok(array.clone());
    }
    let rows = rows.clone().filter_map(|row| u32::try_from(row).ok());
    Ok(take(array, &UInt32Array::from_iter_values(rows), None)?)
}

#[cfg(test)]
mod tests;
