//! The lines that a program writes to its standard output.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::ChildStdout,
};

use crate::error::{Error, Result};

/// The longest line, in bytes: a row of it is held in memory several times.
pub(super) const LONGEST: usize = 128 << 20;

/// A line is longer than that.
pub(super) fn too_long() -> Error {
    Error::data(format!("a line of more than {} MiB", LONGEST >> 20)).reason("LineTooLong")
}

/// What less than this came at once, is followed by more: connectors write each row by itself, and to be woken for each of
/// them costs more than to read it.
const MUCH: usize = 64 << 10;
/// How long is waited for more.
const PAUSE: Duration = Duration::from_millis(2);

/// Lines, one at a time.
pub(super) struct Lines {
    output: BufReader<ChildStdout>,
    line: Vec<u8>,
    /// What came last was little.
    little: bool,
}

impl Lines {
    pub(super) fn new(output: ChildStdout) -> Self {
        Self {
            output: BufReader::with_capacity(1 << 20, output),
            line: Vec::new(),
            little: false,
        }
    }

    /// The next line without its end; `None`: there are no more. Not safe to be given up.
    ///
    /// # Errors
    /// `data` where a line is too long; `transient` where the pipe breaks.
    pub(super) async fn next(&mut self) -> Result<Option<&str>> {
        self.line.clear();
        loop {
            let empty = self.output.buffer().is_empty();
            if empty && std::mem::take(&mut self.little) {
                tokio::time::sleep(PAUSE).await;
            }
            let seen = self.output.fill_buf().await;
            let seen = seen.map_err(|error| Error::transient(format!("the pipe is broken: {error}")))?;
            self.little = empty && seen.len() < MUCH;
            if seen.is_empty() {
                return Ok((!self.line.is_empty()).then(|| text(&self.line)));
            }
            let end = memchr::memchr(b'\n', seen);
            let part = &seen[..end.unwrap_or(seen.len())];
            if self.line.len() + part.len() > LONGEST {
                return Err(too_long());
            }
            self.line.extend_from_slice(part);
            let taken = end.map_or(seen.len(), |end| end + 1);
            self.output.consume(taken);
            if end.is_some() {
                return Ok(Some(text(&self.line)));
            }
        }
    }
}

/// A line that is no UTF-8 is noise: nothing of it is understood.
fn text(line: &[u8]) -> &str {
    std::str::from_utf8(line)
        .unwrap_or("\u{fffd}")
        .trim_end_matches('\r')
}
