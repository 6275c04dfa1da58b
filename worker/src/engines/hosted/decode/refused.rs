//! Rows that a plugin's host could not put into columns.
//!
//! In: `refused` frames. Out, with the batch that follows: those of its rows that are unfit, whose keys are known, and of which the
//! schema contract decides what becomes of them; and what is in no batch at all.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use serde::Deserialize;
use serde_json::Value;

use super::{OP, WATERMARK};
use crate::{
    connector::{Payload, Refused, UnfitRow},
    engine::rows::place,
    engines::frame::Frame,
    error::{Error, Result},
};

/// What was told of a batch that is still to come.
#[derive(Default)]
pub(in super::super) struct Refusals {
    unfit: Vec<UnfitRow>,
    /// In no batch.
    lost: Vec<Refused>,
}

/// One row, as a host tells of it.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    row: Value,
    at: Option<usize>,
    #[serde(default)]
    columns: Vec<String>,
}

impl Refusals {
    /// Takes a `refused` frame.
    ///
    /// # Errors
    /// `bug` where it cannot be read.
    pub(in super::super) fn take(&mut self, frame: &Frame) -> Result<()> {
        let rows = frame.header.get("rows").cloned().unwrap_or_default();
        let rows: Vec<Told> = serde_json::from_value(rows)
            .map_err(|error| Error::bug(format!("`rows` of refused rows: {error}")))?;
        for mut told in rows {
            if told.kind.is_empty() {
                "type".clone_into(&mut told.kind);
            }
            match told.at {
                None => self.lost.push(told.letter()),
                Some(row) => self.unfit.push(told.unfit(row)),
            }
        }
        Ok(())
    }

    /// Marks the rows in their batch, in order and each once, and adds those that are not in it. A letter of the host's comes
    /// before what else is wrong with its row: it has the row as the plugin gave it.
    ///
    /// # Errors
    /// `bug` where the batch has no such row.
    pub(super) fn mark(&mut self, payload: &mut Payload) -> Result<()> {
        let rows = payload.batch.num_rows();
        if let Some(beyond) = self.unfit.iter().find(|unfit| unfit.row >= rows) {
            let at = beyond.row;
            return Err(Error::bug(format!(
                "row {at} is refused of a batch of {rows} rows"
            )));
        }
        self.unfit.append(&mut payload.unfit);
        for unfit in &mut self.unfit {
            unfit.letter.place = place(&payload.metadata, unfit.row);
        }
        for letter in &mut self.lost {
            letter.place = place(&payload.metadata, 0);
            letter.place.remove("row");
        }
        payload.refused.append(&mut self.lost);
        payload.unfit = std::mem::take(&mut self.unfit);
        payload.unfit.sort_by_key(|unfit| unfit.row);
        payload.unfit.dedup_by(|later, first| {
            let same = later.row == first.row;
            if same {
                first.add(later);
            }
            same
        });
        Ok(())
    }

    /// What was told of a batch that is not wanted any more is void.
    pub(in super::super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What is left when no batch follows, if anything.
    ///
    /// # Errors
    /// `bug` where a row is of a batch that never came.
    pub(in super::super) fn rest(&mut self, schema: &SchemaRef) -> Result<Option<Payload>> {
        let mut payload = Payload::new(RecordBatch::new_empty(schema.clone()));
        self.mark(&mut payload)?;
        Ok((!payload.refused.is_empty()).then_some(payload))
    }
}

impl Told {
    fn letter(self) -> Refused {
        Refused {
            reason: self.reason,
            kind: self.kind,
            place: BTreeMap::new(),
            row: self.row,
        }
    }

    fn unfit(mut self, row: usize) -> UnfitRow {
        // Without its operation or its watermark nobody knows what the row says.
        let lost = self
            .columns
            .iter()
            .any(|column| [OP, WATERMARK].contains(&column.as_str()));
        let columns = match lost {
            true => Vec::new(),
            false => std::mem::take(&mut self.columns),
        };
        UnfitRow {
            row,
            columns,
            letter: self.letter(),
        }
    }
}

impl UnfitRow {
    /// Adds what else is wrong with the same row.
    fn add(&mut self, other: &mut Self) {
        match self.columns.is_empty() || other.columns.is_empty() {
            true => self.columns.clear(),
            false => self.columns.append(&mut other.columns),
        }
        self.letter.reason.push_str("; ");
        self.letter.reason.push_str(&other.letter.reason);
    }
}
