//! The host's end of the pipe, kept from the plugin.
//!
//! In: descriptors 0 and 1. Out: frames. Whatever the plugin reads is empty, and what it prints goes to the log.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, IoSlice, Read, Write},
    ops::Deref,
};

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::{Schema, SchemaRef},
    ipc::{
        reader::StreamReader,
        writer::{StreamEncoder, StreamWriter},
    },
};
use rustix::{
    io::dup,
    stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout},
};
use serde_json::{Value, json};

use crate::{
    engines::frame::BODY,
    error::{Error, Result},
};

/// A batch with more bytes is cut in two: the memory of the worker has a limit.
const LARGE: usize = 64 << 20;

/// Both ends.
pub(super) struct Pipe {
    input: BufReader<File>,
    output: File,
}

/// A request of the worker.
pub(super) struct Request {
    pub(super) header: Value,
    pub(super) body: Vec<u8>,
}

impl Pipe {
    /// Takes the pipe for itself.
    pub(super) fn take() -> Result<Self> {
        let take = || -> io::Result<Self> {
            let (input, output) = (dup(stdin())?, dup(stdout())?);
            dup2_stdin(File::open("/dev/null")?)?;
            dup2_stdout(stderr())?;
            Ok(Self {
                input: BufReader::new(input.into()),
                output: output.into(),
            })
        };
        take().map_err(|error| Error::bug(format!("the pipe to the worker: {error}")))
    }

    /// The next request; `None`: the worker wants no more.
    pub(super) fn next(&mut self) -> Result<Option<Request>> {
        let mut start = [0; 8];
        match self.input.read_exact(&mut start) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(broken(&error)),
        }
        let mut part = |at: usize| {
            let length = start[at..at + 4]
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            let mut bytes = vec![0; length];
            self.input.read_exact(&mut bytes).map(|()| bytes)
        };
        let header = part(0).map_err(|error| broken(&error))?;
        let body = part(4).map_err(|error| broken(&error))?;
        let header = serde_json::from_slice(&header);
        Ok(Some(Request {
            header: header.map_err(|error| Error::bug(format!("a request is no JSON: {error}")))?,
            body,
        }))
    }

    /// Answers.
    pub(super) fn write(&mut self, header: &Value, body: &[u8]) -> Result<()> {
        self.write_parts(header, &[body])
    }

    /// The same, of a body that lies in several places.
    fn write_parts(&mut self, header: &Value, body: &[impl Deref<Target = [u8]>]) -> Result<()> {
        let header = header.to_string();
        let length =
            |bytes: usize| u32::try_from(bytes).map_err(|_| Error::data("a batch is too long for a frame"));
        let mut start = [0; 8];
        start[..4].copy_from_slice(&length(header.len())?.to_le_bytes());
        start[4..].copy_from_slice(&length(total(body))?.to_le_bytes());
        let body = body.iter().map(Deref::deref);
        let mut parts: Vec<_> = [&start[..], header.as_bytes()]
            .into_iter()
            .chain(body)
            .map(IoSlice::new)
            .collect();
        self.write_all(&mut parts).map_err(|error| broken(&error))
    }

    /// Writes them all at once, as far as the pipe has room: one by one they would wake the worker for each.
    fn write_all(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        while !parts.is_empty() {
            match self.output.write_vectored(parts) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut parts, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends rows, in several frames where they are large; the last of them has the position.
    ///
    /// # Errors
    /// `data` where one row alone is too large.
    pub(super) fn write_batch(&mut self, mut header: Value, rows: &RecordBatch) -> Result<()> {
        let count = rows.num_rows();
        let whole = count <= 1 || size(rows)? <= LARGE;
        match whole.then(|| batch(rows)).transpose()? {
            Some(body) if total(&body) <= BODY => {
                header["rows"] = json!(count);
                self.write_parts(&header, &body)
            }
            Some(body) if count <= 1 => Err(Error::data(format!(
                "a row of {} MiB; {} MiB is the most that a row can have",
                total(&body) >> 20,
                BODY >> 20
            ))),
            _ => {
                let mut first = header.clone();
                for name in ["position", "bytes"] {
                    first.as_object_mut().and_then(|fields| fields.remove(name));
                }
                self.write_batch(first, &rows.slice(0, count / 2))?;
                header["row"] = json!(header["row"].as_u64().unwrap_or_default() + count as u64 / 2);
                self.write_batch(header, &rows.slice(count / 2, count - count / 2))
            }
        }
    }
}

/// The bytes of rows, of a slice about those that are in it.
fn size(rows: &RecordBatch) -> Result<usize> {
    let columns = rows.columns().iter();
    let sizes = columns.map(|column| column.to_data().get_slice_memory_size());
    Ok(sizes.sum::<std::result::Result<usize, _>>()?)
}

fn broken(error: &io::Error) -> Error {
    Error::transient(format!("the pipe to the worker is broken: {error}"))
}

/// A schema as an Arrow stream.
pub(super) fn schema(schema: &Schema) -> Result<Vec<u8>> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    writer.finish()?;
    Ok(writer.into_inner()?)
}

/// Rows as an Arrow stream, of which the columns are not copied.
fn batch(rows: &RecordBatch) -> Result<Vec<Buffer>> {
    let mut encoder = StreamEncoder::try_new(&rows.schema())?;
    let mut parts = encoder.encode(rows)?;
    parts.extend(encoder.finish()?);
    Ok(parts)
}

fn total(parts: &[impl Deref<Target = [u8]>]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// The schema of an Arrow stream.
pub(super) fn read_schema(bytes: &[u8]) -> Result<SchemaRef> {
    Ok(StreamReader::try_new(Cursor::new(bytes), None)?.schema())
}

/// The rows of an Arrow stream.
pub(super) fn read_batch(bytes: &[u8]) -> Result<RecordBatch> {
    let mut reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    let schema = reader.schema();
    reader
        .next()
        .unwrap_or_else(|| Ok(RecordBatch::new_empty(schema)))
        .map_err(Into::into)
}
