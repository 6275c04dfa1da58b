//! NDJSON: one JSON object a line.
//!
//! In: a byte range that begins at a line, and the columns wanted. Out: payloads of rows. A line that is no object, a
//! value that does not fit its column, and a member that no column was foreseen for refuse their row alone.

mod infer;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, ops::Range};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::{FieldRef, SchemaRef},
};
use async_trait::async_trait;
use serde_json::{Map, Value};

pub(crate) use self::infer::infer;
use super::{
    Place, json,
    json::{Wrong, raw},
    row_json, shortened,
    window::Window,
};
use crate::{
    connector::{Payload, Reader, Refused, UnfitRow},
    error::Result,
    storage::{Object, Storage},
    types::type_name,
};

/// Lines in a batch, at most.
const ROWS: usize = 1 << 14;

/// At most `parts` ranges of about the same size, each beginning at a line.
///
/// # Errors
/// What reading the object gives.
pub(crate) async fn ranges(storage: &Storage, object: &Object, parts: u64) -> Result<Vec<Range<u64>>> {
    let mut cuts = vec![0];
    for part in 1..parts {
        let target = object.size / parts * part;
        let cut = line_after(storage, object, target).await?;
        if cut < object.size && cuts.last().is_some_and(|last| cut > *last) {
            cuts.push(cut);
        }
    }
    cuts.push(object.size);
    Ok(cuts.windows(2).map(|pair| pair[0]..pair[1]).collect())
}

/// The byte behind the first line end at or after `target`.
async fn line_after(storage: &Storage, object: &Object, target: u64) -> Result<u64> {
    const STEP: u64 = 256 << 10;
    let mut at = target;
    while at < object.size {
        let end = object.size.min(at + STEP);
        let bytes = storage.get_range(&object.key, at..end).await?;
        if let Some(found) = memchr::memchr(b'\n', &bytes) {
            return Ok(at + found as u64 + 1);
        }
        at = end;
    }
    Ok(object.size)
}

/// Makes payloads of lines.
pub(crate) struct Decoder {
    schema: SchemaRef,
    columns: HashMap<String, usize>,
}

/// Reads one range of one file.
pub(crate) struct NdjsonReader {
    window: Window,
    decoder: Decoder,
    place: Place,
}

impl NdjsonReader {
    /// `window` begins at a line.
    pub(crate) fn new(window: Window, schema: SchemaRef, place: Place) -> Self {
        Self {
            window,
            decoder: Decoder::new(schema),
            place,
        }
    }

    /// Makes a payload of the whole lines in view; `None`: there are none.
    fn decode(&mut self) -> Result<Option<Payload>> {
        let bytes = self.window.bytes();
        let end = last_line(bytes, self.window.ended());
        if end == 0 {
            return Ok(None);
        }
        let (payload, consumed) = self.decoder.decode(&bytes[..end], &self.place)?;
        self.place.pass(&self.window.bytes()[..consumed]);
        self.window.consume(consumed);
        Ok(Some(payload))
    }
}

impl Decoder {
    /// For lines with these columns.
    pub(crate) fn new(schema: SchemaRef) -> Self {
        let names = schema.fields().iter().enumerate();
        Self {
            columns: names
                .map(|(index, field)| (field.name().clone(), index))
                .collect(),
            schema,
        }
    }

    /// A payload of the first lines, at most as many as a batch holds, and the bytes that they take; `place` is where
    /// they stand.
    ///
    /// # Errors
    /// `config` where JSON cannot hold the type of a column.
    pub(crate) fn decode(&self, bytes: &[u8], place: &Place) -> Result<(Payload, usize)> {
        let mut lines = Lines::new(self.schema.fields().len());
        let consumed = lines.read(bytes, &self.columns);
        Ok((self.payload(&bytes[..consumed], &lines, place)?, consumed))
    }

    fn payload(&self, bytes: &[u8], lines: &Lines<'_>, place: &Place) -> Result<Payload> {
        let mut wrong = Vec::new();
        let batch = self.batch(lines, &mut wrong)?;
        let broken = |row: usize| lines.broken.iter().any(|(broken, _)| *broken == row);
        let mut unfit = Vec::new();
        for (row, reason) in &lines.broken {
            let read = lines.text(bytes, *row);
            let letter = refuse(bytes, lines, *row, (reason.clone(), "parse"), read, place);
            unfit.push(UnfitRow {
                row: *row,
                columns: Vec::new(),
                letter,
            });
        }
        wrong.retain(|wrong| !broken(wrong.row));
        wrong.sort_by_key(|wrong| wrong.row);
        for wrong in wrong.chunk_by(|one, other| one.row == other.row) {
            let row = wrong[0].row;
            let (reason, read) = self.misfit(wrong, lines, &batch)?;
            let letter = refuse(bytes, lines, row, (reason, "type"), read, place);
            let columns = wrong.iter().map(|wrong| self.column_of(&wrong.path));
            unfit.push(UnfitRow {
                row,
                columns: columns.flatten().map(|(_, field)| field.name().clone()).collect(),
                letter,
            });
        }
        unfit.sort_by_key(|unfit| unfit.row);
        let mut payload = Payload::new(batch);
        payload.unfit = unfit;
        payload.metadata = place.metadata(&bytes[..lines.starts.first().map_or(0, |line| line.start)]);
        Ok(payload)
    }

