//! File formats: bytes of objects into batches of Arrow.
//!
//! In: an object, a byte range of it, and the columns wanted. Out: a [`Reader`](crate::connector::Reader) of payloads
//! that hold rows, the places of those that were refused, and never more than a few megabytes at once, however large
//! a file, however far its compression expands.

pub mod compression;
pub mod csv;
pub(crate) mod infer;
pub(crate) mod json;
pub(crate) mod lines;
pub(crate) mod ndjson;
pub(crate) mod parquet;
pub(crate) mod value;
pub(crate) mod window;

use std::{collections::BTreeMap, sync::Arc};

use arrow::array::RecordBatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::compression::Compression;
use crate::error::{Error, Result};

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = with_aliases)]
pub enum Format {
    /// Text with a delimiter between fields.
    Csv,
    /// One JSON object a line.
    #[serde(alias = "jsonl", alias = "json")]
    Ndjson,
    /// Apache Parquet.
    Parquet,
}

/// The other names of NDJSON, which a schema does not learn from the type.
pub(crate) fn with_aliases(schema: &mut schemars::Schema) {
    if let Some(formats) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        formats.extend(["json", "jsonl"].map(
            |name| serde_json::json!({ "type": "string", "const": name, "description": "The same as ndjson." }),
        ));
    }
}

impl Format {
    /// The format that the suffix of a name says, its compression aside.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let suffix = Compression::strip(name).rsplit_once('.')?.1.to_ascii_lowercase();
        match suffix.as_str() {
            "csv" | "tsv" | "txt" => Some(Self::Csv),
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Where a reader stands in a file, for those who look for a row.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    file: Arc<str>,
    /// The byte at the front of the view.
    offset: u64,
    /// The line there, from 1; `None`: nobody counted.
    line: Option<u64>,
}

impl Place {
    pub(crate) fn new(file: &str, offset: u64, line: Option<u64>) -> Self {
        Self {
            file: file.into(),
            offset,
            line,
        }
    }

    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The line behind `before`, which is the front of the view.
    pub(crate) fn line_at(&self, before: &[u8]) -> Option<u64> {
        self.line
            .map(|line| line + memchr::memchr_iter(b'\n', before).count() as u64)
    }

    /// Moves on over the front of the view.
    pub(crate) fn pass(&mut self, bytes: &[u8]) {
        self.line = self.line_at(bytes);
        self.offset += bytes.len() as u64;
    }

    /// The place behind `before`, for a dead letter.
    pub(crate) fn at(&self, before: &[u8]) -> BTreeMap<String, Value> {
        self.metadata(before)
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// The place behind `before`, for a payload.
    pub(crate) fn metadata(&self, before: &[u8]) -> BTreeMap<&'static str, Value> {
        let mut place = BTreeMap::from([
            ("file", Value::from(&*self.file)),
            ("offset", Value::from(self.offset + before.len() as u64)),
        ]);
        if let Some(line) = self.line_at(before) {
            place.insert("line", line.into());
        }
        place
    }
}

/// One row as JSON, nulls left out.
pub(crate) fn row_json(batch: &RecordBatch, row: usize) -> Result<Map<String, Value>> {
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    writer.write(&batch.slice(row, 1))?;
    writer.finish()?;
    let rows: Vec<Map<String, Value>> = serde_json::from_slice(&writer.into_inner())?;
    rows.into_iter()
        .next()
        .ok_or_else(|| Error::bug("a row was lost on its way to JSON"))
}

/// A text for an error message: not too long.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
