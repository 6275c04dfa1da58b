//! Cuts a large CSV file into byte ranges at record boundaries.
//!
//! A line end ends a record only outside of quotes, and whether a place is outside depends on every quote before it.
//! So the file is looked through up to the last cut, from quote to quote: that is a matter of memory bandwidth, a
//! small part of what decoding it takes, and it is right for every file. Where quotes cannot hold line ends (there
//! are none, or the options promise it), the next line end after each cut is enough.

use std::ops::Range;

use super::{Csv, tokens::Dialect};
use crate::{
    error::Result,
    storage::{Object, Storage},
};

/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// Whether a file can be cut without being read over a network twice.
pub(crate) fn possible(csv: &Csv, local: bool) -> bool {
    let simple = csv.dialect.comment.is_none() && csv.dialect.escape.is_none();
    lines_are_records(csv) || (local && simple)
}

fn lines_are_records(csv: &Csv) -> bool {
    csv.dialect.quote.is_none() || csv.newlines_in_values == Some(false)
}

/// At most `parts` ranges that cover `whole`, each beginning at a record.
///
/// # Errors
/// What reading the object gives.
pub(crate) async fn ranges(
    storage: &Storage,
    object: &Object,
    whole: Range<u64>,
    parts: u64,
    csv: &Csv,
) -> Result<Vec<Range<u64>>> {
    let size = whole.end.saturating_sub(whole.start);
    let targets = (1..parts).map(|part| whole.start + size / parts * part);
    let mut scan = QuoteScan::new(&csv.dialect);
    let mut at = whole.start;
    let mut cuts = vec![whole.start];
    for target in targets {
        let from = if lines_are_records(csv) { target } else { at };
        // A cut may lie behind the next target, where one record is that long.
        let Some(cut) = next_cut(storage, object, from..whole.end, target, &mut scan).await? else {
            break;
        };
        if cuts.last().is_some_and(|last| cut > *last) && cut < whole.end {
            cuts.push(cut);
        }
        at = cut;
    }
    cuts.push(whole.end);
    Ok(cuts.windows(2).map(|pair| pair[0]..pair[1]).collect())
}

/// The first record boundary at or after `target`; `None`: none before the end. The scan stands at that boundary
/// then, which is outside of quotes.
async fn next_cut(
    storage: &Storage,
    object: &Object,
    range: Range<u64>,
    target: u64,
    scan: &mut QuoteScan,
) -> Result<Option<u64>> {
    if range.start >= target && range.start > 0 && scan.at_boundary {
        return Ok(Some(range.start));
    }
    scan.restart();
    let mut input = storage.read(object, range)?;
    let mut buffer = vec![0; PIECE];
    loop {
        let position = input.position();
        let count = input.read(&mut buffer).await?;
        if count == 0 {
            return Ok(None);
        }
        let bytes = &buffer[..count];
        let pass = usize::try_from(target.saturating_sub(position))
            .unwrap_or(usize::MAX)
            .min(count);
        scan.pass(&bytes[..pass]);
        if let Some(end) = scan.record_end(&bytes[pass..]) {
            scan.at_boundary = true;
            return Ok(Some(position + (pass + end) as u64));
        }
    }
}

/// Where in a record a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Outside,
    Quoted,
    /// Behind a quote within quotes: it closes them, or another one follows and the two are text.
    Closing,
}

/// Follows the quotes of a file.
struct QuoteScan {
    quote: Option<u8>,
    delimiter: u8,
    state: State,
    /// The byte before the next one.
    before: u8,
    at_boundary: bool,
}

impl QuoteScan {
    fn new(dialect: &Dialect) -> Self {
        Self {
            quote: dialect.quote,
            delimiter: dialect.delimiter,
            state: State::Outside,
            before: b'\n',
            at_boundary: false,
        }
    }

    /// What comes next begins at a record (or, where lines are records, within one whose quotes do not matter).
    fn restart(&mut self) {
        self.state = State::Outside;
        self.before = b'\n';
        self.at_boundary = false;
    }

    /// Passes over bytes.
    fn pass(&mut self, bytes: &[u8]) {
        let Some(quote) = self.quote else { return };
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Closing {
                self.close(bytes[at], quote, &mut at);
                continue;
            }
            let Some(found) = memchr::memchr(quote, &bytes[at..]).map(|found| found + at) else {
                break;
            };
            self.meet(if found == 0 { self.before } else { bytes[found - 1] });
            at = found + 1;
        }
        self.before = bytes.last().copied().unwrap_or(self.before);
    }

    /// The byte behind a quote within quotes.
    fn close(&mut self, byte: u8, quote: u8, at: &mut usize) {
        if byte == quote {
            self.state = State::Quoted;
            *at += 1;
        } else {
            self.state = State::Outside;
        }
    }

    /// A quote, with the byte before it. Outside, it opens a field at a field's start and is text elsewhere.
    fn meet(&mut self, before: u8) {
        self.state = match self.state {
            State::Quoted => State::Closing,
            _ if before == self.delimiter || before == b'\n' || before == b'\r' => State::Quoted,
            _ => State::Outside,
        };
    }

    /// Passes over bytes up to the end of a record, and says where the next one begins.
    fn record_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            match self.quote {
                Some(quote) if self.state == State::Closing && byte == quote => self.state = State::Quoted,
                Some(quote) if byte == quote => self.meet(self.before),
                _ => {
                    if self.state == State::Closing {
                        self.state = State::Outside;
                    }
                    if byte == b'\n' && self.state == State::Outside {
                        self.before = byte;
                        return Some(at + 1);
                    }
                }
            }
            self.before = byte;
            at += 1;
        }
        None
    }
}
