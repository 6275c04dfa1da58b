//! Files of rows that a connector has written for us.
//!
//! In: their paths, as they are told. Out: their lines, some at a time, so that memory does not depend on the size of a file. One
//! that was read is removed: it was made for us. A connector in a container of its own may name no file but those in the
//! directory that it shares with the worker: the worker's own are none of its business.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fs::{self, OpenOptions},
    io::{self, BufRead, BufReader, Read},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use rustix::fs::OFlags;

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
    open: Option<Open>,
    /// Where they have to lie; `None`: anywhere.
    within: Option<PathBuf>,
}

/// A file that is being read.
struct Open {
    /// What was opened, whatever it was called.
    path: PathBuf,
    content: Box<dyn BufRead + Send>,
}

impl Files {
    /// Files that lie in this directory; `None`: anywhere.
    pub(super) fn within(directory: Option<&Path>) -> Self {
        Self {
            within: directory.map(Path::to_owned),
            ..Self::default()
        }
    }

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
                None => self
                    .open
                    .insert(open(path, self.within.as_deref()).map_err(cannot)?),
            };
            match line(file.content.as_mut(), rows).map_err(cannot)? {
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
                    let _ = fs::remove_file(&file.path);
                    self.open = None;
                    self.waiting.pop_front();
                }
            }
        }
        Ok(count)
    }
}

fn open(path: &Path, within: Option<&Path>) -> io::Result<Open> {
    // A pipe that nobody writes must not hold us up.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // Names can be links, and change: what counts is what was opened.
    let real = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let within = within.map(fs::canonicalize).transpose()?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if let Some(place) = within.filter(|place| !real.starts_with(place)) {
        return Err(io::Error::other(format!(
            "a connector in a container of its own may write files for the worker below {} alone",
            place.display()
        )));
    }
    let mut file = BufReader::with_capacity(1 << 16, file);
    let content: Box<dyn BufRead + Send> = match file.fill_buf()?.starts_with(&GZIP) {
        true => Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(file))),
        false => Box::new(file),
    };
    Ok(Open { path: real, content })
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
