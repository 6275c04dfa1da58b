//! What a delta reads: the place where the last load ended, and the place up to which rows are complete.
//!
//! In: a stored [`Watermark`] and a sampled [`Upper`] bound. Out: a condition in SQL. Values stay text in the
//! cursor's own type from end to end, so that nothing is rounded.

use serde::{Deserialize, Serialize};

use super::{config::PostgresConfig, discover::Table, ident::literal, types::Column};
use crate::{
    connector::Position,
    error::{Error, Result},
    stream::StreamSpec,
};

/// Where the next delta starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Watermark {
    /// The cursor columns it is meant for.
    pub(super) columns: Vec<String>,
    /// Every row whose first cursor column is less was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
    /// Every row up to and including this cursor was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Vec<String>>,
    /// But for those that transactions from this number on have written: some were open when it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) late: Option<i64>,
}

/// How the first cursor column relates to the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// A moment.
    Instant,
    /// A moment in the writers' own time zone.
    Local,
    /// A day there.
    Day,
    /// No time at all: a counter, a text.
    Counter,
}

impl Clock {
    /// How a column relates to it.
    pub(super) fn of(column: &Column) -> Self {
        match column.base.as_str() {
            "timestamptz" => Self::Instant,
            "timestamp" => Self::Local,
            "date" => Self::Day,
            _ => Self::Counter,
        }
    }
}

/// The cursor of one stream.
pub(super) struct Cursor {
    pub(super) columns: Vec<Column>,
    pub(super) clock: Clock,
    /// No two rows share a value.
    pub(super) unique: bool,
    /// Rows have a key, so that one that is read again is known again.
    pub(super) keyed: bool,
    /// Any of the columns may be null.
    pub(super) nullable: bool,
    lookback: Option<String>,
}

/// Up to where a delta reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Upper {
    /// Less than this, in the first column.
    Below(String),
    /// Up to and including this.
    UpTo(Vec<String>),
    /// All that is visible.
    Open,
    /// Nothing is complete yet: read nothing.
    Nothing,
}

impl Watermark {
    /// Reads a stored position.
    ///
    /// # Errors
    /// `state` where it is no watermark of this connector, or is meant for other cursor columns.
    pub(super) fn read(position: &Position, cursor: &Cursor) -> Result<Self> {
        let watermark: Self = serde_json::from_value(position.clone()).map_err(|error| {
            Error::state(
                "StateCorrupt",
                format!("the stored watermark is none of a PostgreSQL source: {error}"),
            )
        })?;
        if watermark.columns != cursor.names() {
            return Err(Error::config(format!(
                "the watermark is for the cursor {:?}, the stream now has {:?}",
                watermark.columns,
                cursor.names()
            ))
            .reason("CursorChanged")
            .advice("run a full load of this stream once"));
        }
        Ok(watermark)
    }

    /// Nothing before it is known to be read.
    pub(super) fn is_at_start(&self) -> bool {
        self.before.is_none() && self.after.is_none()
    }

    /// As it is stored.
    pub(super) fn position(&self) -> Result<Position> {
        Ok(serde_json::to_value(self)?)
    }
}

impl Cursor {
    /// The cursor that the stream names; `None`: it names none.
    ///
    /// # Errors
    /// `config` where a column does not exist, or the lookback does not go with it.
    pub(super) fn new(
        stream: &StreamSpec,
        table: &Table,
        columns: &[Column],
        config: &PostgresConfig,
    ) -> Result<Option<Self>> {
        let columns: Vec<Column> = stream
            .cursor
            .iter()
            .map(|name| {
                columns
                    .iter()
                    .find(|column| column.name == *name)
                    .cloned()
                    .ok_or_else(|| {
                        Error::config(format!(
                            "stream {}: no column {name} to serve as cursor",
                            stream.name
                        ))
                    })
            })
            .collect::<Result<_>>()?;
        let Some(first) = columns.first() else {
            return Ok(None);
        };
        let clock = Clock::of(first);
        let unique = table
            .unique
            .iter()
            .any(|index| !index.is_empty() && index.iter().all(|name| stream.cursor.contains(name)));
        let keyed = !stream.primary_key.is_empty();
        let lookback = lookback(clock, config)?;
        if lookback.is_some() && !keyed {
            return Err(
                Error::config(format!("stream {}: `lookback` needs a primaryKey", stream.name))
                    .advice("rows that are read again are known again by their key alone"),
            );
        }
        let nullable = columns.iter().any(|column| column.nullable);
        Ok(Some(Self {
            columns,
            clock,
            unique,
            keyed,
            nullable,
            lookback,
        }))
    }

