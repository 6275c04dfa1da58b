//! Where the records and fields of CSV bytes begin and end.
//!
//! In: bytes that begin at a record. Out: positions, column by column for the records that have the right number of
//! fields, and the places of those that have not. Eight bytes are looked at in one step, since most of a file is
//! neither delimiter nor quote nor line end. The rules are those of RFC 4180 and, beyond it, of the `csv` crate:
//! a quote within an unquoted field is text, text after a closing quote belongs to the field, empty lines are
//! skipped, and `\n`, `\r` and `\r\n` all end a record.

use std::ops::Range;

/// The characters with a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: Option<u8>,
    pub(crate) escape: Option<u8>,
    pub(crate) comment: Option<u8>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: Some(b'"'),
            escape: None,
            comment: None,
        }
    }
}

/// The positions found in one run of bytes. Kept between runs, so that its memory is taken once.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    columns: usize,
    starts: Vec<u32>,
    ends: Vec<u32>,
    odd: Vec<Range<usize>>,
    quotes: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// Bytes that were understood: whole records, comments, empty lines.
    pub(crate) consumed: usize,
    /// Where a quote was opened that the bytes do not close.
    pub(crate) unclosed: Option<usize>,
}

impl Tokens {
    /// Positions of records with this many fields; with 0, every record counts as odd.
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            columns,
            ..Self::default()
        }
    }

    /// Records with the right number of fields.
    pub(crate) fn rows(&self) -> usize {
        self.starts.len()
    }

    /// The bytes of records with another number of fields.
    pub(crate) fn odd(&self) -> &[Range<usize>] {
        &self.odd
    }

    /// Some field may be quoted.
    pub(crate) fn quotes(&self) -> bool {
        self.quotes
    }

    /// The bytes of the fields of one column, row by row, their quotes included.
    pub(crate) fn column(&self, column: usize) -> impl Iterator<Item = Range<usize>> {
        let rows = self
            .starts
            .iter()
            .zip(self.ends.chunks_exact(self.columns.max(1)));
        rows.map(move |(start, ends)| {
            let start = if column == 0 { *start } else { ends[column - 1] + 1 };
            start as usize..ends[column] as usize
        })
    }

    /// The bytes of a field, its quotes included.
    pub(crate) fn field(&self, row: usize, column: usize) -> Range<usize> {
        let at = row * self.columns + column;
        let start = if column == 0 {
            self.starts[row]
        } else {
            self.ends[at - 1] + 1
        };
        start as usize..self.ends[at] as usize
    }

    /// Where a record begins.
    pub(crate) fn start(&self, row: usize) -> usize {
        self.starts[row] as usize
    }

    /// The bytes of a record without its line end.
    pub(crate) fn record(&self, row: usize) -> Range<usize> {
        let end = if self.columns == 0 {
            0
        } else {
            self.ends[(row + 1) * self.columns - 1]
        };
        self.start(row)..end as usize
    }

    /// Finds the records of `bytes`, at most `max_rows` of the right ones. With `last`, the end of the bytes ends a
    /// record; else what follows the last line end is left for the next run.
    pub(crate) fn scan(&mut self, dialect: &Dialect, bytes: &[u8], last: bool, max_rows: usize) -> Scanned {
        self.starts.clear();
        self.ends.clear();
        self.odd.clear();
        let quote = dialect
            .quote
            .filter(|quote| memchr::memchr(*quote, bytes).is_some());
        self.quotes = quote.is_some();
        let comment = dialect
            .comment
            .filter(|comment| memchr::memchr(*comment, bytes).is_some());
        let returns = memchr::memchr(b'\r', bytes).is_some();
        let mut walk = Walk {
            delimiter: dialect.delimiter,
            escape: dialect.escape,
            comment,
            row: 0,
            field: 0,
            skip: 0,
            base: 0,
            in_comment: comment.is_some() && bytes.first().copied() == comment,
            unclosed: None,
            max_rows,
            tokens: self,
        };
        let delimiter = dialect.delimiter;
        if quote.is_some() || returns {
            walk.run([delimiter, b'\n', b'\r', quote.unwrap_or(delimiter)], bytes);
        } else {
            walk.run([delimiter, b'\n'], bytes);
        }
        walk.finish(bytes, last)
    }
}

/// The state along one run.
struct Walk<'a> {
    delimiter: u8,
    escape: Option<u8>,
    comment: Option<u8>,
    /// Where the record began.
    row: usize,
    /// Where the field began.
    field: usize,
    /// Positions before this one were dealt with.
    skip: usize,
    /// Field ends found before this record.
    base: usize,
    in_comment: bool,
    unclosed: Option<usize>,
    max_rows: usize,
    tokens: &'a mut Tokens,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;

