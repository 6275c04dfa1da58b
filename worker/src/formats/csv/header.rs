//! The first bytes of a CSV file: its columns, where its records begin, and some of them as a sample.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Csv,
    tokens::{Tokens, fields_of},
};
use crate::error::{Error, Result};

/// The columns of a file and where its records begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The columns in the order of the file.
    pub(crate) names: Arc<[String]>,
    /// The byte at which the first record may begin.
    pub(crate) data: u64,
    /// Lines before that byte.
    pub(crate) lines: u64,
}

impl Header {
    /// Reads the header from the first bytes of a file; `last`: they are all of it. `declared`: names for a file that
    /// has none. `Ok(None)`: the file has no record and no header, or more bytes are needed and `last` is not set.
    ///
    /// # Errors
    /// `data` where a name stands twice, or where the file is not UTF-8.
    pub(crate) fn read(
        bytes: &[u8],
        last: bool,
        csv: &Csv,
        declared: Option<&[String]>,
    ) -> Result<Option<Self>> {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Err(
                Error::data("the file is UTF-16").advice("convert it to UTF-8, for example with `iconv`")
            );
        }
        let mark = usize::from(bytes.starts_with(b"\xef\xbb\xbf")) * 3;
        let body = &bytes[mark..];
        let mut tokens = Tokens::new(0);
        tokens.scan(&csv.dialect, body, last, usize::MAX);
        let Some(first) = tokens.odd().first().cloned() else {
            return Ok(None);
        };
        let fields = fields_of(&body[first.clone()], &csv.dialect);
        if !csv.header {
            let names = match declared {
                Some(declared) => declared.to_vec(),
                None => (1..=fields.len())
                    .map(|number| format!("column_{number}"))
                    .collect(),
            };
            return Ok(Some(Self {
                names: names.into(),
                data: mark as u64,
                lines: 0,
            }));
        }
        let names = names(&fields, csv)?;
        // The line end may be two characters; an empty line is no record, so one too few does no harm.
        let data = (first.end + 1).min(body.len());
        let lines = memchr::memchr_iter(b'\n', &body[..data]).count() as u64;
        Ok(Some(Self {
            names: names.into(),
            data: (mark + data) as u64,
            lines,
        }))
    }
}

fn names(fields: &[&[u8]], csv: &Csv) -> Result<Vec<String>> {
    let mut names = Vec::with_capacity(fields.len());
    for (number, field) in fields.iter().enumerate() {
        let text = std::str::from_utf8(field).map_err(|_| {
            Error::data(format!("the name of column {} is not UTF-8", number + 1))
                .advice("convert the file to UTF-8, for example with `iconv`")
        })?;
        let name = super::columns::plain(text, &csv.dialect).into_owned();
        names.push(if name.is_empty() {
            format!("column_{}", number + 1)
        } else {
            name
        });
    }
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> = names
        .iter()
        .filter(|name| !seen.insert(*name))
        .map(String::as_str)
        .collect();
    if twice.is_empty() {
        return Ok(names);
    }
    let twice = twice
        .into_iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    Err(Error::data(format!("the header names {twice} more than once"))
        .reason("DuplicateColumn")
        .advice("give each column a name of its own, or set `csv.header: false` and declare the schema"))
}

/// The fields of the records in `bytes` that have as many as the header; null where they mean it. `bytes` may begin
/// and end within a record.
pub(crate) fn sample(bytes: &[u8], columns: usize, csv: &Csv) -> Vec<Vec<Option<String>>> {
    let mut tokens = Tokens::new(columns);
    tokens.scan(&csv.dialect, bytes, false, usize::MAX);
    let text = |row: usize, column: usize| {
        let raw = std::str::from_utf8(&bytes[tokens.field(row, column)]).ok()?;
        let text = super::columns::plain(raw, &csv.dialect);
        let quoted = text.len() < raw.len();
        let null = !quoted && csv.nulls.has(&text) || quoted && text.is_empty();
        (!null).then(|| text.into_owned())
    };
    (0..tokens.rows())
        .map(|row| (0..columns).map(|column| text(row, column)).collect())
        .collect()
}
