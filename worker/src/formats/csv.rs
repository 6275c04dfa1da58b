//! CSV: records of text into columns of Arrow, without a copy of the file and without a guess.
//!
//! In: a byte range of an object that begins and ends at record boundaries ([`split`] finds them), the columns of the
//! file and their types. Out: payloads of rows. A record that cannot be read is refused with its place, and the
//! rest goes on; a quote that is never closed stops the load, since nobody can tell how many records it swallowed.

mod columns;
mod header;
mod options;
mod refuse;
pub(crate) mod split;
#[cfg(test)]
mod tests;
mod tokens;

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array},
    datatypes::SchemaRef,
};
use async_trait::async_trait;

pub use self::options::CsvOptions;
use self::{
    columns::{Fields, Misfit},
    refuse::Refusals,
    tokens::Tokens,
};
pub(crate) use self::{
    header::{Header, sample},
    options::Csv,
};
use super::{Place, window::Window};
use crate::{
    connector::{Payload, Reader, UnfitRow},
    error::{Error, Result},
};

/// Fields decoded at once, so that wide files take no more memory than narrow ones.
const FIELDS: usize = 1 << 19;
/// Rows in a batch, at most.
const ROWS: usize = 1 << 15;

/// Reads one range of one file.
pub(crate) struct CsvReader {
    window: Window,
    csv: Arc<Csv>,
    /// The columns of every batch.
    schema: SchemaRef,
    /// The column of the file for each column of the schema; `None`: the file has no such column.
    sources: Vec<Option<usize>>,
    names: Arc<[String]>,
    tokens: Tokens,
    place: Place,
    /// Bytes to pass over before the first record.
    skip: u64,
}

impl CsvReader {
    /// `header`: the columns of this file. `window` begins at a record.
    pub(crate) fn new(
        window: Window,
        csv: Arc<Csv>,
        schema: SchemaRef,
        header: &Header,
        place: Place,
    ) -> Self {
        let sources = schema
            .fields()
            .iter()
            .map(|field| header.names.iter().position(|name| name == field.name()))
            .collect();
        let tokens = Tokens::new(header.names.len());
        Self {
            window,
            csv,
            schema,
            sources,
            names: header.names.clone(),
            tokens,
            place,
            skip: 0,
        }
    }

    /// Passes over the first bytes: the header of a compressed file cannot be left out of its range.
    pub(crate) fn skip(mut self, bytes: u64) -> Self {
        self.skip = bytes;
        self
    }

    fn pass(&mut self, count: usize) {
        self.place.pass(&self.window.bytes()[..count]);
        self.window.consume(count);
    }

    /// Makes a payload from what is in view; `None`: more must be in view, or nothing is left.
    fn decode(&mut self) -> Result<Option<Payload>> {
        let max_rows = ROWS.min(FIELDS / self.names.len().max(1)).max(1);
        let bytes = self.window.bytes();
        let found = self
            .tokens
            .scan(&self.csv.dialect, bytes, self.window.ended(), max_rows);
        if let (Some(at), true, 0) = (found.unclosed, self.window.ended(), found.consumed) {
            return Err(self.unclosed(at));
        }
        if found.consumed == 0 {
            return Ok(None);
        }
        let payload = self.payload(&bytes[..found.consumed])?;
        self.pass(found.consumed);
        Ok(Some(payload))
    }

    fn payload(&self, bytes: &[u8]) -> Result<Payload> {
        let (text, broken) = self.text(bytes);
        let fields = Fields {
            text: &text,
            tokens: &self.tokens,
            dialect: &self.csv.dialect,
            nulls: &self.csv.nulls,
        };
        let mut misfits = Vec::new();
        let batch = self.batch(&fields, &mut misfits)?;
        let refusals = Refusals {
            fields: &fields,
            names: &self.names,
            bytes,
            place: &self.place,
        };
        let mut unfit: Vec<UnfitRow> = broken.iter().map(|row| refusals.broken(*row)).collect();
        // What the columns of a record say that is not UTF-8 counts for nothing.
        misfits.retain(|misfit| !broken.contains(&misfit.row));
        misfits.sort_unstable();
        for misfits in misfits.chunk_by(|one, other| one.row == other.row) {
            unfit.push(refusals.misfits(misfits, &batch, &self.sources)?);
        }
        unfit.sort_by_key(|unfit| unfit.row);
        let mut payload = Payload::new(batch);
        payload.refused = refusals.odd(self.tokens.odd());
        payload.unfit = unfit;
        payload.metadata = self.place.metadata(&bytes[..self.first_record()]);
        Ok(payload)
    }

    /// Where the first good record begins in the view.
    fn first_record(&self) -> usize {
        if self.tokens.rows() == 0 {
            0
        } else {
            self.tokens.start(0)
        }
    }

    fn batch(&self, fields: &Fields<'_>, misfits: &mut Vec<Misfit>) -> Result<RecordBatch> {
        let rows = self.tokens.rows();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.sources.len());
        for (field, source) in self.schema.fields().iter().zip(&self.sources) {
            arrays.push(match source {
                Some(column) => fields.array(*column, field, misfits)?,
                None => new_null_array(field.data_type(), rows),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            arrays,
            &options,
        )?)
    }

    /// The bytes as text, and the records that hold bytes which are none.
    fn text<'a>(&self, bytes: &'a [u8]) -> (Cow<'a, str>, Vec<usize>) {
        match std::str::from_utf8(bytes) {
            Ok(text) => (Cow::Borrowed(text), Vec::new()),
            Err(_) => {
                let (text, rows) = masked(bytes, &self.tokens);
                (Cow::Owned(text), rows)
            }
        }
    }

    fn unclosed(&self, at: usize) -> Error {
        let (offset, line) = (
            self.window.offset() + at as u64,
            self.place.line_at(&self.window.bytes()[..at]),
        );
        let line = line.map(|line| format!("line {line}, ")).unwrap_or_default();
        Error::data(format!(
            "{}: a quote is opened at {line}byte {offset} and never closed",
            self.place.file()
        ))
        .reason("UnclosedQuote")
        .advice("correct the file, or set `csv.quote` to the character that it uses (`\"\"`: none)")
    }
}

#[async_trait]
impl Reader for CsvReader {
    async fn next(&mut self) -> Result<Option<Payload>> {
        loop {
            if self.skip > 0 {
                let count = usize::try_from(self.skip)
                    .unwrap_or(usize::MAX)
                    .min(self.window.bytes().len());
                self.pass(count);
                self.skip -= count as u64;
            }
            if !self.window.bytes().is_empty()
                && let Some(mut payload) = self.decode()?
            {
                payload.bytes = self.window.bytes_read();
                return Ok(Some(payload));
            }
            if self.window.ended() {
                return Ok(None);
            }
            self.window.fill().await?;
        }
    }
}

/// A copy in which `?` stands for each byte that is no UTF-8, and the records with such bytes.
fn masked(bytes: &[u8], tokens: &Tokens) -> (String, Vec<usize>) {
    let mut copy = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        copy.push_str(chunk.valid());
        copy.extend(chunk.invalid().iter().map(|_| '?'));
    }
    let rows = (0..tokens.rows()).filter(|row| std::str::from_utf8(&bytes[tokens.record(*row)]).is_err());
    (copy, rows.collect())
}
