//! One stream, read from one process.
//!
//! In: the lines of a connector. Out: payloads. Columns are settled once the first rows are there, since connectors do not
//! always write what they declare. A load ends well where the process does, and has said no error.

use std::{
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arrow::{array::Array, datatypes::SchemaRef};
use async_trait::async_trait;
use serde_json::Value;
use tokio::time::timeout;

use super::{INCOMPLETE, Reading, Said, Shared, files::Files, log};
use crate::{
    connector::{Estimate, Load, Op, Payload, Position, Reader},
    engine::portions,
    engines::{child::Child, hosted::patience, json_schema, lines::Lines},
    error::{Context, Error, ErrorKind, Result},
    formats::{Place, ndjson::Decoder},
    secrets::Mask,
};

/// Rows by which columns are settled, and the bytes of these.
const SAMPLE: (usize, usize) = (1000, 4 << 20);
/// Rows of a payload, and the bytes of these.
const PAYLOAD: (usize, usize) = (8192, 8 << 20);
/// The column by which a tap tells of a row that is gone.
const DELETED: &str = "_sdc_deleted_at";
/// What a connector does, for errors.
const READING: &str = "it read";

/// A load.
pub(in crate::engines) struct MessageLoad {
    schema: SchemaRef,
    estimate: Estimate,
    position: Arc<Mutex<Option<Position>>>,
    reader: Mutex<Option<Box<Talk>>>,
}

impl MessageLoad {
    /// Starts a connector, and reads as far as its columns are known.
    pub(in crate::engines) async fn open(dialect: Shared, reading: Reading, mask: Mask) -> Result<Self> {
        let (child, input, output) = Child::start(&reading.program, mask.clone())?;
        drop(input);
        let position = Arc::new(Mutex::new(reading.before.clone()));
        let mut talk = Box::new(Talk {
            child,
            mask,
            lines: Lines::new(output)?,
            patience: patience(),
            rows: Vec::new(),
            count: 0,
            files: Files::within(reading.program.beside.as_deref().and_then(Path::parent)),
            state: None,
            since: 0,
            safe: false,
            told: Instant::now(),
            failed: None,
            noise: 0,
            others: 0,
            estimate: None,
            ended: false,
            passed: 0,
            decoder: None,
            position: position.clone(),
            dialect,
            reading,
        });
        while talk.count < SAMPLE.0 && talk.rows.len() < SAMPLE.1 && talk.hear().await? {}
        let schema = json_schema::columns(&talk.reading.schema, &talk.rows);
        talk.decoder = Some(Decoder::new(schema.clone()));
        Ok(Self {
            schema,
            estimate: Estimate {
                rows: talk.estimate,
                bytes: None,
            },
            position,
            reader: Mutex::new(Some(talk)),
        })
    }
}

#[async_trait]
impl Load for MessageLoad {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn partitions(&self) -> usize {
        1
    }

    fn rereads(&self) -> bool {
        false
    }

    /// Known once the part has been read, which is when the engine asks.
    fn watermark(&self) -> Option<Position> {
        self.position
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn estimate(&self) -> Estimate {
        self.estimate
    }

    async fn read(&self, _partition: usize) -> Result<Box<dyn Reader>> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        match reader {
            Some(reader) => Ok(reader),
            None => Err(Error::bug("a connector's only part was read twice")),
        }
    }
}

/// A connector that is listened to.
struct Talk {
    dialect: Shared,
    reading: Reading,
    child: Child,
    mask: Mask,
    lines: Lines,
    patience: Duration,
    /// Rows that wait, one a line, and their number.
    rows: Vec<u8>,
    count: usize,
    /// Files of more rows, which come before what it says next.
    files: Files,
    /// What the connector said last of where it stands.
    state: Option<Value>,
    failed: Option<Error>,
    /// The rows since then, and whether it covers all of them, and it is time to pass it on.
    since: u64,
    safe: bool,
    told: Instant,
    /// Lines that were no messages; rows of streams that nobody asked for.
    noise: u64,
    others: u64,
    estimate: Option<u64>,
    ended: bool,
    /// Rows that were given on.
    passed: u64,
    decoder: Option<Decoder>,
    position: Arc<Mutex<Option<Position>>>,
}

impl Talk {
    /// Takes in a line, or some of a file; `false`: there are no more.
    async fn hear(&mut self) -> Result<bool> {
        if !self.files.done() {
            let taken = self.files.take(&mut self.rows, PAYLOAD.1).await;
            self.count += taken.map_err(|error| given_up(&self.child, error))?;
            return Ok(true);
        }
        if self.ended {
            return Ok(false);
        }
        let line = {
            let mut next = pin!(self.lines.next());
            loop {
                let logged = self.child.logged();
                match timeout(self.patience, &mut next).await {
                    Ok(line) => break Some(line),
                    // One that logs is at work.
                    Err(_) if self.child.logged() != logged => {}
                    Err(_) => break None,
                }
            }
        };
        let Some(line) = line else {
            return Err(self.child.silent(READING, self.patience));
        };
        let line = line.map_err(|error| given_up(&self.child, error))?;
        let Some(line) = line else {
            self.ended = true;
            self.end().await?;
            return Ok(false);
        };
        match self.dialect.hear(line) {
            Said::Row { stream, row } if self.reading.names.iter().any(|name| *name == stream) => {
                self.rows.extend_from_slice(row.as_bytes());
                self.rows.push(b'\n');
                self.count += 1;
                self.since += 1;
                self.safe = false;
            }
            Said::Row { .. } => self.others += 1,
            Said::Batch { stream, files } if self.reading.names.contains(&stream) => {
                self.files.add(files);
            }
            Said::Schema { stream, schema } if self.reading.names.contains(&stream) => {
                // Later ones say the same, or come too late: rows that do not fit are told one by one.
                if self.decoder.is_none() {
                    self.reading.schema = schema;
                }
            }
            Said::State { state, rows } => {
                // One that counts right covers what it says; others are believed once all has been read.
                self.safe = rows == Some(self.since) && self.told.elapsed() >= portions::interval();
                self.since = 0;
                self.state = Some(state);
            }
            Said::Log { level, message } => log(self.child.name(), level, &self.mask.hide(&message)),
            Said::Estimate(rows) => self.estimate = Some(rows),
            Said::Failed(error) => {
                // That a stream is incomplete says less than why.
                let known = self.failed.take().filter(|known| known.reason != INCOMPLETE);
                self.failed = Some(known.unwrap_or(error));
            }
            Said::Config(config) => self.dialect.keep(config).await?,
            Said::Batch { .. } | Said::Schema { .. } | Said::Nothing => {}
            Said::Noise => {
                self.noise += 1;
                if self.noise <= 20 && !line.trim().is_empty() {
                    log(self.child.name(), "noise", &self.mask.hide(line));
                }
            }
        }
        Ok(true)
    }

    /// The connector has ended: well, or not.
    async fn end(&mut self) -> Result<()> {
        let ended = self.child.end().await?;
        let name = self.child.name();
        if let Some(error) = self.failed.take() {
            return Err(self.mask.hide_in(error)).context(format!("{name}, while {READING}"));
        }
        if !ended.well() {
            let error = ended.error(READING);
            // What kind of failure it was it has not said: another try costs little, and a wrong setting stays wrong.
            return Err(match error.kind {
                ErrorKind::Bug => Error {
                    kind: ErrorKind::Transient,
                    ..error
                },
                _ => error,
            });
        }
        if self.others > 0 {
            tracing::warn!(
                plugin = name,
                rows = self.others,
                "rows of streams that nobody asked for were left out"
            );
        }
        if self.noise > 20 {
            tracing::warn!(
                plugin = name,
                lines = self.noise,
                "lines that are no messages were passed over"
            );
        }
        Ok(())
    }

    /// The rows that wait, as payloads would have them.
    fn payload(&mut self) -> Result<Payload> {
        let Some(decoder) = &self.decoder else {
            return Err(Error::bug("rows were decoded before their columns were known"));
        };
        let place = Place::new(self.child.name(), 0, Some(self.passed + 1));
        let (mut payload, taken) = decoder.decode(&self.rows, &place)?;
        payload.bytes = taken as u64;
        self.passed += payload.batch.num_rows() as u64;
        self.count = self.count.saturating_sub(payload.batch.num_rows());
        self.rows.drain(..taken);
        if let Some(gone) = payload.batch.column_by_name(DELETED)
            && gone.null_count() < gone.len()
        {
            let op = |row: usize| if gone.is_null(row) { Op::Insert } else { Op::Delete };
            payload.ops = Some((0..gone.len()).map(op).collect());
        }
        Ok(payload)
    }
}

/// Nothing more is wanted of a connector: what it has sent cannot be read.
fn given_up(child: &Child, error: Error) -> Error {
    child.kill();
    Error {
        message: format!("{}: {}", child.name(), error.message),
        ..error
    }
}

#[async_trait]
impl Reader for Talk {
    async fn next(&mut self) -> Result<Option<Payload>> {
        while !self.safe && self.count < PAYLOAD.0 && self.rows.len() < PAYLOAD.1 && self.hear().await? {}
        if self.rows.is_empty() && !self.safe {
            let position = self.dialect.position(&self.reading, self.state.take());
            *self.position.lock().unwrap_or_else(PoisonError::into_inner) = position;
            return Ok(None);
        }
        let mut payload = self.payload()?;
        if self.safe && self.rows.is_empty() {
            payload.position = self.dialect.position(&self.reading, self.state.clone());
            (self.safe, self.told) = (false, Instant::now());
        }
        Ok(Some(payload))
    }
}