    fn batch(&self, lines: &Lines<'_>, wrong: &mut Vec<Wrong>) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(lines.texts.len());
        for (field, texts) in self.schema.fields().iter().zip(&lines.texts) {
            arrays.push(json::array(field, field.name(), texts, wrong)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(lines.starts.len()));
        Ok(RecordBatch::try_new_with_options(
            self.schema.clone(),
            arrays,
            &options,
        )?)
    }

    /// Why the values of a row do not fit, and the row as far as it was read.
    fn misfit(&self, wrong: &[Wrong], lines: &Lines<'_>, batch: &RecordBatch) -> Result<(String, Value)> {
        let row = wrong[0].row;
        let mut read = row_json(batch, row)?;
        let mut reasons = Vec::with_capacity(wrong.len());
        for Wrong { path, .. } in wrong {
            let Some((column, field)) = self.column_of(path) else {
                continue;
            };
            let text = lines.texts[column][row].unwrap_or_default();
            let type_ = type_name(field.data_type());
            reasons.push(match path == field.name() {
                true => format!("`{path}`: `{}` is not {type_}", shortened(text)),
                false => format!("`{path}`: a value of `{}` does not fit", shortened(text)),
            });
            read.insert(
                field.name().clone(),
                serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            );
        }
        Ok((reasons.join("; "), Value::Object(read)))
    }

    fn column_of(&self, path: &str) -> Option<(usize, &FieldRef)> {
        self.schema.fields().iter().enumerate().find(|(_, field)| {
            path.strip_prefix(field.name().as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}

/// A row that is refused, with its reason and the kind of that.
fn refuse(
    bytes: &[u8],
    lines: &Lines<'_>,
    row: usize,
    (reason, kind): (String, &str),
    read: Value,
    place: &Place,
) -> Refused {
    Refused {
        reason,
        kind: kind.to_owned(),
        place: place.at(&bytes[..lines.starts[row].start]),
        row: read,
    }
}

/// The end of the last whole line; with `last`, of all bytes.
fn last_line(bytes: &[u8], last: bool) -> usize {
    if last {
        bytes.len()
    } else {
        memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1)
    }
}

/// The members of some lines, column by column.
struct Lines<'a> {
    /// The bytes of each line that is not empty.
    starts: Vec<Range<usize>>,
    texts: Vec<Vec<Option<&'a str>>>,
    broken: Vec<(usize, String)>,
}

impl<'a> Lines<'a> {
    fn new(columns: usize) -> Self {
        Self {
            starts: Vec::new(),
            texts: vec![Vec::new(); columns],
            broken: Vec::new(),
        }
    }

    /// Takes lines, at most as many as a batch holds; gives the bytes that they take.
    fn read(&mut self, bytes: &'a [u8], columns: &HashMap<String, usize>) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.starts.len() < ROWS {
            let end = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |found| at + found);
            let mark = if bytes[at..end].starts_with(b"\xef\xbb\xbf") {
                3
            } else {
                0
            };
            let line = at + mark..end;
            if !bytes[line.clone()].trim_ascii().is_empty() {
                self.line(bytes, line, columns);
            }
            at = (end + 1).min(bytes.len());
        }
        at
    }

    fn line(&mut self, bytes: &'a [u8], line: Range<usize>, columns: &HashMap<String, usize>) {
        let row = self.starts.len();
        self.starts.push(line.clone());
        self.texts.iter_mut().for_each(|texts| texts.push(None));
        let Ok(text) = std::str::from_utf8(&bytes[line]) else {
            self.broken.push((row, "not UTF-8".to_owned()));
            return;
        };
        let mut unknown = None;
        let texts = &mut self.texts;
        let object = raw::members(text, |name, value| match columns.get(&*name) {
            Some(column) => texts[*column][row] = Some(value),
            None => unknown = Some(name),
        });
        if object.is_none() {
            let reason = serde_json::from_str::<Map<String, Value>>(text)
                .map_or_else(|error| error.to_string(), |_| "no JSON object".to_owned());
            self.broken.push((row, format!("not one JSON object: {reason}")));
        } else if let Some(name) = unknown {
            let reason =
                format!("`{name}`: a column that was not foreseen; declare it in the schema of the stream");
            self.broken.push((row, reason));
        }
        if self.broken.last().is_some_and(|(broken, _)| *broken == row) {
            self.texts.iter_mut().for_each(|texts| texts[row] = None);
        }
    }

    /// A line as JSON where it is some, else as text.
    fn text(&self, bytes: &[u8], row: usize) -> Value {
        const LONGEST: usize = 64 << 10;
        let line = &bytes[self.starts[row].clone()];
        serde_json::from_slice(line).unwrap_or_else(|_| {
            String::from_utf8_lossy(&line[..line.len().min(LONGEST)])
                .trim_end()
                .into()
        })
    }
}

#[async_trait]
impl Reader for NdjsonReader {
    async fn next(&mut self) -> Result<Option<Payload>> {
        loop {
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
