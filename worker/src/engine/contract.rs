//! The schema contract: settles which columns a load delivers, and brings every batch into that form.
//!
//! In: the reader's schema, the declared one, the one delivered last, and [`SchemaContract`]; then payloads. Out: the
//! settled schema, and payloads in it. No value changes its meaning: what has no exact place in its column is refused
//! (or, by contract, becomes null and is counted), with the column's path, the place and the row. Where the reader
//! yields the settled schema already, nothing is done.

mod exact;
mod fit;
mod layout;
mod part;
mod refuse;
mod settle;
mod text;

use std::sync::Arc;

use arrow::{
    array::ArrayRef,
    compute::{filter_record_batch, not},
    datatypes::{Schema, SchemaRef},
    record_batch::{RecordBatch, RecordBatchOptions},
};
use millrace_crds::{
    flow::{ContractMode, SchemaContract},
    suggest,
};

pub(crate) use self::fit::{Fit, fit, plain, plain_field};
use self::{
    layout::{Extra, Part, Rules, extras},
    refuse::{counts, keep, null_keys, unfit},
    settle::{Column, Known},
};
use super::rows::{self, Misfit};
use crate::{
    connector::Payload,
    error::{Error, Result},
    stream::StreamSpec,
    types::arrow_schema,
};

/// Whether a stream that was never delivered may become a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTable {
    /// Load it.
    Load,
    /// Leave it out and say so.
    Skip,
}

/// What `schemaContract.tables` says of a stream that was never delivered. One that the manifest `named` is wanted.
///
/// # Errors
/// `data` with reason `SchemaFrozen` where new tables are frozen.
pub fn new_table(stream: &str, named: bool, mode: ContractMode) -> Result<NewTable> {
    match mode {
        _ if named => Ok(NewTable::Load),
        ContractMode::Evolve => Ok(NewTable::Load),
        ContractMode::DiscardRow | ContractMode::DiscardValue => Ok(NewTable::Skip),
        ContractMode::Freeze => Err(Error::data(format!(
            "stream `{stream}` is new, and `schemaContract.tables` is freeze"
        ))
        .reason("SchemaFrozen")
        .advice("name it in the Source's streams, or set `schemaContract.tables` to evolve or discardRow")),
    }
}

/// The settled columns of one load.
#[derive(Clone, Debug)]
pub struct Contract {
    stream: String,
    columns: Vec<Column>,
    schema: SchemaRef,
    key: Vec<String>,
    mode: SchemaContract,
    notes: Vec<String>,
}

impl Contract {
    /// Settles the columns: the declared ones in their order, then those of `delivered` (the schema settled by the
    /// last load that was committed), then what is new. Nothing has been read yet.
    ///
    /// # Errors
    /// `config` where a declared or key column is not at the source, or cannot have its declared type; `data` with
    /// reason `SchemaFrozen` where the contract forbids a change.
    pub fn settle(
        stream: &StreamSpec,
        reader: &Schema,
        delivered: Option<&Schema>,
        mode: SchemaContract,
    ) -> Result<Self> {
        let declared = stream.declared.as_deref().map(arrow_schema).transpose()?;
        let known = Known::new(&stream.name, declared.as_deref(), delivered, mode);
        let (columns, notes) = known.settle(reader)?;
        let fields: Vec<_> = columns.iter().map(|column| fit::relaxed(&column.field)).collect();
        let contract = Self {
            stream: stream.name.clone(),
            columns,
            schema: Arc::new(Schema::new(fields)),
            key: stream.primary_key.clone(),
            mode,
            notes,
        };
        contract.check_key(reader)?;
        Ok(contract)
    }

    /// What every payload has once it is coerced. Nulls are allowed everywhere: of a deleted row only the key is
    /// there; what the manifest requires is checked row by row.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What people should know of the columns of this load.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Lays out the way from the schema of one reader.
    ///
    /// # Errors
    /// `data` with reason `SchemaChanged` where that schema is not the one that was settled from.
    pub fn coercer(&self, reader: &SchemaRef) -> Result<Coercer> {
        Ok(Coercer {
            contract: self.clone(),
            plan: self.plan(reader)?,
        })
    }

    fn check_key(&self, reader: &Schema) -> Result<()> {
        let Some(lost) = self.key.iter().find(|name| reader.field_with_name(name).is_err()) else {
            return Ok(());
        };
        let there = reader.fields().iter().map(|field| field.name().as_str());
        let message = format!("stream `{}`: the source has no key column `{lost}`", self.stream);
        Err(Error::config(message).advice(suggest::advice(lost, there, "the source has")))
    }

    fn plan(&self, reader: &SchemaRef) -> Result<Plan> {
        if let Some(field) = reader.fields().iter().find(|field| self.unexpected(field)) {
            let message = format!(
                "stream `{}`: column `{}` appeared while the load was under way",
                self.stream,
                field.name()
            );
            return Err(Error::data(message)
                .reason("SchemaChanged")
                .advice("run again; the next load begins with it"));
        }
        self.check_key(reader)?;
        let mut parts = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let name = column.field.name();
            let index = reader.index_of(name).ok();
            let rules = Rules {
                mode: self.mode,
                declared: column.declared,
                key: self.key.iter().any(|key| key == name),
            };
            let from = index.map(|index| reader.field(index));
            parts.push((
                index,
                rules.key,
                Part::plan(name.clone(), from, &column.field, rules)?,
            ));
        }
        let extras = extras("", reader.fields(), self.schema.fields(), self.mode);
        let straight = extras.is_empty()
            && parts
                .iter()
                .enumerate()
                .all(|(at, (index, _, part))| *index == Some(at) && part.keeps());
        let idle = straight && parts.iter().all(|(_, _, part)| part.idle());
        Ok(Plan {
            reader: reader.clone(),
            parts,
            extras,
            idle,
        })
    }

    /// A column with values that only `evolve` would have let in, and then before the load began.
    fn unexpected(&self, field: &arrow::datatypes::Field) -> bool {
        let settled = self
            .columns
            .iter()
            .any(|column| column.field.name() == field.name());
        let typed = *field.data_type() != arrow::datatypes::DataType::Null;
        let dropped = matches!(
            self.mode.columns,
            ContractMode::DiscardRow | ContractMode::DiscardValue
        );
        !settled && typed && !dropped
    }
}

