//! Which columns a load delivers, and in what types: decided once, before a row is read.
//!
//! In: the columns that the reader has, those that the manifest declares, those that were delivered last, and the
//! contract. Out: the settled columns and notes for people, or an error that says what to write.

use std::{collections::HashSet, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use millrace_crds::{
    flow::{ContractMode, SchemaContract},
    suggest,
};

use super::fit::{Fit, fit, plain, plain_field, widen};
use crate::{
    error::{Error, Result},
    types::{INFERRED, UNTYPED, join, type_name},
};

/// One settled column. Where its field is not nullable, the manifest requires a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) field: FieldRef,
    /// The manifest says its type.
    pub(super) declared: bool,
}

/// What settling needs beside the reader's columns.
pub(super) struct Known<'a> {
    pub(super) stream: &'a str,
    pub(super) columns: Vec<Column>,
    pub(super) mode: SchemaContract,
}

impl<'a> Known<'a> {
    /// Declared columns in their order, then those that were delivered before.
    pub(super) fn new(
        stream: &'a str,
        declared: Option<&Schema>,
        delivered: Option<&Schema>,
        mode: SchemaContract,
    ) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        for field in declared.iter().flat_map(|schema| schema.fields()) {
            columns.push(Column {
                field: field.clone(),
                declared: true,
            });
        }
        let named: HashSet<String> = columns.iter().map(|column| column.field.name().clone()).collect();
        for field in delivered.iter().flat_map(|schema| schema.fields()) {
            if !named.contains(field.name()) {
                columns.push(Column {
                    field: optional(field),
                    declared: false,
                });
            }
        }
        Self {
            stream,
            columns,
            mode,
        }
    }

    /// The settled columns and what people should know.
    pub(super) fn settle(self, reader: &Schema) -> Result<(Vec<Column>, Vec<String>)> {
        refuse_doubles(self.stream, reader)?;
        let mut notes = Vec::new();
        let mut settled = Vec::with_capacity(reader.fields().len());
        for column in &self.columns {
            settled.push(self.known_column(column, reader, &mut notes)?);
        }
        let first = self.columns.is_empty();
        for field in reader.fields() {
            if self
                .columns
                .iter()
                .all(|column| column.field.name() != field.name())
                && let Some(field) = self.new_column(field, first, &mut notes)?
            {
                settled.push(Column {
                    field,
                    declared: false,
                });
            }
        }
        Ok((settled, notes))
    }

    fn known_column(&self, column: &Column, reader: &Schema, notes: &mut Vec<String>) -> Result<Column> {
        let name = column.field.name();
        match reader.field_with_name(name) {
            Ok(field) => {
                let field = decide(name, &column.field, field, column.declared, self.mode)
                    .map_err(|error| self.named(error))?;
                Ok(Column {
                    field,
                    declared: column.declared,
                })
            }
            Err(_) if column.declared => Err(self.missing(name, reader)),
            Err(_) if self.mode.columns == ContractMode::Freeze => Err(self.named(frozen(
                format!("column `{name}` was delivered before and is no longer there"),
                "bring it back, or set `schemaContract.columns: evolve` to deliver nulls in its place",
            ))),
            Err(_) => {
                notes.push(format!(
                    "column `{name}` is no longer there; its values become null"
                ));
                Ok(column.clone())
            }
        }
    }

    fn new_column(&self, field: &Field, first: bool, notes: &mut Vec<String>) -> Result<Option<FieldRef>> {
        let name = field.name();
        // A column without a value has no type yet; it is new once it has one.
        if *field.data_type() == DataType::Null {
            notes.push(format!(
                "column `{name}` holds nothing but nulls and is left out until it has a type"
            ));
            return Ok(None);
        }
        if first {
            return Ok(Some(optional(&plain_field(field))));
        }
        match self.mode.columns {
            ContractMode::Evolve => {
                notes.push(format!(
                    "column `{name}` ({}) is new",
                    type_name(field.data_type())
                ));
                Ok(Some(optional(&plain_field(field))))
            }
            ContractMode::Freeze => Err(self.named(new_is_frozen(name))),
            ContractMode::DiscardRow => {
                notes.push(format!(
                    "column `{name}` is not in the schema; rows with a value in it are refused"
                ));
                Ok(None)
            }
            ContractMode::DiscardValue => {
                notes.push(format!("column `{name}` is not in the schema and is left out"));
                Ok(None)
            }
        }
    }

    fn missing(&self, name: &str, reader: &Schema) -> Error {
        let there = reader.fields().iter().map(|field| field.name().as_str());
        let advice = suggest::advice(name, there, "the source has");
        let error = Error::config(format!(
            "stream `{}`: the source has no column `{name}`",
            self.stream
        ));
        if advice.is_empty() {
            error
        } else {
            error.advice(advice)
        }
    }

    fn named(&self, mut error: Error) -> Error {
        error.message = format!("stream `{}`: {}", self.stream, error.message);
        error
    }
}

