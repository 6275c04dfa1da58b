//! Reload triggers: annotations whose value is a token.
//!
//! In: the annotations of a Connector, Source or Flow. Out: what each asks for. Whether a token was
//! seen before is for the ledger of each Flow to say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::job::Load;
use crate::suggest;

/// What the keys of all our annotations begin with.
pub const PREFIX: &str = "millrace.dev/";
/// The annotation that hands the state of a deleted Flow, named by its UID, to this one.
pub const ADOPT_STATE: &str = "millrace.dev/adopt-state";
/// The longest value, in bytes.
pub const LONGEST: usize = 1024;

const VERBS: [(&str, Load); 2] = [("full_load", Load::Full), ("delta_load", Load::Delta)];

/// A request to load, once for each new token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// The annotation's name without the prefix, for example `full_load_orders`.
    pub name: String,
    /// What to load: `Full` or `Delta`.
    pub load: Load,
    /// The streams to load, by exact name; empty: all.
    pub streams: Vec<String>,
    /// The token; a value other than the last one seen fires.
    pub token: String,
    /// Whether a full load may delete more than `maxDeleteFraction` this once.
    pub allow_deletes: bool,
}

/// Why an annotation is not a trigger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {PREFIX}{name}: {problem}")]
pub struct TriggerError {
    /// The annotation's name without the prefix.
    pub name: String,
    /// What is wrong with it.
    pub problem: TriggerProblem,
}

/// What is wrong with a trigger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TriggerProblem {
    /// The name means nothing.
    #[error("means nothing to Millrace; {}", verb_advice(.0))]
    UnknownVerb(String),
    /// The value holds no token.
    #[error("the token is empty; write any new text, for example the time")]
    EmptyToken,
    /// The value is too long.
    #[error("the value is {0} bytes long; write at most {LONGEST}")]
    TooLong(usize),
    /// The value holds control characters.
    #[error("the value holds a line break or another control character; write plain text")]
    NotPlain,
    /// An option that there is none of.
    #[error("\"{0}\" is not an option; write tables=NAME,NAME or allow-deletes")]
    UnknownOption(String),
    /// `tables=` names nothing.
    #[error("tables= names no table; leave it out to load all")]
    NoTables,
    /// Tables in the name and in the value.
    #[error("the table is named twice; leave out tables=, or write full_load or delta_load with tables=")]
    TablesTwice,
    /// A delta load that allows deletes.
    #[error("allow-deletes is for full loads; write full_load, or leave it out")]
    DeltaDeletes,
}

fn verb_advice(name: &str) -> String {
    let known = [
        "full_load",
        "delta_load",
        "full_load_TABLE",
        "delta_load_TABLE",
        "adopt-state",
    ];
    suggest::advice(name, known, "known are")
}

/// The triggers among annotations, in the order of their names; annotations of others are passed over.
#[must_use]
pub fn parse(annotations: &BTreeMap<String, String>) -> Vec<Result<Trigger, TriggerError>> {
    annotations
        .iter()
        .filter(|(key, _)| *key != ADOPT_STATE)
        .filter_map(|(key, value)| key.strip_prefix(PREFIX).map(|name| (name, value)))
        .map(|(name, value)| {
            one(name, value).map_err(|problem| TriggerError {
                name: name.to_owned(),
                problem,
            })
        })
        .collect()
}

fn one(name: &str, value: &str) -> Result<Trigger, TriggerProblem> {
    let (load, table) = verb(name).ok_or_else(|| TriggerProblem::UnknownVerb(name.to_owned()))?;
    if value.len() > LONGEST {
        return Err(TriggerProblem::TooLong(value.len()));
    }
    if value.chars().any(char::is_control) {
        return Err(TriggerProblem::NotPlain);
    }
    let mut parts = value.split(';').map(str::trim);
    let token = parts
        .next()
        .filter(|token| !token.is_empty())
        .ok_or(TriggerProblem::EmptyToken)?;
    let streams = table.map(str::to_owned).into_iter().collect();
    let trigger = Trigger {
        name: name.to_owned(),
        load,
        streams,
        token: token.to_owned(),
        allow_deletes: false,
    };
    parts.try_fold(trigger, |trigger, option| {
        with_option(trigger, option, table.is_some())
    })
}

/// The load and the table that a name asks for.
fn verb(name: &str) -> Option<(Load, Option<&str>)> {
    VERBS
        .iter()
        .find_map(|(verb, load)| match name.strip_prefix(verb)? {
            "" => Some((*load, None)),
            rest => rest
                .strip_prefix('_')
                .filter(|table| !table.is_empty())
                .map(|table| (*load, Some(table))),
        })
}

fn with_option(mut trigger: Trigger, option: &str, named: bool) -> Result<Trigger, TriggerProblem> {
    if option == "allow-deletes" {
        trigger.allow_deletes = true;
        return if trigger.load == Load::Full {
            Ok(trigger)
        } else {
            Err(TriggerProblem::DeltaDeletes)
        };
    }
    let tables = option
        .strip_prefix("tables=")
        .ok_or_else(|| TriggerProblem::UnknownOption(option.to_owned()))?;
    if named {
        return Err(TriggerProblem::TablesTwice);
    }
    for table in tables.split(',').map(str::trim).filter(|table| !table.is_empty()) {
        if !trigger.streams.iter().any(|known| known == table) {
            trigger.streams.push(table.to_owned());
        }
    }
    if trigger.streams.is_empty() {
        Err(TriggerProblem::NoTables)
    } else {
        Ok(trigger)
    }
}

#[cfg(test)]
mod tests;