impl Walk<'_> {
    /// Visits every byte that is one of `needles`, until it is told to stop.
    fn run<const N: usize>(&mut self, needles: [u8; N], bytes: &[u8]) {
        let spread = needles.map(|needle| ONES * u64::from(needle));
        let (words, rest) = bytes.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            // The high bit of each byte stays clear only where the byte equals a needle.
            let mut differs = !0;
            for needle in spread {
                let x = word ^ needle;
                differs &= ((x & LOW) + LOW) | x;
            }
            let mut hits = !(differs | LOW);
            while hits != 0 {
                let at = index * 8 + (hits.trailing_zeros() / 8) as usize;
                hits &= hits - 1;
                if at < self.skip {
                    continue;
                }
                if bytes[at] == self.delimiter {
                    self.end_field(at);
                } else if self.visit(bytes, at).is_none() {
                    return;
                }
            }
        }
        let base = bytes.len() - rest.len();
        for (index, byte) in rest.iter().enumerate() {
            if needles.contains(byte)
                && base + index >= self.skip
                && self.visit(bytes, base + index).is_none()
            {
                return;
            }
        }
    }

    #[inline]
    fn end_field(&mut self, at: usize) {
        self.tokens.ends.push(narrow(at));
        self.field = at + 1;
    }

    /// `None`: enough was found, or a quote is not closed.
    fn visit(&mut self, bytes: &[u8], at: usize) -> Option<()> {
        let byte = bytes[at];
        if byte == self.delimiter {
            self.end_field(at);
        } else if byte == b'\n' || byte == b'\r' {
            self.end_record(at);
            let both = byte == b'\r' && bytes.get(at + 1) == Some(&b'\n');
            self.begin_record(bytes, at + 1 + usize::from(both));
            return (self.tokens.starts.len() < self.max_rows).then_some(());
        } else if at == self.field && !self.in_comment {
            match closing(bytes, at + 1, byte, self.escape) {
                Some(close) => self.skip = close + 1,
                None => {
                    self.unclosed = Some(at);
                    return None;
                }
            }
        }
        Some(())
    }

    fn end_record(&mut self, at: usize) {
        let fields = self.tokens.ends.len() - self.base + 1;
        let empty = at == self.row;
        if fields == self.tokens.columns && !empty && !self.in_comment {
            self.tokens.starts.push(narrow(self.row));
            self.tokens.ends.push(narrow(at));
        } else {
            self.tokens.ends.truncate(self.base);
            if !empty && !self.in_comment {
                self.tokens.odd.push(self.row..at);
            }
        }
    }

    fn begin_record(&mut self, bytes: &[u8], at: usize) {
        self.row = at;
        self.field = at;
        self.skip = at;
        self.base = self.tokens.ends.len();
        self.in_comment = self.comment.is_some() && bytes.get(at).copied() == self.comment;
    }

    fn finish(mut self, bytes: &[u8], last: bool) -> Scanned {
        let full = self.tokens.starts.len() >= self.max_rows;
        if last && !full && self.unclosed.is_none() && self.row < bytes.len() {
            self.end_record(bytes.len());
            self.row = bytes.len();
        } else {
            self.tokens
                .ends
                .truncate(self.tokens.starts.len() * self.tokens.columns);
        }
        Scanned {
            consumed: self.row.min(bytes.len()),
            unclosed: self.unclosed,
        }
    }
}

/// Bytes are counted in 32 bits: the largest record that can be allowed is 2 GiB, and so is what is in view.
fn narrow(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The position of the quote that closes a field whose text begins at `from`. A quote at the very end may be the
/// first half of a doubled one: then no record end is in view either, and the record is looked at again.
fn closing(bytes: &[u8], from: usize, quote: u8, escape: Option<u8>) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = &bytes[at.min(bytes.len())..];
        let found = match escape {
            Some(escape) => memchr::memchr2(quote, escape, rest)?,
            None => memchr::memchr(quote, rest)?,
        } + at;
        if bytes[found] == quote && bytes.get(found + 1) != Some(&quote) {
            return Some(found);
        }
        at = found + 2;
    }
}

/// The fields of one record, their quotes included.
pub(crate) fn fields_of<'a>(record: &'a [u8], dialect: &Dialect) -> Vec<&'a [u8]> {
    let mut fields = Vec::new();
    let mut start = 0;
    loop {
        let text = match dialect.quote {
            Some(quote) if record.get(start) == Some(&quote) => {
                closing(record, start + 1, quote, dialect.escape).map_or(record.len(), |close| close + 1)
            }
            _ => start,
        };
        match memchr::memchr(dialect.delimiter, &record[text..]) {
            Some(at) => {
                fields.push(&record[start..text + at]);
                start = text + at + 1;
            }
            None => {
                fields.push(&record[start..]);
                return fields;
            }
        }
    }
}