    /// The columns' names.
    pub(super) fn names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }

    /// A value of the column at `place`, as SQL writes it.
    pub(super) fn literal(&self, place: usize, text: &str) -> String {
        let type_ = self.columns.get(place).map_or("text", |column| &column.sql_type);
        format!("{}::{type_}", literal(text))
    }

    /// The column at `place`, quoted.
    pub(super) fn column(&self, place: usize) -> String {
        self.columns
            .get(place)
            .map(|column| super::ident::quote(&column.name))
            .unwrap_or_default()
    }

    /// The condition under which a row belongs to the delta.
    pub(super) fn condition(&self, from: Option<&Watermark>, upper: &Upper) -> String {
        let upper = match upper {
            Upper::Nothing => return "false".to_owned(),
            Upper::Open => None,
            Upper::Below(text) => Some(format!("{} < {}", self.column(0), self.literal(0, text))),
            Upper::UpTo(values) => Some(self.compare("<=", values)),
        };
        let lower = from.and_then(|from| self.lower(from));
        let late = from.and_then(|from| from.late).map(recent);
        let lower = match (lower, late) {
            (Some(lower), Some(late)) => Some(format!("({lower} OR {late})")),
            (lower, _) => lower,
        };
        match (lower, upper) {
            (Some(lower), Some(upper)) => format!("{lower} AND {upper}"),
            (Some(only), None) | (None, Some(only)) => only,
            // A row without cursor is no part of any delta.
            (None, None) => format!("{} IS NOT NULL", self.column(0)),
        }
    }

    /// After the watermark. Where several rows may share a cursor value, one of them may come later than the
    /// others: with a key, all of that value are read again.
    fn lower(&self, from: &Watermark) -> Option<String> {
        let (values, again) = match (&from.before, &from.after) {
            (Some(before), _) => (std::slice::from_ref(before), true),
            (None, Some(after)) => (after.as_slice(), self.reads_ties_again()),
            (None, None) => return None,
        };
        match &self.lookback {
            Some(lookback) => {
                let first = self.literal(0, values.first()?);
                Some(format!("{} >= {first} - {lookback}", self.column(0)))
            }
            None => Some(self.compare(if again { ">=" } else { ">" }, values)),
        }
    }

    /// Several rows may share a value, and are known again by their key.
    pub(super) fn reads_ties_again(&self) -> bool {
        self.keyed && !self.unique && !crate::failpoint::mutated("m7")
    }

    /// Every delta reads some rows before its watermark again.
    pub(super) fn looks_back(&self) -> bool {
        self.lookback.is_some()
    }

    /// Compares as many columns as there are values.
    pub(super) fn compare(&self, operator: &str, values: &[String]) -> String {
        let columns: Vec<String> = (0..values.len()).map(|place| self.column(place)).collect();
        let literals: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(place, text)| self.literal(place, text))
            .collect();
        format!("({}) {operator} ({})", columns.join(", "), literals.join(", "))
    }

    /// Any of the columns is null.
    pub(super) fn is_null(&self) -> String {
        let tests: Vec<String> = (0..self.columns.len())
            .map(|place| format!("{} IS NULL", self.column(place)))
            .collect();
        tests.join(" OR ")
    }
}

/// Written by this transaction or a later one. Row headers hold the low 32 bits of its number.
fn recent(transaction: i64) -> String {
    let low = transaction & 0xFFFF_FFFF;
    format!("mod(xmin::text::bigint - {low} + 4294967296, 4294967296) < 2147483648")
}

fn lookback(clock: Clock, config: &PostgresConfig) -> Result<Option<String>> {
    Ok(match clock {
        Clock::Counter => match config.lookback_count()? {
            0 => None,
            count => Some(count.to_string()),
        },
        _ => match config.lookback_time()?.as_millis() {
            0 => None,
            millis => Some(format!("interval '{millis} milliseconds'")),
        },
    })
}

#[cfg(test)]
mod tests;
