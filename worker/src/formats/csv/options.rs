//! How a CSV file is written, as people say it and as the reader needs it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{columns::Nulls, tokens::Dialect};
use crate::error::{Error, Result};

/// How CSV files are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CsvOptions {
    /// The character between two fields; a comma where nothing is said, a tab for files that end in `.tsv`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<String>,
    /// The character around fields that hold a delimiter, a quote or a line end; `"` where nothing is said, and with
    /// an empty text none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// The character before a quote that belongs to a quoted field. Where nothing is said, such a quote is doubled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escape: Option<String>,
    /// Lines that begin with this character are passed over. Where nothing is said, there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the first line holds the names of the columns; it does where nothing is said. Without names, the
    /// declared schema gives them in order, else they are `column_1`, `column_2` and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The texts that mean null, when they are not quoted; the empty field where nothing is said. Add `""` to keep it:
    /// `["", "NA"]`. A quoted empty field is an empty text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nulls: Option<Vec<String>>,
    /// Whether a quoted field may hold line ends. With `false`, large files of a bucket too are read in parallel
    /// parts; a local file is looked through where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newlines_in_values: Option<bool>,
}

/// The options, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Csv {
    pub(crate) dialect: Dialect,
    pub(crate) nulls: Nulls,
    pub(crate) header: bool,
    pub(crate) newlines_in_values: Option<bool>,
}

impl CsvOptions {
    /// The options for a file whose default delimiter is this one.
    ///
    /// # Errors
    /// `config` for a character that is not a single ASCII one, or that has two meanings.
    pub(crate) fn understand(&self, delimiter: u8) -> Result<Csv> {
        let character =
            |name: &str, text: &Option<String>| text.as_deref().map(|text| one(name, text)).transpose();
        let quote = match self.quote.as_deref() {
            Some("") => None,
            _ => Some(character("quote", &self.quote)?.unwrap_or(b'"')),
        };
        let dialect = Dialect {
            delimiter: character("delimiter", &self.delimiter)?.unwrap_or(delimiter),
            quote,
            escape: character("escape", &self.escape)?.filter(|escape| Some(*escape) != quote),
            comment: character("comment", &self.comment)?,
        };
        let given = [
            Some(dialect.delimiter),
            dialect.quote,
            dialect.escape,
            dialect.comment,
        ];
        let mut given: Vec<u8> = given.into_iter().flatten().collect();
        given.sort_unstable();
        if let Some(twice) = given.windows(2).find(|pair| pair[0] == pair[1]) {
            let twice = char::from(twice[0]).escape_default();
            return Err(
                Error::config(format!("`csv`: the character `{twice}` has two meanings"))
                    .advice("give delimiter, quote, escape and comment characters of their own"),
            );
        }
        Ok(Csv {
            dialect,
            nulls: Nulls::new(self.nulls.clone().unwrap_or_else(|| vec![String::new()])),
            header: self.header.unwrap_or(true),
            newlines_in_values: self.newlines_in_values,
        })
    }
}

fn one(name: &str, text: &str) -> Result<u8> {
    let text = if text == "\\t" { "\t" } else { text };
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(*byte),
        _ => Err(
            Error::config(format!("`csv.{name}` is `{}`", text.escape_debug()))
                .advice("write one ASCII character, for example `;`, or `\\t` for a tab"),
        ),
    }
}
