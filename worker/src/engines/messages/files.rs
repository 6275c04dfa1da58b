//! Files of rows that a connector has written for us.
//!
//! In: their paths, as they are told. Out: their lines, some at a time, so that memory does not depend on the size of a file. One
//! that was read is removed: it was made for us.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;

use crate::{
    engines::lines,
    error::{Error, Result},
};

/// What gzip begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Files that are read one after another.
#[derive(Default)]
pub(super) struct Files {
    waiting: VecDeque<PathBuf>,
    open: Option<Box<dyn BufRead + Send>>,
}

impl Files {
    /// More to read.
    pub(super) fn add(&mut self, files: Vec<PathBuf>) {
        self.waiting.extend(files);
    }

    /// Whether all were read.
    pub(super) fn done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes in rows, one a line, until there are so many bytes of them; gives their number.
    ///
    /// # Errors
    /// `data` where a file cannot be read, or has too long a line.
    pub(super) async fn take(&mut self, rows: &mut Vec<u8>, until: usize) -> Result<usize> {
        let (mut files, mut taken) = (std::mem::take(self), std::mem::take(rows));
        let work = move || {
            let count = files.lines(&mut taken, until);
            (files, taken, count)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let (files, taken, count) =
            done.map_err(|error| Error::bug(format!("reading batch files: {error}")))?;
        (*self, *rows) = (files, taken);
        count
    }

    fn lines(&mut self, rows: &mut Vec<u8>, until: usize) -> Result<usize> {
        let mut count = 0;
        while rows.len() < until
            && let Some(path) = self.waiting.front()
        {
            let cannot = |error: io::Error| Error::data(format!("batch file {}: {error}", path.display()));
            let file = match &mut self.open {
                Some(file) => file,
                None => self.open.insert(open(path).map_err(cannot)?),
            };
            match line(file, rows).map_err(cannot)? {
                Line::Row => count += 1,
                Line::Blank => {}
                Line::TooLong => {
                    let error = lines::too_long();
                    return Err(Error {
                        message: format!("batch file {}: {}", path.display(), error.message),
                        ..error
                    });
                }
                Line::End => {
                    // What stays behind is only room.
                    let _ = std::fs::remove_file(path);
                    self.open = None;
                    self.waiting.pop_front();
                }
            }
        }
        Ok(count)
    }
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path)?);
    Ok(match file.fill_buf()?.starts_with(&GZIP) {
        true => Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file))),
        false => Box::new(file),
    })
}

enum Line {
    Row,
    Blank,
    TooLong,
    End,
}

/// Takes in the next line, with an end where the file has none.
fn line(mut file: &mut (dyn BufRead + Send), rows: &mut Vec<u8>) -> io::Result<Line> {
    let start = rows.len();
    let most = lines::LONGEST as u64 + 1;
    if (&mut file).take(most).read_until(b'\n', rows)? == 0 {
        return Ok(Line::End);
    }
    if rows.last() != Some(&b'\n') {
        if rows.len() - start > lines::LONGEST {
            return Ok(Line::TooLong);
        }
        rows.push(b'\n');
    }
    if rows[start..].trim_ascii().is_empty() {
        rows.truncate(start);
        return Ok(Line::Blank);
    }
    Ok(Line::Row)
}