fn frozen(message: String, advice: &str) -> Error {
    Error::data(message).reason("SchemaFrozen").advice(advice)
}

fn new_is_frozen(path: &str) -> Error {
    frozen(
        format!("column `{path}` is new, and `schemaContract.columns` is freeze"),
        "declare it in the stream's schema, or set `schemaContract.columns` to evolve, discardRow or discardValue",
    )
}

/// Names must tell columns apart.
fn refuse_doubles(stream: &str, reader: &Schema) -> Result<()> {
    let mut seen = HashSet::new();
    match reader
        .fields()
        .iter()
        .find(|field| !seen.insert(field.name().as_str()))
    {
        None => Ok(()),
        Some(double) => Err(Error::data(format!(
            "stream `{stream}`: column `{}` is there twice",
            double.name()
        ))
        .advice("rename one of them at the source")),
    }
}

/// Nulls are allowed unless the manifest requires a value.
fn optional(field: &Field) -> FieldRef {
    let mut field = super::fit::relaxed(field);
    field
        .metadata_mut()
        .retain(|name, _| name != UNTYPED && name != INFERRED);
    Arc::new(field)
}

/// The type that a known column is delivered in, now that it arrives as `incoming`.
pub(super) fn decide(
    path: &str,
    known: &Field,
    incoming: &Field,
    declared: bool,
    mode: SchemaContract,
) -> Result<FieldRef> {
    if incoming.metadata().contains_key(UNTYPED) && fit(&DataType::Utf8, known.data_type()) != Fit::Never {
        return Ok(Arc::new(known.clone()));
    }
    let from = plain(incoming.data_type());
    let type_ = match (known.data_type(), &from) {
        (DataType::Struct(parts), DataType::Struct(found)) => {
            DataType::Struct(decide_parts(path, parts, found, declared, mode)?)
        }
        (DataType::List(item), DataType::List(found)) => {
            DataType::List(decide(&format!("{path}[]"), item, found, declared, mode)?)
        }
        (to, from) => decide_type(path, to, from, declared, mode)?,
    };
    Ok(Arc::new(known.clone().with_data_type(type_)))
}

fn decide_parts(
    path: &str,
    known: &Fields,
    found: &Fields,
    declared: bool,
    mode: SchemaContract,
) -> Result<Fields> {
    let mut parts = Vec::with_capacity(known.len());
    for part in known {
        parts.push(match found.find(part.name()) {
            Some((_, incoming)) => decide(&join(path, part.name()), part, incoming, declared, mode)?,
            None => part.clone(),
        });
    }
    let new = found
        .iter()
        .filter(|part| known.find(part.name()).is_none() && *part.data_type() != DataType::Null);
    for part in new {
        match mode.columns {
            ContractMode::Evolve => parts.push(optional(part)),
            ContractMode::Freeze => return Err(new_is_frozen(&join(path, part.name()))),
            ContractMode::DiscardRow | ContractMode::DiscardValue => {}
        }
    }
    Ok(parts.into())
}

fn decide_type(
    path: &str,
    to: &DataType,
    from: &DataType,
    declared: bool,
    mode: SchemaContract,
) -> Result<DataType> {
    match (fit(from, to), mode.data_type) {
        (Fit::Never, _) if declared => Err(Error::config(format!(
            "column `{path}` is {} at the source and cannot be read as {}",
            type_name(from),
            type_name(to)
        ))
        .advice("correct its type in the stream's schema")),
        // The manifest says the type: each value is taken where it is exactly one of that type.
        (_, _) if declared => Ok(to.clone()),
        (Fit::Same | Fit::Always | Fit::Natural, _)
        | (_, ContractMode::DiscardRow | ContractMode::DiscardValue) => Ok(to.clone()),
        // Whatever has a text can go into a column of text.
        (Fit::Value, ContractMode::Evolve) if *to == DataType::Utf8 => Ok(to.clone()),
        (_, ContractMode::Evolve) => widen(to, from).ok_or_else(|| {
            changed(
                path,
                to,
                from,
                "no type holds both without loss; declare the one you want in the stream's schema",
            )
        }),
        (_, ContractMode::Freeze) => Err(changed(
            path,
            to,
            from,
            "declare its type in the stream's schema, or set `schemaContract.dataType` to evolve, discardRow or \
             discardValue",
        )),
    }
}

fn changed(path: &str, to: &DataType, from: &DataType, advice: &str) -> Error {
    frozen(
        format!(
            "column `{path}` was delivered as {} and is {} now",
            type_name(to),
            type_name(from)
        ),
        advice,
    )
}
