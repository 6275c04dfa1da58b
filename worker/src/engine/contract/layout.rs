//! How a column gets from the reader's schema into the settled one: laid out once, before values are looked at.
//!
//! In: a field of the reader and the settled field. Out: a [`Part`], which [`super::part`] puts to work.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use millrace_crds::flow::{ContractMode, SchemaContract};

use super::{
    fit::{Fit, fit, plain, relaxed},
    settle::decide,
};
use crate::{
    error::{Error, Result},
    types::join,
};

/// A settled column or part, and how it is made.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: String,
    /// The settled field, nulls allowed.
    pub(super) to: FieldRef,
    /// A null is refused.
    pub(super) required: bool,
    /// A value that does not fit becomes null, and the row stays.
    pub(super) spare: bool,
    pub(super) step: Step,
}

/// What is done with the values of a part.
#[derive(Debug)]
pub(super) enum Step {
    /// It is as it should be.
    Keep,
    /// Value by value.
    Exact,
    /// No value fits.
    Nothing,
    /// The source has no such column.
    Absent,
    /// Part by part.
    Struct {
        parts: Vec<(Option<usize>, Part)>,
        extras: Vec<Extra>,
    },
    /// Item by item.
    List(Box<Part>),
}

/// What the source has and the schema has not.
#[derive(Debug)]
pub(super) struct Extra {
    pub(super) index: usize,
    pub(super) path: String,
    /// The row is refused; else the value alone is left out.
    pub(super) refuse: bool,
}

/// What decides about a part, the same for all parts of a column.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    pub(super) mode: SchemaContract,
    pub(super) declared: bool,
    /// A value of a key is never spared: without it the row has no place.
    pub(super) key: bool,
}

impl Part {
    /// Lays out the way from `from` (`None`: the source has no such column) to the settled field.
    pub(super) fn plan(path: String, from: Option<&Field>, settled: &FieldRef, rules: Rules) -> Result<Self> {
        let to: FieldRef = Arc::new(relaxed(settled));
        let step = match from {
            None => Step::Absent,
            Some(from) => step(&path, from, settled, &to, rules)?,
        };
        let spare = rules.mode.data_type == ContractMode::DiscardValue && !rules.key && settled.is_nullable();
        Ok(Self {
            path,
            to,
            required: !settled.is_nullable(),
            spare,
            step,
        })
    }

    /// Nothing has to be done or looked at, whatever the values.
    pub(super) fn idle(&self) -> bool {
        matches!(self.step, Step::Keep) && !self.required
    }

    /// Nothing but nulls has to be looked at.
    pub(super) fn keeps(&self) -> bool {
        matches!(self.step, Step::Keep)
    }
}

fn step(path: &str, from: &Field, settled: &FieldRef, to: &Field, rules: Rules) -> Result<Step> {
    let decided = decide(path, settled, from, rules.declared, rules.mode)?;
    if decided.data_type() != settled.data_type() {
        return Err(Error::data(format!(
            "column `{path}` changed its type while the load was under way"
        ))
        .reason("SchemaChanged")
        .advice("run again; the next load begins with the schema as it is then"));
    }
    let required_below = settled.data_type() != to.data_type();
    if !required_below && from.data_type() == to.data_type() {
        return Ok(Step::Keep);
    }
    match (plain(from.data_type()), settled.data_type()) {
        (DataType::Struct(found), DataType::Struct(parts))
            if matches!(from.data_type(), DataType::Struct(_)) =>
        {
            struct_step(path, &found, parts, from, rules)
        }
        (DataType::List(found), DataType::List(item)) => Ok(Step::List(Box::new(Part::plan(
            format!("{path}[]"),
            Some(&found),
            item,
            rules,
        )?))),
        (from, _) if fit(&from, to.data_type()) == Fit::Never => Ok(Step::Nothing),
        _ => Ok(Step::Exact),
    }
}

fn struct_step(path: &str, found: &Fields, parts: &Fields, from: &Field, rules: Rules) -> Result<Step> {
    let DataType::Struct(actual) = from.data_type() else {
        return Err(Error::bug(format!("column `{path}` is an object in disguise")));
    };
    let mut planned = Vec::with_capacity(parts.len());
    for part in parts {
        let index = found.find(part.name()).map(|(index, _)| index);
        let field = index.map(|index| actual[index].as_ref());
        planned.push((index, Part::plan(join(path, part.name()), field, part, rules)?));
    }
    let extras = extras(path, actual, parts, rules.mode);
    Ok(Step::Struct {
        parts: planned,
        extras,
    })
}

/// Columns that the source has and the schema has not.
pub(super) fn extras(path: &str, found: &Fields, settled: &Fields, mode: SchemaContract) -> Vec<Extra> {
    let refuse = mode.columns == ContractMode::DiscardRow;
    let extra = found
        .iter()
        .enumerate()
        .filter(|(_, field)| settled.find(field.name()).is_none());
    extra
        .map(|(index, field)| Extra {
            index,
            path: join(path, field.name()),
            refuse,
        })
        .collect()
}
