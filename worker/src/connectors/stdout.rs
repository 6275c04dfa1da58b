//! `stdout`: a destination that prints rows as NDJSON, one object a line, once they are committed.
//!
//! In: staged rows, which wait in scratch files that have no name and so leave nothing behind. Out: whole lines on
//! standard output, those of one commit together. What was printed cannot be asked for again, so the state store
//! decides what has been delivered, and rows may show twice after a crash.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write},
    sync::{Arc, Mutex, MutexGuard},
};

use arrow::{
    array::{ArrayRef, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
    json::{WriterBuilder, writer::LineDelimited},
    record_batch::RecordBatch,
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Connector, Side, config};
use crate::{
    connector::{Authority, Destination, Op, Rows, Shard, Stage, StageRequest, Staged, System},
    engine::OP_COLUMN,
    error::{Context, Error, Result},
    protocol::{Commit, Committed, Epoch, Outcome, Permit, ShardId, nonce},
    settings,
    stream::StreamSpec,
};

/// The table's line.
pub const CONNECTOR: Connector = Connector {
    name: "stdout",
    summary: "Rows on standard output, one JSON object a line",
    source: None,
    destination: Some(Side::new::<StdoutConfig>("{ streamField: stream }", |system| {
        Ok(Arc::new(Stdout::new(&system)?))
    })),
    credentials: &[],
};

/// How rows are printed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StdoutConfig {
    /// A field, first in each object, that tells the stream's name. Without it no such field is printed.
    #[schemars(length(min = 1))]
    pub stream_field: Option<String>,
}

/// Prints files from their beginning, one after the other, with nothing of others in between.
type Print = Arc<dyn Fn(&mut [File]) -> io::Result<()> + Send + Sync>;

/// Standard output as a destination.
pub struct Stdout {
    config: StdoutConfig,
    print: Print,
}

impl Stdout {
    /// Checks the settings.
    ///
    /// # Errors
    /// `config` where they are not right.
    pub fn new(system: &System) -> Result<Self> {
        Ok(Self {
            config: config(system)?,
            print: Arc::new(|files| print(files, &mut io::stdout().lock())),
        })
    }
}

fn print(files: &mut [File], out: &mut dyn Write) -> io::Result<()> {
    let mut chunk = vec![0; 256 << 10];
    for file in files {
        file.seek(SeekFrom::Start(0))?;
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                read => out.write_all(&chunk[..read])?,
            }
        }
    }
    out.flush()
}

#[async_trait]
impl Destination for Stdout {
    fn authority(&self) -> Authority {
        Authority::Store
    }

    async fn shard(&self, _id: &ShardId, stream: &StreamSpec) -> Result<Arc<dyn Shard>> {
        let name = self.config.stream_field.clone();
        Ok(Arc::new(StdoutShard {
            label: name.map(|field| (field, stream.name.clone())),
            print: self.print.clone(),
            waiting: Arc::default(),
        }))
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

struct StdoutShard {
    /// The field that tells the stream, and the stream.
    label: Option<(String, String)>,
    print: Print,
    waiting: Arc<Waiting>,
}

/// What is staged and not yet printed, by token.
#[derive(Default)]
struct Waiting(Mutex<HashMap<String, (Epoch, File)>>);

impl Waiting {
    fn lock(&self) -> Result<MutexGuard<'_, HashMap<String, (Epoch, File)>>> {
        let held = self.0.lock();
        held.map_err(|_| Error::bug("what waits for standard output broke in another thread"))
    }

    /// Its files, in order; they stay, as a commit may be tried again.
    fn files(&self, staged: &[Staged]) -> Result<Vec<File>> {
        let waiting = self.lock()?;
        let file = |staged: &Staged| match staged.token.as_str().and_then(|token| waiting.get(token)) {
            Some((_, file)) => Ok(file.try_clone()?),
            None => Err(Error::data("rows that were staged for standard output are gone")),
        };
        staged.iter().map(file).collect()
    }

    fn forget(&self, staged: &[Staged]) -> Result<()> {
        let mut waiting = self.lock()?;
        for token in staged.iter().filter_map(|staged| staged.token.as_str()) {
            waiting.remove(token);
        }
        Ok(())
    }

    fn forget_before(&self, first: Epoch) -> Result<()> {
        self.lock()?.retain(|_, (epoch, _)| *epoch >= first);
        Ok(())
    }
}

#[async_trait]
impl Shard for StdoutShard {
    async fn last_committed(&self) -> Result<Option<Committed>> {
        Ok(None)
    }

    // Nobody can be kept from printing; an older worker is refused where it announces its commit.
    async fn fence(&self, _epoch: Epoch, _nonce: &str) -> Result<Option<Committed>> {
        Ok(None)
    }

