//! The lines that a program writes to its standard output.

use std::io;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::output::{Output, broken};
use crate::error::{Error, Result};

/// The longest line, in bytes: a row of it is held in memory several times.
pub(super) const LONGEST: usize = 128 << 20;

/// A line is longer than that.
pub(super) fn too_long() -> Error {
    Error::data(format!("a line of more than {} MiB", LONGEST >> 20)).reason("LineTooLong")
}

/// Lines, one at a time.
pub(super) struct Lines {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    /// Bytes at the beginning of the piece that were given on.
    given: usize,
    /// A line that came in several pieces.
    line: Vec<u8>,
}

impl Lines {
    /// Begins to read.
    ///
    /// # Errors
    /// `transient` where the machine has no room for it.
    pub(super) fn new(output: Output) -> Result<Self> {
        Ok(Self {
            pieces: output.pieces()?,
            piece: Bytes::new(),
            given: 0,
            line: Vec::new(),
        })
    }

    /// The next line without its end; `None`: there are no more. Not safe to be given up.
    ///
    /// # Errors
    /// `data` where a line is too long; `transient` where the pipe breaks.
    pub(super) async fn next(&mut self) -> Result<Option<&str>> {
        self.line.clear();
        self.piece.advance(std::mem::take(&mut self.given));
        loop {
            if self.piece.is_empty() {
                match self.pieces.recv().await {
                    None => return Ok((!self.line.is_empty()).then(|| text(&self.line))),
                    Some(piece) => self.piece = piece.map_err(|error| broken(&error))?,
                }
            }
            let end = memchr::memchr(b'\n', &self.piece);
            let length = end.unwrap_or(self.piece.len());
            if self.line.len() + length > LONGEST {
                return Err(too_long());
            }
            if end.is_some() && self.line.is_empty() {
                self.given = length + 1;
                return Ok(Some(text(&self.piece[..length])));
            }
            self.line.extend_from_slice(&self.piece[..length]);
            self.piece.advance(length + usize::from(end.is_some()));
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
