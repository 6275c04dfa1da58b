//! What a request wants of a stream, as a query.
//!
//! In: a `read` request. Out: the query, and where the next delta begins after it.

use arrow::{
    array::Array,
    util::display::{ArrayFormatter, FormatOptions},
};
use serde_json::Value;

use super::{Adbc, tables};
use crate::error::{Error, Result};

impl Adbc {
    /// The query of a request, and the position after its rows.
    pub(super) fn query(&mut self, request: &Value) -> Result<(String, Value)> {
        let stream = request["stream"].as_str().unwrap_or_default();
        let from = match self.queries.get(stream) {
            Some(query) => format!("({query}) as q"),
            None => tables::quoted_name(stream),
        };
        let cursor = request["cursor"]
            .get(0)
            .and_then(Value::as_str)
            .map(tables::quoted);
        let range = &request["range"];
        let Some(cursor) = cursor else {
            return match range.get("full") {
                Some(_) => Ok((format!("select * from {from}"), Value::Null)),
                None => Err(Error::config(format!(
                    "stream {stream} has no cursor, so only full loads can be read"
                ))),
            };
        };
        if let Some(backfill) = range.get("backfill") {
            let text = |key: &str| tables::text(backfill[key].as_str().unwrap_or_default());
            let within = format!("{cursor} >= {} and {cursor} < {}", text("from"), text("to"));
            return Ok((format!("select * from {from} where {within}"), Value::Null));
        }
        // The bound is taken before the rows are read: none is behind it and unread.
        let bound = self.greatest(&from, &cursor)?;
        let after = &range["delta"]["after"];
        let mut within = Vec::new();
        if !after.is_null() {
            // Rows that tie with the last may have come since: what was delivered is known, and delivers nothing.
            within.push(format!("{cursor} >= {}", tables::literal(after)));
        }
        let delta = range.get("delta").is_some();
        if let (Some(bound), true) = (&bound, delta) {
            within.push(format!("{cursor} <= {}", tables::literal(bound)));
        }
        let position = bound.unwrap_or_else(|| after.clone());
        Ok(match within.is_empty() {
            true => (format!("select * from {from}"), position),
            false => (
                format!("select * from {from} where {}", within.join(" and ")),
                position,
            ),
        })
    }

    /// The greatest value of a column, as a literal; `None`: there are no rows.
    fn greatest(&mut self, from: &str, column: &str) -> Result<Option<Value>> {
        let rows = self.rows(&format!("select max({column}) as m from {from}"))?;
        for batch in rows.rows {
            let batch = batch?;
            if batch.num_rows() > 0 && !batch.column(0).is_null(0) {
                return literal(batch.column(0)).map(Some);
            }
        }
        Ok(None)
    }
}

/// The first value of an array: a number as one, everything else as its text.
fn literal(array: &dyn Array) -> Result<Value> {
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(array, &options)?.value(0).to_string();
    Ok(match array.data_type().is_numeric() {
        true => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        false => Value::String(text),
    })
}