    async fn stage(&self, permit: &Permit, request: StageRequest) -> Result<Box<dyn Stage>> {
        let file = tempfile::tempfile_in(settings::scratch()).context("scratch file")?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(Box::new(Lines {
            lines: WriterBuilder::new().with_explicit_nulls(true).build(file),
            layout: Layout::new(self.label.clone(), &request.schema)?,
            rows: 0,
            epoch: permit.epoch(),
            waiting: self.waiting.clone(),
        }))
    }

    async fn commit(&self, _permit: &Permit, commit: &Commit) -> Outcome {
        let mut files = match self.waiting.files(&commit.staged) {
            Ok(files) => files,
            Err(error) => return Outcome::Failed(error),
        };
        let print = self.print.clone();
        match tokio::task::spawn_blocking(move || print(&mut files)).await {
            Ok(Ok(())) => self.done(commit),
            Ok(Err(error)) => not_printed(&error),
            Err(error) => Outcome::Failed(Error::bug(format!("printing died: {error}"))),
        }
    }

    async fn discard(&self, _permit: &Permit, staged: &[Staged]) -> Result<()> {
        self.waiting.forget(staged)
    }

    async fn clean(&self, permit: &Permit) -> Result<()> {
        self.waiting.forget_before(permit.epoch())
    }
}

impl StdoutShard {
    fn done(&self, commit: &Commit) -> Outcome {
        self.waiting
            .forget(&commit.staged)
            .map_or_else(Outcome::Failed, |()| Outcome::Done)
    }
}

/// A reader that has gone (`| head`) does not come back; of anything else it is not known how much was printed.
fn not_printed(error: &io::Error) -> Outcome {
    if error.kind() == ErrorKind::BrokenPipe {
        let error = Error::config("standard output: whoever read it has gone")
            .advice("the rows were not taken; the next run prints them again");
        return Outcome::Failed(error);
    }
    Outcome::Unknown(format!("standard output: {error}"))
}

/// Rows on their way into one scratch file.
struct Lines {
    lines: arrow::json::Writer<BufWriter<File>, LineDelimited>,
    layout: Layout,
    rows: u64,
    epoch: Epoch,
    waiting: Arc<Waiting>,
}

#[async_trait]
impl Stage for Lines {
    async fn write(&mut self, rows: Rows) -> Result<()> {
        self.rows += rows.batch.num_rows() as u64;
        Ok(self.lines.write(&self.layout.arrange(&rows)?)?)
    }

    async fn finish(mut self: Box<Self>) -> Result<Staged> {
        self.lines.finish()?;
        let mut file = self
            .lines
            .into_inner()
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let bytes = file.seek(SeekFrom::End(0))?;
        let token = nonce();
        self.waiting.lock()?.insert(token.clone(), (self.epoch, file));
        Ok(Staged {
            files: 0,
            bytes,
            rows: self.rows,
            token: token.into(),
        })
    }
}

/// The fields of a line: the stream where it is wanted, the columns, and, in batches that hold more than inserts, the
/// operation, unless a column tells it already.
struct Layout {
    plain: SchemaRef,
    with_op: Option<SchemaRef>,
    stream: Option<String>,
}

impl Layout {
    fn new(label: Option<(String, String)>, schema: &Schema) -> Result<Self> {
        let mut fields = schema.fields().to_vec();
        let (field, stream) = label.unzip();
        if let Some(field) = field {
            if schema.column_with_name(&field).is_some() {
                let message = format!("connection.streamField: the rows have a column `{field}` already");
                return Err(Error::config(message).advice("choose another name"));
            }
            fields.insert(0, Arc::new(Field::new(field, DataType::Utf8, false)));
        }
        let plain = Arc::new(Schema::new(fields.clone()));
        fields.push(Arc::new(Field::new(OP_COLUMN, DataType::Utf8, false)));
        let told = schema.column_with_name(OP_COLUMN).is_some();
        Ok(Self {
            plain,
            with_op: (!told).then(|| Arc::new(Schema::new(fields))),
            stream,
        })
    }

    fn arrange(&self, rows: &Rows) -> Result<RecordBatch> {
        let len = rows.batch.num_rows();
        let mut columns = Vec::with_capacity(self.plain.fields().len() + 1);
        if let Some(stream) = &self.stream {
            let stream = std::iter::repeat_n(stream, len);
            columns.push(Arc::new(StringArray::from_iter_values(stream)) as ArrayRef);
        }
        columns.extend_from_slice(rows.batch.columns());
        let ops = rows
            .ops
            .as_ref()
            .filter(|ops| ops.iter().any(|op| *op != Op::Insert));
        let schema = match (ops, &self.with_op) {
            (Some(ops), Some(schema)) => {
                let ops = ops.iter().map(|op| op.as_str());
                columns.push(Arc::new(StringArray::from_iter_values(ops)));
                schema
            }
            _ => &self.plain,
        };
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }
}
