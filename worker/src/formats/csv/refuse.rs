//! Records that are refused: what is wrong with them, where they stand, and what could be read of them.

use std::ops::Range;

use arrow::array::RecordBatch;
use serde_json::{Map, Value};

use super::{
    columns::{Fields, Misfit},
    tokens::fields_of,
};
use crate::{
    connector::{Refused, UnfitRow},
    error::Result,
    formats::{Place, row_json, shortened},
    types::type_name,
};

/// What refusals are told from.
pub(super) struct Refusals<'a> {
    pub(super) fields: &'a Fields<'a>,
    /// The columns of the file.
    pub(super) names: &'a [String],
    pub(super) bytes: &'a [u8],
    pub(super) place: &'a Place,
}

impl Refusals<'_> {
    /// Records with another number of fields than the header.
    pub(super) fn odd(&self, records: &[Range<usize>]) -> Vec<Refused> {
        records
            .iter()
            .map(|record| self.one_odd(record.clone()))
            .collect()
    }

    fn one_odd(&self, record: Range<usize>) -> Refused {
        let fields = fields_of(&self.bytes[record.clone()], self.fields.dialect);
        let (found, expected) = (fields.len(), self.names.len());
        let reason = format!(
            "{found} field{} where the header has {expected}",
            if found == 1 { "" } else { "s" }
        );
        self.refuse(reason, "parse", record.start, self.texts(&fields))
    }

    /// A record that is not UTF-8.
    pub(super) fn broken(&self, row: usize) -> UnfitRow {
        let record = self.fields.tokens.record(row);
        let fields = fields_of(&self.bytes[record.clone()], self.fields.dialect);
        let wrong = fields
            .iter()
            .position(|field| std::str::from_utf8(field).is_err())
            .unwrap_or_default();
        let name = self.names.get(wrong).map_or("", String::as_str);
        let reason = format!("`{name}`: not UTF-8");
        let mut letter = self.refuse(reason, "parse", record.start, self.texts(&fields));
        letter.place.insert("column".into(), name.into());
        UnfitRow {
            row,
            columns: Vec::new(),
            letter,
        }
    }

    /// A record of which some values do not fit their columns.
    pub(super) fn misfits(
        &self,
        misfits: &[Misfit],
        batch: &RecordBatch,
        sources: &[Option<usize>],
    ) -> Result<UnfitRow> {
        let row = misfits.first().map_or(0, |misfit| misfit.row);
        let mut read = row_json(batch, row)?;
        let mut reasons = Vec::with_capacity(misfits.len());
        for misfit in misfits {
            let (text, _) = self.fields.get(row, misfit.column);
            let name = &self.names[misfit.column];
            let column = sources
                .iter()
                .position(|source| *source == Some(misfit.column))
                .unwrap_or_default();
            let type_ = type_name(batch.schema().field(column).data_type());
            let path = if misfit.within.is_empty() {
                name
            } else {
                &misfit.within
            };
            reasons.push(format!("`{path}`: `{}` is not {type_}", shortened(&text)));
            read.insert(name.clone(), text.into_owned().into());
        }
        let mut letter = self.refuse(
            reasons.join("; "),
            "type",
            self.fields.tokens.start(row),
            Value::Object(read),
        );
        let columns = misfits.iter().map(|misfit| self.names[misfit.column].clone());
        let columns: Vec<String> = columns.collect();
        letter.place.insert("column".into(), columns[0].clone().into());
        Ok(UnfitRow { row, columns, letter })
    }

    fn refuse(&self, reason: String, kind: &str, at: usize, row: Value) -> Refused {
        Refused {
            reason,
            kind: kind.to_owned(),
            place: self.place.at(&self.bytes[..at]),
            row,
        }
    }

    /// The fields under their names, and those beyond the header as a list.
    fn texts(&self, fields: &[&[u8]]) -> Value {
        let text = |field: &[u8]| {
            let raw = String::from_utf8_lossy(field).into_owned();
            Value::from(super::columns::plain(&raw, self.fields.dialect).into_owned())
        };
        let named = self
            .names
            .iter()
            .zip(fields)
            .map(|(name, field)| (name.clone(), text(field)));
        let mut row: Map<String, Value> = named.collect();
        if let Some(rest) = fields.get(self.names.len()..).filter(|rest| !rest.is_empty()) {
            row.insert("_rest".into(), rest.iter().map(|field| text(field)).collect());
        }
        Value::Object(row)
    }
}