/// The way from one schema of a reader to the settled one.
#[derive(Debug)]
struct Plan {
    reader: SchemaRef,
    /// Index at the source, whether it is of the key, and how it is made.
    parts: Vec<(Option<usize>, bool, Part)>,
    extras: Vec<Extra>,
    /// Columns are as they should be, and nothing has to be looked at.
    idle: bool,
}

/// Brings the payloads of one reader into the settled schema.
#[derive(Debug)]
pub struct Coercer {
    contract: Contract,
    plan: Plan,
}

/// A payload in the settled schema.
#[derive(Debug)]
pub struct Coerced {
    /// The rows that fit and have a key; the others are among its `refused`.
    pub payload: Payload,
    /// The numbers of those rows in the payload as it came; `None`: all of them.
    pub rows: Option<Vec<u32>>,
    /// Values that became null or were left out, by contract.
    pub discarded: u64,
    /// The rows that were refused, as far as they fit: their keys may be readable.
    pub refused: Option<RecordBatch>,
    /// The numbers of those rows in the payload as it came.
    pub refused_rows: Vec<u32>,
}

impl Coercer {
    /// Coerces one payload, and refuses rows whose key is null or partly null.
    ///
    /// # Errors
    /// `data` with reason `SchemaChanged` where the reader's schema changed in a way that the contract of this load
    /// cannot take in.
    pub fn coerce(&mut self, mut payload: Payload) -> Result<Coerced> {
        let schema = payload.batch.schema_ref();
        if !Arc::ptr_eq(schema, &self.plan.reader) && *schema != self.plan.reader {
            self.plan = self.contract.plan(schema)?;
        }
        let (settled, key) = (&self.contract.schema, &self.contract.key);
        let mut misfits = null_keys(&payload.batch, key)?;
        let (batch, mut discarded) = if self.plan.idle {
            (retagged(&payload.batch, settled)?, 0)
        } else {
            let (batch, found, discarded) = self.plan.run(&payload, settled)?;
            misfits.extend(found);
            (batch, discarded)
        };
        let spare = self.contract.mode.data_type == ContractMode::DiscardValue;
        let (letters, spared) = unfit(&mut payload, &mut misfits, key, spare);
        discarded += spared;
        if misfits.is_empty() && letters.is_empty() {
            let payload = Payload { batch, ..payload };
            return Ok(Coerced {
                payload,
                rows: None,
                discarded,
                refused: None,
                refused_rows: Vec::new(),
            });
        }
        let gone = misfits.iter().map(|misfit| misfit.row);
        let keep = keep(batch.num_rows(), gone.chain(letters.iter().map(|(row, _)| *row)));
        let refused = filter_record_batch(&batch, &not(&keep)?)?;
        let (rows, refused_rows): (Vec<u32>, Vec<u32>) = (0u32..)
            .take(keep.len())
            .partition(|row| keep.value(*row as usize));
        let read = std::mem::replace(&mut payload.batch, batch);
        payload
            .refused
            .extend(letters.into_iter().map(|(_, letter)| letter));
        payload
            .refused
            .extend(rows::refuse(&read, misfits, &payload.metadata)?);
        Ok(Coerced {
            payload: payload.keep(&keep)?,
            rows: Some(rows),
            discarded,
            refused: Some(refused),
            refused_rows,
        })
    }
}

impl Plan {
    fn run(&self, payload: &Payload, settled: &SchemaRef) -> Result<(RecordBatch, Vec<Misfit>, u64)> {
        let batch = &payload.batch;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.parts.len());
        let (mut misfits, mut discarded) = (Vec::new(), 0);
        for (index, key, part) in &self.parts {
            let made = part.make(index.map(|index| batch.column(index)), batch.num_rows())?;
            columns.push(made.array);
            discarded += made.discarded;
            misfits.extend(
                made.misfits
                    .into_iter()
                    .filter(|misfit| *key || counts(payload, misfit.row)),
            );
        }
        for extra in &self.extras {
            let mut found = Vec::new();
            discarded += extra.look(batch.column(extra.index), &mut found);
            misfits.extend(found.into_iter().filter(|misfit| counts(payload, misfit.row)));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok((
            RecordBatch::try_new_with_options(settled.clone(), columns, &options)?,
            misfits,
            discarded,
        ))
    }
}

/// The same columns under the settled schema, which may allow nulls where the reader does not.
fn retagged(batch: &RecordBatch, settled: &SchemaRef) -> Result<RecordBatch> {
    if Arc::ptr_eq(batch.schema_ref(), settled) {
        return Ok(batch.clone());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        settled.clone(),
        batch.columns().to_vec(),
        &options,
    )?)
}

#[cfg(test)]
mod tests;
