//! The lines of a part of a file.
//!
//! In: a file, and which of how many parts of it. Out: its lines, one after another. A part begins and ends behind a line end.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take},
    path::PathBuf,
};

use millrace_plugin::Error;

use crate::cells::Cells;

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;
/// Bytes of a line that an error shows.
const SHOWN: usize = 60;

/// What is left of a part, and the line that was read last, without its end.
pub(crate) struct Lines {
    file: PathBuf,
    bytes: BufReader<Take<File>>,
    pub(crate) line: Vec<u8>,
}

impl Lines {
    pub(crate) fn of(file: PathBuf, part: usize, parts: usize) -> Result<Self, Error> {
        let bytes = share(&file, part as u64, parts.max(1) as u64)
            .map_err(|error| Error::config(format!("{}: {error}", file.display())))?;
        Ok(Self {
            file,
            bytes: BufReader::with_capacity(PIECE, bytes),
            line: Vec::new(),
        })
    }

    /// Reads the next line that is not empty; `false`: there is none.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<bool, Error> {
        loop {
            self.line.clear();
            let read = self.bytes.read_until(b'\n', &mut self.line);
            if read.map_err(|error| Error::transient(format!("{}: {error}", self.file.display())))? == 0 {
                return Ok(false);
            }
            while let Some(b'\n' | b'\r') = self.line.last() {
                self.line.pop();
            }
            if !self.line.is_empty() {
                return Ok(true);
            }
        }
    }

    /// The names in the first line.
    pub(crate) fn header(&mut self) -> Result<Vec<String>, Error> {
        if !self.advance()? {
            return Err(Error::data(format!("{} has no header", self.file.display())));
        }
        let names = Cells::of(&self.line).map(|cell| {
            let cell = cell.map_err(|unclosed| self.error(&unclosed.to_string()))?;
            String::from_utf8(cell.into_owned()).map_err(|_| self.error("a name that is not UTF-8"))
        });
        names.collect()
    }

    /// What is wrong with the line that was read last.
    pub(crate) fn error(&self, what: &str) -> Error {
        let begins = String::from_utf8_lossy(&self.line[..self.line.len().min(SHOWN)]);
        Error::data(format!(
            "{}: {what}, in the line that begins with {begins:?}",
            self.file.display()
        ))
        .advice("correct the line; the `file` connector reads more kinds of CSV, and refuses single rows")
    }
}

/// The bytes of one of several parts of equal length, from line to line.
fn share(path: &PathBuf, part: u64, parts: u64) -> io::Result<Take<File>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let begin = line_after(&mut file, size / parts * part, part == 0)?;
    let end = match part + 1 == parts {
        true => size,
        false => line_after(&mut file, size / parts * (part + 1), false)?,
    };
    file.seek(SeekFrom::Start(begin))?;
    Ok(file.take(end.saturating_sub(begin)))
}

/// The first byte of a line at or after `at`.
fn line_after(file: &mut File, at: u64, first: bool) -> io::Result<u64> {
    if first {
        return Ok(0);
    }
    file.seek(SeekFrom::Start(at))?;
    let mut rest = Vec::new();
    let read = BufReader::new(file).read_until(b'\n', &mut rest)?;
    Ok(at + read as u64)
}
